//! Visits that anybody may ask for, and where peers are.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::net::SocketAddr;
use std::path::Path;

use quantumcoin::store::StoreReader;
use quantumcoin_crawler::Crawler;
use quantumcoin_crawler::geo::{Geo, GeoFiles};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

#[allow(dead_code, reason = "each test file uses a part of it")]
mod support;
use support::*;

/// One request; gives the whole answer.
async fn request(addr: SocketAddr, head: &str, body: &str) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let length = body.len();
    let request = format!(
        "{head}\r\nHost: crawler.example\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

async fn ask(crawler: SocketAddr, addr: &str) -> String {
    let body = serde_json::json!({ "addr": addr }).to_string();
    let head = "POST /api/v1/visits HTTP/1.1\r\nContent-Type: application/json";
    request(crawler, head, &body).await
}

async fn submit(crawler: SocketAddr, headers: &str, addr: &str) -> String {
    let head = format!(
        "POST /visits HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded{headers}"
    );
    let body = format!("addr={}", addr.replace(':', "%3A"));
    request(crawler, &head, &body).await
}

#[tokio::test]
async fn anybody_may_have_a_node_visited_within_an_allowance() {
    let chain = mined(&devnet(), 5, 1);
    let dir = TempDir::new().unwrap();
    let mut config = config(&devnet(), dir.path(), &[]);
    config.http = Some("127.0.0.1:0".parse().unwrap());
    let crawler = Crawler::bind(config).await.unwrap();
    let (http, path) = (crawler.http_addr().unwrap(), crawler.store_path());
    let stop = CancellationToken::new();
    let running = tokio::spawn(crawler.run(stop.clone()));

    let (first, second) = (
        peer(1, honest(chain.clone())).await,
        peer(2, honest(chain)).await,
    );
    let answer = ask(http, &first.to_string()).await;
    assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
    assert!(
        answer.contains(&format!("/api/v1/peers/{first}")),
        "{answer}"
    );
    let answer = submit(http, "\r\nSec-Fetch-Site: same-origin", &second.to_string()).await;
    assert!(answer.starts_with("HTTP/1.1 303"), "{answer}");
    assert!(
        answer.contains(&format!("location: /peers/{second}")),
        "{answer}"
    );
    let reader = StoreReader::open(&path).await.unwrap();
    until("both are good", async || good(&reader).await.len() == 2).await;
    let detail = reader.peer(first, NOW.into()).await.unwrap().unwrap();
    assert_eq!(detail.source, "web");

    // What is wrong is told, and what another site's page makes a browser send is refused.
    let wrong = ask(http, "example.com:8333").await;
    assert!(
        wrong.starts_with("HTTP/1.1 400") && wrong.contains("no address"),
        "{wrong}"
    );
    let reserved = ask(http, "224.0.0.1:8333").await;
    assert!(
        reserved.starts_with("HTTP/1.1 400") && reserved.contains("reserved"),
        "{reserved}"
    );
    let forged = submit(http, "\r\nSec-Fetch-Site: cross-site", &first.to_string()).await;
    assert!(forged.starts_with("HTTP/1.1 403"), "{forged}");
    let forged = submit(http, "\r\nOrigin: https://evil.example", &first.to_string()).await;
    assert!(forged.starts_with("HTTP/1.1 403"), "{forged}");
    let big = ask(http, &"x".repeat(100_000)).await;
    assert!(big.starts_with("HTTP/1.1 413"), "{}", &big[..60]);

    // No port scans: of one host few ports are dialled, and a client has ten in all.
    let mut scanned = 0;
    for port in 1..=9 {
        let answer = ask(http, &format!("127.0.9.9:{port}")).await;
        scanned += u32::from(answer.starts_with("HTTP/1.1 202"));
    }
    assert_eq!(scanned, 5);
    let mut taken = 0;
    for host in 1..=9 {
        let answer = ask(http, &format!("127.0.10.{host}:1")).await;
        if answer.starts_with("HTTP/1.1 202") {
            taken += 1;
        } else {
            assert!(answer.starts_with("HTTP/1.1 429"), "{answer}");
            assert!(answer.contains("retry-after: "), "{answer}");
        }
    }
    assert_eq!(taken, 3, "two nodes and five ports are taken");
    stop.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn where_peers_are_is_written_down_counted_and_shown() {
    let chain = mined(&devnet(), 5, 1);
    let mut seeds = Vec::new();
    for host in 1..=3 {
        seeds.push(peer_at([127, host, 0, 1], honest(chain.clone())).await);
    }
    let dir = TempDir::new().unwrap();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let mut config = config(&devnet(), dir.path(), &seeds);
    config.geo = Geo::read(&GeoFiles {
        countries: Some(data.join("countries.mmdb")),
        systems: Some(data.join("systems.mmdb")),
    })
    .unwrap();
    config.http = Some("127.0.0.1:0".parse().unwrap());
    let crawler = Crawler::bind(config).await.unwrap();
    let (http, path) = (crawler.http_addr().unwrap(), crawler.store_path());
    let stop = CancellationToken::new();
    let running = tokio::spawn(crawler.run(stop.clone()));
    let reader = StoreReader::open(&path).await.unwrap();
    until("all are good", async || good(&reader).await.len() == 3).await;
    let json = async |path: &str| -> serde_json::Value {
        let answer = request(http, &format!("GET {path} HTTP/1.1"), "").await;
        serde_json::from_str(answer.split("\r\n\r\n").nth(1).unwrap_or_default()).unwrap()
    };
    let countries =
        serde_json::json!([{ "value": "CH", "count": 2 }, { "value": "DE", "count": 1 }]);
    until("it is shown", async || {
        json("/api/v1/summary").await["countries"] == countries
    })
    .await;
    let summary = json("/api/v1/summary").await;
    assert_eq!(summary["systems"][0]["value"], "AS64501 EXAMPLE-1");
    assert!(summary["latencies_ms"]["ping"]["p99"].is_u64(), "{summary}");
    let page = request(http, "GET / HTTP/1.1", "").await;
    assert!(
        page.contains("AS64502 EXAMPLE-2") && page.contains("Countries"),
        "{page}"
    );
    let detail = json(&format!("/api/v1/peers/{}", seeds[1])).await;
    assert_eq!(
        (&detail["country"], &detail["system"]),
        (&"DE".into(), &64_502.into())
    );
    stop.cancel();
    running.await.unwrap().unwrap();
    // The last word of the day is that of the end.
    let shares = reader.daily_shares(quantumcoin::reachability::census::Trait::Country, 0);
    let shares = shares.await.unwrap();
    assert_eq!(shares.last().unwrap().1[0], ("CH".to_owned(), 2));
    assert!(
        reader
            .days(0)
            .await
            .unwrap()
            .last()
            .unwrap()
            .latencies
            .secure
            .is_some()
    );
}
