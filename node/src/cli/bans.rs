//! `bans list` and `bans lift`: who is kept out, and who is no longer, at a node that is not running.

use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::bail;
use clap::Subcommand;
use quantumcoin::network::security::standing::{HALF_LIFE, Policy, Standing};
use quantumcoin::network::status::BanStatus;

use super::chain::Place;
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
    let (place, host, json) = match command {
        BansCommand::List { place, json } => (place, None, json),
        BansCommand::Lift { place, host } => (place, Some(host), false),
    };
    let dir = place.data_dir().await?;
    // A running node would write its own list over ours: whoever has the chain open is alone.
    let _alone = match host {
        Some(_) => Some(place.open(false).await?),
        None => None,
    };
    let policy = Policy {
        half_life: HALF_LIFE,
        by_netgroup: false,
    };
    let mut standing = Standing::load(&dir, policy);
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let Some(host) = host else {
        let bans = standing.bans(now).into_iter().map(BanStatus::from);
        return show::bans(&bans.collect::<Vec<_>>(), json);
    };
    if !standing.pardon(host) {
        bail!(
            "nothing is held against {host}\n  help: quantumcoin-node bans list shows who is kept out"
        );
    }
    Ok(standing.snapshot(now).save(&dir)?)
}
