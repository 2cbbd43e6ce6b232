//! The version handshake: first on every connection, and once.
//!
//! ```text
//! initiator                         responder
//!   version              ->
//!                        <-         version, [wtxidrelay,] sendaddrv2, verack
//!   [wtxidrelay,] sendaddrv2, verack ->
//! ```
//! `wtxidrelay` is said by those who relay transactions.
//! Anything but `version`, `verack` and the feature messages that BIP155 and BIP339 place before `verack`
//! is a protocol error here.

use std::net::SocketAddr;

use bitcoin::p2p::ServiceFlags;
use bitcoin::p2p::address::Address;
use bitcoin::p2p::message::NetworkMessage;
use bitcoin::p2p::message_network::VersionMessage;
use thiserror::Error;

use crate::reachability::netgroup::canonical_socket;

/// Most characters of a user agent that we keep. BIP14 sets no bound; Bitcoin Core refuses more than 256.
pub const MAX_USER_AGENT_CHARS: usize = 256;

/// Most messages before `verack`. A real peer sends `version` and at most a handful of feature
/// announcements; the bound ends a conversation that never gets to the point.
const MAX_MESSAGES_BEFORE_VERACK: usize = 16;

/// Oldest protocol version to which `wtxidrelay` is said. BIP339 asks for 70016; this network speaks 70015 and
/// has known the message from its first release.
const WTXID_RELAY_VERSION: u32 = 70_015;

/// Who opened the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    /// They dialled us.
    Inbound,
    /// We dialled them.
    Outbound,
}

impl Direction {
    /// Lower-case word for logs, metrics and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Inbound => "inbound",
            Self::Outbound => "outbound",
        }
    }
}

/// What we say of ourselves.
#[derive(Debug, Clone)]
pub struct LocalVersion {
    /// Protocol version that we speak.
    pub protocol_version: u32,
    /// Oldest version that we accept.
    pub min_protocol_version: u32,
    /// Our service bits.
    pub services: u64,
    /// BIP14 user agent, e.g. `/quantumcoin:0.1.0/`.
    pub user_agent: String,
    /// Height of our best block.
    pub start_height: i32,
    /// Whether we want transactions announced.
    pub relay: bool,
    /// Random number of this process, the same on all its connections: how we meet ourselves.
    pub nonce: u64,
    /// Our clock, Unix seconds.
    pub now: i64,
    /// Where we think that we can be reached.
    pub our_addr: SocketAddr,
    /// Where we see the peer.
    pub their_addr: SocketAddr,
}

/// What the peer said of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PeerVersion {
    /// Protocol version that the peer speaks.
    pub protocol_version: u32,
    /// Its service bits.
    pub services: u64,
    /// Its user agent, at most [`MAX_USER_AGENT_CHARS`] characters, control characters removed.
    pub user_agent: String,
    /// Height that it claims; a claim, never a fact.
    pub start_height: i32,
    /// Its nonce.
    pub nonce: u64,
    /// Its clock minus ours, seconds.
    pub time_offset: i64,
    /// The address at which it sees us.
    pub our_addr_seen: Option<SocketAddr>,
    /// Whether it takes `addrv2` (BIP155).
    pub wants_addrv2: bool,
    /// Whether it wants transactions announced.
    pub relay: bool,
    /// Whether transactions are named by wtxid between us (BIP339).
    pub wtxid_relay: bool,
}

/// What to do after a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Send these and go on reading.
    Send(Vec<NetworkMessage>),
    /// Send these; the handshake is over.
    Done {
        /// Last messages of the handshake.
        send: Vec<NetworkMessage>,
        /// Who it is.
        peer: PeerVersion,
    },
}

/// Why the handshake failed. Each is the peer's doing, but [`VersionError::SelfConnection`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum VersionError {
    /// The peer's protocol is older than we accept.
    #[error("peer speaks protocol {theirs}, the oldest accepted is {oldest}")]
    TooOld {
        /// The peer's protocol version.
        theirs: u32,
        /// Our minimum.
        oldest: u32,
    },
    /// We dialled ourselves.
    #[error("connected to ourselves")]
    SelfConnection,
    /// A second `version` or `verack`.
    #[error("second {0} message")]
    Duplicate(&'static str),
    /// Some other message before the handshake was over.
    #[error("{0} before the version handshake was over")]
    Unexpected(String),
    /// Endless chatter before `verack`.
    #[error("more than {MAX_MESSAGES_BEFORE_VERACK} messages before verack")]
    TooManyMessages,
}

