//! The two kinds of labels that carry a value: service filters and host addresses.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use data_encoding::{Encoding, Specification};

/// Service bits of a filter label `xN`: N is hexadecimal without leading zeros, at most 64 bits, and not 0
/// (that would be the apex by another name). One spelling a value, so that caches don't hold copies.
#[must_use]
pub fn filter(label: &[u8]) -> Option<u64> {
    let digits = label
        .strip_prefix(b"x")
        .or_else(|| label.strip_prefix(b"X"))?;
    let canonical = matches!(
        digits.first(),
        Some(b'1'..=b'9' | b'a'..=b'f' | b'A'..=b'F')
    );
    if !canonical || digits.len() > 16 {
        return None;
    }
    let text = std::str::from_utf8(digits).ok()?;
    // `from_str_radix` would take a sign; the first digit is checked above, the rest here.
    text.bytes()
        .all(|byte| byte.is_ascii_hexdigit())
        .then(|| u64::from_str_radix(text, 16).ok())?
}

/// The address that a host label spells: lower-case base32 (RFC 4648, without padding) of its 4 or 16
/// bytes, so that the name can be resolved by computation alone.
#[must_use]
pub fn host(label: &[u8]) -> Option<IpAddr> {
    if !matches!(label.len(), HOST_V4 | HOST_V6) {
        return None;
    }
    let bytes = base32().decode(&label.to_ascii_lowercase()).ok()?;
    if let Ok(v4) = <[u8; 4]>::try_from(bytes.as_slice()) {
        return Some(Ipv4Addr::from(v4).into());
    }
    <[u8; 16]>::try_from(bytes.as_slice())
        .ok()
        .map(|v6| Ipv6Addr::from(v6).into())
}

/// Characters of host labels: base32 has five bits in each.
const HOST_V4: usize = 7;
const HOST_V6: usize = 26;

/// The host label of an address: 7 characters for IPv4, 26 for IPv6.
#[must_use]
pub fn of_host(ip: IpAddr) -> String {
    match ip {
        IpAddr::V4(v4) => base32().encode(&v4.octets()),
        IpAddr::V6(v6) => base32().encode(&v6.octets()),
    }
}

/// Decoding is strict: unused bits must be zero, so each address has one label only.
fn base32() -> &'static Encoding {
    static BASE32: std::sync::LazyLock<Encoding> = std::sync::LazyLock::new(|| {
        let mut specification = Specification::new();
        specification
            .symbols
            .push_str("abcdefghijklmnopqrstuvwxyz234567");
        #[expect(
            clippy::expect_used,
            reason = "a constant alphabet of 32 distinct symbols is valid"
        )]
        specification.encoding().expect("valid alphabet")
    });
    &BASE32
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn filters_have_one_spelling() {
        assert_eq!(filter(b"x9"), Some(9));
        assert_eq!(filter(b"X49"), Some(0x49));
        assert_eq!(filter(b"xC08"), Some(0xc08));
        assert_eq!(filter(b"xffffffffffffffff"), Some(u64::MAX));
        let wrong: [&[u8]; 9] = [
            b"x",
            b"x0",
            b"x09",
            b"9",
            b"x+9",
            b"x9+",
            b"x10000000000000000",
            b"xg",
            b"x9\xff",
        ];
        for label in wrong {
            assert_eq!(filter(label), None, "{label:?}");
        }
    }

    #[test]
    fn host_labels_are_base32_of_the_address() {
        assert_eq!(of_host(IpAddr::from([127, 0, 0, 1])), "p4aaaai");
        assert_eq!(host(b"P4AAAAI"), Some(IpAddr::from([127, 0, 0, 1])));
        assert_eq!(host(b"p4aaaaj"), None, "unused bits must be zero");
        assert_eq!(host(b"p4aaaa"), None);
        assert_eq!(host(b"ns1"), None);
        assert_eq!(host(b""), None);
    }

    proptest! {
        #[test]
        fn host_labels_round_trip(bytes in any::<[u8; 16]>(), v4 in any::<[u8; 4]>()) {
            for ip in [IpAddr::from(bytes), IpAddr::from(v4)] {
                prop_assert_eq!(host(of_host(ip).as_bytes()), Some(ip));
            }
        }

        #[test]
        fn any_label_is_read_without_panic(label in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Some(ip) = host(&label) {
                prop_assert_eq!(of_host(ip).into_bytes(), label.to_ascii_lowercase());
            }
            if let Some(bits) = filter(&label) {
                prop_assert_eq!(format!("x{bits:x}").into_bytes(), label.to_ascii_lowercase());
            }
        }
    }
}
