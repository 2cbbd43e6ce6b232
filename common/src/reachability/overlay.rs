//! Peers that have a name instead of an address: onion services (version 3) and I2P destinations, reached through a SOCKS5 proxy.
//!
//! Everything else in this program knows peers by socket address. So each name has a stand-in: an IPv6 address in
//! fd6b:88c0:8724::/48, made of the name's hash, as Bitcoin Core's `CNetAddr` has it for names of its own. Nobody can be
//! dialled there, nobody may tell it on the wire, and no answer holds it; only the dial and whoever shows peers to people look
//! the name up. Two names with one stand-in are some 2^40 tries of work for an owner of both, and harm only him.

use std::fmt;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::str::FromStr;

use aws_lc_rs::digest;
use data_encoding::BASE32_NOPAD;

/// The first six bytes of stand-ins: "fd" and the first five of SHA-256("bitcoin").
const PREFIX: [u8; 6] = [0xfd, 0x6b, 0x88, 0xc0, 0x87, 0x24];

/// The first bit after it says of which network the name is.
const I2P_BIT: u8 = 0x80;

/// Version byte of an onion service's name (Tor's rend-spec-v3, section 6).
const ONION_VERSION: u8 = 3;

/// The name of a peer in an overlay network, by the 32 bytes that it stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum OverlayName {
    /// An onion service of version 3: its Ed25519 key.
    Onion([u8; 32]),
    /// A destination of I2P: its SHA-256.
    I2p([u8; 32]),
}

/// The overlay networks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OverlayKind {
    /// Tor's.
    Onion,
    /// I2P.
    I2p,
}

/// The text is no name of an overlay network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NoOverlayName {
    /// Neither kind.
    #[error("a name ends in .onion (56 letters and digits before it) or .b32.i2p (52)")]
    Form,
    /// An onion name whose checksum or version is wrong: mistyped, or of another version.
    #[error("the onion name's checksum or version is wrong: was it typed by hand?")]
    Checksum,
}

impl OverlayName {
    /// The IPv6 address that stands for it.
    pub fn stand_in(&self) -> Ipv6Addr {
        let hash = digest::digest(&digest::SHA256, self.to_string().as_bytes());
        let mut bytes = [0; 16];
        let all = PREFIX.iter().chain(hash.as_ref());
        for (byte, value) in bytes.iter_mut().zip(all) {
            *byte = *value;
        }
        if let Some(first) = bytes.get_mut(PREFIX.len()) {
            *first = match self.kind() {
                OverlayKind::Onion => *first & !I2P_BIT,
                OverlayKind::I2p => *first | I2P_BIT,
            };
        }
        Ipv6Addr::from(bytes)
    }

    /// Its network.
    pub const fn kind(&self) -> OverlayKind {
        match self {
            Self::Onion(_) => OverlayKind::Onion,
            Self::I2p(_) => OverlayKind::I2p,
        }
    }
}

/// Whether an address is the stand-in of some name, and of which network.
pub fn kind_of(ip: IpAddr) -> Option<OverlayKind> {
    let IpAddr::V6(ip) = ip else { return None };
    let bytes = ip.octets();
    let (prefix, rest) = bytes.split_first_chunk()?;
    let is_i2p = rest.first()? & I2P_BIT != 0;
    let kind = if is_i2p {
        OverlayKind::I2p
    } else {
        OverlayKind::Onion
    };
    (*prefix == PREFIX).then_some(kind)
}

/// Whether an address is the stand-in of some name.
pub fn is_stand_in(ip: IpAddr) -> bool {
    kind_of(ip).is_some()
}

fn onion_checksum(key: &[u8; 32]) -> [u8; 2] {
    let mut input = b".onion checksum".to_vec();
    input.extend_from_slice(key);
    input.push(ONION_VERSION);
    let hash = digest::digest(&digest::SHA3_256, &input);
    let mut bytes = hash.as_ref().iter().copied();
    [bytes.next().unwrap_or(0), bytes.next().unwrap_or(0)]
}

