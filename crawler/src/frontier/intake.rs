//! Which new addresses are believed: capped for each source peer, each source netgroup and each hour.
//!
//! Pure: time comes in as an argument. Operators' own sources (DNS seeds, bootstrap nodes, by hand) are not
//! capped here; each is bounded where it is read.

use std::collections::HashMap;
use std::net::SocketAddr;

use quantumcoin::reachability::Netgroup;

use crate::config::IntakeLimits;

/// Counts new addresses of the current hour. Memory is bounded by the peers probed in an hour.
#[derive(Debug)]
pub struct Intake {
    limits: IntakeLimits,
    hour: i64,
    total: u32,
    by_peer: HashMap<SocketAddr, u32>,
    by_netgroup: HashMap<Netgroup, u32>,
}

impl Intake {
    /// Nothing counted yet.
    pub fn new(limits: IntakeLimits) -> Self {
        Self {
            limits,
            hour: i64::MIN,
            total: 0,
            by_peer: HashMap::new(),
            by_netgroup: HashMap::new(),
        }
    }

    /// Whether one more new address of `source` is believed at `now`; counts it if so.
    pub fn admit(&mut self, source: SocketAddr, now: i64) -> bool {
        let hour = now.div_euclid(3600);
        if hour != self.hour {
            *self = Self {
                hour,
                ..Self::new(self.limits)
            };
        }
        let peer = self.by_peer.entry(source).or_default();
        let netgroup = self
            .by_netgroup
            .entry(Netgroup::of(source.ip()))
            .or_default();
        let admitted = *peer < self.limits.per_peer_hour
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
            .map(|_| u32::from(intake.admit(source, now)))
            .sum()
    }

    #[test]
    fn peer_netgroup_and_hour_each_have_a_cap() {
        let limits = IntakeLimits {
            per_peer_hour: 10,
            per_netgroup_hour: 25,
            per_hour: 60,
            ..IntakeLimits::default()
        };
        let mut intake = Intake::new(limits);
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
