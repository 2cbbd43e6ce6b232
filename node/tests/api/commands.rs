//! What the API does: peers added and dropped, networks kept out and let in, transactions refused with their reason.

use std::time::Duration;

use bitcoin::consensus::encode::serialize_hex;
use quantumcoin_node::client;
use serde_json::{Value, json};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::world::{PATIENCE, World, key};

#[tokio::test(flavor = "multi_thread")]
async fn a_peer_is_added_shown_and_dropped() {
    let (world, other) = (World::new().await, World::new().await);
    let addr = other.peers.to_string();
    let answer = world
        .change("POST", "/api/v1/peers", Some(json!({ "addr": addr })))
        .await;
    assert_eq!(answer.status, 202, "{answer:?}");
    let peers = world
        .until("/api/v1/peers?direction=outbound", |p| p["total"] == 1)
        .await;
    let peer = &peers["items"][0];
    assert_eq!((&peer["addr"], &peer["kept"]), (&json!(addr), &json!(true)));
    let inbound = world.get("/api/v1/peers?direction=inbound").await.json();
    assert_eq!(inbound["total"], 0);
    let one = world.get(&format!("/api/v1/peers/{addr}")).await.json();
    assert_eq!(one["id"], peer["id"]);
    let answer = world
        .change("DELETE", &format!("/api/v1/peers/{addr}"), None)
        .await;
    assert_eq!(answer.json()["was_kept"], true);
    other
        .until("/api/v1/peers", |peers| peers["total"] == 0)
        .await;

    let once = json!({ "addr": addr, "once": true });
    let answer = world.change("POST", "/api/v1/peers", Some(once)).await;
    assert_eq!(answer.status, 202, "{answer:?}");
    world.until("/api/v1/peers", |p| p["total"] == 1).await;
    world.end().await;
    other.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_network_is_kept_out_until_it_is_let_in() {
    let (world, other) = (World::new().await, World::new().await);
    let add = json!({ "addr": world.peers });
    other.change("POST", "/api/v1/peers", Some(add)).await;
    world.until("/api/v1/peers", |p| p["total"] == 1).await;
    let ban = json!({ "network": "127.0.0.1", "reason": "a\u{1b}[31m <script>alert(1)</script>" });
    let answer = world.change("POST", "/api/v1/bans", Some(ban)).await;
    assert_eq!(answer.status, 201, "{answer:?}");
    let banned = answer.json();
    assert_eq!(banned["connections"], 1);
    let (since, until) = (&banned["since"], &banned["until"]);
    assert_eq!(until.as_u64().unwrap() - since.as_u64().unwrap(), 86_400);
    assert!(!banned["reason"].as_str().unwrap().contains('\u{1b}'));
    let list = world.get("/api/v1/bans").await.json();
    assert_eq!(list["items"][0]["by"], "operator");
    // The page shows it harmlessly.
    let page = world.get("/").await.text();
    assert!(page.contains("127.0.0.1"), "{page}");
    assert!(!page.contains("<script>alert"), "{page}");
    world.until("/api/v1/status", |s| s["inbound"] == 0).await;
    let answer = world
        .change("DELETE", "/api/v1/bans?network=127.0.0.1", None)
        .await;
    assert_eq!(answer.status, 200, "{answer:?}");
    // The other dials again by itself.
    world.until("/api/v1/peers", |p| p["total"] == 1).await;
    world.end().await;
    other.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_transaction_is_told_why() {
    let world = World::new().await;
    let key = key();
    world.mine(&key, 101);
    let submit = async |tx: &bitcoin::Transaction| {
        let body = json!({ "hex": serialize_hex(tx) });
        world
            .change("POST", "/api/v1/transactions", Some(body))
            .await
    };
    let mut forged = world.spend(&key, 1, 20_000);
    forged.output[0].value += bitcoin::Amount::from_sat(1);
    assert_eq!(submit(&forged).await.code(), "invalid");
    let immature = world.spend(&key, 50, 20_000);
    assert_eq!(submit(&immature).await.code(), "invalid");
    assert_eq!(
        submit(&world.spend(&key, 1, 0)).await.code(),
        "not_standard"
    );
    let good = world.spend(&key, 1, 20_000);
    assert_eq!(submit(&good).await.status, 202);
    assert_eq!(submit(&good).await.code(), "already_known");
    let poorer = world.spend(&key, 1, 20_001);
    assert_eq!(submit(&poorer).await.code(), "replacement_refused");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_live_stream_tells_of_a_new_block() {
    let world = World::new().await;
    let mut stream = TcpStream::connect(world.http).await.unwrap();
    let host = world.http;
    let request = format!("GET /api/v1/live HTTP/1.1\r\nhost: {host}\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut lines = BufReader::new(stream).lines();
    let mut next = async || loop {
        let line = timeout(PATIENCE, lines.next_line()).await.unwrap();
        let line = line.unwrap().expect("the stream goes on");
        if let Some(data) = line.strip_prefix("data: ") {
            return serde_json::from_str::<Value>(data).unwrap();
        }
    };
    assert_eq!(next().await["height"], 0);
    world.mine(&key(), 3);
    let mut last = Value::Null;
    while last["height"] != 3 {
        last = next().await;
    }
    assert_eq!(last["worst"], "bad", "there are no peers");
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_says_what_to_do() {
    let world = World::new().await;
    let health = world
        .until("/api/v1/health", |h| h["advice"][0]["code"] == "no_peers")
        .await;
    assert_eq!(health["advice"][0]["severity"], "bad");
    let page = world.get("/").await;
    let text = page.text();
    assert!(text.contains("There are no peers."), "{text}");
    assert!(text.contains("quantumcoin-node add"), "{text}");
    assert!(
        page.header("content-security-policy")
            .is_some_and(|p| !p.contains("unsafe"))
    );
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_asks_too_fast_is_told_to_wait_and_a_program_of_ours_does() {
    let world = World::new().await;
    // Many at once over one connection, so that a slow machine is asked too fast as well.
    let host = world.http;
    let one = format!("GET /api/v1/tip HTTP/1.1\r\nhost: {host}\r\n\r\n");
    let last = format!("GET /api/v1/tip HTTP/1.0\r\nhost: {host}\r\n\r\n");
    let answers = world.raw(one.repeat(1_000) + &last).await;
    assert_eq!(answers.status, 200);
    let text = answers.text();
    let (taken, refused) = (
        text.matches("HTTP/1.1 200").count(),
        text.matches("HTTP/1.1 429").count(),
    );
    assert!(
        (200..1_000).contains(&taken) && refused > 0,
        "{taken} {refused}"
    );
    assert!(text.contains("\"code\":\"too_many_requests\"") && text.contains("retry-after: 1"));
    // Metrics and health are asked by machines that must not be kept from it.
    assert_eq!(world.get("/health/live").await.status, 200);
    let tip = client::get(world.http, "/api/v1/tip");
    let tip = timeout(Duration::from_secs(10), tip).await.unwrap();
    assert_eq!(tip.unwrap()["height"], 0);
    world.end().await;
}
