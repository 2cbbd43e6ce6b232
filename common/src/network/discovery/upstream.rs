//! Brings questions to one provider and answers back, whatever way the provider is spoken with.

use std::net::IpAddr;
use std::pin::pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_util::future::{Either, select};
use hickory_resolver::config::{
    ConnectionConfig, NameServerConfig, ProtocolConfig, ResolverConfig, ResolverOpts,
    ServerOrderingStrategy,
};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::xfer::{DnsHandle, FirstAnswer, RetryDnsHandle};
use hickory_resolver::proto::op::{DnsRequestOptions, DnsResponse, Query};
use hickory_resolver::system_conf::read_system_conf;
use hickory_resolver::{ConnectionProvider, Hosts, NameServerPool, PoolContext, TlsConfig};
use tokio::time::{Instant, timeout};

use super::Provider;
use super::provider::certified;
use super::trust::DnsTrust;

/// How long UDP alone is given. Then TCP is tried beside it: some networks lose UDP, or fragments of it, without a word.
const TCP_AFTER: Duration = Duration::from_secs(1);

/// One attempt over UDP, TCP or TLS. Two attempts fit in the time that a seed has.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(2);

/// Most name servers of the system that are asked at once. With fewer, those that are dead would use up the time.
const MAX_SYSTEM_SERVERS: usize = 4;

/// Questions under way on one connection. Each seed puts four and those of its signatures at once; hickory's 32 would
/// be too few for eight seeds, and a server that is overwhelmed says so by reading more slowly.
const MAX_ON_CONNECTION: usize = 256;

/// How long after an answer an encrypted connection is taken to stand. Servers keep idle ones for "a few seconds"
/// (RFC 7766, section 6.2.3) and mostly longer; where this is wrong, some handshakes too many are made.
const CONNECTION_STANDS: Duration = Duration::from_secs(5);

type Pool = RetryDnsHandle<NameServerPool<Connector>>;

/// One provider. Cheap to clone; clones share connections.
#[derive(Clone)]
pub(super) struct Upstream {
    /// UDP, with TCP where an answer is truncated; or TLS.
    first: Pool,
    /// TCP alone, beside UDP. An encrypted provider has nothing beside it: what is asked of it is no others' business.
    tcp: Option<Pool>,
    door: Option<Arc<Door>>,
    /// The hosts file is the system's word, not another provider's.
    hosts: Arc<Hosts>,
    case_randomization: bool,
}

impl Upstream {
    /// Opens nothing yet; an error is one of the configuration.
    pub(super) fn new(provider: &Provider, trust: &DnsTrust) -> Result<Self, String> {
        let (config, mut options, hosts) = match provider {
            Provider::System => {
                let (config, options) = read_system_conf().map_err(|e| e.to_string())?;
                (config, options, Hosts::from_system().unwrap_or_default())
            }
            _ => (server(provider), ResolverOpts::default(), Hosts::default()),
        };
        configure(&mut options, provider, config.name_servers.len());
        let mut by_tcp = config.name_servers.clone();
        for server in &mut by_tcp {
            server
                .connections
                .retain(|connection| connection.protocol == ProtocolConfig::Tcp);
        }
        let tls = trust.tls().map_err(|e| e.to_string())?;
        let pool = |servers| {
            let tls = TlsConfig {
                config: tls.clone(),
            };
            let context = Arc::new(PoolContext::new(options.clone(), tls));
            let pool = NameServerPool::from_config(servers, context, Connector::default());
            RetryDnsHandle::new(pool, options.attempts)
        };
        let encrypted = provider.is_encrypted();
        Ok(Self {
            first: pool(config.name_servers),
            tcp: (!encrypted).then(|| pool(by_tcp)),
            door: encrypted.then(Arc::default),
            hosts: Arc::new(hosts),
            case_randomization: options.case_randomization,
        })
    }

    pub(super) fn hosts(&self) -> &Hosts {
        &self.hosts
    }

    /// One question. With `dnssec`, signatures are asked for too.
    pub(super) async fn ask(&self, query: Query, dnssec: bool) -> Result<DnsResponse, NetError> {
        let mut options = DnsRequestOptions::default();
        options.edns_set_dnssec_ok = dnssec;
        options.case_randomization = self.case_randomization;
        let by_first = self.first.lookup(query.clone(), options).first_answer();
        match (&self.tcp, &self.door) {
            (Some(tcp), _) => beside(by_first, || tcp.lookup(query, options).first_answer()).await,
            (None, Some(door)) => door.through(by_first).await,
            (None, None) => by_first.await,
        }
    }
}

