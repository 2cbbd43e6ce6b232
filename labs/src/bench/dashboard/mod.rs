//! `bench dashboard`: what the crawler's pages cost on a large network.
//!
//! A store with 100,000 peers and a year of roll-ups is made by the library's own writer (`made`); the real crawler is started
//! on it, and looked at from outside (`crawler`): time of every kind of page and query, one after the other over one connection;
//! first paint in Chromium, where that and Node.js are there; memory that loading everything costs; processor time of 200
//! browsers that follow the network live, beside that of none.
//!
//! The web part's memory is that of all peers in memory (measured in a process of its own) and what the crawler gains when
//! everything is loaded, the CSV of all peers among it.

mod crawler;
mod http;
mod made;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use clap::{Args, Subcommand};
use quantumcoin::chain_spec::ChainSpec;
use quantumcoin::store::{Store, StoreReader};
use quantumcoin_crawler::CrawlerConfig;
use quantumcoin_crawler::roster::Roster;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use self::crawler::Crawler;
use self::http::{Answer, Connection};
use super::report::{Figure, Goal, Report};
use super::sync::path;
use super::worker::{self, number};
use super::{machine, rounds};

/// What the project promises: ms, MB, percent of a core.
const PAINT_GOAL: f64 = 200.0;
const QUERY_GOAL: f64 = 50.0;
const RSS_GOAL: f64 = 100.0;
const VIEWERS_GOAL: f64 = 5.0;

/// Browsers that follow the network.
const VIEWERS: usize = 200;

/// How to run it.
#[derive(Debug, Clone, Copy, Args)]
pub struct DashboardArgs {
    /// Peers in the store [default: 100,000; 20,000 with --quick]
    #[arg(long)]
    peers: Option<u32>,
}

/// What runs in a process of its own.
#[derive(Debug, Subcommand)]
pub enum Part {
    /// Writes peers and a year down.
    Fill(Size),
    /// Holds all peers in memory.
    Hold(Size),
}

/// Where, and how many.
#[derive(Debug, Args)]
pub struct Size {
    /// A crawler's data directory.
    dir: PathBuf,
    /// Peers.
    count: u32,
}

impl Part {
    pub(in crate::bench) fn run(self) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Runtime::new()?;
        let result = runtime.block_on(async {
            match self {
                Self::Fill(size) => fill(&size).await,
                Self::Hold(size) => hold(&size).await,
            }
        });
        worker::tell(&result?)
    }
}

fn config(dir: &Path) -> anyhow::Result<CrawlerConfig> {
    std::fs::create_dir_all(dir)?;
    Ok(CrawlerConfig::new(ChainSpec::devnet().into(), dir))
}

async fn fill(size: &Size) -> anyhow::Result<Value> {
    let config = config(&size.dir)?;
    let store = Store::open(&config.store_path(), config.store_options()).await?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    made::fill(&store, size.count, i64::try_from(now.as_secs())?).await?;
    let bytes = std::fs::metadata(config.store_path())?.len();
    Ok(json!({ "store_mb": bytes as f64 / 1e6 }))
}

async fn hold(size: &Size) -> anyhow::Result<Value> {
    let reader = StoreReader::open(&config(&size.dir)?.store_path()).await?;
    let rss = || machine::rss_kib().unwrap_or(0.0);
    reader.generation().await?;
    let before = rss();
    let mut roster = Roster::default();
    reader.summaries(0, |peer| roster.put(peer)).await?;
    let held = rss() - before;
    ensure!(
        roster.len() == size.count as usize,
        "{} peers are held",
        roster.len()
    );
    Ok(json!({ "mb": held * 1_024.0 / 1e6 }))
}

/// Kinds of pages and queries, with an example each. `{peer}` is an address that is known.
const QUERIES: [(&str, &str); 30] = [
    ("overview", "/"),
    ("live part", "/live"),
    ("history, 2 days", "/history"),
    ("history, month", "/history?range=month"),
    ("history, year", "/history?range=year"),
    ("history, 3 years", "/history?range=3y"),
    ("peers", "/peers"),
    ("peers, a far page", "/peers?page=300"),
    (
        "peers by address",
        "/peers?sort=address&direction=ascending",
    ),
    (
        "peers by outcome",
        "/peers?sort=outcome&direction=ascending",
    ),
    (
        "peers by user agent",
        "/peers?sort=agent&direction=ascending",
    ),
    ("peers by height", "/peers?sort=height&direction=descending"),
    (
        "peers by latency",
        "/peers?sort=connect&direction=ascending",
    ),
    ("peers by uptime", "/peers?sort=uptime&direction=descending"),
    ("peers, user agent", "/peers?search=quantumcoin%3A0.2"),
    ("peers, nothing found", "/peers?search=nobodyiscalledthis"),
    ("peers, prefix", "/peers?search=127.1.2."),
    ("peers, country and good", "/peers?country=DE&good=1"),
    ("one peer", "/peers/{peer}"),
    ("JSON, summary", "/api/v1/summary"),
    ("JSON, peers", "/api/v1/peers?limit=500"),
    ("JSON, peers after", "/api/v1/peers?limit=500&after=start"),
    ("JSON, one peer", "/api/v1/peers/{peer}"),
    ("JSON, hours", "/api/v1/hours"),
    ("JSON, days", "/api/v1/days"),
    ("JSON, shares of user agents", "/api/v1/shares/user_agent"),
    ("JSON, shares of systems", "/api/v1/shares/system"),
    ("JSON, churn", "/api/v1/churn"),
    ("CSV, days", "/export/history.csv?by=days"),
    ("metrics", "/metrics"),
];

