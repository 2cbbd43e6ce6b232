//! What kind of translation or filter is between us and the world, from what STUN servers answered (RFC 5780). Pure.

use std::net::{IpAddr, SocketAddr};

use serde::Serialize;

/// The kinds. By UDP, as all STUN is: gateways treat TCP alike, and whether a listener can be
/// reached is found out by dialling it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum NatKind {
    /// No translation, no filter.
    Open,
    /// One mapping for all destinations; whoever knows it gets in.
    FullCone,
    /// One mapping for all destinations; addresses get in that were sent to.
    AddressRestricted,
    /// One mapping for all destinations; sockets get in that were sent to.
    PortRestricted,
    /// A mapping for each destination.
    Symmetric,
    /// No translation, but a filter.
    Firewalled,
    /// No server answers: no UDP, or no network.
    Blocked,
    /// The servers that answered can't tell.
    Unknown,
}

impl NatKind {
    /// Bounded label for metrics and JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::FullCone => "full_cone",
            Self::AddressRestricted => "address_restricted",
            Self::PortRestricted => "port_restricted",
            Self::Symmetric => "symmetric",
            Self::Firewalled => "firewalled",
            Self::Blocked => "blocked",
            Self::Unknown => "unknown",
        }
    }

    /// All of them.
    pub const ALL: [Self; 8] = [
        Self::Open,
        Self::FullCone,
        Self::AddressRestricted,
        Self::PortRestricted,
        Self::Symmetric,
        Self::Firewalled,
        Self::Blocked,
        Self::Unknown,
    ];

    /// In words.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::Open => "no translation and no firewall",
            Self::FullCone => "NAT, full cone: a mapping lets everybody in",
            Self::AddressRestricted => {
                "NAT, address-restricted: a mapping lets those in whose address was sent to"
            }
            Self::PortRestricted => {
                "NAT, port-restricted: a mapping lets those in whose address and port were sent to"
            }
            Self::Symmetric => "NAT, symmetric: another mapping for each destination",
            Self::Firewalled => "no translation, but a firewall that lets only answers in",
            Self::Blocked => "no STUN server answers: UDP is blocked, or there is no network",
            Self::Unknown => "not known: no server that answered can tell",
        }
    }
}

/// What was seen with the help of one server that has two addresses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Seen {
    /// Our socket.
    pub(super) local: IpAddr,
    /// As the server's first socket sees it.
    pub(super) mapped: SocketAddr,
    /// As its other address sees it, at the same port.
    pub(super) mapped_by_other_address: Option<SocketAddr>,
    /// As its other address sees it, at its other port.
    pub(super) mapped_by_other_socket: Option<SocketAddr>,
    /// Whether an answer came in from the other address and port, and from the other port alone; from sockets that were sent
    /// nothing.
    pub(super) lets_other_address_in: bool,
    pub(super) lets_other_port_in: bool,
}

/// RFC 5780, 4.3 and 4.4.
pub(super) fn classify(seen: &Seen) -> NatKind {
    let others = [seen.mapped_by_other_address, seen.mapped_by_other_socket];
    let known = others.iter().flatten().next().is_some();
    if !known && !seen.lets_other_address_in {
        // The other address may be dead.
        return NatKind::Unknown;
    }
    if seen.mapped.ip() == seen.local {
        return if seen.lets_other_address_in {
            NatKind::Open
        } else {
            NatKind::Firewalled
        };
    }
    if others.iter().flatten().any(|mapped| *mapped != seen.mapped) {
        return NatKind::Symmetric;
    }
    match (seen.lets_other_address_in, seen.lets_other_port_in) {
        (true, _) => NatKind::FullCone,
        (false, true) => NatKind::AddressRestricted,
        (false, false) => NatKind::PortRestricted,
    }
}

