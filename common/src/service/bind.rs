//! Listening sockets, and what to tell a person when one can't be had.
//!
//! IPv6 sockets are IPv6-only, so that `0.0.0.0:53` and `[::]:53` can stand side by side on every system, but for
//! [`tcp_of_both`]; and TCP sockets can be bound again right after a restart.

use std::{
    io,
    net::{IpAddr, SocketAddr, UdpSocket},
};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::TcpListener;

/// Connections that the kernel may hold for us before `accept`; the usual `net.core.somaxconn` is 4096,
/// a burst of reconnecting peers fits in a quarter of it.
const TCP_BACKLOG: i32 = 1024;

/// A socket that can't be bound: what, where, why and how to mend it.
#[derive(Debug, thiserror::Error)]
#[error("{purpose} can't listen on {protocol} {addr}: {}", explain(.addr, .source))]
pub struct BindError {
    purpose: String,
    protocol: &'static str,
    addr: SocketAddr,
    source: io::Error,
}

/// An address at which nothing of this machine can listen.
#[derive(Debug, thiserror::Error)]
#[error("{}", explain(.addr, .source))]
pub struct NotOurs {
    addr: SocketAddr,
    source: io::Error,
}

impl BindError {
    /// The address that was wanted.
    #[must_use]
    pub const fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// What the system said.
    #[must_use]
    pub fn kind(&self) -> io::ErrorKind {
        self.source.kind()
    }
}

/// Binds and listens on TCP. `purpose` names the service in the error, e.g. `the HTTP server`.
/// Must be called within a tokio runtime.
///
/// # Errors
/// [`BindError`] with the reason and the remedy in words.
pub fn tcp(addr: SocketAddr, purpose: &str) -> Result<TcpListener, BindError> {
    bind_tcp(addr, purpose, true)
}

/// As [`tcp`], for a program with one listening address: `[::]` takes connections by IPv4 as well, whose addresses then are
/// IPv4-mapped ([`crate::reachability::netgroup::canonical_socket`] gives them back).
///
/// # Errors
/// As [`tcp`].
pub fn tcp_of_both(addr: SocketAddr, purpose: &str) -> Result<TcpListener, BindError> {
    bind_tcp(addr, purpose, !addr.ip().is_unspecified())
}

/// Whether this machine has an address, so that something can listen on it. Nothing listens for that, and the port does not
/// matter.
///
/// # Errors
/// [`NotOurs`] when it has not.
pub fn is_ours(ip: IpAddr) -> Result<(), NotOurs> {
    let addr = SocketAddr::new(ip, 0);
    UdpSocket::bind(addr)
        .map(drop)
        .map_err(|source| NotOurs { addr, source })
}

fn bind_tcp(addr: SocketAddr, purpose: &str, only_v6: bool) -> Result<TcpListener, BindError> {
    let bound = || -> io::Result<TcpListener> {
        let socket = socket(addr, Type::STREAM, Protocol::TCP, only_v6)?;
        // Without it a restart waits for old connections in TIME_WAIT. (On Windows it means something else.)
        #[cfg(unix)]
        socket.set_reuse_address(true)?;
        socket.bind(&addr.into())?;
        socket.listen(TCP_BACKLOG)?;
        TcpListener::from_std(socket.into())
    };
    bound().map_err(|source| BindError {
        purpose: purpose.to_owned(),
        protocol: "TCP",
        addr,
        source,
    })
}

/// Binds UDP sockets for `workers` threads to one address; the system spreads the clients over them where it can
/// (`SO_REUSEPORT`), else all share one. They are blocking. `purpose` names the service in the error.
///
/// # Errors
/// [`BindError`] with the reason and the remedy in words; also when another process shares the address willingly, which
/// would get a part of the queries.
pub fn udp(addr: SocketAddr, purpose: &str, workers: usize) -> Result<Vec<UdpSocket>, BindError> {
    let bind = |addr: SocketAddr, shared: bool| -> io::Result<UdpSocket> {
        let socket = socket(addr, Type::DGRAM, Protocol::UDP, true)?;
        socket.set_nonblocking(false)?;
        #[cfg(target_os = "linux")]
        socket.set_reuse_port(shared)?;
        socket.bind(&addr.into())?;
        Ok(socket.into())
    };
    let bound = || -> io::Result<Vec<UdpSocket>> {
        // Fails when somebody else is there, shared or not.
        let alone = bind(addr, false)?;
        if !cfg!(target_os = "linux") {
            return (0..workers).map(|_| alone.try_clone()).collect();
        }
        let addr = alone.local_addr()?;
        drop(alone);
        (0..workers).map(|_| bind(addr, true)).collect()
    };
    bound().map_err(|source| BindError {
        purpose: purpose.to_owned(),
        protocol: "UDP",
        addr,
        source,
    })
}

fn socket(addr: SocketAddr, kind: Type, protocol: Protocol, only_v6: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(addr), kind, Some(protocol))?;
    if addr.is_ipv6() {
        socket.set_only_v6(only_v6)?;
    }
    socket.set_nonblocking(true)?;
    Ok(socket)
}

