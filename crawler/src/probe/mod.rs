//! One visit to one peer: dial, secure, greet, prove, ask, part.
//!
//! | part | what it does |
//! |---|---|
//! | this file | the stages in order; exactly one [`Outcome`] for each visit |
//! | `conversation` | messages with deadlines over the secured connection |
//! | `chain` | proof that the peer holds our chain, by headers |
//! | `heights` | the height that most peers have shown, against which a peer is behind |
//! | `failure` | which error of which stage is which outcome |
//!
//! The version handshake is the node's own state machine; the crawler drives it with its own deadlines.

mod chain;
mod conversation;
mod failure;
mod heights;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bitcoin::p2p::message::NetworkMessage;
use quantumcoin::chain::Blockchain;
use quantumcoin::chain_spec::ChainSpec;
use quantumcoin::network::protocol::addresses::{self, Gossip};
use quantumcoin::network::protocol::version::{
    Direction, LocalVersion, PeerVersion, Step, VersionHandshake,
};
use quantumcoin::reachability::{Outcome, Stage, Transports};
use quantumcoin::store::Observation;
use quantumcoin::transport::{Endpoint, Identity, TransportKind};
use quantumcoin::wire::Envelope;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::timeout;

use self::conversation::Conversation;
use self::failure::Failure;
use self::heights::Heights;
use crate::config::CrawlerConfig;

/// Visits peers. One for the whole crawler.
#[derive(Debug)]
pub struct Prober {
    spec: Arc<ChainSpec>,
    endpoint: Endpoint,
    /// The crawler's own headers, from the peers that it visits.
    chain: Arc<Blockchain>,
    /// Held by the one visit that downloads many headers, so that not all visits download them.
    syncing: Mutex<()>,
    heights: Heights,
    limits: Limits,
    user_agent: String,
    /// How we would meet ourselves.
    nonce: u64,
    max_lag: u32,
}

/// Time limits of the stages.
#[derive(Debug, Clone, Copy)]
struct Limits {
    connect: Duration,
    secure: Duration,
    answer: Duration,
    addresses: Duration,
    chain: Duration,
}

/// What one visit found.
#[derive(Debug, Clone, PartialEq)]
pub struct Probe {
    /// How it ended.
    pub outcome: Outcome,
    /// How far it came.
    pub stage: Stage,
    /// How long it took.
    pub duration: Duration,
    /// What the peer said.
    pub observed: Observation,
    /// Addresses that it told.
    pub told: Vec<Gossip>,
    /// Why it failed, in words; for logs, empty on success.
    pub detail: String,
}

impl Prober {
    /// A prober with its own header chain, which starts at the genesis block.
    pub fn new(config: &CrawlerConfig, identity: Arc<Identity>, nonce: u64) -> Self {
        let limits = config.settings.limits;
        Self {
            spec: Arc::clone(&config.spec),
            endpoint: Endpoint::new(&config.spec, identity),
            chain: Arc::new(Blockchain::in_memory(Arc::clone(&config.spec))),
            syncing: Mutex::new(()),
            heights: Heights::default(),
            limits: Limits {
                connect: config.connect_timeout(),
                secure: config.secure_timeout(),
                answer: Duration::from_millis(limits.answer_ms),
                addresses: Duration::from_millis(limits.addresses_ms),
                chain: Duration::from_millis(limits.chain_ms),
            },
            user_agent: config.user_agent(),
            nonce,
            max_lag: config.good_policy().max_lag_blocks,
        }
    }

    /// Height of the best header that any peer has shown.
    pub fn height(&self) -> u32 {
        self.chain.best_header().height
    }

    /// Visits one peer. Always ends: each stage has its own time limit.
    pub async fn probe(&self, addr: SocketAddr, want_addresses: bool) -> Probe {
        let start = Instant::now();
        let mut visit = Visit::default();
        let (outcome, detail) = match self.visit(addr, want_addresses, &mut visit).await {
            Ok(()) => (Outcome::Ok, String::new()),
            Err(failure) => (failure.outcome, failure.detail),
        };
        Probe {
            outcome,
            stage: visit.stage,
            duration: start.elapsed(),
            observed: visit.observed,
            told: visit.told,
            detail,
        }
    }

    async fn visit(
        &self,
        addr: SocketAddr,
        want_addresses: bool,
        visit: &mut Visit,
    ) -> Result<(), Failure> {
        let stream = self.dial(addr, visit).await?;
        let mut talk = self.secure(stream, visit).await?;
        let peer = self.greet(addr, &mut talk, visit).await?;
        visit.stage = Stage::Chain;
        let proof = timeout(self.limits.chain, self.prove(&mut talk, peer.start_height));
        let proof = proof
            .await
            .map_err(|_| Failure::too_slow("the chain proof"))?;
        visit.observed.proved_height = Some(proof?);
        self.check_lag(addr, visit)?;
        if want_addresses {
            visit.stage = Stage::Addresses;
            visit.told = talk
                .ask_addresses(addr, self.limits.addresses, unix_now())
                .await?;
        }
        visit.stage = Stage::Ping;
        visit.observed.ping_ms = Some(millis(talk.ping(self.limits.answer).await?));
        visit.stage = Stage::Done;
        Ok(())
    }

