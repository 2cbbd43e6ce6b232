//! Who may ask for how many visits. Pure: time comes in as an argument.
//!
//! Whoever asks makes this machine dial somebody. So a client has few visits an hour, one host is dialled at few ports (nobody
//! scans ports through us), and all together have an end.

use std::collections::HashMap;
use std::net::IpAddr;

use quantumcoin::network::security::limits::subnet_key;

/// Visits that one client (IPv4 /24, IPv6 /48) may ask for in an hour: an operator's few nodes, and some tries.
const BY_CLIENT: u32 = 10;

/// Visits of one host's ports in an hour.
const OF_HOST: u32 = 5;

/// Visits in an hour, whoever asks: at the usual pace a few seconds of dialling.
const IN_ALL: u32 = 600;

/// Counts the visits of the current hour; holds no more than those.
#[derive(Debug, Default)]
pub(super) struct Allowance {
    hour: i64,
    total: u32,
    by_client: HashMap<IpAddr, u32>,
    of_host: HashMap<IpAddr, u32>,
}

impl Allowance {
    /// Counts a visit of `host` that `client` asks for at `now` (Unix seconds).
    ///
    /// # Errors
    /// It is one too many: seconds until the next hour.
    pub(super) fn take(&mut self, client: IpAddr, host: IpAddr, now: i64) -> Result<(), i64> {
        let hour = now.div_euclid(3_600);
        if hour != self.hour {
            *self = Self {
                hour,
                ..Self::default()
            };
        }
        let (client, host) = (subnet_key(client), host.to_canonical());
        let count = |counts: &HashMap<IpAddr, u32>, ip| counts.get(&ip).copied().unwrap_or(0);
        let (asked, dialled) = (count(&self.by_client, client), count(&self.of_host, host));
        if asked >= BY_CLIENT || dialled >= OF_HOST || self.total >= IN_ALL {
            return Err(3_600 - now.rem_euclid(3_600));
        }
        self.total += 1;
        self.by_client.insert(client, asked + 1);
        self.of_host.insert(host, dialled + 1);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(n: u32) -> IpAddr {
        IpAddr::from((n + (9 << 24)).to_be_bytes())
    }

    fn taken(n: u32, mut take: impl FnMut(u32) -> bool) -> usize {
        (0..n).filter(|n| take(*n)).count()
    }

    #[test]
    fn a_client_a_host_and_all_have_their_share_of_an_hour() {
        let mut a = Allowance::default();
        let client = |n: u32| IpAddr::from([10, n as u8, (n >> 8) as u8, 7]);
        // From one subnet, whatever its last byte.
        let of_one = taken(50, |n| {
            let client = IpAddr::from([10, 0, 0, n as u8]);
            a.take(client, host(n), 10).is_ok()
        });
        assert_eq!(of_one, 10);
        let of_host = taken(50, |n| a.take(client(n + 1), host(99), 10).is_ok());
        assert_eq!(of_host, 5);
        let in_all = taken(1_000, |n| {
            a.take(client(n + 100), host(n + 200), 10).is_ok()
        });
        assert_eq!(in_all, 600 - 15);
        assert_eq!(a.take(client(1), host(9_999), 10), Err(3_590));
        assert_eq!(a.take(client(1), host(9_999), 3_600), Ok(()));
        assert_eq!((a.by_client.len(), a.of_host.len()), (1, 1));
    }
}
