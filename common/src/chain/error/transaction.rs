//! Why a transaction was refused by consensus.

use bitcoin::OutPoint;
use thiserror::Error;

/// The rule of consensus that a transaction breaks. Amounts are in base units, indices count from 0.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TransactionError {
    /// Nothing is spent.
    #[error("the transaction has no input")]
    NoInputs,
    /// Nothing is created.
    #[error("the transaction has no output")]
    NoOutputs,
    /// More serialized bytes than a whole block may have.
    #[error("the transaction has {bytes} bytes, a block may have {limit}")]
    TooLarge {
        /// Serialized bytes with witness.
        bytes: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// An input spends the null outpoint, as only a coinbase does.
    #[error("input {index} spends nothing (the null outpoint)")]
    NullOutpoint {
        /// Index of the input.
        index: usize,
    },
    /// Two inputs spend the same output.
    #[error("input {index} spends {outpoint}, as an input before it does")]
    RepeatedOutpoint {
        /// Index of the later input.
        index: usize,
        /// The output.
        outpoint: OutPoint,
    },
    /// An input has a script where only witnesses unlock.
    #[error("input {index} has a script of {bytes} bytes, it must be empty")]
    ScriptSig {
        /// Index of the input.
        index: usize,
        /// Bytes of its script.
        bytes: usize,
    },
    /// An output has a script, or as OP_RETURN a value, that consensus does not allow.
    #[error("output {index} is of a kind that is not allowed")]
    Output {
        /// Index of the output.
        index: usize,
    },
    /// An output is worth more than can exist.
    #[error("output {index} is worth {value}, at most {limit} can exist")]
    OutputValue {
        /// Index of the output.
        index: usize,
        /// Its value.
        value: u64,
        /// The money cap.
        limit: u64,
    },
    /// All outputs together are worth more than can exist.
    #[error("the outputs up to {index} are worth more than the {limit} that can exist")]
    OutputSum {
        /// Index of the output that passes the cap.
        index: usize,
        /// The money cap.
        limit: u64,
    },
    /// An input spends what is not there: never was, or was spent before.
    #[error("input {index} spends {outpoint}, which does not exist or is spent")]
    MissingCoin {
        /// Index of the input.
        index: usize,
        /// The output.
        outpoint: OutPoint,
    },
    /// The lock time is not over.
    #[error(
        "the transaction is locked until {lock_time}, this is height {height}, time {median_time}"
    )]
    NotFinal {
        /// Its lock time: a height below 500,000,000, else Unix seconds.
        lock_time: u32,
        /// Height of the block that would hold it.
        height: u32,
        /// Median time of that block's parent.
        median_time: u32,
    },
    /// An input spends a coinbase too early.
    #[error(
        "input {index} spends the coinbase of height {created} at height {height}, it may from {spendable}"
    )]
    Immature {
        /// Index of the input.
        index: usize,
        /// Height of the coinbase.
        created: u32,
        /// Height of the block that would spend it.
        height: u32,
        /// First height that may spend it.
        spendable: u64,
    },
    /// The spent coins together are worth more than can exist.
    #[error("the inputs up to {index} are worth more than the {limit} that can exist")]
    InputSum {
        /// Index of the input that passes the cap.
        index: usize,
        /// The money cap.
        limit: u64,
    },
    /// More is created than spent.
    #[error("the outputs are worth {output}, the inputs only {input}")]
    Overspent {
        /// Sum of the inputs.
        input: u64,
        /// Sum of the outputs.
        output: u64,
    },
    /// An input spends an output that nobody can.
    #[error("input {index} spends an output that nobody can spend")]
    Unspendable {
        /// Index of the input.
        index: usize,
    },
    /// The witness is not a signature and a key.
    #[error("input {index} has {found} witness items, a signature and a public key are needed")]
    WitnessItems {
        /// Index of the input.
        index: usize,
        /// Items found.
        found: usize,
    },
    /// The first witness item is no ML-DSA-44 signature by its length.
    #[error("input {index} has a signature of {found} bytes, ML-DSA-44's have 2420")]
    SignatureLength {
        /// Index of the input.
        index: usize,
        /// Bytes found.
        found: usize,
    },
    /// The second witness item is no ML-DSA-44 public key by its length.
    #[error("input {index} has a public key of {found} bytes, ML-DSA-44's have 1312")]
    PublicKeyLength {
        /// Index of the input.
        index: usize,
        /// Bytes found.
        found: usize,
    },
    /// The public key is not the one that was paid.
    #[error("input {index} has a public key that the spent output does not pay to")]
    PublicKey {
        /// Index of the input.
        index: usize,
    },
    /// The signature is not the key's for this transaction.
    #[error("input {index} has a signature that does not fit this transaction")]
    Signature {
        /// Index of the input.
        index: usize,
    },
}

impl TransactionError {
    /// Whether a correct peer would not have relayed this transaction. Not so where a peer may be ahead of
    /// us or behind: what it spends we may not have seen, or seen spent already; a block more may end a
    /// lock. (In a block all of these are the peer's fault.)
    #[must_use]
    pub fn is_peer_fault(&self) -> bool {
        !matches!(
            self,
            Self::MissingCoin { .. } | Self::NotFinal { .. } | Self::Immature { .. }
        )
    }
}
