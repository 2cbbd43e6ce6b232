//! Why a header, a block or the store was refused.
//!
//! Each error knows whether the peer that sent the data is to blame ([`HeaderError::is_peer_fault`] and its
//! kin): our own disk, our clock and our missing data are nobody else's fault.

mod transaction;

use std::io;
use std::path::PathBuf;

use bitcoin::{BlockHash, CompactTarget, Transaction, TxMerkleNode, Txid};
use thiserror::Error;

pub use self::transaction::TransactionError;

/// Why headers were refused.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// More headers than one message may carry.
    #[error("{count} headers in one message, {limit} are allowed")]
    TooMany {
        /// Headers given.
        count: usize,
        /// Headers allowed.
        limit: usize,
    },
    /// A header of the list does not follow the one before it.
    #[error("header {index} of the list does not follow the one before it")]
    NotContinuous {
        /// Index in the list, from 0.
        index: usize,
    },
    /// The parent is not known: ask for the headers in between.
    #[error("header {hash} follows {parent}, which is not known")]
    UnknownParent {
        /// The header.
        hash: BlockHash,
        /// Its parent.
        parent: BlockHash,
    },
    /// The header, or one of its ancestors, has a block that breaks a rule.
    #[error("header {hash} is invalid or follows an invalid block")]
    KnownInvalid {
        /// The header.
        hash: BlockHash,
    },
    /// The difficulty is not what ASERT says.
    #[error("header {hash} has bits {found:#x}, the schedule says {expected:#x}")]
    Bits {
        /// The header.
        hash: BlockHash,
        /// What it has.
        found: CompactTarget,
        /// What it must have.
        expected: CompactTarget,
    },
    /// The hash is above the target.
    #[error("header {hash} does not meet the target of bits {bits:#x}")]
    ProofOfWork {
        /// The header.
        hash: BlockHash,
        /// Its target.
        bits: CompactTarget,
    },
    /// The version is not positive.
    #[error("header {hash} has version {version}, less than 1")]
    Version {
        /// The header.
        hash: BlockHash,
        /// Its version.
        version: i32,
    },
    /// The time is not after the median of the last eleven.
    #[error("header {hash} has time {time}, not after the median {median} of the blocks before it")]
    TimeTooOld {
        /// The header.
        hash: BlockHash,
        /// Its time.
        time: u32,
        /// The median.
        median: u32,
    },
    /// The time is too far ahead of our clock, which may be the one that is wrong.
    #[error(
        "header {hash} has time {time}, later than {latest} by our clock; if many peers send such, set this machine's clock"
    )]
    TimeTooNew {
        /// The header.
        hash: BlockHash,
        /// Its time.
        time: u32,
        /// The latest time allowed now.
        latest: u64,
    },
    /// The height is more than a chain of this age can have.
    #[error("header {hash} has height {height}, at most {cap} is plausible now")]
    AboveHeightCap {
        /// The header.
        hash: BlockHash,
        /// Its height.
        height: u64,
        /// The cap.
        cap: u64,
    },
    /// Memory for side chains is used up by the very chain that these headers extend.
    #[error("no room for more headers that are not on the best chain ({limit} are kept)")]
    TooManySideHeaders {
        /// Headers kept.
        limit: usize,
    },
    /// The headers could not be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl HeaderError {
    /// Whether a correct peer would not have sent these headers.
    #[must_use]
    pub fn is_peer_fault(&self) -> bool {
        match self {
            Self::TooMany { .. }
            | Self::NotContinuous { .. }
            | Self::KnownInvalid { .. }
            | Self::Bits { .. }
            | Self::ProofOfWork { .. }
            | Self::Version { .. }
            | Self::TimeTooOld { .. }
            | Self::AboveHeightCap { .. } => true,
            Self::UnknownParent { .. }
            | Self::TimeTooNew { .. }
            | Self::TooManySideHeaders { .. }
            | Self::Store(_) => false,
        }
    }
}