fn explain(addr: &SocketAddr, error: &io::Error) -> String {
    let port = addr.port();
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            let usual = match port {
                53 => {
                    "on port 53 it is usually systemd-resolved (free it with `DNSStubListener=no` in \
                     /etc/systemd/resolved.conf and `systemctl restart systemd-resolved`) or another \
                     name server such as dnsmasq, bind9 or unbound. "
                }
                _ => "",
            };
            format!(
                "the address is in use by another process. {usual}`ss -lntup 'sport = :{port}'` shows \
                 which one; stop it, or choose another address"
            )
        }
        io::ErrorKind::PermissionDenied if port != 0 && port < 1024 => format!(
            "permission denied. Ports below 1024 need the capability CAP_NET_BIND_SERVICE: under systemd \
             `AmbientCapabilities=CAP_NET_BIND_SERVICE`, for a binary `setcap cap_net_bind_service=+ep \
             FILE`, or choose a port above 1023 in place of {port}"
        ),
        io::ErrorKind::PermissionDenied => {
            "permission denied. A security policy (SELinux, AppArmor, seccomp) forbids it; its audit \
             log names the rule"
                .to_owned()
        }
        io::ErrorKind::AddrNotAvailable => format!(
            "no interface of this machine has the address {}. `ip address` lists those that it has; \
             0.0.0.0 and [::] stand for all of them",
            addr.ip()
        ),
        io::ErrorKind::Unsupported => {
            format!("the system does not offer {}", if addr.is_ipv6() { "IPv6" } else { "IPv4" })
        }
        // EAFNOSUPPORT has no stable kind of its own.
        _ if addr.is_ipv6() && error.raw_os_error() == Some(EAFNOSUPPORT) => {
            "IPv6 is switched off on this machine; leave this address out".to_owned()
        }
        _ => error.to_string(),
    }
}

/// Linux `errno` of "address family not supported by protocol" (`errno.h`).
const EAFNOSUPPORT: i32 = 97;

#[cfg(test)]
mod tests {
    use std::net::{Ipv4Addr, Ipv6Addr};

    use tokio::net::TcpStream;

    use super::*;

    #[tokio::test]
    async fn a_busy_port_is_told_in_words() {
        let first = tcp("127.0.0.1:0".parse().unwrap(), "the test").unwrap();
        let addr = first.local_addr().unwrap();
        let error = tcp(addr, "the test").unwrap_err();
        let words = error.to_string();
        assert_eq!(error.kind(), io::ErrorKind::AddrInUse);
        assert!(
            words.contains("the test can't listen on TCP 127.0.0.1"),
            "{words}"
        );
        assert!(
            words.contains(&format!("ss -lntup 'sport = :{}'", addr.port())),
            "{words}"
        );

        let first = udp("127.0.0.1:0".parse().unwrap(), "the test", 2).unwrap();
        let words = udp(first[1].local_addr().unwrap(), "the test", 2)
            .unwrap_err()
            .to_string();
        assert!(words.contains("UDP") && words.contains("in use"), "{words}");
    }

    #[tokio::test]
    async fn both_families_come_to_one_socket_where_that_is_asked_for() {
        let any = SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0));
        let both = tcp_of_both(any, "the test").unwrap();
        let port = both.local_addr().unwrap().port();
        let by_v4 = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
        assert!(by_v4.await.is_ok());
        let (_, from) = both.accept().await.unwrap();
        assert!(matches!(from.ip(), IpAddr::V6(ip) if ip.to_ipv4_mapped().is_some()));
        let one = tcp(any, "the test").unwrap();
        let port = one.local_addr().unwrap().port();
        let by_v4 = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
        assert!(by_v4.await.is_err());
    }

    #[test]
    fn port_53_names_the_usual_holder() {
        let words = explain(
            &"0.0.0.0:53".parse().unwrap(),
            &io::ErrorKind::AddrInUse.into(),
        );
        assert!(words.contains("systemd-resolved"), "{words}");
        let words = explain(
            &"0.0.0.0:8080".parse().unwrap(),
            &io::ErrorKind::AddrInUse.into(),
        );
        assert!(!words.contains("systemd-resolved"), "{words}");
    }

    #[test]
    fn a_low_port_without_the_right_names_the_capability() {
        let denied = io::Error::from(io::ErrorKind::PermissionDenied);
        let words = explain(&"0.0.0.0:53".parse().unwrap(), &denied);
        assert!(words.contains("CAP_NET_BIND_SERVICE"), "{words}");
        let words = explain(&"0.0.0.0:5353".parse().unwrap(), &denied);
        assert!(!words.contains("CAP_NET_BIND_SERVICE"), "{words}");
    }

    #[tokio::test]
    async fn a_foreign_address_is_told_in_words() {
        // 192.0.2.0/24 is for documentation (RFC 5737): no interface has it.
        let words = udp("192.0.2.1:0".parse().unwrap(), "the test", 1)
            .unwrap_err()
            .to_string();
        assert!(words.contains("no interface"), "{words}");
        let words = is_ours([192, 0, 2, 1].into()).unwrap_err().to_string();
        assert!(words.contains("no interface"), "{words}");
        is_ours(Ipv4Addr::LOCALHOST.into()).unwrap();
        is_ours(Ipv4Addr::UNSPECIFIED.into()).unwrap();
    }
}
