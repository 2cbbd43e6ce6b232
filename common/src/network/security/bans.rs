//! Addresses that proved to be hostile. Bounded, in memory; the oldest ban makes room.

use std::collections::HashMap;
use std::net::IpAddr;
use std::time::{Duration, Instant};

use serde::Serialize;

use super::limits::host_key;

/// Most bans kept; 10,000 × about 100 bytes is 1 MB.
const MAX_BANS: usize = 10_000;

/// How long a proven offence keeps an address out.
pub const BAN_TIME: Duration = Duration::from_secs(24 * 3_600);

/// What a peer did. The first two are proof of hostility; the rest may be a defect and only ends the
/// connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Offence {
    /// A block that breaks a consensus rule.
    InvalidBlock,
    /// A header whose proof of work or difficulty is wrong.
    InvalidHeader,
    /// A transaction that no chain can hold.
    InvalidTransaction,
    /// A message that no honest peer sends.
    Protocol,
    /// Far over the rate limits.
    Flood,
}

impl Offence {
    /// Bounded label for metrics and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::InvalidBlock => "invalid_block",
            Self::InvalidHeader => "invalid_header",
            Self::InvalidTransaction => "invalid_transaction",
            Self::Protocol => "protocol",
            Self::Flood => "flood",
        }
    }

    /// Whether the address is kept out from now on.
    pub fn is_proof(self) -> bool {
        matches!(self, Self::InvalidBlock | Self::InvalidHeader)
    }
}

/// The list. IPv4-mapped IPv6 and the whole IPv6 /64 are matched.
#[derive(Debug, Default)]
pub struct BanList {
    entries: HashMap<IpAddr, (Instant, Offence)>,
}

impl BanList {
    /// Keeps the address out for [`BAN_TIME`].
    pub fn ban(&mut self, ip: IpAddr, offence: Offence, now: Instant) {
        self.entries.retain(|_, (until, _)| *until > now);
        if self.entries.len() >= MAX_BANS
            && let Some(first) = self
                .entries
                .iter()
                .min_by_key(|(_, (until, _))| *until)
                .map(|(ip, _)| *ip)
        {
            self.entries.remove(&first);
        }
        self.entries.insert(host_key(ip), (now + BAN_TIME, offence));
    }

    /// Whether the address is out now, and why.
    pub fn banned(&self, ip: IpAddr, now: Instant) -> Option<Offence> {
        self.entries
            .get(&host_key(ip))
            .filter(|(until, _)| *until > now)
            .map(|(_, offence)| *offence)
    }

    /// How many bans stand.
    pub fn len(&self, now: Instant) -> usize {
        self.entries
            .values()
            .filter(|(until, _)| *until > now)
            .count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ban_covers_the_mapped_address_and_the_64_and_ends() {
        let now = Instant::now();
        let mut bans = BanList::default();
        bans.ban("9.8.7.6".parse().unwrap(), Offence::InvalidBlock, now);
        bans.ban("2001:db8::1".parse().unwrap(), Offence::InvalidHeader, now);
        assert!(
            bans.banned("::ffff:9.8.7.6".parse().unwrap(), now)
                .is_some()
        );
        assert!(
            bans.banned("2001:db8::ffff".parse().unwrap(), now)
                .is_some()
        );
        assert!(
            bans.banned("2001:db8:0:1::1".parse().unwrap(), now)
                .is_none()
        );
        assert!(
            bans.banned("9.8.7.6".parse().unwrap(), now + BAN_TIME)
                .is_none()
        );
    }

    #[test]
    fn the_list_is_bounded() {
        let now = Instant::now();
        let mut bans = BanList::default();
        for n in 0..=MAX_BANS as u32 {
            bans.ban(
                IpAddr::V4((0x0900_0000 + n).into()),
                Offence::InvalidBlock,
                now,
            );
        }
        assert_eq!(bans.len(now), MAX_BANS);
    }
}
