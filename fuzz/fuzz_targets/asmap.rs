//! Any bytes as a map of autonomous systems: refused, or every address can be looked up, the same each time, and IPv4 as
//! where it is mapped.
#![no_main]

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use libfuzzer_sys::fuzz_target;
use quantumcoin::reachability::asmap::AsMap;

/// The highest number that the format can hold: `ASN_BIT_SIZES` of Bitcoin Core, 15 to 24 bits one after the other.
const HIGHEST: u32 = 33_521_664;

fuzz_target!(|bytes: &[u8]| {
    let Ok(map) = AsMap::from_bytes(bytes.to_vec()) else {
        return;
    };
    let same = AsMap::from_bytes(bytes.to_vec()).expect("as before");
    let mut bits = 0_u128;
    for (n, byte) in (0_u32..).zip(bytes.iter().chain(&[0, 0xff]).take(64)) {
        // The map's own bytes are as good as any addresses, and lead deep into it.
        bits = (bits << 8 | u128::from(*byte)).rotate_left(n % 3);
        let ip = Ipv6Addr::from(bits);
        let system = map.lookup(IpAddr::V6(ip));
        assert!(system.is_none_or(|system| (1..=HIGHEST).contains(&system)));
        assert_eq!(same.lookup(IpAddr::V6(ip)), system);
        let v4 = Ipv4Addr::from(bits as u32);
        let mapped = IpAddr::V6(v4.to_ipv6_mapped());
        assert_eq!(map.lookup(IpAddr::V4(v4)), map.lookup(mapped));
    }
});
