//! `attack dns`: a flood of forged sources and a crowd of silent connections, at a seeder that does its work.
//!
//! The seeder is its own program over a store of 5,000 good peers, with its own limits, on one core. On the other, all of 127.0.0.0/8 being
//! ours: queries as fast as they go, each from an address anywhere in 65,536 networks; connections that ask nothing, taken up again
//! when they are closed; and honest clients, which do what resolvers do: ask over UDP with the cookie that they have been given, again
//! after a second, three times, then over TCP. Others ask over TCP at once. After that the flood has the source of a single network,
//! and what comes back to it is what one seeder can be made to send to a victim.

pub(super) mod junk;

use std::io::IoSlice;
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use nix::libc;
use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn, sendmsg};
use rand::Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream, UdpSocket as AsyncUdp};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::bench::dns::{Attacked, load};
use crate::bench::report::{Figure, Goal, Report};

/// How much of it.
struct Size {
    lasts: Duration,
    silent: usize,
}

const FULL: Size = Size {
    lasts: Duration::from_secs(60),
    silent: 10_000,
};

const QUICK: Size = Size {
    lasts: Duration::from_secs(12),
    silent: 2_000,
};

/// How long a single network is flooded.
const VICTIM_LASTS: Duration = Duration::from_secs(4);

/// Bytes a second that a network may be sent at most: the rate limit of 200 answers of 1232 bytes.
const VICTIM_BOUND: f64 = 200.0 * 1232.0;

/// Honest queries a second of each kind.
const HONEST_PER_S: u64 = 25;

/// How long a resolver waits for an answer over UDP, and how often it asks; over TCP it waits longer.
const UDP_PATIENCE: Duration = Duration::from_secs(1);
const UDP_TRIES: usize = 3;
const TCP_PATIENCE: Duration = Duration::from_secs(5);

/// The attackers' priority: what they leave is enough for fifty honest queries a second.
const ATTACKERS_NICE: i32 = 10;

/// How soon a connection that was closed is opened again.
const AGAIN: Duration = Duration::from_secs(1);

/// Responses with more bytes than that are answers; TC alone has no more than the question.
const BARE: usize = 100;

/// Network of the honest clients; the flood's sources are elsewhere.
const HONEST: [u8; 2] = [127, 200];

const ZONE: &str = "seed1.quantumcoin.network";

/// Runs the attack.
///
/// # Errors
/// When a part of it can't be started, or the seeder is gone.
pub(super) fn run(quick: bool) -> anyhow::Result<Report> {
    let size = if quick { QUICK } else { FULL };
    super::flood::raise_limit();
    let seeder = Attacked::start()?;
    let server = seeder.addr();
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let before = seeder.rss_mb()?;
    let cpu = seeder.cpu()?;

    eprintln!(
        "{} silent connections and a flood for {} s",
        size.silent,
        size.lasts.as_secs()
    );
    let flood = Flood::start(server, Sources::All)?;
    let crowd = Crowd::start(server, size.silent)?;
    let honest = runtime.block_on(ask_honestly(server, size.lasts))?;
    crowd.stop()?;
    let sent = flood.stop()?;
    let victim_cpu_s = (seeder.cpu()? - cpu).as_secs_f64();
    let after = seeder.rss_mb()?;

    eprintln!("one network for {} s", VICTIM_LASTS.as_secs());
    let flood = Flood::start(server, Sources::One)?;
    std::thread::sleep(VICTIM_LASTS);
    let to_one = flood.stop()?;
    ensure!(honest.asked > 0, "nobody honest has asked");

    let rate = |counts: Honest| counts.answered as f64 / counts.asked as f64;
    let mut times = honest.times.clone();
    times.sort_unstable();
    let p99 = times
        .get(times.len() * 99 / 100)
        .map_or(f64::NAN, Duration::as_secs_f64);
    let one = |key, what, decimals, value| Figure::measured(key, what, decimals, vec![value]);
    // The allowance of two seconds at once is no lasting rate.
    let lasting = to_one.answers as f64 / (VICTIM_LASTS.as_secs_f64() + 2.0);
    let figures = vec![
        Figure::count("attacker_slots", "silent connections", size.silent as u64),
        Figure::count("attacker_queries", "forged queries", sent.queries),
        Figure::count("attacker_bytes", "bytes of forged queries", sent.bytes),
        one(
            "attacker_queries_per_s",
            "forged queries, 1/s",
            0,
            sent.queries as f64 / size.lasts.as_secs_f64(),
        ),
        one(
            "victim_cpu_s",
            "processor time of the seeder, s",
            1,
            victim_cpu_s,
        ),
        one(
            "victim_rss_mb",
            "resident memory of the seeder at the end, MB",
            1,
            after,
        ),
        one(
            "victim_rss_growth_mb",
            "what it has grown by, MB",
            1,
            after - before,
        )
        .with_goal(Goal::AtMost(20.0)),
        Figure::count("honest_queries", "honest queries", honest.asked),
        one("honest_success_rate", "of these answered", 4, rate(honest))
            .with_goal(Goal::AtLeast(0.99)),
        one(
            "honest_p99_ms",
            "slowest answer of a hundred, ms",
            1,
            p99 * 1e3,
        ),
        one(
            "one_network_bytes_per_s",
            "answers that one network can be sent, bytes/s",
            0,
            lasting,
        )
        .with_goal(Goal::AtMost(VICTIM_BOUND)),
        one(
            "one_network_amplification",
            "all that it is sent, to the bytes that were spent",
            3,
            to_one.received as f64 / to_one.bytes as f64,
        )
        .with_goal(Goal::AtMost(1.0)),
    ];
    Ok(Report::new("dns", quick, 1, figures))
}

