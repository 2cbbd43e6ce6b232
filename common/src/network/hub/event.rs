//! What the hub hears.

use std::net::SocketAddr;

use bitcoin::block::Header;
use bitcoin::{BlockHash, Transaction, Txid, Wtxid};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::control::Command;
use crate::chain::CheckedBlock;
use crate::network::discovery::{Candidate, Found};
use crate::network::peer::PeerId;
use crate::network::peer::actor::Gone;
use crate::network::peer::claims::Claim;
use crate::network::pool::{Reply, TransactionTurn};
use crate::network::protocol::addresses::Gossip;
use crate::network::protocol::dial_back::{DialBack, Outcome};
use crate::network::protocol::transactions::TxRef;
use crate::network::protocol::version::Direction;
use crate::network::security::limits::Slot;
use crate::network::session::{Session, SessionError};
use crate::network::status::NetworkStatus;

/// Blocks that have arrived and that the hub has not looked at yet, in KiB: 64 MiB. Peers wait beyond it, so
/// that the number of events does not decide how much memory large blocks take.
pub(crate) const BLOCK_ROOM_KIB: usize = 64 * 1024;

/// One thing that happened.
pub(crate) enum HubEvent {
    /// Both handshakes are over. An inbound connection holds its slot, an outbound one its claim.
    Established {
        addr: SocketAddr,
        direction: Direction,
        session: Box<Session>,
        slot: Option<Slot>,
        claim: Option<Claim>,
    },
    /// A connection did not become a peer.
    Failed {
        addr: SocketAddr,
        direction: Direction,
        error: SessionError,
    },
    /// A peer said something.
    Peer { id: PeerId, event: FromPeer },
    /// A connection ended.
    Gone { id: PeerId, gone: Gone },
    /// DNS gave addresses.
    Candidates(Vec<Candidate>),
    /// A round of discovery is over.
    DiscoveryDone(Found),
    /// A peer that asked for it was dialled.
    DialledBack {
        id: PeerId,
        nonce: u64,
        outcome: Outcome,
    },
    /// Somebody wants to know how things are.
    Status(oneshot::Sender<NetworkStatus>),
    /// Take this transaction of the node's user in, and pass it on.
    Submit(Box<Transaction>, Reply),
    /// A wish of the operator.
    Control(Box<Command>),
    /// Connect to this peer and stay connected.
    Connect(SocketAddr),
}

/// A transaction that arrived.
pub(crate) struct ReceivedTransaction {
    pub(crate) txid: Txid,
    pub(crate) wtxid: Wtxid,
    /// `None` if it is larger than what is relayed: no peer can fill our memory with such.
    pub(crate) tx: Option<Transaction>,
    pub(crate) turn: TransactionTurn,
}

/// What a peer said that concerns more than itself.
pub(crate) enum FromPeer {
    /// Headers, and the connection's turn to have some checked ([`super::checker`]).
    Headers(Vec<Header>, OwnedSemaphorePermit),
    /// A block whose body is the one that its header commits to, and its share of [`BLOCK_ROOM_KIB`].
    Block(Box<CheckedBlock>, OwnedSemaphorePermit),
    /// A block that was asked for has begun to come: in compact form, and the rest of it was asked for.
    BlockProgress,
    NotFound(Vec<BlockHash>),
    BlockInventory(Vec<BlockHash>),
    /// Transactions that it has.
    TransactionInventory(Vec<TxRef>),
    /// Transactions that it was asked for and does not have.
    TransactionsNotFound(Vec<TxRef>),
    Transaction(Box<ReceivedTransaction>),
    /// The fee rate below which it wants to hear of no transaction, in base units for 1,000 bytes.
    FeeFilter(u64),
    Addresses {
        list: Vec<Gossip>,
        solicited: bool,
    },
    GetAddr,
    DialBack(DialBack),
    SendHeaders,
    /// It serves compact blocks of our version.
    SendCompact,
}
