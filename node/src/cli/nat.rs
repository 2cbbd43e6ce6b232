//! `quantumcoin-node nat`: what is between this machine and the world, in words.

use std::net::{IpAddr, SocketAddr};
use std::time::Instant;

use anyhow::{Context, bail};
use quantumcoin::network::nat::{self, NatKind, Probe};
use quantumcoin_node::client;
use quantumcoin_node::config::DEFAULT_HTTP;
use quantumcoin_node::config::nat::settings;
use serde_json::{Value, json};

use super::show;

#[derive(Debug, clap::Args)]
pub(super) struct NatArgs {
    /// The API of the node
    #[arg(long, env = "QTC_NODE_HTTP", default_value = DEFAULT_HTTP, value_name = "ADDR:PORT")]
    http: SocketAddr,
    /// Ask STUN servers now; needs no running node
    #[arg(long)]
    probe: bool,
    /// STUN server for --probe, in place of the public ones (repeatable)
    #[arg(
        long,
        env = "QTC_NODE_STUN_SERVER",
        value_name = "HOST:PORT",
        value_delimiter = ','
    )]
    stun_server: Vec<String>,
    /// The address of this machine to ask from, for --probe
    #[arg(long, value_name = "ADDR", requires = "probe")]
    bind: Option<IpAddr>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Does it.
pub(super) async fn run(args: NatArgs) -> anyhow::Result<()> {
    if args.probe {
        probe(&args).await
    } else {
        running(&args).await
    }
}

async fn probe(args: &NatArgs) -> anyhow::Result<()> {
    let settings = settings(&args.stun_server, &[], None)?;
    if settings.stun_servers.is_empty() {
        bail!("there is no STUN server to ask: name some by --stun-server HOST:PORT");
    }
    let start = Instant::now();
    let found = nat::probe_now(&settings.stun_servers, args.bind).await;
    let (v4, v6) = found.with_context(|| {
        let from = args
            .bind
            .map_or("any address".to_owned(), |ip| ip.to_string());
        format!("no socket for STUN on {from}")
    })?;
    let seconds = start.elapsed().as_secs_f64();
    if args.json {
        show::text(&format!(
            "{}\n",
            json!({ "v4": v4, "v6": v6, "seconds": seconds })
        ));
        return Ok(());
    }
    let (v4, v6) = (lines("IPv4", v4.as_ref()), lines("IPv6", v6.as_ref()));
    show::text(&format!("{v4}{v6}asked in {seconds:.1} s\n"));
    Ok(())
}

fn lines(family: &str, probe: Option<&Probe>) -> String {
    let Some(probe) = probe else {
        return format!("{family:<10} none: this machine has no way to the world by it\n");
    };
    let mut text = format!("{family:<10} {}\n", probe.kind.describe());
    text += &format!("  here     {}\n", probe.local);
    match probe.external {
        Some(ip) => {
            text += &format!(
                "  outside  {ip}, as {} of {} servers that answered see it\n",
                probe.agreed, probe.answered
            );
        }
        None if probe.answered > 0 => text += "  outside  unknown: the servers disagree\n",
        None => {}
    }
    for server in &probe.servers {
        let said = match (server.mapped, &server.error) {
            (Some(mapped), _) => format!("sees {mapped}"),
            (None, Some(error)) => error.clone(),
            (None, None) => "said nothing".to_owned(),
        };
        text += &format!("  asked    {}: {said}\n", server.server);
    }
    text
}

async fn running(args: &NatArgs) -> anyhow::Result<()> {
    let status = client::get(args.http, "/api/v1/nat").await?;
    let text = if args.json {
        format!("{status}\n")
    } else {
        in_words(&status)
    };
    show::text(&text);
    Ok(())
}

