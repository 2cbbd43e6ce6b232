//! The peer-to-peer network: one [`NetworkManager`] is one node on it.
//!
//! ```no_run
//! # use std::sync::Arc;
//! # use quantumcoin::{chain::Blockchain, chain_spec::ChainSpec, network::NetworkManager};
//! # async fn run() -> Result<(), Box<dyn std::error::Error>> {
//! let spec = ChainSpec::load_or_default("chain_spec.toml").await?;
//! let chain = Arc::new(Blockchain::open(Arc::new(spec.clone()), "chain".as_ref())?);
//! let network = NetworkManager::new("0.0.0.0:8333".parse()?, chain, Some(spec)).await?;
//! network.start().await?;
//! let report = network.sync_from_zero().await?;
//! println!("verified up to block {}", report.height);
//! network.shutdown().await;
//! # Ok(()) }
//! ```
//!
//! | room | what it does |
//! |---|---|
//! | [`protocol`] | conversations as state machines (pure) |
//! | [`security`] | limits, ledgers, offences and what follows, eviction (pure) |
//! | [`address_book`], [`discovery`] | where peers are |
//! | [`connections`] | whom to dial and to keep (pure) |
//! | [`channel`], [`session`] | messages over a secured connection; both handshakes |
//! | `peer` | one task a connection |
//! | [`pool`] | transactions that wait for a block, and the thread that checks them |
//! | [`nat`] | our own address behind a router, and a way in |
//! | [`control`] | what an operator may do to a running node |
//! | `hub` | the one task that owns peers, book and downloads |
//! | `listener` | admits inbound connections |

pub mod address_book;
pub mod channel;
pub mod config;
pub mod connections;
pub mod control;
pub mod discovery;
mod hub;
mod listener;
pub mod metrics;
pub mod nat;
mod peer;
pub mod pool;
pub mod protocol;
pub mod security;
pub mod session;
mod state_file;
pub mod status;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod tests_connections;
#[cfg(test)]
mod tests_control;
#[cfg(test)]
mod tests_defence;
#[cfg(test)]
mod tests_nat;
#[cfg(test)]
mod tests_peers;
#[cfg(test)]
mod tests_relay;
#[cfg(test)]
mod tests_stall;
#[cfg(test)]
mod tests_sync;
#[cfg(test)]
mod tests_transport;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::chain::Blockchain;
use crate::chain::mempool::{Accepted, MempoolError};
use crate::chain_spec::ChainSpec;
use crate::service::bind::{self, BindError};
use crate::service::metrics::{Metrics, MetricsError};
use crate::transport::{Endpoint, Identity, IdentityError, NodeId, TransportKind};
use crate::wire::services;

pub use config::NetworkConfig;
pub use metrics::NetworkMetrics;
pub use status::{NetworkStatus, SyncProgress};

use hub::checker::HeaderChecker;
use hub::event::HubEvent;
use hub::nat::NatState;
use hub::writer::ChainWriter;
use hub::{Hub, HubParts};
use listener::{Listener, Refusals};
use nat::NatReport;
use nat::service::NatService;
use peer::session::Local;
use pool::{PoolChecker, TransactionPool};
use security::events::SecurityLog;
use security::limits::{Admission, Limits};
use security::standing::{Policy, Standing};

/// Events that may wait for the hub; full means that peers are read more slowly.
const EVENT_QUEUE: usize = 256;

/// How long a stop takes at most; the promise to operators is 5 s, and the rest is for the program around.
const STOP_PATIENCE: Duration = Duration::from_secs(4);

/// How long `sync_from_zero` looks for a first peer before it gives up.
const NO_PEERS_PATIENCE: Duration = Duration::from_secs(120);

/// File of the node's identity inside the data directory.
const IDENTITY_FILE: &str = "identity.key";

/// Why a node can't be made or started.
#[derive(Debug, Error)]
pub enum NetworkError {
    /// The listening socket could not be had.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The identity could not be read or made.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The chain is another network's.
    #[error(
        "the chain store holds the chain of genesis {chain}, the chain spec says {spec}: \
         give the node the data directory of its own network"
    )]
    OtherChain {
        /// Genesis of the store.
        chain: bitcoin::BlockHash,
        /// Genesis of the spec.
        spec: bitcoin::BlockHash,
    },
    /// A metric's name is taken: two nodes share one registry.
    #[error("metrics can't be registered: {0}")]
    Metrics(#[from] MetricsError),
    /// The operating system gave no thread.
    #[error("no thread for the chain: {0}")]
    Thread(#[source] std::io::Error),
    /// `start` was called before, or after `shutdown`.
    #[error("the network was started before")]
    AlreadyStarted,
}

/// Why synchronisation did not come to its end.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SyncError {
    /// Nobody could be found.
    #[error(
        "no peer within {0} s: check the DNS seeds (quantumcoin-node status shows what each answered), \
         the resolver, and the firewall"
    )]
    NoPeers(u64),
    /// Verified blocks could not be stored.
    #[error("storing blocks failed; the log says why")]
    Storage,
    /// The node was stopped first, or never started.
    #[error("the network is not running")]
    Stopped,
}

