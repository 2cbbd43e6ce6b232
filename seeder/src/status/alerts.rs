//! What an operator should look at, the gravest first, and what to do about it. Pure.

use quantumcoin::service::health::{CheckReport, Status};
use serde::Serialize;

use crate::snapshot::Origin;

/// Fewer good peers than that, and answers hold the same few to everybody: eight is what a new node connects to.
const FEW_PEERS: usize = 8;

/// How grave it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// Newcomers are, or soon will be, without true answers.
    Critical,
    /// Answers are good still.
    Warning,
}

impl Severity {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Critical => "critical",
            Self::Warning => "warning",
        }
    }
}

/// One thing to look at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Alert {
    pub(crate) severity: Severity,
    pub(crate) what: String,
    pub(crate) remedy: &'static str,
}

/// What the checks do not tell.
#[derive(Debug, Clone)]
pub(crate) struct Ahead {
    pub(crate) origin: Origin,
    pub(crate) good_peers: usize,
    /// Zones that are meant to be signed and are not.
    pub(crate) unsigned: Vec<String>,
    /// Why zones will soon have no keys to sign with.
    pub(crate) ending: Vec<String>,
}

/// The alerts of a moment.
pub(crate) fn alerts(checks: &[CheckReport], ahead: &Ahead) -> Vec<Alert> {
    let mut all: Vec<Alert> = checks.iter().filter_map(of_check).collect();
    all.extend(of_peers(ahead));
    all.extend(ahead.unsigned.iter().map(|zone| Alert {
        severity: Severity::Critical,
        what: format!("{zone} is not signed, though a directory of keys is named for it"),
        remedy: "Make keys by `quantumcoin-seeder keys generate`, or, if its parent has no DS, take the directory out of the settings.",
    }));
    all.extend(ahead.ending.iter().map(|why| Alert {
        severity: Severity::Warning,
        what: format!("within seven days: {why}"),
        remedy: "Make the next key now, so that caches learn it in time: `quantumcoin-seeder keys roll`.",
    }));
    all.sort_by_key(|alert| alert.severity);
    all
}

fn of_peers(ahead: &Ahead) -> Option<Alert> {
    let (severity, what) = match ahead.origin {
        Origin::Nothing => (
            Severity::Critical,
            "answers hold no peers: there is no crawl, and the chain spec names no bootstrap nodes"
                .to_owned(),
        ),
        Origin::Bootstrap => (
            Severity::Warning,
            "answers hold the chain spec's bootstrap nodes alone: the crawl has no good peer"
                .to_owned(),
        ),
        Origin::Store if ahead.good_peers < FEW_PEERS => (
            Severity::Warning,
            format!("answers are drawn from {} peers alone", ahead.good_peers),
        ),
        Origin::Store => return None,
    };
    Some(Alert {
        severity,
        what,
        remedy: "Is quantumcoin-crawler running, on the same network and store? Its dashboard tells why peers are not good.",
    })
}

fn of_check(check: &CheckReport) -> Option<Alert> {
    let severity = match (check.status, check.name) {
        (Status::Ok, _) => return None,
        // What signs in their place may end at any time.
        (_, "keys") | (Status::Failing, _) => Severity::Critical,
        (Status::Degraded, _) => Severity::Warning,
    };
    let remedy = match check.name {
        "store" => {
            "See that the crawler runs and writes into the file that --store names; `quantumcoin-seeder check` looks at the whole path."
        }
        "keys" => {
            "Put the keys back as they were (a backup, or `quantumcoin-seeder keys`); never replace all keys of a zone at once."
        }
        "audit" => {
            "`quantumcoin-seeder check` looks at addresses, firewall and delegation, and says what to mend."
        }
        "tls" => "Have the certificate renewed; it is read again without a restart.",
        "dns" => "Restart the seeder, and report what its log says.",
        _ => "The log says more.",
    };
    Some(Alert {
        severity,
        what: format!("{}: {}", check.name, check.reason),
        remedy,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(name: &'static str, status: Status, reason: &str) -> CheckReport {
        CheckReport {
            name,
            status,
            reason: reason.to_owned(),
            since: 0,
        }
    }

    fn well() -> Ahead {
        Ahead {
            origin: Origin::Store,
            good_peers: 100,
            unsigned: Vec::new(),
            ending: Vec::new(),
        }
    }

    #[test]
    fn where_all_is_well_nothing_is_told() {
        assert_eq!(alerts(&[check("store", Status::Ok, "")], &well()), []);
    }

    #[test]
    fn the_gravest_comes_first_and_each_has_a_remedy() {
        let ahead = Ahead {
            origin: Origin::Bootstrap,
            unsigned: vec!["seed.test.".to_owned()],
            ending: vec!["a.test. has no active key".to_owned()],
            ..well()
        };
        let checks = [
            check("audit", Status::Degraded, "192.0.2.1:53 over tcp: silence"),
            check("keys", Status::Degraded, "signing with the keys of before"),
            check("store", Status::Failing, "no such file"),
        ];
        let all = alerts(&checks, &ahead);
        let gravest = all
            .iter()
            .take_while(|alert| alert.severity == Severity::Critical);
        assert_eq!((all.len(), gravest.count()), (6, 3), "{all:?}");
        assert!(all.is_sorted_by_key(|alert| alert.severity), "{all:?}");
        assert!(all.iter().all(|alert| !alert.remedy.is_empty()));
        assert!(all.iter().any(|alert| alert.what.contains("silence")));
    }

    #[test]
    fn few_peers_are_told_and_none_is_grave() {
        let few = Ahead {
            good_peers: 3,
            ..well()
        };
        let all = alerts(&[], &few);
        assert!(all[0].what.contains("3 peers") && all[0].severity == Severity::Warning);
        let none = Ahead {
            origin: Origin::Nothing,
            good_peers: 0,
            ..well()
        };
        assert_eq!(alerts(&[], &none)[0].severity, Severity::Critical);
    }
}
