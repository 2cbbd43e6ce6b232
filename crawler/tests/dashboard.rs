//! The dashboard's pages, exports and live stream, over real sockets, with peers that mean harm.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::time::Duration;

use quantumcoin_crawler::Crawler;
use quantumcoin_crawler::seeders::SeederUrl;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

#[allow(dead_code, reason = "each test file uses a part of it")]
mod support;
use support::*;

/// A crawler with its dashboard that visits these peers.
struct Shown {
    http: SocketAddr,
    stop: CancellationToken,
    running: JoinHandle<()>,
    _dir: TempDir,
}

impl Shown {
    async fn start(seeds: &[SocketAddr], seeders: &[SocketAddr]) -> Self {
        let dir = TempDir::new().unwrap();
        let mut config = config(&devnet(), dir.path(), seeds);
        config.http = Some("127.0.0.1:0".parse().unwrap());
        config.settings.seeders = Some(seeders.iter().copied().map(SeederUrl).collect());
        let crawler = Crawler::bind(config).await.unwrap();
        let http = crawler.http_addr().unwrap();
        let stop = CancellationToken::new();
        let running = tokio::spawn({
            let stop = stop.clone();
            async move { crawler.run(stop).await.unwrap() }
        });
        Self {
            http,
            stop,
            running,
            _dir: dir,
        }
    }

    async fn get(&self, path: &str) -> String {
        self.ask(&format!("GET {path} HTTP/1.1\r\nHost: x\r\n"))
            .await
    }

