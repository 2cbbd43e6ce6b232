//! When to visit a peer again, and when to forget it.
//!
//! Good peers come round every 20 to 30 minutes, spread by a keyed jitter so that nobody can predict the
//! visit and the visits do not bunch. Failing ones back off exponentially to a day. An address that never
//! passed is forgotten after a number of tries, one that passed once after a month of silence.

use std::hash::Hasher;
use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher24;

use super::Outcome;

/// The intervals. All are seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SchedulePolicy {
    /// Shortest time to the next visit after a pass.
    pub good_min_secs: u32,
    /// Longest time to the next visit after a pass.
    pub good_max_secs: u32,
    /// Time to the next visit after the first failure; doubles with each further one.
    pub backoff_first_secs: u32,
    /// Longest time to the next visit after a failure.
    pub backoff_cap_secs: u32,
    /// Failed tries after which an address that never passed is forgotten.
    pub expire_after_tries: u32,
    /// Time since the last pass after which an address is forgotten.
    pub dead_after_secs: u32,
}

impl Default for SchedulePolicy {
    /// The project's crawl rules: 20 to 30 minutes, 30 minutes doubling to 24 hours. Five tries without a
    /// pass take about a day with that back-off; a month is the longest reliability window.
    fn default() -> Self {
        Self {
            good_min_secs: 20 * 60,
            good_max_secs: 30 * 60,
            backoff_first_secs: 30 * 60,
            backoff_cap_secs: 24 * 3600,
            expire_after_tries: 6,
            dead_after_secs: 30 * 86_400,
        }
    }
}

/// What is to be done after a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Visit again at this time, Unix seconds.
    At(i64),
    /// Forget the address.
    Forget,
}

/// What the schedule must know about an address after a probe.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct History {
    /// How the probe ended.
    pub outcome: Outcome,
    /// Failures in a row, this probe included.
    pub failures: u32,
    /// When a probe last passed, this one included; `None` if never.
    pub last_ok_at: Option<i64>,
}

/// Decides what follows a probe that ended at `now`.
pub fn next(policy: &SchedulePolicy, history: &History, now: i64, jitter: Jitter) -> Next {
    match history.outcome {
        Outcome::Ok => {
            let low = policy.good_min_secs.min(policy.good_max_secs);
            let span = policy.good_max_secs.saturating_sub(low);
            Next::At(now.saturating_add(i64::from(low) + jitter.below(span)))
        }
        // Ourselves: never worth another visit.
        Outcome::SelfConnection => Next::Forget,
        // Says nothing about the peer: come back at the first interval and count nothing.
        Outcome::LocalNetworkDown | Outcome::ProxyDown => {
            Next::At(now.saturating_add(i64::from(policy.backoff_first_secs.clamp(1, 60))))
        }
        _ if is_hopeless(policy, history, now) => Next::Forget,
        _ => Next::At(now.saturating_add(backoff(policy, history.failures, jitter))),
    }
}

fn is_hopeless(policy: &SchedulePolicy, history: &History, now: i64) -> bool {
    match history.last_ok_at {
        None => history.failures >= policy.expire_after_tries,
        Some(at) => now.saturating_sub(at) > i64::from(policy.dead_after_secs),
    }
}

/// `first * 2^(failures - 1)`, capped, less up to a tenth of jitter so that it stays under the cap.
fn backoff(policy: &SchedulePolicy, failures: u32, jitter: Jitter) -> i64 {
    // 2^31 seconds exceed any cap that a u32 holds, so more doublings change nothing.
    let doublings = failures.saturating_sub(1).min(31);
    let full = (u64::from(policy.backoff_first_secs) << doublings)
        .min(u64::from(policy.backoff_cap_secs))
        .max(1);
    let full = u32::try_from(full).unwrap_or(u32::MAX);
    i64::from(full) - jitter.below(full / 10)
}

/// A number that an outsider cannot predict: a keyed hash of an address and a time.
#[derive(Debug, Clone, Copy)]
pub struct Jitter(u64);

