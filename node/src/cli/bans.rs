//! `bans`: who is kept out. A running node tells it; of one that is not running, its file does, and there bans can be lifted too.

use std::net::IpAddr;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use quantumcoin::network::security::standing::{HALF_LIFE, Policy, Standing};
use quantumcoin::network::status::BanStatus;
use serde_json::{Value, json};

use super::ask::{self, Api};
use super::chain::{Place, WHICH};
use super::show;

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(super) struct BansArgs {
    #[command(subcommand)]
    command: Option<BansCommand>,
    #[command(flatten)]
    list: ListArgs,
}

#[derive(Debug, Subcommand)]
enum BansCommand {
    /// Show who is kept out, by whom, for what and until when
    List(ListArgs),
    /// Forget what is held against a host, at a node that is not running; of one that runs, `unban` does it
    Lift {
        #[command(flatten)]
        place: Place,
        /// An IPv4 address, or any address of an IPv6 /64
        host: IpAddr,
    },
}

#[derive(Debug, Args)]
struct ListArgs {
    #[command(flatten)]
    api: Api,
    #[command(flatten)]
    place: Place,
    /// Ask no node: read the file in the data directory
    #[arg(long)]
    files: bool,
}

pub(super) async fn run(args: BansArgs) -> anyhow::Result<()> {
    match args.command {
        None => list(args.list).await,
        Some(BansCommand::List(list_args)) => list(list_args).await,
        Some(BansCommand::Lift { place, host }) => {
            let (_, dir) = place.find(false).await?;
            // A running node would write its own list over ours: whoever has the chain open is alone.
            let alone = place.open(false).await;
            let _alone = alone.context(
                "bans can be lifted here only while no node uses this directory; at a running node, \
                 `quantumcoin-node unban` lifts them",
            )?;
            lift(&dir, host)
        }
    }
}

async fn list(args: ListArgs) -> anyhow::Result<()> {
    if !args.files && ask::bans(&args.api).await?.is_some() {
        return Ok(());
    }
    let (_, dir) = args.place.find(false).await?;
    if !dir.is_dir() {
        bail!(
            "{}: there is no such directory\n  help: {WHICH}",
            dir.display()
        );
    }
    if !args.files {
        show::note(&format!(
            "no node answers at http://{}: these are the bans in {}",
            args.api.http,
            dir.display()
        ));
    }
    let now = unix_now()?;
    let standing = load(&dir);
    let operator = standing.operator_bans(now).into_iter().map(|ban| {
        json!({ "network": ban.network, "by": "operator", "reason": ban.reason, "since": ban.since, "until": ban.until })
    });
    let offences = standing.bans(now).into_iter().map(BanStatus::from).map(|ban| {
        json!({ "network": ban.host, "by": "offence", "reason": ban.offence, "since": ban.since, "until": ban.until })
    });
    let bans: Vec<Value> = operator.chain(offences).collect();
    ask::show_bans(&bans, args.api.json);
    Ok(())
}

fn lift(dir: &Path, host: IpAddr) -> anyhow::Result<()> {
    let mut standing = load(dir);
    if !standing.pardon(host) {
        bail!(
            "nothing is held against {host}\n  help: quantumcoin-node bans list shows who is kept out"
        );
    }
    standing.snapshot(unix_now()?).save(dir)?;
    show::text(&format!("nothing is held against {host} any more\n"));
    Ok(())
}

fn load(dir: &Path) -> Standing {
    // Nothing is judged here, so only the half-life matters, and that only for what is forgotten.
    let policy = Policy {
        half_life: HALF_LIFE,
        by_netgroup: false,
    };
    Standing::load(dir, policy)
}

fn unix_now() -> anyhow::Result<u64> {
    Ok(SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs())
}
