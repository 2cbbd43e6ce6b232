//! Whether the seeder can listen where it is told to.

use std::{collections::BTreeSet, io::ErrorKind, net::SocketAddr};

use quantumcoin::service::bind::{self, BindError};

use super::{
    Finding, Level, Topic,
    holder::{self, Holder, Process, Protocol},
};
use crate::config::SeederConfig;

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

/// What an address is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// DNS over UDP and TCP.
    Dns,
    /// DNS over TLS.
    Tls,
    /// Status and metrics.
    Status,
}

impl Role {
    /// Where the address is set.
    const fn option(self) -> &'static str {
        match self {
            Self::Dns => "--listen",
            Self::Tls => "listen in [tls]",
            Self::Status => "--http",
        }
    }
}

/// One address.
#[derive(Debug)]
pub(super) struct Port {
    /// Where.
    pub(super) addr: SocketAddr,
    /// What for.
    pub(super) role: Role,
    /// Over UDP; `None` where that is not needed.
    pub(super) udp: Option<Tried>,
    /// Over TCP.
    pub(super) tcp: Tried,
}

/// All addresses of DNS, over TLS too.
pub(super) fn dns(config: &SeederConfig) -> Vec<SocketAddr> {
    let tls = config.tls.iter().flat_map(|tls| &tls.listen);
    config.listen.iter().chain(tls).copied().collect()
}

/// Tries to listen on each address, for a moment: those of DNS, over TLS too, and that of status and metrics, without
/// any of which a seeder does not start. One that starts in this very moment finds the port taken, and is started again
/// by systemd. Must be called within a tokio runtime.
pub(super) fn look(config: &SeederConfig) -> Vec<Port> {
    let dns = config.listen.iter().map(|addr| Port {
        addr: *addr,
        role: Role::Dns,
        udp: Some(tried(
            Protocol::Udp,
            *addr,
            bind::udp(*addr, PURPOSE, 1).err(),
        )),
        tcp: tried_tcp(*addr),
    });
    let tls = config.tls.iter().flat_map(|tls| &tls.listen);
    let tls = tls.map(|addr| (*addr, Role::Tls));
    let status = config.http.map(|addr| (addr, Role::Status));
    // Port 0 is any that is free.
    let over_tcp = tls.chain(status).filter(|(addr, _)| addr.port() != 0);
    let over_tcp = over_tcp.map(|(addr, role)| Port {
        addr,
        role,
        udp: None,
        tcp: tried_tcp(addr),
    });
    dns.chain(over_tcp).collect()
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
    /// The seeders that hold exactly this address.
    fn seeders(&self, addr: SocketAddr) -> impl Iterator<Item = &Process> {
        let holders: &[Holder] = match self {
            Self::Taken(holders) => holders,
            _ => &[],
        };
        let here = holders.iter().filter(move |held| held.socket.addr == addr);
        let processes = here.filter_map(|held| held.process.as_ref());
        processes.filter(|process| process.is_seeder())
    }
}

impl Port {
    fn protocols(&self) -> impl Iterator<Item = (Protocol, &Tried)> {
        let udp = self.udp.iter().map(|tried| (Protocol::Udp, tried));
        udp.chain(std::iter::once((Protocol::Tcp, &self.tcp)))
    }

    /// The seeder that listens exactly here, over all that is needed.
    fn seeder(&self) -> Option<&Process> {
        let mut found = self.tcp.seeders(self.addr);
        found.find(|process| {
            let pid = process.pid;
            let over_udp = |udp: &Tried| udp.seeders(self.addr).any(|other| other.pid == pid);
            self.udp.as_ref().is_none_or(over_udp)
        })
    }
}

/// Who is at the ports already, as far as that tells a seeder with these settings from others.
#[derive(Debug, Default)]
pub(super) struct Present {
    /// Where something answers as this seeder would.
    answering: Vec<(SocketAddr, Protocol)>,
    /// Numbers of the seeders that hold an address of DNS.
    seeders: BTreeSet<u32>,
    /// Their addresses of DNS.
    held: Vec<SocketAddr>,
}

impl Present {
    /// By who holds the ports, and by what answers there.
    pub(super) fn of(ports: &[Port], answering: Vec<(SocketAddr, Protocol)>) -> Self {
        let dns = ports.iter().filter(|port| port.role == Role::Dns);
        let held = dns.filter_map(|port| Some((port.seeder()?.pid, port.addr)));
        let (seeders, held) = held.unzip();
        Self {
            answering,
            seeders,
            held,
        }
    }

    /// The addresses of DNS that a seeder is known to hold.
    pub(super) fn held(&self) -> &[SocketAddr] {
        &self.held
    }

    /// Whether a seeder with these settings is at work: then its user has the rights that ours may lack.
    pub(super) fn at_work(&self) -> bool {
        !self.answering.is_empty()
    }

