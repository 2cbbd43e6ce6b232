//! `ban`, `unban` and `bans`: networks that are neither visited nor good.

use std::net::IpAddr;
use std::process::ExitCode;

use ipnet::IpNet;
use quantumcoin::reachability::exclusions::network;
use quantumcoin::reachability::overlay::OverlayName;
use quantumcoin::store::{Ban, Write};
use serde_json::{Value, json};

use super::commands::{open_reader, open_store, print};
use crate::config::CrawlerConfig;
use crate::probe::unix_now;

/// Reads an address or a network.
pub(super) fn parse(text: &str) -> Result<IpNet, String> {
    // A name is banned as the address that stands for it.
    let name = text.parse::<OverlayName>().ok();
    name.map(|name| IpAddr::from(name.stand_in()).into())
        .or_else(|| network(text))
        .ok_or_else(|| {
            "neither an IP address, nor a network such as 192.0.2.0/24, nor NAME.onion".to_owned()
        })
}

pub(super) async fn ban(
    config: &CrawlerConfig,
    net: IpNet,
    hours: Option<u32>,
    reason: String,
) -> anyhow::Result<ExitCode> {
    let at = unix_now();
    let until = hours.map(|hours| at + i64::from(hours) * 3_600);
    let store = open_store(config).await?;
    let ban = Ban {
        net,
        at,
        until,
        reason,
    };
    store.write(Write::Ban(ban)).await?;
    store.close().await?;
    print(&format!(
        "{net} is banned {}: not visited from now on, and not good",
        hours.map_or_else(|| "for ever".to_owned(), |hours| format!("for {hours} h"))
    ))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn unban(config: &CrawlerConfig, net: IpNet) -> anyhow::Result<ExitCode> {
    let reader = open_reader(config).await?;
    let bans = reader.bans(unix_now()).await?;
    reader.close().await;
    if !bans.iter().any(|ban| ban.net == net) {
        anyhow::bail!("{net} is not banned; `quantumcoin-crawler bans` shows what is");
    }
    let store = open_store(config).await?;
    store.write(Write::Unban(net)).await?;
    store.close().await?;
    print(&format!("{net} is not banned any more"))?;
    Ok(ExitCode::SUCCESS)
}

pub(super) async fn list(config: &CrawlerConfig, json: bool) -> anyhow::Result<ExitCode> {
    let now = unix_now();
    let bans = open_reader(config).await?.bans(now).await?;
    if json {
        let bans = bans.iter().map(|ban| {
            json!({ "network": ban.net, "since": ban.at, "until": ban.until, "reason": ban.reason })
        });
        print(&Value::from_iter(bans).to_string())?;
        return Ok(ExitCode::SUCCESS);
    }
    for ban in bans {
        let left = ban.until.map_or_else(
            || "for ever".to_owned(),
            |until| format!("{} min left", until.saturating_sub(now).max(0) / 60),
        );
        let age = now.saturating_sub(ban.at).max(0) / 60;
        print(&format!(
            "{:<43}  {age:>8} min ago  {left:<16}  {}",
            ban.net.to_string(),
            ban.reason
        ))?;
    }
    Ok(ExitCode::SUCCESS)
}
