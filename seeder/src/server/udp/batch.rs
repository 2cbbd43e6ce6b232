//! Many datagrams with one system call.

use std::{
    io::{self, IoSlice, IoSliceMut},
    net::{SocketAddr, UdpSocket},
    os::fd::AsRawFd,
    time::{Duration, Instant},
};

use nix::{
    cmsg_space, libc,
    sys::socket::{
        ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, SockaddrIn, SockaddrIn6,
        SockaddrLike, recvmmsg, sendmsg, setsockopt, sockopt,
    },
};
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg};
use tokio_util::sync::CancellationToken;

use super::{DRAIN, MAX_QUERY, failed};
use crate::{
    respond::{Asker, Responder, Transport},
    wire::MAX_UDP,
};

/// Datagrams of one system call. More gain nothing: what is saved is the call, a tenth of a query's cost, and at 32
/// a thirtieth of that is left.
const BATCH: usize = 32;

/// Whether a socket has to learn where its queries went.
fn is_wildcard(socket: &UdpSocket) -> bool {
    socket
        .local_addr()
        .is_ok_and(|addr| addr.ip().is_unspecified())
}

pub(super) fn prepare(socket: &UdpSocket) -> io::Result<()> {
    if is_wildcard(socket) {
        if socket.local_addr()?.is_ipv4() {
            setsockopt(socket, sockopt::Ipv4PacketInfo, &true)?;
        } else {
            setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        }
    }
    Ok(())
}

pub(super) fn serve(socket: &UdpSocket, responder: &Responder, stop: &CancellationToken) {
    match socket.local_addr() {
        Ok(SocketAddr::V4(_)) => Worker::<SockaddrIn>::new(socket, responder).run(stop),
        Ok(SocketAddr::V6(_)) => Worker::<SockaddrIn6>::new(socket, responder).run(stop),
        Err(error) => tracing::error!(%error, "a UDP socket has no address"),
    }
}

/// The local address that a query came to, as the system tells it and takes it back.
#[derive(Debug, Clone, Copy)]
enum Arrival {
    V4(libc::in_pktinfo),
    V6(libc::in6_pktinfo),
}

/// A query that has come, or the response that shall go.
#[derive(Debug, Clone, Copy)]
struct Letter {
    length: usize,
    client: SocketAddr,
    arrival: Option<Arrival>,
}

struct Worker<'a, S> {
    socket: &'a UdpSocket,
    responder: &'a Responder,
    wildcard: bool,
    queries: Box<[[u8; MAX_QUERY]; BATCH]>,
    responses: Box<[Vec<u8>; BATCH]>,
    headers: MultiHeaders<S>,
}

