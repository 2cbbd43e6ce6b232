//! STUN servers: coturn with two addresses (RFC 5780), and one that lies.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, anyhow};

use super::space::{Program, Space, until};
use super::world::{Host, Internet};

/// STUN's port, and that of the tests that ask for an answer from elsewhere.
pub(super) const PORT: u16 = 3478;
const OTHER_PORT: u16 = 3479;

/// How soon coturn has to answer after its start.
const PATIENCE: Duration = Duration::from_secs(20);

/// How long an answer of the same machine is waited for, and how often the liar looks whether it is to end.
const TICK: Duration = Duration::from_millis(200);

/// STUN (RFC 8489): message types, the cookie, attributes.
const REQUEST: [u8; 2] = [0x00, 0x01];
const ANSWER: [u8; 2] = [0x01, 0x01];
const COOKIE: [u8; 4] = [0x21, 0x12, 0xa4, 0x42];
const MAPPED_ADDRESS: u16 = 0x0001;
const CHANGE_REQUEST: u16 = 0x0003;
const XOR_MAPPED_ADDRESS: u16 = 0x0020;
const RESPONSE_ORIGIN: u16 = 0x802b;
const OTHER_ADDRESS: u16 = 0x802c;

/// Bytes before the attributes.
const HEADER: usize = 20;

/// Two IPv4 and two IPv6 addresses of each server: RFC 5780 wants answers from another address.
pub(super) const SERVERS: [[&str; 4]; 3] = [
    ["45.80.1.1", "45.81.1.1", "2a0e:b101:1::1", "2a0e:b101:1::2"],
    ["46.82.1.1", "46.83.1.1", "2a0e:b102:1::1", "2a0e:b102:1::2"],
    ["47.84.1.1", "47.85.1.1", "2a0e:b103:1::1", "2a0e:b103:1::2"],
];

/// Where the liar is, and what it says instead of what it sees.
const LIAR: [Ipv4Addr; 2] = [Ipv4Addr::new(62, 90, 1, 1), Ipv4Addr::new(62, 91, 1, 1)];
const LIE: Ipv4Addr = Ipv4Addr::new(66, 6, 6, 6);

/// Three servers that know nothing of each other.
#[derive(Debug)]
pub(super) struct Servers {
    // Programs end before their networks do.
    _programs: Vec<Program>,
    _hosts: Vec<Host>,
}

impl Servers {
    pub(super) fn start(internet: &Internet, room: &Path) -> anyhow::Result<Self> {
        let (mut hosts, mut programs) = (Vec::new(), Vec::new());
        for (number, addresses) in SERVERS.iter().enumerate() {
            let name = format!("stun{number}");
            let ips: Vec<IpAddr> = addresses
                .iter()
                .map(|ip| ip.parse())
                .collect::<Result<_, _>>()?;
            let host = internet.host(&name, &ips)?;
            let mut turn = host.space.command("turnserver");
            turn.args(["-n", "--stun-only", "--no-tls", "--no-dtls", "--no-cli"])
                .arg(format!("--listening-port={PORT}"))
                .arg(format!("--alt-listening-port={OTHER_PORT}"))
                .args(["--log-file", "stdout", "--pidfile"])
                .arg(room.join(format!("{name}.pid")))
                .arg("--db")
                .arg(room.join(format!("{name}.db")));
            for ip in addresses {
                turn.args(["-L", ip]);
            }
            programs.push(Program::start(turn, &name, room)?);
            hosts.push(host);
        }
        for ((host, program), addresses) in hosts.iter().zip(&mut programs).zip(&SERVERS) {
            for ip in addresses {
                let server = SocketAddr::new(ip.parse()?, PORT);
                let answered = until(PATIENCE, || {
                    program.must_run()?;
                    Ok(answers(&host.space, server)?.then_some(()))
                })?;
                answered.with_context(|| format!("coturn at {server} does not answer"))?;
            }
        }
        Ok(Self {
            _programs: programs,
            _hosts: hosts,
        })
    }
}

/// The servers' first addresses of a family, as the node takes them.
pub(super) fn addresses(v6: bool) -> Vec<String> {
    SERVERS
        .iter()
        .map(|[v4, _, six, _]| {
            if v6 {
                format!("[{six}]:{PORT}")
            } else {
                format!("{v4}:{PORT}")
            }
        })
        .collect()
}

/// Whether a STUN server answers.
fn answers(from: &Space, server: SocketAddr) -> anyhow::Result<bool> {
    let asked = from.within(|| -> std::io::Result<bool> {
        let any: IpAddr = if server.is_ipv4() {
            [0; 4].into()
        } else {
            [0; 16].into()
        };
        let socket = UdpSocket::bind((any, 0))?;
        socket.set_read_timeout(Some(TICK))?;
        let question = [&REQUEST[..], &[0; 2], &COOKIE, &[7; 12]].concat();
        socket.send_to(&question, server)?;
        let mut answer = [0; 1_500];
        let read = socket.recv(&mut answer)?;
        Ok(read >= HEADER && answer.starts_with(&ANSWER))
    })?;
    // What has no socket yet refuses or says nothing.
    Ok(asked.unwrap_or(false))
}

/// A server that tells everybody the same wrong address, and from its other address a wrong port as well, as if every NAT were
/// symmetric; it never sends an answer from elsewhere, as if every NAT let only answers in.
#[derive(Debug)]
pub(super) struct Liar {
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
    _host: Host,
}