/// Why a block was refused.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum BlockError {
    /// The header was not accepted before the block.
    #[error("block {hash} came before its header was accepted")]
    UnknownHeader {
        /// The block.
        hash: BlockHash,
    },
    /// The parent's block is not connected yet.
    #[error("block {hash} came before its parent {parent} was connected")]
    ParentNotConnected {
        /// The block.
        hash: BlockHash,
        /// Its parent.
        parent: BlockHash,
    },
    /// The block, or one of its ancestors, broke a rule before.
    #[error("block {hash} is invalid or follows an invalid block")]
    KnownInvalid {
        /// The block.
        hash: BlockHash,
    },
    /// The hash is above the target, or the target is none.
    #[error("block {hash} has no proof of work")]
    ProofOfWork {
        /// The block.
        hash: BlockHash,
    },
    /// The transactions are not those that the header commits to.
    #[error("the transactions' merkle root is {found}, the header commits to {committed}")]
    MerkleRoot {
        /// The root of the transactions.
        found: TxMerkleNode,
        /// The root in the header.
        committed: TxMerkleNode,
    },
    /// Transactions are repeated in the way that keeps the merkle root (CVE-2012-2459).
    #[error("transactions are repeated so that the merkle root stays the same (CVE-2012-2459)")]
    DuplicateTransactions,
    /// Too many serialized bytes.
    #[error("the block has {bytes} bytes, {limit} are allowed")]
    TooLarge {
        /// Serialized bytes with witness.
        bytes: usize,
        /// Bytes allowed.
        limit: usize,
        /// Whether it would fit without its witnesses, to which the header does not commit.
        by_witness: bool,
    },
    /// No transaction at all.
    #[error("the block has no transaction")]
    Empty,
    /// The first transaction is not a coinbase.
    #[error("the first transaction is not a coinbase")]
    FirstNotCoinbase,
    /// Another transaction is a coinbase too.
    #[error("transaction {index} is a second coinbase")]
    SecondCoinbase {
        /// Its index in the block.
        index: usize,
    },
    /// The coinbase's input script is too short or too long.
    #[error("the coinbase's script has {bytes} bytes, 2 to 100 are allowed")]
    CoinbaseScript {
        /// Its length.
        bytes: usize,
    },
    /// The coinbase's input script does not start with the height (BIP34).
    #[error("the coinbase's script does not start with the height {height}")]
    CoinbaseHeight {
        /// The height of the block.
        height: u32,
    },
    /// No output commits to the witnesses (BIP141).
    #[error("the coinbase has no witness commitment")]
    NoWitnessCommitment,
    /// The coinbase's witness is not one item of 32 bytes.
    #[error("the coinbase's witness is not one item of 32 bytes")]
    WitnessReservedValue,
    /// The witnesses are not those that the coinbase commits to.
    #[error("the witnesses are not those that the coinbase commits to")]
    WitnessCommitment,
    /// An output has a script or value that consensus does not allow.
    #[error("output {index} of the coinbase is of a kind that is not allowed")]
    Output {
        /// Its index.
        index: usize,
    },
    /// Output values overflow or pass the money cap.
    #[error("the coinbase's outputs sum to more than can exist")]
    Value,
    /// The coinbase pays more than the subsidy.
    #[error("the coinbase pays {paid}, {allowed} is allowed")]
    Subsidy {
        /// What it pays, base units.
        paid: u64,
        /// What it may pay, base units.
        allowed: u64,
    },
    /// A transaction besides the coinbase breaks a rule.
    #[error("transaction {index} ({txid}): {source}")]
    Transaction {
        /// Its index in the block.
        index: usize,
        /// Its id.
        txid: Txid,
        /// The rule.
        source: TransactionError,
    },
    /// The block could not be stored.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl BlockError {
    /// The fault of the block's transaction at `index`.
    pub(crate) fn transaction(index: usize, tx: &Transaction, source: TransactionError) -> Self {
        Self::Transaction {
            index,
            txid: tx.compute_txid(),
            source,
        }
    }

    /// Whether a correct peer would not have sent this block.
    #[must_use]
    pub fn is_peer_fault(&self) -> bool {
        !matches!(
            self,
            Self::UnknownHeader { .. } | Self::ParentNotConnected { .. } | Self::Store(_)
        )
    }

    /// Whether the fault may lie in a body that was changed on the way, while the header's true block is
    /// valid: such an error must not be remembered under the header's hash.
    #[must_use]
    pub fn is_mutation(&self) -> bool {
        matches!(
            self,
            Self::MerkleRoot { .. }
                | Self::DuplicateTransactions
                // Inner nodes of the merkle tree in the place of transactions.
                | Self::FirstNotCoinbase
                | Self::TooLarge {
                    by_witness: true,
                    ..
                }
                | Self::WitnessReservedValue
                | Self::WitnessCommitment
        )
    }

    /// Whether the block itself breaks a rule, so that no valid chain can hold its header.
    pub(crate) fn condemns_header(&self) -> bool {
        self.is_peer_fault() && !self.is_mutation() && !matches!(self, Self::KnownInvalid { .. })
    }
}

/// Why the chain's files could not be used.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StoreError {
    /// Another process has the directory.
    #[error("{}: another process uses this data directory\n  help: stop it, or give this one its own --data-dir", dir.display())]
    Locked {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory or a file in it can't be written.
    #[error("{}: can't write here: {source}\n  help: check owner and permissions, or give another --data-dir", path.display())]
    NotWritable {
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The disk or the quota is full.
    #[error("{}: no space left: {source}\n  help: free disk space and start again; nothing that was flushed is lost", path.display())]
    DiskFull {
        /// The file that was written.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The system refused an operation.
    #[error("{}: can't {action}: {source}", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// The path.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// A file holds what was never written to it.
    #[error("{}: damaged at byte {offset}: {what}\n  help: check the disk; restore the file from a backup, or delete the data directory's chain to fetch it again", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// Where in the file.
        offset: u64,
        /// What is wrong there.
        what: String,
    },
    /// The database of coins is damaged.
    #[error("{}: the database of coins is damaged: {what}\n  help: check the disk; remove this folder and start again: it is made anew from the block files", path.display())]
    Database {
        /// The database's folder.
        path: PathBuf,
        /// What is wrong with it.
        what: String,
    },
    /// The directory holds another network's chain.
    #[error("{}: this directory holds the chain of {found}, not of {expected}\n  help: give --network or --chain-spec of that chain, or another --data-dir", dir.display())]
    WrongNetwork {
        /// The directory.
        dir: PathBuf,
        /// Network and genesis found.
        found: String,
        /// Network and genesis expected.
        expected: String,
    },
    /// The directory was written by a newer release.
    #[error("{}: written in format {found}, this release reads up to {supported}\n  help: use the release that wrote it or a newer one", dir.display())]
    NewerFormat {
        /// The directory.
        dir: PathBuf,
        /// Format found.
        found: u32,
        /// Newest format that this release reads.
        supported: u32,
    },
    /// A write failed before, and what is on disk is not certain any more.
    #[error("{}: a write failed before\n  help: mend its cause and start again; what was flushed is safe", dir.display())]
    Stopped {
        /// The directory.
        dir: PathBuf,
    },
}

impl StoreError {
    /// Never: our disk is our own.
    #[must_use]
    pub fn is_peer_fault(&self) -> bool {
        false
    }
}
