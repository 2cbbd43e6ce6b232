//! `bench dns`: queries per second of the server's processor time, and how long answers take, beside Knot, NSD,
//! hickory-server and a bare echo.
//!
//! Every server has one worker on one core and answers from four zones with 24 A and 24 AAAA records at each apex (ours draws
//! them from 5,000 peers); the client has the other core. Each is asked the same mix over loopback with 224 queries
//! outstanding, in turns, so that what disturbs the machine disturbs all; the ratios are of figures of the same round. Divided by
//! the server's processor time, figures depend little on how fast the client is. The echo is the kernel's price of receiving
//! a query and sending as many bytes: no server on these calls can be faster.
//!
//! Knot pins its worker to the first core by itself, so that is the server's core for all.

mod load;
mod parts;
mod servers;

use std::time::Duration;

use anyhow::{Context, ensure};
pub use parts::Part;
use rustix::thread::{CpuSet, sched_setaffinity};

use self::load::{Counts, Mix};
use self::servers::Server;
use super::report::{Figure, Goal, Report};
use super::rounds;

/// Zones of every server.
const ZONES: [&str; 4] = [
    "seed1.quantumcoin.network",
    "seed2.quantumcoin.network",
    "seed3.quantumcoin.network",
    "seed4.quantumcoin.network",
];

/// Records of an answer.
const ADDRESSES: u8 = 24;

/// Good peers in the seeder's store.
const PEERS: u32 = 5_000;

/// The core that servers run on, and the client's.
const SERVER_CORE: &str = "0";
const CLIENT_CORE: usize = 1;

/// Rounds of a full run: a noisy machine needs more than five.
const FULL_ROUNDS: usize = 13;
const QUICK_ROUNDS: usize = 3;

/// How long each server is asked in a round.
const WINDOW: Duration = Duration::from_millis(1500);
const QUICK_WINDOW: Duration = Duration::from_millis(700);

/// A and AAAA of all zones in turn.
fn mix(dnssec_ok: bool) -> Mix {
    let kinds = [1, 28];
    let queries = ZONES
        .iter()
        .flat_map(|zone| kinds.map(|kind| load::query(zone, kind, dnssec_ok)))
        .collect();
    Mix::new(queries, ADDRESSES.into())
}

/// Runs the benchmark.
///
/// # Errors
/// When a server does not start or answers wrongly.
pub fn run(quick: bool) -> anyhow::Result<Report> {
    let cores = std::thread::available_parallelism()?.get();
    ensure!(cores >= 2, "client and server need a core each");
    let dir = tempfile::tempdir()?;
    servers::write_zones(dir.path())?;
    // Servers are started before the client takes its core, so that none inherits it.
    let contestants = Contestants::start(dir.path())?;
    let mut set = CpuSet::new();
    set.set(CLIENT_CORE);
    sched_setaffinity(None, &set).context("the client can't take a core")?;

    let rounds = rounds(quick, QUICK_ROUNDS).max(if quick { 0 } else { FULL_ROUNDS });
    let window = if quick { QUICK_WINDOW } else { WINDOW };
    let mut measured = Measured::default();
    // Once without a clock.
    contestants.round(0, window / 4, &mut Measured::default())?;
    for round in 0..rounds {
        eprintln!("round {} of {rounds}", round + 1);
        contestants.round(round, window, &mut measured)?;
    }
    contestants.half_load(window, &mut measured)?;
    measured.rss_mb = vec![contestants.ours.rss_mb()?];
    Ok(measured.report(quick, rounds))
}

/// All that are compared.
struct Contestants {
    ours: Server,
    echo: Server,
    knot: Option<Server>,
    nsd: Option<Server>,
    hickory: Server,
}

/// Figures of all rounds; a server that is not there has none.
#[derive(Default)]
pub(super) struct Measured {
    ours: Vec<f64>,
    echo: Vec<f64>,
    knot: Vec<f64>,
    nsd: Vec<f64>,
    hickory: Vec<f64>,
    busy: Vec<f64>,
    p99: Vec<f64>,
    knot_p99: Vec<f64>,
    nsd_p99: Vec<f64>,
    half_load: Vec<f64>,
    lost: u64,
    rss_mb: Vec<f64>,
}

impl Contestants {
    fn start(dir: &std::path::Path) -> anyhow::Result<Self> {
        let ours = Server::own("seeder", &[])?;
        // As many bytes as our own answers have.
        let size = |kind| answer_size(ours.addr, kind);
        let (v4, v6) = (size(1)?.to_string(), size(28)?.to_string());
        eprintln!("answers of {v4} and {v6} bytes");
        Ok(Self {
            echo: Server::own("echo", &[&v4, &v6])?,
            hickory: Server::own("hickory", &[])?,
            knot: Server::knot(dir)?,
            nsd: Server::nsd(dir)?,
            ours,
        })
    }

