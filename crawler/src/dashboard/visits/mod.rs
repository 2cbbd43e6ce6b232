//! "Visit my node": anybody may ask for a visit, within an allowance.
//!
//! `POST /visits` takes a form and answers with a page, `POST /api/v1/visits` takes and gives JSON. A browser that is sent
//! here by somebody else's page is refused. What is asked for goes through the store, as `quantumcoin-crawler add` does.

mod allowance;
mod client;

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{ConnectInfo, Form, Json, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use ipnet::IpNet;
use quantumcoin::reachability::exclusions::Exclusions;
use quantumcoin::reachability::netgroup::is_dialable;
use quantumcoin::reachability::overlay::{NoPeerAddress, PeerAddress};
use quantumcoin::store::{Sighting, Store, StoreError, StoreReader, Write};
use serde::Deserialize;
use serde_json::json;
use tokio::sync::watch;

use self::allowance::Allowance;
use super::Site;
use super::pages;
use super::view::peer_path;
use crate::config::CrawlerConfig;
use crate::probe::dial::Proxies;
use crate::probe::unix_now;

/// So soon after a visit there is no other, seconds: the page already tells how the last one ended.
const AGAIN_SECS: i64 = 60;

/// What asking for visits needs.
#[derive(Clone)]
pub(crate) struct Visits {
    store: Arc<Store>,
    rules: watch::Receiver<Arc<Rules>>,
    allowance: Arc<Mutex<Allowance>>,
}

/// What of the settings matters here.
#[derive(Debug)]
pub(crate) struct Rules {
    allow_private: bool,
    proxies: Proxies,
    trusted_proxies: Vec<IpNet>,
    excluded: Exclusions,
}

impl Rules {
    pub(crate) fn of(config: &CrawlerConfig) -> Arc<Self> {
        Arc::new(Self {
            allow_private: config.spec.network_protocol.allow_private_addresses,
            proxies: config.settings.proxies,
            trusted_proxies: config.settings.trusted_proxies.clone(),
            excluded: config.excluded.clone(),
        })
    }
}

/// What is asked for.
#[derive(Debug, Deserialize)]
pub(super) struct Asked {
    addr: String,
}

/// Why there is no visit.
#[derive(Debug, thiserror::Error)]
enum Refusal {
    #[error(transparent)]
    NoAddress(#[from] NoPeerAddress),
    #[error("{0} is in a network that this crawler has no proxy to")]
    NoProxy(PeerAddress),
    #[error("{0} is not visited: its owner or the crawler's operator does not want it")]
    Excluded(PeerAddress),
    #[error("{0} is in a reserved or private range, which only devnets dial")]
    Reserved(SocketAddr),
    #[error("the request comes from another site's page")]
    CrossSite,
    #[error("that is one visit too many in this hour; more in {0} s")]
    TooMany(i64),
    #[error("the store could not be read or written")]
    Store(#[from] StoreError),
}

impl Refusal {
    const fn status(&self) -> StatusCode {
        match self {
            Self::NoAddress(_) | Self::Reserved(_) | Self::NoProxy(_) => StatusCode::BAD_REQUEST,
            Self::CrossSite | Self::Excluded(_) => StatusCode::FORBIDDEN,
            Self::TooMany(_) => StatusCode::TOO_MANY_REQUESTS,
            Self::Store(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The answer's status and, where asking again helps, when.
    fn answer(&self, mut response: Response) -> Response {
        if let Self::Store(error) = self {
            tracing::warn!(%error, "a visit that was asked for could not be noted");
        }
        *response.status_mut() = self.status();
        if let Self::TooMany(seconds) = self {
            let headers = response.headers_mut();
            headers.insert(header::RETRY_AFTER, (*seconds).into());
        }
        response
    }
}

impl Visits {
    /// Nothing asked for yet.
    pub(crate) fn new(store: Arc<Store>, rules: watch::Receiver<Arc<Rules>>) -> Self {
        Self {
            store,
            rules,
            allowance: Arc::default(),
        }
    }

    async fn ask(
        &self,
        reader: &StoreReader,
        text: &str,
        peer: SocketAddr,
        headers: &HeaderMap,
    ) -> Result<PeerAddress, Refusal> {
        if is_cross_site(headers) {
            return Err(Refusal::CrossSite);
        }
        let rules = Arc::clone(&self.rules.borrow());
        let peer_address: PeerAddress = text.trim().parse()?;
        let addr = peer_address.key();
        match peer_address {
            PeerAddress::Socket(_) if !is_dialable(addr, rules.allow_private) => {
                return Err(Refusal::Reserved(addr));
            }
            PeerAddress::Named(name, _) if rules.proxies.of(&name).is_none() => {
                return Err(Refusal::NoProxy(peer_address));
            }
            _ => {}
        }
        let now = unix_now();
        let banned = reader.banned(now).await?;
        if rules.excluded.find(addr.ip()).is_some() || banned.find(addr.ip()).is_some() {
            return Err(Refusal::Excluded(peer_address));
        }
        let known = reader.peer(addr, now).await?;
        let visited = known.and_then(|detail| detail.history.first().map(|probe| probe.at));
        if visited.is_some_and(|at| now.saturating_sub(at) < AGAIN_SECS) {
            return Ok(peer_address);
        }
        let forwarded = headers.get_all("x-forwarded-for").iter();
        let forwarded = forwarded.map(|line| String::from_utf8_lossy(line.as_bytes()));
        let forwarded: Vec<_> = forwarded.collect();
        let client = client::client(peer.ip(), &forwarded.join(","), &rules.trusted_proxies);
        self.allowance
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take(client, addr.ip(), now)
            .map_err(Refusal::TooMany)?;
        let sighting = Sighting {
            address: peer_address,
            at: now,
            source: "web".to_owned(),
            times: 1,
            told_by: 0,
            next_due: now,
        };
        self.store.write(Write::Sighting(sighting)).await?;
        self.store.write(Write::RequestVisit(addr, now)).await?;
        self.store.flush().await?;
        Ok(peer_address)
    }
}

/// Whether a browser says that another site's page makes it ask (Fetch Metadata, or the older `Origin`).
fn is_cross_site(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok());
    if let Some(site) = text("sec-fetch-site") {
        return !matches!(site, "same-origin" | "none");
    }
    let Some(origin) = text("origin") else {
        return false;
    };
    let host = origin.split_once("://").map(|(_, host)| host);
    host.is_none() || host != text("host")
}

/// The form: then the peer's page.
pub(super) async fn form(
    State(site): State<Site>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    Form(asked): Form<Asked>,
) -> Response {
    let visits = &site.visits;
    match visits.ask(&site.reader, &asked.addr, peer, &headers).await {
        Ok(addr) => Redirect::to(&peer_path(&addr)).into_response(),
        Err(refusal) => {
            let text = refusal.to_string();
            let page = pages::failed(&site, refusal.status(), "No visit", &text);
            refusal.answer(page)
        }
    }
}

/// JSON.
pub(super) async fn api(
    State(site): State<Site>,
    ConnectInfo(peer): ConnectInfo<SocketAddr>,
    headers: HeaderMap,
    Json(asked): Json<Asked>,
) -> Response {
    let visits = &site.visits;
    match visits.ask(&site.reader, &asked.addr, peer, &headers).await {
        Ok(addr) => {
            let peer = format!("/api/v1{}", peer_path(&addr));
            let body = Json(json!({ "addr": addr.to_string(), "peer": peer }));
            (StatusCode::ACCEPTED, body).into_response()
        }
        Err(refusal) => {
            let body = Json(json!({ "error": refusal.to_string() }));
            refusal.answer(body.into_response())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_sites_pages_are_known_by_what_browsers_say() {
        let asked = |pairs: &[(&'static str, &str)]| {
            let pairs = pairs.iter().map(|(name, value)| {
                let name = axum::http::HeaderName::from_static(name);
                (name, value.parse().unwrap())
            });
            is_cross_site(&pairs.collect())
        };
        assert!(!asked(&[]), "no browser");
        assert!(!asked(&[("sec-fetch-site", "same-origin")]));
        assert!(!asked(&[("host", "a:1"), ("origin", "http://a:1")]));
        assert!(asked(&[("sec-fetch-site", "cross-site")]));
        assert!(asked(&[("sec-fetch-site", "same-site")]));
        assert!(asked(&[("host", "a:1"), ("origin", "http://b")]));
        assert!(asked(&[("host", "a:1"), ("origin", "null")]));
    }
}
