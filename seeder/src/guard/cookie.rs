//! DNS cookies (RFC 7873) in the interoperable form of RFC 9018.
//!
//! ```text
//! server cookie = version 1 | three zero bytes | Unix time (4) | SipHash-2-4(client cookie | the above | client's address)
//! ```
//!
//! No state is kept: whoever brings back what we gave to his address has received it there. Servers of one anycast
//! address share a secret by configuration.

use std::{hash::Hasher, net::IpAddr};

use siphasher::sip::SipHasher24;

use crate::wire::{query::Cookie, reply::COOKIE};

/// The version of RFC 9018, 4.1, and the reserved bytes.
const VERSION: [u8; 4] = [1, 0, 0, 0];

/// How old a cookie may be, in seconds, and how far ahead of our clock (RFC 9018, 4.3).
const MAX_AGE: u32 = 3600;
const MAX_AHEAD: u32 = 300;

/// Makes and checks server cookies.
#[derive(Clone)]
pub struct Cookies {
    hasher: SipHasher24,
}

impl std::fmt::Debug for Cookies {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Cookies")
    }
}

impl Cookies {
    /// With a secret that only our servers know.
    #[must_use]
    pub fn new(secret: &[u8; 16]) -> Self {
        Self {
            hasher: SipHasher24::new_with_key(secret),
        }
    }

    /// Client's and server's part, as the client shall bring it back. `now` is the low half of Unix time in seconds.
    #[must_use]
    pub fn make(&self, client: [u8; 8], addr: IpAddr, now: u32) -> [u8; COOKIE] {
        let hash = self.hash(client, VERSION, now, addr);
        let parts = client.into_iter().chain(VERSION);
        let parts = parts.chain(now.to_be_bytes()).chain(hash);
        let mut cookie = [0; COOKIE];
        for (byte, value) in cookie.iter_mut().zip(parts) {
            *byte = value;
        }
        cookie
    }

    /// Whether the client at `addr` got this cookie from us, not too long ago.
    #[must_use]
    pub fn is_ours(&self, cookie: &Cookie, addr: IpAddr, now: u32) -> bool {
        let Some([v0, v1, v2, v3, t0, t1, t2, t3, hash @ ..]) = cookie.server else {
            return false;
        };
        let made = u32::from_be_bytes([t0, t1, t2, t3]);
        // Serial arithmetic (RFC 1982): the age in either direction, whatever the clock's high bits.
        let age = now.wrapping_sub(made);
        let fresh = age <= MAX_AGE || made.wrapping_sub(now) <= MAX_AHEAD;
        // Guessing the hash by timing takes more queries than the rate limit lets through in the hour that it is good for.
        // The reserved bytes are covered by the hash, whatever they are (RFC 9018, 4.2).
        let head = [v0, v1, v2, v3];
        fresh && v0 == VERSION[0] && hash == self.hash(cookie.client, head, made, addr)
    }

    fn hash(&self, client: [u8; 8], head: [u8; 4], time: u32, addr: IpAddr) -> [u8; 8] {
        let mut hasher = self.hasher;
        for part in [&client[..], &head, &time.to_be_bytes()] {
            hasher.write(part);
        }
        match addr.to_canonical() {
            IpAddr::V4(addr) => hasher.write(&addr.octets()),
            IpAddr::V6(addr) => hasher.write(&addr.octets()),
        }
        hasher.finish().to_le_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes<const N: usize>(hex: &str) -> [u8; N] {
        data_encoding::HEXLOWER
            .decode(hex.as_bytes())
            .unwrap()
            .try_into()
            .unwrap()
    }

    /// The examples of RFC 9018, appendix A.
    #[test]
    fn the_examples_of_the_standard() {
        let cookies = Cookies::new(&bytes("e5e973e5a6b2a43f48e7dc849e37bfcf"));
        let client = bytes("2464c4abcf10c957");
        let addr = IpAddr::from([198, 51, 100, 100]);
        let made = cookies.make(client, addr, 1_559_731_985);
        assert_eq!(
            made,
            bytes("2464c4abcf10c957010000005cf79f111f8130c3eee29480")
        );

        let other = Cookie {
            client: bytes("fc93fc62807ddb86"),
            server: Some(bytes("01abcdef5cf78f71a314227b6679ebf5")),
        };
        let addr = IpAddr::from([203, 0, 113, 203]);
        assert!(
            cookies.is_ours(&other, addr, 1_559_728_000),
            "reserved bytes as they came"
        );
        assert_eq!(
            cookies.make(other.client, addr, 1_559_734_700),
            bytes("fc93fc62807ddb86010000005cf7a9acf73a7810aca2381e")
        );

        let six = "2001:db8:220:1:59de:d0f4:8769:82b8".parse().unwrap();
        let old = Cookie {
            client: bytes("22681ab97d52c298"),
            server: Some(bytes("010000005cf7c57926556bd0934c72f8")),
        };
        let before = Cookies::new(&bytes("dd3bdf9344b678b185a6f5cb60fca715"));
        assert!(before.is_ours(&old, six, 1_559_741_961));
        let after = Cookies::new(&bytes("445536bcd2513298075a5d379663c962"));
        assert!(!after.is_ours(&old, six, 1_559_741_961));
        assert_eq!(
            after.make(old.client, six, 1_559_741_961),
            bytes("22681ab97d52c298010000005cf7c609a6bb79d16625507a")
        );
    }

    #[test]
    fn a_cookie_is_good_for_its_address_for_an_hour() {
        let cookies = Cookies::new(&[7; 16]);
        let addr = IpAddr::from([192, 0, 2, 1]);
        let now = 1_800_000_000;
        let made = cookies.make([1; 8], addr, now);
        let cookie = Cookie {
            client: [1; 8],
            server: made[8..].try_into().ok(),
        };
        for (addr, at, ours) in [
            ("192.0.2.1", now, true),
            ("::ffff:192.0.2.1", now, true),
            ("192.0.2.1", now + MAX_AGE, true),
            ("192.0.2.1", now + MAX_AGE + 1, false),
            ("192.0.2.1", now - MAX_AHEAD, true),
            ("192.0.2.1", now - MAX_AHEAD - 1, false),
            ("192.0.2.2", now, false),
            ("2001:db8::1", now, false),
        ] {
            let found = cookies.is_ours(&cookie, addr.parse().unwrap(), at);
            assert_eq!(found, ours, "{addr} {at}");
        }
        for index in 0..24 {
            let mut changed = made;
            changed[index] ^= 1;
            let cookie = Cookie {
                client: changed[..8].try_into().unwrap(),
                server: changed[8..].try_into().ok(),
            };
            assert!(!cookies.is_ours(&cookie, addr, now), "byte {index}");
        }
        let bare = Cookie {
            client: [1; 8],
            server: None,
        };
        assert!(!cookies.is_ours(&bare, addr, now));
        assert!(
            !Cookies::new(&[8; 16]).is_ours(&cookie, addr, now),
            "another secret"
        );
    }
}
