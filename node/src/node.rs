//! Puts the node together: chain, network, API, and on devnets the miner.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use quantumcoin::chain::{Blockchain, StoreError};
use quantumcoin::network::{NetworkError, NetworkManager};
use quantumcoin::service::bind::BindError;
use quantumcoin::service::health::{Check, Health};
use quantumcoin::service::http::{self, HttpServer};
use quantumcoin::service::metrics::{Metrics, MetricsError};
use thiserror::Error;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::api::token::{ApiToken, TokenError};
use crate::api::{self, ApiParts};
use crate::disk::Disk;
use crate::{NodeConfig, miner};

/// How often health looks at the network.
const HEALTH_INTERVAL: Duration = Duration::from_secs(2);

/// Why a node can't be made.
#[derive(Debug, Error)]
pub enum NodeError {
    /// The chain store can't be opened.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The network part can't be made or started.
    #[error(transparent)]
    Network(#[from] NetworkError),
    /// The API's token can't be read or made.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// The API's socket can't be had.
    #[error(transparent)]
    Http(#[from] BindError),
    /// Metrics can't be registered.
    #[error("metrics can't be registered: {0}")]
    Metrics(#[from] MetricsError),
}

/// A node that holds its sockets and its chain, and has not begun to talk.
#[derive(Debug)]
pub struct Node {
    network: Arc<NetworkManager>,
    chain: Arc<Blockchain>,
    http: HttpServer,
    /// Ends what the API does by itself; cancelled when the node is stopped or dropped.
    api_stop: DropGuard,
    health: Health,
    disk: Disk,
    mine_every: Option<Duration>,
}

impl Node {
    /// Opens the chain and takes the sockets.
    ///
    /// # Errors
    /// See [`NodeError`].
    pub async fn bind(config: NodeConfig) -> Result<Self, NodeError> {
        let spec = Arc::new(config.spec.clone());
        let chain = Arc::new(Blockchain::open(spec, &config.data_dir.join("chain"))?);
        // After the chain's lock is held: nobody else makes the file meanwhile.
        let token = ApiToken::load_or_create(&config.data_dir)?;
        let metrics = Metrics::new("quantumcoin_node");
        metrics.describe_process(env!("CARGO_PKG_VERSION"))?;
        let network = NetworkManager::with_config(
            config.network,
            Arc::clone(&chain),
            Some(config.spec),
            &metrics,
        )
        .await?;
        let network = Arc::new(network);
        let health = Health::new();
        let disk = Disk::new(&config.data_dir, &metrics, health.check("disk"))?;
        let api_stop = CancellationToken::new();
        let parts = ApiParts {
            network: Arc::clone(&network),
            chain: Arc::clone(&chain),
            health: health.clone(),
            token,
            names: config.http_names,
            requests: api::request_counter(&metrics)?,
            stop: api_stop.clone(),
        };
        let router = api::router(parts).merge(http::shell(metrics, health.clone()));
        let http = HttpServer::bind(config.http, router).await?;
        Ok(Self {
            network,
            chain,
            http,
            api_stop: api_stop.drop_guard(),
            health,
            disk,
            mine_every: config.mine_every,
        })
    }

    /// Where peers find it.
    pub fn listen_addr(&self) -> SocketAddr {
        self.network.listen_addr()
    }

    /// Where its API is.
    pub fn http_addr(&self) -> SocketAddr {
        self.http.local_addr()
    }

    /// How it is; clones show the same.
    pub fn health(&self) -> Health {
        self.health.clone()
    }

    /// Its network part.
    pub fn network(&self) -> &Arc<NetworkManager> {
        &self.network
    }

    /// Its chain.
    pub fn chain(&self) -> &Arc<Blockchain> {
        &self.chain
    }

    /// Starts to talk to peers; [`Self::run`] does it too. For those who wait for the synchronisation while
    /// the node runs: what they wait for must have begun.
    ///
    /// # Errors
    /// When the network can't be started.
    pub async fn start(&self) -> Result<(), NodeError> {
        match self.network.start().await {
            Ok(()) | Err(NetworkError::AlreadyStarted) => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// Runs until `stop` is cancelled, then closes everything within 5 s.
    ///
    /// # Errors
    /// When the network can't be started.
    pub async fn run(self, stop: CancellationToken) -> Result<(), NodeError> {
        self.start().await?;
        let sync = self.health.check("sync");
        let storage = self.health.vital("storage");
        let watch = watch_health(Arc::clone(&self.network), sync, storage);
        let http = self.http.run(stop.clone());
        let disk = self.disk.watch();
        let api_stop = self.api_stop;
        let mining = async {
            match self.mine_every {
                Some(pause) => {
                    let pool = self.network.pool().clone();
                    miner::run(Arc::clone(&self.chain), pool, pause, stop.clone()).await;
                }
                None => stop.cancelled().await,
            }
        };
        // Both take seconds at the worst, so they end side by side.
        let network = async {
            stop.cancelled().await;
            drop(api_stop);
            self.network.shutdown().await;
        };
        tokio::select! {
            ((), (), ()) = async { tokio::join!(http, mining, network) } => {}
            () = watch => {}
            () = disk => {}
        }
        Ok(())
    }
}

/// Tells health what synchronisation says. Never ends before the network does.
async fn watch_health(network: Arc<NetworkManager>, sync: Check, storage: Check) {
    let mut progress = network.progress();
    loop {
        let now = *progress.borrow_and_update();
        if now.failed {
            storage.failing("blocks can't be stored; see the log");
        } else {
            storage.ok();
        }
        if now.synced {
            sync.ok();
        } else if now.peers == 0 {
            sync.failing("no peers");
        } else {
            sync.degraded(format!(
                "block {} of {}",
                now.block_height, now.header_height
            ));
        }
        let changed = tokio::time::timeout(HEALTH_INTERVAL, progress.changed()).await;
        if matches!(changed, Ok(Err(_))) {
            std::future::pending::<()>().await;
        }
    }
}
