//! Routers whose ports can be mapped: miniupnpd that speaks one protocol, on nftables.

use std::net::SocketAddrV4;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, ensure};

use super::space::{Program, Space, run, until};
use super::world::Router;

/// How soon it has to be ready.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long `upnpc` may take; it looks for gateways for two seconds.
const UPNPC: Duration = Duration::from_secs(15);

/// How a port is mapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    Upnp,
    Pcp,
    NatPmp,
}

impl Protocol {
    pub(super) const ALL: [Self; 3] = [Self::Upnp, Self::Pcp, Self::NatPmp];

    /// As the node's flag has it.
    pub(super) fn flag(self) -> &'static str {
        match self {
            Self::Upnp => "upnp",
            Self::Pcp => "pcp",
            Self::NatPmp => "nat-pmp",
        }
    }

    /// As the node's JSON has it, and our figures.
    pub(super) fn key(self) -> &'static str {
        match self {
            Self::Upnp => "upnp",
            Self::Pcp => "pcp",
            Self::NatPmp => "nat_pmp",
        }
    }

    /// PCP and NAT-PMP come to one port, and miniupnpd speaks both: the version, which is their first byte, tells them apart.
    fn filter(self) -> &'static str {
        match self {
            Self::Upnp => "",
            Self::Pcp => "iifname lan0 udp dport 5351 @th,64,8 0 drop",
            Self::NatPmp => "iifname lan0 udp dport 5351 @th,64,8 2 drop",
        }
    }
}

/// A router that maps ports by one protocol.
#[derive(Debug)]
pub(super) struct Gateway {
    // The program ends before its network does.
    program: Program,
    pub(super) router: Router,
}

/// A mapping as the router carries it out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Mapped {
    pub(super) external_port: u16,
    pub(super) internal: SocketAddrV4,
}

impl Gateway {
    pub(super) fn start(router: Router, protocol: Protocol, room: &Path) -> anyhow::Result<Self> {
        let space = &router.host.space;
        space.nft(&rules(protocol.filter()))?;
        let name = space.name();
        let config = room.join(format!("{name}.conf"));
        std::fs::write(&config, settings(&router, protocol))?;
        let mut daemon = space.command("miniupnpd");
        daemon.args(["-d", "-f"]).arg(&config);
        daemon.arg("-P").arg(room.join(format!("{name}.pid")));
        let mut program = Program::start(daemon, &format!("{name}-miniupnpd"), room)?;
        let port = if protocol == Protocol::Upnp {
            ":1900 "
        } else {
            ":5351 "
        };
        let ready = until(PATIENCE, || {
            program.must_run()?;
            let sockets = run(space.command("ss").args(["-Hlun"]))?;
            Ok(sockets.contains(port).then_some(()))
        })?;
        ready.with_context(|| format!("{name}: miniupnpd does not listen: {}", program.tail()))?;
        Ok(Self { program, router })
    }

    /// What it maps now.
    pub(super) fn mappings(&self) -> anyhow::Result<Vec<Mapped>> {
        let mut list = self.router.host.space.command("nft");
        list.args(["list", "chain", "inet", "filter", "prerouting_miniupnpd"]);
        Ok(run(&mut list)?.lines().filter_map(mapped).collect())
    }

    /// How many holes there are in its IPv6 firewall.
    pub(super) fn holes(&self) -> anyhow::Result<usize> {
        let mut list = self.router.host.space.command("nft");
        list.args(["list", "chain", "inet", "filter", "miniupnpd"]);
        Ok(run(&mut list)?.lines().filter(|line| is_hole(line)).count())
    }

    /// Fails when its daemon has ended.
    pub(super) fn must_run(&mut self) -> anyhow::Result<()> {
        self.program.must_run()
    }
}

/// Maps a port to somebody else in the network behind the router, before the node wants it.
pub(super) fn map_by_upnpc(guest: &Space, to: SocketAddrV4) -> anyhow::Result<()> {
    let (ip, port) = (to.ip().to_string(), to.port().to_string());
    let said = guest.said(
        "upnpc",
        &["-m", "eth0", "-a", &ip, &port, &port, "TCP", "3600"],
        UPNPC,
    )?;
    ensure!(said.contains("is redirected to internal"), "upnpc: {said}");
    Ok(())
}

/// The mappings that the gateway tells of by UPnP.
pub(super) fn list_by_upnpc(guest: &Space) -> anyhow::Result<String> {
    guest.said("upnpc", &["-m", "eth0", "-l"], UPNPC)
}

/// miniupnpd's three chains, which it fills, in a router that lets nothing else in.
fn rules(filter: &str) -> String {
    format!(
        "table inet filter {{
            chain input {{
                type filter hook input priority filter;
                iifname wan0 ct state established,related accept
                iifname wan0 meta l4proto ipv6-icmp accept
                iifname wan0 drop
                {filter}
            }}
            chain forward {{
                type filter hook forward priority filter; policy drop;
                iifname lan0 accept
                ct state established,related accept
                meta l4proto ipv6-icmp accept
                jump miniupnpd
            }}
            chain prerouting {{
                type nat hook prerouting priority dstnat;
                jump prerouting_miniupnpd
            }}
            chain postrouting {{
                type nat hook postrouting priority srcnat;
                jump postrouting_miniupnpd
                oifname wan0 meta nfproto ipv4 masquerade
            }}
            chain miniupnpd {{ }}
            chain prerouting_miniupnpd {{ }}
            chain postrouting_miniupnpd {{ }}
        }}"
    )
}

/// What is in its configuration file. 120 s and 24 h are the lifetimes that PCP suggests (RFC 6887).
fn settings(router: &Router, protocol: Protocol) -> String {
    let upnp = protocol == Protocol::Upnp;
    let yes = |yes| if yes { "yes" } else { "no" };
    format!(
        "ext_ifname=wan0\nlistening_ip=lan0\nenable_upnp={}\nenable_natpmp={}\nsecure_mode=yes\nsystem_uptime=yes\n\
         min_lifetime=120\nmax_lifetime=86400\nuuid=6b3a5a30-0000-4000-8000-{:012}\n\
         allow 1024-65535 {}/24 1024-65535\ndeny 0-65535 0.0.0.0/0 0-65535\n",
        yes(upnp),
        yes(!upnp),
        router.inside(0).octets()[2],
        router.inside(0),
    )
}

/// Reads a line such as `iif "wan0" @nh,72,8 0x6 th dport 8333 dnat ip to 192.168.1.10:8333`.
fn mapped(line: &str) -> Option<Mapped> {
    let after = |what: &str| line.split(what).nth(1)?.split_whitespace().next();
    Some(Mapped {
        external_port: after("dport ")?.parse().ok()?,
        internal: after("dnat ip to ")?.parse().ok()?,
    })
}

/// Whether a line such as `iif "wan0" th dport 8333 @nh,192,128 0x2a0e… @nh,48,8 0x6 accept` lets something in. IPv6 headers have
/// the destination's 128 bits there.
fn is_hole(line: &str) -> bool {
    line.contains("@nh,192,128") && line.contains("accept")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_is_read_from_nft() {
        let line = "\t\tiif \"wan0\" @nh,72,8 0x6 th dport 8334 dnat ip to 192.168.1.10:8333";
        let expected = Mapped {
            external_port: 8_334,
            internal: "192.168.1.10:8333".parse().unwrap(),
        };
        assert_eq!(mapped(line), Some(expected));
        assert_eq!(mapped("\tchain prerouting_miniupnpd {"), None);
    }
}