/// What honest clients have found.
#[derive(Debug, Clone, Default)]
struct Honest {
    asked: u64,
    answered: u64,
    times: Vec<Duration>,
}

/// Honest clients, until the time is over.
async fn ask_honestly(server: SocketAddr, lasts: Duration) -> anyhow::Result<Honest> {
    let mut asking = JoinSet::new();
    let mut tick = tokio::time::interval(Duration::from_millis(1000 / HONEST_PER_S));
    let end = Instant::now() + lasts;
    let mut number = 0_u32;
    while Instant::now() < end {
        tick.tick().await;
        number += 1;
        asking.spawn(timed(by_cookie(server, number)));
        asking.spawn(timed(over_tcp(server, number)));
    }
    let mut honest = Honest::default();
    while let Some(done) = asking.join_next().await {
        honest.asked += 1;
        if let Some(time) = done? {
            honest.answered += 1;
            honest.times.push(time);
        }
    }
    Ok(honest)
}

/// Silent connections, on a thread of their own.
struct Crowd {
    stop: CancellationToken,
    thread: std::thread::JoinHandle<anyhow::Result<()>>,
}

impl Crowd {
    fn start(server: SocketAddr, size: usize) -> anyhow::Result<Self> {
        let stop = CancellationToken::new();
        let ended = stop.clone();
        let thread = std::thread::spawn(move || {
            go_last();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?;
            runtime.block_on(async {
                let mut silent = JoinSet::new();
                for _ in 0..size {
                    silent.spawn(hold(server, ended.clone()));
                }
                ended.cancelled().await;
                silent.shutdown().await;
            });
            anyhow::Ok(())
        });
        Ok(Self { stop, thread })
    }

    fn stop(self) -> anyhow::Result<()> {
        self.stop.cancel();
        let ended = self.thread.join().ok();
        ended.context("the crowd ended in a panic")?
    }
}

/// Honest clients share our core, and in the world would be on other machines.
fn go_last() {
    // It can't fail for a lower priority, and if it did, the figures would be worse and not better.
    let _ = rustix::process::setpriority_process(None, ATTACKERS_NICE);
}

async fn timed(query: impl Future<Output = anyhow::Result<bool>>) -> Option<Duration> {
    let start = Instant::now();
    matches!(query.await, Ok(true)).then(|| start.elapsed())
}

/// Opens a connection and says nothing; again and again.
async fn hold(server: SocketAddr, stop: CancellationToken) {
    while !stop.is_cancelled() {
        let held = async {
            let mut stream = connect(server, anywhere()).await?;
            // An answer to nothing, or the end.
            let _ = stream.read_u8().await?;
            anyhow::Ok(())
        };
        tokio::select! {
            _ = held => {}
            () = stop.cancelled() => return,
        }
        tokio::time::sleep(AGAIN).await;
    }
}

async fn connect(server: SocketAddr, from: Ipv4Addr) -> anyhow::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.bind((from, 0).into())?;
    Ok(socket.connect(server).await?)
}

/// Somewhere in 127.0.0.0/8 but where honest clients are.
fn anywhere() -> Ipv4Addr {
    let mut rng = rand::rng();
    Ipv4Addr::new(
        127,
        rng.random_range(1..200),
        rng.random(),
        rng.random_range(1..255),
    )
}

const fn honest(number: u32) -> Ipv4Addr {
    let [_, _, a, b] = number.to_be_bytes();
    let [x, y] = HONEST;
    Ipv4Addr::new(x, y, a, if b == 0 { 255 } else { b })
}

fn is_right(answer: &[u8]) -> bool {
    matches!(answer, [_, _, flags, code, _, 1, 0, 24, ..] if flags & 0x82 == 0x80 && code & 0x0f == 0)
}

/// As resolvers with cookies ask: the first answer brings one, with which the next query is sent. TC or silence leads to TCP.
async fn by_cookie(server: SocketAddr, number: u32) -> anyhow::Result<bool> {
    let socket = AsyncUdp::bind((honest(number), 0)).await?;
    socket.connect(server).await?;
    let mut cookie = vec![7; 8];
    let mut buffer = [0; 1500];
    for _ in 0..2 * UDP_TRIES {
        let query = with_cookie(&cookie);
        socket.send(&query).await?;
        let Ok(received) = timeout(UDP_PATIENCE, socket.recv(&mut buffer)).await else {
            continue;
        };
        let answer = buffer.get(..received?).unwrap_or_default();
        if is_right(answer) {
            return Ok(true);
        }
        // The cookie is the end of the message.
        let given = answer.len().checked_sub(24).and_then(|at| answer.get(at..));
        match given {
            Some(given) if given.starts_with(&[7; 8]) && cookie.len() == 8 => {
                cookie = given.to_vec();
            }
            _ => break,
        }
    }
    over_tcp(server, number).await
}

