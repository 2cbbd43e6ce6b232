//! What an operator should look at: what is wrong, why, and how to mend it. Pure: everything that is judged comes in as
//! [`Facts`].
//!
//! The list is shown on top of the dashboard, in `/api/v1/alerts`, and as the metric `alerts` with the kinds as its label. Kinds
//! are a closed list, and their texts never change their meaning.

use std::fmt;

use serde::Serialize;

use crate::progress::{Progress, SeedAnswer};
use crate::seeders::Seeder;

/// Good peers below which a newcomer hardly finds enough: a node wants four at least.
const FEW_PEERS: u64 = 4;

/// Of the good peers of a day ago, percent: fewer is a warning, fewer still is critical.
const FALLEN: (u64, u64) = (70, 40);

/// A change by fewer peers than this is no fall: on a small network each is a large part.
const FALLEN_BY: u64 = 4;

/// Free space, percent of the disk and bytes: below both there is a warning.
const DISK_LOW: (u64, u64) = (10, 5 << 30);

/// Free space in bytes that is critical: SQLite's log alone may take some 100 MB.
const DISK_FULL: u64 = 512 << 20;

/// Seconds between our clock and that of half of the good peers. Nodes take two minutes for granted; certificates and
/// signatures of zones suffer from ten.
const CLOCK_OFF: (i64, i64) = (120, 600);

/// Clocks of fewer peers say nothing about ours.
const CLOCKS: usize = 5;

/// Of the peers that answered at all, percent on another chain or far behind: more is a split, or an attack.
const SPLIT_PERCENT: u64 = 20;

/// A split needs so many peers.
const SPLIT_PEERS: u64 = 5;

/// So much later than it was due a visit is late, seconds: four times the usual pause between two of them.
const LATE_SECS: i64 = 2 * 3_600;

/// How much it matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// Newcomers suffer, or soon will.
    Critical,
    /// Somebody should look.
    Warning,
}

impl Severity {
    /// Stable name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
        }
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $text:literal,)*) => {
        /// What kind of thing is wrong.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind { $($(#[$doc])* $kind,)* }

        impl Kind {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$kind,)*];

            /// Stable name: a metric's label.
            pub const fn as_str(self) -> &'static str {
                match self { $(Self::$kind => $text,)* }
            }
        }
    };
}

