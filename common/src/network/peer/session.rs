//! What a node brings to its connections, and the deadline under which they are made.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::net::{TcpSocket, TcpStream};
use tokio::sync::watch;

use super::claims::{Claim, Claims};
use crate::chain::Blockchain;
use crate::chain_spec::ChainSpec;
use crate::network::connections::Purpose;
use crate::network::protocol::version::{Direction, LocalVersion};
use crate::network::session::{How, Session, SessionError, negotiate, secure};
use crate::transport::{DialBy, Endpoint, NodeId};
use crate::wire::services::NOISE;

/// What every connection of a node needs to know of it.
#[derive(Debug)]
pub(crate) struct Local {
    pub(crate) spec: Arc<ChainSpec>,
    pub(crate) chain: Arc<Blockchain>,
    pub(crate) endpoint: Endpoint,
    pub(crate) nonce: u64,
    /// The nodes that we have dialled.
    pub(crate) claims: Claims,
    /// Whom to call: each must show that it is still there.
    pub(crate) calls: watch::Sender<Call>,
    pub(crate) services: u64,
    pub(crate) user_agent: String,
    pub(crate) listen_addr: SocketAddr,
}

/// Which peers are called: those with an IPv4 address, with an IPv6 address, or both.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Call {
    v4: bool,
    v6: bool,
}

impl Call {
    /// Those of the family of this address as well.
    pub(crate) fn add(&mut self, ip: IpAddr) {
        self.v4 |= ip.is_ipv4();
        self.v6 |= ip.is_ipv6();
    }

    /// Whether a peer at this address is called.
    pub(crate) fn concerns(self, ip: IpAddr) -> bool {
        (ip.is_ipv4() && self.v4) || (ip.is_ipv6() && self.v6)
    }
}

impl Local {
    /// Has those peers show that they are still there, by an answer to a ping.
    pub(crate) fn call(&self, call: Call) {
        self.calls.send_replace(call);
    }

    pub(crate) fn timeout(&self) -> Duration {
        Duration::from_secs(self.spec.network_protocol.connection_timeout)
    }

    fn version(&self, their_addr: SocketAddr, relay: bool) -> LocalVersion {
        let protocol = &self.spec.network_protocol;
        LocalVersion {
            protocol_version: protocol.protocol_version,
            min_protocol_version: protocol.min_protocol_version,
            services: self.services,
            user_agent: self.user_agent.clone(),
            start_height: i32::try_from(self.chain.tip().height).unwrap_or(i32::MAX),
            relay,
            nonce: self.nonce,
            now: unix_now() as i64,
            our_addr: self.listen_addr,
            their_addr,
        }
    }
}

/// What did not finish when a peer was connected and then said nothing, or too little.
pub(crate) const HANDSHAKES: &str = "the handshakes";

/// Opens a TCP connection within the time-out. With a specific listen address it comes from there, so that
/// peers see one address of ours.
pub(crate) async fn dial(local: &Local, addr: SocketAddr) -> Result<TcpStream, SessionError> {
    let connect = async {
        let own = local.listen_addr.ip();
        let socket = if addr.is_ipv4() {
            TcpSocket::new_v4()
        } else {
            TcpSocket::new_v6()
        }?;
        if !own.is_unspecified() && own.is_ipv4() == addr.is_ipv4() {
            socket.bind(SocketAddr::new(own, 0))?;
        }
        socket.connect(addr).await
    };
    match tokio::time::timeout(local.timeout(), connect).await {
        Ok(result) => result.map_err(SessionError::Connect),
        Err(_) => Err(SessionError::Timeout("the connection", local.timeout())),
    }
}

/// Does both handshakes within one deadline: whoever is slow in the first has less time for the second.
/// An outbound session comes with the claim on its node.
pub(crate) async fn establish(
    local: &Local,
    stream: TcpStream,
    addr: SocketAddr,
    how: How,
) -> Result<(Session, Option<Claim>), SessionError> {
    let handshakes = async {
        let tls = matches!(how, How::Dial(DialBy::Tls, _) | How::DialBack(DialBy::Tls));
        // Whom we dial for blocks alone, or to see who is there, is to tell us of no transactions.
        let relay = !matches!(
            how,
            How::Dial(_, Purpose::BlockOnly | Purpose::Feeler) | How::DialBack(_)
        );
        let secured = secure(&local.endpoint, stream, &how).await?;
        let (direction, claim) = match how {
            How::Accept(_) => (Direction::Inbound, None),
            // Beside whatever stands, or seems to stand, between us already.
            How::DialBack(_) => (Direction::Outbound, None),
            How::Dial(..) => (
                Direction::Outbound,
                Some(claim(local, secured.remote.node_id)?),
            ),
        };
        let version = local.version(addr, relay);
        let negotiated = negotiate(secured, local.spec.magic(), version, direction);
        let session = Box::pin(negotiated).await?;
        // What it says of itself over a secured connection nobody can have changed.
        let both_speak_noise = session.version.services & local.services & NOISE != 0;
        if tls && both_speak_noise {
            return Err(SessionError::Downgraded);
        }
        Ok((session, claim))
    };
    match tokio::time::timeout(local.timeout(), handshakes).await {
        Ok(result) => result,
        Err(_) => Err(SessionError::Timeout(HANDSHAKES, local.timeout())),
    }
}

fn claim(local: &Local, node: NodeId) -> Result<Claim, SessionError> {
    let claim = local.claims.claim(node);
    claim.ok_or(SessionError::AlreadyConnected(node))
}

/// Seconds since 1970; 0 on a clock before that.
pub(crate) fn unix_now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |d| d.as_secs())
}
