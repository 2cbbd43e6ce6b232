//! Peers that do what a test says, over the library's own encrypted sessions; and the chains and nodes that
//! the tests use them with.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bitcoin::block::Header;
use bitcoin::consensus::deserialize;
use bitcoin::hashes::Hash;
use bitcoin::p2p::message::NetworkMessage;
use bitcoin::{Amount, Block, BlockHash, ScriptBuf};
use quantumcoin::chain::Blockchain;
use quantumcoin::chain::miner::mine_block;
use quantumcoin::chain_spec::ChainSpec;
use quantumcoin::network::address_book::AddressBook;
use quantumcoin::network::protocol::version::{Direction, LocalVersion};
use quantumcoin::network::security::ledger::block_hash;
use quantumcoin::network::session::{Session, SessionError, shake_hands};
use quantumcoin::network::{NetworkConfig, NetworkManager, NetworkStatus};
use quantumcoin::service::metrics::Metrics;
use quantumcoin::transport::{Endpoint, Identity};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// Longest that anything may take; many times what it takes when all is well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// Headers of one message.
pub(crate) const HEADERS: usize = 2_000;

/// Seconds since 1970.
pub(crate) fn unix_now() -> u32 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.unwrap().as_secs() as u32
}

/// Mines `blocks` blocks on the tip of `chain`, a second apart, ending `ago` seconds before now or later.
/// Chains of different `tag` share no block.
pub(crate) fn mine(chain: &Blockchain, blocks: u32, tag: u8) {
    let payout = ScriptBuf::from_bytes([&[0x53, 0x20][..], &[tag; 32]].concat());
    let start = unix_now() - 20_000 + chain.tip().height;
    for n in 0..blocks {
        mine_block(chain, payout.clone(), start + n).unwrap();
    }
}

/// A chain in memory with what `from` has up to `height`.
pub(crate) fn copy(from: &Blockchain, height: u32) -> Blockchain {
    let chain = Blockchain::in_memory(Arc::clone(from.spec()));
    for block in blocks(from, 1, height) {
        chain.accept_headers(&[block.header], unix_now()).unwrap();
        chain.connect_block(&block).unwrap();
    }
    chain
}

/// The blocks of the verified chain from height `first` to `last`.
pub(crate) fn blocks(chain: &Blockchain, first: u32, last: u32) -> Vec<Block> {
    (first..=last)
        .map(|height| {
            let hash = chain.block_at(height).unwrap();
            deserialize(&chain.block(&hash).unwrap().unwrap()).unwrap()
        })
        .collect()
}

/// Tries nonces until the header has the work that it claims.
pub(crate) fn work(header: &mut Header) {
    while header.validate_pow(header.target()).is_err() {
        header.nonce += 1;
    }
}

/// Makes coinbase and header commit to the block's transactions as they are.
fn commit(block: &mut Block) {
    let root = block.witness_root().unwrap();
    let reserved = block.txdata[0].input[0].witness[0].to_vec();
    let commitment = Block::compute_witness_commitment(&root, &reserved);
    let holder = block.txdata[0].output.iter_mut().rev().find(|output| {
        let magic = [0x6a, 0x24, 0xaa, 0x21, 0xa9, 0xed];
        output.script_pubkey.as_bytes().starts_with(&magic)
    });
    let script = &mut holder.unwrap().script_pubkey;
    let mut bytes = script.to_bytes();
    bytes[6..38].copy_from_slice(commitment.as_byte_array());
    *script = ScriptBuf::from_bytes(bytes);
    block.header.merkle_root = block.compute_merkle_root().unwrap();
}

/// What a scripted peer tells: blocks by height, from 1 on, whether they are valid or not.
pub(crate) struct Tale {
    blocks: Vec<Block>,
    heights: HashMap<BlockHash, usize>,
}

impl Tale {
    /// Blocks that follow each other, the first the genesis block.
    pub(crate) fn new(blocks: Vec<Block>) -> Arc<Self> {
        let hashes = blocks.iter().map(Block::block_hash).zip(1..);
        Arc::new(Self {
            heights: hashes.collect(),
            blocks,
        })
    }

