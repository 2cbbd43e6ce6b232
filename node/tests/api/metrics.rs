//! `/metrics` of a node that has peers, bans and a chain: in order by Prometheus's own tool, and with everything that dashboards and
//! alerts need.

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::json;

use super::world::{World, key};

/// What is promised in docs/api.md.
const PROMISED: &str = include_str!("../../../docs/api.md");

#[tokio::test(flavor = "multi_thread")]
async fn metrics_are_in_order_and_complete() {
    let (world, other) = (World::new().await, World::new().await);
    world.mine(&key(), 3);
    let add = json!({ "addr": other.peers });
    world.change("POST", "/api/v1/peers", Some(add)).await;
    let ban = json!({ "network": "198.51.100.7", "forever": true });
    world.change("POST", "/api/v1/bans", Some(ban)).await;
    world
        .until("/api/v1/peers", |peers| peers["total"] == 1)
        .await;
    world.get("/nowhere").await;

    // Figures are looked at every five seconds.
    let mut text = String::new();
    for _ in 0..300 {
        text = world.get("/metrics").await.text();
        if text.contains("bans{by=\"operator\"} 1")
            && !text.contains("peer_bytes_total{direction=\"sent\"} 0")
        {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for line in [
        "quantumcoin_node_bans{by=\"operator\"} 1",
        "quantumcoin_node_bans{by=\"offence\"} 0",
        "quantumcoin_node_peers{direction=\"outbound\",family=\"ipv4\",transport=\"noise\"} 1",
        "quantumcoin_node_peers{direction=\"inbound\",family=\"ipv6\",transport=\"tls\"} 0",
        "quantumcoin_node_block_height_blocks 3",
        "quantumcoin_node_http_requests_total{status=\"4xx\"} 1",
        "quantumcoin_node_offences_total{kind=\"invalid_block\"} 0",
        "quantumcoin_node_security_events_total{detector=\"ping_flood\"} 0",
        "quantumcoin_node_dns_answers{standing=\"alone\"} 0",
    ] {
        assert!(text.contains(line), "{line} is not in:\n{text}");
    }
    promtool(&text);

    // What the document lists, and nothing else.
    let served: BTreeSet<_> = text
        .lines()
        .filter_map(|line| {
            line.strip_prefix("# TYPE quantumcoin_node_")?
                .split(' ')
                .next()
        })
        .collect();
    let promised: BTreeSet<_> = PROMISED
        .lines()
        .filter_map(|line| line.strip_prefix("| `quantumcoin_node_")?.split('`').next())
        .map(|name| name.split('{').next().unwrap_or(name))
        .collect();
    let missing: Vec<_> = promised.difference(&served).collect();
    let untold: Vec<_> = served.difference(&promised).collect();
    assert!(missing.is_empty(), "promised and not served: {missing:?}");
    assert!(
        untold.is_empty(),
        "served and not in docs/api.md: {untold:?}"
    );
    world.end().await;
    other.end().await;
}

/// Prometheus's own judgement; where it is not installed, only a run of CI fails.
fn promtool(text: &str) {
    let child = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Ok(child) => child,
        Err(error) => {
            assert!(std::env::var_os("CI").is_none(), "promtool: {error}");
            eprintln!("promtool is not installed: Debian has it in the package prometheus");
            return;
        }
    };
    let mut input = child.stdin.take().unwrap();
    input.write_all(text.as_bytes()).unwrap();
    drop(input);
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr).into_owned()
        + &String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}
