//! The figures of `labs network honest`.

use crate::bench::machine;
use crate::bench::report::{Figure, Goal, Report};
use crate::network::verdict::Findings;

/// What the run came to, besides what was found.
#[derive(Debug, Default)]
pub(super) struct Done {
    pub(super) seconds: f64,
    pub(super) blocks: u32,
    pub(super) transactions: usize,
    pub(super) restarts: usize,
    pub(super) joined: usize,
    pub(super) tips: usize,
    pub(super) settle_s: f64,
    /// Least and most of all nodes at the end.
    pub(super) known_addresses: Vec<f64>,
    pub(super) connections: Vec<f64>,
}

pub(super) fn report(done: &Done, findings: &Findings, nodes: usize, quick: bool) -> Report {
    let count = |key, what, count: usize| Figure::count(key, what, count as u64);
    let figures = vec![
        count("nodes", "nodes", nodes),
        Figure::measured("seconds", "under load, s", 0, vec![done.seconds]),
        Figure::count("blocks", "blocks mined meanwhile", done.blocks.into()),
        count(
            "transactions",
            "transactions in every node's chain",
            done.transactions,
        ),
        count("joined", "nodes that joined and synced later", done.joined),
        count("restarts", "restarts", done.restarts),
        Figure::measured(
            "known_addresses",
            "addresses in a node's book",
            0,
            done.known_addresses.clone(),
        ),
        Figure::measured(
            "connections",
            "connections of a node",
            0,
            done.connections.clone(),
        ),
        count("penalties", "penalties", findings.penalties.len()).with_goal(Goal::AtMost(0.0)),
        Figure::count("events", "security events that only tell", findings.told),
        count("tips", "tips at the end", done.tips).with_goal(Goal::AtMost(1.0)),
        Figure::measured(
            "settle_s",
            "from the last load until all have all, s",
            1,
            vec![done.settle_s],
        ),
        Figure::measured(
            "peak_rss_mb",
            "peak memory of all nodes, MB",
            1,
            machine::peak_rss_mb().into_iter().collect(),
        ),
    ];
    Report::new("network honest", quick, 1, figures)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_has_its_keys() {
        let json = report(&Done::default(), &Findings::default(), 30, true).to_json();
        for key in [
            "nodes",
            "seconds",
            "blocks",
            "transactions",
            "penalties",
            "events",
            "tips",
            "peak_rss_mb",
        ] {
            assert!(json.get(key).is_some(), "{key} in {json}");
        }
    }
}