/// Why a transaction of this node's user was not taken.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum SubmitError {
    /// The pool refused it.
    #[error(transparent)]
    Refused(#[from] MempoolError),
    /// The node is overloaded with transactions.
    #[error("too many transactions wait to be checked; try again")]
    Busy,
    /// The node was stopped, or never started.
    #[error("the network is not running")]
    Stopped,
}

/// What a synchronisation did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SyncReport {
    /// Height of the verified tip.
    pub height: u32,
    /// Its hash.
    pub tip: bitcoin::BlockHash,
    /// Blocks that were verified meanwhile.
    pub blocks: u32,
    /// How long it took.
    pub elapsed: Duration,
    /// Distinct nodes connected at the end.
    pub peers: usize,
}

/// The service bits of these transports.
fn transport_services(transports: &[TransportKind]) -> u64 {
    transports.iter().fold(0, |bits, kind| {
        bits | match kind {
            TransportKind::Noise => services::NOISE,
            TransportKind::Tls => services::TLS,
        }
    })
}

/// One node on the network: made by [`Self::new`], run by [`Self::start`], ended by [`Self::shutdown`].
#[derive(Debug)]
pub struct NetworkManager {
    local: Arc<Local>,
    pool: TransactionPool,
    events: mpsc::Sender<HubEvent>,
    progress: watch::Receiver<SyncProgress>,
    tasks: TaskTracker,
    stop: CancellationToken,
    ready: Mutex<Option<Ready>>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// What waits for `start`.
struct Ready {
    socket: TcpListener,
    config: NetworkConfig,
    metrics: NetworkMetrics,
    events: mpsc::Receiver<HubEvent>,
    progress: watch::Sender<SyncProgress>,
}

impl std::fmt::Debug for Ready {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Ready")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

impl NetworkManager {
    /// A node with default settings and a new identity that is not kept. `blockchain` must belong to
    /// `chain_spec`; without one, the chain's own spec is used.
    ///
    /// # Errors
    /// See [`NetworkError`].
    pub async fn new(
        listen_addr: SocketAddr,
        blockchain: Arc<Blockchain>,
        chain_spec: Option<ChainSpec>,
    ) -> Result<Self, NetworkError> {
        let config = NetworkConfig::new(listen_addr);
        Self::with_config(
            config,
            blockchain,
            chain_spec,
            &Metrics::new("quantumcoin_node"),
        )
        .await
    }

    /// A node with these settings, whose metrics go to `metrics`. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// See [`NetworkError`].
    pub async fn with_config(
        config: NetworkConfig,
        blockchain: Arc<Blockchain>,
        chain_spec: Option<ChainSpec>,
        metrics: &Metrics,
    ) -> Result<Self, NetworkError> {
        let spec = chain_spec.map_or_else(|| Arc::clone(blockchain.spec()), Arc::new);
        let (ours, theirs) = (spec.genesis_hash(), blockchain.spec().genesis_hash());
        if ours != theirs {
            return Err(NetworkError::OtherChain {
                chain: theirs,
                spec: ours,
            });
        }
        let identity = Arc::new(load_identity(config.data_dir.clone()).await?);
        let socket = bind::tcp_of_both(config.listen_addr, "the node")?;
        let listen_addr = socket.local_addr().unwrap_or(config.listen_addr);
        let metrics = NetworkMetrics::register(metrics)?;
        let local = Arc::new(Local {
            endpoint: Endpoint::new(&spec, identity).accepting(config.transports),
            nonce: rand::random(),
            claims: peer::claims::Claims::default(),
            calls: watch::Sender::default(),
            services: services::NETWORK.to_u64()
                | services::WITNESS.to_u64()
                | transport_services(config.transports),
            user_agent: config.user_agent.clone(),
            listen_addr,
            chain: blockchain,
            spec,
        });
        let (events, event_rx) = mpsc::channel(EVENT_QUEUE);
        let tip = local.chain.tip();
        let (progress_tx, progress) = watch::channel(SyncProgress {
            header_height: local.chain.best_header().height,
            block_height: tip.height,
            tip: tip.hash,
            in_flight: 0,
            synced: false,
            peers: 0,
            failed: false,
        });
        let ready = Ready {
            socket,
            config,
            metrics,
            events: event_rx,
            progress: progress_tx,
        };
        Ok(Self {
            pool: TransactionPool::new(&local.chain),
            local,
            events,
            progress,
            tasks: TaskTracker::new(),
            stop: CancellationToken::new(),
            ready: Mutex::new(Some(ready)),
            threads: Mutex::default(),
        })
    }

