//! `attack dns-junk`: millions of packets that were queries once, at a seeder that does its work.
//!
//! Valid queries of all kinds are changed: bits flipped, cut off, put together, lengths and pointers made wrong; some are nothing but
//! noise. Over UDP they come from everywhere, so that no limit keeps them out; over TCP in frames, some of which lie about their
//! length. What the system drops because the seeder is slower does not count. Meanwhile honest clients ask. At the end the seeder
//! must be there, answer, and hold no more memory than before. The changes are those of a generator with a fixed seed.

use std::fs;
use std::io::{IoSlice, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn, sendmsg};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use super::{ask_honestly, from, go_last};
use crate::bench::dns::{Attacked, load};
use crate::bench::report::{Figure, Goal, Report};

/// Packets over UDP that the seeder has to read.
const FULL: u64 = 10_000_000;
const QUICK: u64 = 300_000;

/// Longest time: the packets take a minute or two, and a seeder that hangs must not hold up the lab.
const PATIENCE: Duration = Duration::from_secs(900);

/// What the generator starts from.
const SEED: u64 = 20_261_130;

/// Most bytes of a packet that is made.
const MAX_PACKET: usize = 700;

/// So many are sent between two looks at what was dropped.
const LOOK: u64 = 10_000;

/// Zones of the seeder, and names in and around them.
const NAMES: [&str; 12] = [
    "seed1.quantumcoin.network",
    "x9.seed1.quantumcoin.network",
    "X1f.seed2.quantumcoin.network",
    "_qtc._tcp.seed1.quantumcoin.network",
    "_qtc._tcp.x409.seed1.quantumcoin.network",
    "_tcp.seed3.quantumcoin.network",
    "n.seed1.quantumcoin.network",
    "cbgmk4q.n.seed1.quantumcoin.network",
    "a.b.cbgmk4q.n.seed4.quantumcoin.network",
    "nobody.seed1.quantumcoin.network",
    "quantumcoin.network",
    "version.bind",
];

/// A, NS, SOA, TXT, AAAA, SRV, DS, RRSIG, NSEC, DNSKEY, TSIG, IXFR, AXFR, ANY, CAA and one that is nothing.
const KINDS: [u16; 16] = [
    1, 2, 6, 16, 28, 33, 43, 46, 47, 48, 250, 251, 252, 255, 257, 65_280,
];

/// Two bytes that mean something somewhere: counts, types, lengths, pointers.
const TELLING: [u16; 10] = [0, 1, 2, 41, 255, 0x0fff, 0x3f3f, 0x8000, 0xc00c, 0xffff];

/// Runs the attack.
///
/// # Errors
/// When a part of it can't be started, or the seeder is gone.
pub(in crate::attack) fn run(quick: bool) -> anyhow::Result<Report> {
    let wanted = if quick { QUICK } else { FULL };
    let seeder = Attacked::start()?;
    let server = seeder.addr();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    // Once all that is written at first use is there.
    let warm = runtime.block_on(ask_honestly(server, Duration::from_secs(2)))?;
    ensure!(warm.answered > 0, "the seeder does not answer");
    let (before, cpu) = (seeder.rss_mb()?, seeder.cpu()?);

    eprintln!("{wanted} packets");
    let stop = Arc::new(AtomicBool::new(false));
    let frames = Arc::new(AtomicU64::new(0));
    let start = Instant::now();
    let over_tcp = {
        let (stop, frames) = (Arc::clone(&stop), Arc::clone(&frames));
        std::thread::spawn(move || send_frames(server, &stop, &frames))
    };
    let over_udp = {
        let stop = Arc::clone(&stop);
        std::thread::spawn(move || {
            let sent = send_packets(server, wanted);
            stop.store(true, Relaxed);
            sent
        })
    };
    let mut honest = super::Honest::default();
    while !stop.load(Relaxed) {
        let more = runtime.block_on(ask_honestly(server, Duration::from_secs(2)))?;
        honest.asked += more.asked;
        honest.answered += more.answered;
    }
    let taken = over_udp
        .join()
        .ok()
        .context("the sender ended in a panic")??;
    over_tcp
        .join()
        .ok()
        .context("the sender over TCP ended in a panic")?;
    let took = start.elapsed().as_secs_f64();

    let after = runtime.block_on(ask_honestly(server, Duration::from_secs(2)))?;
    ensure!(after.answered > 0, "the seeder does not answer any more");
    let one = |key, what, decimals, value| Figure::measured(key, what, decimals, vec![value]);
    let figures = vec![
        Figure::count("packets", "packets that were read", taken),
        Figure::count("frames", "frames over TCP", frames.load(Relaxed)),
        one(
            "packets_per_s",
            "packets that were read, 1/s",
            0,
            taken as f64 / took,
        ),
        one(
            "victim_cpu_s",
            "processor time of the seeder, s",
            1,
            (seeder.cpu()? - cpu).as_secs_f64(),
        ),
        one(
            "victim_rss_mb",
            "resident memory of the seeder at the end, MB",
            1,
            seeder.rss_mb()?,
        ),
        one(
            "victim_rss_growth_mb",
            "what it has grown by, MB",
            1,
            seeder.rss_mb()? - before,
        )
        .with_goal(Goal::AtMost(20.0)),
        Figure::count("honest_queries", "honest queries", honest.asked),
        one(
            "honest_success_rate",
            "of these answered",
            4,
            honest.answered as f64 / honest.asked.max(1) as f64,
        )
        .with_goal(Goal::AtLeast(0.99)),
    ];
    Ok(Report::new("dns-junk", quick, 1, figures))
}