    /// The true chain of a node.
    pub(crate) fn of(chain: &Blockchain) -> Arc<Self> {
        Self::new(blocks(chain, 1, chain.tip().height))
    }

    /// The chain of `source`, whose block at `height` pays its miner twice what it may. Header, proof of
    /// work and all that follows it are made to fit.
    pub(crate) fn overpaid(source: &Blockchain, height: u32) -> Arc<Self> {
        Self::spoilt(source, height, |block| {
            let paid = &mut block.txdata[0].output[0].value;
            *paid = Amount::from_sat(paid.to_sat() * 2);
        })
    }

    /// The chain of `source` with a change to its block at `height`. What commits to the change, proof of
    /// work and all that follows it are made to fit.
    pub(crate) fn spoilt(
        source: &Blockchain,
        height: u32,
        spoil: impl Fn(&mut Block),
    ) -> Arc<Self> {
        let mut tale = blocks(source, 1, source.tip().height);
        let mut parent = None;
        for (index, block) in tale.iter_mut().enumerate().skip(height as usize - 1) {
            if index + 1 == height as usize {
                spoil(block);
                commit(block);
            }
            block.header.prev_blockhash = parent.unwrap_or(block.header.prev_blockhash);
            work(&mut block.header);
            parent = Some(block.block_hash());
        }
        Self::new(tale)
    }

    /// The hash at a height from 1 on.
    pub(crate) fn hash(&self, height: u32) -> BlockHash {
        self.blocks[height as usize - 1].block_hash()
    }

    /// The last block's hash.
    pub(crate) fn tip(&self) -> BlockHash {
        self.hash(self.blocks.len() as u32)
    }

    /// The block of this hash.
    pub(crate) fn block(&self, hash: &BlockHash) -> Option<&Block> {
        self.heights.get(hash).map(|h| &self.blocks[h - 1])
    }

    fn headers_after(&self, locator: &[BlockHash]) -> Vec<Header> {
        let known = locator.iter().find_map(|hash| self.heights.get(hash));
        let following = &self.blocks[known.copied().unwrap_or(0)..];
        following.iter().take(HEADERS).map(|b| b.header).collect()
    }

    /// The answer of a peer that has this chain.
    pub(crate) fn answer(&self, message: NetworkMessage) -> Vec<NetworkMessage> {
        match message {
            NetworkMessage::GetHeaders(request) => {
                let headers = self.headers_after(&request.locator_hashes);
                vec![NetworkMessage::Headers(headers)]
            }
            NetworkMessage::GetData(items) => items
                .iter()
                .filter_map(block_hash)
                .filter_map(|hash| self.block(&hash).cloned())
                .map(NetworkMessage::Block)
                .collect(),
            NetworkMessage::Ping(nonce) => vec![NetworkMessage::Pong(nonce)],
            _ => Vec::new(),
        }
    }
}

/// How a scripted peer shows itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Manner {
    /// Height that it claims in `version`.
    pub(crate) height: i32,
    /// Pause before each block that it sends: how slow its link is.
    pub(crate) pause: Duration,
}

/// A scripted peer that listens. Dropping it closes its ears, not its connections.
pub(crate) struct Scripted {
    /// Where it listens.
    pub(crate) addr: SocketAddr,
    /// Blocks that were asked of it.
    pub(crate) asked: watch::Receiver<usize>,
    task: JoinHandle<()>,
}

impl Scripted {
    /// Listens on `host` and answers each message with what `script` makes of it.
    pub(crate) async fn listen(
        host: [u8; 4],
        spec: &Arc<ChainSpec>,
        manner: Manner,
        script: impl Fn(NetworkMessage) -> Vec<NetworkMessage> + Clone + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(SocketAddr::from((host, 0)))
            .await
            .unwrap();
        let addr = listener.local_addr().unwrap();
        let (asked, heard) = watch::channel(0);
        let spec = Arc::clone(spec);
        let task = tokio::spawn(async move {
            let asked = Arc::new(asked);
            while let Ok((stream, _)) = listener.accept().await {
                let (spec, script, asked) = (Arc::clone(&spec), script.clone(), Arc::clone(&asked));
                tokio::spawn(async move {
                    // Who hangs up on us may do so at any time.
                    if let Ok(session) =
                        hands(&spec, stream, Direction::Inbound, manner.height).await
                    {
                        converse(session, manner.pause, script, &asked).await;
                    }
                });
            }
        });
        Self {
            addr,
            asked: heard,
            task,
        }
    }

