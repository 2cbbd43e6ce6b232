//! Nodes to ask, and requests as bytes, so that wrong ones can be sent too.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bitcoin::hashes::Hash;
use bitcoin::{
    Amount, OutPoint, ScriptBuf, Sequence, Transaction, TxIn, TxOut, Witness, absolute::LockTime,
    transaction::Version,
};
use quantumcoin::chain::Blockchain;
use quantumcoin::chain::miner::mine_block;
use quantumcoin::chain::p2mldsa::SpendingKey;
use quantumcoin::chain_spec::ChainSpec;
use quantumcoin::network::{NetworkConfig, NetworkManager};
use quantumcoin_node::api::token::ApiToken;
use quantumcoin_node::{Node, NodeConfig};
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Longest that any step may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A node that runs.
pub(crate) struct World {
    pub(crate) http: SocketAddr,
    pub(crate) peers: SocketAddr,
    pub(crate) network: Arc<NetworkManager>,
    pub(crate) chain: Arc<Blockchain>,
    pub(crate) dir: tempfile::TempDir,
    pub(crate) token: String,
    stop: CancellationToken,
    running: JoinHandle<()>,
}

impl World {
    /// A devnet node that dials nobody by itself.
    pub(crate) async fn new() -> Self {
        Self::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut NodeConfig)) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut network = NetworkConfig::new("127.0.0.1:0".parse().unwrap());
        network.providers = Vec::new();
        network.outbound_target = 0;
        network.data_dir = Some(dir.path().to_owned());
        let mut config = NodeConfig {
            spec: ChainSpec::devnet(),
            data_dir: dir.path().to_owned(),
            network,
            http: "127.0.0.1:0".parse().unwrap(),
            http_names: vec!["node.example.org".to_owned()],
            mine_every: None,
        };
        change(&mut config);
        let node = Node::bind(config).await.unwrap();
        node.start().await.unwrap();
        let stop = CancellationToken::new();
        let (http, peers) = (node.http_addr(), node.listen_addr());
        let (network, chain) = (Arc::clone(node.network()), Arc::clone(node.chain()));
        let token = token(dir.path());
        let ended = stop.clone();
        let running = tokio::spawn(async move { node.run(ended).await.unwrap() });
        Self {
            http,
            peers,
            network,
            chain,
            dir,
            token,
            stop,
            running,
        }
    }

    /// Mines so many blocks whose coins are `key`'s.
    pub(crate) fn mine(&self, key: &SpendingKey, blocks: u32) {
        for _ in 0..blocks {
            mine_block(&self.chain, key.script(), unix_now()).unwrap();
        }
    }

    /// A transaction that spends the coinbase at this height for a fee.
    pub(crate) fn spend(&self, key: &SpendingKey, height: u32, fee: u64) -> Transaction {
        let hash = self.chain.block_at(height).unwrap();
        let bytes = self.chain.block(&hash).unwrap().unwrap();
        let block: bitcoin::Block = bitcoin::consensus::deserialize(&bytes).unwrap();
        let coinbase = &block.txdata[0];
        let spent = coinbase.output[0].clone();
        let mut tx = Transaction {
            version: Version::TWO,
            lock_time: LockTime::ZERO,
            input: vec![TxIn {
                previous_output: OutPoint::new(coinbase.compute_txid(), 0),
                script_sig: ScriptBuf::new(),
                sequence: Sequence::MAX,
                witness: Witness::new(),
            }],
            output: vec![TxOut {
                value: Amount::from_sat(spent.value.to_sat() - fee),
                script_pubkey: key.script(),
            }],
        };
        let genesis = self.chain.spec().genesis_hash();
        key.sign_input(genesis, &mut tx, &[spent], 0).unwrap();
        tx
    }

    /// Sends a request as it stands, and reads until the connection ends.
    pub(crate) async fn raw(&self, request: impl AsRef<[u8]>) -> Answer {
        raw(self.http, request).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        let host = self.http;
        self.raw(format!("GET {path} HTTP/1.0\r\nhost: {host}\r\n\r\n"))
            .await
    }

    /// A request that changes something, as a program sends it that has the token.
    pub(crate) async fn change(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        let (host, token) = (self.http, &self.token);
        let body = body.map_or_else(String::new, |body| body.to_string());
        let head = format!(
            "{method} {path} HTTP/1.0\r\nhost: {host}\r\nauthorization: Bearer {token}\r\n\
             content-type: application/json\r\ncontent-length: {}\r\n\r\n",
            body.len()
        );
        self.raw(head + &body).await
    }

    /// Asks until the answer is as `wanted` says.
    pub(crate) async fn until(&self, path: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let start = Instant::now();
        loop {
            let answer = self.get(path).await;
            if answer.status == 200 && wanted(&answer.json()) {
                return answer.json();
            }
            assert!(start.elapsed() < PATIENCE, "{path}: {answer:?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn end(self) {
        self.stop.cancel();
        self.running.await.unwrap();
    }
}

/// The token of a node's data directory.
pub(crate) fn token(dir: &Path) -> String {
    let token = ApiToken::load(&dir.join("api.token")).unwrap();
    token.secret().to_owned()
}

pub(crate) fn unix_now() -> u32 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.unwrap().as_secs() as u32
}

pub(crate) fn key() -> SpendingKey {
    SpendingKey::from_seed(&[7; 32]).unwrap()
}

/// A hash that nothing has.
pub(crate) fn nothing() -> String {
    bitcoin::Txid::all_zeros().to_string()
}

pub(crate) async fn raw(http: SocketAddr, request: impl AsRef<[u8]>) -> Answer {
    let mut stream = TcpStream::connect(http).await.unwrap();
    // A server that refuses may hang up before it has heard everything.
    let _ = stream.write_all(request.as_ref()).await;
    let mut bytes = Vec::new();
    let reading = stream.read_to_end(&mut bytes);
    let _ = tokio::time::timeout(PATIENCE, reading)
        .await
        .expect("the connection ends");
    Answer::read(&bytes)
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    fn read(bytes: &[u8]) -> Self {
        let end = bytes.windows(4).position(|window| window == b"\r\n\r\n");
        let end = end.unwrap_or(bytes.len());
        let head = String::from_utf8_lossy(&bytes[..end]).to_lowercase();
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|status| status.parse().ok());
        Self {
            status: status.unwrap_or(0),
            head,
            body: bytes.get(end + 4..).unwrap_or_default().to_vec(),
        }
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The code of a problem.
    pub(crate) fn code(&self) -> String {
        let problem = self.json();
        let known = ["error", "code", "help"].map(|key| problem[key].as_str().unwrap());
        assert!(known.iter().all(|words| !words.is_empty()), "{problem}");
        known[1].to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines();
        lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}\n{}", self.head, self.text())
    }
}
