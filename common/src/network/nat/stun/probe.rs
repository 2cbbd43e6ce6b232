//! Asks several STUN servers what they see of us, and finds out the kind of NAT; one that lies is outvoted.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use futures_util::future::join_all;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::LookupIpStrategy;
use serde::Serialize;
use tokio::net::UdpSocket;
use tokio::time::timeout;

use super::exchange::{AskError, Question, ask};
use super::message::{Answer, Change};
use super::typing::{NatKind, Seen, classify, classify_by_mappings, most};
use crate::network::nat::vote::majority;
use crate::reachability::netgroup::is_routable;

/// How long a server's name may take to be resolved: with lost packets all may take 6.5 s.
const RESOLVE: Duration = Duration::from_millis(1_500);

/// Servers asked; more give no better vote.
pub(crate) const MAX_SERVERS: usize = 8;

/// Servers that are asked to answer from elsewhere; enough that one of them is outvoted.
const MAX_TYPING: usize = 3;

/// A public address to ask the system which of ours it would use; nothing is sent there. Root servers stay where they are
/// (A.ROOT-SERVERS.NET).
const FAR_V4: Ipv4Addr = Ipv4Addr::new(198, 41, 0, 4);
const FAR_V6: Ipv6Addr = Ipv6Addr::new(0x2001, 0x503, 0xba3e, 0, 0, 0, 2, 0x30);

/// What was found for one family of addresses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Probe {
    /// What is between us and the world.
    pub kind: NatKind,
    /// The address of ours that packets to the world leave from.
    pub local: IpAddr,
    /// How the world sees it, as far as more than half of those that answered agree.
    pub external: Option<IpAddr>,
    /// Servers that agree.
    pub agreed: usize,
    /// Servers that answered.
    pub answered: usize,
    /// Each of them.
    pub servers: Vec<ServerReport>,
}

/// What one server said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ServerReport {
    /// As configured.
    pub server: String,
    /// How it sees the socket that all were asked from.
    pub mapped: Option<SocketAddr>,
    /// Why it does not say.
    pub error: Option<String>,
}

/// IPv4 or IPv6.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Family {
    V4,
    V6,
}

impl Family {
    pub(crate) fn has(self, ip: IpAddr) -> bool {
        ip.is_ipv4() == (self == Self::V4)
    }

    fn unspecified(self) -> IpAddr {
        match self {
            Self::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Self::V6 => Ipv6Addr::UNSPECIFIED.into(),
        }
    }
}

/// The address of ours that packets to the world leave from; `None` without a way there.
pub(crate) fn local_address(family: Family) -> Option<IpAddr> {
    let far: IpAddr = match family {
        Family::V4 => FAR_V4.into(),
        Family::V6 => FAR_V6.into(),
    };
    // Connecting UDP chooses addresses and sends nothing.
    let socket = std::net::UdpSocket::bind((family.unspecified(), 0)).ok()?;
    socket.connect((far, 3478)).ok()?;
    let local = socket.local_addr().ok()?.ip();
    (!local.is_unspecified()).then_some(local)
}

/// Where the server is, in this family; with the reason where that can't be found out. Not by the system's own function, whose
/// threads would hold up the end of the program for as long as DNS is dead.
async fn resolve(server: String, family: Family) -> Result<SocketAddr, String> {
    let none = || "it has no address of this family".to_owned();
    if let Ok(addr) = server.parse::<SocketAddr>() {
        return Some(addr)
            .filter(|addr| family.has(addr.ip()))
            .ok_or_else(none);
    }
    let split = server.rsplit_once(':');
    let split = split.and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    let Some((host, port)) = split else {
        return Err("it is no HOST:PORT".to_owned());
    };
    let resolver = TokioResolver::builder_tokio().and_then(|mut builder| {
        // Of this family alone: some resolvers drop questions for the other.
        builder.options_mut().ip_strategy = match family {
            Family::V4 => LookupIpStrategy::Ipv4Only,
            Family::V6 => LookupIpStrategy::Ipv6Only,
        };
        builder.build()
    });
    let resolver = resolver.map_err(|error| error.to_string())?;
    let found = match timeout(RESOLVE, resolver.lookup_ip(host)).await {
        Ok(found) => found.map_err(|error| error.to_string())?,
        Err(_) => return Err(format!("no address within {} s", RESOLVE.as_secs_f32())),
    };
    let ip = found.iter().find(|ip| family.has(*ip));
    ip.map(|ip| SocketAddr::new(ip, port)).ok_or_else(none)
}

