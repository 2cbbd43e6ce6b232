//! Whether the seeder can listen where it is told to: in fact, by right, and by IPv6.

use std::{
    fs,
    io::ErrorKind,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
};

use quantumcoin::service::bind::{self, BindError};

use super::{
    Finding, Level, Topic,
    holder::{self, Holder, Process, Protocol},
};

/// The lowest port that anybody may bind unless the system says otherwise (ip(7), `ip_unprivileged_port_start`).
const UNPRIVILEGED: u16 = 1024;

/// Number of `CAP_NET_BIND_SERVICE` (`include/uapi/linux/capability.h`).
const BIND_SERVICE: u32 = 10;

/// An address on the IPv6 internet: f.root-servers.net. Nothing is sent there; the system only tells how it would go.
const OUTSIDE: SocketAddr = SocketAddr::new(
    IpAddr::V6(Ipv6Addr::new(0x2001, 0x500, 0x2f, 0, 0, 0, 0, 0xf)),
    53,
);

/// Who can't listen, in the words of errors.
const PURPOSE: &str = "the seeder";

/// What came of trying to listen.
#[derive(Debug)]
pub(super) enum Tried {
    /// It could be done.
    Free,
    /// Somebody is there.
    Taken(Vec<Holder>),
    /// This user may not.
    Denied,
    /// Another reason, in words that say what to do.
    Failed(String),
}

/// One address.
#[derive(Debug)]
pub(super) struct Port {
    /// Where.
    pub(super) addr: SocketAddr,
    /// Over UDP; `None` for that of status and metrics, which is TCP alone.
    pub(super) udp: Option<Tried>,
    /// Over TCP.
    pub(super) tcp: Tried,
}

/// Tries to listen on each address, for a moment: those of DNS, and that of status and metrics, without which a
/// seeder does not start either. One that starts in this very moment finds the port taken, and is started again by
/// systemd. Must be called within a tokio runtime.
pub(super) fn look(listen: &[SocketAddr], http: Option<SocketAddr>) -> Vec<Port> {
    let dns = listen.iter().map(|addr| Port {
        addr: *addr,
        udp: Some(tried(
            Protocol::Udp,
            *addr,
            bind::udp(*addr, PURPOSE, 1).err(),
        )),
        tcp: tried_tcp(*addr),
    });
    // Port 0 is any that is free.
    let http = http.filter(|addr| addr.port() != 0).map(|addr| Port {
        addr,
        udp: None,
        tcp: tried_tcp(addr),
    });
    dns.chain(http).collect()
}

fn tried_tcp(addr: SocketAddr) -> Tried {
    tried(Protocol::Tcp, addr, bind::tcp(addr, PURPOSE).err())
}

/// The kernel refuses low ports before it looks whether they are taken, but shows everybody whether they are.
fn tried(protocol: Protocol, addr: SocketAddr, error: Option<BindError>) -> Tried {
    let Some(error) = error else {
        return Tried::Free;
    };
    match error.kind() {
        ErrorKind::AddrInUse => Tried::Taken(holder::of(protocol, addr)),
        ErrorKind::PermissionDenied => match holder::of(protocol, addr) {
            holders if holders.is_empty() => Tried::Denied,
            holders => Tried::Taken(holders),
        },
        _ => Tried::Failed(error.to_string()),
    }
}

impl Tried {
    fn holders(&self) -> &[Holder] {
        match self {
            Self::Taken(holders) => holders,
            _ => &[],
        }
    }
}

impl Port {
    fn both(&self) -> impl Iterator<Item = (Protocol, &Tried)> {
        let udp = self.udp.iter().map(|tried| (Protocol::Udp, tried));
        udp.chain(std::iter::once((Protocol::Tcp, &self.tcp)))
    }

    /// The seeder that listens here already.
    fn seeder(&self) -> Option<&Process> {
        let held = self.both().flat_map(|(_, tried)| tried.holders());
        let mut processes = held.filter_map(|held| held.process.as_ref());
        processes.find(|process| process.is_seeder())
    }
}

/// The addresses that a seeder listens on already.
pub(super) fn running(ports: &[Port]) -> Vec<SocketAddr> {
    let seeders = ports.iter().filter(|port| port.seeder().is_some());
    seeders.map(|port| port.addr).collect()
}

