//! The lab's internet: hosts with public addresses, and routers with a private network behind each.
//!
//! ```text
//!              core: routes, and says nothing of what is nowhere
//!             /       |        \
//!        host       host       router ── lan0 (bridge) ── guest, guest
//!     45.80.1.1   46.82.1.1   91.1.1.1   192.168.N.1
//! ```
//! A link to the core carries single addresses, so each host can have any: all stand in different /16 (IPv6: /32), as peers of
//! the real internet do that don't know each other. The addresses are public ones, since nodes don't dial others, and
//! miniupnpd refuses them.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::sync::Arc;

use super::space::Space;

/// What hosts send their packets to: the core's end of their link. IPv4's is of the range that no network routes (RFC 3927).
const NEXT_HOP: Ipv4Addr = Ipv4Addr::new(169, 254, 1, 1);
const NEXT_HOP_V6: &str = "fe80::1";

/// The hosts' end.
const HOST_V6: &str = "fe80::2";

/// The networks behind routers are 2a0e:c000::/64 and those that follow.
const FIRST_LAN_V6: [u16; 2] = [0x2a0e, 0xc000];

/// What all links meet in.
#[derive(Debug, Clone)]
pub(super) struct Internet {
    core: Arc<Space>,
}

impl Internet {
    pub(super) fn new() -> anyhow::Result<Self> {
        let core = Space::new("core")?;
        forward(&core)?;
        // Who dials what is nowhere hears nothing, as with most addresses of the real one that nobody has any more.
        core.ip("route add blackhole 0.0.0.0/0\nroute add blackhole ::/0\n")?;
        Ok(Self {
            core: Arc::new(core),
        })
    }

    /// A host with these addresses. Names are short: the core's links have them too.
    pub(super) fn host(&self, name: &str, ips: &[IpAddr]) -> anyhow::Result<Host> {
        let host = Host {
            core: Arc::clone(&self.core),
            link: format!("v-{name}"),
            space: Space::new(name)?,
        };
        self.core.ip(&format!(
            "link add {link} type veth peer name wan0 netns {name}\n\
             addr add {NEXT_HOP}/32 dev {link}\n\
             addr add {NEXT_HOP_V6}/64 dev {link}\n\
             link set {link} up\n",
            link = host.link
        ))?;
        host.space.ip(&format!(
            "addr add {HOST_V6}/64 dev wan0\n\
             link set wan0 up\n\
             route add default via {NEXT_HOP} dev wan0 onlink\n\
             route add default via {NEXT_HOP_V6} dev wan0\n"
        ))?;
        for ip in ips {
            host.give(*ip)?;
        }
        Ok(host)
    }
}

/// A host on the internet.
#[derive(Debug)]
pub(super) struct Host {
    core: Arc<Space>,
    link: String,
    pub(super) space: Space,
}

impl Host {
    /// From now on it has this address too.
    pub(super) fn give(&self, ip: IpAddr) -> anyhow::Result<()> {
        let length = length(ip);
        self.space.ip(&format!("addr add {ip}/{length} dev wan0"))?;
        self.core.ip(&format!(
            "route replace {ip}/{length} {} dev {}",
            via(ip),
            self.link
        ))
    }

    /// From now on nobody has it.
    fn take(&self, ip: IpAddr) -> anyhow::Result<()> {
        let length = length(ip);
        self.space.ip(&format!("addr del {ip}/{length} dev wan0"))?;
        self.core.ip(&format!("route del {ip}/{length}"))
    }
}

/// A router: a host with a network of its own behind it.
#[derive(Debug)]
pub(super) struct Router {
    pub(super) host: Host,
    lan: u8,
    wan: Ipv4Addr,
}

impl Router {
    /// With a network of that number, and this address outside. It has no rules yet.
    pub(super) fn new(
        internet: &Internet,
        name: &str,
        lan: u8,
        wan: Ipv4Addr,
    ) -> anyhow::Result<Self> {
        let host = internet.host(name, &[wan.into()])?;
        forward(&host.space)?;
        let router = Self { host, lan, wan };
        // Groups that nobody has joined yet would hear nothing for minutes; the last is where devices are looked for (UPnP).
        router.host.space.ip(&format!(
            "link add lan0 type bridge mcast_snooping 0\n\
             link set lan0 up\n\
             addr add {}/24 dev lan0\n\
             addr add {}/64 dev lan0\n\
             route add 239.0.0.0/8 dev lan0\n",
            router.inside(1),
            router.inside_v6(1),
        ))?;
        let prefix = router.inside_v6(0);
        let link = &router.host.link;
        router
            .host
            .core
            .ip(&format!("route add {prefix}/64 via {HOST_V6} dev {link}"))?;
        Ok(router)
    }

    /// Somebody in the network behind it.
    pub(super) fn guest(&self, name: &str, number: u8) -> anyhow::Result<Space> {
        let guest = Space::new(name)?;
        self.host.space.ip(&format!(
            "link add p{number} type veth peer name eth0 netns {name}\n\
             link set p{number} master lan0\n\
             link set p{number} up\n"
        ))?;
        guest.ip(&format!(
            "link set eth0 up\n\
             addr add {}/24 dev eth0\n\
             addr add {}/64 dev eth0\n\
             route add default via {}\n\
             route add default via {}\n",
            self.inside(number),
            self.inside_v6(number),
            self.inside(1),
            self.inside_v6(1),
        ))?;
        Ok(guest)
    }

    /// Address `number` of the network behind it; 1 is its own.
    pub(super) fn inside(&self, number: u8) -> Ipv4Addr {
        Ipv4Addr::new(192, 168, self.lan, number)
    }

    pub(super) fn inside_v6(&self, number: u8) -> Ipv6Addr {
        let [first, second] = FIRST_LAN_V6;
        let second = second + u16::from(self.lan);
        Ipv6Addr::new(first, second, 0, 0, 0, 0, 0, u16::from(number))
    }

    /// Its address outside.
    pub(super) fn wan(&self) -> Ipv4Addr {
        self.wan
    }

    /// From now on it has another one, as when a provider gives it anew.
    pub(super) fn move_to(&mut self, wan: Ipv4Addr) -> anyhow::Result<()> {
        self.host.give(wan.into())?;
        self.host.take(self.wan.into())?;
        self.wan = wan;
        Ok(())
    }
}

fn forward(space: &Space) -> anyhow::Result<()> {
    space.set("ipv4/ip_forward", "1")?;
    space.set("ipv6/conf/all/forwarding", "1")
}

fn length(ip: IpAddr) -> u8 {
    if ip.is_ipv4() { 32 } else { 128 }
}

/// The next hop of a route in the core.
fn via(ip: IpAddr) -> String {
    if ip.is_ipv4() {
        // The host answers for its addresses itself (ARP).
        "scope link".to_owned()
    } else {
        format!("via {HOST_V6}")
    }
}
