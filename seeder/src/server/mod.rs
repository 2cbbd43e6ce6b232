//! Sockets. [`Seeder::bind`] takes everything that can fail; [`Seeder::run`] serves until told to stop.
//!
//! hickory-server reads requests and writes responses (`handler` is its `RequestHandler`, so its encrypted
//! transports can carry the same answers later). The plain UDP and TCP sockets are our own (`udp`, `tcp`),
//! because those of hickory-server 0.26 answer malformed responses, allocate from a claimed count of
//! questions, have no limit on connections and log each client at `info`.

mod counters;
mod handler;
mod http;
mod tcp;
mod udp;

use std::{net::SocketAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use quantumcoin::service::{
    bind::{self, BindError},
    health::{Check, Health},
    http::{HttpServer, shell},
    metrics::{Metrics, MetricsError},
};
use tokio::{
    net::{TcpListener, UdpSocket},
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use self::{counters::Counters, handler::Handler};
use crate::{
    answer::Engine,
    config::{ConfigError, SeederConfig},
    follow::{FollowOptions, Follower, Shared, unix_now},
    snapshot::Snapshot,
};

/// Times that we look for a port that is free for both UDP and TCP. Each look fails only if someone else
/// took the same number meanwhile.
const PORT_TRIES: usize = 32;

/// Tasks that read one UDP socket: more than the machine's cores gain nothing, and two cores are the least
/// that we are built for.
const UDP_TASKS: usize = 4;

/// A seeder that can't start.
#[derive(Debug, thiserror::Error)]
pub enum SeederError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A socket.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// A metric's name is used twice: a fault of the program.
    #[error("metrics can't be set up: {0}")]
    Metrics(#[from] MetricsError),
}

/// A seeder with its sockets bound and its first snapshot taken.
#[derive(Debug)]
pub struct Seeder {
    handler: Arc<Handler>,
    sockets: Vec<(Arc<UdpSocket>, TcpListener)>,
    dns_addrs: Vec<SocketAddr>,
    http: Option<HttpServer>,
    follower: Follower,
    dns_check: Check,
    metrics: Metrics,
    health: Health,
}

impl Seeder {
    /// Checks the configuration, binds every socket and reads the store once.
    ///
    /// # Errors
    /// [`SeederError`] in words that say what to change. A store that is absent or broken is no error: the
    /// seeder waits for it (see [`crate::follow`]).
    pub async fn bind(config: SeederConfig) -> Result<Self, SeederError> {
        let zones = config.build_zones()?;
        if config.listen.is_empty() {
            return Err(ConfigError::NoListen.into());
        }
        for zone in &zones {
            if zone.glue().next().is_none()
                && zone.name_servers().iter().any(|ns| zone.contains(ns))
            {
                tracing::warn!(
                    zone = %zone.apex(),
                    "its name server lies inside the zone but has no address: set --ns-address"
                );
            }
        }
        let mut sockets = Vec::new();
        let mut dns_addrs = Vec::new();
        for addr in &config.listen {
            let (addr, udp, tcp) = bind_pair(*addr)?;
            dns_addrs.push(addr);
            sockets.push((Arc::new(udp), tcp));
        }

        let metrics = Metrics::new("qtc_seeder");
        metrics.describe_process(env!("CARGO_PKG_VERSION"))?;
        let health = Health::new();
        let policy = config.policy();
        let shared: Shared = Arc::new(ArcSwap::from_pointee(Snapshot::empty(&policy, unix_now())));
        let engine = Engine::new(zones, config.identity.clone());
        let counters = Counters::new(&metrics, engine.zones())?;
        let options = FollowOptions {
            store: config.store.clone(),
            network: config.spec.network.clone(),
            bootstrap: config.spec.discovery.bootstrap_nodes.clone(),
            policy,
            every: Duration::from_secs(config.refresh_seconds),
        };
        let gauges = counters::gauges(&metrics)?;
        let mut follower =
            Follower::new(options, Arc::clone(&shared), health.check("store"), gauges);
        follower.round().await;

        let handler = Arc::new(Handler::new(engine, shared, counters));
        let http = match config.http {
            Some(addr) => {
                let routes = http::routes(config.spec.network, Arc::clone(&handler));
                let router = shell(metrics.clone(), health.clone()).merge(routes);
                Some(HttpServer::bind(addr, router).await?)
            }
            None => None,
        };
        let dns_check = health.vital("dns");
        Ok(Self {
            handler,
            sockets,
            dns_addrs,
            http,
            follower,
            dns_check,
            metrics,
            health,
        })
    }

    /// The first address that answers DNS, over UDP and TCP, with its real port.
    #[must_use]
    pub fn dns_addr(&self) -> SocketAddr {
        // `bind` refuses an empty list.
        self.dns_addrs
            .first()
            .copied()
            .unwrap_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)))
    }

    /// Every address that answers DNS.
    #[must_use]
    pub fn dns_addrs(&self) -> &[SocketAddr] {
        &self.dns_addrs
    }

    /// Where status, metrics and health are served, if they are.
    #[must_use]
    pub fn http_addr(&self) -> Option<SocketAddr> {
        self.http.as_ref().map(HttpServer::local_addr)
    }

    /// This seeder's metrics.
    #[must_use]
    pub const fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// This seeder's health.
    #[must_use]
    pub const fn health(&self) -> &Health {
        &self.health
    }

    /// Serves until `stop` is cancelled; answers that were begun are finished.
    pub async fn run(self, stop: CancellationToken) {
        let Self {
            handler,
            sockets,
            dns_addrs,
            http,
            follower,
            dns_check,
            ..
        } = self;
        let mut tasks = JoinSet::new();
        let readers = std::thread::available_parallelism()
            .map_or(2, usize::from)
            .min(UDP_TASKS);
        let limits = tcp::Limits::default();
        for (udp, tcp) in sockets {
            for _ in 0..readers {
                tasks.spawn(udp::serve(
                    Arc::clone(&udp),
                    Arc::clone(&handler),
                    stop.clone(),
                ));
            }
            tasks.spawn(tcp::serve(
                tcp,
                Arc::clone(&handler),
                limits.clone(),
                stop.clone(),
            ));
        }
        tasks.spawn(follower.run(stop.clone()));
        if let Some(http) = http {
            tasks.spawn(http.run(stop.clone()));
        }
        dns_check.ok();
        tracing::info!(addresses = ?dns_addrs, zones = handler.zone_names().join(" "), "answering DNS");
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                dns_check.failing(format!("a part of the server has ended: {error}"));
                tracing::error!(%error, "a part of the server has ended");
            } else if !stop.is_cancelled() {
                dns_check.failing("a part of the server has ended");
            }
        }
    }
}

/// Binds UDP and TCP to one address; for port 0 to one and the same free port.
fn bind_pair(addr: SocketAddr) -> Result<(SocketAddr, UdpSocket, TcpListener), BindError> {
    let purpose = "the DNS server";
    let mut tries = 1..=PORT_TRIES;
    loop {
        let tcp = bind::tcp(addr, purpose)?;
        let bound = tcp.local_addr().unwrap_or(addr);
        match bind::udp(bound, purpose) {
            Ok(udp) => {
                udp::widen(&udp);
                return Ok((bound, udp, tcp));
            }
            Err(error) if addr.port() != 0 || tries.next().is_none() => return Err(error),
            Err(_) => {}
        }
    }
}
