//! Figures as people read them. Pure, but for the clock.

use std::time::{SystemTime, UNIX_EPOCH};

use quantumcoin::chain::Blockchain;
use quantumcoin::network::nat::{NatKind, Probe, Reachability};
use quantumcoin::network::status::NatStatus;
use quantumcoin::wire::services::{NETWORK, NETWORK_LIMITED, NOISE, TLS, WITNESS};

pub(super) fn unix_now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}

/// Time in the header of the verified tip, Unix seconds.
pub(super) fn tip_time(chain: &Blockchain) -> u64 {
    let header = chain.header(&chain.tip().hash);
    header.map_or(0, |(_, header)| header.time.into())
}

/// A number with thin spaces between thousands.
pub(super) fn count(n: u64) -> String {
    let digits = n.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// A time that has passed or will, roughly.
pub(super) fn span(seconds: u64) -> String {
    match seconds {
        s if s < 120 => format!("{s} s"),
        s if s < 7_200 => format!("{} min", s / 60),
        s if s < 172_800 => format!("{} h", s / 3_600),
        s => format!("{} days", s / 86_400),
    }
}

/// How long ago.
pub(super) fn ago(at: u64, now: u64) -> String {
    match now.saturating_sub(at) {
        0..2 => "now".to_owned(),
        s => format!("{} ago", span(s)),
    }
}

/// Until when; for ever if there is no end.
pub(super) fn left(until: Option<u64>, now: u64) -> String {
    until.map_or_else(
        || "for ever".to_owned(),
        |until| format!("{} more", span(until.saturating_sub(now))),
    )
}

/// Bytes with a decimal unit.
pub(super) fn bytes(n: u64) -> String {
    match n {
        n if n < 10_000 => format!("{n} B"),
        n if n < 10_000_000 => format!("{} kB", n / 1_000),
        n if n < 10_000_000_000 => format!("{} MB", n / 1_000_000),
        n => format!("{} GB", n / 1_000_000_000),
    }
}

/// Names of known service bits, the rest as a number.
pub(super) fn services(bits: u64) -> Vec<String> {
    let named = [
        (NETWORK.to_u64(), "NETWORK"),
        (WITNESS.to_u64(), "WITNESS"),
        (NETWORK_LIMITED.to_u64(), "NETWORK_LIMITED"),
        (NOISE, "NOISE"),
        (TLS, "TLS"),
    ];
    let known = named.iter().filter(|(bit, _)| bits & bit != 0);
    let mut names: Vec<_> = known.map(|(_, name)| (*name).to_owned()).collect();
    let rest = named.iter().fold(bits, |rest, (bit, _)| rest & !bit);
    if rest != 0 {
        names.push(format!("{rest:#x}"));
    }
    names
}

/// Whether others can dial this node, in a word and in a sentence.
pub(super) fn reachability(nat: &NatStatus, devnet: bool) -> (&'static str, String) {
    if !nat.report.enabled && devnet {
        let why = "On a devnet and on loopback there is nothing to find out.";
        return ("–", why.to_owned());
    }
    match nat.reachable {
        Reachability::Reachable => (
            "yes",
            format!(
                "Peers of {} netgroups have dialled this node when asked.",
                nat.confirmed_by
            ),
        ),
        Reachability::Unreachable => (
            "no",
            "Peers that were asked to could not dial this node.".to_owned(),
        ),
        Reachability::Unknown => (
            "not known yet",
            "Two peers of different netgroups must have dialled this node.".to_owned(),
        ),
    }
}

/// What is between us and the world, as names and values.
pub(super) fn nat_facts(nat: &NatStatus) -> Vec<(&'static str, String)> {
    let report = &nat.report;
    let mut facts = Vec::new();
    for (name, probe) in [("IPv4", &report.v4), ("IPv6", &report.v6)] {
        facts.extend(probe.as_ref().map(|probe| (name, of_probe(probe))));
    }
    for (name, mapping) in [
        ("Mapped port", &report.mapping),
        ("Pinhole", &report.pinhole),
    ] {
        let told = |m: &quantumcoin::network::nat::Mapping| {
            let (protocol, gateway) = (m.protocol.as_str(), m.gateway);
            format!(
                "{} leads to {}, by {protocol} of {gateway}",
                m.external, m.internal
            )
        };
        facts.extend(mapping.as_ref().map(|mapping| (name, told(mapping))));
    }
    if report.double_nat {
        let what =
            "another translation is behind the router: of a second router, or of the provider";
        facts.push(("Double NAT", what.to_owned()));
    }
    let attempts = report.attempts.iter();
    facts.extend(attempts.map(|a| ("Tried", format!("{}: {}", a.protocol.as_str(), a.error))));
    let told = [nat.advertised, nat.also_advertised];
    let told: Vec<_> = told.iter().flatten().map(ToString::to_string).collect();
    let told = if told.is_empty() {
        "no address".to_owned()
    } else {
        told.join(" and ")
    };
    facts.push(("Peers are told", told));
    facts
}

fn of_probe(probe: &Probe) -> String {
    let kind = NatKind::describe(probe.kind);
    probe.external.map_or_else(
        || kind.to_owned(),
        |ip| {
            format!(
                "{kind}; {ip} outside, as {} of {} STUN servers see it",
                probe.agreed, probe.answered
            )
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_times_and_sizes_read_well() {
        assert_eq!(count(1_234_567), "1\u{202f}234\u{202f}567");
        assert_eq!(
            (ago(100, 101), ago(100, 400)),
            ("now".into(), "5 min ago".into())
        );
        assert_eq!(ago(500, 100), "now");
        assert_eq!(left(None, 7), "for ever");
        assert_eq!(left(Some(86_400 * 3), 0), "3 days more");
        assert_eq!(
            (bytes(9_999).as_str(), bytes(12_345_678).as_str()),
            ("9999 B", "12 MB")
        );
    }

    #[test]
    fn unknown_services_stay_visible() {
        assert_eq!(
            services(9 | 1 << 40),
            ["NETWORK", "WITNESS", "0x10000000000"]
        );
        assert!(services(0).is_empty());
    }
}
