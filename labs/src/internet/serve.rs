//! The sockets of a simulated internet.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use socket2::{Domain, Protocol, Socket, Type};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};

use super::InternetArgs;
use super::peer::World;
use super::truth::{Ports, Truth};
use crate::attack::flood::raise_limit;

/// Connections that may wait to be accepted: as many as Linux allows by default.
const BACKLOG: i32 = 4_096;

/// Dials that fill the queue of a dead listener, which has room for one.
const FILLING: usize = 4;

/// Longest that such a dial is waited for: one that is not through by then never is.
const FILLED: Duration = Duration::from_millis(200);

/// Pause when there are no descriptors left.
const BREATH: Duration = Duration::from_millis(20);

/// A running internet; it ends when this is dropped.
#[derive(Debug)]
pub struct Internet {
    truth: Truth,
    accepting: JoinHandle<()>,
    _silent: Option<Silent>,
}

/// What keeps the ports of the dead and the refusing.
#[derive(Debug)]
struct Silent {
    _sockets: [Socket; 2],
    _filling: Vec<TcpStream>,
}

impl Internet {
    /// Takes the ports and answers from then on.
    ///
    /// # Errors
    /// Where a port can't be had, or a chain can't be made.
    pub async fn start(args: InternetArgs) -> anyhow::Result<Self> {
        raise_limit();
        let answers = bound(args.join.map_or(0, |ports| ports.answers))?;
        answers.listen(BACKLOG)?;
        answers.set_nonblocking(true)?;
        let (ports, silent) = match args.join {
            Some(ports) => (ports, None),
            None => silent(port(&answers)?).await?,
        };
        let truth = args.truth(ports);
        let world = Arc::new(World::new(truth)?);
        let listener = TcpListener::from_std(answers.into())?;
        Ok(Self {
            truth,
            accepting: tokio::spawn(accept(listener, world)),
            _silent: silent,
        })
    }

    /// Who is what.
    pub const fn truth(&self) -> &Truth {
        &self.truth
    }
}

impl Drop for Internet {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

/// The ports of an internet of which this is the first process, and what keeps them.
async fn silent(answers: u16) -> anyhow::Result<(Ports, Option<Silent>)> {
    let (dead, refusing) = (bound(0)?, bound(0)?);
    dead.listen(0)?;
    let ports = Ports {
        answers,
        dead: port(&dead)?,
        refusing: port(&refusing)?,
    };
    let silent = Silent {
        _filling: fill(ports.dead).await,
        _sockets: [dead, refusing],
    };
    Ok((ports, Some(silent)))
}

/// A socket with a port at all addresses, which other processes of this user may share.
fn bound(port: u16) -> anyhow::Result<Socket> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_port(true)?;
    let any = SocketAddr::from((Ipv4Addr::UNSPECIFIED, port));
    socket.bind(&any.into())?;
    Ok(socket)
}

fn port(socket: &Socket) -> anyhow::Result<u16> {
    let addr = socket.local_addr()?.as_socket();
    Ok(addr.context("a socket of IPv4")?.port())
}

/// Fills a queue from which nobody takes: Linux leaves further dials without an answer.
async fn fill(port: u16) -> Vec<TcpStream> {
    let mut held = Vec::new();
    for _ in 0..FILLING {
        let dial = TcpStream::connect((Ipv4Addr::LOCALHOST, port));
        if let Ok(Ok(stream)) = timeout(FILLED, dial).await {
            held.push(stream);
        }
    }
    held
}

async fn accept(listener: TcpListener, world: Arc<World>) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let world = Arc::clone(&world);
                // How a visit ends is the visitor's to tell.
                tokio::spawn(async move { world.meet(stream).await });
            }
            // Out of descriptors: visitors wait in the queue meanwhile.
            Err(_) => sleep(BREATH).await,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::ErrorKind;

    use super::*;
    use crate::internet::truth::Kind;

    #[tokio::test]
    async fn the_dead_do_not_answer_and_the_refusing_refuse() {
        let internet = Internet::start(InternetArgs {
            addresses: 1_000,
            good: 60,
            told: 10,
            swarm: 0,
            join: None,
            seed: 3,
        });
        let internet = internet.await.unwrap();
        let truth = internet.truth();
        let addr = |kind| {
            let number = (0..truth.size()).find(|number| truth.kind(*number) == kind);
            truth.address(number.unwrap())
        };
        let dead = timeout(FILLED, TcpStream::connect(addr(Kind::Dead)));
        assert!(dead.await.is_err());
        let refused = TcpStream::connect(addr(Kind::Refusing)).await.unwrap_err();
        assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
        assert!(TcpStream::connect(addr(Kind::Honest)).await.is_ok());
    }
}
