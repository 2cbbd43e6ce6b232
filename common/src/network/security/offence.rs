//! What a peer can do wrong, and how much it weighs. The standing of its host follows from that: [`super::standing`].

use serde::{Deserialize, Serialize};

use super::events::Detector;

/// Points at which a host is kept out for a while; offences weigh so much of it. Two of 50 come to it when there are less
/// than twenty minutes between them, with points that halve in an hour.
pub const BAN_POINTS: f64 = 90.0;

/// Points at which the connection ends; below, the peer is only read more slowly. Less than one offence of 50 or two of 25,
/// since points begin to decay at once.
pub const DISCONNECT_POINTS: f64 = 45.0;

/// Something that honest software does not do, or does only when something is broken. A closed list: these words are
/// labels of metrics and stand in files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Offence {
    /// A block that breaks a consensus rule, with its proof of work: nobody makes that by mistake.
    InvalidBlock,
    /// A header whose proof of work or difficulty is wrong.
    InvalidHeader,
    /// An identity that it could not prove.
    ForgedIdentity,
    /// A transaction that no chain can hold.
    InvalidTransaction,
    /// A message that no honest peer sends.
    Protocol,
    /// Far over the limits of what nobody asked for.
    MessageFlood,
    /// The same, mostly by pings.
    PingFlood,
    /// The same by addresses, or long lists of them that nobody asked for.
    AddressSpam,
    /// The same by inventories, or one longer than any may be.
    InventorySpam,
    /// Thousands of headers of chains with far less work than ours.
    LowWorkHeaders,
    /// It showed blocks and did not give them, again and again.
    BlockWithholding,
    /// It takes what is sent to it so slowly that it held our memory for a minute.
    SlowReader,
    /// It began a message and let us wait for the rest of it.
    SlowWriter,
}

impl Offence {
    /// All of them.
    pub const ALL: [Self; 13] = [
        Self::InvalidBlock,
        Self::InvalidHeader,
        Self::ForgedIdentity,
        Self::InvalidTransaction,
        Self::Protocol,
        Self::MessageFlood,
        Self::PingFlood,
        Self::AddressSpam,
        Self::InventorySpam,
        Self::LowWorkHeaders,
        Self::BlockWithholding,
        Self::SlowReader,
        Self::SlowWriter,
    ];

    /// Bounded label for metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidBlock => "invalid_block",
            Self::InvalidHeader => "invalid_header",
            Self::ForgedIdentity => "forged_identity",
            Self::InvalidTransaction => "invalid_transaction",
            Self::Protocol => "protocol",
            Self::MessageFlood => "message_flood",
            Self::PingFlood => "ping_flood",
            Self::AddressSpam => "address_spam",
            Self::InventorySpam => "inventory_spam",
            Self::LowWorkHeaders => "low_work_headers",
            Self::BlockWithholding => "block_withholding",
            Self::SlowReader => "slow_reader",
            Self::SlowWriter => "slow_writer",
        }
    }

    /// How much it weighs, of [`BAN_POINTS`]; `None` where it is proof that the host is hostile.
    ///
    /// An identity that was not proven is no proof against a host: whoever stands on the path can bring that about, and
    /// nothing else in this list, since all else is said over a secured connection. What a slow or broken line may do weighs
    /// so little that it does not come to a ban when it happens once a minute, which is as often as it can.
    #[must_use]
    pub fn points(self) -> Option<f64> {
        match self {
            Self::InvalidBlock | Self::InvalidHeader => None,
            Self::ForgedIdentity
            | Self::Protocol
            | Self::MessageFlood
            | Self::PingFlood
            | Self::AddressSpam
            | Self::InventorySpam
            | Self::LowWorkHeaders => Some(50.0),
            Self::InvalidTransaction => Some(25.0),
            Self::BlockWithholding | Self::SlowReader | Self::SlowWriter => Some(1.0),
        }
    }

    /// Which detector finds it.
    #[must_use]
    pub fn detector(self) -> Detector {
        match self {
            Self::InvalidBlock
            | Self::InvalidHeader
            | Self::InvalidTransaction
            | Self::Protocol => Detector::InvalidData,
            Self::ForgedIdentity => Detector::ForgedIdentity,
            Self::MessageFlood => Detector::MessageFlood,
            Self::PingFlood => Detector::PingFlood,
            Self::AddressSpam => Detector::AddressSpam,
            Self::InventorySpam => Detector::InventorySpam,
            Self::LowWorkHeaders => Detector::LowWorkHeaders,
            Self::BlockWithholding => Detector::BlockWithholding,
            Self::SlowReader => Detector::SlowReader,
            Self::SlowWriter => Detector::SlowWriter,
        }
    }
}