impl fmt::Display for OverlayName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lower = |bytes: &[u8]| BASE32_NOPAD.encode(bytes).to_ascii_lowercase();
        match self {
            Self::Onion(key) => {
                let mut bytes = key.to_vec();
                bytes.extend_from_slice(&onion_checksum(key));
                bytes.push(ONION_VERSION);
                write!(f, "{}.onion", lower(&bytes))
            }
            Self::I2p(hash) => write!(f, "{}.b32.i2p", lower(hash)),
        }
    }
}

impl FromStr for OverlayName {
    type Err = NoOverlayName;

    fn from_str(text: &str) -> Result<Self, NoOverlayName> {
        let text = text.to_ascii_lowercase();
        let decode = |label: &str| {
            let label = label.to_ascii_uppercase();
            BASE32_NOPAD.decode(label.as_bytes()).ok()
        };
        if let Some(label) = text.strip_suffix(".b32.i2p") {
            let bytes = decode(label).and_then(|bytes| bytes.try_into().ok());
            return bytes.map(Self::I2p).ok_or(NoOverlayName::Form);
        }
        let label = text.strip_suffix(".onion").ok_or(NoOverlayName::Form)?;
        let bytes = decode(label).ok_or(NoOverlayName::Form)?;
        let bytes = <[u8; 35]>::try_from(bytes).map_err(|_| NoOverlayName::Form)?;
        let (key, rest) = bytes.split_first_chunk().ok_or(NoOverlayName::Form)?;
        let [first, second] = onion_checksum(key);
        if rest == [first, second, ONION_VERSION] {
            Ok(Self::Onion(*key))
        } else {
            Err(NoOverlayName::Checksum)
        }
    }
}

/// Where a peer is, as people write it: an address with port, or a name with port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum PeerAddress {
    /// A socket address.
    Socket(SocketAddr),
    /// A name and a port.
    Named(OverlayName, u16),
}

/// The text says of no peer where it is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is no address with port, such as 192.0.2.1:8333, [2001:db8::1]:8333 or NAME.onion:8333{why}"
)]
pub struct NoPeerAddress {
    text: String,
    why: String,
}

impl PeerAddress {
    /// What the rest of the program knows it by: of a name, its stand-in.
    pub fn key(&self) -> SocketAddr {
        match self {
            Self::Socket(addr) => super::netgroup::canonical_socket(*addr),
            Self::Named(name, port) => SocketAddr::new(name.stand_in().into(), *port),
        }
    }

    /// The name, where it has one.
    pub fn name(&self) -> Option<OverlayName> {
        match self {
            Self::Socket(_) => None,
            Self::Named(name, _) => Some(*name),
        }
    }
}

impl From<SocketAddr> for PeerAddress {
    fn from(addr: SocketAddr) -> Self {
        Self::Socket(addr)
    }
}

impl fmt::Display for PeerAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(addr) => addr.fmt(f),
            Self::Named(name, port) => write!(f, "{name}:{port}"),
        }
    }
}

impl FromStr for PeerAddress {
    type Err = NoPeerAddress;

