//! What is not as it should be, and what an operator does about it. Pure.
//!
//! The page, `quantumcoin-node health` and `GET /api/v1/health` say the same: each piece of advice has a code for programs, the
//! fact in words, and a remedy that can be followed with what is on the screen.

use quantumcoin::network::nat::Reachability;
use quantumcoin::network::security::clocks;
use quantumcoin::network::status::NetworkStatus;
use quantumcoin::service::health::{Report, Status};
use serde::Serialize;

/// Blocks in a row that may be late before somebody should look: with exponential waits one in 20,000 gaps is so long.
const LATE_BLOCKS: u64 = 10;

/// Outbound peers below which one attacker might be all of them.
const FEW_PEERS: usize = 4;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The node does not do its work.
    Bad,
    /// It does, and somebody should look.
    Warning,
    /// Good to know.
    Note,
}

impl Severity {
    /// As it stands in JSON.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Bad => "bad",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// One thing that is not as it should be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Advice {
    /// How bad it is.
    pub severity: Severity,
    /// From a closed list, for programs.
    pub code: &'static str,
    /// What is so.
    pub fact: String,
    /// What to do.
    pub remedy: &'static str,
}

/// What is looked at.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// Of the network part.
    pub status: &'a NetworkStatus,
    /// All checks.
    pub health: &'a Report,
    /// Seconds between blocks, as the network wants it.
    pub spacing: u64,
    /// Time in the tip's header, Unix seconds.
    pub tip_time: u64,
    /// Whether it is a network of one's own, where nobody need mine and everything is on one machine.
    pub devnet: bool,
    /// Unix seconds.
    pub now: u64,
}

/// What is not as it should be, the worst first; empty when all is well.
#[must_use]
pub fn advise(facts: &Facts<'_>) -> Vec<Advice> {
    let mut all = Vec::new();
    all.extend(storage(facts));
    all.extend(peers(facts));
    all.extend(seeds(facts));
    all.extend(sync(facts));
    all.extend(clock(facts));
    all.extend(nat(facts));
    all.sort_by_key(|advice| advice.severity);
    all
}

fn new(severity: Severity, code: &'static str, fact: String, remedy: &'static str) -> Advice {
    Advice {
        severity,
        code,
        fact,
        remedy,
    }
}

/// What the node's checks say of its disk.
fn storage(facts: &Facts<'_>) -> Option<Advice> {
    let checks = facts.health.checks.iter();
    let disk = checks.filter(|check| ["storage", "disk"].contains(&check.name));
    let worst = disk.max_by_key(|check| check.status)?;
    let starting = worst.reason == "starting";
    let severity = match worst.status {
        Status::Ok => return None,
        _ if starting => return None,
        Status::Degraded => Severity::Warning,
        Status::Failing => Severity::Bad,
    };
    Some(new(
        severity,
        "storage",
        format!("The disk: {}.", worst.reason),
        "Make room on the disk of the data directory and look into the log; then start the node again. `quantumcoin-node chain \
         check` reads a stopped node's chain for damage.",
    ))
}

fn peers(facts: &Facts<'_>) -> Option<Advice> {
    let (outbound, inbound) = (facts.status.outbound, facts.status.inbound);
    if outbound + inbound == 0 {
        return Some(new(
            Severity::Bad,
            "no_peers",
            "There are no peers.".to_owned(),
            "See below what each DNS seed answered; check the resolver and whether the firewall lets TCP out. `quantumcoin-node add \
             ADDR:PORT` connects to a node that you know.",
        ));
    }
    (outbound < FEW_PEERS && !facts.devnet).then(|| {
        new(
            Severity::Warning,
            "few_peers",
            format!("Only {outbound} peers of the node's own choice are connected."),
            "It looks for more by itself. If that does not help within minutes, check the firewall for outgoing TCP.",
        )
    })
}

