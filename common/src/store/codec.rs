//! Socket addresses as the columns `net`, `address` and `port`; see the schema for their meaning.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::StoreError;
use crate::reachability::netgroup::canonical_socket;

/// The three columns of an address.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct AddressColumns {
    pub(super) net: i64,
    pub(super) address: Vec<u8>,
    pub(super) port: i64,
}

pub(super) fn to_columns(addr: SocketAddr) -> AddressColumns {
    let addr = canonical_socket(addr);
    let (net, address) = match addr.ip() {
        IpAddr::V4(ip) => (4, ip.octets().to_vec()),
        IpAddr::V6(ip) => (6, ip.octets().to_vec()),
    };
    AddressColumns {
        net,
        address,
        port: i64::from(addr.port()),
    }
}

pub(super) fn from_columns(net: i64, address: &[u8], port: i64) -> Result<SocketAddr, StoreError> {
    let bad = |reason: &str| StoreError::Value {
        column: "address",
        reason: reason.to_owned(),
    };
    let ip: IpAddr = match net {
        4 => Ipv4Addr::from(<[u8; 4]>::try_from(address).map_err(|_| bad("not 4 bytes"))?).into(),
        6 => Ipv6Addr::from(<[u8; 16]>::try_from(address).map_err(|_| bad("not 16 bytes"))?).into(),
        _ => return Err(bad("unknown net")),
    };
    Ok(SocketAddr::new(
        ip,
        u16::try_from(port).map_err(|_| bad("port out of range"))?,
    ))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn round_trip(ip in any::<IpAddr>(), port in any::<u16>()) {
            let addr = SocketAddr::new(ip, port);
            let c = to_columns(addr);
            prop_assert_eq!(from_columns(c.net, &c.address, c.port).unwrap(), canonical_socket(addr));
        }
    }

    #[test]
    fn mapped_ipv4_is_ipv4_and_bad_columns_are_refused() {
        assert_eq!(to_columns("[::ffff:1.2.3.4]:5".parse().unwrap()).net, 4);
        assert!(from_columns(4, &[1, 2, 3], 1).is_err());
        assert!(from_columns(7, &[1; 4], 1).is_err());
        assert!(from_columns(4, &[1; 4], 70_000).is_err());
    }
}
