//! Whether a peer is good, rule by rule.
//!
//! Services are no rule here: whoever asks for peers filters by them, so that a request for pruned nodes
//! alone can be answered.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::netgroup::is_dialable;
use super::overlay::is_stand_in;
use super::{Outcome, Reliability};

/// One row of the reliability rule: enough reliability over enough probes.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WindowRule {
    /// Reliability must be above this, 0 to 1.
    pub reliability: f64,
    /// Decayed number of probes must be above this.
    pub count: f64,
}

/// The thresholds of "good".
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GoodPolicy {
    /// Longest time since the last passed probe, in seconds.
    pub max_age_secs: i64,
    /// Most blocks below the network's median height.
    pub max_lag_blocks: u32,
    /// Lowest protocol version.
    pub min_protocol_version: u32,
    /// Whether loopback and private addresses may be good (devnets only).
    pub allow_private_addresses: bool,
    /// Most of the good set that one netgroup may hold, in percent (1 to 100); see [`crate::reachability::crowding`].
    pub max_netgroup_percent: u8,
    /// Up to this many probes, half of them passed is enough.
    pub newcomer_probes: u64,
    /// One row for each window of [`super::reliability::TAUS`]; one that holds is enough.
    pub windows: [WindowRule; 5],
}

impl Default for GoodPolicy {
    /// Reliability rows as in sipa's `bitcoin-seeder`; two hours of freshness; twelve blocks of lag, which
    /// at ten minutes a block is that same age; 70010 is the oldest protocol version of the wire rules.
    fn default() -> Self {
        let row = |reliability, count| WindowRule { reliability, count };
        Self {
            max_age_secs: 2 * 3600,
            max_lag_blocks: 12,
            min_protocol_version: 70_010,
            allow_private_addresses: false,
            max_netgroup_percent: 10,
            newcomer_probes: 3,
            windows: [
                row(0.85, 2.0),
                row(0.70, 4.0),
                row(0.55, 8.0),
                row(0.45, 16.0),
                row(0.35, 32.0),
            ],
        }
    }
}

/// What is known about one peer.
#[derive(Debug, Clone, PartialEq)]
pub struct PeerFacts {
    /// Where it listens.
    pub addr: SocketAddr,
    /// How the last probe that counted ended; `None` if there was none.
    pub last_outcome: Option<Outcome>,
    /// When a probe last passed, Unix seconds.
    pub last_ok_at: Option<i64>,
    /// Protocol version of its last `version` message.
    pub protocol_version: Option<u32>,
    /// Height up to which it proved our chain, at the last probe that came so far.
    pub proved_height: Option<u32>,
    /// Its record.
    pub reliability: Reliability,
    /// Whether the operator has banned it.
    pub banned: bool,
}

/// One rule of "good".
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Rule {
    /// The last probe passed.
    LastProbe,
    /// The last pass is recent.
    Fresh,
    /// It proved our chain.
    Chain,
    /// Its protocol version is high enough.
    Version,
    /// It is close to the network's median height.
    Height,
    /// Its address may be dialled by anyone.
    Routable,
    /// Its record over the windows is good, or it is new and promising.
    Record,
    /// The operator has not banned it.
    Allowed,
}

impl Rule {
    /// The rule's stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::LastProbe => "last_probe",
            Self::Fresh => "fresh",
            Self::Chain => "chain",
            Self::Version => "version",
            Self::Height => "height",
            Self::Routable => "routable",
            Self::Record => "record",
            Self::Allowed => "allowed",
        }
    }
}

/// What one rule says, with the reason in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuleResult {
    /// Which rule.
    pub rule: Rule,
    /// Whether it holds.
    pub passed: bool,
    /// The figures that decided it.
    pub detail: String,
}

/// What all rules say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// Each rule once, in a fixed order.
    pub rules: Vec<RuleResult>,
}

impl Verdict {
    /// Whether every rule holds.
    pub fn is_good(&self) -> bool {
        self.rules.iter().all(|r| r.passed)
    }
}

/// Judges a peer as of `now` (Unix seconds) against the network's median height, `None` when unknown.
///
/// Gives every rule with its reason; [`is_good`] is the same judgement without the words.
pub fn verdict(policy: &GoodPolicy, peer: &PeerFacts, median: Option<u32>, now: i64) -> Verdict {
    let all = [
        Rule::LastProbe,
        Rule::Fresh,
        Rule::Chain,
        Rule::Version,
        Rule::Height,
        Rule::Routable,
        Rule::Record,
        Rule::Allowed,
    ];
    let rules = all
        .into_iter()
        .map(|rule| RuleResult {
            rule,
            passed: holds(rule, policy, peer, median, now),
            detail: describe(rule, policy, peer, median, now),
        })
        .collect();
    Verdict { rules }
}