/// Judges one address. `answering` are those where something gives the answers that a seeder would.
pub(super) fn judge(port: &Port, answering: &[SocketAddr]) -> Finding {
    let subject = port.addr;
    let ok = |found: String| Finding::ok(Topic::Port, subject, found);
    if let Some(process) = port.seeder() {
        return ok(format!(
            "a seeder listens here already (process {})",
            process.pid
        ));
    }
    for (protocol, tried) in port.both() {
        match tried {
            Tried::Free => {}
            Tried::Taken(holders) if holders.iter().all(|held| held.process.is_none()) => {
                if answering.contains(&port.addr) {
                    return ok("in use, by what answers as this seeder does".to_owned());
                }
                return taken(subject, protocol, holders);
            }
            Tried::Taken(holders) => return taken(subject, protocol, holders),
            Tried::Denied => {
                return Finding::new(
                    Topic::Port,
                    Level::Note,
                    subject,
                    format!(
                        "this user may not try {}, so that it is not known whether it is free",
                        protocol.name()
                    ),
                    "run this check as root: `sudo quantumcoin-seeder check …`",
                );
            }
            Tried::Failed(words) => {
                return Finding::new(Topic::Port, Level::Error, subject, words.clone(), "");
            }
        }
    }
    let free = match port.udp {
        Some(_) => "free for UDP and TCP",
        None => "free for status and metrics (TCP)",
    };
    ok(free.to_owned())
}

fn taken(subject: SocketAddr, protocol: Protocol, holders: &[Holder]) -> Finding {
    let known = |held: &&Holder| held.is_resolved() || held.process.is_some();
    let held = holders.iter().find(known).or(holders.first());
    let on = held.map_or_else(String::new, |held| format!(" on {}", held.socket.addr));
    let process = held.and_then(|held| held.process.as_ref());
    let number = process.map_or_else(String::new, |process| format!(" (process {})", process.pid));
    let (by, mend) = match (held, process) {
        (Some(held), _) if held.is_resolved() => (
            format!("systemd-resolved{number}, whose stub sits{on}"),
            mend_resolved(subject),
        ),
        (_, Some(process)) => {
            let stop = process.unit.as_ref().map_or_else(
                || format!("stop it (`kill {}`)", process.pid),
                |unit| format!("stop it for good (`systemctl disable --now {unit}`)"),
            );
            (
                format!("{}{number}{on}", process.name),
                format!("{stop}, or choose another address"),
            )
        }
        _ => {
            let whose = held.map_or_else(String::new, |held| {
                format!(" of the user with the number {}", held.socket.uid)
            });
            let port = subject.port();
            (
                format!("a process{whose}{on}, which this user may not see"),
                format!(
                    "`sudo ss -lntup 'sport = :{port}'` shows which one; stop it, or choose another address"
                ),
            )
        }
    };
    let found = format!("{} is taken by {by}", protocol.name());
    Finding::new(Topic::Port, Level::Error, subject, found, mend)
}

/// systemd-resolved is needed by most systems for their own questions: only its stub has to go, or our wildcard.
fn mend_resolved(subject: SocketAddr) -> String {
    let own = if subject.is_ipv4() {
        "192.0.2.53"
    } else {
        "[2001:db8::53]"
    };
    format!(
        "either listen on the machine's own address in place of all: --listen {own}:{} (yours in its place);\n\
         or turn off its stub: `mkdir -p /etc/systemd/resolved.conf.d`,\n\
         `printf '[Resolve]\\nDNSStubListener=no\\n' > /etc/systemd/resolved.conf.d/no-stub.conf`,\n\
         `ln -sf /run/systemd/resolve/resolv.conf /etc/resolv.conf`, `systemctl restart systemd-resolved`",
        subject.port()
    )
}

/// What this process may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Rights {
    /// Its capabilities (`CapEff` of `/proc/self/status`); `None` where the system does not tell.
    pub(super) capabilities: Option<u64>,
    /// The lowest port that everybody may bind.
    pub(super) unprivileged: u16,
}

impl Rights {
    fn read(status: &str, start: &str) -> Self {
        let line = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
        Self {
            capabilities: line.and_then(|bits| u64::from_str_radix(bits.trim(), 16).ok()),
            unprivileged: start.trim().parse().unwrap_or(UNPRIVILEGED),
        }
    }

    fn may_bind(self, port: u16) -> bool {
        let allowed = |bits: u64| bits & (1 << BIND_SERVICE) != 0;
        port == 0 || port >= self.unprivileged || self.capabilities.is_none_or(allowed)
    }
}

