//! Whom the operator keeps out: networks, each with a reason and, mostly, an end. Pure.
//!
//! What hosts bring upon themselves stands in [`super::standing`]; this is beside it, in the same file, and weighs more: it
//! holds for peers of the operator's own choice as well. A host is an IPv4 address or an IPv6 /64, as everywhere.

use std::net::IpAddr;
use std::str::FromStr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use thiserror::Error;

use super::limits::host_key;

/// Most networks kept out. Each new connection is compared with all of them: a thousand take a few microseconds.
pub const MAX_BANS: usize = 1_000;

/// Most characters of a reason: a line that people read.
pub const MAX_REASON_CHARS: usize = 200;

/// Bits of an IPv6 address that name a host: whoever has one address of a /64 has all.
const V6_HOST_BITS: u8 = 64;

/// A host or a network, as operators write it: `192.0.2.7`, `192.0.2.0/24`, `2001:db8::/32`. A single IPv6 address stands for its
/// /64, and so does any longer prefix; an IPv4-mapped IPv6 address is the IPv4 address.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Network(IpNet);

/// Why a text is no [`Network`].
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum NetworkFormError {
    /// It can't be read.
    #[error(
        "{0:?} is no host or network: write an address such as 192.0.2.7 or 2001:db8::1, or a network such as 192.0.2.0/24"
    )]
    Form(String),
    /// Every address is in it.
    #[error("{0} is all of the internet: give a prefix of at least 1 bit")]
    Everybody(String),
}

impl Network {
    /// The host at this address.
    #[must_use]
    pub fn host(ip: IpAddr) -> Self {
        Self(match host_key(ip) {
            IpAddr::V4(ip) => IpNet::V4(ip.into()),
            // 64 bits are within an address.
            IpAddr::V6(ip) => IpNet::V6(Ipv6Net::new_assert(ip, V6_HOST_BITS)),
        })
    }

    /// Whether the address is in it.
    #[must_use]
    pub fn contains(self, ip: IpAddr) -> bool {
        self.0.contains(&ip.to_canonical())
    }

    /// Whether it is one host alone.
    #[must_use]
    pub fn is_host(self) -> bool {
        match self.0 {
            IpNet::V4(net) => net.prefix_len() == 32,
            IpNet::V6(net) => net.prefix_len() == V6_HOST_BITS,
        }
    }
}

impl FromStr for Network {
    type Err = NetworkFormError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let form = || NetworkFormError::Form(text.chars().take(60).collect());
        if let Ok(ip) = text.parse::<IpAddr>() {
            return Ok(Self::host(ip));
        }
        let net: IpNet = text.parse().map_err(|_| form())?;
        let net = match (net, net.addr().to_canonical()) {
            // 96 bits come before the IPv4 address within a mapped one.
            (IpNet::V6(net), IpAddr::V4(ip)) => {
                let bits = net.prefix_len().checked_sub(96).ok_or_else(form)?;
                IpNet::V4(Ipv4Net::new(ip, bits).map_err(|_| form())?)
            }
            (IpNet::V6(net), _) if net.prefix_len() > V6_HOST_BITS => {
                return Ok(Self::host(net.addr().into()));
            }
            (net, _) => net,
        };
        if net.prefix_len() == 0 {
            return Err(NetworkFormError::Everybody(net.to_string()));
        }
        Ok(Self(net.trunc()))
    }
}

impl TryFrom<String> for Network {
    type Error = NetworkFormError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Network> for String {
    fn from(network: Network) -> Self {
        network.to_string()
    }
}

impl std::fmt::Display for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            // A single host reads better without its prefix.
            IpNet::V4(net) if net.prefix_len() == 32 => write!(f, "{}", net.addr()),
            net => write!(f, "{net}"),
        }
    }
}

/// One network that the operator keeps out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct OperatorBan {
    /// Whom.
    pub network: Network,
    /// Why, in the operator's words; may be empty.
    pub reason: String,
    /// Since when, Unix seconds.
    pub since: u64,
    /// Until when, Unix seconds; for ever if there is none.
    pub until: Option<u64>,
}

impl OperatorBan {
    /// A ban from `now` on, for so many seconds; the reason is cut to [`MAX_REASON_CHARS`].
    #[must_use]
    pub fn new(network: Network, seconds: Option<u64>, reason: &str, now: u64) -> Self {
        Self {
            network,
            reason: reason.chars().take(MAX_REASON_CHARS).collect(),
            since: now,
            until: seconds.map(|seconds| now.saturating_add(seconds)),
        }
    }

    fn stands(&self, now: u64) -> bool {
        self.until.is_none_or(|until| now < until)
    }
}

/// There are [`MAX_BANS`] already.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error(
    "{MAX_BANS} networks are kept out already: lift some first, or ban one that holds several of them"
)]
pub struct TooManyBans;

/// All networks that the operator keeps out.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OperatorBans(Vec<OperatorBan>);

