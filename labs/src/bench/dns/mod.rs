//! `bench dns`: queries per second of the server's processor time, and how long answers take, beside Knot, NSD,
//! hickory-server and a bare echo.
//!
//! Every server has one worker on one core and answers from four zones with 24 A and 24 AAAA records at each apex (ours draws
//! them from 5,000 peers); the client has the other core. Each is asked the same mix over loopback with 224 queries
//! outstanding, in turns, so that what disturbs the machine disturbs all; the ratios are of figures of the same round. Divided by
//! the server's processor time, figures depend little on how fast the client is. The echo is the kernel's price of receiving
//! a query and sending as many bytes: no server on these calls can be faster.
//!
//! The same is done with signed zones and clients that want signatures (ECDSA P-256; hickory-server is left out there).
//!
//! Knot pins its worker to the first core by itself, so that is the server's core for all.

pub(crate) mod load;
mod parts;
mod servers;

use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};
pub use parts::Part;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

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
    parts::write_store(dir.path())?;
    // Servers are started before the client takes its core, so that none inherits it.
    let plain = Contestants::start(dir.path(), false)?;
    let signed = Contestants::start(dir.path(), true)?;
    let before = sched_getaffinity(None)?;
    let mut set = CpuSet::new();
    set.set(CLIENT_CORE);
    sched_setaffinity(None, &set).context("the client can't take a core")?;

    let rounds = rounds(quick, QUICK_ROUNDS).max(if quick { 0 } else { FULL_ROUNDS });
    let window = if quick { QUICK_WINDOW } else { WINDOW };
    let mut measured = Measured::default();
    // Once without a clock.
    for side in [&plain, &signed] {
        side.round(0, window / 4, &mut Side::default())?;
    }
    for round in 0..rounds {
        eprintln!("round {} of {rounds}", round + 1);
        plain.round(round, window, &mut measured.plain)?;
        signed.round(round, window, &mut measured.signed)?;
    }
    plain.half_load(window, &mut measured)?;
    measured.rss_mb = vec![signed.ours.rss_mb()?];
    sched_setaffinity(None, &before)?;
    Ok(measured.report(quick, rounds))
}

/// A seeder with its own limits, for `attack dns`, on a core of its own; this process keeps to the other.
pub(crate) struct Attacked {
    server: Server,
    _dir: tempfile::TempDir,
}

impl Attacked {
    pub(crate) fn start() -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        parts::write_store(dir.path())?;
        let server = Server::seeder(dir.path(), true, None)?;
        let mut set = CpuSet::new();
        set.set(CLIENT_CORE);
        sched_setaffinity(None, &set).context("the attackers can't take a core")?;
        Ok(Self { server, _dir: dir })
    }

    pub(crate) const fn addr(&self) -> SocketAddr {
        self.server.addr
    }

    pub(crate) fn cpu(&self) -> anyhow::Result<Duration> {
        self.server.cpu()
    }

    pub(crate) fn rss_mb(&self) -> anyhow::Result<f64> {
        self.server.rss_mb()
    }
}

/// All that are compared, with zones that are signed or not.
struct Contestants {
    signed: bool,
    ours: Server,
    echo: Server,
    knot: Option<Server>,
    nsd: Option<Server>,
    /// Has no signed zone here.
    hickory: Option<Server>,
}

/// Figures of all rounds of one kind of zones; a server that is not there has none.
#[derive(Default)]
struct Side {
    ours: Vec<f64>,
    echo: Vec<f64>,
    knot: Vec<f64>,
    nsd: Vec<f64>,
    hickory: Vec<f64>,
    busy: Vec<f64>,
    lost: u64,
}

/// Figures of all rounds.
#[derive(Default)]
pub(super) struct Measured {
    plain: Side,
    signed: Side,
    p99: Vec<f64>,
    knot_p99: Vec<f64>,
    nsd_p99: Vec<f64>,
    half_load: Vec<f64>,
    rss_mb: Vec<f64>,
}

impl Contestants {
    fn start(dir: &Path, signed: bool) -> anyhow::Result<Self> {
        // One client sends more than any network of resolvers: the limit stays in the path, but out of reach.
        let ours = Server::seeder(dir, signed, Some(u32::MAX))?;
        // As many bytes as our own answers have.
        let size = |kind| answer_size(ours.addr, kind, signed);
        let (v4, v6) = (size(1)?.to_string(), size(28)?.to_string());
        eprintln!("answers of {v4} and {v6} bytes");
        Ok(Self {
            echo: Server::own("echo", &[&v4, &v6])?,
            hickory: if signed {
                None
            } else {
                Some(Server::own("hickory", &[])?)
            },
            knot: Server::knot(dir, signed)?,
            nsd: Server::nsd(dir, signed)?,
            ours,
            signed,
        })
    }

