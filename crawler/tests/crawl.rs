//! Whole crawls over a small network of real peers: finding, re-visiting, dashboard, API, stopping.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test may panic")]

use std::net::SocketAddr;
use std::time::Duration;

use quantumcoin::network::NetworkManager;
use quantumcoin::network::config::NetworkConfig;
use quantumcoin::reachability::Outcome;
use quantumcoin::reachability::exclusions::Exclusions;
use quantumcoin::service::metrics::Metrics;
use quantumcoin::store::StoreReader;
use quantumcoin_crawler::Crawler;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_util::sync::CancellationToken;

#[allow(dead_code, reason = "each test file uses a part of it")]
mod support;
use support::*;

async fn get(addr: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

#[tokio::test]
async fn one_seed_is_enough_to_find_everybody() {
    let chain = mined(&devnet(), 20, 1);
    let mut all = Vec::new();
    // A chain of acquaintance: each peer knows only the one before it.
    for host in 1..=12 {
        let tells = all.last().copied().into_iter().collect();
        all.push(
            peer(
                host,
                Behaviour::Honest {
                    chain: chain.clone(),
                    tells,
                },
            )
            .await,
        );
    }
    let dead = closed_port(99).await;
    let tells = vec![
        *all.last().unwrap(),
        dead,
        "10.1.2.3:0".parse().unwrap(),
        "224.0.0.1:5".parse().unwrap(),
    ];
    let seed = peer(50, Behaviour::Honest { chain, tells }).await;
    let dir = TempDir::new().unwrap();
    let crawler = Crawler::bind(config(&devnet(), dir.path(), &[seed]))
        .await
        .unwrap();
    let path = crawler.store_path();
    let report = crawler.once(CancellationToken::new()).await.unwrap();
    assert_eq!(
        (report.good, report.known, report.probes),
        (13, 14, 14),
        "{report}"
    );
    assert_eq!(
        (report.count(Outcome::Ok), report.count(Outcome::Refused)),
        (13, 1)
    );
    assert_eq!(report.height, Some(20));
    assert!(
        !path.with_extension("sqlite-wal").exists(),
        "all is in the one file that somebody may copy"
    );
    let reader = StoreReader::open(&path).await.unwrap();
    let detail = reader.peer(all[0], NOW.into()).await.unwrap().unwrap();
    assert_eq!(
        detail.source,
        format!("peer:{}", all[1]),
        "provenance is kept"
    );
    assert!(detail.node_id.is_some() && detail.facts.proved_height == Some(20));
}

/// Whole nodes of the project: one address leads to all of them, and each is good at once.
#[tokio::test(flavor = "multi_thread")]
async fn real_nodes_are_found_and_good() {
    let chain = mined(&devnet(), 25, 1);
    let node = async |host: u8, peers: Vec<SocketAddr>| {
        let mut config = NetworkConfig::new(SocketAddr::from(([127, 0, 8, host], 0)));
        config.providers = Vec::new();
        config.manual_peers = peers;
        config.outbound_target = 0;
        let node = NetworkManager::with_config(config, chain.clone(), None, &Metrics::new("node"))
            .await
            .unwrap();
        node.start().await.unwrap();
        node
    };
    let hub = node(1, Vec::new()).await;
    let mut others = Vec::new();
    for host in 2..=4 {
        others.push(node(host, vec![hub.listen_addr()]).await);
    }
    let dir = TempDir::new().unwrap();
    let mut config = config(&devnet(), dir.path(), &[hub.listen_addr()]);
    config.settings.schedule.good_min_secs = 1;
    config.settings.schedule.good_max_secs = 1;
    let crawler = Crawler::bind(config).await.unwrap();
    let path = crawler.store_path();
    let stop = CancellationToken::new();
    let running = tokio::spawn(crawler.run(stop.clone()));
    let reader = StoreReader::open(&path).await.unwrap();
    until("four good nodes", async || {
        reader
            .good_peers(i64::from(u32::MAX))
            .await
            .unwrap()
            .peers
            .len()
            == 4
    })
    .await;
    let good = reader.good_peers(i64::from(u32::MAX)).await.unwrap();
    for node in others.iter().chain([&hub]) {
        let peer = good
            .peers
            .iter()
            .find(|p| p.addr == node.listen_addr())
            .unwrap();
        assert_eq!(
            peer.node_id,
            Some(node.node_id().to_bytes()),
            "the identity is proven"
        );
        assert_eq!(peer.height, 25);
    }
    stop.cancel();
    running.await.unwrap().unwrap();
    for node in others.iter().chain([&hub]) {
        node.shutdown().await;
    }
}

#[tokio::test]
async fn a_running_crawler_visits_again_takes_requests_and_stops() {
    let chain = mined(&devnet(), 10, 1);
    let known = peer(1, honest(chain.clone())).await;
    let added = peer(2, honest(chain)).await;
    let dir = TempDir::new().unwrap();
    let mut config = config(&devnet(), dir.path(), &[known]);
    config.settings.schedule.good_min_secs = 1;
    config.settings.schedule.good_max_secs = 1;
    config.http = Some("127.0.0.1:0".parse().unwrap());
    let crawler = Crawler::bind(config).await.unwrap();
    let (path, http) = (crawler.store_path(), crawler.http_addr().unwrap());
    let stop = CancellationToken::new();
    let running = tokio::spawn(crawler.run(stop.clone()));
    let reader = StoreReader::open(&path).await.unwrap();
    until("three visits", async || {
        reader
            .peer(known, NOW.into())
            .await
            .unwrap()
            .is_some_and(|d| d.history.len() >= 3)
    })
    .await;
    assert_eq!(
        reader
            .good_peers(i64::from(u32::MAX))
            .await
            .unwrap()
            .peers
            .len(),
        1
    );

    // Another process asks for a visit, as the `add` command does.
    let other = std::process::Command::new(env!("CARGO_BIN_EXE_quantumcoin-crawler"))
        .args([
            "add",
            &added.to_string(),
            "--network",
            "devnet",
            "--data-dir",
        ])
        .arg(dir.path())
        .output()
        .unwrap();
    assert!(
        other.status.success(),
        "{}",
        String::from_utf8_lossy(&other.stderr)
    );
    until("the added peer's visit", async || {
        reader
            .peer(added, NOW.into())
            .await
            .unwrap()
            .is_some_and(|d| d.facts.last_outcome == Some(Outcome::Ok))
    })
    .await;

    until("fresh figures", async || {
        get(http, "/api/v1/summary").await.contains("\"good\":2")
    })
    .await;
    assert!(
        get(http, "/metrics")
            .await
            .contains("qtc_crawler_probes_total{outcome=\"ok\"}")
    );
    assert!(get(http, "/health/ready").await.starts_with("HTTP/1.1 200"));
    let explain = std::process::Command::new(env!("CARGO_BIN_EXE_quantumcoin-crawler"))
        .args([
            "explain",
            &added.to_string(),
            "--network",
            "devnet",
            "--data-dir",
        ])
        .arg(dir.path())
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&explain.stdout);
    assert!(
        explain.status.success() && text.contains(": good"),
        "{text}"
    );
    assert!(text.matches("pass").count() >= 7, "{text}");

    stop.cancel();
    tokio::time::timeout(Duration::from_secs(5), running)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}

