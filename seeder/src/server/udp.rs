//! UDP: one datagram in, at most one out.

use std::{sync::Arc, time::Duration};

use tokio::net::UdpSocket;
use tokio_util::sync::CancellationToken;

use super::{counters::Transport, handler::Handler};

/// Bytes read of a datagram. Queries have less than 600 (a name of 255 and options); what is longer is cut
/// and does not parse.
const MAX_QUERY: usize = 4096;

/// Receive buffer in bytes: the default of 208 KiB holds some hundred queries and drops bursts.
const RECEIVE_BUFFER: usize = 1 << 20;

/// Pause after a failed receive, so that a lasting fault does not spin.
const PAUSE: Duration = Duration::from_millis(20);

/// Asks the system for [`RECEIVE_BUFFER`]; it may give less.
pub(super) fn widen(socket: &UdpSocket) {
    if let Err(error) = socket2::SockRef::from(socket).set_recv_buffer_size(RECEIVE_BUFFER) {
        tracing::debug!(%error, "the receive buffer stays at the system's default");
    }
}

/// Answers until `stop`. Several tasks may serve one socket.
pub(super) async fn serve(socket: Arc<UdpSocket>, handler: Arc<Handler>, stop: CancellationToken) {
    let mut buffer = vec![0; MAX_QUERY];
    loop {
        let received = tokio::select! {
            received = socket.recv_from(&mut buffer) => received,
            () = stop.cancelled() => return,
        };
        let (length, client) = match received {
            Ok(received) => received,
            Err(error) => {
                tracing::debug!(%error, "UDP receive failed");
                tokio::time::sleep(PAUSE).await;
                continue;
            }
        };
        // No one listens on port 0: the source is forged.
        if client.port() == 0 {
            handler.counters.silent.inc();
            continue;
        }
        let packet = buffer.get(..length).unwrap_or_default();
        if let Some(response) = handler.reply(packet, client, Transport::Udp).await
            && let Err(error) = socket.send_to(&response, client).await
        {
            handler.counters.send_failures.inc();
            tracing::debug!(%error, "UDP send failed");
        }
    }
}