fn with_cookie(cookie: &[u8]) -> Vec<u8> {
    let mut query = load::query(ZONE, 1, false);
    // Into the empty OPT record at the end.
    query.truncate(query.len() - 2);
    query.extend((cookie.len() as u16 + 4).to_be_bytes());
    query.extend([0, 10]);
    query.extend((cookie.len() as u16).to_be_bytes());
    query.extend_from_slice(cookie);
    query
}

async fn over_tcp(server: SocketAddr, number: u32) -> anyhow::Result<bool> {
    let asked = async {
        let mut stream = connect(server, honest(number)).await?;
        let query = load::query(ZONE, 1, false);
        stream
            .write_all(&(query.len() as u16).to_be_bytes())
            .await?;
        stream.write_all(&query).await?;
        let mut answer = vec![0; stream.read_u16().await?.into()];
        stream.read_exact(&mut answer).await?;
        anyhow::Ok(is_right(&answer))
    };
    timeout(TCP_PATIENCE, asked).await?
}

/// Where forged queries come from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Sources {
    All,
    One,
}

/// What a flood has done.
#[derive(Debug, Default)]
struct Sent {
    queries: u64,
    bytes: u64,
    /// Bytes of responses that came back, and those of answers among them; of one network only.
    received: u64,
    answers: u64,
}

/// A thread that sends as fast as it can, and one that counts what comes back.
struct Flood {
    stop: Arc<AtomicBool>,
    queries: Arc<AtomicU64>,
    received: [Arc<AtomicU64>; 2],
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Flood {
    fn start(server: SocketAddr, sources: Sources) -> anyhow::Result<Self> {
        let socket = Arc::new(UdpSocket::bind("0.0.0.0:0")?);
        socket2::SockRef::from(&*socket).set_recv_buffer_size(16 << 20)?;
        socket.set_read_timeout(Some(Duration::from_millis(200)))?;
        let (stop, queries) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicU64::new(0)),
        );
        let received = [(); 2].map(|()| Arc::new(AtomicU64::new(0)));
        let SocketAddr::V4(server) = server else {
            anyhow::bail!("the seeder listens on IPv4");
        };
        let sender = {
            let (socket, stop, queries) =
                (Arc::clone(&socket), Arc::clone(&stop), Arc::clone(&queries));
            std::thread::spawn(move || send(&socket, server.into(), sources, &stop, &queries))
        };
        let mut threads = vec![sender];
        if sources == Sources::One {
            let (stop, [all, answers]) = (Arc::clone(&stop), received.clone());
            threads.push(std::thread::spawn(move || {
                let mut buffer = [0; 1500];
                while !stop.load(Relaxed) {
                    let length = socket.recv(&mut buffer).unwrap_or(0);
                    all.fetch_add(length as u64, Relaxed);
                    if length > BARE {
                        answers.fetch_add(length as u64, Relaxed);
                    }
                }
            }));
        }
        Ok(Self {
            stop,
            queries,
            received,
            threads,
        })
    }

    fn stop(self) -> anyhow::Result<Sent> {
        self.stop.store(true, Relaxed);
        for thread in self.threads {
            thread
                .join()
                .ok()
                .context("a thread of the flood ended in a panic")?;
        }
        let queries = self.queries.load(Relaxed);
        let [received, answers] = &self.received;
        Ok(Sent {
            queries,
            bytes: queries * load::query(ZONE, 28, false).len() as u64,
            received: received.load(Relaxed),
            answers: answers.load(Relaxed),
        })
    }
}

/// Makes a datagram come from there.
const fn from(source: Ipv4Addr) -> libc::in_pktinfo {
    libc::in_pktinfo {
        ipi_ifindex: 0,
        ipi_spec_dst: libc::in_addr {
            s_addr: u32::from_ne_bytes(source.octets()),
        },
        ipi_addr: libc::in_addr { s_addr: 0 },
    }
}

fn send(
    socket: &UdpSocket,
    server: SockaddrIn,
    sources: Sources,
    stop: &AtomicBool,
    queries: &AtomicU64,
) {
    go_last();
    let query = load::query(ZONE, 28, false);
    let slice = [IoSlice::new(&query)];
    while !stop.load(Relaxed) {
        let source = match sources {
            Sources::All => anywhere(),
            Sources::One => Ipv4Addr::new(127, 9, 9, 9),
        };
        let info = from(source);
        let message = [ControlMessage::Ipv4PacketInfo(&info)];
        // A full buffer is what a flood meets; the next is sent all the same.
        if sendmsg(
            socket.as_raw_fd(),
            &slice,
            &message,
            MsgFlags::empty(),
            Some(&server),
        )
        .is_ok()
        {
            queries.fetch_add(1, Relaxed);
        }
    }
}