/// Runs the benchmark.
///
/// # Errors
/// Where a part of it fails.
pub fn run(args: DashboardArgs, quick: bool) -> anyhow::Result<Report> {
    let peers = args.peers.unwrap_or(if quick { 20_000 } else { 100_000 });
    std::fs::create_dir_all(super::cache_dir())?;
    let directory = tempfile::tempdir_in(super::cache_dir())?;
    let dir = directory.path();
    eprintln!("writing {peers} peers and a year down");
    let part = |name| worker::run(&["dashboard", name, path(dir)?, &peers.to_string()]);
    let start = Instant::now();
    let made = part("fill")?;
    eprintln!("made in {:.1} s", start.elapsed().as_secs_f64());
    let held = number(&part("hold")?, "mb")?;
    let rounds = rounds(quick, 2);
    let runtime = tokio::runtime::Runtime::new()?;
    let measured = runtime.block_on(measure(dir, peers, rounds, quick))?;
    let m = Figure::measured;
    let Measured {
        paint,
        p50,
        p99,
        slowest,
        page_kb,
        csv_s,
        rss,
        growth,
        viewers,
    } = measured;
    let web = growth.iter().map(|growth| growth + held).collect();
    let figures = vec![
        Figure::count("peers", "peers", peers.into()),
        m("store_mb", "store, MB", 1, vec![number(&made, "store_mb")?]),
        m("first_paint_ms", "first paint in Chromium, ms", 0, paint)
            .with_goal(Goal::AtMost(PAINT_GOAL)),
        m("query_p50_ms", "half of all queries, ms", 2, p50),
        m("query_p99_ms", "99 of 100, ms", 1, p99).with_goal(Goal::AtMost(QUERY_GOAL)),
        m("query_slowest_ms", "the slowest, ms", 1, slowest).with_goal(Goal::AtMost(QUERY_GOAL)),
        m("overview_kb", "overview on the wire, kB", 1, vec![page_kb]),
        m("csv_s", "all peers as CSV, s", 2, csv_s),
        m("roster_mb", "all peers in memory, MB", 1, vec![held]),
        m(
            "web_rss_mb",
            "that, and what loading everything adds, MB",
            1,
            web,
        )
        .with_goal(Goal::AtMost(RSS_GOAL)),
        m("rss_mb", "the whole crawler then, MB", 1, rss),
        m(
            "viewers_core_percent",
            "200 live viewers, % of a core",
            2,
            viewers,
        )
        .with_goal(Goal::AtMost(VIEWERS_GOAL)),
    ];
    Ok(Report::new("dashboard", quick, rounds, figures))
}

/// What the rounds gave.
#[derive(Debug, Default)]
struct Measured {
    paint: Vec<f64>,
    p50: Vec<f64>,
    p99: Vec<f64>,
    slowest: Vec<f64>,
    page_kb: f64,
    csv_s: Vec<f64>,
    rss: Vec<f64>,
    growth: Vec<f64>,
    viewers: Vec<f64>,
}

async fn measure(dir: &Path, peers: u32, rounds: usize, quick: bool) -> anyhow::Result<Measured> {
    let mut all = Measured::default();
    let (again, span) = if quick { (5, 8) } else { (20, 20) };
    for round in 1..=rounds {
        eprintln!("round {round} of {rounds}");
        // A crawler of its own each time, so that memory begins anew.
        let crawler = Crawler::start(dir, peers).await?;
        let before = crawler.rss_mb()?;
        all.paint.extend(first_paint(&crawler)?);
        let mut times = queries(&crawler, again).await?;
        times.sort_by(f64::total_cmp);
        let rank = |percent: usize| {
            times
                .get(times.len() * percent / 100)
                .copied()
                .unwrap_or(f64::NAN)
        };
        all.p50.push(rank(50));
        all.p99.push(rank(99));
        all.slowest.push(times.last().copied().unwrap_or(f64::NAN));
        let mut connection = Connection::open(crawler.http).await?;
        all.page_kb = get(&mut connection, "/").await?.body.len() as f64 / 1e3;
        let start = Instant::now();
        let csv = get(&mut connection, "/export/peers.csv").await?;
        all.csv_s.push(start.elapsed().as_secs_f64());
        let lines = csv.body.iter().filter(|b| **b == b'\n').count();
        ensure!(lines > peers as usize, "the CSV has {lines} lines");
        all.growth.push((crawler.rss_mb()? - before).max(0.0));
        all.viewers
            .push(viewers(&crawler, Duration::from_secs(span)).await?);
        all.rss.push(crawler.rss_mb()?);
    }
    Ok(all)
}

