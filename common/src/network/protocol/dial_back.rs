//! Dial-back: a peer that we dialled is asked to dial us, so that we know whether others can. Pure.
//!
//! ```text
//! asker (it dialled)                                answerer (it was dialled)
//!   dialback { nonce, port }     ->
//!                                                   dials the address that it sees the asker at, that port;
//!                                                   both handshakes, so that it knows who is there
//!                                <-                 dialresult { nonce, outcome }
//! ```
//! Two commands of this network's own, which Bitcoin does not have: whoever does not know them ignores them. The asker believes
//! the connection that arrives, which shows who made it; the result tells it only that none will come.
//!
//! # Security
//! The answerer dials nothing but the address from which the asker's own connection comes, so nobody can have a third party
//! dialled; no port below 1,024, where other services live; with one attempt for a host in ten minutes, and few for all
//! ([`DialBackLimits`]). What the dialled one sees before it has proven to be the asker are the first bytes of our handshake.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::time::{Duration, Instant};

use bitcoin::p2p::message::{CommandString, NetworkMessage};

use crate::network::security::limits::host_key;
use crate::reachability::netgroup::is_dialable;

/// Command of the request.
const REQUEST: &str = "dialback";

/// Command of the result.
const RESULT: &str = "dialresult";

/// Least port that is dialled: below it are services of the system, whose logs and guards strangers are not to fill.
const LEAST_PORT: u16 = 1_024;

/// How often one host is dialled back.
pub const HOST_PAUSE: Duration = Duration::from_secs(600);

/// Hosts remembered. All that are dialled within [`HOST_PAUSE`] by the limits fit.
const MAX_HOSTS: usize = 512;

/// Attempts for all hosts together within [`WINDOW`]: each costs a millisecond of handshake, and as many nodes as have places here
/// may come back at once after an outage and need two peers each.
const MAX_IN_WINDOW: usize = 30;

/// What [`MAX_IN_WINDOW`] is about.
const WINDOW: Duration = Duration::from_secs(60);

/// What came of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The asker itself answered there.
    Reached,
    /// Nobody did, or somebody else.
    Unreachable,
    /// It was not tried: too often, or not an address that is dialled.
    Refused,
}

impl Outcome {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Reached, Self::Unreachable, Self::Refused];

    /// Bounded label for metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Reached => "reached",
            Self::Unreachable => "unreachable",
            Self::Refused => "refused",
        }
    }
}

/// One of the two messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DialBack {
    /// Please dial me at this port.
    Request {
        /// Repeated in the result.
        nonce: u64,
        /// Of the address at which the asker is seen.
        port: u16,
    },
    /// What came of it.
    Result {
        /// The request's.
        nonce: u64,
        /// What came of it.
        outcome: Outcome,
    },
}

impl DialBack {
    /// As a message.
    #[must_use]
    pub fn to_message(self) -> NetworkMessage {
        let (command, nonce, rest) = match self {
            Self::Request { nonce, port } => (REQUEST, nonce, port.to_be_bytes().to_vec()),
            Self::Result { nonce, outcome } => {
                let outcome = match outcome {
                    Outcome::Reached => 0,
                    Outcome::Unreachable => 1,
                    Outcome::Refused => 2,
                };
                (RESULT, nonce, vec![outcome])
            }
        };
        let payload = [&nonce.to_le_bytes()[..], &rest].concat();
        // Can't fail: both are shorter than the twelve bytes that a command may have, and a test writes them.
        #[allow(clippy::expect_used)]
        let command = CommandString::try_from_static(command).expect("at most twelve bytes");
        NetworkMessage::Unknown { command, payload }
    }

    /// Reads a message: `None` if it is another one, an error if its bytes are not as they must be.
    ///
    /// # Errors
    /// With what is wrong.
    pub fn read(message: &NetworkMessage) -> Option<Result<Self, &'static str>> {
        let NetworkMessage::Unknown { command, payload } = message else {
            return None;
        };
        let command = command.as_ref();
        if command != REQUEST && command != RESULT {
            return None;
        }
        let parsed = payload.split_first_chunk::<8>().and_then(|(nonce, rest)| {
            let nonce = u64::from_le_bytes(*nonce);
            match (command, rest) {
                (REQUEST, [high, low]) => {
                    let port = u16::from_be_bytes([*high, *low]);
                    Some(Self::Request { nonce, port })
                }
                (RESULT, [outcome @ 0..=2]) => {
                    let outcome = match outcome {
                        0 => Outcome::Reached,
                        1 => Outcome::Unreachable,
                        _ => Outcome::Refused,
                    };
                    Some(Self::Result { nonce, outcome })
                }
                _ => None,
            }
        });
        Some(parsed.ok_or("a dial-back message of another shape"))
    }
}

/// What an answerer dials, and how often.
#[derive(Debug, Default)]
pub struct DialBackLimits {
    /// When each host was dialled last.
    hosts: HashMap<IpAddr, Instant>,
    /// When anybody was, lately.
    latest: Vec<Instant>,
}

