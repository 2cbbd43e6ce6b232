//! What a peer of a simulated internet does when it is visited, by its kind.

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::bail;
use bitcoin::ScriptBuf;
use bitcoin::consensus::encode::deserialize;
use bitcoin::p2p::message::NetworkMessage;
use bitcoin::p2p::message_blockdata::Inventory;
use quantumcoin::chain::{Blockchain, miner};
use quantumcoin::chain_spec::ChainSpec;
use quantumcoin::network::channel::{MessageReader, MessageWriter};
use quantumcoin::network::protocol::addresses::{self, Gossip};
use quantumcoin::network::protocol::version::{Direction, LocalVersion, Step, VersionHandshake};
use quantumcoin::network::security::ledger::block_hash;
use quantumcoin::transport::{Endpoint, Identity, ReadHalf, TransportKind, WriteHalf};
use quantumcoin::wire::{Envelope, services};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::truth::{Kind, Truth};
use crate::attack::dial::unix_seconds;

/// Blocks of the honest chain, …
const BLOCKS: u32 = 60;

/// … and of the one that is behind: more than the dozen that a good peer may lack.
const BEHIND: u32 = 20;

/// Blocks of a chain that is none of ours: less work, or nobody could say which of the two is the network's.
const FOREIGN: u32 = 55;

/// A height that nobody can show.
const BOAST: i32 = 1_000_000;

/// What an outdated peer speaks: the version before the oldest that is spoken to.
const OUTDATED: u32 = 70_009;

/// Identities that the peers share, so that a million of them need no memory; making one costs as much as a handshake.
const IDENTITIES: u64 = 1_024;

/// Where no node listens there is no node to be told of: what peers say of themselves and others.
const SERVICES: u64 = 9 | services::NOISE;

/// What all peers share.
pub(super) struct World {
    truth: Truth,
    spec: ChainSpec,
    ours: Blockchain,
    behind: Blockchain,
    foreign: Blockchain,
    endpoints: Vec<Endpoint>,
    elsewhere: Endpoint,
}

impl World {
    /// Makes the chains and the identities.
    pub(super) fn new(truth: Truth) -> anyhow::Result<Self> {
        let spec = ChainSpec::devnet();
        let endpoint = || -> anyhow::Result<Endpoint> {
            Ok(Endpoint::new(&spec, Arc::new(Identity::generate()?)))
        };
        let identities = IDENTITIES.min(u64::from(truth.size()));
        let elsewhere = Arc::new(Identity::generate()?);
        Ok(Self {
            truth,
            ours: chain(&spec, BLOCKS, 1)?,
            behind: chain(&spec, BEHIND, 1)?,
            foreign: chain(&spec, FOREIGN, 2)?,
            endpoints: (0..identities)
                .map(|_| endpoint())
                .collect::<Result<_, _>>()?,
            elsewhere: Endpoint::new(&ChainSpec::testnet(), elsewhere),
            spec,
        })
    }

    /// Somebody has dialled one of the peers.
    pub(super) async fn meet(&self, stream: TcpStream) {
        let Some(number) = stream
            .local_addr()
            .ok()
            .and_then(|me| self.truth.number(me))
        else {
            return;
        };
        // Whatever comes of it, the visitor has seen it too.
        let _ = self.serve(stream, number).await;
    }

    async fn serve(&self, mut stream: TcpStream, number: u32) -> anyhow::Result<()> {
        let kind = self.truth.kind(number);
        match kind {
            Kind::Dead | Kind::Refusing | Kind::Closing => Ok(()),
            Kind::Tarpit => until_hung_up(&mut stream).await,
            Kind::Junk => {
                stream.write_all(&[0x47; 4_096]).await?;
                until_hung_up(&mut stream).await
            }
            Kind::TlsOnly => {
                self.meet_by(
                    self.endpoint(number).accepting(&[TransportKind::Tls]),
                    stream,
                    number,
                )
                .await
            }
            Kind::OtherNetwork => {
                self.elsewhere.accept(stream).await?;
                Ok(())
            }
            _ => self.meet_by(self.endpoint(number), stream, number).await,
        }
    }

    /// The node's transport.
    fn endpoint(&self, number: u32) -> Endpoint {
        let place = self.truth.hash(number, u64::MAX) % self.endpoints.len().max(1) as u64;
        let endpoint = self.endpoints.get(place as usize);
        endpoint.unwrap_or(&self.elsewhere).clone()
    }

    async fn meet_by(
        &self,
        endpoint: Endpoint,
        stream: TcpStream,
        number: u32,
    ) -> anyhow::Result<()> {
        stream.set_nodelay(true)?;
        let secured = endpoint.accept(stream).await?;
        let envelope = Envelope::new(self.spec.magic());
        let peer = Peer {
            world: self,
            number,
            kind: self.truth.kind(number),
            me: self.truth.address(number),
            reader: MessageReader::new(secured.reader, envelope),
            writer: MessageWriter::new(secured.writer, envelope),
        };
        peer.converse().await
    }
}

