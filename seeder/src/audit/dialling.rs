//! Dialling peers: a peer is there when it proves an identity by the network's own handshake.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use quantumcoin::{
    chain_spec::ChainSpec,
    transport::{DialBy, Endpoint, Identity, IdentityError},
};
use tokio::{net::TcpStream, sync::Semaphore, task::JoinSet, time::timeout};

use super::judgement::Dials;

/// Longest wait for a connection, as the crawler has it by default.
const CONNECT: Duration = Duration::from_secs(5);

/// Longest wait for the handshake: four messages over a slow link.
const SECURE: Duration = Duration::from_secs(10);

/// Dials at once: all are done within two minutes whatever peers do, and no network takes it for a scan.
const AT_ONCE: usize = 10;

/// How a dial ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Dialled {
    Answered,
    Silent,
    NoRoute,
}

/// Dials peers of a network, each once, with an identity that is used for this alone.
///
/// # Errors
/// When no identity can be made.
pub(super) async fn dial(spec: &ChainSpec, peers: Vec<SocketAddr>) -> Result<Dials, IdentityError> {
    let endpoint = Endpoint::new(spec, Arc::new(Identity::generate()?));
    let places = Arc::new(Semaphore::new(AT_ONCE));
    let mut tasks = JoinSet::new();
    for peer in peers {
        let (endpoint, places) = (endpoint.clone(), Arc::clone(&places));
        tasks.spawn(async move {
            // It is never closed; without a place one dials all the same.
            let _place = places.acquire().await;
            one(&endpoint, peer).await
        });
    }
    let mut dials = Dials::default();
    while let Some(dialled) = tasks.join_next().await {
        match dialled {
            Ok(Dialled::Answered) => dials.answered += 1,
            Ok(Dialled::NoRoute) => dials.no_route += 1,
            Ok(Dialled::Silent) | Err(_) => dials.silent += 1,
        }
    }
    Ok(dials)
}

/// By Noise, and by TLS where that is not spoken.
async fn one(endpoint: &Endpoint, peer: SocketAddr) -> Dialled {
    for by in [DialBy::Noise, DialBy::Tls] {
        let stream = match timeout(CONNECT, TcpStream::connect(peer)).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) if is_no_route(&error) => return Dialled::NoRoute,
            Ok(Err(_)) | Err(_) => return Dialled::Silent,
        };
        if let Ok(Ok(_)) = timeout(SECURE, endpoint.connect_by(by, stream)).await {
            return Dialled::Answered;
        }
    }
    Dialled::Silent
}

/// Whether the fault is that this machine has no such addresses.
fn is_no_route(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::AddrNotAvailable
    )
}

#[cfg(test)]
mod tests {
    use tokio::{io::AsyncReadExt, net::TcpListener};

    use super::*;

    /// A peer that proves an identity, one that takes connections and says nothing that makes sense, and nobody.
    #[tokio::test]
    async fn only_who_proves_an_identity_has_answered() {
        let spec = ChainSpec::devnet();
        let peer = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let other = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addrs = [&peer, &other, &nobody].map(|listener| listener.local_addr().unwrap());
        drop(nobody);
        let server = Endpoint::new(&spec, Arc::new(Identity::generate().unwrap()));
        tokio::spawn(async move {
            let (stream, _) = peer.accept().await.unwrap();
            let _secured = server.accept(stream).await.unwrap();
            std::future::pending::<()>().await;
        });
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = other.accept().await {
                // Reads what comes and closes.
                let _ = stream.read(&mut [0; 16]).await;
            }
        });
        let dials = dial(&spec, addrs.to_vec()).await.unwrap();
        assert_eq!((dials.answered, dials.silent, dials.no_route), (1, 2, 0));
    }
}