impl DialBackLimits {
    /// The address to dial for somebody who is seen at `asker`; `None` where it is not to be dialled, or not now.
    pub fn admit(
        &mut self,
        asker: SocketAddr,
        port: u16,
        allow_private: bool,
        now: Instant,
    ) -> Option<SocketAddr> {
        let target = SocketAddr::new(asker.ip(), port);
        if port < LEAST_PORT || !is_dialable(target, allow_private) {
            return None;
        }
        let passed = |at: &Instant| now.saturating_duration_since(*at);
        self.hosts.retain(|_, at| passed(at) < HOST_PAUSE);
        self.latest.retain(|at| passed(at) < WINDOW);
        let host = host_key(asker.ip());
        let full = self.hosts.len() >= MAX_HOSTS || self.latest.len() >= MAX_IN_WINDOW;
        if full || self.hosts.contains_key(&host) {
            return None;
        }
        self.hosts.insert(host, now);
        self.latest.push(now);
        Some(target)
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::wire::tests::{decode, envelope};

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn any_message() -> impl Strategy<Value = DialBack> {
        let outcome = prop_oneof![
            Just(Outcome::Reached),
            Just(Outcome::Unreachable),
            Just(Outcome::Refused)
        ];
        prop_oneof![
            any::<(u64, u16)>().prop_map(|(nonce, port)| DialBack::Request { nonce, port }),
            (any::<u64>(), outcome)
                .prop_map(|(nonce, outcome)| DialBack::Result { nonce, outcome }),
        ]
    }

    proptest! {
        #[test]
        fn what_is_said_is_heard(message in any_message()) {
            let bytes = envelope().encode(&message.to_message()).unwrap();
            let heard = envelope().decode(&bytes).unwrap();
            prop_assert_eq!(DialBack::read(&heard), Some(Ok(message)));
        }

        #[test]
        fn any_bytes_are_read_or_refused(payload in vec(any::<u8>(), 0..20), request: bool) {
            let command = if request { REQUEST } else { RESULT };
            let message = decode(command, &payload).unwrap();
            let read = DialBack::read(&message).unwrap();
            let length = if request { 10 } else { 9 };
            if let Ok(read) = read {
                prop_assert_eq!(payload.len(), length);
                prop_assert_eq!(read.to_message(), message);
            } else if request {
                prop_assert!(payload.len() != length);
            }
        }

        /// Whatever is asked, by whomever, in whatever order: nobody is dialled but an asker, and nobody often.
        #[test]
        fn nobody_else_is_dialled_and_nobody_often(
            asks in vec((0_u8..20, any::<u16>(), 0_u64..30), 1..300),
        ) {
            let mut limits = DialBackLimits::default();
            let mut now = Instant::now();
            let mut dialled: Vec<(SocketAddr, Instant)> = Vec::new();
            for (host, port, pause) in asks {
                now += Duration::from_secs(pause);
                let asker = SocketAddr::from(([9, 9, host, 1], 50_000));
                let Some(target) = limits.admit(asker, port, false, now) else {
                    continue;
                };
                prop_assert_eq!(target.ip(), asker.ip());
                prop_assert!(target.port() >= LEAST_PORT);
                let within = |span| move |(_, at): &&(SocketAddr, Instant)| now - *at < span;
                let same = dialled.iter().filter(within(HOST_PAUSE));
                prop_assert!(!same.clone().any(|(to, _)| to.ip() == target.ip()));
                prop_assert!(dialled.iter().filter(within(WINDOW)).count() < MAX_IN_WINDOW);
                dialled.push((target, now));
            }
        }
    }

    #[test]
    fn private_addresses_and_ports_of_the_system_are_not_dialled() {
        let mut limits = DialBackLimits::default();
        let now = Instant::now();
        for (asker, port, private) in [
            ("192.168.1.1:5000", 8_333, false),
            ("127.0.0.1:5000", 8_333, false),
            ("9.9.9.9:5000", 22, false),
            ("9.9.9.9:5000", 0, true),
        ] {
            assert_eq!(limits.admit(addr(asker), port, private, now), None);
        }
        let local = limits.admit(addr("127.0.0.1:5000"), 8_333, true, now);
        assert_eq!(local, Some(addr("127.0.0.1:8333")));
    }

    #[test]
    fn a_subnet_of_ipv6_is_one_host() {
        let mut limits = DialBackLimits::default();
        let now = Instant::now();
        let mut admit = |text: &str, now| limits.admit(addr(text), 8_333, false, now).is_some();
        assert!(admit("[2600::1]:5000", now));
        assert!(!admit("[2600::2]:5000", now));
        assert!(admit("[2600:0:0:1::2]:5000", now));
        assert!(admit("[2600::2]:5000", now + HOST_PAUSE));
    }
}
