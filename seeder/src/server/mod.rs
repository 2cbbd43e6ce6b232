//! Sockets. [`Seeder::bind`] takes everything that can fail; [`Seeder::run`] serves until told to stop.
//!
//! The UDP and TCP sockets are our own (`udp`, `tcp`, and `tls` on the latter), because those of hickory-server 0.26 take
//! a task and several allocations for each query, answer malformed responses, have no limit on connections and log each
//! client at `info`; `labs bench dns` shows what that costs.

mod control;
pub(crate) mod counters;
mod tcp;
mod tls;
mod udp;

use std::{
    net::{SocketAddr, UdpSocket},
    sync::Arc,
    thread::JoinHandle,
    time::Duration,
};

use arc_swap::ArcSwap;
use quantumcoin::service::{
    bind::{self, BindError},
    health::{Check, Health},
    http::{HttpServer, shell},
    metrics::{Metrics, MetricsError},
};
use tokio::{net::TcpListener, sync::mpsc, task::JoinSet};
use tokio_util::sync::CancellationToken;

pub use self::control::Control;
use self::counters::Counters;
use crate::{
    audit::{AuditGauges, Auditor},
    config::{ConfigError, SeederConfig},
    follow::{Checks, FollowError, Follower, Reload, unix_now},
    respond::Responder,
    setup::{self, Setup},
    snapshot::Snapshot,
    state::{Shared, State, StateError},
    status::{self, LastAudit, Source},
    tls::TlsError,
    zone::Zone,
};

/// Times that we look for a port that is free for both UDP and TCP. Each look fails only if someone else
/// took the same number meanwhile.
const PORT_TRIES: usize = 32;

/// How often it is looked whether all UDP workers live.
const WATCH: Duration = Duration::from_secs(1);