/// The state machine. Make it, send what [`VersionHandshake::start`] gives, feed it each message.
#[derive(Debug)]
pub struct VersionHandshake {
    direction: Direction,
    local: LocalVersion,
    peer: Option<PeerVersion>,
    wants_addrv2: bool,
    wtxid_relay: bool,
    messages: usize,
}

impl VersionHandshake {
    /// A handshake that has not begun.
    pub fn new(direction: Direction, local: LocalVersion) -> Self {
        Self {
            direction,
            local,
            peer: None,
            wants_addrv2: false,
            wtxid_relay: false,
            messages: 0,
        }
    }

    /// What to send at once: the initiator speaks first.
    pub fn start(&mut self) -> Vec<NetworkMessage> {
        match self.direction {
            Direction::Outbound => vec![self.version_message()],
            Direction::Inbound => Vec::new(),
        }
    }

    /// Takes the peer's next message.
    ///
    /// # Errors
    /// See [`VersionError`]; the connection must be closed then.
    pub fn on_message(&mut self, message: &NetworkMessage) -> Result<Step, VersionError> {
        self.messages += 1;
        if self.messages > MAX_MESSAGES_BEFORE_VERACK {
            return Err(VersionError::TooManyMessages);
        }
        match message {
            NetworkMessage::Version(version) => self.on_version(version),
            NetworkMessage::Verack => self.on_verack(),
            NetworkMessage::SendAddrV2 if self.peer.is_some() => {
                self.wants_addrv2 = true;
                Ok(Step::Send(Vec::new()))
            }
            NetworkMessage::WtxidRelay if self.peer.is_some() => {
                self.wtxid_relay = true;
                Ok(Step::Send(Vec::new()))
            }
            NetworkMessage::Unknown { .. } if self.peer.is_some() => Ok(Step::Send(Vec::new())),
            other => Err(VersionError::Unexpected(other.cmd().to_owned())),
        }
    }

    fn on_version(&mut self, version: &VersionMessage) -> Result<Step, VersionError> {
        if self.peer.is_some() {
            return Err(VersionError::Duplicate("version"));
        }
        if version.nonce == self.local.nonce {
            return Err(VersionError::SelfConnection);
        }
        if version.version < self.local.min_protocol_version {
            return Err(VersionError::TooOld {
                theirs: version.version,
                oldest: self.local.min_protocol_version,
            });
        }
        self.peer = Some(PeerVersion {
            protocol_version: version.version,
            services: version.services.to_u64(),
            user_agent: printable(&version.user_agent),
            start_height: version.start_height,
            nonce: version.nonce,
            time_offset: version.timestamp.saturating_sub(self.local.now),
            our_addr_seen: version.receiver.socket_addr().ok().map(canonical_socket),
            wants_addrv2: false,
            relay: version.relay,
            wtxid_relay: false,
        });
        let mut send = Vec::with_capacity(4);
        if self.direction == Direction::Inbound {
            send.push(self.version_message());
        }
        if version.version >= WTXID_RELAY_VERSION && self.local.relay {
            send.push(NetworkMessage::WtxidRelay);
        }
        send.push(NetworkMessage::SendAddrV2);
        send.push(NetworkMessage::Verack);
        Ok(Step::Send(send))
    }

    fn on_verack(&mut self) -> Result<Step, VersionError> {
        let Some(peer) = self.peer.clone() else {
            return Err(VersionError::Unexpected("verack".to_owned()));
        };
        Ok(Step::Done {
            send: Vec::new(),
            peer: PeerVersion {
                wants_addrv2: self.wants_addrv2,
                // Both must have said it, and we say it only where we relay.
                wtxid_relay: self.wtxid_relay
                    && self.local.relay
                    && peer.protocol_version >= WTXID_RELAY_VERSION,
                ..peer
            },
        })
    }

    fn version_message(&self) -> NetworkMessage {
        let local = &self.local;
        let services = ServiceFlags::from(local.services);
        NetworkMessage::Version(VersionMessage {
            version: local.protocol_version,
            services,
            timestamp: local.now,
            receiver: Address::new(&local.their_addr, ServiceFlags::NONE),
            sender: Address::new(&local.our_addr, services),
            nonce: local.nonce,
            user_agent: local.user_agent.clone(),
            start_height: local.start_height,
            relay: local.relay,
        })
    }
}

