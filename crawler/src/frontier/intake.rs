//! Which new addresses are believed: capped for each source peer, each source netgroup and each hour.
//!
//! Pure: time comes in as an argument. Operators' own sources (DNS seeds, bootstrap nodes, by hand) are not
//! capped here; each is bounded where it is read.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};

use quantumcoin::reachability::{Netgroup, Netgroups};

use crate::config::IntakeLimits;

/// With fewer addresses known than this, a peer may tell as many new ones as a message holds.
pub const FEW_KNOWN: usize = 5_000;

/// Addresses in one `addrv2` message (BIP155).
const WHOLE_ANSWER: u32 = 1_000;

/// Counts new addresses of the current hour. Memory is bounded by the peers probed in an hour.
#[derive(Debug)]
pub struct Intake {
    limits: IntakeLimits,
    netgroups: Netgroups,
    hour: i64,
    total: u32,
    by_peer: HashMap<SocketAddr, u32>,
    by_netgroup: HashMap<Netgroup, u32>,
}

impl Intake {
    /// Nothing counted yet.
    pub fn new(limits: IntakeLimits, netgroups: Netgroups) -> Self {
        Self {
            limits,
            netgroups,
            hour: i64::MIN,
            total: 0,
            by_peer: HashMap::new(),
            by_netgroup: HashMap::new(),
        }
    }

    /// Goes on with other limits, and netgroups as others say.
    pub fn change(&mut self, limits: IntakeLimits, netgroups: Netgroups) {
        (self.limits, self.netgroups) = (limits, netgroups);
    }

    /// The netgroup of an address.
    pub fn netgroup(&self, ip: IpAddr) -> Netgroup {
        self.netgroups.of(ip)
    }

    /// Whether one more new address of `source` is believed at `now`, when so many are known; counts it if so.
    pub fn admit(&mut self, source: SocketAddr, known: usize, now: i64) -> bool {
        let hour = now.div_euclid(3600);
        if hour != self.hour {
            *self = Self {
                hour,
                ..Self::new(self.limits, self.netgroups.clone())
            };
        }
        let peer = self.by_peer.entry(source).or_default();
        let group = self.netgroups.of(source.ip());
        let netgroup = self.by_netgroup.entry(group).or_default();
        // As long as few are known, a peer's whole answer may be news.
        let of_peer = if known < FEW_KNOWN {
            self.limits.per_peer_hour.max(WHOLE_ANSWER)
        } else {
            self.limits.per_peer_hour
        };
        let admitted = *peer < of_peer
            && *netgroup < self.limits.per_netgroup_hour
            && self.total < self.limits.per_hour;
        if admitted {
            *peer += 1;
            *netgroup += 1;
            self.total += 1;
        }
        admitted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(n: u8, group: u8) -> SocketAddr {
        SocketAddr::from(([9, group, 0, n], 1))
    }

    fn admitted(intake: &mut Intake, source: SocketAddr, offered: u32, now: i64) -> u32 {
        (0..offered)
            .map(|_| u32::from(intake.admit(source, FEW_KNOWN, now)))
            .sum()
    }

    #[test]
    fn the_first_to_be_asked_may_tell_more() {
        let mut intake = Intake::new(IntakeLimits::default(), Netgroups::default());
        let of = |intake: &mut Intake, source, known| {
            let admitted = (0..2_000).filter(|_| intake.admit(source, known, 0));
            admitted.count()
        };
        assert_eq!(of(&mut intake, source(1, 1), FEW_KNOWN - 1), 1_000);
        assert_eq!(of(&mut intake, source(2, 1), FEW_KNOWN), 100);
    }

    #[test]
    fn peer_netgroup_and_hour_each_have_a_cap() {
        let limits = IntakeLimits {
            per_peer_hour: 10,
            per_netgroup_hour: 25,
            per_hour: 60,
            ..IntakeLimits::default()
        };
        let mut intake = Intake::new(limits, Netgroups::default());
        assert_eq!(admitted(&mut intake, source(1, 1), 50, 0), 10);
        assert_eq!(admitted(&mut intake, source(2, 1), 50, 0), 10);
        assert_eq!(
            admitted(&mut intake, source(3, 1), 50, 0),
            5,
            "the netgroup is full"
        );
        let elsewhere: u32 = (2..20)
            .map(|group| admitted(&mut intake, source(1, group), 50, 3_599))
            .sum();
        assert_eq!(elsewhere, 35, "the hour is full");
        assert_eq!(
            admitted(&mut intake, source(1, 1), 50, 3_600),
            10,
            "a new hour"
        );
    }
}