    /// Whether an address is in use by what is meant to use it.
    pub(super) fn serves(&self, addr: SocketAddr) -> bool {
        let mut answering = self.answering.iter();
        self.held.contains(&addr) || answering.any(|(other, _)| *other == addr)
    }

    /// Whether a seeder of these settings is known to hold an address.
    pub(super) fn holds(&self, ports: &[Port], addr: SocketAddr) -> bool {
        let mut here = ports.iter().filter(|port| port.addr == addr);
        here.any(|port| self.seeder(port).is_some())
    }

    /// The seeder of these settings at a port: whoever holds those of DNS. Another one may have that of status.
    fn seeder<'a>(&self, port: &'a Port) -> Option<&'a Process> {
        port.seeder()
            .filter(|process| self.seeders.contains(&process.pid))
    }
}

/// Judges one address.
pub(super) fn judge(port: &Port, present: &Present) -> Finding {
    let subject = port.addr;
    if let Some(process) = present.seeder(port) {
        let found = format!("a seeder listens here already (process {})", process.pid);
        return Finding::ok(Topic::Port, subject, found);
    }
    let all = port
        .protocols()
        .filter_map(|(protocol, tried)| judge_one(port, protocol, tried, present));
    let worst = all.reduce(|one, other| match other.level > one.level {
        true => other,
        false => one,
    });
    worst.unwrap_or_else(|| {
        let free = match port.role {
            Role::Dns => "free for UDP and TCP",
            Role::Tls => "free for DNS over TLS (TCP)",
            Role::Status => "free for status and metrics (TCP)",
        };
        Finding::ok(Topic::Port, subject, free)
    })
}

/// What is to be said of one protocol; `None` where it is free.
fn judge_one(port: &Port, protocol: Protocol, tried: &Tried, present: &Present) -> Option<Finding> {
    let of = |level, found: String, mend: String| {
        Some(Finding::new(Topic::Port, level, port.addr, found, mend))
    };
    // Who has a part of what is wanted answers there, and keeps the rest from the seeder of these settings.
    let covers = |holders: &[Holder]| {
        holders.is_empty() || holders.iter().any(|held| held.covers(port.addr))
    };
    match tried {
        Tried::Free => None,
        Tried::Taken(holders) if !covers(holders) => Some(taken(port, protocol, holders)),
        Tried::Taken(holders) if present.answering.contains(&(port.addr, protocol)) => {
            Some(answers(port, protocol, holders))
        }
        // That a seeder is at work and the port taken is what its start leads to.
        Tried::Taken(holders) if present.at_work() && holders.iter().all(Holder::is_hidden) => of(
            Level::Note,
            format!(
                "{} is in use, by a process that this user may not see; a seeder answers, so it may be that one",
                protocol.name()
            ),
            AS_ROOT.to_owned(),
        ),
        Tried::Taken(holders) => Some(taken(port, protocol, holders)),
        Tried::Denied => of(
            Level::Note,
            format!(
                "this user may not try {}, so that it is not known whether it is free",
                protocol.name()
            ),
            AS_ROOT.to_owned(),
        ),
        Tried::Failed(words) => of(
            Level::Error,
            words.clone(),
            format!("choose another address with {}", port.role.option()),
        ),
    }
}

const AS_ROOT: &str = "run this check as root: `sudo quantumcoin-seeder check …`";

/// Somebody holds the port, and what answers there is as it should be: the seeder, or what stands before it.
fn answers(port: &Port, protocol: Protocol, holders: &[Holder]) -> Finding {
    let mut processes = holders.iter().filter_map(|held| held.process.as_ref());
    let Some(process) = processes.next() else {
        let found = "in use, by what answers as this seeder does";
        return Finding::ok(Topic::Port, port.addr, found);
    };
    let Process { pid, name, .. } = process;
    if process.is_seeder() {
        let found = format!("in use by a seeder (process {pid}), which answers as it should");
        return Finding::ok(Topic::Port, port.addr, found);
    }
    Finding::new(
        Topic::Port,
        Level::Note,
        port.addr,
        format!(
            "{} is in use by {name} (process {pid}), through which comes what this seeder would answer",
            protocol.name()
        ),
        "right for a proxy or container that hands on to the seeder; without one, `run` fails while it is there",
    )
}

fn taken(port: &Port, protocol: Protocol, holders: &[Holder]) -> Finding {
    let subject = port.addr;
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
        (_, Some(process)) if process.is_seeder() => (
            format!("a seeder{number}{on} that runs with other settings"),
            format!(
                "if it is the one that you mean, give this check its settings, or restart it to take up these; if \
                 you want both, give one of them another address with {}",
                port.role.option()
            ),
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

#[cfg(test)]
mod tests;