async fn get(connection: &mut Connection, path: &str) -> anyhow::Result<Answer> {
    let answer = connection.get(path, None).await?;
    ensure!(answer.status == 200, "{path} answered {}", answer.status);
    Ok(answer)
}

/// Times of all queries, each asked so many times in turn, ms; the slowest of each kind go to standard error.
async fn queries(crawler: &Crawler, again: usize) -> anyhow::Result<Vec<f64>> {
    let mut connection = Connection::open(crawler.http).await?;
    let peer = known_peer(&mut connection).await?;
    let (mut times, mut slowest) = (Vec::new(), vec![0.0_f64; QUERIES.len()]);
    for _ in 0..again {
        for ((_, path), slowest) in QUERIES.iter().zip(&mut slowest) {
            let path = path.replace("{peer}", &peer);
            let start = Instant::now();
            get(&mut connection, &path).await?;
            let ms = start.elapsed().as_secs_f64() * 1e3;
            *slowest = ms.max(*slowest);
            times.push(ms);
        }
    }
    let mut each: Vec<(f64, &str)> = slowest
        .into_iter()
        .zip(QUERIES.map(|(name, _)| name))
        .collect();
    each.sort_by(|a, b| b.0.total_cmp(&a.0));
    let each: Vec<String> = each
        .iter()
        .take(8)
        .map(|(ms, name)| format!("{name} {ms:.1}"))
        .collect();
    eprintln!("slowest, ms: {}", each.join(", "));
    Ok(times)
}

async fn known_peer(connection: &mut Connection) -> anyhow::Result<String> {
    let answer = get(connection, "/api/v1/peers?limit=1&good=1").await?;
    let json: Value = serde_json::from_slice(&answer.body)?;
    let addr = json.pointer("/peers/0/addr").and_then(Value::as_str);
    let addr = addr.context("the dashboard knows no good peer")?;
    Ok(addr.replace('[', "%5B").replace(']', "%5D"))
}

/// Processor time that the crawler spends more while browsers follow it, in percent of a core.
async fn viewers(crawler: &Crawler, span: Duration) -> anyhow::Result<f64> {
    let cpu = async || -> anyhow::Result<f64> {
        let (before, start) = (crawler.cpu_s()?, Instant::now());
        tokio::time::sleep(span).await;
        Ok((crawler.cpu_s()? - before) / start.elapsed().as_secs_f64() * 100.0)
    };
    let alone = cpu().await?;
    let mut following = JoinSet::new();
    for _ in 0..VIEWERS {
        let events = Connection::open(crawler.http).await?.follow().await?;
        let page = Connection::open(crawler.http).await?;
        following.spawn(view(events, page));
    }
    let followed = cpu().await?;
    ensure!(following.len() == VIEWERS, "a viewer has gone");
    if let Some(gone) = following.try_join_next() {
        gone??;
    }
    following.shutdown().await;
    eprintln!("alone {alone:.1} %, with {VIEWERS} viewers {followed:.1} % of a core");
    Ok((followed - alone).max(0.0))
}

/// What the page's script does.
async fn view(mut events: http::Events, mut page: Connection) -> anyhow::Result<()> {
    let mut known: Option<String> = None;
    loop {
        events.next().await?;
        let answer = page.get("/live", known.as_deref()).await?;
        ensure!(
            matches!(answer.status, 200 | 304),
            "the live part answered {}",
            answer.status
        );
        known = answer.etag.or(known);
    }
}

/// First paint of the overview in Chromium, ms; nothing where there is no Chromium or Node.js.
fn first_paint(crawler: &Crawler) -> anyhow::Result<Option<f64>> {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/browser/paint.mjs");
    let url = format!("http://{}/", crawler.http);
    let output = match Command::new("node").args([script, &url]).output() {
        Err(error) => {
            eprintln!("first paint is not measured: node: {error}");
            return Ok(None);
        }
        Ok(output) => output,
    };
    if !output.status.success() {
        let error = String::from_utf8_lossy(&output.stderr);
        eprintln!("first paint is not measured: {}", error.trim_end());
        return Ok(None);
    }
    let json: Value = serde_json::from_slice(&output.stdout).context("paint.mjs prints JSON")?;
    let ms = json.get("first_paint_ms").and_then(Value::as_f64);
    Ok(Some(ms.context("paint.mjs tells no first_paint_ms")?))
}