/// Whether a peer is good as of `now`: [`verdict`] without its words, for judging many.
pub fn is_good(policy: &GoodPolicy, peer: &PeerFacts, median: Option<u32>, now: i64) -> bool {
    use Rule::{Allowed, Chain, Fresh, Height, LastProbe, Record, Routable, Version};
    [
        LastProbe, Fresh, Chain, Version, Height, Routable, Record, Allowed,
    ]
    .into_iter()
    .all(|rule| holds(rule, policy, peer, median, now))
}

fn holds(rule: Rule, policy: &GoodPolicy, peer: &PeerFacts, median: Option<u32>, now: i64) -> bool {
    match rule {
        Rule::LastProbe => peer.last_outcome.is_some_and(Outcome::is_success),
        Rule::Fresh => peer
            .last_ok_at
            .is_some_and(|at| now.saturating_sub(at) <= policy.max_age_secs),
        Rule::Chain => peer.proved_height.is_some(),
        Rule::Version => peer
            .protocol_version
            .is_some_and(|v| v >= policy.min_protocol_version),
        Rule::Height => peer.proved_height.is_some_and(|height| {
            median.is_none_or(|median| height.saturating_add(policy.max_lag_blocks) >= median)
        }),
        Rule::Routable => {
            is_dialable(peer.addr, policy.allow_private_addresses) || is_stand_in(peer.addr.ip())
        }
        Rule::Record => is_promising(policy, &peer.reliability) || has_record(policy, peer),
        Rule::Allowed => !peer.banned,
    }
}

fn is_promising(policy: &GoodPolicy, r: &Reliability) -> bool {
    (1..=policy.newcomer_probes).contains(&r.probes) && r.successes.saturating_mul(2) >= r.probes
}

fn has_record(policy: &GoodPolicy, peer: &PeerFacts) -> bool {
    policy
        .windows
        .iter()
        .zip(peer.reliability.windows)
        .any(|(rule, w)| w.reliability > rule.reliability && w.count > rule.count)
}

fn describe(
    rule: Rule,
    policy: &GoodPolicy,
    peer: &PeerFacts,
    median: Option<u32>,
    now: i64,
) -> String {
    let unknown = || "not known yet".to_owned();
    match rule {
        Rule::LastProbe => peer
            .last_outcome
            .map_or_else(|| "never probed".to_owned(), |o| format!("last probe: {o}")),
        Rule::Fresh => peer.last_ok_at.map_or_else(
            || "never passed a probe".to_owned(),
            |at| {
                let age = now.saturating_sub(at);
                format!(
                    "passed {age} s ago, at most {} s allowed",
                    policy.max_age_secs
                )
            },
        ),
        Rule::Chain => peer.proved_height.map_or_else(unknown, |h| {
            format!("showed valid headers up to height {h}")
        }),
        Rule::Version => peer.protocol_version.map_or_else(unknown, |v| {
            format!(
                "version {v}, at least {} required",
                policy.min_protocol_version
            )
        }),
        Rule::Height => match (peer.proved_height, median) {
            (Some(height), Some(median)) => format!(
                "height {height}, median {median}, at most {} behind allowed",
                policy.max_lag_blocks
            ),
            (Some(height), None) => format!("height {height}, no median known"),
            (None, _) => unknown(),
        },
        Rule::Routable => {
            if holds(rule, policy, peer, median, now) {
                "public or allowed address".to_owned()
            } else {
                "reserved or private address, or port 0".to_owned()
            }
        }
        Rule::Record => describe_record(policy, &peer.reliability),
        Rule::Allowed if peer.banned => "banned by the operator".to_owned(),
        Rule::Allowed => "not banned".to_owned(),
    }
}

fn describe_record(policy: &GoodPolicy, r: &Reliability) -> String {
    let passed = format!("{} of {} probes passed", r.successes, r.probes);
    if r.probes <= policy.newcomer_probes {
        return format!("{passed}; new: half is enough");
    }
    let names = ["2 h", "8 h", "1 d", "7 d", "30 d"];
    let rows: Vec<String> = names
        .iter()
        .zip(policy.windows)
        .zip(r.windows)
        .map(|((name, rule), w)| {
            format!(
                "{name}: {:.2} > {:.2} and {:.1} > {:.0}",
                w.reliability, rule.reliability, w.count, rule.count
            )
        })
        .collect();
    format!("{passed}; one of: {}", rows.join(", "))
}

/// The median of the heights, the lower of the middle two when their number is even; `None` for none.
///
/// The lower, so that among two peers neither can push the other out by claiming more.
pub fn median_height(heights: &mut [u32]) -> Option<u32> {
    let middle = heights.len().checked_sub(1)? / 2;
    Some(*heights.select_nth_unstable(middle).1)
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
