//! The way to a peer: straight, or by a SOCKS5 proxy to one that has a name instead of an address.

use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use quantumcoin::reachability::Outcome;
use quantumcoin::reachability::overlay::{OverlayName, PeerAddress};
use serde::{Deserialize, Serialize};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_socks::Error as Socks;
use tokio_socks::tcp::Socks5Stream;

use super::failure::Failure;

/// SOCKS5 proxies (RFC 1928) to overlay networks, each where there is one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Proxies {
    /// To onion services: Tor's `SocksPort`.
    pub onion: Option<SocketAddr>,
    /// To destinations of I2P.
    pub i2p: Option<SocketAddr>,
}

impl Proxies {
    /// The proxy to a name's network.
    pub fn of(&self, name: &OverlayName) -> Option<SocketAddr> {
        match name {
            OverlayName::Onion(_) => self.onion,
            OverlayName::I2p(_) => self.i2p,
        }
    }
}

/// How peers are dialled.
#[derive(Debug, Clone, Copy)]
pub(super) struct Dialer {
    pub(super) proxies: Proxies,
    /// For TCP: to a peer, or to a proxy.
    pub(super) connect: Duration,
    /// For a proxy to reach a peer: it builds a circuit first.
    pub(super) proxy: Duration,
}

impl Dialer {
    pub(super) async fn dial(&self, peer: &PeerAddress) -> Result<TcpStream, Failure> {
        match peer {
            PeerAddress::Socket(addr) => self.connect(*addr).await,
            PeerAddress::Named(name, port) => self.by_proxy(name, *port).await,
        }
    }

    async fn connect(&self, addr: SocketAddr) -> Result<TcpStream, Failure> {
        timeout(self.connect, TcpStream::connect(addr))
            .await
            .map_err(|_| Failure::new(Outcome::TimeoutConnect, "no answer to the dial"))?
            .map_err(|e| Failure::dial(&e))
    }

    async fn by_proxy(&self, name: &OverlayName, port: u16) -> Result<TcpStream, Failure> {
        let down = |why: &str| Failure::new(Outcome::ProxyDown, format!("the proxy: {why}"));
        let Some(proxy) = self.proxies.of(name) else {
            return Err(down("none is set for this network"));
        };
        let stream = self.connect(proxy).await;
        let stream = stream.map_err(|failure| down(&failure.detail))?;
        // Tor keeps streams of different credentials on different circuits, so that no relay sees whom else we visit.
        let isolation = format!("{:016x}", rand::random::<u64>());
        let target = (name.to_string(), port);
        let connected =
            Socks5Stream::connect_with_password_and_socket(stream, target, &isolation, &isolation);
        match timeout(self.proxy, connected).await {
            Ok(Ok(stream)) => Ok(stream.into_inner()),
            Ok(Err(error)) => Err(socks(&error)),
            Err(_) => Err(Failure::new(
                Outcome::TimeoutConnect,
                "the proxy did not reach it in time",
            )),
        }
    }
}

/// What a proxy says of the peer, and what says that the proxy itself is of no use.
fn socks(error: &Socks) -> Failure {
    let outcome = match error {
        Socks::ConnectionRefused => Outcome::Refused,
        Socks::TtlExpired => Outcome::TimeoutConnect,
        // Tor's answers for a service that is not there have codes of their own (its proposal 304), or are the general one.
        Socks::HostUnreachable
        | Socks::NetworkUnreachable
        | Socks::GeneralSocksServerFailure
        | Socks::UnknownError => Outcome::Unreachable,
        // A proxy that hangs up has not found it; one that is gone fails the next connect.
        Socks::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => Outcome::Unreachable,
        _ => Outcome::ProxyDown,
    };
    Failure::new(outcome, format!("the proxy: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_proxys_word_on_the_peer_and_its_own_failures_are_told_apart() {
        let of = |error: Socks| socks(&error).outcome;
        assert_eq!(of(Socks::ConnectionRefused), Outcome::Refused);
        assert_eq!(of(Socks::HostUnreachable), Outcome::Unreachable);
        assert_eq!(of(Socks::TtlExpired), Outcome::TimeoutConnect);
        assert_eq!(of(Socks::UnknownError), Outcome::Unreachable);
        assert_eq!(of(Socks::NoAcceptableAuthMethods), Outcome::ProxyDown);
        assert_eq!(of(Socks::InvalidResponseVersion), Outcome::ProxyDown);
        assert_eq!(of(Socks::ConnectionNotAllowedByRuleset), Outcome::ProxyDown);
        let hung_up = io::Error::from(io::ErrorKind::UnexpectedEof);
        assert_eq!(of(Socks::Io(hung_up)), Outcome::Unreachable);
    }
}
