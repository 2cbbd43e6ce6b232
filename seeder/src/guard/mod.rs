//! What keeps the server from being used against others, and others from using it up.
//!
//! [`cookie`] tells clients that have shown their address from sources that anybody may have forged; [`rate`] bounds what the
//! others get.

pub mod cookie;
pub mod rate;

use std::net::IpAddr;

/// The network of a client: /24 or /56, the sizes that one customer gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Network([u8; 7]);

impl Network {
    /// The network that `client` is in.
    #[must_use]
    pub fn of(client: IpAddr) -> Self {
        Self(match client.to_canonical() {
            IpAddr::V4(v4) => {
                let [a, b, c, _] = v4.octets();
                // 0xff marks IPv4: no global IPv6 address starts with it (ff00::/8 is multicast).
                [0xff, a, b, c, 0, 0, 0]
            }
            IpAddr::V6(v6) => {
                let [a, b, c, d, e, f, g, ..] = v6.octets();
                [a, b, c, d, e, f, g]
            }
        })
    }

    /// As bytes, for hashing.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_customer_is_one_network() {
        let net = |text: &str| Network::of(text.parse().unwrap());
        assert_eq!(net("192.0.2.1"), net("192.0.2.200"));
        assert_eq!(net("192.0.2.1"), net("::ffff:192.0.2.9"));
        assert_ne!(net("192.0.2.1"), net("192.0.3.1"));
        assert_eq!(net("2001:db8:1:ff00::1"), net("2001:db8:1:ffff::1"));
        assert_ne!(net("2001:db8:1:100::1"), net("2001:db8:1:200::1"));
    }
}
