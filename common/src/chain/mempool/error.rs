//! Why the pool refused a transaction.

use bitcoin::{OutPoint, Txid};
use thiserror::Error;

use crate::chain::error::TransactionError;
use crate::chain::policy::PolicyError;

/// Why a transaction was not taken into the pool. Fees are in base units, indices count from 0.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum MempoolError {
    /// It breaks a rule of consensus.
    #[error(transparent)]
    Invalid(#[from] TransactionError),
    /// It is not relayed here.
    #[error(transparent)]
    NotStandard(#[from] PolicyError),
    /// It is in the pool.
    #[error("the transaction is in the pool")]
    AlreadyKnown,
    /// It is in the pool with another witness.
    #[error("the transaction is in the pool with another witness")]
    OtherWitness,
    /// A block holds it: outputs of it are in the chain.
    #[error("the transaction is in the chain")]
    AlreadyConfirmed,
    /// It spends what neither the chain nor the pool has. It may come, or be spent.
    #[error("{} transactions that it spends are unknown or spent", parents.len())]
    MissingInputs {
        /// The transactions that would have created it, each once.
        parents: Vec<Txid>,
        /// Whether it waits for them as an orphan.
        kept: bool,
    },
    /// It spends an output that its parent, which is in the pool, does not have.
    #[error("input {index} spends {outpoint}, an output that this transaction does not have")]
    NoSuchOutput {
        /// Index of the input.
        index: usize,
        /// What it spends.
        outpoint: OutPoint,
    },
    /// The fee is below what the pool asks while it is full, or shortly after.
    #[error("the fee is {fee}, the pool asks for {required} at present")]
    BelowFloor {
        /// The fee.
        fee: u64,
        /// The least fee for this size at this time.
        required: u64,
    },
    /// With its ancestors in the pool it would be too many transactions.
    #[error("it has {limit} or more ancestors in the pool")]
    TooManyAncestors {
        /// Most transactions, itself included.
        limit: usize,
    },
    /// With its ancestors in the pool it would be too many bytes.
    #[error("with its ancestors in the pool it has {bytes} bytes, {limit} are allowed")]
    AncestorBytes {
        /// Serialized bytes, its own included.
        bytes: usize,
        /// Most bytes.
        limit: usize,
    },
    /// An ancestor would have too many descendants in the pool.
    #[error("{ancestor} would have more than {limit} descendants in the pool")]
    TooManyDescendants {
        /// The ancestor.
        ancestor: Txid,
        /// Most transactions, the ancestor included.
        limit: usize,
    },
    /// An ancestor would have too many bytes of descendants in the pool.
    #[error("{ancestor} would have {bytes} bytes of descendants, {limit} are allowed")]
    DescendantBytes {
        /// The ancestor.
        ancestor: Txid,
        /// Serialized bytes, the ancestor's included.
        bytes: usize,
        /// Most bytes.
        limit: usize,
    },
    /// It spends what an ancestor of it spends: no chain can hold both.
    #[error("it spends an output that its ancestor {ancestor} spends")]
    ConflictsWithAncestor {
        /// The ancestor.
        ancestor: Txid,
    },
    /// It would replace a transaction that pays as high a rate.
    #[error("its fee rate is not higher than that of {replaced}, which it would replace")]
    ReplacementRate {
        /// The transaction in the pool.
        replaced: Txid,
    },
    /// It would replace transactions, and adds an input that is not in a block yet.
    #[error(
        "it would replace transactions, and {parent}, which it spends, is not one of their parents"
    )]
    ReplacementInput {
        /// The parent in the pool.
        parent: Txid,
    },
    /// It would replace transactions and pays too little for that.
    #[error("its fee is {fee}, to replace what it conflicts with takes {required}")]
    ReplacementFee {
        /// The fee.
        fee: u64,
        /// The fees of all that would go, and the relay minimum for its own size.
        required: u64,
    },
    /// It would replace too many transactions, their descendants counted.
    #[error("it would replace more than {limit} transactions")]
    TooManyReplaced {
        /// Most transactions.
        limit: usize,
    },
    /// It was taken in, and was what paid least when the pool made room.
    #[error("the pool is full of transactions that pay more")]
    Full,
}

/// What may be kept of a refusal, so that the same is not asked for again. All of it until the next block
/// only: what the chain or the pool refuses today may be right tomorrow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remember {
    /// Nothing: it is welcome when it comes again.
    Nothing,
    /// The wtxid. With another witness the same transaction may be right.
    Wtxid,
    /// The txid as well: no witness can mend it.
    Txid,
}

impl MempoolError {
    /// Whether a correct peer would not have relayed the transaction.
    ///
    /// Not so for what depends on the state of pool and chain, where peers differ, nor for policy.
    #[must_use]
    pub fn is_peer_fault(&self) -> bool {
        match self {
            Self::Invalid(error) => error.is_peer_fault(),
            // Both are false on any chain: ids commit to what their transactions create and spend.
            Self::NoSuchOutput { .. } | Self::ConflictsWithAncestor { .. } => true,
            _ => false,
        }
    }

    /// What of the transaction's ids may be remembered as refused until the next block.
    ///
    /// Fees are measured against a size that includes the witness, so they never condemn a txid.
    #[must_use]
    pub fn remember(&self) -> Remember {
        match self {
            Self::AlreadyKnown | Self::MissingInputs { .. } => Remember::Nothing,
            Self::AlreadyConfirmed
            | Self::NoSuchOutput { .. }
            | Self::ConflictsWithAncestor { .. } => Remember::Txid,
            Self::Invalid(error) => remember_invalid(error),
            Self::NotStandard(error) => remember_policy(error),
            _ => Remember::Wtxid,
        }
    }
}

fn remember_invalid(error: &TransactionError) -> Remember {
    match error {
        TransactionError::NoInputs
        | TransactionError::NoOutputs
        | TransactionError::NullOutpoint { .. }
        | TransactionError::RepeatedOutpoint { .. }
        | TransactionError::ScriptSig { .. }
        | TransactionError::Output { .. }
        | TransactionError::OutputValue { .. }
        | TransactionError::OutputSum { .. }
        | TransactionError::NotFinal { .. }
        | TransactionError::Immature { .. }
        | TransactionError::InputSum { .. }
        | TransactionError::Overspent { .. }
        | TransactionError::Unspendable { .. } => Remember::Txid,
        TransactionError::MissingCoin { .. } => Remember::Nothing,
        TransactionError::TooLarge { .. }
        | TransactionError::WitnessItems { .. }
        | TransactionError::SignatureLength { .. }
        | TransactionError::PublicKeyLength { .. }
        | TransactionError::PublicKey { .. }
        | TransactionError::Signature { .. } => Remember::Wtxid,
    }
}

fn remember_policy(error: &PolicyError) -> Remember {
    match error {
        PolicyError::TooManyInputs { .. }
        | PolicyError::TooManyOutputs { .. }
        | PolicyError::OutputKind { .. }
        | PolicyError::Dust { .. }
        | PolicyError::InputKind { .. } => Remember::Txid,
        PolicyError::TooLarge { .. } | PolicyError::Fee { .. } => Remember::Wtxid,
    }
}