/// Without a server that has two addresses: as several servers saw one socket of ours. One of them may lie.
pub(super) fn classify_by_mappings(local: IpAddr, mapped: &[SocketAddr]) -> NatKind {
    let Some(first) = mapped.first() else {
        return NatKind::Blocked;
    };
    let sees = |socket: &SocketAddr| mapped.iter().filter(|other| *other == socket).count();
    let agree = mapped.iter().any(|socket| 2 * sees(socket) > mapped.len());
    if first.ip() != local && !agree {
        NatKind::Symmetric
    } else {
        NatKind::Unknown
    }
}

/// What more than half of those found that could tell.
pub(super) fn most(kinds: &[NatKind]) -> Option<NatKind> {
    let told = || kinds.iter().filter(|kind| **kind != NatKind::Unknown);
    let votes = |kind: &NatKind| told().filter(|other| *other == kind).count();
    let most = told().max_by_key(|kind| votes(kind))?;
    (2 * votes(most) > told().count()).then_some(*most)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCAL: [u8; 4] = [192, 168, 1, 2];

    fn addr(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    fn seen(mapped: &str, other: Option<&str>, lets_in: (bool, bool)) -> Seen {
        Seen {
            local: LOCAL.into(),
            mapped: addr(mapped),
            mapped_by_other_address: other.map(addr),
            mapped_by_other_socket: other.map(addr),
            lets_other_address_in: lets_in.0,
            lets_other_port_in: lets_in.1,
        }
    }

    #[test]
    fn each_kind_is_told() {
        let (same, moved) = ("5.6.7.8:1000", "5.6.7.8:1001");
        let own = "192.168.1.2:1000";
        for (mapped, other, lets_in, kind) in [
            (own, Some(own), (true, true), NatKind::Open),
            (own, Some(own), (false, true), NatKind::Firewalled),
            (own, Some(own), (false, false), NatKind::Firewalled),
            (same, Some(same), (true, true), NatKind::FullCone),
            (same, Some(same), (false, true), NatKind::AddressRestricted),
            (same, Some(same), (false, false), NatKind::PortRestricted),
            (same, Some(moved), (false, false), NatKind::Symmetric),
            (same, Some(moved), (true, true), NatKind::Symmetric),
            (same, None, (false, false), NatKind::Unknown),
            (same, None, (true, true), NatKind::FullCone),
        ] {
            assert_eq!(classify(&seen(mapped, other, lets_in)), kind);
        }
    }

    #[test]
    fn a_mapping_by_the_port_alone_is_symmetric_too() {
        let mut seen = seen("5.6.7.8:1000", Some("5.6.7.8:1000"), (false, false));
        seen.mapped_by_other_socket = Some(addr("5.6.7.8:1001"));
        assert_eq!(classify(&seen), NatKind::Symmetric);
    }

    #[test]
    fn servers_with_one_address_tell_a_symmetric_one() {
        let kind = |mapped: &[&str]| {
            let mapped: Vec<_> = mapped.iter().map(|text| addr(text)).collect();
            classify_by_mappings(LOCAL.into(), &mapped)
        };
        assert_eq!(kind(&["5.6.7.8:1", "5.6.7.8:2"]), NatKind::Symmetric);
        assert_eq!(kind(&["5.6.7.8:1", "5.6.7.8:1"]), NatKind::Unknown);
        assert_eq!(kind(&["192.168.1.2:1"]), NatKind::Unknown);
        let liar = ["5.6.7.8:1", "5.6.7.8:1", "5.6.7.8:9"];
        assert_eq!(kind(&liar), NatKind::Unknown);
        assert_eq!(kind(&[]), NatKind::Blocked);
    }

    #[test]
    fn the_majority_tells_the_kind_and_half_is_none() {
        use NatKind::{FullCone, PortRestricted, Unknown};
        assert_eq!(most(&[FullCone, PortRestricted, FullCone]), Some(FullCone));
        assert_eq!(most(&[FullCone, Unknown, Unknown]), Some(FullCone));
        assert_eq!(most(&[FullCone, PortRestricted, Unknown]), None);
        assert_eq!(most(&[Unknown]), None);
    }
}