    /// Starts to listen, to find peers and to synchronise, all in the background.
    ///
    /// # Errors
    /// When it was started before, or no thread can be had.
    pub async fn start(&self) -> Result<(), NetworkError> {
        let ready = lock(&self.ready)
            .take()
            .ok_or(NetworkError::AlreadyStarted)?;
        let (writer, verified, thread) =
            ChainWriter::spawn(Arc::clone(&self.local.chain)).map_err(NetworkError::Thread)?;
        lock(&self.threads).push(thread);
        let (checker, checked, thread) =
            HeaderChecker::spawn(Arc::clone(&self.local.chain)).map_err(NetworkError::Thread)?;
        lock(&self.threads).push(thread);
        let (pool_checker, pooled, thread) =
            PoolChecker::spawn(Arc::clone(&self.local.chain), self.pool.clone())
                .map_err(NetworkError::Thread)?;
        lock(&self.threads).push(thread);
        let protocol = &self.local.spec.network_protocol;
        let limits = Limits {
            inbound: protocol
                .max_connections
                .saturating_sub(ready.config.outbound_places()),
            per_ip: protocol.max_connections_per_ip,
            per_subnet: protocol.max_connections_per_subnet,
        };
        let policy = Policy {
            half_life: ready.config.penalty_half_life.as_secs(),
            by_netgroup: !protocol.allow_private_addresses,
        };
        let standing = Arc::new(Mutex::new(match &ready.config.data_dir {
            Some(dir) => Standing::load(dir, policy),
            None => Standing::new(policy),
        }));
        let security = SecurityLog::new(ready.metrics.clone());
        let nat = self.start_nat(&ready.config, &ready.metrics);
        let refusals = Refusals {
            counts: Arc::default(),
            metrics: ready.metrics.clone(),
            security: security.clone(),
        };
        let hub = Hub::new(HubParts {
            local: Arc::clone(&self.local),
            config: ready.config,
            metrics: ready.metrics,
            standing: Arc::clone(&standing),
            security,
            limits,
            nat,
            refusals: refusals.clone(),
            progress: ready.progress,
            events: self.events.clone(),
            writer,
            checker,
            pool: self.pool.clone(),
            pool_checker,
            tasks: self.tasks.clone(),
            stop: self.stop.clone(),
        });
        let listener = Listener {
            local: Arc::clone(&self.local),
            admission: Admission::new(limits),
            standing,
            refusals,
            events: self.events.clone(),
            tasks: self.tasks.clone(),
            stop: self.stop.clone(),
        };
        self.tasks.spawn(listener.run(ready.socket));
        self.tasks
            .spawn(hub.run(ready.events, verified, checked, pooled));
        tracing::info!(
            network = self.local.spec.network, listen = %self.local.listen_addr,
            node_id = %self.node_id(), "node started"
        );
        Ok(())
    }

    /// Starts what looks after our own address, where that is wanted; the hub hears of it.
    fn start_nat(&self, config: &NetworkConfig, metrics: &NetworkMetrics) -> NatState {
        let listen = self.local.listen_addr;
        let allow_private = self.local.spec.network_protocol.allow_private_addresses;
        let enabled = config.nat.is_on(listen.ip(), allow_private);
        let (report, heard) = watch::channel(NatReport {
            enabled,
            ..NatReport::default()
        });
        let nudge = Arc::new(Notify::new());
        if enabled {
            let mut settings = config.nat.clone();
            if config.external_address.is_some() {
                // Whoever sets it has seen to the way in.
                settings.protocols.clear();
            }
            let service = NatService {
                settings,
                listen,
                nonce: self.local.endpoint.identity().pcp_nonce(),
                report,
                nudge: Arc::clone(&nudge),
                metrics: metrics.clone(),
                stop: self.stop.clone(),
            };
            self.tasks.spawn(service.run());
        }
        NatState::new(heard, nudge)
    }

