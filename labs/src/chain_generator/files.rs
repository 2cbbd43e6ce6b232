//! A generated chain on disk: a set of flat files that is written once and read in order.
//!
//! ```text
//! chain.json        what the chain is, with the digest of its blocks
//! blocks-000.dat …  each block as length (4 bytes, little-endian) and bytes; 128 MB a file
//! ```
//!
//! The directory is put together beside its place and renamed, so one that is there is whole. The digest is
//! SHA-256 over all serialized blocks, lowest first, without the lengths.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail, ensure};
use bitcoin::Block;
use bitcoin::consensus::encode::serialize;
use bitcoin::hashes::{HashEngine, sha256};
use serde_json::{Value, json};

use super::{ChainOptions, Generator};

/// Changes whenever the same options give other bytes, so that a chain kept by an older release is not
/// taken for one of this. The test `the_chain_is_what_it_was` guards it.
const FORMAT: u32 = 1;

/// Bytes after which a file is closed.
const FILE_BYTES: u64 = 128 << 20;

/// Largest block that is read: the devnet's limit, so that a damaged length can't take all memory.
const MAX_BLOCK_BYTES: u32 = 4_000_000;

const SUMMARY: &str = "chain.json";

/// What a chain is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Blocks, the genesis block left out.
    pub blocks: u64,
    /// Transactions, coinbases left out.
    pub transactions: u64,
    /// Signatures: inputs of these transactions.
    pub signatures: u64,
    /// Bytes of all serialized blocks.
    pub bytes: u64,
    /// SHA-256 over all serialized blocks, hexadecimal.
    pub digest: String,
}

impl Summary {
    /// The numbers as one JSON object.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({
            "blocks": self.blocks,
            "transactions": self.transactions,
            "signatures": self.signatures,
            "bytes": self.bytes,
            "digest": self.digest,
        })
    }

    fn from_json(value: &Value) -> Option<Self> {
        let number = |key: &str| value.get(key).and_then(Value::as_u64);
        Some(Self {
            blocks: number("blocks")?,
            transactions: number("transactions")?,
            signatures: number("signatures")?,
            bytes: number("bytes")?,
            digest: value.get("digest")?.as_str()?.to_owned(),
        })
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} blocks, {} transactions, {} signatures, {} bytes\nSHA-256 of the blocks {}",
            self.blocks, self.transactions, self.signatures, self.bytes, self.digest
        )
    }
}

/// Counts and hashes blocks as they pass.
struct Counter {
    summary: Summary,
    digest: sha256::HashEngine,
}

impl Counter {
    fn new() -> Self {
        Self {
            summary: Summary {
                blocks: 0,
                transactions: 0,
                signatures: 0,
                bytes: 0,
                digest: String::new(),
            },
            digest: sha256::HashEngine::default(),
        }
    }

    fn add(&mut self, block: &Block, bytes: &[u8]) {
        let spends = block.txdata.iter().skip(1);
        self.summary.blocks += 1;
        self.summary.transactions += spends.clone().count() as u64;
        self.summary.signatures += spends.map(|tx| tx.input.len() as u64).sum::<u64>();
        self.summary.bytes += bytes.len() as u64;
        self.digest.input(bytes);
    }

    fn finish(self) -> Summary {
        Summary {
            digest: hex(self.digest),
            ..self.summary
        }
    }
}

/// Hexadecimal of a finished hash, in the order of its bytes.
fn hex(engine: sha256::HashEngine) -> String {
    use bitcoin::hashes::Hash;
    sha256::Hash::from_engine(engine).to_string()
}

/// Makes a chain, keeps nothing, and says what it is.
///
/// # Errors
/// Where it can't be made.
pub fn summarize(options: &ChainOptions) -> anyhow::Result<Summary> {
    make(options, |_| Ok(()))
}

/// Makes a chain and keeps it in `dir`, which must not exist.
///
/// # Errors
/// Where `dir` exists or can't be written, or the chain can't be made.
pub fn write(options: &ChainOptions, dir: &Path) -> anyhow::Result<Summary> {
    ensure!(
        !dir.exists(),
        "{} exists: choose a new directory",
        dir.display()
    );
    let aside = dir.with_extension("partial");
    if aside.exists() {
        fs::remove_dir_all(&aside)?;
    }
    fs::create_dir_all(&aside)?;
    let mut writer = Writer {
        dir: aside.clone(),
        file: None,
        written: 0,
        number: 0,
    };
    let summary = make(options, |bytes| writer.append(bytes))?;
    writer.close()?;
    let mut object = summary.to_json();
    if let Value::Object(map) = &mut object {
        map.insert("format".to_owned(), json!(FORMAT));
    }
    fs::write(aside.join(SUMMARY), format!("{object:#}\n"))?;
    fs::rename(&aside, dir)?;
    Ok(summary)
}