fn seeds(facts: &Facts<'_>) -> Option<Advice> {
    let seeds = &facts.status.seeds;
    let silent = !seeds.is_empty() && seeds.iter().all(|seed| seed.addresses == 0);
    let alone: Vec<_> = seeds
        .iter()
        .filter(|seed| seed.standing.is_suspect() || seed.seed_standing.is_suspect())
        .map(|seed| format!("{} through {}", seed.seed, seed.provider))
        .collect();
    if silent {
        return Some(new(
            Severity::Warning,
            "seeds_silent",
            "No DNS seed gave an address.".to_owned(),
            "Check the resolver (`resolver` in the configuration), UDP and TCP 53 and 853, and the machine's clock: a wrong one makes \
             signatures and certificates invalid.",
        ));
    }
    (!alone.is_empty()).then(|| {
        new(
            Severity::Warning,
            "seeds_disagree",
            format!("Others contradict the answer of {}.", alone.join(", ")),
            "If one resolver is alone with its answers, leave it out; if every resolver says so of one seed, tell the seed's operator.",
        )
    })
}

fn sync(facts: &Facts<'_>) -> Option<Advice> {
    let sync = facts.status.sync;
    if facts.status.outbound + facts.status.inbound == 0 {
        // That there are no peers says it.
        return None;
    }
    if !sync.synced {
        return Some(new(
            Severity::Note,
            "syncing",
            format!(
                "The chain is being synchronised: block {} of {}.",
                sync.block_height, sync.header_height
            ),
            "Nothing: it goes on by itself while there are peers.",
        ));
    }
    let age = facts.now.saturating_sub(facts.tip_time);
    let late = !facts.devnet && age > facts.spacing.saturating_mul(LATE_BLOCKS);
    late.then(|| {
        new(
            Severity::Warning,
            "tip_old",
            format!("The last block is {} minutes old.", age / 60),
            "Compare its height with another node's or an explorer's. If they are ahead, this node's peers hold it back: `quantumcoin-node \
             add ADDR:PORT` connects to one that you trust.",
        )
    })
}

fn clock(facts: &Facts<'_>) -> Option<Advice> {
    let slow = facts.status.security.clock_slow_by?;
    clocks::is_skewed(slow).then(|| {
        let (minutes, way) = (
            slow.unsigned_abs() / 60,
            if slow > 0 { "behind" } else { "ahead of" },
        );
        new(
            Severity::Bad,
            "clock",
            format!("This machine's clock is {minutes} minutes {way} that of most peers."),
            "Set it (timedatectl set-ntp true), or valid blocks will be refused.",
        )
    })
}

fn nat(facts: &Facts<'_>) -> Option<Advice> {
    let nat = &facts.status.nat;
    if !nat.report.enabled || nat.reachable != Reachability::Unreachable {
        return None;
    }
    let remedy = if nat.report.double_nat {
        "Another translation is behind the router, of a second router or of the provider (CGNAT), where no port can be had. The node works \
         all the same; to be reachable, ask the provider for a public address, or use IPv6."
    } else {
        "Open the port in the firewall, or lead it here in the router by hand where neither UPnP nor NAT-PMP nor PCP is on; `quantumcoin-node \
         nat` tells more. The node works all the same, but others can't dial it."
    };
    Some(new(
        Severity::Note,
        "unreachable",
        "Peers that were asked to could not dial this node.".to_owned(),
        remedy,
    ))
}

#[cfg(test)]
mod tests {
    use bitcoin::BlockHash;
    use bitcoin::hashes::Hash;
    use quantumcoin::network::discovery::SeedReport;
    use quantumcoin::network::discovery::agreement::Standing;
    use quantumcoin::network::nat::NatReport;
    use quantumcoin::network::status::{NatStatus, SecurityStatus, SyncProgress};
    use quantumcoin::service::health::Health;

    use super::*;

    const NOW: u64 = 1_800_000_000;

