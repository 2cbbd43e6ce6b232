//! `bench transport`: what securing a connection costs, and what it costs to send through one.
//!
//! | part | what it measures |
//! |---|---|
//! | `handshakes` | processor time of each side: the Noise patterns by themselves beside classical ones, and whole handshakes with identity by Noise and by TLS |
//! | `classical` | whole handshakes of others: as libp2p does Noise, and rustls with X25519 and Ed25519 |
//! | `bulk` | records through memory beside the bare cipher, and through TCP on loopback |
//! | `memory` | what a connection holds, at rest and in its handshake |

mod bulk;
mod classical;
mod handshakes;
mod memory;
mod pipe;
mod tcp;

pub use self::memory::Part;
use super::report::{Figure, Goal, Report};
use super::{rounds, worker};

/// Rounds of a quick run.
const QUICK_ROUNDS: usize = 3;

/// Figures of all rounds, each by its key.
#[derive(Default)]
pub(super) struct Measurements {
    values: std::collections::BTreeMap<&'static str, Vec<f64>>,
}

impl Measurements {
    fn add(&mut self, key: &'static str, value: f64) {
        self.values.entry(key).or_default().push(value);
    }

    fn figure(&mut self, key: &'static str, what: &'static str, decimals: usize) -> Figure {
        let values = self.values.remove(key).unwrap_or_default();
        Figure::measured(key, what, decimals, values)
    }

    pub(super) fn report(mut self, quick: bool, rounds: usize) -> Report {
        let mut f = |key, what, decimals| self.figure(key, what, decimals);
        let figures = vec![
            f("xxhfs_initiator_us", "XXhfs, initiator, us", 1),
            f("xxhfs_responder_us", "XXhfs, responder, us", 1),
            f("xkhfs_initiator_us", "XKhfs, initiator, us", 1),
            f("xkhfs_responder_us", "XKhfs, responder, us", 1),
            f(
                "xx_initiator_us",
                "XX on the same library, initiator, us",
                1,
            ),
            f(
                "xx_responder_us",
                "XX on the same library, responder, us",
                1,
            ),
            f(
                "xx_default_initiator_us",
                "XX with snow's own resolver, initiator, us",
                1,
            ),
            f(
                "xx_default_responder_us",
                "XX with snow's own resolver, responder, us",
                1,
            ),
            f("ratio_hybrid_to_classical", "XXhfs to XX, both sides", 3)
                .with_goal(Goal::AtMost(1.3)),
            f(
                "noise_initiator_us",
                "Noise with identity, initiator, us",
                1,
            ),
            f(
                "noise_responder_us",
                "Noise with identity, responder, us",
                1,
            ),
            f(
                "noise_known_initiator_us",
                "the same by XKhfs, initiator, us",
                1,
            ),
            f(
                "noise_known_responder_us",
                "the same by XKhfs, responder, us",
                1,
            ),
            f("tls_initiator_us", "TLS with identity, initiator, us", 1),
            f("tls_responder_us", "TLS with identity, responder, us", 1),
            f(
                "libp2p_xx_initiator_us",
                "libp2p's XX with Ed25519, initiator, us",
                1,
            ),
            f(
                "libp2p_xx_responder_us",
                "libp2p's XX with Ed25519, responder, us",
                1,
            ),
            f(
                "rustls_classical_initiator_us",
                "rustls, X25519 and Ed25519, initiator, us",
                1,
            ),
            f(
                "rustls_classical_responder_us",
                "rustls, X25519 and Ed25519, responder, us",
                1,
            ),
            f(
                "bulk_ratio_1mib",
                "messages of 1 MiB, to the bare cipher",
                3,
            )
            .with_goal(Goal::AtLeast(0.85)),
            f(
                "bulk_ratio_250b",
                "messages of 250 B, to the bare cipher",
                3,
            )
            .with_goal(Goal::AtLeast(0.5)),
            f(
                "loopback_gb_per_core_s",
                "over TCP on loopback, both ends, GB per core-second",
                2,
            ),
            f("tls_loopback_gb_per_core_s", "the same by TLS", 2),
            f(
                "idle_connection_kib",
                "an end of a connection at rest, KiB",
                1,
            )
            .with_goal(Goal::AtMost(32.0)),
            f("idle_tls_connection_kib", "the same by TLS, KiB", 1).with_goal(Goal::AtMost(32.0)),
            f(
                "handshake_connection_kib",
                "a connection in its handshake, KiB",
                1,
            )
            .with_goal(Goal::AtMost(16.0)),
        ];
        Report::new("transport", quick, rounds, figures)
    }
}

/// Runs the benchmark.
///
/// # Errors
/// Where a handshake fails, or what was sent does not arrive.
pub fn run(quick: bool) -> anyhow::Result<Report> {
    let rounds = rounds(quick, QUICK_ROUNDS);
    // Once without counting: caches and the library's own start are as warm for the first as for the last.
    handshakes::round(&mut Measurements::default(), 50)?;
    let mut figures = Measurements::default();
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        handshakes::round(&mut figures, if quick { 100 } else { 1_000 })?;
        bulk::round(&mut figures, if quick { 32 } else { 256 })?;
        for (key, part) in memory::FIGURES {
            let found = worker::run(&["transport", part])?;
            figures.add(key, worker::number(&found, "kib")?);
        }
    }
    Ok(figures.report(quick, rounds))
}
