//! Hostile input against the real server: other sites' pages, other hosts, wrong and huge bodies, slow clients, tricks with paths.

use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::world::{PATIENCE, World};

fn post(world: &World, lines: &str, body: &str) -> String {
    format!(
        "POST /api/v1/peers HTTP/1.0\r\nhost: {}\r\ncontent-length: {}\r\n{lines}\r\n{body}",
        world.http,
        body.len()
    )
}

const PEER: &str = "{\"addr\":\"127.0.0.1:9\"}";
const JSON: &str = "content-type: application/json\r\n";

/// Nothing of all this has changed anything, and the node still answers.
async fn unharmed(world: World) {
    let status = world.network.status().await.unwrap();
    assert_eq!(
        (status.outbound, status.security.operator_bans.len()),
        (0, 0)
    );
    let refused = world
        .network
        .drop_peer(quantumcoin::network::control::PeerRef::Addr(
            "127.0.0.1:9".parse().unwrap(),
        ));
    assert!(refused.await.is_err(), "somebody has added a peer");
    assert_eq!(world.get("/api/v1/tip").await.status, 200);
    world.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_token_nothing_is_changed() {
    let world = World::new().await;
    let (half, more) = (&world.token[..32], format!("{}0", world.token));
    let upper = world.token.to_uppercase();
    let other = "0".repeat(64);
    for lines in [
        String::new(),
        "authorization: Bearer\r\n".to_owned(),
        "authorization: Bearer \r\n".to_owned(),
        format!("authorization: Bearer {half}\r\n"),
        format!("authorization: Bearer {more}\r\n"),
        format!("authorization: Bearer {upper}\r\n"),
        format!("authorization: Bearer {other}\r\n"),
        format!("authorization: Basic {}\r\n", world.token),
        format!("x-authorization: Bearer {}\r\n", world.token),
        format!("cookie: token={}\r\n", world.token),
        "authorization: Bearer \u{fc}\r\n".to_owned(),
    ] {
        let answer = world
            .raw(post(&world, &format!("{JSON}{lines}"), PEER))
            .await;
        assert_eq!(answer.status, 401, "{lines:?}: {answer:?}");
        assert_eq!(answer.header("www-authenticate"), Some("bearer"));
        assert_eq!(answer.code(), "token_needed");
        assert!(!answer.text().contains(&world.token));
    }
    let query = format!(
        "POST /api/v1/peers?token={} HTTP/1.0\r\nhost: {}\r\ncontent-length: 0\r\n\r\n",
        world.token, world.http
    );
    assert_eq!(world.raw(query).await.status, 401);
    unharmed(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_of_other_sites_are_refused_even_with_the_token() {
    let world = World::new().await;
    let token = format!("authorization: Bearer {}\r\n", world.token);
    for lines in [
        "origin: http://evil.example\r\n",
        "origin: null\r\n",
        "origin: https://127.0.0.1.evil.example\r\n",
        "sec-fetch-site: cross-site\r\n",
        "sec-fetch-site: same-site\r\n",
    ] {
        let request = post(&world, &format!("{JSON}{token}{lines}"), PEER);
        let answer = world.raw(request).await;
        assert_eq!(answer.status, 403, "{lines:?}: {answer:?}");
        assert_eq!(answer.code(), "cross_site");
    }
    // Nobody is told that other sites may read or write.
    let preflight = format!(
        "OPTIONS /api/v1/peers HTTP/1.0\r\nhost: {}\r\norigin: http://evil.example\r\n\
         access-control-request-method: POST\r\n\r\n",
        world.http
    );
    let answer = world.raw(preflight).await;
    assert_eq!(answer.status, 403, "{answer:?}");
    assert!(!answer.head.contains("access-control"), "{answer:?}");
    let reading = format!(
        "GET /api/v1/status HTTP/1.0\r\nhost: {}\r\norigin: http://evil.example\r\n\r\n",
        world.http
    );
    let answer = world.raw(reading).await;
    assert!(!answer.head.contains("access-control"), "{answer:?}");
    unharmed(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_lead_here_are_not_this_host() {
    let world = World::new().await;
    let port = world.http.port();
    for (host, status) in [
        (format!("127.0.0.1:{port}"), 200),
        (format!("localhost:{port}"), 200),
        ("[::1]".to_owned(), 200),
        ("node.example.org".to_owned(), 200),
        (format!("evil.example:{port}"), 421),
        ("localhost.evil.example".to_owned(), 421),
        ("127.0.0.1.evil.example".to_owned(), 421),
    ] {
        for path in ["/api/v1/status", "/", "/assets/style.css", "/nowhere"] {
            let request = format!("GET {path} HTTP/1.0\r\nhost: {host}\r\n\r\n");
            let answer = world.raw(request).await;
            let expected = match (status, path) {
                (200, "/nowhere") => 404,
                (status, _) => status,
            };
            assert_eq!(answer.status, expected, "{host} {path}: {answer:?}");
        }
    }
    for request in [
        "GET /api/v1/tip HTTP/1.0\r\n\r\n".to_owned(),
        "GET /api/v1/tip HTTP/1.0\r\nhost: 127.0.0.1\r\nhost: evil.example\r\n\r\n".to_owned(),
        "GET /api/v1/tip HTTP/1.0\r\nhost: \r\n\r\n".to_owned(),
    ] {
        let answer = world.raw(&request).await;
        assert_eq!(answer.status, 400, "{request:?}: {answer:?}");
    }
    unharmed(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_are_wrong_are_told_apart() {
    let world = World::new().await;
    let token = format!("authorization: Bearer {}\r\n", world.token);
    let huge = format!("{{\"addr\":\"{}\"}}", "1".repeat(64 * 1024));
    let deep = "[".repeat(10_000);
    for (lines, body, status) in [
        ("content-type: text/plain\r\n", PEER, 415),
        (
            "content-type: application/x-www-form-urlencoded\r\n",
            "addr=127.0.0.1:9",
            415,
        ),
        ("content-type: multipart/form-data\r\n", PEER, 415),
        ("", PEER, 415),
        (JSON, "", 400),
        (JSON, "{", 400),
        (JSON, "null", 400),
        (JSON, "{\"addr\":\"127.0.0.1:9\",\"extra\":1}", 400),
        (
            JSON,
            "{\"addr\":\"127.0.0.1:9\",\"addr\":\"127.0.0.1:10\"}",
            400,
        ),
        (JSON, "{\"addr\":\"evil.example:9\"}", 400),
        (JSON, "{\"addr\":\"127.0.0.1:99999\"}", 400),
        (JSON, "\u{0}\u{1}", 400),
        (JSON, &deep, 400),
        (JSON, &huge, 413),
    ] {
        let request = post(&world, &format!("{lines}{token}"), body);
        let answer = world.raw(request).await;
        let start: String = body.chars().take(40).collect();
        assert_eq!(answer.status, status, "{lines:?} {start:?}: {answer:?}");
        answer.code();
    }
    // Of a transaction more is taken, and that has an end too.
    let hex = "00".repeat(100_600);
    let body = Some(serde_json::json!({ "hex": hex }));
    let answer = world.change("POST", "/api/v1/transactions", body).await;
    assert_eq!(answer.status, 413, "{answer:?}");
    let body = Some(serde_json::json!({ "hex": "00".repeat(99_000) }));
    let answer = world.change("POST", "/api/v1/transactions", body).await;
    assert_eq!(answer.status, 400, "{answer:?}");
    unharmed(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn tricks_with_paths_lead_nowhere() {
    let world = World::new().await;
    for path in [
        "/../../etc/passwd",
        "/assets/../../../../etc/passwd",
        "/assets/%2e%2e/%2e%2e/etc/passwd",
        "/assets/..%2f..%2fapi.token",
        "/api.token",
        "//etc/passwd",
        "/api/v1/../../api.token",
        "/api/v1//status",
        "/API/V1/STATUS",
        "/api/v1/status/",
        "/api/v1/blocks/..%2f..%2fapi.token",
        "/api/v1/blocks/%00",
        "/api/v1/blocks/-1",
        "/api/v1/blocks/4294967296",
        "/api/v1/blocks/0x10",
        "/api/v1/peers/%ff%fe",
        "/api/v1/transactions/..%2f..",
        "/api/v1/peers?limit=99999999999999999999",
        "/api/v1/peers?offset=-1",
        "/api/v1/peers?unknown=1",
        "/api/v1/events?since=1&since=2",
        "/api/v1/blocks/0?format=exe",
    ] {
        let answer = world.get(path).await;
        assert!((400..500).contains(&answer.status), "{path}: {answer:?}");
        let text = answer.text();
        assert!(
            !text.contains("root:") && !text.contains(&world.token),
            "{path}: {text}"
        );
        answer.code();
    }
    for request in [
        "GET http://127.0.0.1/api/v1/tip HTTP/1.0\r\nhost: evil.example\r\n\r\n".to_owned(),
        format!("GET * HTTP/1.0\r\nhost: {}\r\n\r\n", world.http),
        "CONNECT 127.0.0.1:22 HTTP/1.0\r\nhost: 127.0.0.1\r\n\r\n".to_owned(),
        "GET /api/v1/tip HTTP/9.9\r\n\r\n".to_owned(),
        "\u{16}\u{3}\u{1}\u{2}\u{0}\u{1}".repeat(40),
        format!("GET /{} HTTP/1.0\r\nhost: 127.0.0.1\r\n\r\n", "a".repeat(70_000)),
        format!("GET / HTTP/1.0\r\nhost: 127.0.0.1\r\nx: {}\r\n\r\n", "a".repeat(70_000)),
        format!("GET / HTTP/1.0\r\nhost: 127.0.0.1\r\n{}\r\n", "x: y\r\n".repeat(500)),
        "POST /api/v1/peers HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 5\r\ntransfer-encoding: chunked\r\n\
         connection: close\r\n\r\n0\r\n\r\n"
            .to_owned(),
        "POST /api/v1/peers HTTP/1.1\r\nhost: 127.0.0.1\r\ncontent-length: 5\r\ncontent-length: 6\r\n\r\nhello!"
            .to_owned(),
    ] {
        let answer = world.raw(&request).await;
        let start: String = request.chars().take(60).collect();
        assert!(
            answer.status == 0 || (400..500).contains(&answer.status),
            "{start:?}: {answer:?}"
        );
    }
    unharmed(world).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_answer_is_strict_with_browsers() {
    let world = World::new().await;
    for path in [
        "/",
        "/live",
        "/assets/live.js",
        "/api/v1/status",
        "/nowhere",
        "/metrics",
    ] {
        let answer = world.get(path).await;
        assert_eq!(
            answer.header("x-content-type-options"),
            Some("nosniff"),
            "{path}"
        );
        assert_eq!(answer.header("x-frame-options"), Some("deny"), "{path}");
        assert_eq!(
            answer.header("referrer-policy"),
            Some("no-referrer"),
            "{path}"
        );
        let policy = answer.header("content-security-policy").unwrap();
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
        assert!(policy.contains("default-src"), "{path}: {policy}");
    }
    let page = world.get("/").await.text();
    // Whatever a script or style is, it is a file of ours.
    for inline in [
        "<style",
        "style=",
        "onload",
        "onclick",
        "javascript:",
        "http://",
        "https://",
    ] {
        assert!(!page.contains(inline), "{inline}: {page}");
    }
    let scripts: Vec<_> = page.match_indices("<script").collect();
    assert_eq!(scripts.len(), 1, "{page}");
    assert!(
        page.contains("<script src=\"/assets/live.js\" defer></script>"),
        "{page}"
    );
    world.end().await;
}

/// Somebody who has the token and sends the body of his request a byte at a time.
#[tokio::test(flavor = "multi_thread")]
async fn a_body_that_trickles_is_not_waited_for() {
    let world = World::new().await;
    let mut stream = TcpStream::connect(world.http).await.unwrap();
    let head = format!(
        "POST /api/v1/peers HTTP/1.1\r\nhost: {}\r\ncontent-length: 22\r\n{JSON}authorization: Bearer {}\r\n\r\n",
        world.http, world.token
    );
    stream.write_all(head.as_bytes()).await.unwrap();
    let (mut reading, mut writing) = stream.into_split();
    let trickle = tokio::spawn(async move {
        for byte in PEER.bytes().take(20) {
            if writing.write_all(&[byte]).await.is_err() {
                break;
            }
            tokio::time::sleep(Duration::from_secs(1)).await;
        }
    });
    let start = Instant::now();
    let mut answer = Vec::new();
    // Cut off or told: either way it ends.
    let _ = timeout(PATIENCE, reading.read_to_end(&mut answer))
        .await
        .expect("the connection ends");
    assert!(
        start.elapsed() < Duration::from_secs(15),
        "{:?}",
        start.elapsed()
    );
    let answer = String::from_utf8_lossy(&answer).into_owned();
    assert!(
        answer.is_empty() || answer.starts_with("HTTP/1.1 408"),
        "{answer}"
    );
    trickle.abort();
    unharmed(world).await;
}

/// All who listen share one look at the node, and there is an end to them.
#[tokio::test(flavor = "multi_thread")]
async fn live_streams_have_an_end_and_leave_room_for_requests() {
    let world = World::new().await;
    let mut streams = Vec::new();
    let mut refused = 0;
    for _ in 0..280 {
        let mut stream = TcpStream::connect(world.http).await.unwrap();
        let request = format!("GET /api/v1/live HTTP/1.1\r\nhost: {}\r\n\r\n", world.http);
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut head = [0; 12];
        timeout(PATIENCE, stream.read_exact(&mut head))
            .await
            .unwrap()
            .unwrap();
        match &head {
            b"HTTP/1.1 200" => streams.push(stream),
            b"HTTP/1.1 503" => refused += 1,
            other => panic!("{}", String::from_utf8_lossy(other)),
        }
    }
    assert_eq!((streams.len(), refused), (256, 24));
    assert_eq!(
        world.get("/health/ready").await.status / 100,
        5,
        "it answers"
    );
    drop(streams);
    let start = Instant::now();
    world.end().await;
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "streams hold up the end"
    );
}
