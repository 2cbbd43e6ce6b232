//! Networks that are not visited: those whose owners asked for it (a file of the operator's), and those that he banned.
//!
//! Pure. The file has one IP address or network in CIDR notation on each line; `#` begins a comment.

use std::collections::{BTreeSet, HashSet};
use std::net::IpAddr;

use super::netgroup::canonical;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Networks, found by any address in them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Exclusions {
    nets: HashSet<IpNet>,
    /// Lengths of prefixes that occur: whether IPv4, and bits.
    lengths: BTreeSet<(bool, u8)>,
}

/// A line that is no network.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{origin}, line {line}: {text:?} is neither an IP address nor a network such as 192.0.2.0/24"
)]
pub struct ExclusionsError {
    /// The file.
    pub origin: String,
    /// Its line, from 1.
    pub line: usize,
    /// What stands there, cut to 64 characters.
    pub text: String,
}

impl Exclusions {
    /// Reads a file's text.
    ///
    /// # Errors
    /// The first line that is no network.
    pub fn parse(text: &str, origin: &str) -> Result<Self, ExclusionsError> {
        let mut all = Self::default();
        for (index, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or_default().trim();
            if line.is_empty() {
                continue;
            }
            let net = network(line).ok_or_else(|| ExclusionsError {
                origin: origin.to_owned(),
                line: index + 1,
                text: line.chars().take(64).collect(),
            })?;
            all.add(net);
        }
        Ok(all)
    }

    /// Adds a network; an IPv4-mapped one is IPv4.
    pub fn add(&mut self, net: IpNet) {
        let net = unmapped(net);
        self.lengths
            .insert((net.addr().is_ipv4(), net.prefix_len()));
        self.nets.insert(net);
    }

    /// The widest network that holds this address.
    pub fn find(&self, ip: IpAddr) -> Option<IpNet> {
        let ip = canonical(ip);
        let lengths = self.lengths.iter().filter(|(v4, _)| *v4 == ip.is_ipv4());
        lengths
            .filter_map(|(_, bits)| IpNet::new(ip, *bits).ok())
            .map(|net| net.trunc())
            .find(|net| self.nets.contains(net))
    }

    /// How many networks.
    pub fn len(&self) -> usize {
        self.nets.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.nets.is_empty()
    }
}

/// An IP address as the network of itself, or a network.
pub fn network(text: &str) -> Option<IpNet> {
    let net = text.parse().ok().or_else(|| {
        let ip: IpAddr = text.parse().ok()?;
        Some(IpNet::from(ip))
    })?;
    Some(unmapped(net))
}

/// The network itself, without bits beyond its prefix; an IPv4-mapped one is IPv4.
pub fn unmapped(net: IpNet) -> IpNet {
    let IpNet::V6(v6) = net else {
        return net.trunc();
    };
    let mapped = v6
        .addr()
        .to_ipv4_mapped()
        .zip(v6.prefix_len().checked_sub(96));
    mapped
        .and_then(|(ip, bits)| Ipv4Net::new(ip, bits).ok())
        .map_or_else(
            || IpNet::V6(Ipv6Net::trunc(&v6)),
            |v4| IpNet::V4(v4.trunc()),
        )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn addresses_and_networks_of_both_families_are_found() {
        let text = "# who asked\n192.0.2.7\n198.51.100.0/24 # a campus\n\n2001:db8::/32\n::ffff:203.0.113.0/120\n";
        let all = Exclusions::parse(text, "x").unwrap();
        assert_eq!(all.len(), 4);
        for (text, found) in [
            ("192.0.2.7", Some("192.0.2.7/32")),
            ("192.0.2.8", None),
            ("::ffff:192.0.2.7", Some("192.0.2.7/32")),
            ("198.51.100.255", Some("198.51.100.0/24")),
            ("203.0.113.9", Some("203.0.113.0/24")),
            ("2001:db8:ffff::1", Some("2001:db8::/32")),
            ("2001:db9::1", None),
        ] {
            let net = all.find(ip(text)).map(|net| net.to_string());
            assert_eq!(net.as_deref(), found, "{text}");
        }
    }

    #[test]
    fn a_line_that_is_none_is_named() {
        let error = Exclusions::parse("192.0.2.1\n\n192.0.2.0/33\n", "list").unwrap_err();
        assert_eq!((error.line, error.text.as_str()), (3, "192.0.2.0/33"));
        assert!(error.to_string().contains("list, line 3"));
        assert!(Exclusions::parse("example.org", "x").is_err());
    }

    proptest! {
        #[test]
        fn it_finds_what_a_look_at_each_network_finds(
            nets in prop::collection::vec((any::<[u8; 4]>(), 0u8..=32), 0..20),
            ips in prop::collection::vec(any::<[u8; 4]>(), 0..20),
        ) {
            let nets: Vec<IpNet> = nets.into_iter().map(|(ip, bits)| IpNet::new(ip.into(), bits).unwrap()).collect();
            let mut all = Exclusions::default();
            nets.iter().for_each(|net| all.add(*net));
            let own = nets.iter().map(IpNet::addr);
            for ip in ips.into_iter().map(IpAddr::from).chain(own) {
                let due = nets.iter().any(|net| net.contains(&ip));
                let found = all.find(ip);
                prop_assert_eq!(found.is_some(), due);
                prop_assert!(found.is_none_or(|net| net.contains(&ip)));
            }
        }
    }
}
