//! Which addresses belong together, and which may be dialled at all.
//!
//! An attacker gets many addresses inside one allocation cheaply, and few across allocations. So diversity
//! is counted by netgroup: an IPv4 /16 or an IPv6 /32, as in Bitcoin Core's address manager. IPv4-mapped
//! IPv6 is IPv4 everywhere: [`canonical`] and [`canonical_socket`] come first.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use super::asmap::AsMap;
use super::overlay::is_stand_in;

/// Addresses that probably have one owner: an IPv4 /16 or an IPv6 /32.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Netgroup {
    /// First two octets.
    V4([u8; 2]),
    /// First four octets.
    V6([u8; 4]),
    /// An autonomous system, where a map tells it.
    As(u32),
}

impl Netgroup {
    /// The group of an address; IPv4-mapped IPv6 is treated as IPv4.
    pub fn of(ip: IpAddr) -> Self {
        match canonical(ip) {
            IpAddr::V4(ip) => {
                let [a, b, _, _] = ip.octets();
                Self::V4([a, b])
            }
            IpAddr::V6(ip) => {
                let [a, b, c, d, ..] = ip.octets();
                Self::V6([a, b, c, d])
            }
        }
    }
}

impl fmt::Display for Netgroup {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::V4([a, b]) => write!(f, "{a}.{b}.0.0/16"),
            Self::V6([a, b, c, d]) => {
                let (hi, lo) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
                write!(f, "{}/32", Ipv6Addr::new(hi, lo, 0, 0, 0, 0, 0, 0))
            }
            Self::As(number) => write!(f, "AS{number}"),
        }
    }
}

/// Tells which autonomous system announces an address: a map or a database of an operator's.
pub trait Systems: fmt::Debug + Send + Sync {
    /// Its number, where it is known.
    fn system_of(&self, ip: IpAddr) -> Option<u32>;
}

impl Systems for AsMap {
    fn system_of(&self, ip: IpAddr) -> Option<u32> {
        // A map says something of every address; what nobody can have is nobody's.
        let known = is_routable(ip, false);
        known.then(|| self.lookup(ip)).flatten()
    }
}

/// Netgroups as this node counts them: by AS where it has a map that knows the address, else [`Netgroup::of`].
#[derive(Debug, Clone, Default)]
pub struct Netgroups(Option<Arc<dyn Systems>>);

impl Netgroups {
    /// By this map.
    #[must_use]
    pub fn by_as(map: impl Systems + 'static) -> Self {
        Self(Some(Arc::new(map)))
    }

    /// The group of an address.
    #[must_use]
    pub fn of(&self, ip: IpAddr) -> Netgroup {
        let number = self.0.as_ref().and_then(|map| map.system_of(canonical(ip)));
        number.map_or_else(|| Netgroup::of(ip), Netgroup::As)
    }
}

/// IPv4-mapped IPv6 (`::ffff:a.b.c.d`) as IPv4, anything else unchanged.
pub fn canonical(ip: IpAddr) -> IpAddr {
    ip.to_canonical()
}

/// [`canonical`] for a socket address; an IPv6 flow label and scope are dropped, since they mean nothing to
/// anybody else.
pub fn canonical_socket(addr: SocketAddr) -> SocketAddr {
    SocketAddr::new(canonical(addr.ip()), addr.port())
}

/// Whether a peer may live there.
///
/// Port 0 never; reserved ranges (RFC 6890 and its registry) never, except that `allow_private` admits
/// loopback, private (RFC 1918, RFC 4193) and link-local IPv4 addresses for devnets.
pub fn is_dialable(addr: SocketAddr, allow_private: bool) -> bool {
    addr.port() != 0 && is_routable(addr.ip(), allow_private)
}

/// [`is_dialable`] without the port.
pub fn is_routable(ip: IpAddr, allow_private: bool) -> bool {
    match canonical(ip) {
        IpAddr::V4(ip) => routable_v4(ip, allow_private),
        IpAddr::V6(ip) => routable_v6(ip, allow_private),
    }
}

fn routable_v4(ip: Ipv4Addr, allow_private: bool) -> bool {
    let [a, b, c, _] = ip.octets();
    if ip.is_loopback() || ip.is_private() || ip.is_link_local() {
        return allow_private;
    }
    let reserved = a == 0                              // "this network", RFC 791
        || (a == 100 && (64..128).contains(&b))        // carrier-grade NAT, RFC 6598
        || (a == 192 && b == 0 && c == 0)              // protocol assignments, RFC 6890
        || (a == 192 && b == 88 && c == 99)            // former 6to4 relays, RFC 7526
        || (a == 198 && (b == 18 || b == 19))          // benchmarks, RFC 2544
        || ip.is_documentation()                       // RFC 5737
        || a >= 224; // multicast, class E, broadcast
    !reserved
}

