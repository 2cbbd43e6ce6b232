//! One datagram at a time, with the standard library alone.

use std::{io, net::UdpSocket, time::Duration};

use tokio_util::sync::CancellationToken;

use super::{MAX_QUERY, failed};
use crate::{
    respond::{Asker, Responder, Transport},
    wire::MAX_UDP,
};

pub(super) fn prepare(_socket: &UdpSocket) -> io::Result<()> {
    Ok(())
}

pub(super) fn serve(socket: &UdpSocket, responder: &Responder, stop: &CancellationToken) {
    let mut query = [0; MAX_QUERY];
    let mut response = Vec::with_capacity(MAX_UDP.into());
    while !stop.is_cancelled() {
        let (length, client) = match socket.recv_from(&mut query) {
            Ok(received) => received,
            Err(error) => {
                failed(error);
                continue;
            }
        };
        let packet = query.get(..length).unwrap_or_default();
        let from = Asker {
            addr: client,
            transport: Transport::Udp,
            moment: responder.moment(),
            idle: Duration::ZERO,
        };
        if responder.respond(&responder.state().load(), packet, from, &mut response)
            && let Err(error) = socket.send_to(&response, client)
        {
            responder.counters.send_failures.inc();
            tracing::debug!(%error, "UDP send failed");
        }
    }
}
