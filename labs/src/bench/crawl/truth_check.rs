//! Compares what a crawl has written down with the truth.

use std::collections::BTreeMap;
use std::path::Path;

use quantumcoin::reachability::verdict::is_good;
use quantumcoin::store::StoreReader;
use quantumcoin_crawler::config::store_path;

use crate::internet::truth::{Kind, Truth};

/// Rows that are read at a time.
const BATCH: u32 = 10_000;

/// Faults that are shown.
const SHOWN: usize = 20;

/// What came of a crawl.
#[derive(Debug, Default)]
pub(super) struct Check {
    /// Peers that are judged good.
    pub(super) good: u64,
    /// Addresses whose last visit did not end as it must, or that are judged good and are not, or the other way round, or
    /// that were not visited.
    pub(super) errors: u64,
    /// Peers that a seeder would serve, and those of them that are of the swarm.
    pub(super) served: u64,
    pub(super) served_of_swarm: u64,
    /// Addresses that are none of the network's.
    pub(super) invented: u64,
    wrong: BTreeMap<(Kind, String), (u64, String)>,
}

impl Check {
    pub(super) async fn of(dir: &Path, truth: &Truth) -> anyhow::Result<Self> {
        let reader = StoreReader::open(&store_path(dir)).await?;
        let newest = reader.standard(i64::MAX / 2).await?.newest_ok_at;
        let standard = reader.standard(newest.unwrap_or(0)).await?;
        let banned = reader.banned(standard.as_of).await?;
        let mut check = Self::default();
        let mut seen = vec![false; truth.size() as usize];
        let mut after = 0;
        loop {
            let (lines, last) = reader.peers_after(after, BATCH, &banned).await?;
            if lines.is_empty() {
                break;
            }
            after = last;
            for line in lines {
                let facts = &line.facts;
                let Some(number) = truth.number(facts.addr) else {
                    check.invented += 1;
                    continue;
                };
                if let Some(seen) = seen.get_mut(number as usize) {
                    *seen = true;
                }
                let good = is_good(&standard.policy, facts, standard.median, standard.as_of);
                check.good += u64::from(good);
                let (kind, outcome) = (truth.kind(number), facts.last_outcome);
                let due = kind.outcome();
                if outcome != Some(due) || good != due.is_success() {
                    let said = outcome.map_or("nothing", |outcome| outcome.as_str());
                    let said = format!("{said}, good: {good}");
                    check.wrong(kind, said, facts.addr.to_string());
                }
            }
        }
        for (number, _) in seen.iter().enumerate().filter(|(_, seen)| !**seen) {
            let number = number as u32;
            let addr = truth.address(number).to_string();
            check.wrong(truth.kind(number), "not visited".to_owned(), addr);
        }
        let served = reader.good_peers(standard.as_of).await?.peers;
        let of_swarm = served.iter().filter(|peer| truth.is_of_swarm(peer.addr));
        check.served_of_swarm = of_swarm.count() as u64;
        check.served = served.len() as u64;
        reader.close().await;
        Ok(check)
    }

    fn wrong(&mut self, kind: Kind, said: String, addr: String) {
        self.errors += 1;
        let entry = self.wrong.entry((kind, said));
        entry.or_insert((0, addr)).0 += 1;
    }

    /// What was wrong, in words.
    pub(super) fn faults(&self) -> impl Iterator<Item = String> {
        let wrong = self.wrong.iter().take(SHOWN);
        wrong.map(|((kind, said), (count, addr))| {
            let (kind, due) = (kind.as_str(), kind.outcome());
            format!("{count} times {kind}, which must be {due}: {said} (such as {addr})")
        })
    }
}