fn routable_v6(ip: Ipv6Addr, allow_private: bool) -> bool {
    let [a, b, c, ..] = ip.segments();
    if ip.is_loopback() || (a & 0xfe00) == 0xfc00 {
        // Nobody is where a name's stand-in points.
        return allow_private && !is_stand_in(ip.into());
    }
    // Only 2000::/3 is allocated for global unicast (RFC 4291); this also excludes the translation
    // prefixes, link-local, site-local and multicast.
    let global = (a & 0xe000) == 0x2000;
    let reserved = (a == 0x2001 && b == 0)             // Teredo, RFC 4380: holds any IPv4 address
        || (a == 0x2001 && b == 2 && c == 0)           // benchmarks, RFC 5180
        || (a == 0x2001 && (b & 0xfff0) == 0x10)       // ORCHID, RFC 4843
        || (a == 0x2001 && (b & 0xfff0) == 0x20)       // ORCHIDv2, RFC 7343
        || (a == 0x2001 && b == 0xdb8)                 // documentation, RFC 3849
        || a == 0x2002                                 // 6to4, RFC 7526: holds any IPv4 address
        || (a == 0x3fff && b < 0x1000); // documentation, RFC 9637
    global && !reserved
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn groups_by_16_and_32_and_maps_ipv4() {
        assert_eq!(Netgroup::of(ip("1.2.3.4")).to_string(), "1.2.0.0/16");
        assert_eq!(
            Netgroup::of(ip("::ffff:1.2.9.9")),
            Netgroup::of(ip("1.2.3.4"))
        );
        assert_eq!(
            Netgroup::of(ip("2a01:4f8:1::1")).to_string(),
            "2a01:4f8::/32"
        );
        assert_eq!(
            Netgroup::of(ip("2a01:4f8:ffff::1")),
            Netgroup::of(ip("2a01:4f8::2"))
        );
        assert_ne!(
            Netgroup::of(ip("2a01:4f9::1")),
            Netgroup::of(ip("2a01:4f8::1"))
        );
    }

    #[test]
    fn a_map_groups_by_system_and_what_nobody_can_have_stays_as_it_is() {
        // RETURN 5: a 0, a 0 for fifteen bits, and 4 in those.
        let map = AsMap::from_bytes(vec![0, 0x40, 0]).unwrap();
        let groups = Netgroups::by_as(map);
        assert_eq!(groups.of(ip("8.8.8.8")).to_string(), "AS5");
        assert_eq!(groups.of(ip("::ffff:8.8.8.8")), groups.of(ip("2a01::1")));
        assert_eq!(groups.of(ip("127.0.0.1")), Netgroup::V4([127, 0]));
        let none = Netgroups::default();
        assert_eq!(none.of(ip("8.8.8.8")), Netgroup::of(ip("8.8.8.8")));
    }

    #[test]
    fn public_addresses_are_routable() {
        for text in [
            "8.8.8.8",
            "100.63.0.1",
            "172.32.0.1",
            "2a01:4f8::1",
            "2001:4860::8888",
        ] {
            assert!(is_routable(ip(text), false), "{text}");
        }
    }

    #[test]
    fn reserved_addresses_never_are() {
        let never = [
            "0.0.0.0",
            "0.1.2.3",
            "100.64.0.1",
            "192.0.0.1",
            "192.0.2.1",
            "192.88.99.1",
            "198.18.0.1",
            "198.51.100.1",
            "203.0.113.9",
            "224.0.0.1",
            "240.0.0.1",
            "255.255.255.255",
            "::",
            "ff02::1",
            "fe80::1",
            "fec0::1",
            "64:ff9b::808:808",
            "2001::1",
            "2002:808:808::1",
            "2001:db8::1",
            "3fff::1",
            "::ffff:192.0.2.1",
            "2001:2::1",
            "2001:20::1",
            "100::1",
        ];
        for text in never {
            assert!(!is_routable(ip(text), true), "{text}");
        }
    }

    #[test]
    fn private_addresses_only_on_a_devnet() {
        for text in [
            "127.0.0.1",
            "10.0.0.1",
            "192.168.1.1",
            "172.16.0.1",
            "169.254.1.1",
            "::1",
            "fd00::1",
        ] {
            assert!(!is_routable(ip(text), false), "{text}");
            assert!(is_routable(ip(text), true), "{text}");
        }
        assert!(!is_routable(ip("::ffff:127.0.0.1"), false));
        assert!(!is_dialable("8.8.8.8:0".parse().unwrap(), true));
    }
}
