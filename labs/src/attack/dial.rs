//! How somebody comes to the victim: from an address of his own, and as a peer.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use quantumcoin::chain_spec::ChainSpec;
use quantumcoin::network::protocol::version::{Direction, LocalVersion};
use quantumcoin::network::session::{Session, shake_hands};
use quantumcoin::transport::{Endpoint, Identity};
use quantumcoin::wire::services;
use tokio::net::{TcpSocket, TcpStream};

/// Who dials whom, and how.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Dial {
    pub(crate) from: SocketAddr,
    pub(crate) to: SocketAddr,
    /// Seconds by which the caller's clock is ahead.
    pub(crate) ahead: i64,
    /// With the least room for what comes that the system has.
    pub(crate) narrow: bool,
}

impl Dial {
    /// As an honest peer does.
    pub(crate) fn new(from: SocketAddr, to: SocketAddr) -> Self {
        Self {
            from,
            to,
            ahead: 0,
            narrow: false,
        }
    }

    /// A TCP connection.
    pub(crate) async fn connect(self) -> std::io::Result<TcpStream> {
        let socket = match self.from {
            SocketAddr::V4(_) => TcpSocket::new_v4()?,
            SocketAddr::V6(_) => TcpSocket::new_v6()?,
        };
        // What is gone must not wait for the other side: ports would run out.
        socket.set_zero_linger()?;
        if self.narrow {
            socket.set_recv_buffer_size(1)?;
        }
        socket.bind(self.from)?;
        let stream = socket.connect(self.to).await?;
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Both handshakes, with a new identity.
    pub(crate) async fn peer(self, spec: &ChainSpec) -> anyhow::Result<Session> {
        let stream = self.connect().await?;
        let endpoint = Endpoint::new(spec, Arc::new(Identity::generate()?));
        let local = self.version(spec);
        let hands = shake_hands(&endpoint, spec.magic(), local, stream, Direction::Outbound);
        Ok(hands.await?)
    }

    /// What the caller says of himself.
    pub(crate) fn version(self, spec: &ChainSpec) -> LocalVersion {
        let protocol = &spec.network_protocol;
        LocalVersion {
            protocol_version: protocol.protocol_version,
            min_protocol_version: protocol.min_protocol_version,
            services: services::NETWORK.to_u64() | services::WITNESS.to_u64() | services::NOISE,
            user_agent: "/labs/".to_owned(),
            start_height: 0,
            relay: true,
            nonce: rand::random(),
            now: unix_seconds() as i64 + self.ahead,
            our_addr: self.from,
            their_addr: self.to,
        }
    }
}

/// Seconds since 1970.
pub(crate) fn unix_seconds() -> f64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.unwrap_or_default().as_secs_f64()
}
