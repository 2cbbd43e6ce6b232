//! Whether a seeder with these settings serves status and metrics: the one port whose user DNS does not show.

use std::net::SocketAddr;

use serde::Deserialize;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use crate::{
    ask::{PATIENCE, reachable},
    config::SeederConfig,
    zone::Zone,
};

/// Most bytes that are read; a status has some hundred, and some more for each zone.
const MAX_BYTES: u64 = 256 << 10;

/// What of a seeder's status tells it from others.
#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Status {
    network: String,
    zones: Vec<String>,
}

/// The address of status, if a seeder of this network with one of these zones answers there.
pub(super) async fn look(config: &SeederConfig, zones: &[Zone]) -> Option<SocketAddr> {
    let addr = config.http.filter(|addr| addr.port() != 0)?;
    let answer = timeout(PATIENCE, get(reachable(addr))).await.ok()?.ok()?;
    let status = read(&answer)?;
    is_ours(&status, &config.spec.network, zones).then_some(addr)
}

async fn get(addr: SocketAddr) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(addr).await?;
    let request =
        format!("GET /api/v1/status HTTP/1.1\r\nhost: {addr}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = Vec::new();
    stream.take(MAX_BYTES).read_to_end(&mut answer).await?;
    Ok(answer)
}

/// Reads an answer as this program itself gives it. What others send is none.
fn read(answer: &[u8]) -> Option<Status> {
    let text = std::str::from_utf8(answer).ok()?;
    let (head, body) = text.split_once("\r\n\r\n")?;
    head.starts_with("HTTP/1.1 200 ").then_some(())?;
    serde_json::from_str(body).ok()
}

fn is_ours(status: &Status, network: &str, zones: &[Zone]) -> bool {
    let mut served = status.zones.iter();
    status.network == network
        && served.any(|name| zones.iter().any(|zone| zone.apex().to_string() == *name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zone::ZoneOptions;

    #[test]
    fn a_status_is_read_and_told_from_those_of_others() {
        let body = r#"{"network":"testnet","zones":["seed.test."],"serial":7}"#;
        let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: 1\r\n\r\n{body}");
        let status = read(answer.as_bytes()).unwrap();
        let zones = ["seed.test", "other.test"]
            .map(|name| Zone::new(name, &ZoneOptions::default()).unwrap());
        assert!(is_ours(&status, "testnet", &zones));
        assert!(!is_ours(&status, "mainnet", &zones));
        assert!(!is_ours(&status, "testnet", &zones[1..]));
        // The crawler's status, errors, and what is no HTTP.
        for other in [
            "HTTP/1.1 200 OK\r\n\r\n{\"network\":\"testnet\"}",
            "HTTP/1.1 404 Not Found\r\n\r\n{\"network\":\"testnet\",\"zones\":[\"seed.test.\"]}",
            "HTTP/1.1 200 OK\r\n\r\n",
            "SSH-2.0-x\r\n",
            "",
        ] {
            assert_eq!(read(other.as_bytes()), None, "{other}");
        }
    }
}