    /// Waits until so many blocks were asked of it.
    pub(crate) async fn was_asked(&self, blocks: usize) {
        let mut asked = self.asked.clone();
        timeout(PATIENCE, asked.wait_for(|count| *count >= blocks))
            .await
            .expect("blocks are asked of it")
            .unwrap();
    }
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn converse(
    mut session: Session,
    pause: Duration,
    script: impl Fn(NetworkMessage) -> Vec<NetworkMessage>,
    asked: &watch::Sender<usize>,
) {
    while let Ok(message) = session.reader.read().await {
        if let NetworkMessage::GetData(items) = &message {
            asked.send_modify(|count| *count += items.len());
        }
        for answer in script(message) {
            if matches!(answer, NetworkMessage::Block(_)) {
                tokio::time::sleep(pause).await;
            }
            if session.writer.write(&answer).await.is_err() {
                return;
            }
        }
    }
}

/// Both handshakes, with a new identity.
pub(crate) async fn hands(
    spec: &ChainSpec,
    stream: TcpStream,
    direction: Direction,
    height: i32,
) -> Result<Session, SessionError> {
    let endpoint = Endpoint::new(spec, Arc::new(Identity::generate().unwrap()));
    let addr = stream.peer_addr().map_err(SessionError::Connect)?;
    let local = LocalVersion {
        protocol_version: 70015,
        min_protocol_version: 70010,
        services: 9,
        user_agent: "/scripted/".to_owned(),
        start_height: height,
        relay: false,
        nonce: u64::from(addr.port()),
        now: 0,
        our_addr: addr,
        their_addr: addr,
    };
    shake_hands(&endpoint, spec.magic(), local, stream, direction).await
}

/// A node with `chain` on `host`, which asks no DNS.
pub(crate) async fn node(host: [u8; 4], chain: Blockchain) -> NetworkManager {
    node_with(config(host), &Arc::new(chain)).await
}

/// The settings of a node on `host`.
pub(crate) fn config(host: [u8; 4]) -> NetworkConfig {
    let mut config = NetworkConfig::new(SocketAddr::from((host, 0)));
    config.providers = Vec::new();
    config
}

/// A node with these settings.
pub(crate) async fn node_with(config: NetworkConfig, chain: &Arc<Blockchain>) -> NetworkManager {
    let metrics = Metrics::new("quantumcoin_node");
    let node = NetworkManager::with_config(config, Arc::clone(chain), None, &metrics)
        .await
        .unwrap();
    node.start().await.unwrap();
    node
}

/// Writes an address book of nodes that were met before: unlike an operator's choice, these are banned for
/// what they do.
pub(crate) fn write_book(dir: &Path, addrs: impl IntoIterator<Item = SocketAddr>) {
    let mut book = AddressBook::new(true);
    for addr in addrs {
        book.met(addr, 9, u64::from(unix_now()));
    }
    book.save(dir).unwrap();
}

/// Waits until the node has this tip.
pub(crate) async fn reaches(node: &NetworkManager, tip: BlockHash) {
    let mut progress = node.progress();
    let arrived = timeout(PATIENCE, progress.wait_for(|p| p.tip == tip)).await;
    assert!(
        arrived.is_ok_and(|a| a.is_ok()),
        "{:?}",
        node.status().await
    );
}

/// Waits until the node's status is as `wanted` says.
pub(crate) async fn status_where(
    node: &NetworkManager,
    wanted: impl Fn(&NetworkStatus) -> bool,
) -> NetworkStatus {
    let look = async {
        let mut look = tokio::time::interval(Duration::from_millis(20));
        loop {
            look.tick().await;
            let status = node.status().await.unwrap();
            if wanted(&status) {
                return status;
            }
        }
    };
    match timeout(PATIENCE, look).await {
        Ok(status) => status,
        Err(_) => panic!("it does not come about: {:?}", node.status().await),
    }
}
