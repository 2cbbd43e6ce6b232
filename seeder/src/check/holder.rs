//! Who holds a port, by what Linux shows in `/proc`: `/proc/net/{udp,udp6,tcp,tcp6}` list sockets by inode (proc(5)),
//! and the links in `/proc/PID/fd` tell whose they are. Elsewhere nobody is found.

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::Path,
};

/// State of a TCP socket that listens, as the kernel writes it (`TCP_LISTEN` of `include/net/tcp_states.h`).
const LISTEN: &str = "0A";

/// The first 15 characters of a program's name are all that the kernel keeps (`TASK_COMM_LEN`, proc(5)).
const SEEDER: &str = "quantumcoin-see";
const RESOLVED: &str = "systemd-resolve";

/// Where systemd-resolved listens, and nobody else does (systemd-resolved.service(8)).
const STUBS: [SocketAddr; 2] = [
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 53)), 53),
    SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 54)), 53),
];

/// Over what a port is held.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Protocol {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
}

impl Protocol {
    /// As people write it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        }
    }
}

/// A bound socket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Socket {
    /// Where it is bound.
    pub(super) addr: SocketAddr,
    /// Number of the user who made it.
    pub(super) uid: u32,
    /// Number of the socket.
    pub(super) inode: u64,
}

/// A process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Process {
    /// Its number.
    pub(super) pid: u32,
    /// Its name, of which the kernel keeps 15 characters.
    pub(super) name: String,
    /// Its systemd unit, when it has one.
    pub(super) unit: Option<String>,
}

impl Process {
    /// Whether it is a seeder of ours.
    pub(super) fn is_seeder(&self) -> bool {
        self.name == SEEDER
    }
}

/// A socket in the way, and whose it is as far as we may see that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Holder {
    /// The socket.
    pub(super) socket: Socket,
    /// The process; `None` when this user may not look.
    pub(super) process: Option<Process>,
}

impl Holder {
    /// Whether it is systemd-resolved, which many systems run: by its name, or, when that can't be seen, by its
    /// addresses.
    pub(super) fn is_resolved(&self) -> bool {
        match &self.process {
            Some(process) => process.name == RESOLVED,
            None => STUBS.contains(&self.socket.addr),
        }
    }

    /// Whether all that comes to `wanted` comes to it.
    pub(super) fn covers(&self, wanted: SocketAddr) -> bool {
        let held = self.socket.addr;
        held == wanted || (held.ip().is_unspecified() && in_the_way(held, wanted))
    }

    /// Whether nothing tells whose it is.
    pub(super) fn is_hidden(&self) -> bool {
        self.process.is_none() && !self.is_resolved()
    }
}

/// The sockets that keep `addr` from being bound, and who holds them.
pub(super) fn of(protocol: Protocol, addr: SocketAddr) -> Vec<Holder> {
    let files: &[&str] = match protocol {
        Protocol::Udp => &["/proc/net/udp", "/proc/net/udp6"],
        Protocol::Tcp => &["/proc/net/tcp", "/proc/net/tcp6"],
    };
    let mut holders: Vec<Holder> = Vec::new();
    for file in files {
        let text = fs::read_to_string(file).unwrap_or_default();
        for socket in sockets(&text, protocol) {
            if in_the_way(socket.addr, addr) {
                holders.push(Holder {
                    socket,
                    process: None,
                });
            }
        }
    }
    if !holders.is_empty() {
        name_processes(&mut holders);
    }
    holders
}

/// Reads a file of `/proc/net`. Lines that look otherwise are passed over.
fn sockets(text: &str, protocol: Protocol) -> Vec<Socket> {
    let line = |line: &str| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let [_, local, _, state, _, _, _, uid, _, inode, ..] = fields.as_slice() else {
            return None;
        };
        if protocol == Protocol::Tcp && *state != LISTEN {
            return None;
        }
        Some(Socket {
            addr: address(local)?,
            uid: uid.parse().ok()?,
            inode: inode.parse().ok()?,
        })
    };
    text.lines().filter_map(line).collect()
}

/// Reads `0100007F:0035`: words of the address in the machine's byte order, then the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut bytes = Vec::new();
    for at in (0..ip.len()).step_by(8) {
        let word = u32::from_str_radix(ip.get(at..at + 8)?, 16).ok()?;
        bytes.extend(word.to_ne_bytes());
    }
    let ip = match bytes.len() {
        4 => IpAddr::V4(Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?)),
        16 => IpAddr::V6(Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?)),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

/// Whether a socket bound to `held` keeps one from being bound to `wanted`. Our IPv6 sockets take IPv6 alone, while a
/// foreign one on `[::]` may take IPv4 as well; `/proc` does not tell.
fn in_the_way(held: SocketAddr, wanted: SocketAddr) -> bool {
    let same_family = held.is_ipv4() == wanted.is_ipv4();
    let (held_ip, wanted_ip) = (held.ip(), wanted.ip());
    held.port() == wanted.port()
        && if same_family {
            held_ip == wanted_ip || held_ip.is_unspecified() || wanted_ip.is_unspecified()
        } else {
            held.is_ipv6() && held_ip.is_unspecified()
        }
}

/// Looks through the open files of all processes that this user may look into.
fn name_processes(holders: &mut [Holder]) {
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for directory in processes.map(|entry| entry.path()) {
        let pid = directory.file_name().and_then(|name| name.to_str());
        let Some(pid) = pid.and_then(|name| name.parse().ok()) else {
            continue;
        };
        let files = fs::read_dir(directory.join("fd")).into_iter().flatten();
        for file in files.flatten() {
            let link = fs::read_link(file.path()).unwrap_or_default();
            let Some(inode) = link.to_str().and_then(inode) else {
                continue;
            };
            let mine =
                |holder: &&mut Holder| holder.socket.inode == inode && holder.process.is_none();
            for holder in holders.iter_mut().filter(mine) {
                holder.process = Some(process(pid, &directory));
            }
        }
    }
}