/// Sends until so many have been read.
fn send_packets(server: SocketAddr, wanted: u64) -> anyhow::Result<u64> {
    go_last();
    let SocketAddr::V4(to) = server else {
        anyhow::bail!("the seeder listens on IPv4");
    };
    let to = SockaddrIn::from(to);
    let socket = UdpSocket::bind("0.0.0.0:0")?;
    let mut junk = Junk::new(SEED);
    let (before, start) = (drops(server)?, Instant::now());
    let (mut sent, mut taken) = (0_u64, 0);
    while taken < wanted {
        ensure!(
            start.elapsed() < PATIENCE,
            "the seeder reads no more: {taken} of {wanted} packets"
        );
        let source = from(super::anywhere());
        let control = [ControlMessage::Ipv4PacketInfo(&source)];
        let slice = [IoSlice::new(junk.next())];
        if sendmsg(
            socket.as_raw_fd(),
            &slice,
            &control,
            MsgFlags::empty(),
            Some(&to),
        )
        .is_ok()
        {
            sent += 1;
        }
        if sent.is_multiple_of(LOOK) {
            taken = sent.saturating_sub(drops(server)? - before);
        }
    }
    Ok(taken)
}

/// How many datagrams the system has dropped because the server's buffer was full.
fn drops(server: SocketAddr) -> anyhow::Result<u64> {
    let table = fs::read_to_string("/proc/net/udp")?;
    let port = format!(":{:04X} ", server.port());
    let mine = table.lines().filter(|line| {
        line.split_once(" 00000000:0000")
            .is_some_and(|(own, _)| format!("{own} ").contains(&port))
    });
    let counts = mine.filter_map(|line| line.split_whitespace().last()?.parse::<u64>().ok());
    Ok(counts.sum())
}

/// Frames on one connection after the other; a server ends those that make no sense.
fn send_frames(server: SocketAddr, stop: &AtomicBool, frames: &AtomicU64) {
    go_last();
    let mut junk = Junk::new(SEED + 1);
    while !stop.load(Relaxed) {
        let Ok(mut stream) = TcpStream::connect(server) else {
            continue;
        };
        let _ = stream.set_read_timeout(Some(Duration::from_millis(20)));
        for _ in 0..junk.rng.random_range(1..20) {
            let packet = junk.next().to_vec();
            let lie = if junk.rng.random_bool(0.1) {
                junk.rng.random()
            } else {
                packet.len() as u16
            };
            let framed = [&lie.to_be_bytes()[..], &packet].concat();
            if stream.write_all(&framed).is_err() {
                break;
            }
            frames.fetch_add(1, Relaxed);
        }
        // Whatever is answered, or nothing.
        let _ = stream.read(&mut [0; 4096]);
    }
}

/// Makes packets.
struct Junk {
    rng: StdRng,
    queries: Vec<Vec<u8>>,
    packet: Vec<u8>,
}

impl Junk {
    fn new(seed: u64) -> Self {
        Self {
            rng: StdRng::seed_from_u64(seed),
            queries: queries(),
            packet: Vec::new(),
        }
    }