impl Liar {
    pub(super) fn start(internet: &Internet) -> anyhow::Result<Self> {
        let host = internet.host("liar", &LIAR.map(IpAddr::from))?;
        let stop = Arc::new(AtomicBool::new(false));
        let [first, other] = LIAR;
        let mut threads = Vec::new();
        for (ip, port) in [
            (first, PORT),
            (other, PORT),
            (first, OTHER_PORT),
            (other, OTHER_PORT),
        ] {
            let socket = host.space.within(|| UdpSocket::bind((ip, port)))??;
            socket.set_read_timeout(Some(TICK))?;
            let stop = Arc::clone(&stop);
            // A port of its own for each of its sockets.
            let lie = SocketAddrV4::new(LIE, 6_000 + u16::try_from(threads.len())?);
            threads.push(std::thread::spawn(move || lie_to_all(&socket, lie, &stop)));
        }
        Ok(Self {
            stop,
            threads,
            _host: host,
        })
    }

    /// As the node takes it.
    pub(super) fn address() -> String {
        let [first, _] = LIAR;
        format!("{first}:{PORT}")
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            // It has nothing to tell.
            let _ = thread.join();
        }
    }
}

fn lie_to_all(socket: &UdpSocket, lie: SocketAddrV4, stop: &AtomicBool) {
    let [_, other] = LIAR;
    let Ok(SocketAddr::V4(origin)) = socket.local_addr() else {
        return;
    };
    let mut packet = [0; 1_500];
    while !stop.load(Ordering::Relaxed) {
        // Nothing in a tick is no reason to stop.
        let Ok((read, from)) = socket.recv_from(&mut packet) else {
            continue;
        };
        if let Some(answer) = packet.get(..read).and_then(|question| {
            let other = SocketAddrV4::new(other, OTHER_PORT);
            answer(question, lie, origin, other)
        }) {
            // Who is gone does not miss it.
            let _ = socket.send_to(&answer, from);
        }
    }
}

/// What the liar says to a question, if anything.
fn answer(
    question: &[u8],
    lie: SocketAddrV4,
    origin: SocketAddrV4,
    other: SocketAddrV4,
) -> Option<Vec<u8>> {
    let (header, attributes) = question.split_at_checked(HEADER)?;
    if !header.starts_with(&REQUEST) || wants_change(attributes) {
        return None;
    }
    let transaction = header.get(4..)?;
    let [high, low, ..] = COOKIE;
    let mask = u16::from_be_bytes([high, low]);
    let hidden = SocketAddrV4::new(
        Ipv4Addr::from(u32::from(*lie.ip()) ^ u32::from_be_bytes(COOKIE)),
        lie.port() ^ mask,
    );
    let body = [
        address(MAPPED_ADDRESS, lie),
        address(XOR_MAPPED_ADDRESS, hidden),
        address(RESPONSE_ORIGIN, origin),
        address(OTHER_ADDRESS, other),
    ]
    .concat();
    let length = u16::try_from(body.len()).ok()?.to_be_bytes();
    Some([&ANSWER[..], &length, transaction, &body].concat())
}

/// Whether a question wants its answer from another address or port.
fn wants_change(attributes: &[u8]) -> bool {
    let mut rest = attributes;
    while let [a, b, c, d, after @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*c, *d]));
        let value = after.get(..length).unwrap_or_default();
        if u16::from_be_bytes([*a, *b]) == CHANGE_REQUEST {
            return value.iter().any(|byte| *byte != 0);
        }
        rest = after.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    false
}

/// An attribute with an IPv4 address.
fn address(kind: u16, addr: SocketAddrV4) -> Vec<u8> {
    let [a, b] = kind.to_be_bytes();
    let [c, d] = addr.port().to_be_bytes();
    let ip = addr.ip().octets();
    [&[a, b, 0, 8, 0, 1, c, d], &ip[..]].concat()
}

/// The addresses of a server, in the reference client's way: without a port.
pub(super) fn host_of(server: &str) -> anyhow::Result<IpAddr> {
    let addr: SocketAddr = server
        .parse()
        .map_err(|_| anyhow!("{server} is no address"))?;
    Ok(addr.ip())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_liar_answers_as_servers_do_and_only_from_where_it_was_asked() {
        let lie: SocketAddrV4 = "66.6.6.6:6000".parse().unwrap();
        let origin: SocketAddrV4 = "62.90.1.1:3478".parse().unwrap();
        let question = [&REQUEST[..], &[0; 2], &COOKIE, &[7; 12]].concat();
        let told = answer(&question, lie, origin, origin).unwrap();
        assert_eq!(told.len(), HEADER + 4 * 12);
        assert_eq!(told[4..HEADER], question[4..]);
        // XOR-MAPPED-ADDRESS, the second attribute, read as RFC 8489 says.
        let port = u16::from_be_bytes([told[HEADER + 18] ^ 0x21, told[HEADER + 19] ^ 0x12]);
        assert_eq!(port, 6_000);
        assert_eq!(told[HEADER + 20] ^ 0x21, 66);
        let change = [&question[..], &[0, 3, 0, 4, 0, 0, 0, 6]].concat();
        assert_eq!(answer(&change, lie, origin, origin), None);
    }
}