    /// A node of which all is well.
    fn well() -> NetworkStatus {
        NetworkStatus {
            network: "mainnet".to_owned(),
            node_id: String::new(),
            listen_addr: "0.0.0.0:8333".parse().unwrap(),
            external: None,
            nat: NatStatus {
                report: NatReport {
                    enabled: true,
                    ..NatReport::default()
                },
                reachable: Reachability::Reachable,
                confirmed_by: 2,
                advertised: None,
                also_advertised: None,
            },
            outbound: 10,
            inbound: 3,
            peers: Vec::new(),
            sync: SyncProgress {
                header_height: 9,
                block_height: 9,
                tip: BlockHash::all_zeros(),
                in_flight: 0,
                synced: true,
                peers: 13,
                failed: false,
            },
            known_addresses: 100,
            tried_addresses: 50,
            seeds: vec![seed(12, Standing::Agrees)],
            security: SecurityStatus::default(),
        }
    }

    fn seed(addresses: usize, standing: Standing) -> SeedReport {
        SeedReport {
            seed: "seed.example.org".to_owned(),
            provider: "system".to_owned(),
            addresses,
            answered: 4,
            first_answer_us: None,
            validation: None,
            error: None,
            standing,
            agrees_with: Vec::new(),
            shared: 0,
            seed_standing: Standing::Unclear,
        }
    }

    /// The codes of what is said, with a check of the disk as `storage` sets it.
    fn codes(status: &NetworkStatus, age: u64, storage: impl Fn(&Health)) -> Vec<&'static str> {
        let health = Health::new();
        storage(&health);
        let advice = advise(&Facts {
            status,
            health: &health.ready(),
            spacing: 600,
            tip_time: NOW - age,
            devnet: false,
            now: NOW,
        });
        assert!(advice.is_sorted_by_key(|advice| advice.severity));
        assert!(advice.iter().all(|advice| !advice.remedy.is_empty()));
        advice.iter().map(|advice| advice.code).collect()
    }

    #[test]
    fn nothing_is_said_when_all_is_well_and_while_it_starts() {
        assert_eq!(codes(&well(), 60, |_| {}), [""; 0]);
        let starting = codes(&well(), 60, |health| drop(health.vital("storage")));
        assert_eq!(starting, [""; 0]);
    }

    #[test]
    fn each_fault_is_told_by_its_name() {
        let with = |change: fn(&mut NetworkStatus)| {
            let mut status = well();
            change(&mut status);
            codes(&status, 60, |_| {})
        };
        assert_eq!(with(|s| (s.outbound, s.inbound) = (0, 0)), ["no_peers"]);
        assert_eq!(with(|s| s.outbound = 3), ["few_peers"]);
        let silent = with(|s| s.seeds = vec![seed(0, Standing::Silent)]);
        assert_eq!(silent, ["seeds_silent"]);
        let alone = with(|s| s.seeds.push(seed(3, Standing::Alone)));
        assert_eq!(alone, ["seeds_disagree"]);
        assert_eq!(with(|s| s.sync.synced = false), ["syncing"]);
        assert_eq!(codes(&well(), 6_001, |_| {}), ["tip_old"]);
        for slow in [601, -601] {
            let mut status = well();
            status.security.clock_slow_by = Some(slow);
            assert_eq!(codes(&status, 60, |_| {}), ["clock"]);
        }
        let unreachable = with(|s| s.nat.reachable = Reachability::Unreachable);
        assert_eq!(unreachable, ["unreachable"]);
        let full = codes(&well(), 60, |health| {
            health.check("disk").degraded("400 MB are free");
            health.vital("storage").failing("blocks can't be stored");
        });
        assert_eq!(full, ["storage"]);
    }

    #[test]
    fn what_is_worst_comes_first_and_nothing_is_said_twice() {
        let mut status = well();
        (status.outbound, status.sync.synced) = (2, false);
        status.seeds = vec![seed(0, Standing::Silent)];
        status.security.clock_slow_by = Some(7_200);
        let told = codes(&status, 60, |_| {});
        assert_eq!(told, ["clock", "few_peers", "seeds_silent", "syncing"]);
        (status.outbound, status.inbound) = (0, 0);
        let told = codes(&status, 60, |_| {});
        assert_eq!(told, ["no_peers", "clock", "seeds_silent"]);
    }
}
