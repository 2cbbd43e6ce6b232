//! How hosts stand with us: points against them, which decay, and bans.
//!
//! Each offence adds its points to the host's score, and a fraction to that of its netgroup. What follows is graded: the
//! peer is read more slowly, the connection ends, the host is kept out for ten minutes, and each time for twice as long, up
//! to a day. An offence that proves hostility keeps it out for that day at once, and for ever when it comes again:
//! addresses change hands, and one proof alone may have been against the one who had it before. A netgroup's score
//! weighs on those of its hosts that have done something themselves, and never on one that has not.
//!
//! Times are Unix seconds, so that all of it outlives a restart ([`mod@file`]). IPv4-mapped IPv6 and the whole IPv6 /64
//! are one host.

pub mod file;

#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::hash::Hash;
use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::limits::host_key;
use super::offence::{BAN_POINTS, DISCONNECT_POINTS, Offence};
use super::operator::{Network, OperatorBan, OperatorBans, TooManyBans};
use crate::reachability::Netgroup;

/// Seconds in which points halve, where the configuration says nothing else: who misbehaves once a day stays, who does
/// so several times an hour goes.
pub const HALF_LIFE: u64 = 3_600;

/// The first ban, in seconds; each further one is twice as long.
pub const FIRST_BAN: u64 = 600;

/// The longest that is not for ever, in seconds.
pub const LONGEST_BAN: u64 = 24 * 3_600;

/// Seconds after the end of a ban after which it is forgotten that there was one: an address has another owner by then.
pub const BAN_REMEMBERED: u64 = 30 * 24 * 3_600;

/// Proofs after which a host is kept out for ever.
const PROOFS: u32 = 2;

/// Share of an offence's points that its netgroup gets: seven hosts of one netgroup that are disconnected make the next
/// one's first offence one that keeps it out.
const GROUP_SHARE: f64 = 0.125;

/// The most that a netgroup's score weighs on one of its hosts.
const MAX_GROUP_WEIGHT: f64 = 50.0;

/// Hosts and netgroups remembered; 10,000 of about 150 bytes are 1.5 MB. What weighs least makes room.
pub const MAX_HOSTS: usize = 10_000;

/// Points below which a score is nothing: it says no more than that something happened hours ago.
const NOTHING: f64 = 1.0;

/// What follows from an offence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// The peer is to be read more slowly.
    Throttle,
    /// The connection is to be closed.
    Disconnect,
    /// The host is kept out for so many seconds.
    Ban(u64),
    /// The host is kept out until somebody lifts that.
    BanForever,
}

/// How the rules are set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    /// Seconds in which points halve; at least 1.
    pub half_life: u64,
    /// Whether netgroups have scores; on a devnet all nodes are in one.
    pub by_netgroup: bool,
}

/// Points that decay.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Score {
    points: f64,
    at: u64,
}

impl Score {
    fn now(self, half_life: u64, now: u64) -> f64 {
        let age = now.saturating_sub(self.at) as f64 / half_life.max(1) as f64;
        // A file may hold anything.
        if self.points.is_finite() && self.points > 0.0 {
            self.points * (-age).exp2()
        } else {
            0.0
        }
    }

    fn add(&mut self, points: f64, half_life: u64, now: u64) -> f64 {
        self.points = self.now(half_life, now) + points;
        self.at = now;
        self.points
    }
}

/// A ban, as it is told and kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ban {
    /// For what.
    pub offence: Offence,
    /// Since when, Unix seconds.
    pub since: u64,
    /// Until when; for ever if there is none.
    pub until: Option<u64>,
}

impl Ban {
    fn stands(&self, now: u64) -> bool {
        self.until.is_none_or(|until| now < until)
    }

    fn is_remembered(&self, now: u64) -> bool {
        self.until
            .is_none_or(|until| now < until.saturating_add(BAN_REMEMBERED))
    }
}

/// What is held against one host.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
struct Record {
    score: Score,
    /// The last ban, …
    ban: Option<Ban>,
    /// … how many there were, …
    bans: u32,
    /// … and how many proofs of hostility.
    proofs: u32,
}

/// All of it.
#[derive(Debug)]
pub struct Standing {
    policy: Policy,
    hosts: HashMap<IpAddr, Record>,
    groups: HashMap<Netgroup, Score>,
    /// Whom the operator keeps out, whatever is held against them.
    operator: OperatorBans,
}