    /// Waits until peers were found and every block of the best chain that they know is verified.
    ///
    /// # Errors
    /// When no peer can be found within two minutes, storage fails, or the node is not running.
    pub async fn sync_from_zero(&self) -> Result<SyncReport, SyncError> {
        if !self.is_started() {
            return Err(SyncError::Stopped);
        }
        let start = Instant::now();
        let mut progress = self.progress.clone();
        let before = progress.borrow().block_height;
        let found = async {
            progress
                .wait_for(|p| p.peers > 0 || p.failed)
                .await
                .map(|_| ())
        };
        tokio::time::timeout(NO_PEERS_PATIENCE, found)
            .await
            .map_err(|_| SyncError::NoPeers(NO_PEERS_PATIENCE.as_secs()))?
            .map_err(|_| SyncError::Stopped)?;
        let end = *progress
            .wait_for(|p| p.synced || p.failed)
            .await
            .map_err(|_| SyncError::Stopped)?;
        if end.failed {
            return Err(SyncError::Storage);
        }
        Ok(SyncReport {
            height: end.block_height,
            tip: end.tip,
            blocks: end.block_height.saturating_sub(before),
            elapsed: start.elapsed(),
            peers: end.peers,
        })
    }

    /// How the node is doing; `None` when it is not running.
    pub async fn status(&self) -> Option<NetworkStatus> {
        if !self.is_started() {
            return None;
        }
        let (reply, answer) = oneshot::channel();
        self.events.send(HubEvent::Status(reply)).await.ok()?;
        tokio::select! {
            status = answer => status.ok(),
            () = self.stop.cancelled() => None,
        }
    }

    /// Progress of synchronisation, as it changes. The node waits while somebody holds what `borrow` or
    /// `wait_for` gives: copy it.
    pub fn progress(&self) -> watch::Receiver<SyncProgress> {
        self.progress.clone()
    }

    /// Connects to `addr` and stays connected to it. Before [`Self::start`] this does nothing: set
    /// [`NetworkConfig::manual_peers`] then.
    pub async fn connect(&self, addr: SocketAddr) {
        if !self.is_started() {
            return;
        }
        // A stopped node connects to nobody, which is what its owner wants.
        let _ = self.events.send(HubEvent::Connect(addr)).await;
    }

    /// The transactions that wait for a block.
    #[must_use]
    pub fn pool(&self) -> &TransactionPool {
        &self.pool
    }

    /// Takes a transaction of this node's user into the pool and announces it to peers, each after a moment
    /// drawn at random.
    ///
    /// # Errors
    /// Where the pool refuses it, or the node is too busy or not running.
    pub async fn submit_transaction(
        &self,
        tx: bitcoin::Transaction,
    ) -> Result<Accepted, SubmitError> {
        if !self.is_started() {
            return Err(SubmitError::Stopped);
        }
        let (reply, answer) = oneshot::channel();
        let submit = HubEvent::Submit(Box::new(tx), reply);
        let sent = self.events.send(submit).await;
        sent.map_err(|_| SubmitError::Stopped)?;
        tokio::select! {
            answer = answer => Ok(answer.map_err(|_| SubmitError::Busy)??),
            () = self.stop.cancelled() => Err(SubmitError::Stopped),
        }
    }

    fn is_started(&self) -> bool {
        lock(&self.ready).is_none()
    }

    /// Where the node listens; with port 0 asked for, the port that was given.
    pub fn listen_addr(&self) -> SocketAddr {
        self.local.listen_addr
    }

    /// The services that it offers, as bits.
    pub fn services(&self) -> u64 {
        self.local.services
    }

    /// What it calls itself to peers (BIP14).
    pub fn user_agent(&self) -> &str {
        &self.local.user_agent
    }

    /// Who we are.
    pub fn node_id(&self) -> NodeId {
        self.local.endpoint.identity().node_id()
    }

    /// Closes all connections, makes the chain durable, saves the address book. At most 4 s.
    pub async fn shutdown(&self) {
        let deadline = tokio::time::Instant::now() + STOP_PATIENCE;
        self.stop.cancel();
        self.tasks.close();
        if tokio::time::timeout_at(deadline, self.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("some tasks did not end in time");
        }
        let threads = std::mem::take(&mut *lock(&self.threads));
        // The hub's ends of their queues are dropped: they finish what they have begun, and end.
        let joined = tokio::task::spawn_blocking(move || {
            for thread in threads {
                // A panic in it was reported.
                let _ = thread.join();
            }
        });
        if tokio::time::timeout_at(deadline, joined).await.is_err() {
            tracing::warn!(
                "the chain's threads did not end in time; they go on while the program lives"
            );
        }
        drop(lock(&self.ready).take());
    }
}

impl Drop for NetworkManager {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

async fn load_identity(data_dir: Option<PathBuf>) -> Result<Identity, IdentityError> {
    match data_dir {
        None => Identity::generate(),
        Some(dir) => {
            let path = dir.join(IDENTITY_FILE);
            // Reading a small file once at the start may block.
            Identity::load_or_create(&path)
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    // Nothing in here panics while it holds the lock.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