    async fn dial(&self, addr: SocketAddr, visit: &mut Visit) -> Result<TcpStream, Failure> {
        let start = Instant::now();
        let stream = timeout(self.limits.connect, TcpStream::connect(addr))
            .await
            .map_err(|_| Failure::new(Outcome::TimeoutConnect, "no answer to the dial"))?
            .map_err(|e| Failure::dial(&e))?;
        visit.observed.connect_ms = Some(millis(start.elapsed()));
        // Latency of small messages matters here, throughput does not; a refusal changes nothing else.
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }

    async fn secure(
        &self,
        stream: TcpStream,
        visit: &mut Visit,
    ) -> Result<Conversation<TcpStream>, Failure> {
        visit.stage = Stage::Secure;
        let start = Instant::now();
        let secured = timeout(self.limits.secure, self.endpoint.connect(stream))
            .await
            .map_err(|_| {
                Failure::new(
                    Outcome::TimeoutHandshake,
                    "the secure handshake took too long",
                )
            })?
            .map_err(|e| Failure::handshake(&e))?;
        visit.observed.secure_ms = Some(millis(start.elapsed()));
        visit.observed.node_id = Some(secured.remote.node_id.to_bytes());
        visit.observed.transports = Some(match secured.remote.transport {
            TransportKind::Tls => Transports::TLS,
            TransportKind::Noise => Transports::NOISE,
        });
        Ok(Conversation::new(secured, Envelope::new(self.spec.magic())))
    }

    async fn greet(
        &self,
        addr: SocketAddr,
        talk: &mut Conversation<TcpStream>,
        visit: &mut Visit,
    ) -> Result<PeerVersion, Failure> {
        visit.stage = Stage::Version;
        let mut handshake = VersionHandshake::new(Direction::Outbound, self.local_version(addr));
        let peer = timeout(self.limits.answer, async {
            talk.send_all(&handshake.start()).await?;
            loop {
                let message = talk.read().await?;
                visit.observed.note_claims(&message);
                match handshake
                    .on_message(&message)
                    .map_err(|e| Failure::version(&e))?
                {
                    Step::Send(messages) => talk.send_all(&messages).await?,
                    Step::Done { send, peer } => {
                        talk.send_all(&send).await?;
                        break Ok::<_, Failure>(peer);
                    }
                }
            }
        })
        .await
        .map_err(|_| Failure::too_slow("the version handshake"))??;
        let o = &mut visit.observed;
        o.services = Some(peer.services);
        o.protocol_version = Some(peer.protocol_version);
        o.user_agent = Some(peer.user_agent.clone());
        o.start_height = Some(peer.start_height);
        o.relay = Some(peer.relay);
        o.clock_offset_secs = Some(peer.time_offset);
        Ok(peer)
    }

    fn local_version(&self, addr: SocketAddr) -> LocalVersion {
        let protocol = &self.spec.network_protocol;
        LocalVersion {
            protocol_version: protocol.protocol_version,
            min_protocol_version: protocol.min_protocol_version,
            services: 0,
            user_agent: self.user_agent.clone(),
            start_height: i32::try_from(self.height()).unwrap_or(i32::MAX),
            relay: false,
            nonce: self.nonce,
            now: unix_now(),
            // A crawler takes no connections.
            our_addr: SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0)),
            their_addr: addr,
        }
    }

    /// On our chain, but so far behind that it helps nobody?
    fn check_lag(&self, addr: SocketAddr, visit: &Visit) -> Result<(), Failure> {
        let proved = visit.observed.proved_height.unwrap_or(0);
        let usual = self.heights.note(addr, proved);
        if proved.saturating_add(self.max_lag) < usual {
            let detail = format!("at height {proved}, most peers are at {usual}");
            return Err(Failure::new(Outcome::Behind, detail));
        }
        Ok(())
    }
}

/// The state of a visit, filled as it goes, so that a failure keeps what was learnt before it.
#[derive(Debug)]
struct Visit {
    stage: Stage,
    observed: Observation,
    told: Vec<Gossip>,
}

impl Default for Visit {
    fn default() -> Self {
        Self {
            stage: Stage::Dial,
            observed: Observation::default(),
            told: Vec::new(),
        }
    }
}

/// What a `version` message claims is worth keeping even when the handshake then fails.
trait NoteClaims {
    fn note_claims(&mut self, message: &NetworkMessage);
}

impl NoteClaims for Observation {
    fn note_claims(&mut self, message: &NetworkMessage) {
        if let NetworkMessage::Version(version) = message {
            self.protocol_version = Some(version.version);
            self.services = Some(version.services.to_u64());
        }
    }
}

fn millis(duration: Duration) -> u32 {
    u32::try_from(duration.as_millis()).unwrap_or(u32::MAX)
}

/// Our clock, Unix seconds; 0 before 1970.
pub(crate) fn unix_now() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
}

/// `addresses::read` at our clock.
fn read_gossip(message: &NetworkMessage, now: i64) -> Vec<Gossip> {
    addresses::read(message, u32::try_from(now).unwrap_or(u32::MAX))
}