/// A seeder that can't start.
#[derive(Debug, thiserror::Error)]
pub enum SeederError {
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A socket.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// No answers can be written or signed for these zones.
    #[error(transparent)]
    State(#[from] StateError),
    /// A socket does not do what we need.
    #[error("the UDP socket of {addr} can't be set up: {source}")]
    Socket {
        /// Its address.
        addr: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// DNS over TLS has no certificate that can be shown.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// No keys can be made for the tickets of DNS over TLS.
    #[error(
        "no keys can be made for the sessions of TLS ({0}); does the system give random numbers?"
    )]
    Tickets(rustls::Error),
    /// A new configuration can't be taken up.
    #[error(transparent)]
    Follow(FollowError),
    /// A thread can't be started.
    #[error("a thread for the DNS server can't be started ({0}); is the limit of tasks too low?")]
    Thread(std::io::Error),
    /// A metric's name is used twice: a fault of the program.
    #[error("metrics can't be set up: {0}")]
    Metrics(#[from] MetricsError),
}

/// A seeder with its sockets bound and its first snapshot taken.
#[derive(Debug)]
pub struct Seeder {
    responder: Arc<Responder>,
    udp: Vec<UdpSocket>,
    tcp: Vec<TcpListener>,
    dns_addrs: Vec<SocketAddr>,
    tls: Option<tls::Bound>,
    http: Option<HttpServer>,
    follower: Follower,
    auditor: Auditor,
    reloads: mpsc::Receiver<Reload>,
    control: Control,
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
        if config.listen.is_empty() {
            return Err(ConfigError::NoListen.into());
        }
        warn_without_glue(&config.build_zones()?);
        let workers = config.workers();
        let (dns_addrs, udp, tcp) = bind_all(&config.listen, workers)?;
        let metrics = Metrics::new("qtc_seeder");
        metrics.describe_process(env!("CARGO_PKG_VERSION"))?;
        let health = Health::new();
        let tls = tls::Bound::new(&config, &metrics, &health).await?;
        let counters = Counters::new(&metrics)?;
        let (shared, follower) = start_following(&config, &counters, &metrics, &health).await?;
        let auditor = Auditor {
            shared: Arc::clone(&shared),
            listen: dns_addrs.clone(),
            check: health.check("audit"),
            gauges: AuditGauges::new(&metrics)?,
            last: LastAudit::default(),
        };
        let (sender, reloads) = mpsc::channel(1);
        let control = Control {
            shared: Arc::clone(&shared),
            counters: counters.clone(),
            reloads: sender,
            listen: config.listen.clone(),
            http: config.http,
            workers,
            tls: tls.as_ref().map(|bound| Arc::clone(&bound.tls)),
        };
        let responder = Arc::new(Responder::new(shared, counters));
        let source = Source {
            network: config.spec.network.clone(),
            responder: Arc::clone(&responder),
            health: health.clone(),
            audit: Arc::clone(&auditor.last),
            tls_expires: tls.as_ref().map(|bound| bound.tls.expires()),
        };
        let http = bind_http(&config, source, &metrics).await?;
        let dns_check = health.vital("dns");
        Ok(Self {
            responder,
            udp,
            tcp,
            dns_addrs,
            tls,
            http,
            follower,
            auditor,
            reloads,
            control,
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

    /// Every address that answers DNS over TLS.
    #[must_use]
    pub fn tls_addrs(&self) -> &[SocketAddr] {
        self.tls.as_ref().map_or(&[], |bound| &bound.addrs)
    }

    /// Where status, metrics and health are served, if they are.
    #[must_use]
    pub fn http_addr(&self) -> Option<SocketAddr> {
        self.http.as_ref().map(HttpServer::local_addr)
    }

    /// What reloads this seeder while it runs.
    #[must_use]
    pub fn control(&self) -> Control {
        self.control.clone()
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
    ///
    /// # Errors
    /// [`SeederError::Thread`].
    pub async fn run(self, stop: CancellationToken) -> Result<(), SeederError> {
        let Self {
            responder,
            udp,
            tcp,
            dns_addrs,
            tls,
            http,
            follower,
            auditor,
            reloads,
            dns_check,
            ..
        } = self;
        let mut tasks = JoinSet::new();
        let workers = spawn_workers(udp, &responder, &stop)?;
        tasks.spawn(watch(workers, stop.clone()));
        let places = tcp::Places::default();
        let mut listen = |listener, tls| {
            let responder = Arc::clone(&responder);
            tasks.spawn(tcp::serve(
                listener,
                tls,
                responder,
                places.clone(),
                stop.clone(),
            ));
        };
        tcp.into_iter().for_each(|listener| listen(listener, None));
        if let Some(bound) = tls {
            for listener in bound.listeners {
                listen(listener, Some(Arc::clone(&bound.tls)));
            }
            let expires = bound.tls.valid_until();
            tracing::info!(addresses = ?bound.addrs, certificate_expires = expires, "answering DNS over TLS");
            tasks.spawn(bound.tls.follow(stop.clone()));
        }
        tasks.spawn(follower.run(reloads, stop.clone()));
        tasks.spawn(auditor.run(stop.clone()));
        if let Some(http) = http {
            tasks.spawn(http.run(stop.clone()));
        }
        dns_check.ok();
        tell_signed(&responder.state().load());
        let zones = zone_names(&responder.state().load());
        tracing::info!(addresses = ?dns_addrs, zones = zones.join(" "), "answering DNS");
        while let Some(ended) = tasks.join_next().await {
            if let Err(error) = ended {
                dns_check.failing(format!("a part of the server has ended: {error}"));
                tracing::error!(%error, "a part of the server has ended");
            } else if !stop.is_cancelled() {
                dns_check.failing("a part of the server has ended");
            }
        }
        Ok(())
    }
}

/// Reads the store once, and says where what is served is found from then on.
async fn start_following(
    config: &SeederConfig,
    counters: &Counters,
    metrics: &Metrics,
    health: &Health,
) -> Result<(Shared, Follower), SeederError> {
    let options = setup::follow_options(config)?;
    let setup = Arc::new(Setup::new(config, counters, None)?);
    let now = unix_now();
    let empty = Arc::new(Snapshot::empty(&options.policy, now));
    let shared: Shared = Arc::new(ArcSwap::from_pointee(State::new(setup, empty, now, None)?));
    let gauges = counters::gauges(metrics)?;
    let checks = Checks {
        store: health.check("store"),
        keys: health.check("keys"),
    };
    let follower = Follower::new(options, Arc::clone(&shared), checks, gauges);
    let mut follower = follower.map_err(SeederError::Thread)?;
    // What went wrong has been told, and the names are served without peers until it goes right.
    let _ = follower.round().await;
    Ok((shared, follower))
}

async fn bind_http(
    config: &SeederConfig,
    source: Source,
    metrics: &Metrics,
) -> Result<Option<HttpServer>, SeederError> {
    let Some(addr) = config.http else {
        return Ok(None);
    };
    let health = source.health.clone();
    let router = shell(metrics.clone(), health).merge(status::routes(source));
    Ok(Some(HttpServer::bind(addr, router).await?))
}

/// The zones that are served.
fn zone_names(state: &State) -> Vec<String> {
    let zones = state.setup.engine.zones().iter();
    zones.map(|zone| zone.apex().to_string()).collect()
}

fn tell_signed(state: &State) {
    let zones = state.setup.engine.zones().iter().zip(&state.provers);
    for (index, (zone, prover)) in zones.enumerate() {
        match prover {
            Some(_) => tracing::info!(zone = %zone.apex(), "the zone is signed"),
            None if state.setup.has_keys(index) => tracing::warn!(
                zone = %zone.apex(),
                "the zone is not signed: there are no keys for it; if its parent has a DS, validators take all answers for forged"
            ),
            None => {}
        }
    }
}

fn warn_without_glue(zones: &[Zone]) {
    for zone in zones {
        if zone.glue().is_empty() && !zone.own_servers().is_empty() {
            tracing::warn!(
                zone = %zone.apex(),
                "its name server lies inside the zone but has no address: set --ns-address"
            );
        }
    }
}

fn spawn_workers(
    sockets: Vec<UdpSocket>,
    responder: &Arc<Responder>,
    stop: &CancellationToken,
) -> Result<Vec<JoinHandle<()>>, SeederError> {
    let spawn = |socket| udp::spawn(socket, Arc::clone(responder), stop.clone());
    let spawned: std::io::Result<_> = sockets.into_iter().map(spawn).collect();
    spawned.map_err(|error| {
        stop.cancel();
        SeederError::Thread(error)
    })
}

/// Ends when one of the threads does, or at `stop` when all have.
async fn watch(workers: Vec<JoinHandle<()>>, stop: CancellationToken) {
    while !stop.is_cancelled() && !workers.iter().any(JoinHandle::is_finished) {
        tokio::select! {
            () = tokio::time::sleep(WATCH) => {}
            () = stop.cancelled() => {}
        }
    }
    if !stop.is_cancelled() {
        return;
    }
    // They look at the token several times a second.
    let joined = tokio::task::spawn_blocking(move || {
        workers
            .into_iter()
            .filter_map(|worker| worker.join().err())
            .count()
    });
    if !matches!(joined.await, Ok(0)) {
        tracing::error!("a DNS thread ended in a panic");
    }
}

/// The addresses with their real ports, all UDP sockets, and the TCP sockets.
type Sockets = (Vec<SocketAddr>, Vec<UdpSocket>, Vec<TcpListener>);

fn bind_all(listen: &[SocketAddr], workers: usize) -> Result<Sockets, SeederError> {
    let (mut addrs, mut udp, mut tcp) = Sockets::default();
    for addr in listen {
        let (addr, sockets, listener) = bind_pair(*addr, workers)?;
        addrs.push(addr);
        udp.extend(sockets);
        tcp.push(listener);
    }
    Ok((addrs, udp, tcp))
}

/// Binds UDP and TCP to one address; for port 0 to one and the same free port.
fn bind_pair(
    addr: SocketAddr,
    workers: usize,
) -> Result<(SocketAddr, Vec<UdpSocket>, TcpListener), SeederError> {
    let purpose = "the DNS server";
    let mut tries = 1..=PORT_TRIES;
    loop {
        let tcp = bind::tcp(addr, purpose)?;
        let bound = tcp.local_addr().unwrap_or(addr);
        match bind::udp(bound, purpose, workers) {
            Ok(sockets) => {
                for socket in &sockets {
                    udp::prepare(socket).map_err(|source| SeederError::Socket {
                        addr: bound,
                        source,
                    })?;
                }
                return Ok((bound, sockets, tcp));
            }
            Err(error) if addr.port() != 0 || tries.next().is_none() => return Err(error.into()),
            Err(_) => {}
        }
    }
}
