//! One visit to one peer: dial, secure, greet, prove, ask, part. Addresses come last, so that they are not held while the
//! visit waits for something else.
//!
//! | part | what it does |
//! |---|---|
//! | this file | the stages in order; exactly one [`Outcome`] for each visit |
//! | [`dial`] | the way to a peer: straight, or by a proxy |
//! | `conversation` | messages with deadlines over the secured connection |
//! | `block` | proof that it has the blocks, by one of them |
//! | `chain` | proof that the peer holds our chain, by headers |
//! | `heights` | the height that most peers have shown, against which a peer is behind |
//! | `failure` | which error of which stage is which outcome |
//!
//! The version handshake is the node's own state machine; the crawler drives it with its own deadlines.

mod block;
mod chain;
mod conversation;
pub mod dial;
mod failure;
mod heights;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bitcoin::BlockHash;
use bitcoin::p2p::message::NetworkMessage;
use quantumcoin::chain::{BlockRef, Blockchain};
use quantumcoin::chain_spec::ChainSpec;
use quantumcoin::network::protocol::version::{
    Direction, LocalVersion, PeerVersion, Step, VersionHandshake,
};
use quantumcoin::reachability::overlay::{PeerAddress, is_stand_in};
use quantumcoin::reachability::{Outcome, Stage, Transports};
use quantumcoin::store::Observation;
use quantumcoin::transport::{DialBy, Endpoint, Identity, TransportKind};
use quantumcoin::wire::Envelope;
use tokio::net::TcpStream;
use tokio::sync::Mutex;
use tokio::time::timeout;

use self::chain::PROOF_DEPTH;
use self::conversation::Conversation;
use self::dial::Dialer;
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
    syncing: Arc<Mutex<()>>,
    heights: Arc<Heights>,
    dialer: Dialer,
    limits: Limits,
    user_agent: String,
    /// How we would meet ourselves.
    nonce: u64,
    max_lag: u32,
}

/// Time limits of the stages.
#[derive(Debug, Clone, Copy)]
struct Limits {
    secure: Duration,
    answer: Duration,
    addresses: Duration,
    chain: Duration,
    block: Duration,
}

impl Limits {
    fn of(config: &CrawlerConfig) -> Self {
        let limits = config.settings.limits;
        Self {
            secure: config.secure_timeout(),
            answer: Duration::from_millis(limits.answer_ms),
            addresses: Duration::from_millis(limits.addresses_ms),
            chain: Duration::from_millis(limits.chain_ms),
            block: Duration::from_millis(limits.block_ms),
        }
    }
}

/// What a visit asks for beside what every visit does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Wants {
    /// Addresses of others.
    pub addresses: bool,
    /// An old block.
    pub block: bool,
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
    /// The last header of our chain that it has shown.
    pub tip: Option<BlockHash>,
    /// Addresses that it told.
    pub told: Vec<PeerAddress>,
    /// Why it failed, in words; for logs, empty on success.
    pub detail: String,
}

impl Prober {
    /// A prober with its own header chain, which starts at the genesis block.
    pub fn new(config: &CrawlerConfig, identity: Arc<Identity>, nonce: u64) -> Self {
        Self {
            spec: Arc::clone(&config.spec),
            endpoint: Endpoint::new(&config.spec, identity),
            chain: Arc::new(Blockchain::in_memory(Arc::clone(&config.spec))),
            syncing: Arc::default(),
            heights: Arc::default(),
            dialer: dialer(config),
            limits: Limits::of(config),
            user_agent: config.user_agent(),
            nonce,
            max_lag: config.good_policy().max_lag_blocks,
        }
    }

    /// The same with other settings.
    pub(crate) fn with(&self, config: &CrawlerConfig) -> Self {
        Self {
            spec: Arc::clone(&self.spec),
            endpoint: self.endpoint.clone(),
            chain: Arc::clone(&self.chain),
            syncing: Arc::clone(&self.syncing),
            heights: Arc::clone(&self.heights),
            dialer: dialer(config),
            limits: Limits::of(config),
            user_agent: config.user_agent(),
            nonce: self.nonce,
            max_lag: config.good_policy().max_lag_blocks,
        }
    }

    /// Height of the best header that any peer has shown.
    pub fn height(&self) -> u32 {
        self.chain.best_header().height
    }

    /// The best header that any peer has shown.
    pub(crate) fn best(&self) -> BlockRef {
        self.chain.best_header()
    }

    /// Whether a header that once was proof of our chain is none any more, since another chain has more work and left it long
    /// ago.
    pub(crate) fn is_left_behind(&self, tip: &BlockHash) -> bool {
        let best = self.chain.best_header().hash;
        let fork = self.chain.fork_height(tip, &best);
        let height = self.chain.header(tip).map(|(height, _)| height);
        fork.zip(height)
            .is_some_and(|(fork, height)| fork.saturating_add(PROOF_DEPTH) < height)
    }

