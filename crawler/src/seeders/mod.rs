//! The seeders that answer from this crawl: what each of them says of itself, read every few seconds.
//!
//! | part | what it does |
//! |---|---|
//! | this file | `Watch`: asks, and keeps the last answer |
//! | [`status`] | what an answer says, read leniently and cut to a bounded size (pure) |
//!
//! A seeder is another program, maybe of another version, maybe not what it should be: whatever it answers is text and
//! numbers to be shown, and one that is down, slow or talks junk is shown as such and costs a bounded time.

pub mod status;

use std::fmt;
use std::net::SocketAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join_all;
use quantumcoin::service::client;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

pub use self::status::SeederStatus;
use crate::probe::unix_now;

/// Time between two questions to a seeder: what it counts is shown by the minute.
const ASK_EVERY: Duration = Duration::from_secs(5);

/// Most seeders that one dashboard shows; an operator of more has Prometheus.
pub const MOST: usize = 8;

/// Where a seeder's status is.
const PATH: &str = "/api/v1/status";

/// Where a seeder tells its status when nothing else is set: the seeder's own default.
pub const DEFAULT: SocketAddr =
    SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9353);

/// Where a seeder's HTTP interface is, as `http://ADDR:PORT`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SeederUrl(pub SocketAddr);

/// The text names no seeder.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no seeder's address: write it as http://127.0.0.1:9353, with an IP address and a port and no path"
)]
pub struct NoSeederUrl(String);

impl FromStr for SeederUrl {
    type Err = NoSeederUrl;

    fn from_str(text: &str) -> Result<Self, NoSeederUrl> {
        let rest = text.strip_prefix("http://").unwrap_or(text);
        let rest = rest.strip_suffix('/').unwrap_or(rest);
        let addr = rest.parse().map_err(|_| NoSeederUrl(text.to_owned()))?;
        Ok(Self(addr))
    }
}

impl fmt::Display for SeederUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "http://{}", self.0)
    }
}

impl Serialize for SeederUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SeederUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// What is known of one seeder.
#[derive(Debug, Clone, PartialEq)]
pub struct Seeder {
    /// Where it is.
    pub url: SeederUrl,
    /// When it was asked last, Unix seconds.
    pub asked_at: i64,
    /// What it said last, and when, Unix seconds; `None` if it never answered.
    pub status: Option<(SeederStatus, i64)>,
    /// Why it did not answer when it was asked last; `None` if it did.
    pub error: Option<String>,
}

/// What all seeders said last.
pub(crate) type Seeders = watch::Sender<Arc<Vec<Seeder>>>;

/// Asks the seeders again and again.
pub(crate) struct Watch {
    urls: Vec<SeederUrl>,
    /// Whether a seeder that never answered is left out: nobody has said that it is there.
    is_guess: bool,
    seeders: Seeders,
}

impl Watch {
    /// Those of the settings; without any, one that may be on this machine.
    pub(crate) fn new(urls: Option<&[SeederUrl]>, seeders: Seeders) -> Self {
        Self {
            urls: urls.map_or_else(
                || vec![SeederUrl(DEFAULT)],
                |urls| urls.iter().take(MOST).copied().collect(),
            ),
            is_guess: urls.is_none(),
            seeders,
        }
    }

    /// Asks until `stop`.
    pub(crate) async fn run(self, stop: CancellationToken) {
        while !self.urls.is_empty() {
            tokio::select! {
                () = stop.cancelled() => return,
                () = self.ask() => {}
            }
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(ASK_EVERY) => {}
            }
        }
    }

    async fn ask(&self) {
        let before = self.seeders.borrow().clone();
        let asked = self.urls.iter().map(|url| async {
            let known = before.iter().find(|seeder| seeder.url == *url);
            let known = known.and_then(|seeder| seeder.status.clone());
            ask(*url, known).await
        });
        let mut now = join_all(asked).await;
        now.retain(|seeder| !self.is_guess || seeder.status.is_some());
        self.seeders.send_replace(Arc::new(now));
    }
}

async fn ask(url: SeederUrl, known: Option<(SeederStatus, i64)>) -> Seeder {
    let answer = client::get(url.0, PATH).await;
    let asked_at = unix_now();
    let read = answer
        .map_err(|error| error.to_string())
        .and_then(|json| SeederStatus::read(&json).map_err(|error| error.to_string()));
    let (status, error) = match read {
        Ok(status) => (Some((status, asked_at)), None),
        Err(error) => (known, Some(error)),
    };
    Seeder {
        url,
        asked_at,
        status,
        error,
    }
}

#[cfg(test)]
mod tests {
    use axum::Router;
    use axum::routing::get;
    use quantumcoin::service::http::HttpServer;

    use super::*;

    #[test]
    fn a_seeder_is_an_address_and_nothing_else() {
        let url: SeederUrl = "http://127.0.0.1:9353/".parse().unwrap();
        assert_eq!(url.to_string(), "http://127.0.0.1:9353");
        assert_eq!("[::1]:9".parse::<SeederUrl>().unwrap().0.port(), 9);
        for wrong in [
            "",
            "http://seeder.example:9353",
            "http://127.0.0.1",
            "https://1.2.3.4:5",
            "http://1.2.3.4:5/x",
        ] {
            let error = wrong.parse::<SeederUrl>().unwrap_err().to_string();
            assert!(error.contains("http://127.0.0.1:9353"), "{error}");
        }
    }

    async fn started(
        answer: &'static str,
    ) -> (SeederUrl, CancellationToken, tokio::task::JoinHandle<()>) {
        let router = Router::new().route(PATH, get(async move || answer));
        let server = HttpServer::bind("127.0.0.1:0".parse().unwrap(), router)
            .await
            .unwrap();
        let (url, stop) = (SeederUrl(server.local_addr()), CancellationToken::new());
        (url, stop.clone(), tokio::spawn(server.run(stop)))
    }

    #[tokio::test]
    async fn a_seeder_that_is_gone_keeps_its_last_word_and_junk_is_told() {
        let (seeders, shown) = watch::channel(Arc::default());
        let (url, stop, server) = started(r#"{"network":"devnet","good_peers":7}"#).await;
        let (junk, _stop, _server) = started("<html>").await;
        let watch = Watch::new(Some(&[url, junk]), seeders);
        watch.ask().await;
        let now = shown.borrow().clone();
        assert_eq!(now[0].status.as_ref().unwrap().0.good_peers, Some(7));
        assert!(now[0].error.is_none());
        assert!(now[1].status.is_none() && now[1].error.as_ref().unwrap().contains("JSON"));

        stop.cancel();
        server.await.unwrap();
        watch.ask().await;
        let now = shown.borrow().clone();
        assert!(now[0].error.is_some(), "{now:?}");
        assert_eq!(now[0].status.as_ref().unwrap().0.good_peers, Some(7));
    }

    #[tokio::test]
    async fn nobody_is_shown_who_was_only_guessed_and_does_not_answer() {
        let (seeders, shown) = watch::channel(Arc::default());
        let mut watch = Watch::new(None, seeders);
        let free = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = free.local_addr().unwrap();
        drop(free);
        watch.urls = vec![SeederUrl(addr)];
        watch.ask().await;
        assert!(shown.borrow().is_empty());
    }
}