/// Asks the servers from `local`. At most 6.5 s, of which 1.5 are for names.
///
/// # Errors
/// When no socket can be had.
pub(crate) async fn probe(servers: &[String], local: IpAddr) -> io::Result<Probe> {
    let family = if local.is_ipv4() {
        Family::V4
    } else {
        Family::V6
    };
    let servers = servers.get(..MAX_SERVERS).unwrap_or(servers);
    let resolved = join_all(
        servers
            .iter()
            .cloned()
            .map(|server| resolve(server, family)),
    );
    let mut resolved = resolved.await;
    without_doubles(&mut resolved);
    let socket = UdpSocket::bind((local, 0)).await?;
    let questions: Vec<_> = resolved.iter().flatten().map(|to| plain(*to)).collect();
    let mut answers = ask(&socket, &questions).await.into_iter();
    let (mut reports, mut heard) = (Vec::new(), Vec::new());
    for (server, resolved) in servers.iter().zip(resolved) {
        let answer = resolved.and_then(|addr| {
            let answer = answers.next().unwrap_or(Err(AskError::Silent));
            let answer = answer.map_err(|error| error.to_string())?;
            heard.push((addr, answer));
            Ok(answer.mapped)
        });
        reports.push(ServerReport {
            server: server.clone(),
            mapped: answer.as_ref().ok().copied(),
            error: answer.err(),
        });
    }
    let answered = heard.len();
    let seen = |answer: &Answer| answer.mapped.ip().to_canonical();
    let vote = majority(heard.iter().map(|(_, answer)| seen(answer)));
    // Whoever sees another address than most is not asked anything else.
    heard.retain(|(_, answer)| vote.is_some_and(|(ip, _)| ip == seen(answer)));
    Ok(Probe {
        kind: find_kind(&socket, local, &heard).await?,
        local,
        external: vote.map(|(ip, _)| ip),
        agreed: heard.len(),
        answered,
        servers: reports,
    })
}

/// Asks one server, whether the world still sees us as before.
pub(crate) async fn glance(server: &str, local: IpAddr) -> Option<IpAddr> {
    let family = if local.is_ipv4() {
        Family::V4
    } else {
        Family::V6
    };
    let addr = resolve(server.to_owned(), family).await.ok()?;
    let socket = UdpSocket::bind((local, 0)).await.ok()?;
    let answer = ask(&socket, &[plain(addr)]).await.pop()?.ok()?;
    Some(answer.mapped.ip().to_canonical())
}

fn plain(to: SocketAddr) -> Question {
    Question {
        to,
        change: Change::NONE,
    }
}

/// One host has one vote, whatever its names.
fn without_doubles(resolved: &mut [Result<SocketAddr, String>]) {
    let mut known = Vec::new();
    for server in resolved {
        if let Ok(addr) = server {
            if known.contains(&addr.ip()) {
                *server = Err("the same host as another of these servers".to_owned());
            } else {
                known.push(addr.ip());
            }
        }
    }
}

/// The kind of NAT, by those servers that have a second address, else by how the others see one socket.
async fn find_kind(
    socket: &UdpSocket,
    local: IpAddr,
    heard: &[(SocketAddr, Answer)],
) -> io::Result<NatKind> {
    let two = |(server, answer): &(SocketAddr, Answer)| {
        let other = answer.other?;
        let differs = other.ip() != server.ip() && other.port() != server.port();
        // A server of the world sends us nowhere into our own network.
        let outside = is_routable(other.ip(), !is_routable(server.ip(), false));
        let same_family = other.is_ipv4() == server.is_ipv4();
        (differs && outside && same_family).then_some((*server, other, answer.mapped))
    };
    let able: Vec<_> = heard.iter().filter_map(two).take(MAX_TYPING).collect();
    let mapped: Vec<_> = heard.iter().map(|(_, answer)| answer.mapped).collect();
    let by_mappings = classify_by_mappings(local, &mapped);
    let mut questions = Vec::new();
    for (server, other, _) in &able {
        questions.push(plain(SocketAddr::new(other.ip(), server.port())));
        questions.push(plain(*other));
    }
    let mut filters = Vec::new();
    for (server, ..) in &able {
        filters.push(filter(local, *server));
    }
    let (mappings, filters) = tokio::join!(ask(socket, &questions), join_all(filters));
    let mut kinds = Vec::new();
    for ((found, filter), (_, _, mapped)) in mappings.chunks(2).zip(filters).zip(&able) {
        let (lets_other_address_in, lets_other_port_in) = filter?;
        let mapped_by = |index: usize| found.get(index)?.as_ref().ok().map(|answer| answer.mapped);
        kinds.push(classify(&Seen {
            local,
            mapped: *mapped,
            mapped_by_other_address: mapped_by(0),
            mapped_by_other_socket: mapped_by(1),
            lets_other_address_in,
            lets_other_port_in,
        }));
    }
    Ok(most(&kinds).unwrap_or(by_mappings))
}

