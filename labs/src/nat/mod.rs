//! `labs nat`: nodes behind routers, on an internet of namespaces with other people's STUN servers and gateways.
//!
//! | part | what it shows |
//! |---|---|
//! | `classify` | that the node names each kind of NAT, as the reference clients do, and that one lying server changes nothing |
//! | `mapping` | that a port is mapped by UPnP, PCP and NAT-PMP, and what comes of it in a network of real programs |
//!
//! | room | what is there |
//! |---|---|
//! | `stage` | namespaces that go with the lab, however it ends |
//! | `space` | one network namespace, programs in it |
//! | `world` | hosts, routers, and who is behind them |
//! | `kinds` | NAT and firewalls, by nftables |
//! | `stun` | coturn, and a server that lies |
//! | `gateway`, `hostile` | miniupnpd, and gateways that answer badly |
//! | `people` | nodes, a crawler and a seeder: the real programs |

mod classify;
mod gateway;
mod hostile;
mod kinds;
mod mapping;
mod people;
mod space;
mod stage;
mod stun;
mod world;

use std::path::PathBuf;

use anyhow::{Context, bail, ensure};
use clap::{Args, ValueEnum};
use serde_json::{Map, Value, json};

use crate::bench::worker;
use classify::Classified;
use mapping::Stories;
use people::{People, Programs};
use stun::Servers;
use world::Internet;

/// How often each kind of NAT is asked for.
const ROUNDS: usize = 20;
const QUICK_ROUNDS: usize = 3;

/// What to do.
#[derive(Debug, Clone, Args)]
pub struct NatArgs {
    /// Print one JSON object as the last line.
    #[arg(long)]
    pub json: bool,
    /// Ask three times for each kind of NAT instead of twenty.
    #[arg(long)]
    pub quick: bool,
    /// Directory with the programs to try, instead of this program's own.
    #[arg(long, value_name = "DIR")]
    pub programs: Option<PathBuf>,
    /// This part alone.
    #[arg(long, value_enum)]
    pub only: Option<Part>,
}

/// The parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Part {
    /// Kinds of NAT.
    Classify,
    /// Ports that are mapped.
    Mapping,
}