    fn from_str(text: &str) -> Result<Self, NoPeerAddress> {
        // The longest is a name of 62 characters with a port.
        let wrong = |why: String| NoPeerAddress {
            text: text.chars().take(80).collect(),
            why,
        };
        if let Ok(addr) = text.parse() {
            return Ok(Self::Socket(addr));
        }
        let (name, port) = text.rsplit_once(':').ok_or_else(|| wrong(String::new()))?;
        let port = port.parse().map_err(|_| wrong(String::new()))?;
        match name.parse() {
            Ok(_) if port == 0 => Err(wrong(": nobody listens at port 0".to_owned())),
            Ok(name) => Ok(Self::Named(name, port)),
            Err(NoOverlayName::Form) => Err(wrong(String::new())),
            Err(error @ NoOverlayName::Checksum) => Err(wrong(format!(": {error}"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Two names that others publish: the Tor Project's site and DuckDuckGo's.
    const ONIONS: [&str; 2] = [
        "2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wid.onion",
        "duckduckgogg42xjoc72x3sjasowoarfbgcmvfimaftt6twagswzczad.onion",
    ];

    #[test]
    fn names_of_others_are_read_and_written_as_they_are() {
        for text in ONIONS {
            let name: OverlayName = text.parse().unwrap();
            assert_eq!(name.to_string(), text);
            assert_eq!(text.to_ascii_uppercase().parse(), Ok(name));
        }
        // BIP155's example of a destination.
        let i2p = "ukeu3k5oycgaauneqgtnvselmt4yemvoilkln7jpvamvfx7dnkdq.b32.i2p";
        let name: OverlayName = i2p.parse().unwrap();
        assert_eq!(name.to_string(), i2p);
        assert!(matches!(name, OverlayName::I2p([0xa2, 0x89, ..])));
    }

    #[test]
    fn mistyped_names_are_refused() {
        let mistyped = ONIONS[0].replacen('2', "3", 1);
        assert_eq!(
            mistyped.parse::<OverlayName>(),
            Err(NoOverlayName::Checksum)
        );
        for wrong in [
            "",
            ".onion",
            "x.onion",
            // Version 2 names are no more.
            "expyuzz4wqqyqhjn.onion",
            "a.b32.i2p",
            "example.com",
            "2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wid",
        ] {
            assert_eq!(
                wrong.parse::<OverlayName>(),
                Err(NoOverlayName::Form),
                "{wrong}"
            );
        }
    }

    #[test]
    fn a_stand_in_is_known_for_what_it_is_and_nobody_can_be_dialled_there() {
        let name: OverlayName = ONIONS[0].parse().unwrap();
        let ip = IpAddr::V6(name.stand_in());
        assert!(is_stand_in(ip));
        assert!(!crate::reachability::netgroup::is_routable(ip, true));
        assert!(!is_stand_in("fd6b:88c0:8725::1".parse().unwrap()));
        assert!(!is_stand_in("1.2.3.4".parse().unwrap()));
        // Another name, another stand-in.
        let other: OverlayName = ONIONS[1].parse().unwrap();
        assert_ne!(other.stand_in(), name.stand_in());
        let i2p = OverlayName::I2p([7; 32]);
        assert_ne!(i2p.stand_in(), OverlayName::Onion([7; 32]).stand_in());
        assert_eq!(kind_of(i2p.stand_in().into()), Some(OverlayKind::I2p));
        assert_eq!(kind_of(ip), Some(OverlayKind::Onion));
    }

    #[test]
    fn peers_are_read_as_people_write_them() {
        let read = |text: &str| text.parse::<PeerAddress>();
        let onion = format!("{}:8333", ONIONS[0]);
        let peer = read(&onion).unwrap();
        assert_eq!(peer.to_string(), onion);
        assert_eq!(peer.key().port(), 8333);
        assert!(is_stand_in(peer.key().ip()));
        let socket = read("[::ffff:1.2.3.4]:5").unwrap();
        assert_eq!(socket.key().to_string(), "1.2.3.4:5");
        let no_port = format!("{}:0", ONIONS[0]);
        for wrong in ["1.2.3.4", "example.com:1", ONIONS[0], &no_port, "x:y", ":1"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
        let mistyped = read(&onion.replacen('2', "3", 1)).unwrap_err().to_string();
        assert!(mistyped.contains("typed by hand"), "{mistyped}");
    }

    proptest! {
        #[test]
        fn every_name_comes_back(key in any::<[u8; 32]>(), port in 1..=u16::MAX) {
            for name in [OverlayName::Onion(key), OverlayName::I2p(key)] {
                prop_assert_eq!(kind_of(name.stand_in().into()), Some(name.kind()));
                let peer = PeerAddress::Named(name, port);
                prop_assert_eq!(peer.to_string().parse(), Ok(peer));
            }
        }

        #[test]
        fn no_text_is_too_much(text in ".{0,100}") {
            let _ = text.parse::<PeerAddress>();
        }
    }
}
