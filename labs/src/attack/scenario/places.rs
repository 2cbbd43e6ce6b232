//! Where everybody comes from: all of 127.0.0.0/8 is ours, so each has addresses, subnets and netgroups of his own.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

/// Second byte of the attacker's first netgroup (a /16): 127.8.0.0, as in `attack handshakes`.
const ATTACKER: u8 = 8;

/// Netgroups that the attacker may have: 127.8.0.0 to 127.71.0.0.
const ATTACKER_GROUPS: u8 = 64;

/// Second byte of the netgroups of honest peers, one each, from 127.120.0.0 on. Visitors come from 127.200.0.0 on.
const HONEST: u8 = 120;

/// Honest peers at most.
const MAX_HONEST: u8 = 40;

/// Second byte of the netgroups of honest nodes that somebody tells of, one each.
const TOLD_OF: u8 = 160;

/// How an attacker's hosts are spread.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Places {
    /// How many hosts.
    pub(super) hosts: u32,
    /// In so many netgroups, at most 64.
    pub(super) groups: u8,
    /// So many in each subnet (a /24), at most 250.
    pub(super) per_subnet: u8,
}

impl Places {
    /// Hosts that have nothing in common but their owner.
    pub(super) const fn apart(hosts: u8) -> Self {
        Self {
            hosts: hosts as u32,
            groups: ATTACKER_GROUPS,
            per_subnet: 1,
        }
    }

    /// The host with this number: netgroup after netgroup gets one, and in each the subnets are filled in turn.
    pub(super) fn host(self, number: u32) -> SocketAddr {
        let groups = u32::from(self.groups.clamp(1, ATTACKER_GROUPS));
        let per_subnet = u32::from(self.per_subnet.clamp(1, 250));
        let (group, rest) = (number % groups, number / groups);
        let (subnet, host) = (rest / per_subnet, rest % per_subnet);
        let first = u32::from(Ipv4Addr::new(127, ATTACKER, 0, 1));
        any_port(Ipv4Addr::from(
            first + (group << 16) + ((subnet % 256) << 8) + host,
        ))
    }
}

/// Whether somebody is the attacker's.
pub(super) fn is_attacker(ip: IpAddr) -> bool {
    second(ip).is_some_and(|byte| (ATTACKER..ATTACKER + ATTACKER_GROUPS).contains(&byte))
}

/// The honest peer with this number.
pub(super) fn honest(number: u8) -> SocketAddr {
    any_port(Ipv4Addr::new(127, HONEST + number % MAX_HONEST, 0, 1))
}

/// Whether somebody is one of the honest peers.
pub(super) fn is_honest(ip: IpAddr) -> bool {
    second(ip).is_some_and(|byte| (HONEST..HONEST + MAX_HONEST).contains(&byte))
}

/// The honest node with this number that an attacker tells of.
pub(super) fn told_of(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, TOLD_OF + number % 32, 0, 1)
}

/// The node with this number whose address the attacker takes: it is his from then on.
pub(super) fn taken_over(number: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, ATTACKER + 40 + number % 8, 9, 1)
}

fn any_port(ip: Ipv4Addr) -> SocketAddr {
    SocketAddr::from((ip, 0))
}

fn second(ip: IpAddr) -> Option<u8> {
    match ip {
        IpAddr::V4(ip) => Some(ip.octets()[1]).filter(|_| ip.is_loopback()),
        IpAddr::V6(_) => None,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use quantumcoin::network::security::limits::subnet_key;
    use quantumcoin::reachability::netgroup::Netgroup;

    use super::*;

    fn counts(places: Places) -> [usize; 3] {
        let hosts: HashSet<IpAddr> = (0..places.hosts).map(|n| places.host(n).ip()).collect();
        let subnets: HashSet<_> = hosts.iter().map(|ip| subnet_key(*ip)).collect();
        let groups: HashSet<_> = hosts.iter().map(|ip| Netgroup::of(*ip)).collect();
        [hosts.len(), subnets.len(), groups.len()]
    }

    #[test]
    fn hosts_are_spread_as_they_are_meant_to_be() {
        assert_eq!(counts(Places::apart(30)), [30, 30, 30]);
        let neighbours = Places {
            hosts: 60,
            groups: 1,
            per_subnet: 250,
        };
        assert_eq!(counts(neighbours), [60, 1, 1]);
        let many = Places {
            hosts: 384,
            groups: 32,
            per_subnet: 12,
        };
        assert_eq!(counts(many), [384, 32, 32]);
    }

    #[test]
    fn the_attacker_and_the_honest_share_no_netgroup() {
        let theirs = (0..64).map(|n| Places::apart(64).host(n).ip());
        assert!(theirs.clone().all(is_attacker));
        assert!(!theirs.clone().any(is_honest));
        let honest = (0..MAX_HONEST).map(|n| honest(n).ip());
        assert!(honest.clone().all(is_honest) && !honest.clone().any(is_attacker));
        let groups: HashSet<_> = honest.map(Netgroup::of).collect();
        assert_eq!(groups.len(), usize::from(MAX_HONEST));
        assert!((0..8).all(|number| is_attacker(taken_over(number).into())));
        for others in [told_of(0), told_of(31), Ipv4Addr::new(127, 200, 0, 1)] {
            assert!(!is_attacker(others.into()) && !is_honest(others.into()));
        }
    }
}