kinds! {
    /// The good set is the last known one.
    Stale = "stale",
    /// Our own network seems to be down.
    NetworkDown = "network_down",
    /// There is no good peer, or hardly any.
    FewPeers = "few_peers",
    /// There are far fewer good peers than a day ago.
    FallingPeers = "falling_peers",
    /// What is found can't be written down.
    WriterFailing = "writer_failing",
    /// The disk is nearly full.
    DiskFull = "disk_full",
    /// Visits can't keep up with what is due.
    VisitsLate = "visits_late",
    /// Our clock differs from that of the network.
    ClockOff = "clock_off",
    /// Many peers are on another chain.
    ChainSplit = "chain_split",
    /// A DNS seed does not answer, or names nobody who is good.
    SeedFailing = "seed_failing",
    /// A seeder does not answer.
    SeederDown = "seeder_down",
    /// A seeder serves old answers, or others than it should, or says so itself.
    SeederFailing = "seeder_failing",
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl Serialize for Kind {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// One thing to look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Alert {
    /// Its kind.
    pub kind: Kind,
    /// How much it matters.
    pub severity: Severity,
    /// What is wrong.
    pub what: String,
    /// What that rests on, or what follows.
    pub why: String,
    /// How to mend it.
    pub remedy: String,
}

/// What is judged.
#[derive(Debug, Clone, Default)]
pub struct Facts<'a> {
    /// Now, Unix seconds.
    pub now: i64,
    /// Whether the good set is the last known one only.
    pub stale: bool,
    /// Newest passed probe, Unix seconds.
    pub newest_ok_at: Option<i64>,
    /// Good peers now.
    pub good: u64,
    /// Good peers a day ago, where that is known.
    pub good_a_day_ago: Option<u64>,
    /// Addresses that were ever probed.
    pub probed: u64,
    /// Peers that answered at their last probe.
    pub answered: u64,
    /// Those of them that are on another chain or far behind.
    pub elsewhere: u64,
    /// Why the last write failed, and how many writes were lost by then.
    pub writer: Option<(&'a str, u64)>,
    /// Free bytes of the disk, and all of them.
    pub disk: Option<(u64, u64)>,
    /// Half of the good peers' clocks are this much or less ahead of ours (seconds), and of how many peers that is told.
    pub clock: Option<(i64, usize)>,
    /// How the crawl is going.
    pub progress: Progress,
    /// What the DNS seeds answered, each with how many of its addresses are good.
    pub seeds: &'a [(SeedAnswer, usize)],
    /// What the seeders said.
    pub seeders: &'a [Seeder],
}

/// What is wrong, what matters most first.
pub fn judge(facts: &Facts<'_>) -> Vec<Alert> {
    let mut alerts = Vec::new();
    alerts.extend(network_down(facts));
    alerts.extend(writer(facts));
    alerts.extend(disk(facts));
    alerts.extend(stale(facts));
    alerts.extend(few_peers(facts));
    alerts.extend(falling(facts));
    alerts.extend(clock(facts));
    alerts.extend(split(facts));
    alerts.extend(late(facts));
    alerts.extend(
        facts
            .seeds
            .iter()
            .filter_map(|(seed, good)| failing_seed(seed, *good)),
    );
    for seeder in facts.seeders {
        alerts.extend(seeder_alerts(seeder));
    }
    // Stable: what was judged first stays first among its equals.
    alerts.sort_by_key(|alert| alert.severity);
    alerts
}

fn alert(
    kind: Kind,
    severity: Severity,
    what: impl Into<String>,
    why: impl Into<String>,
    remedy: impl Into<String>,
) -> Alert {
    Alert {
        kind,
        severity,
        what: what.into(),
        why: why.into(),
        remedy: remedy.into(),
    }
}

fn network_down(f: &Facts<'_>) -> Option<Alert> {
    f.progress.network_down.then(|| {
        alert(
            Kind::NetworkDown,
            Severity::Critical,
            "This machine's own network seems to be down",
            "Good peers stopped answering all at once, or a proxy does not answer; failures count for nothing meanwhile.",
            "Check the machine's uplink, firewall and proxies (ip route, ping, the proxy's log); the crawl goes on by itself. \
             /health/ready names the road.",
        )
    })
}

fn writer(f: &Facts<'_>) -> Option<Alert> {
    let (error, lost) = f.writer?;
    let lost = match lost {
        0 => "Nothing is lost yet: it is kept in memory and tried again.".to_owned(),
        n => format!("{n} results are lost, since memory for them ran out."),
    };
    Some(alert(
        Kind::WriterFailing,
        Severity::Critical,
        "What the crawl finds can't be written down",
        format!("{error}. {lost}"),
        "Check free space and rights of the data directory, and that no other program locks crawl.sqlite; then it goes on by itself.",
    ))
}

fn disk(f: &Facts<'_>) -> Option<Alert> {
    let (free, all) = f.disk?;
    let percent = (free.saturating_mul(100)).checked_div(all).unwrap_or(100);
    let severity = if free < DISK_FULL {
        Severity::Critical
    } else if percent < DISK_LOW.0 && free < DISK_LOW.1 {
        Severity::Warning
    } else {
        return None;
    };
    Some(alert(
        Kind::DiskFull,
        severity,
        format!(
            "The disk of the store is nearly full: {} MB are free",
            free >> 20
        ),
        format!("{percent} % of it are free; a store of 100,000 peers grows to some 200 MB."),
        "Make room on the disk of the data directory, or move the data directory (--data-dir) while the crawler is stopped.",
    ))
}

fn stale(f: &Facts<'_>) -> Option<Alert> {
    // Nobody has passed yet: that is told as few peers.
    let newest = f.newest_ok_at.filter(|_| f.stale)?;
    let minutes = f.now.saturating_sub(newest) / 60;
    Some(alert(
        Kind::Stale,
        Severity::Critical,
        "Stale: this is the last known good set",
        format!("No probe has passed for {minutes} minutes, or nothing connects by any road."),
        "Check this machine's network, and that the crawler visits (probes per second above 0); \
         quantumcoin-crawler explain ADDR says why a peer is not good.",
    ))
}

fn few_peers(f: &Facts<'_>) -> Option<Alert> {
    if f.good >= FEW_PEERS {
        return None;
    }
    if f.probed == 0 {
        return Some(alert(
            Kind::FewPeers,
            Severity::Warning,
            "Nobody has been visited yet",
            "The crawl has just begun, or it knows nobody to start from.",
            "Wait a minute; then name a node with --seed-addr, or ask for a visit of one on the peers' page.",
        ));
    }
    let (severity, what) = match f.good {
        0 => (Severity::Critical, "There is no good peer".to_owned()),
        n => (Severity::Warning, format!("There are {n} good peers only")),
    };
    Some(alert(
        Kind::FewPeers,
        severity,
        what,
        format!(
            "A newcomer wants {FEW_PEERS} at least; {} addresses were probed.",
            f.probed
        ),
        "See under \"Last probes\" how they fail. A new peer needs some passed visits first; \
         quantumcoin-crawler explain ADDR names the rule that does not hold.",
    ))
}

fn falling(f: &Facts<'_>) -> Option<Alert> {
    let before = f.good_a_day_ago?;
    let lost = before
        .checked_sub(f.good)
        .filter(|lost| *lost >= FALLEN_BY)?;
    let percent = (f.good * 100).checked_div(before)?;
    let severity = match percent {
        p if p < FALLEN.1 => Severity::Critical,
        p if p < FALLEN.0 => Severity::Warning,
        _ => return None,
    };
    Some(alert(
        Kind::FallingPeers,
        severity,
        format!("{lost} good peers fewer than a day ago"),
        format!("{} are good now, {before} were then.", f.good),
        "Compare outcomes by hour on the history page: timeouts all over mean our own uplink, one outcome or one system means them.",
    ))
}

fn clock(f: &Facts<'_>) -> Option<Alert> {
    let (offset, peers) = f.clock.filter(|(_, peers)| *peers >= CLOCKS)?;
    let off = offset.unsigned_abs();
    if off < CLOCK_OFF.0.unsigned_abs() {
        return None;
    }
    let severity = if off < CLOCK_OFF.1.unsigned_abs() {
        Severity::Warning
    } else {
        Severity::Critical
    };
    let which = if offset > 0 { "behind" } else { "ahead" };
    Some(alert(
        Kind::ClockOff,
        severity,
        format!("This machine's clock is {off} s {which}"),
        format!(
            "Half of {peers} good peers say so. Signatures of zones and blocks' times depend on it."
        ),
        "Switch time synchronisation on (timedatectl set-ntp true) and see that it works (timedatectl timesync-status).",
    ))
}

fn split(f: &Facts<'_>) -> Option<Alert> {
    let percent = (f.elsewhere * 100).checked_div(f.answered)?;
    if percent < SPLIT_PERCENT || f.elsewhere < SPLIT_PEERS {
        return None;
    }
    Some(alert(
        Kind::ChainSplit,
        Severity::Warning,
        format!("{percent} % of those who answer are on another chain or far behind"),
        format!(
            "{} of {} peers (outcomes wrong_chain and behind).",
            f.elsewhere, f.answered
        ),
        "Compare block hashes by height with a node of your own (quantumcoin-node chain check); after an upgrade of the \
         rules, update the chain spec of crawler and seeder.",
    ))
}

fn late(f: &Facts<'_>) -> Option<Alert> {
    let waits = f.now.saturating_sub(f.progress.oldest_due?);
    if waits < LATE_SECS {
        return None;
    }
    Some(alert(
        Kind::VisitsLate,
        Severity::Warning,
        format!(
            "{} visits are due, one for {} minutes",
            f.progress.due,
            waits / 60
        ),
        "There is more to visit than the pace allows, so verdicts grow old.",
        "Raise dials_per_second or max_in_flight under [pace], with as many file descriptors (LimitNOFILE=).",
    ))
}

fn failing_seed(seed: &SeedAnswer, good: usize) -> Option<Alert> {
    let name = &seed.seed;
    if seed.answered == 0 {
        let error = seed.error.as_deref().unwrap_or("no answer");
        return Some(alert(
            Kind::SeedFailing,
            Severity::Warning,
            format!("The DNS seed {name} does not answer"),
            error,
            format!(
                "Try dig {name} A and dig {name} NS; if it is yours, quantumcoin-seeder check looks at delegation and answers."
            ),
        ));
    }
    if seed.addrs.len() >= 4 && good == 0 {
        return Some(alert(
            Kind::SeedFailing,
            Severity::Warning,
            format!(
                "None of the {} addresses of the DNS seed {name} is good",
                seed.addrs.len()
            ),
            "It serves peers that this crawler can't confirm.",
            "If it is yours, look at the age of its store; else tell its operator, or take it out of the chain spec.",
        ));
    }
    None
}

fn seeder_alerts(seeder: &Seeder) -> Vec<Alert> {
    let url = seeder.url;
    let mut alerts = Vec::new();
    let mut fails = |severity, what: String, why: String, remedy: &str| {
        alerts.push(alert(Kind::SeederFailing, severity, what, why, remedy));
    };
    if let Some((status, _)) = &seeder.status {
        if let Some(notices) = &status.alerts {
            // It judges itself, and knows best how it is mended.
            for notice in notices {
                let severity = match notice.severity.as_str() {
                    "critical" => Severity::Critical,
                    _ => Severity::Warning,
                };
                let why = format!("So says the seeder at {url}.");
                fails(severity, notice.what.clone(), why, &notice.remedy);
            }
        } else if status.stale == Some(true) {
            let age = status.age_seconds.unwrap_or(0) / 60;
            fails(
                Severity::Critical,
                format!("The seeder at {url} serves old answers"),
                format!("Its newest passed probe is {age} minutes old."),
                "See that it reads this crawler's store (--store) and that the crawl goes on.",
            );
        }
    }
    if let Some(error) = &seeder.error {
        alerts.push(alert(
            Kind::SeederDown,
            Severity::Critical,
            format!("The seeder at {url} does not tell its status"),
            error.as_str(),
            "See that it runs (systemctl status quantumcoin-seeder) with --http at this address, or change seeders in the settings.",
        ));
    }
    alerts
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::seeders::SeederStatus;
    use crate::seeders::status::Notice;

    fn well() -> Facts<'static> {
        Facts {
            now: 1_000_000,
            newest_ok_at: Some(999_990),
            good: 50,
            good_a_day_ago: Some(52),
            probed: 100,
            answered: 60,
            elsewhere: 2,
            disk: Some((50 << 30, 100 << 30)),
            clock: Some((1, 50)),
            ..Facts::default()
        }
    }

    fn kinds(facts: &Facts<'_>) -> Vec<(Kind, Severity)> {
        let alerts = judge(facts).into_iter();
        alerts.map(|alert| (alert.kind, alert.severity)).collect()
    }

    use Severity::{Critical, Warning};

    #[test]
    fn a_network_that_is_well_has_none() {
        assert_eq!(kinds(&well()), []);
    }

    #[test]
    fn each_trouble_has_its_alert() {
        let of = |change: fn(&mut Facts<'_>)| {
            let mut facts = well();
            change(&mut facts);
            kinds(&facts)
        };
        assert_eq!(of(|f| f.stale = true), [(Kind::Stale, Critical)]);
        assert_eq!(
            of(|f| f.progress.network_down = true),
            [(Kind::NetworkDown, Critical)]
        );
        assert_eq!(
            of(|f| f.writer = Some(("disk full", 3))),
            [(Kind::WriterFailing, Critical)]
        );
        assert_eq!(
            of(|f| f.disk = Some((1 << 30, 100 << 30))),
            [(Kind::DiskFull, Warning)]
        );
        assert_eq!(
            of(|f| f.disk = Some((1 << 20, 100 << 30))),
            [(Kind::DiskFull, Critical)]
        );
        assert_eq!(
            of(|f| f.disk = Some((20 << 30, 1_000 << 30))),
            [],
            "2 % of much is enough"
        );
        assert_eq!(
            of(|f| f.clock = Some((-130, 9))),
            [(Kind::ClockOff, Warning)]
        );
        assert_eq!(
            of(|f| f.clock = Some((9_000, 9))),
            [(Kind::ClockOff, Critical)]
        );
        assert_eq!(
            of(|f| f.clock = Some((9_000, 4))),
            [],
            "four clocks say nothing"
        );
        assert_eq!(of(|f| f.elsewhere = 30), [(Kind::ChainSplit, Warning)]);
        assert_eq!(
            of(|f| f.progress.oldest_due = Some(0)),
            [(Kind::VisitsLate, Warning)]
        );
        assert_eq!(
            of(|f| f.good_a_day_ago = Some(100)),
            [(Kind::FallingPeers, Warning)]
        );
        assert_eq!(
            of(|f| f.good_a_day_ago = Some(1_000)),
            [(Kind::FallingPeers, Critical)]
        );
        let few = |f: &mut Facts<'_>| (f.good, f.good_a_day_ago) = (3, Some(4));
        assert_eq!(of(few), [(Kind::FewPeers, Warning)], "one fewer is no fall");
        let none = |f: &mut Facts<'_>| (f.good, f.good_a_day_ago) = (0, None);
        assert_eq!(of(none), [(Kind::FewPeers, Critical)]);
        let start = |f: &mut Facts<'_>| *f = Facts::default();
        assert_eq!(
            of(start),
            [(Kind::FewPeers, Warning)],
            "a start is no disaster"
        );
    }

    #[test]
    fn seeds_and_seeders_that_fail_are_told() {
        let seed = |answered, n: u8| SeedAnswer {
            seed: "seed1.example".to_owned(),
            at: 0,
            addrs: (0..n)
                .map(|n| ([1, 2, 3, n], 1).into())
                .collect::<BTreeSet<_>>(),
            resolvers: 1,
            answered,
            validation: "",
            error: None,
        };
        let seeds = [
            (seed(1, 8), 3),
            (seed(0, 0), 0),
            (seed(1, 8), 0),
            (seed(1, 2), 0),
        ];
        let facts = Facts {
            seeds: &seeds,
            ..well()
        };
        assert_eq!(kinds(&facts), [(Kind::SeedFailing, Warning); 2]);

        let status = SeederStatus {
            alerts: Some(vec![Notice {
                severity: "warning".to_owned(),
                what: "w".to_owned(),
                remedy: "r".to_owned(),
            }]),
            stale: Some(true),
            ..SeederStatus::default()
        };
        let old = SeederStatus {
            alerts: None,
            ..status.clone()
        };
        let seeder = |status, error: Option<&str>| Seeder {
            url: "127.0.0.1:9353".parse().unwrap(),
            asked_at: 0,
            status: Some((status, 0)),
            error: error.map(str::to_owned),
        };
        let seeders = [seeder(status, Some("nothing answers")), seeder(old, None)];
        let facts = Facts {
            seeders: &seeders,
            ..well()
        };
        let expected = [
            (Kind::SeederDown, Critical),
            (Kind::SeederFailing, Critical),
            (Kind::SeederFailing, Warning),
        ];
        assert_eq!(kinds(&facts), expected);
    }

    #[test]
    fn every_alert_says_what_why_and_how_to_mend_it() {
        let seeds = [(
            SeedAnswer {
                seed: "s".into(),
                at: 0,
                addrs: BTreeSet::new(),
                resolvers: 1,
                answered: 0,
                validation: "",
                error: None,
            },
            0,
        )];
        let progress = Progress {
            network_down: true,
            oldest_due: Some(0),
            ..Progress::default()
        };
        let facts = Facts {
            stale: true,
            good: 1,
            good_a_day_ago: Some(100),
            elsewhere: 60,
            writer: Some(("x", 0)),
            disk: Some((0, 1)),
            clock: Some((5_000, 50)),
            progress,
            seeds: &seeds,
            ..well()
        };
        let alerts = judge(&facts);
        assert_eq!(alerts.len(), 10, "{alerts:?}");
        for alert in &alerts {
            assert!(
                alert.what.len() > 10 && !alert.why.is_empty() && alert.remedy.len() > 20,
                "{alert:?}"
            );
        }
        assert!(alerts.is_sorted_by_key(|alert| alert.severity));
    }

    proptest! {
        #[test]
        fn no_numbers_are_too_strange(now: i64, newest: Option<i64>, good: u32, before: Option<u32>, free: u64, all: u64,
            clock: i64, due: Option<i64>, answered: u32, elsewhere: u32) {
            let facts = Facts {
                now, stale: true, newest_ok_at: newest, good: good.into(), good_a_day_ago: before.map(u64::from),
                disk: Some((free, all)), clock: Some((clock, 9)), answered: answered.into(), elsewhere: elsewhere.into(),
                progress: Progress { oldest_due: due, ..Progress::default() }, ..Facts::default()
            };
            judge(&facts);
        }
    }
}