    /// One request, given without its end; the whole answer.
    async fn ask(&self, head: &str) -> String {
        let mut stream = TcpStream::connect(self.http).await.unwrap();
        let request = format!("{head}Connection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer).await.unwrap();
        String::from_utf8_lossy(&answer).into_owned()
    }

    async fn json(&self, path: &str) -> Value {
        let answer = self.get(path).await;
        let body = answer.split_once("\r\n\r\n").unwrap().1;
        serde_json::from_str(body).unwrap_or_else(|_| panic!("{answer}"))
    }

    /// Waits until so many peers are in the table.
    async fn peers(&self, n: u64) {
        until("all are in the table", async || {
            self.json("/api/v1/peers").await["total"].as_u64() >= Some(n)
        })
        .await;
    }

    async fn end(self) {
        self.stop.cancel();
        self.running.await.unwrap();
    }
}

fn status(answer: &str) -> &str {
    answer.get(9..12).unwrap_or_default()
}

const SCRIPT: &str = "<script>alert(1)</script>\"'&";
const FORMULA: &str = "=HYPERLINK(\"http://evil.example\",\"x\")";

#[tokio::test]
async fn what_peers_call_themselves_is_text_everywhere() {
    let chain = mined(&devnet(), 5, 1);
    let named = |agent: &str| Behaviour::Named {
        chain: chain.clone(),
        agent: agent.to_owned(),
    };
    let first = peer(1, named(SCRIPT)).await;
    let second = peer(2, named(FORMULA)).await;
    let shown = Shown::start(&[first, second], &[]).await;
    until("both are good", async || {
        shown.json("/api/v1/summary").await["good"] == 2
    })
    .await;
    let escaped = "&#60;script&#62;";
    for path in ["/", "/live", "/peers", &format!("/peers/{first}")] {
        let page = shown.get(path).await;
        assert_eq!(status(&page), "200", "{page}");
        assert!(page.contains(escaped), "{path}: {page}");
        assert!(!page.contains("<script>alert"), "{path}");
        assert!(
            page.contains("content-security-policy: default-src 'none'"),
            "{path}"
        );
        assert!(page.contains("x-content-type-options: nosniff"), "{path}");
    }
    let found = shown.get("/peers?search=%3Cscript%3Ealert").await;
    assert!(found.contains(escaped) && !found.contains("<script>alert"));
    let reflected = shown.get("/peers?search=%22%3E%3Cimg%20src%3Dx%3E").await;
    assert!(!reflected.contains("<img"), "{reflected}");
    let csv = shown.get("/export/peers.csv").await;
    assert!(
        csv.contains("text/csv") && csv.contains("attachment"),
        "{csv}"
    );
    assert!(csv.contains("\"'=HYPERLINK(\"\"http"), "{csv}");
    // Nobody makes the browser take JSON for a page.
    let json = shown.get("/api/v1/peers").await;
    assert!(json.contains("content-type: application/json"), "{json}");
    shown.end().await;
}

#[tokio::test]
async fn strange_paths_and_queries_are_refused_in_peace() {
    let shown = Shown::start(&[], &[]).await;
    for path in [
        "/../../etc/passwd",
        "/assets/../../../etc/passwd",
        "/assets/..%2f..%2f..%2fetc%2fpasswd",
        "/assets/%2e%2e/style.css",
        "//etc/passwd",
        "/peers/%00",
        "/peers/%ff%fe",
        "/peers/..%2f..%2fmetrics",
        "/peers/127.0.0.1:99999",
        "/history?from=x&to=y",
        "/peers?page=1&page=2",
        "/api/v1/shares/..%2f",
        "/api/v1/nothing",
        "/visits",
    ] {
        let answer = shown.get(path).await;
        assert!(status(&answer).starts_with('4'), "{path}: {answer}");
        assert!(!answer.contains("root:"), "{path}");
    }
    // What can be understood somehow is answered, and costs nothing.
    for path in [
        "/peers?page=99999999999999999999",
        "/peers?page=4294967295&sort=height",
        "/peers?search=%25%5F%00%F0%9F%92%A9&sort=x&direction=x&country=%3C&system=-1",
        "/api/v1/peers?limit=0&offset=18446744073709551615",
        "/api/v1/peers?limit=999999999&after=start",
        "/history?from=-9223372036854775808&to=9223372036854775807",
        "/export/history.csv?by=hours&since=-9223372036854775808",
    ] {
        let answer = shown.get(path).await;
        assert_eq!(status(&answer), "200", "{path}: {answer}");
    }
    let long = format!("/peers?search={}", "a".repeat(100_000));
    let answer = shown.get(&long).await;
    assert!(
        status(&answer).starts_with('4') || answer.is_empty(),
        "{answer}"
    );
    for method in ["PUT", "DELETE", "POST"] {
        let answer = shown
            .ask(&format!("{method} /peers HTTP/1.1\r\nHost: x\r\n"))
            .await;
        assert_eq!(status(&answer), "405", "{method}: {answer}");
    }
    shown.end().await;
}

#[tokio::test]
async fn peers_come_by_cursor_and_by_offset_and_the_overview_by_tag() {
    let chain = mined(&devnet(), 5, 1);
    let mut seeds = Vec::new();
    for n in 1..=7 {
        seeds.push(peer(n, honest(chain.clone())).await);
    }
    let shown = Shown::start(&seeds, &[]).await;
    shown.peers(7).await;
    let all: BTreeSet<String> = seeds.iter().map(ToString::to_string).collect();
    for first in [
        "/api/v1/peers?limit=3&after=start",
        "/api/v1/peers?limit=3&sort=agent",
    ] {
        let (mut found, mut next) = (Vec::new(), Some(first.to_owned()));
        while let Some(path) = next {
            let page = shown.json(&path).await;
            let rows = page["peers"].as_array().unwrap();
            assert!(rows.len() <= 3, "{page}");
            found.extend(rows.iter().map(|p| p["addr"].as_str().unwrap().to_owned()));
            next = page["next"].as_str().map(str::to_owned);
        }
        assert_eq!(found.len(), 7, "{first}: each once");
        assert_eq!(found.into_iter().collect::<BTreeSet<_>>(), all);
    }
    let csv = shown.get("/export/peers.csv?search=127.0.7.1").await;
    assert_eq!(csv.matches("127.0.7.1:").count(), 1, "{csv}");
    assert!(!csv.contains("127.0.7.2:"));

    // The crawl has settled between two visits of everybody.
    until("a tag holds", async || {
        let page = shown.get("/live").await;
        let tag = page
            .lines()
            .find_map(|line| line.strip_prefix("etag: "))
            .unwrap();
        let again = shown
            .ask(&format!(
                "GET /live HTTP/1.1\r\nHost: x\r\nIf-None-Match: {tag}\r\n"
            ))
            .await;
        status(&again) == "304" && again.ends_with("\r\n\r\n")
    })
    .await;
    let small = shown
        .ask("GET / HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n")
        .await;
    assert!(
        small.contains("content-encoding: gzip"),
        "{}",
        &small[..200]
    );
    shown.end().await;
}

/// The number of series in a text of metrics, and the values of all labels.
fn series(metrics: &str) -> (usize, BTreeSet<&str>) {
    let body = metrics.split_once("\r\n\r\n").unwrap().1;
    let lines = body
        .lines()
        .filter(|line| !line.starts_with('#') && line.contains(' '));
    let labels = body.split('"').skip(1).step_by(2);
    (lines.count(), labels.collect())
}

#[tokio::test]
async fn a_flood_of_peers_of_all_kinds_adds_no_series() {
    let chain = mined(&devnet(), 5, 1);
    let shown = Shown::start(&[], &[]).await;
    until("it crawls", async || {
        shown.json("/api/v1/summary").await["known"] == 0
    })
    .await;
    let (before, _) = series(&shown.get("/metrics").await);
    shown.end().await;

    let mut seeds = Vec::new();
    for n in 1..=40_u8 {
        let behaviour = match n % 8 {
            0 => Behaviour::Junk,
            1 => Behaviour::Closes,
            2 => Behaviour::OtherNetwork,
            3 => Behaviour::Mirror,
            4 => Behaviour::Old {
                chain: chain.clone(),
                version: u32::from(n),
            },
            // Labels of addresses or user agents would show here.
            _ => Behaviour::Named {
                chain: chain.clone(),
                agent: format!("/flood:{n}/"),
            },
        };
        seeds.push(peer(n, behaviour).await);
    }
    for n in 41..=60 {
        seeds.push(closed_port(n).await);
    }
    let shown = Shown::start(&seeds, &[]).await;
    shown.peers(55).await;
    let metrics = shown.get("/metrics").await;
    let (after, labels) = series(&metrics);
    assert_eq!(after, before, "{metrics}");
    let is_foreign = |label: &&&str| label.contains("flood") || label.contains("127.0.7.");
    assert_eq!(labels.iter().find(is_foreign), None);
    shown.end().await;
}

#[tokio::test]
async fn a_seeder_that_lies_or_hangs_is_shown_and_harms_nobody() {
    // One answers with junk, one says it is a page, one never says anything.
    let junk = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let hostile = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addrs = [&junk, &hostile, &silent].map(|l| l.local_addr().unwrap());
    let serve = |listener: TcpListener, answer: String| {
        tokio::spawn(async move {
            loop {
                let (mut stream, _) = listener.accept().await.unwrap();
                let mut head = [0; 1_024];
                // Whether it was read or not, this is all it gets.
                let _ = stream.read(&mut head).await;
                let _ = stream.write_all(answer.as_bytes()).await;
            }
        })
    };
    serve(junk, "\u{0}\u{0}SSH-2.0-x\r\n".to_owned());
    let status = serde_json::json!({
        "network": "<img src=x>", "zones": [{ "name": "<script>alert(1)</script>", "queries": { "A": 7 } }],
        "alerts": [{ "severity": "critical", "what": "<b>fire</b>", "remedy": "<i>water</i>" }],
    })
    .to_string();
    let length = status.len();
    serve(
        hostile,
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{status}"),
    );
    let shown = Shown::start(&[], &addrs).await;
    until("all three are told of", async || {
        let seeders = shown.json("/api/v1/seeders").await;
        seeders.as_array().is_some_and(|s| s.len() == 3)
    })
    .await;
    let seeders = shown.json("/api/v1/seeders").await;
    assert!(
        seeders[0]["error"].is_string() && seeders[2]["error"].is_string(),
        "{seeders}"
    );
    assert!(seeders[1]["error"].is_null(), "{seeders}");
    let page = shown.get("/").await;
    assert!(
        page.contains("&#60;img src=x&#62;") && page.contains("&#60;b&#62;fire"),
        "{page}"
    );
    for tag in ["<img", "<script>alert", "<b>", "<i>"] {
        assert!(!page.contains(tag), "{tag}");
    }
    let alerts = shown.json("/api/v1/alerts").await;
    let kinds: Vec<&str> = alerts["alerts"]
        .as_array()
        .unwrap()
        .iter()
        .map(|a| a["kind"].as_str().unwrap())
        .collect();
    assert!(
        kinds.contains(&"seeder_down") && kinds.contains(&"seeder_failing"),
        "{kinds:?}"
    );
    let metrics = shown.get("/metrics").await;
    assert!(
        metrics.contains("qtc_crawler_alerts{kind=\"seeder_down\"} 2"),
        "{metrics}"
    );
    shown.end().await;
}

#[tokio::test]
async fn a_crowd_of_live_viewers_is_bounded_and_told_so() {
    let shown = Shown::start(&[], &[]).await;
    let mut streams = Vec::new();
    for _ in 0..256 {
        let mut stream = TcpStream::connect(shown.http).await.unwrap();
        stream
            .write_all(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .unwrap();
        let mut start = [0; 12];
        stream.read_exact(&mut start).await.unwrap();
        assert_eq!(&start, b"HTTP/1.1 200");
        streams.push(stream);
    }
    let refused = shown.get("/events").await;
    assert!(
        status(&refused) == "503" && refused.contains("retry-after: 30"),
        "{refused}"
    );
    // Pages are still served, and a place that is left is given to the next.
    assert_eq!(status(&shown.get("/").await), "200");
    drop(streams.pop());
    until("a place is free", async || {
        let mut stream = TcpStream::connect(shown.http).await.unwrap();
        stream
            .write_all(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
            .await
            .unwrap();
        let mut start = [0; 12];
        stream.read_exact(&mut start).await.unwrap();
        &start == b"HTTP/1.1 200"
    })
    .await;
    // What changes is told to all of them.
    let mut first = streams.swap_remove(0);
    let mut text = String::new();
    let told = tokio::time::timeout(Duration::from_secs(40), async {
        while text.matches("data:").count() < 2 {
            let mut part = [0; 1_024];
            let n = first.read(&mut part).await.unwrap();
            assert!(n > 0, "closed: {text}");
            text.push_str(&String::from_utf8_lossy(&part[..n]));
        }
    });
    told.await.expect("a second picture is told");
    drop(streams);
    shown.end().await;
}