    /// Visits one peer. Always ends: each stage has its own time limit.
    pub async fn probe(&self, peer: PeerAddress, wants: Wants) -> Probe {
        let start = Instant::now();
        let mut visit = Visit::default();
        let (outcome, detail) = match self.visit(peer, wants, &mut visit).await {
            Ok(()) => (Outcome::Ok, String::new()),
            Err(failure) => (failure.outcome, failure.detail),
        };
        Probe {
            outcome,
            stage: visit.stage,
            duration: start.elapsed(),
            observed: visit.observed,
            tip: visit.tip,
            told: visit.told,
            detail,
        }
    }

    async fn visit(
        &self,
        who: PeerAddress,
        wants: Wants,
        visit: &mut Visit,
    ) -> Result<(), Failure> {
        let mut talk = self.connect(who, visit).await?;
        let greeting = self.greet(who.key(), &mut talk, wants.addresses, visit);
        let (peer, locator) = greeting.await?;
        visit.stage = Stage::Chain;
        let proof = self.prove(&mut talk, peer.start_height, &locator);
        let proof = timeout(self.limits.chain, proof)
            .await
            .map_err(|_| Failure::too_slow("the chain proof"))?;
        let BlockRef {
            height: proved,
            hash,
        } = proof?;
        visit.tip = Some(hash);
        visit.observed.proved_height = Some(proved);
        self.check_lag(who.key(), visit)?;
        visit.stage = Stage::Ping;
        visit.observed.ping_ms = Some(millis(talk.pong(self.limits.answer).await?));
        if wants.block {
            visit.stage = Stage::Block;
            self.show_block(&mut talk, &peer, proved).await?;
        }
        if wants.addresses {
            visit.stage = Stage::Addresses;
            visit.told = talk.addresses(self.limits.addresses).await?;
        }
        visit.stage = Stage::Done;
        Ok(())
    }

    /// Dials by Noise; a peer that hangs up on it may be one that speaks TLS alone, and is dialled once more.
    async fn connect(
        &self,
        peer: PeerAddress,
        visit: &mut Visit,
    ) -> Result<Conversation<TcpStream>, Failure> {
        let stream = self.dial(&peer, visit).await?;
        let noise = match self.secure(peer, stream, DialBy::Noise, visit).await {
            Err(failure) if failure.outcome == Outcome::Disconnected => failure,
            done => return done,
        };
        let Ok(stream) = self.dial(&peer, visit).await else {
            return Err(noise);
        };
        let tls = self.secure(peer, stream, DialBy::Tls, visit).await;
        // Who speaks neither hangs up on both.
        tls.map_err(|tls| match tls.outcome {
            Outcome::TlsFailed => tls,
            _ => noise,
        })
    }

    async fn dial(&self, peer: &PeerAddress, visit: &mut Visit) -> Result<TcpStream, Failure> {
        let start = Instant::now();
        let stream = self.dialer.dial(peer).await?;
        visit.observed.connect_ms = Some(millis(start.elapsed()));
        // Latency of small messages matters here, throughput does not; a refusal changes nothing else.
        let _ = stream.set_nodelay(true);
        Ok(stream)
    }

    async fn secure(
        &self,
        peer: PeerAddress,
        stream: TcpStream,
        by: DialBy,
        visit: &mut Visit,
    ) -> Result<Conversation<TcpStream>, Failure> {
        visit.stage = Stage::Secure;
        let start = Instant::now();
        let secured = timeout(self.limits.secure, self.endpoint.connect_by(by, stream))
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
        let envelope = Envelope::new(self.spec.magic());
        Ok(Conversation::new(peer, secured, envelope))
    }

    /// The version handshake; with its last word go the questions that need no answer before them, which saves a round
    /// trip each.
    async fn greet(
        &self,
        addr: SocketAddr,
        talk: &mut Conversation<TcpStream>,
        want_addresses: bool,
        visit: &mut Visit,
    ) -> Result<(PeerVersion, Vec<BlockHash>), Failure> {
        visit.stage = Stage::Version;
        let mut handshake = VersionHandshake::new(Direction::Outbound, self.local_version(addr));
        let (peer, locator) = timeout(self.limits.answer, async {
            talk.send_all(&handshake.start()).await?;
            loop {
                let message = talk.read().await?;
                visit.observed.note_claims(&message);
                match handshake
                    .on_message(&message)
                    .map_err(|e| Failure::version(&e))?
                {
                    Step::Send(messages) => talk.send_all(&messages).await?,
                    Step::Done { mut send, peer } => {
                        let (locator, question) = self.proof_question(peer.start_height);
                        send.push(talk.ping());
                        send.push(question);
                        if want_addresses {
                            send.push(NetworkMessage::GetAddr);
                        }
                        talk.send_all(&send).await?;
                        break Ok::<_, Failure>((peer, locator));
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
        Ok((peer, locator))
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
            their_addr: if is_stand_in(addr.ip()) {
                SocketAddr::from((Ipv4Addr::UNSPECIFIED, 0))
            } else {
                addr
            },
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
    tip: Option<BlockHash>,
    told: Vec<PeerAddress>,
}

impl Default for Visit {
    fn default() -> Self {
        Self {
            stage: Stage::Dial,
            observed: Observation::default(),
            tip: None,
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

fn dialer(config: &CrawlerConfig) -> Dialer {
    Dialer {
        proxies: config.settings.proxies,
        connect: config.connect_timeout(),
        proxy: Duration::from_millis(config.settings.limits.proxy_ms),
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
