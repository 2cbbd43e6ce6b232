//! What an operator may do to a running node: add, drop, ban and admit peers, have the way in looked at again.
//!
//! Each wish goes to the hub, which alone may do it, and waits for what came of that. The programs offer these by their API.

use std::net::{IpAddr, SocketAddr};

use serde::Serialize;
use thiserror::Error;
use tokio::sync::oneshot;

use super::NetworkManager;
use super::address_book::BookStats;
use super::hub::control::{Command, Reply};
use super::hub::event::HubEvent;
use super::peer::session::unix_now;
use super::security::operator::{Network, OperatorBan, TooManyBans};

/// Most peers to be connected to at all times that can be added while a node runs. Their connections come on top of those that
/// the node chooses itself, so this bounds them: a quarter of the 125 places that networks have.
pub const MAX_KEPT_PEERS: usize = 32;

/// How long a peer is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stay {
    /// Dialled again whenever the connection is gone, until the node stops or the peer is dropped.
    Kept,
    /// Dialled once, now.
    Once,
}

/// Which peer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerRef {
    /// By the number of its connection.
    Id(u64),
    /// By its address and port.
    Addr(SocketAddr),
}

impl std::fmt::Display for PeerRef {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Id(id) => write!(f, "number {id}"),
            Self::Addr(addr) => write!(f, "{addr}"),
        }
    }
}

/// Why the node did not do what was wanted.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum ControlError {
    /// It was stopped, or never started.
    #[error("the node is starting or stopping")]
    Stopped,
    /// No peer can be there.
    #[error("{0} can't be dialled: a peer needs an address of one machine, and a port")]
    NotDialable(SocketAddr),
    /// It is our own address.
    #[error("{0} is this node's own address")]
    Ours(SocketAddr),
    /// It is kept out.
    #[error("{addr} is banned, by {by}: lift that first (quantumcoin-node unban)")]
    Banned {
        /// Whom.
        addr: SocketAddr,
        /// By what.
        by: String,
    },
    /// It is connected already, or being dialled.
    #[error("{0} is connected or being dialled already")]
    AlreadyThere(SocketAddr),
    /// There are too many such peers.
    #[error(
        "{MAX_KEPT_PEERS} peers are kept already: drop some first, or add this one with \"once\""
    )]
    TooManyKept,
    /// There is no such peer.
    #[error("there is no peer {0}")]
    NoSuchPeer(PeerRef),
    /// There are too many bans.
    #[error(transparent)]
    TooManyBans(#[from] TooManyBans),
    /// Nothing is held against it.
    #[error("{0} is not banned, and nothing is held against a host of it")]
    NotBanned(Network),
    /// NAT traversal is off.
    #[error("the node does not look for its address: start it with --nat on")]
    NatOff,
}

/// A peer that was dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Dropped {
    /// Its address.
    pub addr: SocketAddr,
    /// Whether it was one that is dialled again whenever it is gone.
    pub was_kept: bool,
    /// Connections that ended.
    pub connections: usize,
}

/// A network that is kept out from now on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Banned {
    /// The ban.
    #[serde(flatten)]
    pub ban: OperatorBan,
    /// Connections that ended by it.
    pub connections: usize,
}

impl NetworkManager {
    /// Dials a peer, for [`Stay::Once`] or for good. That it was begun says nothing of what comes of it: status does.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn add_peer(&self, addr: SocketAddr, stay: Stay) -> Result<(), ControlError> {
        self.command(|reply| Command::AddPeer { addr, stay, reply })
            .await
    }

    /// Ends the connections to a peer, and does not open them again by itself for an hour. It may dial us.
    ///
    /// # Errors
    /// When there is no such peer.
    pub async fn drop_peer(&self, who: PeerRef) -> Result<Dropped, ControlError> {
        self.command(|reply| Command::DropPeer { who, reply }).await
    }

    /// Keeps a network out, for so many seconds or for ever, and ends its connections; peers of it that were to be kept are
    /// so no more. Outlives a restart, where there is a data directory.
    ///
    /// # Errors
    /// When there are too many bans.
    pub async fn ban(
        &self,
        network: Network,
        seconds: Option<u64>,
        reason: &str,
    ) -> Result<Banned, ControlError> {
        let ban = OperatorBan::new(network, seconds, reason, unix_now());
        self.command(|reply| Command::Ban { ban, reply }).await
    }

    /// Lets a network in again, and forgets what is held against its hosts.
    ///
    /// # Errors
    /// When nothing was.
    pub async fn unban(&self, network: Network) -> Result<(), ControlError> {
        self.command(|reply| Command::Unban { network, reply })
            .await
    }

    /// Asks STUN servers and the gateway again.
    ///
    /// # Errors
    /// When NAT traversal is off.
    pub async fn look_at_nat_again(&self) -> Result<(), ControlError> {
        self.command(|reply| Command::LookAtNat { reply }).await
    }

    /// What is in the address book, as of the last seconds.
    ///
    /// # Errors
    /// When the node is not running.
    pub async fn book(&self) -> Result<BookStats, ControlError> {
        self.command(|reply| Command::Book { reply }).await
    }

    async fn command<T>(&self, make: impl FnOnce(Reply<T>) -> Command) -> Result<T, ControlError> {
        if !self.is_started() {
            return Err(ControlError::Stopped);
        }
        let (reply, answer) = oneshot::channel();
        let command = HubEvent::Control(Box::new(make(reply)));
        let sent = self.events.send(command).await;
        sent.map_err(|_| ControlError::Stopped)?;
        tokio::select! {
            answer = answer => answer.map_err(|_| ControlError::Stopped)?,
            () = self.stop.cancelled() => Err(ControlError::Stopped),
        }
    }
}

/// Whether one machine can be dialled there, wherever it is: operators know their own networks.
pub(super) fn is_one_machine(addr: SocketAddr) -> bool {
    let ip = addr.ip().to_canonical();
    let broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    addr.port() != 0 && !ip.is_unspecified() && !ip.is_multicast() && !broadcast
}