fn process(pid: u32, directory: &Path) -> Process {
    let read = |name: &str| fs::read_to_string(directory.join(name)).unwrap_or_default();
    Process {
        pid,
        name: read("comm").trim_end().to_owned(),
        unit: unit(&read("cgroup")),
    }
}

/// Reads `socket:[4711]`.
fn inode(link: &str) -> Option<u64> {
    let rest = link.strip_prefix("socket:[")?;
    rest.strip_suffix(']')?.parse().ok()
}

/// The systemd service of a process by its control groups, as in `0::/system.slice/dnsmasq.service`.
fn unit(cgroup: &str) -> Option<String> {
    let mut parts = cgroup.lines().flat_map(|line| line.rsplit('/'));
    parts
        .find(|part| part.ends_with(".service"))
        .map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An address as this machine's kernel writes it.
    fn kernel(addr: &str) -> String {
        let addr: SocketAddr = addr.parse().unwrap();
        let bytes = match addr.ip() {
            IpAddr::V4(ip) => ip.octets().to_vec(),
            IpAddr::V6(ip) => ip.octets().to_vec(),
        };
        let words: String = bytes
            .chunks(4)
            .map(|word| format!("{:08X}", u32::from_ne_bytes(word.try_into().unwrap())))
            .collect();
        format!("{words}:{:04X}", addr.port())
    }

    #[test]
    fn files_of_the_kernel_are_read() {
        let head = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout \
         inode ref pointer drops";
        let (stub, six) = (kernel("127.0.0.53:53"), kernel("[2001:db8::1]:53"));
        let text = format!(
            "{head}\n  103: {stub} 00000000:0000 07 00000000:00000000 00:00000000 00000000   101        0 25071 \
             2 ffff 0\n   \
             104: {six} 00000000:0000 01 00000000:00000000 00:00000000 00000000  0  0 99 1 ffff 0\ngarbage\n"
        );
        let of = |addr: &str, uid, inode| Socket {
            addr: addr.parse().unwrap(),
            uid,
            inode,
        };
        assert_eq!(
            sockets(&text, Protocol::Udp),
            [
                of("127.0.0.53:53", 101, 25071),
                of("[2001:db8::1]:53", 0, 99)
            ]
        );
        assert_eq!(sockets(&text, Protocol::Tcp), [], "none of them listens");
        let text = text.replace(" 07 ", " 0A ");
        assert_eq!(
            sockets(&text, Protocol::Tcp),
            [of("127.0.0.53:53", 101, 25071)]
        );
        #[cfg(target_endian = "little")]
        assert_eq!(stub, "3500007F:0035");
        for wrong in [
            "",
            "3500007F",
            "3500007F:",
            "3500007:0035",
            "zz00007F:0035",
            "é500007:0035",
        ] {
            assert_eq!(address(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn sockets_that_are_in_the_way() {
        let blocks =
            |held: &str, wanted: &str| in_the_way(held.parse().unwrap(), wanted.parse().unwrap());
        assert!(blocks("127.0.0.53:53", "0.0.0.0:53"));
        assert!(blocks("0.0.0.0:53", "192.0.2.1:53"));
        assert!(blocks("192.0.2.1:53", "192.0.2.1:53"));
        assert!(blocks("[::]:53", "0.0.0.0:53"), "it may take both families");
        assert!(!blocks("127.0.0.53:53", "192.0.2.1:53"));
        assert!(!blocks("127.0.0.53:5353", "0.0.0.0:53"));
        assert!(!blocks("0.0.0.0:53", "[::]:53"), "ours take IPv6 alone");
        assert!(!blocks("[::1]:53", "0.0.0.0:53"));
        let covers = |held: &str, wanted: &str| {
            let socket = Socket {
                addr: held.parse().unwrap(),
                uid: 0,
                inode: 1,
            };
            let process = None;
            Holder { socket, process }.covers(wanted.parse().unwrap())
        };
        assert!(covers("192.0.2.1:53", "192.0.2.1:53"));
        assert!(covers("0.0.0.0:53", "192.0.2.1:53"));
        assert!(covers("[::]:53", "0.0.0.0:53"));
        assert!(!covers("127.0.0.1:53", "0.0.0.0:53"));
    }

    #[test]
    fn links_and_control_groups_are_read() {
        assert_eq!(inode("socket:[4711]"), Some(4711));
        for other in ["pipe:[1]", "socket:[]", "/dev/null", "socket:[1"] {
            assert_eq!(inode(other), None);
        }
        let unified = "0::/system.slice/dnsmasq.service\n";
        assert_eq!(unit(unified).as_deref(), Some("dnsmasq.service"));
        assert_eq!(unit("0::/user.slice/session-1.scope\n"), None);
    }

    /// This test is the process that holds the port.
    #[cfg(target_os = "linux")]
    #[test]
    fn we_find_ourselves() {
        let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
        let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        for (protocol, addr) in [
            (Protocol::Udp, udp.local_addr().unwrap()),
            (Protocol::Tcp, tcp.local_addr().unwrap()),
        ] {
            let wildcard = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), addr.port());
            for wanted in [addr, wildcard] {
                let holders = of(protocol, wanted);
                let pids: Vec<u32> = holders
                    .iter()
                    .filter_map(|holder| Some(holder.process.as_ref()?.pid))
                    .collect();
                assert!(pids.contains(&std::process::id()), "{holders:?}");
            }
        }
    }
}
