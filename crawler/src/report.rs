//! What a crawl found: for people as a table, for programs as JSON.

use std::collections::BTreeMap;
use std::fmt;

use quantumcoin::reachability::Outcome;
use serde::{Deserialize, Serialize};

/// The result of one crawl.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrawlReport {
    /// The network's name.
    pub network: String,
    /// Start, Unix seconds.
    pub started_at: i64,
    /// End, Unix seconds.
    pub ended_at: i64,
    /// Probes made.
    pub probes: u64,
    /// Probes by outcome.
    pub outcomes: BTreeMap<String, u64>,
    /// Addresses known at the end.
    pub known: u64,
    /// Addresses that accept connections.
    pub reachable: u64,
    /// Good peers.
    pub good: u64,
    /// Median height of the peers that passed, blocks.
    pub height: Option<u32>,
    /// Whether the good set is the last known one only.
    pub stale: bool,
    /// Whether the crawl was stopped before its frontier was exhausted.
    pub interrupted: bool,
}

impl CrawlReport {
    /// Probes that ended so.
    pub fn count(&self, outcome: Outcome) -> u64 {
        self.outcomes.get(outcome.as_str()).copied().unwrap_or(0)
    }
}

impl fmt::Display for CrawlReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut table = comfy_table::Table::new();
        table.load_preset(comfy_table::presets::NOTHING);
        let mut row = |name: &str, value: String| {
            table.add_row([name.to_owned(), value]);
        };
        row("network", self.network.clone());
        row(
            "took",
            format!("{} s", self.ended_at.saturating_sub(self.started_at)),
        );
        row("probes", self.probes.to_string());
        for (outcome, n) in &self.outcomes {
            row(&format!("  {outcome}"), n.to_string());
        }
        row("known addresses", self.known.to_string());
        row("reachable", self.reachable.to_string());
        row("good", self.good.to_string());
        row(
            "median height",
            self.height
                .map_or_else(|| "unknown".to_owned(), |h| h.to_string()),
        );
        if self.stale {
            row(
                "note",
                "stale: the good set is the last known one only".to_owned(),
            );
        }
        if self.interrupted {
            row(
                "note",
                "stopped before every known address was visited".to_owned(),
            );
        }
        write!(f, "{table}")
    }
}
