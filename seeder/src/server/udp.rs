//! UDP: one datagram in, at most one out.
//!
//! Each worker is a thread of its own with a socket of its own; the system spreads the clients over them
//! (`SO_REUSEPORT`). A worker takes what has arrived, up to [`BATCH`] datagrams, answers from one state, and sends all
//! responses, with one system call each: the kernel's work is most of a query's cost. `batch` is that loop for Linux,
//! `single` the same with one datagram at a time for other systems.
//!
//! A socket of a wildcard address learns to which address each query came and answers from there, since clients take
//! responses from no other; that costs some of the speed, so naming the addresses is better.

#[cfg(target_os = "linux")]
mod batch;
#[cfg(any(test, not(target_os = "linux")))]
mod single;

use std::{
    io,
    net::UdpSocket,
    sync::Arc,
    thread::{Builder, JoinHandle},
    time::Duration,
};

#[cfg(target_os = "linux")]
use batch as system;
#[cfg(not(target_os = "linux"))]
use single as system;
use socket2::SockRef;
use tokio_util::sync::CancellationToken;

use crate::respond::Responder;

/// Bytes read of a datagram. Queries have less than 600 (a name of 255 and options); what is longer is cut
/// and does not parse.
const MAX_QUERY: usize = 2048;

/// Receive buffer in bytes: the default of 208 KiB holds some hundred queries and drops bursts.
const RECEIVE_BUFFER: usize = 4 << 20;

/// Send buffer in bytes: a batch of the largest responses, several times.
const SEND_BUFFER: usize = 1 << 20;

/// After the word to stop, a worker still answers what has come, for so long at most.
const DRAIN: Duration = Duration::from_millis(500);

/// How often a worker that gets no queries looks whether it shall stop.
const LOOK: Duration = Duration::from_millis(100);

/// Pause after a failed receive, so that a lasting fault does not spin.
const PAUSE: Duration = Duration::from_millis(20);

/// Prepares a socket for a worker.
pub(super) fn prepare(socket: &UdpSocket) -> io::Result<()> {
    let sock = SockRef::from(socket);
    for (name, result) in [
        ("receive", sock.set_recv_buffer_size(RECEIVE_BUFFER)),
        ("send", sock.set_send_buffer_size(SEND_BUFFER)),
    ] {
        if let Err(error) = result {
            tracing::debug!(%error, "the {name} buffer stays at the system's default");
        }
    }
    socket.set_nonblocking(false)?;
    socket.set_read_timeout(Some(LOOK))?;
    system::prepare(socket)
}

/// Starts a worker, which answers until `stop`.
pub(super) fn spawn(
    socket: UdpSocket,
    responder: Arc<Responder>,
    stop: CancellationToken,
) -> io::Result<JoinHandle<()>> {
    Builder::new()
        .name("dns-udp".to_owned())
        .spawn(move || system::serve(&socket, &responder, &stop))
}

/// After an error other than "nothing has come": whether it is worth a word, and a pause.
fn failed(error: io::Error) {
    use io::ErrorKind::{Interrupted, TimedOut, WouldBlock};
    if !matches!(error.kind(), WouldBlock | TimedOut | Interrupted) {
        tracing::debug!(%error, "UDP receive failed");
        std::thread::sleep(PAUSE);
    }
}

#[cfg(test)]
mod tests;
