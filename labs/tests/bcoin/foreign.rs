//! bcoin as a child process: orders and answers are lines of JSON, see `labs/bcoin/peer.js`.

use std::io::{BufRead, BufReader, Write};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use bitcoin::consensus::encode::{deserialize_hex, serialize_hex};
use bitcoin::hex::{DisplayHex, FromHex};
use bitcoin::{Block, BlockHash};
use quantumcoin::chain::BlockRef;
use quantumcoin::chain::p2mldsa::SpendingKey;
use quantumcoin::chain_spec::ChainSpec;
use serde_json::{Value, json};

/// How one bcoin differs from the others.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Settings {
    /// Base units that it adds to every subsidy: against its own rules, where it is not zero.
    pub(crate) bonus: u64,
}

/// The key to which bcoin pays the coins of every fourteenth block.
pub(crate) fn spending_key() -> SpendingKey {
    SpendingKey::from_seed(&[7; 32]).unwrap()
}

/// A running bcoin. Dropping it ends it.
pub(crate) struct Bcoin {
    /// Where it listens for plaintext connections.
    pub(crate) addr: SocketAddr,
    /// Its release.
    pub(crate) release: String,
    /// The protocol version that it speaks.
    pub(crate) protocol: u32,
    /// Its first block.
    pub(crate) genesis: BlockHash,
    /// The four bytes that start its messages.
    pub(crate) magic: [u8; 4],
    child: Child,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

/// A block of bcoin's main chain, as bcoin knows it.
pub(crate) struct ForeignBlock {
    pub(crate) height: u32,
    pub(crate) hash: BlockHash,
    /// Serialized.
    pub(crate) raw: Vec<u8>,
    /// Work of the chain up to and with it.
    pub(crate) work: u128,
}

impl ForeignBlock {
    pub(crate) fn block(&self) -> Block {
        bitcoin::consensus::deserialize(&self.raw).unwrap()
    }
}

impl Bcoin {
    /// Starts one on `spec`'s first block.
    pub(crate) fn start(spec: &ChainSpec, settings: Settings) -> Self {
        let settings = json!({
            "genesis": serialize_hex(&spec.genesis_block()),
            "program": spending_key().program().to_lower_hex_string(),
            "bonus": settings.bonus,
        });
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("bcoin/peer.js");
        let mut child = Command::new("node")
            .arg(script)
            .arg(settings.to_string())
            .env("NODE_PATH", modules())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("node does not start; install Node.js 18 or newer");
        let orders = child.stdin.take().unwrap();
        let mut answers = BufReader::new(child.stdout.take().unwrap());
        let hello = answer(&mut answers);
        let magic = u32::try_from(number(&hello, "magic")).unwrap();
        Self {
            addr: SocketAddr::from((
                [127, 0, 0, 1],
                u16::try_from(number(&hello, "port")).unwrap(),
            )),
            release: text(&hello, "bcoin").to_owned(),
            protocol: u32::try_from(number(&hello, "protocol")).unwrap(),
            genesis: text(&hello, "genesis").parse().unwrap(),
            magic: magic.to_le_bytes(),
            child,
            orders,
            answers,
        }
    }

    /// Mines on its tip, or on the block at this height; gives its tip afterwards.
    pub(crate) fn mine(&mut self, blocks: u32, on: Option<u32>) -> BlockRef {
        let tip = self.order(&json!({"do": "mine", "blocks": blocks, "on": on}));
        BlockRef {
            height: u32::try_from(number(&tip, "height")).unwrap(),
            hash: text(&tip, "hash").parse().unwrap(),
        }
    }

    /// A block on its tip, mined but not added.
    pub(crate) fn template(&mut self) -> Block {
        let made = self.order(&json!({"do": "template"}));
        deserialize_hex(text(&made, "raw")).unwrap()
    }

    /// Its verdict on a block on its tip, or the reason why it refuses. An accepted one is taken off again.
    pub(crate) fn judge(&mut self, block: &Block) -> Result<(), String> {
        self.offer("judge", block)
    }

    /// Gives it a block to keep.
    pub(crate) fn add(&mut self, block: &Block) -> Result<(), String> {
        self.offer("add", block)
    }

    /// Its main chain from this height on.
    pub(crate) fn chain(&mut self, from: u32) -> Vec<ForeignBlock> {
        let chain = self.order(&json!({"do": "chain", "from": from}));
        let blocks = chain["blocks"].as_array().unwrap();
        blocks
            .iter()
            .map(|block| ForeignBlock {
                height: u32::try_from(number(block, "height")).unwrap(),
                hash: text(block, "hash").parse().unwrap(),
                raw: Vec::from_hex(text(block, "raw")).unwrap(),
                work: u128::from_str_radix(text(block, "work"), 16).unwrap(),
            })
            .collect()
    }

    /// From now on it serves this body for its block at `height`.
    pub(crate) fn corrupt(&mut self, height: u32, body: &Block) {
        self.order(&json!({"do": "corrupt", "height": height, "raw": serialize_hex(body)}));
    }

    fn offer(&mut self, order: &str, block: &Block) -> Result<(), String> {
        let verdict = self.order(&json!({"do": order, "raw": serialize_hex(block)}));
        if verdict["accepted"].as_bool().unwrap() {
            Ok(())
        } else {
            Err(text(&verdict, "reason").to_owned())
        }
    }

    fn order(&mut self, order: &Value) -> Value {
        writeln!(self.orders, "{order}").expect("bcoin has ended");
        answer(&mut self.answers)
    }
}

impl Drop for Bcoin {
    fn drop(&mut self) {
        // It has nothing to lose: its chain lives in memory. It may also have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Where bcoin is installed: `BCOIN_MODULES`, as `run.sh` sets it.
fn modules() -> PathBuf {
    let modules = std::env::var_os("BCOIN_MODULES").map(PathBuf::from);
    modules
        .filter(|dir| dir.join("bcoin").is_dir())
        .expect("bcoin is not there; labs/bcoin/run.sh installs it and runs this")
}

fn answer(from: &mut BufReader<ChildStdout>) -> Value {
    let mut line = String::new();
    from.read_line(&mut line).unwrap();
    assert!(!line.is_empty(), "bcoin has ended; its words are above");
    serde_json::from_str(&line).unwrap()
}

fn number(value: &Value, key: &str) -> u64 {
    value[key].as_u64().unwrap()
}

fn text<'v>(value: &'v Value, key: &str) -> &'v str {
    value[key].as_str().unwrap()
}