async fn until_hung_up(stream: &mut TcpStream) -> anyhow::Result<()> {
    let mut bytes = [0; 1_024];
    while stream.read(&mut bytes).await? > 0 {}
    Ok(())
}

/// Chains that pay to the same key have the same blocks.
fn chain(spec: &ChainSpec, blocks: u32, key: u8) -> anyhow::Result<Blockchain> {
    let chain = Blockchain::in_memory(Arc::new(spec.clone()));
    let script = ScriptBuf::from_bytes([&[0x53, 0x20][..], &[key; 32]].concat());
    for number in 0..blocks {
        miner::mine_block(&chain, script.clone(), FIRST_BLOCK + number)?;
    }
    Ok(chain)
}

/// When the first block was mined, Unix seconds: after the devnet's genesis block.
const FIRST_BLOCK: u32 = 1_790_000_000;

/// One conversation.
struct Peer<'a> {
    world: &'a World,
    number: u32,
    kind: Kind,
    me: SocketAddr,
    reader: MessageReader<ReadHalf<TcpStream>>,
    writer: MessageWriter<WriteHalf<TcpStream>>,
}

impl Peer<'_> {
    async fn converse(mut self) -> anyhow::Result<()> {
        match self.kind {
            Kind::Mute => loop {
                self.reader.read().await?;
            },
            Kind::Rude => {
                self.writer.write(&NetworkMessage::Ping(1)).await?;
                self.reader.read().await?;
                return Ok(());
            }
            _ => {}
        }
        self.greet().await?;
        // A real node announces itself, whatever is asked first.
        let own = addresses::write(&[gossip(self.me)], true);
        self.writer.write(&own).await?;
        loop {
            let message = self.reader.read().await?;
            if let Some(answer) = self.answer(message) {
                self.writer.write(&answer).await?;
            }
        }
    }

    async fn greet(&mut self) -> anyhow::Result<()> {
        let mut handshake = VersionHandshake::new(Direction::Inbound, self.version());
        loop {
            let (send, done) = match handshake.on_message(&self.reader.read().await?) {
                Ok(Step::Send(send)) => (send, false),
                Ok(Step::Done { send, .. }) => (send, true),
                Err(error) => bail!(error),
            };
            for message in send {
                self.writer.write(&message).await?;
            }
            if done {
                return Ok(());
            }
        }
    }

    fn version(&self) -> LocalVersion {
        let protocol = &self.world.spec.network_protocol;
        let height = i32::try_from(self.chain().tip().height).unwrap_or(i32::MAX);
        LocalVersion {
            protocol_version: if self.kind == Kind::Outdated {
                OUTDATED
            } else {
                protocol.protocol_version
            },
            min_protocol_version: 1,
            services: SERVICES,
            user_agent: "/labs-internet/".to_owned(),
            start_height: if self.kind == Kind::Boaster {
                BOAST
            } else {
                height
            },
            relay: true,
            nonce: u64::from(self.number),
            now: unix_seconds() as i64,
            our_addr: self.me,
            their_addr: self.me,
        }
    }

    fn chain(&self) -> &Blockchain {
        match self.kind {
            Kind::Behind => &self.world.behind,
            Kind::OtherChain => &self.world.foreign,
            _ => &self.world.ours,
        }
    }

    fn answer(&self, message: NetworkMessage) -> Option<NetworkMessage> {
        match message {
            NetworkMessage::Ping(nonce) => Some(NetworkMessage::Pong(nonce)),
            NetworkMessage::GetHeaders(ask) => {
                let chain = self.chain();
                let headers = chain.headers_after(&ask.locator_hashes, ask.stop_hash, 2_000);
                Some(NetworkMessage::Headers(headers))
            }
            NetworkMessage::GetData(items) => items.iter().find_map(|item| self.block(item)),
            NetworkMessage::GetAddr if self.kind != Kind::Announcer => {
                let told = self.world.truth.tells(self.number);
                let told: Vec<Gossip> = told.into_iter().map(gossip).collect();
                Some(addresses::write(&told, true))
            }
            _ => None,
        }
    }
}

impl Peer<'_> {
    fn block(&self, item: &Inventory) -> Option<NetworkMessage> {
        let hash = block_hash(item)?;
        let block = self.chain().block(&hash).ok().flatten();
        let block = block.and_then(|bytes| deserialize(&bytes).ok());
        Some(block.map_or_else(
            || NetworkMessage::NotFound(vec![*item]),
            NetworkMessage::Block,
        ))
    }
}

fn gossip(addr: SocketAddr) -> Gossip {
    Gossip {
        addr,
        services: SERVICES,
        time: unix_seconds() as u32,
    }
}