/// Runs the program on a store, beside whatever runs.
fn program(dir: &std::path::Path, arguments: &[&str]) -> std::process::Output {
    std::process::Command::new(env!("CARGO_BIN_EXE_quantumcoin-crawler"))
        .args(arguments)
        .args(["--network", "devnet", "--data-dir"])
        .arg(dir)
        .output()
        .unwrap()
}

fn said(output: &std::process::Output) -> String {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

async fn visits(reader: &StoreReader, addr: SocketAddr) -> usize {
    let detail = reader.peer(addr, NOW.into()).await.unwrap();
    detail.map_or(0, |detail| detail.history.len())
}

#[tokio::test]
async fn bans_and_new_settings_reach_a_running_crawler() {
    let chain = mined(&devnet(), 10, 1);
    let banned = peer(1, honest(chain.clone())).await;
    let asked_not_to = peer(2, honest(chain.clone())).await;
    let other = peer(3, honest(chain)).await;
    let dir = TempDir::new().unwrap();
    let mut config = config(&devnet(), dir.path(), &[banned, asked_not_to, other]);
    config.settings.schedule.good_min_secs = 1;
    config.settings.schedule.good_max_secs = 1;
    let mut crawler = Crawler::bind(config.clone()).await.unwrap();
    let (path, reloads) = (crawler.store_path(), crawler.reloads());
    let stop = CancellationToken::new();
    let running = tokio::spawn(crawler.run(stop.clone()));
    let reader = StoreReader::open(&path).await.unwrap();
    until("three good peers", async || good(&reader).await.len() == 3).await;

    let net = format!("{}/32", banned.ip());
    said(&program(dir.path(), &["ban", &net, "--reason", "a test"]));
    until("the ban", async || good(&reader).await.len() == 2).await;
    assert!(!good(&reader).await.contains(&banned));
    assert!(said(&program(dir.path(), &["bans"])).contains("a test"));
    let explain = program(dir.path(), &["explain", &banned.to_string()]);
    assert_eq!(explain.status.code(), Some(3));
    let text = String::from_utf8_lossy(&explain.stdout).into_owned();
    assert!(text.contains("FAIL  allowed"), "{text}");

    let before = (visits(&reader, banned).await, visits(&reader, other).await);
    until("visits to the others", async || {
        visits(&reader, other).await >= before.1 + 4
    })
    .await;
    assert!(visits(&reader, banned).await <= before.0 + 2);

    let text = format!("{} # asked\n", asked_not_to.ip());
    config.excluded = Exclusions::parse(&text, "list").unwrap();
    reloads.send(config).await.unwrap();
    // A visit may be under way as the list comes; the next ones are of the other alone.
    let before = (
        visits(&reader, asked_not_to).await,
        visits(&reader, other).await,
    );
    until("visits to the other", async || {
        visits(&reader, other).await >= before.1 + 4
    })
    .await;
    assert!(visits(&reader, asked_not_to).await <= before.0 + 2);

    said(&program(dir.path(), &["unban", &net]));
    assert_eq!(said(&program(dir.path(), &["bans"])), "");
    let again = program(dir.path(), &["unban", &net]);
    assert!(String::from_utf8_lossy(&again.stderr).contains("is not banned"));
    stop.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn what_is_dumped_can_be_imported_by_another() {
    let chain = mined(&devnet(), 10, 1);
    let addr = peer(1, honest(chain)).await;
    let closed = closed_port(2).await;
    let (one, other) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let crawler = Crawler::bind(config(&devnet(), one.path(), &[addr, closed]))
        .await
        .unwrap();
    crawler.once(CancellationToken::new()).await.unwrap();
    let file = one.path().join("seeds.txt");
    let path = file.to_str().unwrap();
    said(&program(one.path(), &["dump", "--out", path]));
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.starts_with("# address "), "{text}");
    assert_eq!(text.lines().count(), 3);
    let only_good = said(&program(one.path(), &["dump", "--good", "--format", "csv"]));
    assert_eq!(only_good.lines().count(), 2, "{only_good}");
    let json = said(&program(one.path(), &["dump", "--format", "json"]));
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(json.as_array().unwrap().len(), 2);

    let imported = said(&program(other.path(), &["import", path]));
    assert!(imported.starts_with("2 addresses taken in"), "{imported}");
    let reader = StoreReader::open(&other.path().join("crawl.sqlite"))
        .await
        .unwrap();
    let known = reader.peer(addr, NOW.into()).await.unwrap().unwrap();
    assert_eq!(known.source, "manual");
    std::fs::write(&file, "127.0.0.1:1\nno address\n").unwrap();
    let wrong = program(other.path(), &["import", path]);
    let told = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(told.contains("line 2") && told.contains("\"no\""), "{told}");
}

#[tokio::test]
async fn a_hostile_user_agent_stays_text() {
    let chain = mined(&devnet(), 3, 1);
    let agent = "/<script>alert(1)</script>\"'&\u{202e}/".to_owned();
    let addr = peer(1, Behaviour::Named { chain, agent }).await;
    let dir = TempDir::new().unwrap();
    let first = Crawler::bind(config(&devnet(), dir.path(), &[addr]))
        .await
        .unwrap();
    first.once(CancellationToken::new()).await.unwrap();
    let mut config = config(&devnet(), dir.path(), &[]);
    config.http = Some("127.0.0.1:0".parse().unwrap());
    let crawler = Crawler::bind(config).await.unwrap();
    let http = crawler.http_addr().unwrap();
    let stop = CancellationToken::new();
    let running = tokio::spawn(crawler.run(stop.clone()));
    let peer_page = format!("/peers/{addr}");
    for path in [
        "/",
        "/live",
        "/peers",
        "/peers?search=%3Cscript%3E",
        &peer_page,
    ] {
        let page = get(http, path).await;
        assert!(page.starts_with("HTTP/1.1 200"), "{path}: {page}");
        assert!(!page.contains("<script>alert"), "{path}");
        assert!(
            page.contains("script-src 'self'") && !page.contains("unsafe-inline"),
            "{path}"
        );
        assert!(
            !page.contains(" style="),
            "inline styles would be blocked: {path}"
        );
        assert!(
            !page.contains("//cdn") && !page.contains("https://"),
            "no foreign request: {path}"
        );
    }
    assert!(get(http, "/peers").await.contains("&#60;script&#62;"));
    assert!(get(http, "/peers?search=script").await.contains("1 peers"));
    assert!(
        get(http, "/peers?search=%25").await.contains("0 peers"),
        "a percent sign is no wildcard"
    );
    assert!(
        get(http, "/peers/nonsense")
            .await
            .starts_with("HTTP/1.1 400")
    );
    assert!(
        get(http, "/peers/9.9.9.9:1")
            .await
            .starts_with("HTTP/1.1 404")
    );
    assert!(get(http, "/nowhere").await.starts_with("HTTP/1.1 404"));
    assert!(
        get(http, "/api/v1/peers").await.contains("<script>"),
        "JSON carries it as it is"
    );
    assert!(
        get(http, "/api/v1/peers")
            .await
            .contains("application/json")
    );
    stop.cancel();
    running.await.unwrap().unwrap();
}

#[tokio::test]
async fn live_updates_are_streamed() {
    let chain = mined(&devnet(), 3, 1);
    let addr = peer(1, honest(chain)).await;
    let dir = TempDir::new().unwrap();
    let mut config = config(&devnet(), dir.path(), &[addr]);
    config.http = Some("127.0.0.1:0".parse().unwrap());
    let crawler = Crawler::bind(config).await.unwrap();
    let mut stream = TcpStream::connect(crawler.http_addr().unwrap())
        .await
        .unwrap();
    stream
        .write_all(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
        .await
        .unwrap();
    let stop = CancellationToken::new();
    let running = tokio::spawn(crawler.run(stop.clone()));
    let mut seen = String::new();
    let mut buffer = [0; 4_096];
    while seen.matches("event: snapshot").count() < 2 {
        let n = tokio::time::timeout(Duration::from_secs(20), stream.read(&mut buffer))
            .await
            .unwrap()
            .unwrap();
        assert!(n > 0, "the stream ended: {seen}");
        seen.push_str(&String::from_utf8_lossy(&buffer[..n]));
    }
    assert!(seen.contains("text/event-stream"));
    stop.cancel();
    tokio::time::timeout(Duration::from_secs(5), running)
        .await
        .unwrap()
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn a_busy_dashboard_port_is_told_in_words() {
    let held = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dir = TempDir::new().unwrap();
    let mut config = config(&devnet(), dir.path(), &[]);
    config.http = Some(held.local_addr().unwrap());
    let error = Crawler::bind(config)
        .await
        .err()
        .expect("the port is taken")
        .to_string();
    assert!(
        error.contains(&held.local_addr().unwrap().port().to_string()),
        "{error}"
    );
}