impl Standing {
    /// Nothing is held against anybody.
    #[must_use]
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            hosts: HashMap::new(),
            groups: HashMap::new(),
            operator: OperatorBans::default(),
        }
    }

    /// Notes what the host at `ip` did, and gives what follows.
    pub fn note(&mut self, ip: IpAddr, offence: Offence, now: u64) -> Outcome {
        let host = host_key(ip);
        let half_life = self.policy.half_life;
        if let Some(ban) = self.banned(ip, now) {
            // Its other connections, or what was on its way already: one deed is not counted twice.
            let left = ban.until.map(|until| until.saturating_sub(now));
            return left.map_or(Outcome::BanForever, Outcome::Ban);
        }
        self.make_room(host, now);
        let points = offence.points();
        let of_group = self.note_group(ip, points.unwrap_or(BAN_POINTS), now);
        let record = self.hosts.entry(host).or_default();
        if record.ban.is_some_and(|ban| !ban.is_remembered(now)) {
            *record = Record::default();
        }
        let Some(points) = points else {
            record.proofs = record.proofs.saturating_add(1);
            let forever = record.proofs >= PROOFS;
            return record.ban(offence, (!forever).then_some(LONGEST_BAN), now);
        };
        let score = record.score.add(points, half_life, now) + of_group;
        if score >= BAN_POINTS {
            let time = FIRST_BAN.saturating_mul(1 << record.bans.min(16));
            record.ban(offence, Some(time.min(LONGEST_BAN)), now)
        } else if score >= DISCONNECT_POINTS {
            Outcome::Disconnect
        } else {
            Outcome::Throttle
        }
    }

    /// The ban that stands against the host at `ip`.
    #[must_use]
    pub fn banned(&self, ip: IpAddr, now: u64) -> Option<Ban> {
        let record = self.hosts.get(&host_key(ip))?;
        record.ban.filter(|ban| ban.stands(now))
    }

    /// Whether the host at `ip` is kept out, by what it did or by the operator.
    #[must_use]
    pub fn keeps_out(&self, ip: IpAddr, now: u64) -> bool {
        self.banned(ip, now).is_some() || self.banned_by_operator(ip, now).is_some()
    }

    /// The operator's ban that stands against the host at `ip`.
    #[must_use]
    pub fn banned_by_operator(&self, ip: IpAddr, now: u64) -> Option<&OperatorBan> {
        self.operator.covering(ip, now)
    }

    /// The operator's bans that stand, by network.
    #[must_use]
    pub fn operator_bans(&self, now: u64) -> Vec<OperatorBan> {
        self.operator.standing(now)
    }

    /// Keeps a network out because the operator says so.
    ///
    /// # Errors
    /// When there are too many of those.
    pub fn ban_by_operator(&mut self, ban: OperatorBan, now: u64) -> Result<(), TooManyBans> {
        self.operator.add(ban, now)
    }

    /// Lets a network in again: the operator's ban of it ends, and what is held against its hosts is forgotten. False if there
    /// was nothing.
    pub fn lift(&mut self, network: Network) -> bool {
        let before = self.hosts.len();
        self.hosts.retain(|host, _| !network.contains(*host));
        let pardoned = self.hosts.len() < before;
        self.operator.remove(network) || pardoned
    }

    /// Whether something was held against the host at `ip` in the last day: later it may be another's address.
    #[must_use]
    pub fn is_suspect(&self, ip: IpAddr, now: u64) -> bool {
        self.hosts.get(&host_key(ip)).is_some_and(|record| {
            record.score.now(self.policy.half_life, now) >= NOTHING
                || record.ban.is_some_and(|ban| {
                    ban.until
                        .is_none_or(|until| now < until.saturating_add(LONGEST_BAN))
                })
        })
    }

    /// All bans that stand, by host.
    #[must_use]
    pub fn bans(&self, now: u64) -> Vec<(IpAddr, Ban)> {
        let bans = self.hosts.iter().filter_map(|(host, record)| {
            let ban = record.ban.filter(|ban| ban.stands(now))?;
            Some((*host, ban))
        });
        let mut bans: Vec<_> = bans.collect();
        bans.sort_unstable_by_key(|(host, _)| *host);
        bans
    }

    /// Forgets what is held against the host at `ip`. False if there is nothing.
    pub fn pardon(&mut self, ip: IpAddr) -> bool {
        self.hosts.remove(&host_key(ip)).is_some()
    }

    /// Adds to the netgroup's score; gives how much that weighs on one of its hosts.
    fn note_group(&mut self, ip: IpAddr, points: f64, now: u64) -> f64 {
        if !self.policy.by_netgroup {
            return 0.0;
        }
        let (half_life, group) = (self.policy.half_life, Netgroup::of(ip));
        if !self.groups.contains_key(&group) && self.groups.len() >= MAX_HOSTS {
            evict(&mut self.groups, |score| score.now(half_life, now));
        }
        let score = self.groups.entry(group).or_default();
        let before = score.now(half_life, now);
        score.add(points * GROUP_SHARE, half_life, now);
        before.min(MAX_GROUP_WEIGHT)
    }

    /// Of those that are only suspect the one with fewest points and bans goes; of those that are banned, whose ban ends
    /// first.
    fn make_room(&mut self, newcomer: IpAddr, now: u64) {
        if self.hosts.contains_key(&newcomer) || self.hosts.len() < MAX_HOSTS {
            return;
        }
        let half_life = self.policy.half_life;
        evict(&mut self.hosts, |record| {
            let ends = record.ban.filter(|ban| ban.stands(now));
            let ends = ends.map_or(0.0, |ban| {
                BAN_POINTS + ban.until.map_or(f64::MAX, |until| until as f64)
            });
            ends + record.score.now(half_life, now)
                + f64::from(record.bans)
                + BAN_POINTS * f64::from(record.proofs)
        });
    }
}

impl Record {
    /// The points are paid for with it.
    fn ban(&mut self, offence: Offence, seconds: Option<u64>, now: u64) -> Outcome {
        self.score = Score::default();
        self.bans = self.bans.saturating_add(1);
        self.ban = Some(Ban {
            offence,
            since: now,
            until: seconds.map(|seconds| now.saturating_add(seconds)),
        });
        seconds.map_or(Outcome::BanForever, Outcome::Ban)
    }
}

/// Removes the entry that weighs least.
fn evict<K: Copy + Eq + Hash, V>(map: &mut HashMap<K, V>, weight: impl Fn(&V) -> f64) {
    let least = map
        .iter()
        .min_by(|(_, one), (_, other)| weight(one).total_cmp(&weight(other)));
    if let Some(key) = least.map(|(key, _)| *key) {
        map.remove(&key);
    }
}