    fn next(&mut self) -> &[u8] {
        let Self {
            rng,
            queries,
            packet,
        } = self;
        packet.clear();
        match queries.choose(rng) {
            // One in sixteen is noise alone.
            Some(query) if rng.random_range(0..16) > 0 => packet.extend_from_slice(query),
            _ => {
                let length = rng.random_range(0..MAX_PACKET);
                packet.extend((0..length).map(|_| rng.random::<u8>()));
            }
        }
        let id = rng.random::<[u8; 2]>();
        packet
            .iter_mut()
            .zip(id)
            .for_each(|(own, byte)| *own = byte);
        for _ in 0..rng.random_range(0..4) {
            change(packet, queries, rng);
        }
        packet.truncate(MAX_PACKET);
        packet
    }
}

/// One of the things that can be done to a packet.
fn change(packet: &mut Vec<u8>, queries: &[Vec<u8>], rng: &mut StdRng) {
    let at = rng.random_range(0..=packet.len());
    match rng.random_range(0..6) {
        0 => packet.truncate(at),
        1 => {
            if let Some(byte) = packet.get_mut(at) {
                *byte ^= 1 << rng.random_range(0..8);
            }
        }
        2 => {
            let value = TELLING.choose(rng).copied().unwrap_or(0);
            let places = packet.iter_mut().skip(at);
            places
                .zip(value.to_be_bytes())
                .for_each(|(own, byte)| *own = byte);
        }
        3 => {
            let more = rng.random_range(1..40);
            packet.extend((0..more).map(|_| rng.random::<u8>()));
        }
        4 => {
            packet.truncate(at);
            if let Some(other) = queries.choose(rng) {
                let from = rng.random_range(0..=other.len());
                packet.extend_from_slice(other.get(from..).unwrap_or_default());
            }
        }
        _ => {
            let tail = packet.get(at..).unwrap_or_default().to_vec();
            packet.extend_from_slice(&tail);
        }
    }
}

/// Valid queries: names, types, and what may come with them.
fn queries() -> Vec<Vec<u8>> {
    let names = NAMES.iter().flat_map(|name| KINDS.map(|kind| (name, kind)));
    let mut all: Vec<Vec<u8>> = names
        .flat_map(|(name, kind)| [false, true].map(|signed| load::query(name, kind, signed)))
        .collect();
    // Into the empty OPT record at the end: a cookie, NSID, a client subnet, padding, keepalive.
    let options: [&[u8]; 5] = [
        &[0, 10, 0, 8, 1, 2, 3, 4, 5, 6, 7, 8],
        &[0, 3, 0, 0],
        &[0, 8, 0, 7, 0, 1, 24, 0, 192, 0, 2],
        &[0, 12, 0, 4, 0, 0, 0, 0],
        &[0, 11, 0, 0],
    ];
    let plain = all.clone();
    for (query, option) in plain.iter().zip(options.iter().cycle()) {
        let mut with = query.clone();
        with.truncate(with.len() - 2);
        with.extend((option.len() as u16).to_be_bytes());
        with.extend_from_slice(option);
        all.push(with);
    }
    // The opcodes NOTIFY and UPDATE, a response, and two questions.
    for (at, byte) in [(2, 0x20), (2, 0x28), (2, 0x80), (5, 2)] {
        let mut other = plain.first().cloned().unwrap_or_default();
        if let Some(place) = other.get_mut(at) {
            *place = byte;
        }
        all.push(other);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_differ_and_come_again_with_their_seed() {
        let of = |seed| -> Vec<Vec<u8>> {
            let mut junk = Junk::new(seed);
            (0..5000).map(|_| junk.next().to_vec()).collect()
        };
        let first = of(1);
        assert_eq!(first, of(1));
        assert_ne!(first, of(2));
        let distinct: std::collections::HashSet<_> = first.iter().collect();
        assert!(distinct.len() > 4800, "{}", distinct.len());
        assert!(first.iter().all(|packet| packet.len() <= MAX_PACKET));
        assert!(first.iter().any(|packet| packet.len() < 12));
    }

    #[test]
    fn what_the_system_drops_is_counted() {
        let server = UdpSocket::bind("127.0.0.1:0").unwrap();
        let addr = server.local_addr().unwrap();
        let client = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert_eq!(drops(addr).unwrap(), 0);
        // The default buffer holds some hundred of these.
        for _ in 0..5000 {
            client.send_to(&[0; 600], addr).unwrap();
        }
        server.set_nonblocking(true).unwrap();
        let mut read = 0;
        while server.recv(&mut [0; 700]).is_ok() {
            read += 1;
        }
        assert!(read > 0);
        assert_eq!(drops(addr).unwrap(), 5000 - read);
    }
}