/// The chain of these options, kept below `root`; made if it is not there yet or was changed since.
///
/// # Errors
/// Where it can't be made or kept.
pub fn cached(options: &ChainOptions, root: &Path) -> anyhow::Result<(PathBuf, Summary)> {
    let name = format!(
        "chain-{FORMAT}-{}x{}-{}",
        options.blocks, options.transactions, options.seed
    );
    let dir = root.join(name);
    match verify(&dir) {
        Ok(summary) => return Ok((dir, summary)),
        Err(_) if !dir.exists() => {}
        Err(error) => {
            eprintln!("{} is made anew: {error:#}", dir.display());
            fs::remove_dir_all(&dir)?;
        }
    }
    fs::create_dir_all(root)?;
    let summary = write(options, &dir)?;
    Ok((dir, summary))
}

/// Reads a whole chain and compares its digest.
///
/// # Errors
/// Where files are missing, or are not what was written.
pub fn verify(dir: &Path) -> anyhow::Result<Summary> {
    let summary = summary(dir)?;
    let mut digest = sha256::HashEngine::default();
    for block in read(dir)? {
        digest.input(&block?);
    }
    let found = hex(digest);
    ensure!(
        found == summary.digest,
        "the blocks' digest is {found}, not {}",
        summary.digest
    );
    Ok(summary)
}

fn summary(dir: &Path) -> anyhow::Result<Summary> {
    let text = fs::read_to_string(dir.join(SUMMARY))?;
    let value: Value = serde_json::from_str(&text)?;
    ensure!(
        value.get("format").and_then(Value::as_u64) == Some(u64::from(FORMAT)),
        "another format"
    );
    Summary::from_json(&value).context("no summary of a chain")
}

/// The serialized blocks of the chain in `dir`, lowest first.
///
/// # Errors
/// Where there is no chain.
pub fn read(dir: &Path) -> anyhow::Result<Blocks> {
    let first =
        File::open(file_path(dir, 0)).with_context(|| format!("no chain in {}", dir.display()))?;
    Ok(Blocks {
        dir: dir.to_owned(),
        number: 0,
        reader: BufReader::with_capacity(1 << 20, first),
    })
}

/// Reads blocks in order; made by [`read`].
#[derive(Debug)]
pub struct Blocks {
    dir: PathBuf,
    number: u32,
    reader: BufReader<File>,
}

impl Blocks {
    fn read_block(&mut self) -> anyhow::Result<Option<Vec<u8>>> {
        let mut length = [0; 4];
        while let Err(error) = self.reader.read_exact(&mut length) {
            if error.kind() != io::ErrorKind::UnexpectedEof {
                return Err(error.into());
            }
            let next = file_path(&self.dir, self.number + 1);
            if !next.exists() {
                return Ok(None);
            }
            self.reader = BufReader::with_capacity(1 << 20, File::open(next)?);
            self.number += 1;
        }
        let length = u32::from_le_bytes(length);
        if length > MAX_BLOCK_BYTES {
            bail!("a block of {length} bytes in file {}", self.number);
        }
        let mut block = vec![0; length as usize];
        self.reader.read_exact(&mut block)?;
        Ok(Some(block))
    }
}

impl Iterator for Blocks {
    type Item = anyhow::Result<Vec<u8>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.read_block().transpose()
    }
}

fn make(
    options: &ChainOptions,
    mut keep: impl FnMut(&[u8]) -> anyhow::Result<()>,
) -> anyhow::Result<Summary> {
    let mut counter = Counter::new();
    for block in Generator::new(*options) {
        let block = block?;
        let bytes = serialize(&block);
        counter.add(&block, &bytes);
        keep(&bytes)?;
    }
    Ok(counter.finish())
}

struct Writer {
    dir: PathBuf,
    file: Option<BufWriter<File>>,
    written: u64,
    number: u32,
}

impl Writer {
    fn append(&mut self, block: &[u8]) -> anyhow::Result<()> {
        if self.written >= FILE_BYTES {
            self.close()?;
            self.number += 1;
            self.written = 0;
        }
        let file = match &mut self.file {
            Some(file) => file,
            None => self.file.insert(BufWriter::with_capacity(
                1 << 20,
                File::create(file_path(&self.dir, self.number))?,
            )),
        };
        file.write_all(&u32::try_from(block.len())?.to_le_bytes())?;
        file.write_all(block)?;
        self.written += 4 + block.len() as u64;
        Ok(())
    }

    fn close(&mut self) -> anyhow::Result<()> {
        if let Some(file) = self.file.take() {
            file.into_inner().map_err(io::IntoInnerError::into_error)?;
        }
        Ok(())
    }
}

fn file_path(dir: &Path, number: u32) -> PathBuf {
    dir.join(format!("blocks-{number:03}.dat"))
}