/// Whether answers come in from the server's other address and port, and from its other port. By a fresh socket each: what
/// was sent to the other address before would open a filter to it.
async fn filter(local: IpAddr, server: SocketAddr) -> io::Result<(bool, bool)> {
    let (address, port) = tokio::join!(
        lets_in(local, server, Change::BOTH),
        lets_in(local, server, Change::PORT)
    );
    Ok((address?, port?))
}

async fn lets_in(local: IpAddr, to: SocketAddr, change: Change) -> io::Result<bool> {
    let socket = UdpSocket::bind((local, 0)).await?;
    let answers = ask(&socket, &[Question { to, change }]).await;
    Ok(answers.iter().any(Result::is_ok))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::super::message::tests::answer;
    use super::*;

    /// A server that sees `seen` (or the truth), and says that it has another address, which nobody answers at.
    async fn server(ip: [u8; 4], seen: Option<SocketAddr>, other: Option<SocketAddr>) -> String {
        let socket = UdpSocket::bind((IpAddr::from(ip), 0)).await.unwrap();
        let addr = socket.local_addr().unwrap();
        tokio::spawn(async move {
            let mut buffer = [0; 200];
            while let Ok((length, from)) = socket.recv_from(&mut buffer).await {
                // With another address asked for, it is silent.
                if length == 20 {
                    let answer = answer(&buffer[..length], seen.unwrap_or(from), other);
                    socket.send_to(&answer, from).await.unwrap();
                }
            }
        });
        addr.to_string()
    }

    const LOCAL: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

    #[tokio::test]
    async fn one_liar_of_three_changes_nothing() {
        let liar = server([127, 0, 0, 11], Some(([6, 6, 6, 6], 66).into()), None).await;
        let servers = [
            liar,
            server([127, 0, 0, 12], None, None).await,
            server([127, 0, 0, 13], None, None).await,
        ];
        let probe = probe(&servers, LOCAL).await.unwrap();
        assert_eq!(probe.external, Some(LOCAL));
        assert_eq!((probe.agreed, probe.answered), (2, 3));
    }

    #[tokio::test]
    async fn without_a_majority_nothing_is_believed() {
        let servers = [
            server([127, 0, 0, 14], Some(([6, 6, 6, 6], 66).into()), None).await,
            server([127, 0, 0, 15], None, None).await,
        ];
        let probe = probe(&servers, LOCAL).await.unwrap();
        assert_eq!(probe.external, None);
        assert_eq!((probe.agreed, probe.answered), (0, 2));
    }

    #[tokio::test]
    async fn a_server_under_two_names_has_one_vote() {
        let one = server([127, 0, 0, 16], None, None).await;
        let probe = probe(&[one.clone(), one], LOCAL).await.unwrap();
        assert_eq!((probe.agreed, probe.answered), (1, 1));
        assert!(probe.servers[1].error.is_some());
    }

    #[tokio::test]
    async fn dead_servers_and_names_that_are_none_are_told() {
        let silent = UdpSocket::bind("127.0.0.17:0").await.unwrap();
        let servers = [
            silent.local_addr().unwrap().to_string(),
            "no port".to_owned(),
            "[::1]:3478".to_owned(),
        ];
        let probe = probe(&servers, LOCAL).await.unwrap();
        assert_eq!(probe.kind, NatKind::Blocked);
        assert!(probe.servers.iter().all(|server| server.error.is_some()));
    }

    /// It sends our packets somewhere else, at most three times each.
    #[tokio::test]
    async fn a_server_makes_us_send_little_to_others() {
        let victim = UdpSocket::bind("127.0.0.18:0").await.unwrap();
        let addr = victim.local_addr().unwrap();
        let packets = Arc::new(AtomicUsize::new(0));
        let count = Arc::clone(&packets);
        tokio::spawn(async move {
            let mut buffer = [0; 200];
            while victim.recv_from(&mut buffer).await.is_ok() {
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        let liar = server([127, 0, 0, 19], None, Some(addr)).await;
        let probe = probe(&[liar], LOCAL).await.unwrap();
        assert_eq!(probe.kind, NatKind::Unknown);
        assert!(packets.load(Ordering::Relaxed) <= 3);
    }
}
