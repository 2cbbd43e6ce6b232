//! Peers for tests: the real transport, messages and chain, with a stated behaviour each.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use bitcoin::consensus::encode::deserialize;
use bitcoin::p2p::ServiceFlags;
use bitcoin::p2p::address::{AddrV2, AddrV2Message};
use bitcoin::p2p::message::NetworkMessage;
use bitcoin::p2p::message_blockdata::Inventory;
use bitcoin::{Block, ScriptBuf};
use quantumcoin::chain::{Blockchain, miner};
use quantumcoin::chain_spec::ChainSpec;
use quantumcoin::network::channel::{MessageReader, MessageWriter};
use quantumcoin::network::protocol::addresses::{self, Gossip};
use quantumcoin::network::protocol::version::{Direction, LocalVersion, Step, VersionHandshake};
use quantumcoin::reachability::overlay::{OverlayName, PeerAddress};
use quantumcoin::store::StoreReader;
use quantumcoin::transport::{Endpoint, Identity, TransportKind};
use quantumcoin::wire::Envelope;
use quantumcoin_crawler::CrawlerConfig;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

/// A time after the devnet's genesis.
pub(crate) const NOW: u32 = 1_790_000_000;

pub(crate) fn devnet() -> Arc<ChainSpec> {
    Arc::new(ChainSpec::devnet())
}

/// A mined chain of that many blocks; chains of different `payout` differ from the first block on.
pub(crate) fn mined(spec: &Arc<ChainSpec>, blocks: u32, payout: u8) -> Arc<Blockchain> {
    let chain = Arc::new(Blockchain::in_memory(Arc::clone(spec)));
    extend(&chain, blocks, payout);
    chain
}

pub(crate) fn extend(chain: &Blockchain, blocks: u32, payout: u8) {
    let script = ScriptBuf::from_bytes([&[0x53, 0x20][..], &[payout; 32]].concat());
    for n in 0..blocks {
        miner::mine_block(chain, script.clone(), NOW + n).unwrap();
    }
}

/// What a peer does.
#[derive(Clone)]
pub(crate) enum Behaviour {
    /// An honest node.
    Honest {
        chain: Arc<Blockchain>,
        tells: Vec<SocketAddr>,
    },
    /// An honest node of an overlay network: it tells names, and never where it listens.
    TellsNames {
        chain: Arc<Blockchain>,
        names: Vec<PeerAddress>,
    },
    /// An honest node with this user agent.
    Named {
        chain: Arc<Blockchain>,
        agent: String,
    },
    /// Honest, but announces itself first and answers `getaddr` never.
    AnnouncesOnly { chain: Arc<Blockchain> },
    /// Claims this height whatever it has.
    Claims { chain: Arc<Blockchain>, height: i32 },
    /// Lets the crawler wait for its headers: so long for the first message, so long for each further one.
    Paced {
        chain: Arc<Blockchain>,
        first: Duration,
        then: Duration,
    },
    /// Speaks this protocol version.
    Old {
        chain: Arc<Blockchain>,
        version: u32,
    },
    /// Sends our own version message back.
    Mirror,
    /// Accepts and says nothing.
    Tarpit,
    /// Accepts and sends junk.
    Junk,
    /// Closes at once.
    Closes,
    /// Finishes the secure handshake and says nothing more.
    Mute,
    /// Breaks the order of messages.
    Rude,
    /// A node of another network.
    OtherNetwork,
    /// An honest node that speaks TLS alone.
    TlsOnly { chain: Arc<Blockchain> },
    /// Opens with TLS and can't go on.
    BrokenTls,
    /// Says that it has all blocks, and does this when it is asked for one.
    Asked {
        chain: Arc<Blockchain>,
        answer: fn(Block) -> NetworkMessage,
    },
}

/// An honest node that knows no other.
pub(crate) fn honest(chain: Arc<Blockchain>) -> Behaviour {
    Behaviour::Honest {
        chain,
        tells: Vec::new(),
    }
}

/// Starts a peer on its own loopback address; it lives as long as the test's runtime.
pub(crate) async fn peer(host: u8, behaviour: Behaviour) -> SocketAddr {
    peer_at([127, 0, 7, host], behaviour).await
}

/// The same at any loopback address.
pub(crate) async fn peer_at(ip: [u8; 4], behaviour: Behaviour) -> SocketAddr {
    let listener = TcpListener::bind((IpAddr::from(ip), 0)).await.unwrap();
    let addr = listener.local_addr().unwrap();
    let identity = Arc::new(Identity::generate().unwrap());
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            tokio::spawn(serve(
                stream,
                addr,
                behaviour.clone(),
                Arc::clone(&identity),
            ));
        }
    });
    addr
}