    /// Each of them once, beginning with another in each round.
    fn round(&self, round: usize, window: Duration, side: &mut Side) -> anyhow::Result<()> {
        for turn in 0..5 {
            let (server, values) = match (round + turn) % 5 {
                0 => (Some(&self.ours), &mut side.ours),
                1 => (Some(&self.echo), &mut side.echo),
                2 => (self.knot.as_ref(), &mut side.knot),
                3 => (self.nsd.as_ref(), &mut side.nsd),
                _ => (self.hickory.as_ref(), &mut side.hickory),
            };
            let Some(server) = server else {
                continue;
            };
            let before = server.cpu()?;
            let counts = load::saturate(server.addr, &mix(self.signed), window)?;
            let used = (server.cpu()? - before).as_secs_f64();
            check(&counts)?;
            values.push(counts.answered as f64 / used);
            if (round + turn).is_multiple_of(5) {
                side.busy.push(used / window.as_secs_f64());
                side.lost += counts.lost;
            }
        }
        Ok(())
    }

    /// The slowest answers of a hundred at half of what Knot can do (or we, without Knot).
    fn half_load(&self, window: Duration, measured: &mut Measured) -> anyhow::Result<()> {
        let side = &measured.plain;
        let capacity = if side.knot.is_empty() {
            &side.ours
        } else {
            &side.knot
        };
        let rate = median(capacity).context("nobody was measured")? / 2.0;
        measured.half_load = vec![rate];
        for _ in 0..side.ours.len() {
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

fn answer_size(server: SocketAddr, kind: u16, signed: bool) -> anyhow::Result<usize> {
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    let [zone, ..] = ZONES;
    socket.send_to(&load::query(zone, kind, signed), server)?;
    let received = socket.recv_from(&mut [0; 2048]);
    Ok(received.context("the seeder does not answer")?.0)
}

impl Side {
    fn ratio(&self, others: &[f64]) -> Vec<f64> {
        let pairs = self.ours.iter().zip(others);
        pairs.map(|(ours, other)| ours / other).collect()
    }
}

/// Goals of ours to the echo, Knot, NSD and hickory-server: what the seeder is meant to reach.
const GOALS: [f64; 4] = [0.9, 1.3, 1.25, 2.5];

impl Measured {
    pub(super) fn report(self, quick: bool, rounds: usize) -> Report {
        let Self { plain, signed, .. } = self;
        let [echo, knot, nsd, hickory] = GOALS;
        let per_s = |key, what, values| Figure::measured(key, what, 0, values);
        let against = |key, what, values, goal| {
            Figure::measured(key, what, 3, values).with_goal(Goal::AtLeast(goal))
        };
        let ratios = vec![
            against(
                "ratio_echo",
                "ours to the echo",
                plain.ratio(&plain.echo),
                echo,
            ),
            against("ratio_knot", "ours to Knot", plain.ratio(&plain.knot), knot),
            against("ratio_nsd", "ours to NSD", plain.ratio(&plain.nsd), nsd),
            against(
                "ratio_hickory",
                "ours to hickory-server",
                plain.ratio(&plain.hickory),
                hickory,
            ),
            against(
                "ratio_echo_signed",
                "signed, ours to the echo",
                signed.ratio(&signed.echo),
                echo,
            ),
            against(
                "ratio_knot_signed",
                "signed, ours to Knot",
                signed.ratio(&signed.knot),
                knot,
            ),
            against(
                "ratio_nsd_signed",
                "signed, ours to NSD",
                signed.ratio(&signed.nsd),
                nsd,
            ),
        ];
        let knot_p99 = median(&self.knot_p99);
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
        let mut figures = vec![
            per_s(
                "ours_per_cpu_s",
                "queries per second of processor time",
                plain.ours,
            ),
            per_s(
                "echo_per_cpu_s",
                "the same, bare echo of as many bytes",
                plain.echo,
            ),
            per_s("knot_per_cpu_s", "the same, Knot", plain.knot),
            per_s("nsd_per_cpu_s", "the same, NSD", plain.nsd),
            per_s(
                "hickory_per_cpu_s",
                "the same, hickory-server",
                plain.hickory,
            ),
            per_s(
                "ours_signed_per_cpu_s",
                "the same of signed zones",
                signed.ours,
            ),
            per_s(
                "echo_signed_per_cpu_s",
                "the same, bare echo of as many bytes",
                signed.echo,
            ),
            per_s("knot_signed_per_cpu_s", "the same, Knot", signed.knot),
            per_s("nsd_signed_per_cpu_s", "the same, NSD", signed.nsd),
        ];
        figures.extend(ratios);
        figures.extend([
            Figure::measured(
                "server_busy",
                "share of the core that ours has used",
                3,
                plain.busy,
            ),
            Figure::count(
                "lost",
                "queries without an answer",
                plain.lost + signed.lost,
            ),
            per_s(
                "half_load_per_s",
                "half of Knot's rate, 1/s",
                self.half_load,
            ),
            p99,
            Figure::measured("knot_p99_us_half_load", "the same, Knot", 1, self.knot_p99),
            Figure::measured("nsd_p99_us_half_load", "the same, NSD", 1, self.nsd_p99),
            Figure::measured(
                "rss_mb",
                "resident memory of ours, signed zones, MB",
                1,
                self.rss_mb,
            )
            .with_goal(Goal::AtMost(50.0)),
        ]);
        Report::new("dns", quick, rounds, figures)
    }
}