fn word(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

/// What the API says, for people.
fn in_words(status: &Value) -> String {
    let mut text = String::new();
    if status["enabled"] != Value::Bool(true) {
        text += "discovery  off: on devnets and loopback it has nothing to find (--nat on looks all the same)\n";
    }
    for (family, key) in [("IPv4", "v4"), ("IPv6", "v6")] {
        text += &family_words(family, &status[key]);
    }
    text += &mapping_words(status);
    for event in status["events"].as_array().into_iter().flatten() {
        text += &format!("event      {}: {}\n", event["at"], word(&event["what"]));
    }
    let confirmed = &status["confirmed_by"];
    text += &match status["reachable"].as_str() {
        Some("reachable") => {
            format!("reachable  yes: peers of {confirmed} netgroups have dialled this node when asked\n")
        }
        Some("unreachable") => "reachable  no: peers that were asked to could not dial this node; map a port by hand, \
             or let the gateway do it (UPnP, NAT-PMP or PCP)\n"
            .to_owned(),
        _ => "reachable  not known yet: two peers of different netgroups must have dialled this node\n".to_owned(),
    };
    text += &match (&status["advertised"], &status["also_advertised"]) {
        (Value::Null, _) => {
            "told       nothing: peers are told no address of this node\n".to_owned()
        }
        (one, Value::Null) => format!("told       {}\n", word(one)),
        (one, other) => format!("told       {} and {}\n", word(one), word(other)),
    };
    text
}

fn family_words(family: &str, probe: &Value) -> String {
    if probe.is_null() {
        return String::new();
    }
    let kind = NatKind::ALL.into_iter();
    let mut kind = kind.filter(|kind| Some(kind.as_str()) == probe["kind"].as_str());
    let kind = kind.next().map_or("unknown", NatKind::describe);
    let outside = match &probe["external"] {
        Value::Null => "unknown".to_owned(),
        ip => format!(
            "{} ({} of {} STUN servers)",
            word(ip),
            probe["agreed"],
            probe["answered"]
        ),
    };
    format!(
        "{family:<10} {kind}\n  here     {}\n  outside  {outside}\n",
        word(&probe["local"])
    )
}

fn mapping_words(status: &Value) -> String {
    let mut text = String::new();
    for (name, key) in [("mapped", "mapping"), ("pinhole", "pinhole")] {
        let mapping = &status[key];
        if !mapping.is_null() {
            text += &format!(
                "{name:<10} {} leads to {}, by {} of {}, for {} s if not renewed\n",
                word(&mapping["external"]),
                word(&mapping["internal"]),
                word(&mapping["protocol"]),
                word(&mapping["gateway"]),
                mapping["lifetime_seconds"]
            );
        }
    }
    if status["double_nat"] == Value::Bool(true) {
        text += &format!(
            "double     the gateway's own address is {}: another translation is behind it, of a second router or of the \
             provider (CGNAT), where no port can be had\n",
            word(&status["gateway_external"])
        );
    }
    for attempt in status["attempts"].as_array().into_iter().flatten() {
        text += &format!(
            "tried      {}: {}\n",
            word(&attempt["protocol"]),
            word(&attempt["error"])
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_told_in_words() {
        let status = json!({
            "enabled": true,
            "v4": { "kind": "port_restricted", "local": "192.168.1.2", "external": "5.6.7.8", "agreed": 2, "answered": 3 },
            "v6": null,
            "mapping": { "protocol": "pcp", "external": "5.6.7.8:8333", "internal": "192.168.1.2:8333",
                "gateway": "192.168.1.1", "lifetime_seconds": 1200 },
            "pinhole": null, "gateway_external": "100.64.0.9", "double_nat": true,
            "attempts": [{ "protocol": "upnp", "error": "no gateway found" }],
            "reachable": "unreachable", "confirmed_by": 0, "advertised": null, "also_advertised": null,
        });
        let text = in_words(&status);
        for part in [
            "port-restricted",
            "5.6.7.8 (2 of 3 STUN servers)",
            "5.6.7.8:8333 leads to 192.168.1.2:8333, by pcp of 192.168.1.1",
            "100.64.0.9",
            "tried      upnp: no gateway found",
            "reachable  no",
            "told       nothing",
        ] {
            assert!(text.contains(part), "{part} is not in:\n{text}");
        }
    }
}
