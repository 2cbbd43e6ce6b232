//! `bans list` and `bans lift`: who is kept out, and who is no longer, at a node that is not running.

use std::net::IpAddr;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::bail;
use clap::Subcommand;
use quantumcoin::network::security::standing::{HALF_LIFE, Policy, Standing};
use quantumcoin::network::status::BanStatus;

use super::chain::{Place, WHICH};
use super::show;

#[derive(Debug, Subcommand)]
pub(super) enum BansCommand {
    /// Show who is kept out, for what and until when; a running node tells it by `status`
    List {
        #[command(flatten)]
        place: Place,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Forget what is held against a host
    Lift {
        #[command(flatten)]
        place: Place,
        /// An IPv4 address, or any address of an IPv6 /64
        host: IpAddr,
    },
}

pub(super) async fn run(command: BansCommand) -> anyhow::Result<()> {
    match command {
        BansCommand::List { place, json } => {
            let (_, dir) = place.find(false).await?;
            if !dir.is_dir() {
                bail!(
                    "{}: there is no such directory\n  help: {WHICH}",
                    dir.display()
                );
            }
            let bans = load(&dir).bans(unix_now()?).into_iter();
            show::bans(&bans.map(BanStatus::from).collect::<Vec<_>>(), json)
        }
        BansCommand::Lift { place, host } => {
            let (_, dir) = place.find(false).await?;
            // A running node would write its own list over ours: whoever has the chain open is alone.
            let _alone = place.open(false).await?;
            lift(&dir, host)
        }
    }
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