/// By `udp`; by `tcp` as well when that fails, or takes long. Whichever answers first has answered.
async fn beside<T: Future<Output = Result<DnsResponse, NetError>>>(
    udp: impl Future<Output = Result<DnsResponse, NetError>>,
    tcp: impl FnOnce() -> T,
) -> Result<DnsResponse, NetError> {
    let mut udp = pin!(udp);
    match timeout(TCP_AFTER, udp.as_mut()).await {
        Ok(answer) if !is_silence(&answer) => return answer,
        Ok(_) => return tcp().await,
        Err(_) => {}
    }
    match select(udp, pin!(tcp())).await {
        Either::Left((answer, tcp)) if is_silence(&answer) => tcp.await,
        Either::Right((answer, udp)) if is_silence(&answer) => udp.await,
        Either::Left((answer, _)) | Either::Right((answer, _)) => answer,
    }
}

/// Whether nobody answered, or only with what is no DNS. A refusal is an answer, and the same over TCP.
pub(super) fn is_silence(answer: &Result<DnsResponse, NetError>) -> bool {
    !matches!(answer, Ok(_) | Err(NetError::Dns(_)))
}

/// Makes connections as hickory does, and tells why an encrypted one can't be made: of input and output errors, a bad
/// certificate among them, hickory's pool says no more than that there is no connection.
#[derive(Clone, Default)]
struct Connector(TokioRuntimeProvider);

impl ConnectionProvider for Connector {
    type Conn = <TokioRuntimeProvider as ConnectionProvider>::Conn;
    type FutureConn = <TokioRuntimeProvider as ConnectionProvider>::FutureConn;
    type RuntimeProvider = TokioRuntimeProvider;

    fn new_connection(
        &self,
        ip: IpAddr,
        config: &ConnectionConfig,
        context: &PoolContext,
    ) -> Result<Self::FutureConn, NetError> {
        let connecting = self.0.new_connection(ip, config, context)?;
        if matches!(config.protocol, ProtocolConfig::Udp | ProtocolConfig::Tcp) {
            return Ok(connecting);
        }
        Ok(Box::pin(async move {
            connecting.await.map_err(|error| match error {
                NetError::Io(error) => NetError::from(format!("no connection: {error}")),
                other => other,
            })
        }))
    }

    fn runtime_provider(&self) -> &TokioRuntimeProvider {
        &self.0
    }
}

/// Lets one question go first when no connection stands: all at once, each would make a connection of its own, with a
/// handshake for each question of each seed.
#[derive(Debug, Default)]
struct Door {
    first: tokio::sync::Mutex<()>,
    answered: Mutex<Option<Instant>>,
}

impl Door {
    async fn through(
        &self,
        question: impl Future<Output = Result<DnsResponse, NetError>>,
    ) -> Result<DnsResponse, NetError> {
        let waited = if self.is_open() {
            None
        } else {
            let first = self.first.lock().await;
            // Somebody may have opened it meanwhile.
            (!self.is_open()).then_some(first)
        };
        let answer = question.await;
        if !is_silence(&answer) {
            *self.answered() = Some(Instant::now());
        }
        drop(waited);
        answer
    }

    fn is_open(&self) -> bool {
        self.answered()
            .is_some_and(|at| at.elapsed() < CONNECTION_STANDS)
    }

    fn answered(&self) -> std::sync::MutexGuard<'_, Option<Instant>> {
        self.answered.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstream")
            .field("encrypted", &self.door.is_some())
            .finish_non_exhaustive()
    }
}

/// How a provider other than the system's is reached.
fn server(provider: &Provider) -> ResolverConfig {
    let (addr, ways) = match provider {
        Provider::System => return ResolverConfig::from_name_servers(Vec::new()),
        Provider::Server(addr) => (addr, vec![ConnectionConfig::udp(), ConnectionConfig::tcp()]),
        Provider::Tls { addr, name } => {
            let name = certified(*addr, name.as_ref());
            (addr, vec![ConnectionConfig::tls(name)])
        }
        Provider::Https { addr, name, path } => {
            let name = certified(*addr, name.as_ref());
            let way = ConnectionConfig::https(name, Some(Arc::clone(path)));
            (addr, vec![way])
        }
    };
    let ways = ways.into_iter().map(|mut way| {
        way.port = addr.port();
        way
    });
    let server = NameServerConfig::new(addr.ip(), true, ways.collect());
    ResolverConfig::from_name_servers(vec![server])
}

fn configure(options: &mut ResolverOpts, provider: &Provider, servers: usize) {
    options.timeout = ATTEMPT_TIMEOUT;
    options.attempts = 1;
    options.server_ordering_strategy = ServerOrderingStrategy::QueryStatistics;
    options.num_concurrent_reqs = servers.clamp(1, MAX_SYSTEM_SERVERS);
    options.max_active_requests = MAX_ON_CONNECTION;
    // Who forges answers without seeing questions must guess their letters' case too. Not for the system's
    // resolver: some routers answer in lower case, and speak no TCP either. Nobody forges into TLS.
    options.case_randomization = matches!(provider, Provider::Server(_));
}