fn printable(user_agent: &str) -> String {
    user_agent
        .chars()
        .filter(|c| !c.is_control())
        .take(MAX_USER_AGENT_CHARS)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn local(nonce: u64) -> LocalVersion {
        LocalVersion {
            protocol_version: 70015,
            min_protocol_version: 70010,
            services: 9,
            user_agent: format!("/test:{nonce}/"),
            start_height: nonce as i32,
            relay: false,
            nonce,
            now: 1_800_000_000 + nonce as i64,
            our_addr: "127.0.0.1:8333".parse().unwrap(),
            their_addr: "127.0.0.2:8333".parse().unwrap(),
        }
    }

    /// Passes messages back and forth until both are done.
    fn run(a: LocalVersion, b: LocalVersion) -> Result<(PeerVersion, PeerVersion), VersionError> {
        let mut out = VersionHandshake::new(Direction::Outbound, a);
        let mut inb = VersionHandshake::new(Direction::Inbound, b);
        let mut to_inb = out.start();
        let mut to_out = inb.start();
        let (mut done_out, mut done_inb) = (None, None);
        while done_out.is_none() || done_inb.is_none() {
            let feed = |machine: &mut VersionHandshake, queue: &mut Vec<NetworkMessage>| {
                let mut replies = Vec::new();
                let mut done = None;
                for message in queue.drain(..) {
                    match machine.on_message(&message)? {
                        Step::Send(send) => replies.extend(send),
                        Step::Done { send, peer } => {
                            replies.extend(send);
                            done = Some(peer);
                        }
                    }
                }
                Ok::<_, VersionError>((replies, done))
            };
            let (replies, done) = feed(&mut inb, &mut to_inb)?;
            to_out.extend(replies);
            done_inb = done_inb.or(done);
            let (replies, done) = feed(&mut out, &mut to_out)?;
            to_inb.extend(replies);
            done_out = done_out.or(done);
        }
        Ok((done_out.unwrap(), done_inb.unwrap()))
    }

    #[test]
    fn both_sides_learn_each_other() {
        let (seen_by_out, seen_by_inb) = run(local(1), local(2)).unwrap();
        assert_eq!(seen_by_out.user_agent, "/test:2/");
        assert_eq!(seen_by_inb.user_agent, "/test:1/");
        assert_eq!(
            seen_by_out.time_offset, 1,
            "the responder's clock minus ours"
        );
        assert!(seen_by_out.wants_addrv2 && seen_by_inb.wants_addrv2);
        assert_eq!(
            seen_by_out.our_addr_seen,
            Some("127.0.0.2:8333".parse().unwrap())
        );
    }

    #[test]
    fn meeting_ourselves_is_noticed() {
        assert_eq!(
            run(local(7), local(7)).unwrap_err(),
            VersionError::SelfConnection
        );
    }

    #[test]
    fn old_protocols_are_refused_and_the_minimum_is_accepted() {
        let mut old = local(3);
        old.protocol_version = 70009;
        assert_eq!(
            run(old.clone(), local(4)).unwrap_err(),
            VersionError::TooOld {
                theirs: 70009,
                oldest: 70010
            }
        );
        old.protocol_version = 70010;
        assert!(run(old, local(4)).is_ok());
    }

    #[test]
    fn messages_out_of_order_are_errors() {
        let mut machine = VersionHandshake::new(Direction::Inbound, local(1));
        assert!(matches!(
            machine.on_message(&NetworkMessage::Verack),
            Err(VersionError::Unexpected(c)) if c == "verack"
        ));
        let mut machine = VersionHandshake::new(Direction::Inbound, local(1));
        assert!(machine.on_message(&NetworkMessage::Ping(1)).is_err());
        let mut machine = VersionHandshake::new(Direction::Inbound, local(1));
        let version = VersionHandshake::new(Direction::Outbound, local(2))
            .start()
            .remove(0);
        assert!(matches!(machine.on_message(&version), Ok(Step::Send(sent)) if sent.len() == 3));
        assert_eq!(
            machine.on_message(&version),
            Err(VersionError::Duplicate("version"))
        );
        assert!(machine.on_message(&NetworkMessage::GetAddr).is_err());
    }

    #[test]
    fn chatter_before_verack_is_bounded() {
        let mut machine = VersionHandshake::new(Direction::Inbound, local(1));
        let version = VersionHandshake::new(Direction::Outbound, local(2))
            .start()
            .remove(0);
        machine.on_message(&version).unwrap();
        let error = (0..100).find_map(|_| machine.on_message(&NetworkMessage::WtxidRelay).err());
        assert_eq!(error, Some(VersionError::TooManyMessages));
    }

    #[test]
    fn user_agents_are_cut_and_cleaned() {
        let mut rude = local(5);
        rude.user_agent = format!("/a\u{1b}[31m{}/", "x".repeat(1000));
        let (_, seen) = run(rude, local(6)).unwrap();
        assert_eq!(seen.user_agent.chars().count(), MAX_USER_AGENT_CHARS);
        assert!(seen.user_agent.chars().all(|c| !c.is_control()));
    }
}