/// Runs the lab and prints what it found. What it is doing goes to standard error.
///
/// # Errors
/// Where something is not as it has to be, or the lab can't be run under CI.
pub fn run(args: &NatArgs, print: fn(&str) -> anyhow::Result<()>) -> anyhow::Result<()> {
    if let Some(lacking) = stage::lacking() {
        ensure!(
            std::env::var("CI").as_deref() != Ok("true"),
            "{lacking} (and CI=true: not skipped)"
        );
        eprintln!("SKIPPED, nothing was tested: {lacking}");
        return Ok(());
    }
    let programs = Programs::find(args.programs.as_deref())?;
    let mut arguments = vec!["nat".to_owned()];
    if args.quick {
        arguments.push("--quick".to_owned());
    }
    arguments.push(format!("--programs={}", programs.dir()?));
    if let Some(value) = args.only.and_then(|part| part.to_possible_value()) {
        arguments.push(format!("--only={}", value.get_name()));
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let mut running = stage::start(&arguments)?;
    let told = running.result()?;
    running.wait()?;
    tell(&told, args.json, print)
}

/// Shows the figures, and then what must not be.
fn tell(told: &Value, json: bool, print: fn(&str) -> anyhow::Result<()>) -> anyhow::Result<()> {
    let figures = told.get("figures").and_then(Value::as_object);
    let figures = figures.context("the lab told no figures")?;
    if json {
        print(&Value::Object(figures.clone()).to_string())?;
    } else {
        for (key, value) in figures {
            print(&format!("{key:<18}{value}"))?;
        }
    }
    let faults = told.get("faults").and_then(Value::as_array);
    let faults = faults.context("the lab told no faults")?;
    for fault in faults {
        eprintln!("  {}", fault.as_str().unwrap_or_default());
    }
    if !faults.is_empty() {
        bail!("{} things are not as they have to be", faults.len());
    }
    Ok(())
}

/// The lab in its namespaces, as a worker.
pub(crate) fn run_part(args: &NatArgs) -> anyhow::Result<()> {
    let room = stage::enter()?;
    let programs = Programs::find(args.programs.as_deref())?;
    let internet = Internet::new()?;
    eprintln!("STUN servers start");
    let _servers = Servers::start(&internet, &room)?;
    let mut classified = None;
    if args.only != Some(Part::Mapping) {
        let rounds = if args.quick { QUICK_ROUNDS } else { ROUNDS };
        eprintln!("each kind of NAT is asked for {rounds} times");
        classified = Some(classify::run(&internet, programs.node(), rounds)?);
    }
    let mut stories = None;
    if args.only != Some(Part::Classify) {
        eprintln!("nodes, crawler and seeder start");
        let people = People::start(&internet, &programs, &room)?;
        eprintln!("nodes behind routers");
        stories = Some(mapping::run(&internet, &people, &room));
    }
    worker::tell(&judged(args.quick, classified, stories))
}

/// Figures and faults of what was done.
fn judged(quick: bool, classified: Option<Classified>, stories: Option<Stories>) -> Value {
    let mut figures = Map::new();
    let mut faults = Vec::new();
    let mut add = |key: &str, value: Value| figures.insert(key.to_owned(), value);
    add("quick", quick.into());
    if let Some(classified) = classified {
        add("classified", classified.right.into());
        add("of", classified.of.into());
        add("slowest_s", tenths(classified.slowest));
        add("reference_agreed", classified.reference_agreed.into());
        let not_deceived = classified.not_deceived == classified.lied_to;
        add("liar_ok", (not_deceived && classified.lied_to > 0).into());
        faults.extend(classified.faults);
    }
    if let Some(stories) = stories {
        for (protocol, took) in gateway::Protocol::ALL.into_iter().zip(stories.mapped) {
            add(
                &format!("{}_s", protocol.key()),
                took.map_or(Value::Null, tenths),
            );
        }
        let slowest = stories.changed.iter().copied().reduce(f64::max);
        add("change_s", slowest.map_or(Value::Null, tenths));
        let protocols = gateway::Protocol::ALL.len();
        add("unmapped", (stories.unmapped == protocols).into());
        add("conflict", stories.conflict.into());
        add("pinhole", stories.pinhole.into());
        let manners = hostile::Manner::ALL.len();
        add("hostile_ok", (stories.harmless == manners).into());
        faults.extend(stories.faults);
    }
    let faults = faults.iter().take(MAX_FAULTS);
    let faults: Vec<String> = faults
        .map(|fault| fault.chars().take(MAX_FAULT).collect())
        .collect();
    json!({ "figures": figures, "faults": faults })
}

/// Faults told at most, and characters of each: a worker's result is a line of 64 KiB, and the first are enough to begin with.
const MAX_FAULTS: usize = 20;
const MAX_FAULT: usize = 2_000;

/// Seconds, to a tenth.
fn tenths(seconds: f64) -> Value {
    json!((seconds * 10.0).round() / 10.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_fails_is_in_the_figures() {
        let classified = Classified {
            of: 3,
            right: 2,
            lied_to: 3,
            not_deceived: 3,
            slowest: 2.54,
            faults: vec!["symmetric: it says open".to_owned()],
            ..Classified::default()
        };
        let stories = Stories {
            mapped: [Some(3.0), None, Some(5.0)],
            changed: vec![21.0, 30.06],
            unmapped: 2,
            ..Stories::default()
        };
        let told = judged(true, Some(classified), Some(stories));
        let figures = &told["figures"];
        assert_eq!(figures["slowest_s"], 2.5);
        assert_eq!(figures["pcp_s"], Value::Null);
        assert_eq!(figures["change_s"], 30.1);
        assert_eq!(figures["unmapped"], false);
        assert_eq!(figures["liar_ok"], true);
        assert_eq!(told["faults"].as_array().unwrap().len(), 1);
    }
}
