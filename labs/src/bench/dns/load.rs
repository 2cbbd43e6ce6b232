//! A load generator that is faster than what it loads: batches of 32 by one system call each, on connected sockets.
//!
//! [`saturate`] keeps a number of queries outstanding, so that the server always has work; [`latencies`] sends at a rate,
//! whatever comes back, and notes how long each answer took. Both look into each response: id, code and number of answers.

use std::io::{self, IoSlice, IoSliceMut};
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use anyhow::ensure;
use nix::sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg};
use rand::Rng;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::net::{MMsgHdr, SendAncillaryBuffer, SendFlags, sendmmsg};

/// Queries of one batch, and outstanding on one socket.
const BATCH: usize = 32;

/// Sockets: seven of 32 queries are 224 outstanding, as a busy resolver has them.
const SOCKETS: usize = 7;

/// Longest response that is looked at.
const MAX_RESPONSE: usize = 1500;

/// A socket without an answer for so long has lost what it waits for.
const LOST: Duration = Duration::from_millis(100);

/// Bytes of a header, after which a query has its question.
const HEADER: usize = 12;

/// What a run counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// Right answers.
    pub(super) answered: u64,
    /// Responses with another code or number of records.
    pub(super) wrong: u64,
    /// Queries without a response.
    pub(super) lost: u64,
}

/// The kinds of queries that are sent in turn, and how many records the answer to each has.
#[derive(Debug, Clone)]
pub(super) struct Mix {
    queries: Vec<Vec<u8>>,
    answers: u16,
}

impl Mix {
    /// All with the same number of records in their answers.
    pub(super) fn new(queries: Vec<Vec<u8>>, answers: u16) -> Self {
        Self { queries, answers }
    }

    fn is_right(&self, response: &[u8]) -> bool {
        match response {
            [_, _, flags, code, _, 1, high, low, ..] => {
                flags & 0x82 == 0x80
                    && code & 0x0f == 0
                    && u16::from_be_bytes([*high, *low]) >= self.answers
            }
            _ => false,
        }
    }
}

/// One socket with its queries.
struct Flow {
    socket: UdpSocket,
    queries: Vec<Vec<u8>>,
    responses: Box<[[u8; MAX_RESPONSE]; BATCH]>,
    headers: MultiHeaders<SockaddrIn>,
    /// Of the next query.
    id: u16,
    outstanding: usize,
    heard: Instant,
}

impl Flow {
    fn new(server: SocketAddr) -> io::Result<Self> {
        let socket = UdpSocket::bind(("127.0.0.1", 0))?;
        socket.connect(server)?;
        socket.set_nonblocking(true)?;
        let sock = socket2::SockRef::from(&socket);
        sock.set_recv_buffer_size(4 << 20)?;
        Ok(Self {
            socket,
            queries: vec![Vec::new(); BATCH],
            responses: Box::new([[0; MAX_RESPONSE]; BATCH]),
            headers: MultiHeaders::preallocate(BATCH, None),
            id: rand::random(),
            outstanding: 0,
            heard: Instant::now(),
        })
    }