/// Looks at what this process may do.
pub(super) fn look_at_rights() -> Rights {
    let read = |path| fs::read_to_string(path).unwrap_or_default();
    Rights::read(
        &read("/proc/self/status"),
        &read("/proc/sys/net/ipv4/ip_unprivileged_port_start"),
    )
}

/// Judges whether this process may listen on the ports. A warning at most: under systemd the seeder has rights of its
/// own.
pub(super) fn rights(listen: &[SocketAddr], rights: &Rights) -> Vec<Finding> {
    let mut ports: Vec<u16> = listen.iter().map(SocketAddr::port).collect();
    ports.sort_unstable();
    ports.dedup();
    let judge = |port: u16| {
        let subject = format!("port {port}");
        if rights.may_bind(port) {
            return Finding::ok(Topic::Capability, subject, "this user may listen on it");
        }
        Finding::new(
            Topic::Capability,
            Level::Warning,
            subject,
            format!(
                "this process is neither root nor has it CAP_NET_BIND_SERVICE, and ports below {} need that: \
                 `run` would fail when it is started like this",
                rights.unprivileged
            ),
            "start it by the systemd unit of deploy/, which has `AmbientCapabilities=CAP_NET_BIND_SERVICE`;\n\
             or give the right to the program: `sudo setcap cap_net_bind_service=+ep $(command -v quantumcoin-seeder)`",
        )
    };
    ports.into_iter().map(judge).collect()
}

/// The address from which this machine would speak to the IPv6 internet. Nothing is sent.
pub(super) fn look_at_ipv6() -> Option<Ipv6Addr> {
    let socket = UdpSocket::bind((Ipv6Addr::UNSPECIFIED, 0)).ok()?;
    socket.connect(OUTSIDE).ok()?;
    match socket.local_addr().ok()?.ip() {
        IpAddr::V6(ip) => Some(ip),
        IpAddr::V4(_) => None,
    }
}

/// Judges IPv6: `source` is what [`look_at_ipv6`] found.
pub(super) fn ipv6(listen: &[SocketAddr], source: Option<Ipv6Addr>) -> Vec<Finding> {
    // 2000::/3 is what has been given out of the IPv6 internet (RFC 4291, 2.4, and IANA's registry).
    let global = source.filter(|ip| {
        let [first, ..] = ip.segments();
        first & 0xe000 == 0x2000
    });
    let six: Vec<&SocketAddr> = listen
        .iter()
        .filter(|addr| addr.is_ipv6() && !addr.ip().is_loopback())
        .collect();
    let of = |level, found: String, mend: &str| {
        vec![Finding::new(
            Topic::Ipv6,
            level,
            "this machine",
            found,
            mend,
        )]
    };
    let what = source.map_or_else(
        || "has no way to the IPv6 internet".to_owned(),
        |ip| {
            format!("would speak to the IPv6 internet from {ip}, which nobody out there can answer")
        },
    );
    match (global, six.first()) {
        (Some(ip), Some(_)) => of(Level::Ok, format!("has IPv6 ({ip})"), ""),
        (Some(ip), None) => of(
            Level::Note,
            format!("has IPv6 ({ip}), but the seeder does not listen on it"),
            &format!(
                "add --listen [::]:{}",
                listen.first().map_or(53, SocketAddr::port)
            ),
        ),
        (None, Some(addr)) => of(
            Level::Warning,
            format!(
                "{what}, so that nobody comes to {addr}; resolvers that have IPv6 alone can't ask this seeder"
            ),
            "ask your provider for IPv6 (most give a /64 with a server), or leave that address out: --listen \
             0.0.0.0:53",
        ),
        (None, None) => of(
            Level::Note,
            format!("{what}: resolvers that have IPv6 alone can't ask this seeder"),
            "ask your provider for IPv6 (most give a /64 with a server); then --listen [::]:53 and an AAAA record",
        ),
    }
}

/// The address by which this machine itself reaches a listening address.
pub(super) const fn reachable(addr: SocketAddr) -> SocketAddr {
    let ip = match addr.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => IpAddr::V4(Ipv4Addr::LOCALHOST),
        IpAddr::V6(ip) if ip.is_unspecified() => IpAddr::V6(Ipv6Addr::LOCALHOST),
        ip => ip,
    };
    SocketAddr::new(ip, addr.port())
}

#[cfg(test)]
mod tests;