    /// Each of them once, beginning with another in each round.
    fn round(&self, round: usize, window: Duration, measured: &mut Measured) -> anyhow::Result<()> {
        for turn in 0..5 {
            let (server, values) = match (round + turn) % 5 {
                0 => (Some(&self.ours), &mut measured.ours),
                1 => (Some(&self.echo), &mut measured.echo),
                2 => (self.knot.as_ref(), &mut measured.knot),
                3 => (self.nsd.as_ref(), &mut measured.nsd),
                _ => (Some(&self.hickory), &mut measured.hickory),
            };
            let Some(server) = server else {
                continue;
            };
            let before = server.cpu()?;
            let counts = load::saturate(server.addr, &mix(false), window)?;
            let used = (server.cpu()? - before).as_secs_f64();
            check(&counts)?;
            values.push(counts.answered as f64 / used);
            if (round + turn).is_multiple_of(5) {
                measured.busy.push(used / window.as_secs_f64());
                measured.lost += counts.lost;
            }
        }
        Ok(())
    }

    /// The slowest answers of a hundred at half of what Knot can do (or we, without Knot).
    fn half_load(&self, window: Duration, measured: &mut Measured) -> anyhow::Result<()> {
        let capacity = if measured.knot.is_empty() {
            &measured.ours
        } else {
            &measured.knot
        };
        let rate = median(capacity).context("nobody was measured")? / 2.0;
        measured.half_load = vec![rate];
        for _ in 0..measured.ours.len().div_ceil(2) {
            let all = [
                (Some(&self.ours), &mut measured.p99),
                (self.knot.as_ref(), &mut measured.knot_p99),
                (self.nsd.as_ref(), &mut measured.nsd_p99),
            ];
            for (server, values) in all {
                let Some(server) = server else {
                    continue;
                };
                let (times, counts) = load::latencies(server.addr, &mix(false), rate, window)?;
                check(&counts)?;
                let p99 = times
                    .get(times.len() * 99 / 100)
                    .context("no answer came")?;
                values.push(p99.as_secs_f64() * 1e6);
            }
        }
        Ok(())
    }
}

fn check(counts: &Counts) -> anyhow::Result<()> {
    ensure!(counts.wrong == 0, "{} answers were wrong", counts.wrong);
    ensure!(counts.answered > 0, "no answer came");
    Ok(())
}

fn median(values: &[f64]) -> Option<f64> {
    Figure::measured("", "", 0, values.to_vec()).median()
}

fn answer_size(server: std::net::SocketAddr, kind: u16) -> anyhow::Result<usize> {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    let [zone, ..] = ZONES;
    socket.send_to(&load::query(zone, kind, false), server)?;
    let (size, _) = socket
        .recv_from(&mut [0; 2048])
        .context("the seeder does not answer")?;
    Ok(size)
}

impl Measured {
    pub(super) fn report(self, quick: bool, rounds: usize) -> Report {
        let ratio = |others: &[f64]| -> Vec<f64> {
            let pairs = self.ours.iter().zip(others);
            pairs.map(|(ours, other)| ours / other).collect()
        };
        let (to_echo, to_knot) = (ratio(&self.echo), ratio(&self.knot));
        let (to_nsd, to_hickory) = (ratio(&self.nsd), ratio(&self.hickory));
        let per_s = |key, what, values| Figure::measured(key, what, 0, values);
        let against = |key, what, values, goal| {
            Figure::measured(key, what, 3, values).with_goal(Goal::AtLeast(goal))
        };
        let knot_p99 = Figure::measured("", "", 0, self.knot_p99.clone()).median();
        let p99 = Figure::measured(
            "p99_us_half_load",
            "slowest of 100 answers at that rate, us",
            1,
            self.p99,
        );
        let p99 = match knot_p99 {
            Some(goal) => p99.with_goal(Goal::AtMost(goal)),
            None => p99,
        };
        let figures = vec![
            per_s(
                "ours_per_cpu_s",
                "queries per second of processor time",
                self.ours,
            ),
            per_s(
                "echo_per_cpu_s",
                "the same, bare echo of as many bytes",
                self.echo,
            ),
            per_s("knot_per_cpu_s", "the same, Knot", self.knot),
            per_s("nsd_per_cpu_s", "the same, NSD", self.nsd),
            per_s(
                "hickory_per_cpu_s",
                "the same, hickory-server",
                self.hickory,
            ),
            against("ratio_echo", "ours to the echo", to_echo, 0.9),
            against("ratio_knot", "ours to Knot", to_knot, 1.3),
            against("ratio_nsd", "ours to NSD", to_nsd, 1.25),
            against("ratio_hickory", "ours to hickory-server", to_hickory, 2.5),
            Figure::measured(
                "server_busy",
                "share of the core that ours has used",
                3,
                self.busy,
            ),
            Figure::count("lost", "queries without an answer", self.lost),
            per_s(
                "half_load_per_s",
                "half of Knot's rate, 1/s",
                self.half_load,
            ),
            p99,
            Figure::measured("knot_p99_us_half_load", "the same, Knot", 1, self.knot_p99),
            Figure::measured("nsd_p99_us_half_load", "the same, NSD", 1, self.nsd_p99),
            Figure::measured("rss_mb", "resident memory of ours, MB", 1, self.rss_mb)
                .with_goal(Goal::AtMost(50.0)),
        ];
        Report::new("dns", quick, rounds, figures)
    }
}