    /// Sends so many queries, at most [`BATCH`].
    fn send(&mut self, count: usize, mix: &Mix) -> io::Result<()> {
        let kinds = mix
            .queries
            .iter()
            .cycle()
            .skip(usize::from(self.id) % mix.queries.len());
        for (query, kind) in self.queries.iter_mut().zip(kinds).take(count) {
            query.clear();
            query.extend_from_slice(kind);
            if let Some(id) = query.get_mut(..2) {
                id.copy_from_slice(&self.id.to_be_bytes());
            }
            self.id = self.id.wrapping_add(1);
        }
        let slices: Vec<[IoSlice<'_>; 1]> =
            self.queries.iter().map(|q| [IoSlice::new(q)]).collect();
        let mut controls: Vec<_> = slices
            .iter()
            .map(|_| SendAncillaryBuffer::default())
            .collect();
        let pairs = slices.iter().zip(&mut controls).take(count);
        let mut messages: Vec<_> = pairs
            .map(|(slice, control)| MMsgHdr::new(slice, control))
            .collect();
        let mut rest = messages.as_mut_slice();
        while !rest.is_empty() {
            match sendmmsg(&self.socket, rest, SendFlags::empty()) {
                Ok(sent) => rest = rest.get_mut(sent..).unwrap_or_default(),
                Err(rustix::io::Errno::AGAIN) => std::thread::yield_now(),
                Err(error) => return Err(error.into()),
            }
        }
        self.outstanding += count;
        Ok(())
    }

    /// Takes what has come: how many responses, and whether each is right, by `look`.
    fn receive(&mut self, mut look: impl FnMut(&[u8])) -> io::Result<usize> {
        let mut slices = self
            .responses
            .each_mut()
            .map(|response| [IoSliceMut::new(response)]);
        let fd = self.socket.as_raw_fd();
        let flags = MsgFlags::MSG_DONTWAIT;
        let received = match recvmmsg(fd, &mut self.headers, slices.iter_mut(), flags, None) {
            Ok(received) => received,
            Err(nix::errno::Errno::EAGAIN) => return Ok(0),
            Err(error) => return Err(error.into()),
        };
        let lengths: Vec<usize> = received.map(|message| message.bytes).collect();
        for (response, length) in self.responses.iter().zip(&lengths) {
            look(response.get(..*length).unwrap_or_default());
        }
        self.outstanding = self.outstanding.saturating_sub(lengths.len());
        if !lengths.is_empty() {
            self.heard = Instant::now();
        }
        Ok(lengths.len())
    }
}

/// Keeps 224 queries outstanding for `time` and counts.
pub(super) fn saturate(server: SocketAddr, mix: &Mix, time: Duration) -> anyhow::Result<Counts> {
    ensure!(!mix.queries.is_empty(), "nothing to ask");
    let mut flows = (0..SOCKETS)
        .map(|_| Flow::new(server))
        .collect::<io::Result<Vec<_>>>()?;
    let mut counts = Counts::default();
    for flow in &mut flows {
        flow.send(BATCH, mix)?;
    }
    let end = Instant::now() + time;
    while Instant::now() < end {
        let mut heard = 0;
        for flow in &mut flows {
            let received = flow.receive(|response| {
                let count = if mix.is_right(response) {
                    &mut counts.answered
                } else {
                    &mut counts.wrong
                };
                *count += 1;
            })?;
            if received == 0 && flow.heard.elapsed() > LOST {
                counts.lost += flow.outstanding as u64;
                flow.outstanding = 0;
                flow.heard = Instant::now();
            }
            let free = BATCH.saturating_sub(flow.outstanding);
            if free > 0 {
                flow.send(free, mix)?;
            }
            heard += received;
        }
        if heard == 0 {
            wait(&flows)?;
        }
    }
    Ok(counts)
}

/// Until something comes, or a millisecond.
fn wait(flows: &[Flow]) -> io::Result<()> {
    let mut all: Vec<_> = flows
        .iter()
        .map(|flow| PollFd::new(&flow.socket, PollFlags::IN))
        .collect();
    let limit = Timespec {
        tv_sec: 0,
        tv_nsec: 1_000_000,
    };
    poll(&mut all, Some(&limit))?;
    Ok(())
}

/// Sends `rate` queries a second for `time`, at random moments, and tells the time that each answer took, in ascending order.
pub(super) fn latencies(
    server: SocketAddr,
    mix: &Mix,
    rate: f64,
    time: Duration,
) -> anyhow::Result<(Vec<Duration>, Counts)> {
    ensure!(!mix.queries.is_empty() && rate > 0.0, "nothing to ask");
    let mut flow = Flow::new(server)?;
    let mut sent_at = vec![None; 1 << 16];
    let mut times = Vec::new();
    let mut counts = Counts::default();
    let mut rng = rand::rng();
    let start = Instant::now();
    let mut due = start;
    let mut sent = 0_u64;
    while start.elapsed() < time + LOST {
        let now = Instant::now();
        if due <= now && now - start < time {
            if let Some(place) = sent_at.get_mut(usize::from(flow.id)) {
                *place = Some(now);
            }
            flow.send(1, mix)?;
            sent += 1;
            // Independent clients: the gaps are exponential.
            let gap = -(1.0 - rng.random::<f64>()).ln() / rate;
            due += Duration::from_secs_f64(gap);
            continue;
        }
        flow.receive(|response| {
            let Some(id) = response.first_chunk::<2>() else {
                return;
            };
            let at = sent_at
                .get_mut(usize::from(u16::from_be_bytes(*id)))
                .and_then(Option::take);
            match at {
                Some(at) if mix.is_right(response) => times.push(at.elapsed()),
                _ => counts.wrong += 1,
            }
        })?;
    }
    counts.answered = times.len() as u64;
    counts.lost = sent.saturating_sub(counts.answered + counts.wrong);
    times.sort_unstable();
    Ok((times, counts))
}

/// A query for a name and a type with EDNS, without and with DO.
pub(crate) fn query(name: &str, kind: u16, dnssec_ok: bool) -> Vec<u8> {
    let mut query = vec![0; HEADER];
    for (at, value) in [(5, 1), (11, 1)] {
        if let Some(count) = query.get_mut(at) {
            *count = value;
        }
    }
    for label in name.split('.').filter(|label| !label.is_empty()) {
        query.push(label.len() as u8);
        query.extend_from_slice(label.as_bytes());
    }
    query.push(0);
    query.extend_from_slice(&kind.to_be_bytes());
    query.extend_from_slice(&[0, 1]);
    let flags = if dnssec_ok { 0x80 } else { 0 };
    query.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, flags, 0, 0, 0]);
    query
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The generator's counts against those of a server that drops every fourth query and gives every fourth a wrong answer.
    #[test]
    fn what_is_lost_and_what_is_wrong_is_counted() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        server
            .set_read_timeout(Some(Duration::from_millis(300)))
            .unwrap();
        let addr = server.local_addr().unwrap();
        let serve = std::thread::spawn(move || {
            let mut buffer = [0; 512];
            let (mut seen, mut right, mut wrong) = (0_u64, 0_u64, 0_u64);
            while let Ok((length, from)) = server.recv_from(&mut buffer) {
                seen += 1;
                if seen % 4 == 0 {
                    continue;
                }
                buffer[2] |= 0x80;
                buffer[7] = 3;
                if seen % 4 == 1 {
                    buffer[3] = 2;
                    wrong += 1;
                } else {
                    buffer[3] = 0;
                    right += 1;
                }
                server.send_to(&buffer[..length], from).unwrap();
            }
            (seen, right, wrong)
        });
        let mix = Mix::new(vec![query("a.test", 1, false)], 3);
        let (times, counts) = latencies(addr, &mix, 2000.0, Duration::from_millis(500)).unwrap();
        let (seen, right, wrong) = serve.join().unwrap();
        let theirs = Counts {
            answered: right,
            wrong,
            lost: seen - right - wrong,
        };
        assert!(seen > 200);
        assert_eq!(counts, theirs);
        assert_eq!(times.len() as u64, right);
        assert!(times.is_sorted());
    }

    #[test]
    fn a_saturated_server_is_asked_again_when_answers_are_lost() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        server
            .set_read_timeout(Some(Duration::from_millis(300)))
            .unwrap();
        let addr = server.local_addr().unwrap();
        // Answers nothing: each tenth of a second all outstanding are lost, and asked again.
        let serve = std::thread::spawn(move || {
            let mut buffer = [0; 512];
            let mut seen = 0_u64;
            while server.recv_from(&mut buffer).is_ok() {
                seen += 1;
            }
            seen
        });
        let mix = Mix::new(vec![query("a.test", 1, false)], 3);
        let counts = saturate(addr, &mix, Duration::from_millis(250)).unwrap();
        let seen = serve.join().unwrap();
        assert_eq!((counts.answered, counts.wrong), (0, 0));
        assert_eq!(counts.lost, 2 * 224);
        assert_eq!(seen, 3 * 224);
    }
}
