//! The node's own discovery asks a running seeder and understands everything that it says.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test's helpers fail as the test does"
)]

mod support;

use quantumcoin::{
    chain_spec::ChainSpec,
    network::discovery::{Discovery, MAX_PER_SEED, Provider},
};
use support::bench;

#[tokio::test(flavor = "multi_thread")]
async fn a_fresh_node_finds_described_peers_by_every_type() {
    let bench = bench().await;
    let discovery = Discovery::new(&ChainSpec::devnet(), &[Provider::Server(bench.dns)]).unwrap();
    let seeds = ["seed1.quantumcoin.network", "seed2.quantumcoin.network"].map(str::to_owned);
    let found = discovery.run(&seeds, None).await;

    assert_eq!(found.seeds.len(), 2);
    for report in &found.seeds {
        assert_eq!(report.answered, 4, "A, AAAA, SRV and TXT: {report:?}");
        assert_eq!(
            report.addresses, MAX_PER_SEED,
            "there are 61 peers: {report:?}"
        );
    }
    let described = found
        .candidates
        .iter()
        .filter(|peer| peer.node_id.is_some())
        .count();
    assert!(described > 0, "TXT tells identities");
    bench.finish().await;
}
