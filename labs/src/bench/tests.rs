//! The contract: which keys each benchmark's JSON has at least.

use super::report::Report;
use super::{headers, sync, transport, verify};
use crate::chain_generator::files::Summary;

fn assert_keys(report: &Report, expected: &[&str]) {
    let json = report.to_json();
    let object = json.as_object().unwrap();
    for key in expected {
        assert!(object.contains_key(*key), "{key} in {json}");
    }
    let (quick, others): (Vec<_>, Vec<_>) = object.iter().partition(|(key, _)| *key == "quick");
    assert!(quick.len() == 1 && quick[0].1.is_boolean(), "{json}");
    // Without a round all that is measured is missing, and says so.
    assert!(
        others
            .iter()
            .all(|(_, value)| value.is_number() || value.is_null())
    );
}

#[test]
fn every_benchmark_has_its_keys() {
    let headers = headers::Measured::default().report(false, 0);
    assert_keys(&headers, &["headers", "check_cpu_s", "load_s", "rss_mb"]);
    let verify = verify::Measured::default().report(false, 0, 1);
    assert_keys(&verify, &["verify_per_s", "bare_verify_per_s", "ratio"]);
    let transport = transport::Measurements::default().report(true, 0);
    assert_keys(
        &transport,
        &[
            "xxhfs_initiator_us",
            "xxhfs_responder_us",
            "xkhfs_responder_us",
            "xx_initiator_us",
            "xx_responder_us",
            "tls_initiator_us",
            "tls_responder_us",
            "ratio_hybrid_to_classical",
            "bulk_ratio_1mib",
            "bulk_ratio_250b",
            "loopback_gb_per_core_s",
            "idle_connection_kib",
        ],
    );
    #[cfg(target_os = "linux")]
    assert_keys(
        &super::dns::Measured::default().report(true, 0),
        &[
            "ours_per_cpu_s",
            "echo_per_cpu_s",
            "knot_per_cpu_s",
            "nsd_per_cpu_s",
            "hickory_per_cpu_s",
            "ratio_echo",
            "ratio_knot",
            "ratio_nsd",
            "ratio_hickory",
            "p99_us_half_load",
            "knot_p99_us_half_load",
            "rss_mb",
        ],
    );
    let summary = Summary {
        blocks: 1,
        transactions: 2,
        signatures: 3,
        bytes: 4,
        digest: String::new(),
    };
    let sync = sync::Measurements::default().report(true, 0, &summary);
    assert_keys(
        &sync,
        &[
            "blocks",
            "transactions",
            "wall_s",
            "cpu_s",
            "blocks_per_s",
            "peak_rss_mb",
            "ratio_to_local_validation",
            "ratio_with_bad_peers",
        ],
    );
}
