//! Pairs of connections over TCP on loopback.

use std::net::SocketAddr;

use quantumcoin::transport::{DialBy, Endpoint, Secured};
use tokio::net::{TcpListener, TcpStream};

use super::handshakes::endpoint;

/// Makes connections between the same two nodes.
pub(super) struct TcpPairs {
    listener: TcpListener,
    addr: SocketAddr,
    dials: Endpoint,
    accepts: Endpoint,
}

impl TcpPairs {
    pub(super) async fn new() -> anyhow::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        Ok(Self {
            addr: listener.local_addr()?,
            listener,
            dials: endpoint()?,
            accepts: endpoint()?,
        })
    }

    /// Both ends of a new connection.
    pub(super) async fn connect(
        &self,
        by: DialBy,
    ) -> anyhow::Result<(Secured<TcpStream>, Secured<TcpStream>)> {
        let near = async {
            let stream = TcpStream::connect(self.addr).await?;
            anyhow::Ok(self.dials.connect_by(by, stream).await?)
        };
        let far = async {
            let (stream, _) = self.listener.accept().await?;
            anyhow::Ok(self.accepts.accept(stream).await?)
        };
        let (near, far) = tokio::join!(near, far);
        Ok((near?, far?))
    }
}
