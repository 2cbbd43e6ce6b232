//! Whether this process may listen on low ports, and whether the machine has IPv6.

use std::{
    fs,
    net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket},
};

use super::{Finding, Level, Topic};

/// The lowest port that anybody may bind unless the system says otherwise (ip(7), `ip_unprivileged_port_start`).
const UNPRIVILEGED: u16 = 1024;

/// Number of `CAP_NET_BIND_SERVICE` (`include/uapi/linux/capability.h`).
const BIND_SERVICE: u32 = 10;

/// An address on the IPv6 internet: f.root-servers.net. Nothing is sent there; the system only tells how it would go.
const OUTSIDE: SocketAddr = SocketAddr::new(
    IpAddr::V6(Ipv6Addr::new(0x2001, 0x500, 0x2f, 0, 0, 0, 0, 0xf)),
    53,
);

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

/// Judges whether this process may listen on the ports; `serves` tells which are in use as they should be, so that
/// whoever uses them has the right. A warning at most: under systemd the seeder has rights of its own.
pub(super) fn rights(
    listen: &[SocketAddr],
    rights: &Rights,
    serves: impl Fn(SocketAddr) -> bool,
) -> Vec<Finding> {
    let mut ports: Vec<u16> = listen.iter().map(SocketAddr::port).collect();
    ports.sort_unstable();
    ports.dedup();
    let judge = |port: u16| {
        let subject = format!("port {port}");
        if rights.may_bind(port) {
            return Finding::ok(Topic::Capability, subject, "this user may listen on it");
        }
        let mut here = listen.iter().filter(|addr| addr.port() == port);
        if here.any(|addr| serves(*addr)) {
            let found = "in use already by who has the right to it, which this user has not";
            return Finding::ok(Topic::Capability, subject, found);
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

#[cfg(test)]
mod tests;