/// An address where nothing listens.
pub(crate) async fn closed_port(host: u8) -> SocketAddr {
    let ip = IpAddr::V4(Ipv4Addr::new(127, 0, 7, host));
    TcpListener::bind((ip, 0))
        .await
        .unwrap()
        .local_addr()
        .unwrap()
}

/// A crawler's configuration for tests: no DNS, no bootstrap nodes, short limits.
pub(crate) fn config(
    spec: &Arc<ChainSpec>,
    dir: &std::path::Path,
    seeds: &[SocketAddr],
) -> CrawlerConfig {
    let mut config = CrawlerConfig::new(Arc::clone(spec), dir);
    config.use_bootstrap = false;
    config.resolvers = Vec::new();
    config.seed_addrs = seeds.iter().map(|addr| (*addr).into()).collect();
    config.settings.limits.connect_ms = Some(2_000);
    config.settings.limits.secure_ms = Some(1_000);
    config.settings.limits.answer_ms = 1_500;
    config.settings.limits.addresses_ms = 300;
    config.settings.pace.dials_per_second = 1_000;
    config
}

/// Polls until `check` holds; fails after a generous limit.
pub(crate) async fn until(what: &str, mut check: impl AsyncFnMut() -> bool) {
    let limit = tokio::time::Instant::now() + Duration::from_secs(20);
    while !check().await {
        assert!(tokio::time::Instant::now() < limit, "never: {what}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Who is good now.
pub(crate) async fn good(reader: &StoreReader) -> Vec<SocketAddr> {
    let set = reader.good_peers(i64::from(u32::MAX)).await.unwrap();
    set.peers.iter().map(|peer| peer.addr).collect()
}

async fn serve(
    mut stream: TcpStream,
    me: SocketAddr,
    behaviour: Behaviour,
    identity: Arc<Identity>,
) {
    let spec = devnet();
    match &behaviour {
        Behaviour::Tarpit => {
            let mut sink = Vec::new();
            let _ = stream.read_to_end(&mut sink).await;
        }
        Behaviour::Junk => {
            let _ = stream.write_all(&[0x47; 4_096]).await;
            let mut sink = Vec::new();
            let _ = stream.read_to_end(&mut sink).await;
        }
        Behaviour::Closes => {}
        Behaviour::BrokenTls => {
            // A fatal alert, as for whatever it does not like; to Noise it hangs up.
            if stream.read_u8().await.is_ok_and(|first| first == 0x16) {
                let _ = stream.write_all(&[0x15, 3, 3, 0, 2, 2, 40]).await;
            }
        }
        Behaviour::OtherNetwork => {
            let other = ChainSpec::testnet();
            // Whether its side fails as well is its own matter.
            let _ = Endpoint::new(&other, identity).accept(stream).await;
        }
        _ => {
            let endpoint = Endpoint::new(&spec, identity);
            let endpoint = match behaviour {
                Behaviour::TlsOnly { .. } => endpoint.accepting(&[TransportKind::Tls]),
                _ => endpoint,
            };
            let Ok(secured) = endpoint.accept(stream).await else {
                return;
            };
            let envelope = Envelope::new(spec.magic());
            let mut reader = MessageReader::new(secured.reader, envelope);
            let mut writer = MessageWriter::new(secured.writer, envelope);
            // The crawler closes when it has seen enough.
            let _ = converse(&spec, me, behaviour, &mut reader, &mut writer).await;
        }
    }
}

async fn converse<R, W>(
    spec: &ChainSpec,
    me: SocketAddr,
    behaviour: Behaviour,
    reader: &mut MessageReader<R>,
    writer: &mut MessageWriter<W>,
) -> Result<(), Box<dyn std::error::Error + Send + Sync>>
where
    R: tokio::io::AsyncRead + Unpin,
    W: tokio::io::AsyncWrite + Unpin,
{
    let (mut pause, mut then) = (Duration::ZERO, Duration::ZERO);
    let mut named = None;
    let mut asked: Option<fn(Block) -> NetworkMessage> = None;
    let (chain, tells, height, agent, version) = match behaviour {
        Behaviour::Mirror => {
            let theirs = reader.read().await?;
            writer.write(&theirs).await?;
            reader.read().await?;
            return Ok(());
        }
        Behaviour::Mute => loop {
            reader.read().await?;
        },
        Behaviour::Rude => {
            writer.write(&NetworkMessage::Ping(1)).await?;
            reader.read().await?;
            return Ok(());
        }
        Behaviour::TellsNames { chain, names } => {
            named = Some(names);
            (chain, Some(Vec::new()), None, None, None)
        }
        Behaviour::Honest { chain, tells } => (chain, Some(tells), None, None, None),
        Behaviour::Named { chain, agent } => (chain, Some(Vec::new()), None, Some(agent), None),
        Behaviour::AnnouncesOnly { chain } => (chain, None, None, None, None),
        Behaviour::TlsOnly { chain } => (chain, Some(Vec::new()), None, None, None),
        Behaviour::Asked { chain, answer } => {
            asked = Some(answer);
            (chain, Some(Vec::new()), None, None, None)
        }
        Behaviour::Claims { chain, height } => (chain, None, Some(height), None, None),
        Behaviour::Paced {
            chain,
            first,
            then: later,
        } => {
            (pause, then) = (first, later);
            (chain, Some(Vec::new()), None, None, None)
        }
        Behaviour::Old { chain, version } => (chain, None, None, None, Some(version)),
        _ => unreachable!("served before"),
    };
    let mut handshake = VersionHandshake::new(
        Direction::Inbound,
        LocalVersion {
            protocol_version: version.unwrap_or(spec.network_protocol.protocol_version),
            min_protocol_version: 1,
            services: 1 | 8,
            user_agent: agent.unwrap_or_else(|| "/test-peer:1/".to_owned()),
            start_height: height.unwrap_or(chain.tip().height as i32),
            relay: true,
            nonce: u64::from(me.port()),
            now: i64::from(NOW),
            our_addr: me,
            their_addr: me,
        },
    );
    loop {
        let message = reader.read().await?;
        match handshake.on_message(&message)? {
            Step::Send(messages) => {
                for message in messages {
                    writer.write(&message).await?;
                }
            }
            Step::Done { .. } => break,
        }
    }
    // A real node announces itself and asks for our latency, whatever we ask first.
    let gossip = |addr: &SocketAddr| Gossip {
        addr: *addr,
        services: 9,
        time: NOW,
    };
    if named.is_none() {
        let own = addresses::write(&[gossip(&me)], true);
        writer.write(&own).await?;
    }
    writer.write(&NetworkMessage::Ping(7)).await?;
    loop {
        match reader.read().await? {
            NetworkMessage::Ping(n) => writer.write(&NetworkMessage::Pong(n)).await?,
            NetworkMessage::GetHeaders(ask) => {
                tokio::time::sleep(std::mem::replace(&mut pause, then)).await;
                let headers = chain.headers_after(&ask.locator_hashes, ask.stop_hash, 2_000);
                writer.write(&NetworkMessage::Headers(headers)).await?
            }
            NetworkMessage::GetData(items) => match block(&chain, &items) {
                Some(block) => {
                    let answer = asked.map_or(NetworkMessage::Block(block.clone()), |a| a(block));
                    writer.write(&answer).await?
                }
                None => writer.write(&NetworkMessage::NotFound(items)).await?,
            },
            NetworkMessage::GetAddr if named.is_some() => {
                let entries = named.iter().flatten().map(named_entry).collect();
                writer.write(&NetworkMessage::AddrV2(entries)).await?
            }
            NetworkMessage::GetAddr => match &tells {
                Some(tells) => {
                    let entries: Vec<Gossip> = tells.iter().map(gossip).collect();
                    writer.write(&addresses::write(&entries, true)).await?
                }
                None => 0,
            },
            _ => 0,
        };
    }
}

fn named_entry(peer: &PeerAddress) -> AddrV2Message {
    let PeerAddress::Named(name, port) = *peer else {
        panic!("{peer} is no name")
    };
    let addr = match name {
        OverlayName::Onion(key) => AddrV2::TorV3(key),
        OverlayName::I2p(hash) => AddrV2::I2p(hash),
    };
    AddrV2Message {
        time: NOW,
        services: ServiceFlags::from(9),
        addr,
        port,
    }
}

fn block(chain: &Blockchain, items: &[Inventory]) -> Option<Block> {
    let Some(Inventory::WitnessBlock(hash)) = items.first() else {
        return None;
    };
    let bytes = chain.block(hash).unwrap()?;
    Some(deserialize(&bytes).unwrap())
}