impl Jitter {
    /// SipHash-2-4 under the crawler's own random key.
    pub fn new(key: &[u8; 16], addr: SocketAddr, now: i64) -> Self {
        let mut hasher = SipHasher24::new_with_key(key);
        match addr.ip() {
            IpAddr::V4(ip) => hasher.write(&ip.octets()),
            IpAddr::V6(ip) => hasher.write(&ip.octets()),
        }
        hasher.write_u16(addr.port());
        hasher.write_i64(now);
        Self(hasher.finish())
    }

    /// A value in `0..=span`.
    fn below(self, span: u32) -> i64 {
        i64::try_from(self.0 % (u64::from(span) + 1)).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn jitter(n: u8) -> Jitter {
        Jitter::new(&[n; 16], "1.2.3.4:8333".parse().unwrap(), 1_000)
    }

    fn failed(failures: u32, last_ok_at: Option<i64>) -> History {
        History {
            outcome: Outcome::Refused,
            failures,
            last_ok_at,
        }
    }

    fn delay(history: &History) -> i64 {
        match next(&SchedulePolicy::default(), history, 1_000, jitter(1)) {
            Next::At(at) => at - 1_000,
            Next::Forget => panic!("forgotten"),
        }
    }

    #[test]
    fn good_peers_come_round_in_20_to_30_minutes_and_spread() {
        let history = History {
            outcome: Outcome::Ok,
            failures: 0,
            last_ok_at: Some(1_000),
        };
        let delays: std::collections::BTreeSet<i64> = (0..100u8)
            .map(
                |n| match next(&SchedulePolicy::default(), &history, 0, jitter(n)) {
                    Next::At(at) => at,
                    Next::Forget => panic!("forgotten"),
                },
            )
            .collect();
        assert!(delays.iter().all(|d| (1_200..=1_800).contains(d)));
        assert!(
            delays.len() > 50,
            "jitter must spread, got {} values",
            delays.len()
        );
    }

    #[test]
    fn failures_double_up_to_a_day() {
        let ok = Some(900);
        for (failures, full) in [
            (1, 1_800),
            (2, 3_600),
            (3, 7_200),
            (6, 57_600),
            (7, 86_400),
            (500, 86_400),
        ] {
            let got = delay(&failed(failures, ok));
            assert!(
                got <= full && got >= full - full / 10,
                "{failures}: {got} of {full}"
            );
        }
    }

    #[test]
    fn forgets_what_never_passed_and_what_died() {
        let policy = SchedulePolicy::default();
        let at = |h: &History, now| next(&policy, h, now, jitter(1));
        assert!(matches!(at(&failed(5, None), 0), Next::At(_)));
        assert_eq!(at(&failed(6, None), 0), Next::Forget);
        assert!(matches!(at(&failed(60, Some(0)), 30 * 86_400), Next::At(_)));
        assert_eq!(at(&failed(60, Some(0)), 30 * 86_400 + 1), Next::Forget);
    }

    #[test]
    fn our_own_outage_forgets_nobody() {
        let history = History {
            outcome: Outcome::LocalNetworkDown,
            failures: 99,
            last_ok_at: None,
        };
        let next = next(&SchedulePolicy::default(), &history, 0, jitter(1));
        assert!(matches!(next, Next::At(at) if at > 0 && at <= 60));
    }

    proptest! {
        #[test]
        fn the_next_visit_is_never_in_the_past(
            min in any::<u32>(), max in any::<u32>(), first in any::<u32>(), cap in any::<u32>(),
            failures in any::<u32>(), now in 0i64..4_000_000_000, key in any::<[u8; 16]>(), which in 0..Outcome::ALL.len(),
        ) {
            let policy = SchedulePolicy {
                good_min_secs: min, good_max_secs: max, backoff_first_secs: first, backoff_cap_secs: cap,
                ..SchedulePolicy::default()
            };
            let history = History { outcome: Outcome::ALL[which], failures, last_ok_at: Some(now) };
            let jitter = Jitter::new(&key, "[2a01::1]:1".parse().unwrap(), now);
            if let Next::At(at) = next(&policy, &history, now, jitter) {
                prop_assert!(at >= now);
            }
        }
    }
}