impl<'a, S> Worker<'a, S>
where
    S: SockaddrLike + Copy + Into<SocketAddr> + 'static,
{
    fn new(socket: &'a UdpSocket, responder: &'a Responder) -> Self {
        let wildcard = is_wildcard(socket);
        Self {
            socket,
            responder,
            wildcard,
            queries: Box::new([[0; MAX_QUERY]; BATCH]),
            responses: Box::new(std::array::from_fn(|_| Vec::with_capacity(MAX_UDP.into()))),
            headers: headers(wildcard),
        }
    }

    fn run(&mut self, stop: &CancellationToken) {
        let mut letters = Vec::with_capacity(BATCH);
        while !stop.is_cancelled() {
            match self.receive(&mut letters) {
                Ok(()) => {
                    self.answer(&mut letters);
                    self.send(&letters);
                }
                Err(error) => failed(error),
            }
        }
        if self.socket.set_nonblocking(true).is_err() {
            return;
        }
        let end = Instant::now() + DRAIN;
        while Instant::now() < end && self.receive(&mut letters).is_ok() {
            self.answer(&mut letters);
            self.send(&letters);
        }
    }

    /// Waits for a datagram and takes all that are there.
    fn receive(&mut self, letters: &mut Vec<Letter>) -> io::Result<()> {
        letters.clear();
        if self.wildcard {
            // The call shortens the room for control messages to what it has used, so headers are good once.
            self.headers = headers(true);
        }
        let mut slices = self
            .queries
            .each_mut()
            .map(|query| [IoSliceMut::new(query)]);
        let received = recvmmsg(
            self.socket.as_raw_fd(),
            &mut self.headers,
            slices.iter_mut(),
            MsgFlags::MSG_WAITFORONE,
            None,
        )?;
        for message in received {
            let arrival = message
                .cmsgs()
                .ok()
                .and_then(|mut all| all.find_map(arrival));
            // Without an address (which UDP always has) it is of nobody that could be answered.
            let client = message
                .address
                .map_or_else(|| SocketAddr::from(([0, 0, 0, 0], 0)), Into::into);
            letters.push(Letter {
                length: message.bytes,
                client,
                arrival,
            });
        }
        Ok(())
    }

    /// Turns queries into responses; those that get none are taken out.
    fn answer(&mut self, letters: &mut Vec<Letter>) {
        let state = self.responder.state().load();
        let moment = self.responder.moment();
        let mut responses = self.responses.iter_mut();
        let mut queries = self.queries.iter();
        let mut response = responses.next();
        letters.retain_mut(|letter| {
            let (Some(out), Some(query)) = (response.as_deref_mut(), queries.next()) else {
                return false;
            };
            let packet = query.get(..letter.length).unwrap_or_default();
            let from = Asker {
                addr: letter.client,
                transport: Transport::Udp,
                moment,
                idle: Duration::ZERO,
            };
            let answered = self.responder.respond(&state, packet, from, out);
            if answered {
                letter.length = out.len();
                response = responses.next();
            }
            answered
        });
    }

    fn send(&self, letters: &[Letter]) {
        if self.wildcard {
            for (letter, response) in letters.iter().zip(self.responses.iter()) {
                self.send_from(letter, response);
            }
        } else if !letters.is_empty() {
            self.send_all(letters);
        }
    }

    fn send_all(&self, letters: &[Letter]) {
        let slices: [[IoSlice<'_>; 1]; BATCH] = self
            .responses
            .each_ref()
            .map(|response| [IoSlice::new(response)]);
        let mut controls: [SendAncillaryBuffer<'_, '_, '_>; BATCH] =
            std::array::from_fn(|_| SendAncillaryBuffer::default());
        let mut clients = [const { None::<SocketAddrAny> }; BATCH];
        for (place, letter) in clients.iter_mut().zip(letters) {
            *place = Some(letter.client.into());
        }
        // One allocation for a batch.
        let mut messages: Vec<MMsgHdr<'_>> = Vec::with_capacity(BATCH);
        let ready = clients.iter().flatten().zip(&slices).zip(&mut controls);
        messages.extend(
            ready.map(|((client, slice), control)| MMsgHdr::new_with_addr(client, slice, control)),
        );
        let mut rest = messages.as_mut_slice();
        while !rest.is_empty() {
            let sent = match sendmmsg(self.socket, rest, SendFlags::empty()) {
                Ok(sent) => sent.max(1),
                Err(error) => {
                    // It is the first that can't be sent.
                    self.send_failed(&error.into());
                    1
                }
            };
            rest = rest.get_mut(sent..).unwrap_or_default();
        }
    }

    /// Sends one response from the address that its query came to.
    fn send_from(&self, letter: &Letter, response: &[u8]) {
        let slice = [IoSlice::new(response)];
        let info = letter.arrival.as_ref().map(|arrival| match arrival {
            Arrival::V4(info) => ControlMessage::Ipv4PacketInfo(info),
            Arrival::V6(info) => ControlMessage::Ipv6PacketInfo(info),
        });
        let fd = self.socket.as_raw_fd();
        let flags = MsgFlags::empty();
        let sent = match letter.client {
            SocketAddr::V4(client) => sendmsg(
                fd,
                &slice,
                info.as_slice(),
                flags,
                Some(&SockaddrIn::from(client)),
            ),
            SocketAddr::V6(client) => sendmsg(
                fd,
                &slice,
                info.as_slice(),
                flags,
                Some(&SockaddrIn6::from(client)),
            ),
        };
        if let Err(error) = sent {
            self.send_failed(&error.into());
        }
    }

    fn send_failed(&self, error: &io::Error) {
        self.responder.counters.send_failures.inc();
        tracing::debug!(%error, "UDP send failed");
    }
}

fn headers<S: SockaddrLike + Copy>(wildcard: bool) -> MultiHeaders<S> {
    let control = wildcard.then(|| cmsg_space!(libc::in_pktinfo, libc::in6_pktinfo));
    MultiHeaders::preallocate(BATCH, control)
}

/// Where a query went; in the form in which a response takes it as its source.
fn arrival(message: ControlMessageOwned) -> Option<Arrival> {
    match message {
        ControlMessageOwned::Ipv4PacketInfo(mut info) => {
            // The address in the header; `ipi_spec_dst` is the source to send from, and any interface will do.
            info.ipi_spec_dst = info.ipi_addr;
            info.ipi_ifindex = 0;
            Some(Arrival::V4(info))
        }
        // The interface stays: link-local addresses need it.
        ControlMessageOwned::Ipv6PacketInfo(info) => Some(Arrival::V6(info)),
        _ => None,
    }
}