impl OperatorBans {
    /// What a file held: what has ended, and what is beyond [`MAX_BANS`], is left out.
    #[must_use]
    pub fn from_file(bans: Vec<OperatorBan>, now: u64) -> Self {
        let mut all = Self::default();
        for ban in bans {
            // The file of an edited list may hold more than fit; the rest is left out.
            let _ = all.add(ban, now);
        }
        all.0.retain(|ban| ban.stands(now));
        all
    }

    /// Keeps a network out, in place of what was said of the same one before.
    ///
    /// # Errors
    /// When there are too many.
    pub fn add(&mut self, ban: OperatorBan, now: u64) -> Result<(), TooManyBans> {
        self.0
            .retain(|old| old.stands(now) && old.network != ban.network);
        if self.0.len() >= MAX_BANS {
            return Err(TooManyBans);
        }
        let place = self.0.partition_point(|old| old.network < ban.network);
        self.0.insert(place, ban);
        Ok(())
    }

    /// Lets exactly this network in again. False if it was not kept out.
    pub fn remove(&mut self, network: Network) -> bool {
        let before = self.0.len();
        self.0.retain(|ban| ban.network != network);
        self.0.len() < before
    }

    /// What keeps this address out.
    #[must_use]
    pub fn covering(&self, ip: IpAddr, now: u64) -> Option<&OperatorBan> {
        let mut bans = self.0.iter();
        bans.find(|ban| ban.stands(now) && ban.network.contains(ip))
    }

    /// Those that stand, by network.
    #[must_use]
    pub fn standing(&self, now: u64) -> Vec<OperatorBan> {
        let standing = self.0.iter().filter(|ban| ban.stands(now));
        standing.cloned().collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn network(text: &str) -> Network {
        text.parse().unwrap()
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn hosts_and_networks_are_read_as_they_are_meant() {
        for (written, read) in [
            ("192.0.2.7", "192.0.2.7"),
            ("192.0.2.7/32", "192.0.2.7"),
            ("192.0.2.7/24", "192.0.2.0/24"),
            ("::ffff:192.0.2.7", "192.0.2.7"),
            ("::ffff:192.0.2.7/120", "192.0.2.0/24"),
            ("2001:db8::1", "2001:db8::/64"),
            ("2001:db8:0:0:1::/80", "2001:db8::/64"),
            ("2001:db8:1::/48", "2001:db8:1::/48"),
        ] {
            assert_eq!(network(written).to_string(), read, "{written}");
            assert_eq!(network(read), network(written));
        }
        assert!(network("192.0.2.7").is_host() && network("2001:db8::7").is_host());
        assert!(!network("192.0.2.0/24").is_host() && !network("2001:db8::/48").is_host());
        for wrong in [
            "",
            "example.org",
            "192.0.2.7:8333",
            "192.0.2.0/33",
            "::ffff:192.0.2.7/90",
        ] {
            let error = wrong.parse::<Network>().unwrap_err();
            assert_eq!(error, NetworkFormError::Form(wrong.to_owned()));
        }
        for everybody in ["0.0.0.0/0", "::/0", "::ffff:0.0.0.0/96"] {
            let error = everybody.parse::<Network>().unwrap_err();
            assert!(
                matches!(error, NetworkFormError::Everybody(_)),
                "{everybody}"
            );
        }
    }

    #[test]
    fn a_ban_holds_for_its_network_and_its_time() {
        let mut bans = OperatorBans::default();
        let ban = OperatorBan::new(network("192.0.2.0/24"), Some(60), "noise", 100);
        bans.add(ban, 100).unwrap();
        for (addr, at, covered) in [
            ("192.0.2.9", 100, true),
            ("::ffff:192.0.2.9", 159, true),
            ("192.0.2.9", 160, false),
            ("192.0.3.9", 100, false),
        ] {
            assert_eq!(
                bans.covering(ip(addr), at).is_some(),
                covered,
                "{addr} {at}"
            );
        }
        // Said again, it holds for ever.
        bans.add(
            OperatorBan::new(network("192.0.2.77/24"), None, "", 110),
            110,
        )
        .unwrap();
        assert_eq!(bans.standing(u64::MAX).len(), 1);
        assert!(!bans.remove(network("192.0.2.0/25")));
        assert!(bans.remove(network("192.0.2.0/24")));
        assert_eq!(bans, OperatorBans::default());
    }

    #[test]
    fn there_is_an_end_to_them_and_to_their_reasons() {
        let mut bans = OperatorBans::default();
        let ban = |n: u32, seconds| {
            let host = Network::host(IpAddr::V4(n.into()));
            OperatorBan::new(host, seconds, &"x".repeat(10_000), 0)
        };
        for n in 0..MAX_BANS as u32 {
            bans.add(ban(n, Some(10)), 0).unwrap();
        }
        assert_eq!(bans.add(ban(5_000, None), 0), Err(TooManyBans));
        // The same again is no more, and what has ended makes room.
        bans.add(ban(7, Some(10)), 0).unwrap();
        bans.add(ban(5_000, None), 10).unwrap();
        let standing = bans.standing(10);
        assert_eq!(standing.len(), 1);
        assert_eq!(standing[0].reason.len(), MAX_REASON_CHARS);
    }
}
