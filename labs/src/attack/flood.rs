//! The crowd: junk at a rate, and many connections that say one byte a second.

use std::io::{Read, stdin};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use clap::Args;
use quantumcoin::chain_spec::ChainSpec;
use quantumcoin::transport::{Endpoint, Identity};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, interval, sleep, sleep_until, timeout};

use super::dial::Dial;
use crate::bench::worker;

/// Subnets (/24) that the crowd comes from, from 127.8.0.0 on.
const SUBNETS: u32 = 1_000;

/// Sources in each.
const HOSTS: u32 = 10;

/// How long a junk connection waits for an answer.
const JUNK_WAITS: Duration = Duration::from_secs(1);

/// A slow connection lasts at least so long: one that was closed earlier comes again after that. The victim's deadline
/// for handshakes.
const SLOW_LASTS: Duration = Duration::from_secs(5);

/// Who attacks whom, and how.
#[derive(Debug, Args)]
pub struct Crowd {
    /// The victim.
    to: SocketAddr,
    /// New junk connections in a second.
    #[arg(long)]
    junk_per_s: u32,
    /// Slow connections at a time.
    #[arg(long)]
    slow: u32,
}

/// What the crowd has done.
#[derive(Default)]
struct Counts {
    junk: AtomicU64,
    slow: AtomicU64,
    bytes: AtomicU64,
    /// Connections that the victim did not even take.
    failed: AtomicU64,
}

/// What a junk connection says.
struct Says {
    random: Vec<u8>,
    tls: Vec<u8>,
    first_message: Vec<u8>,
}

impl Crowd {
    /// Attacks until standard input ends; tells then what it did.
    pub(super) fn run(self) -> anyhow::Result<()> {
        raise_limit();
        step_back();
        tokio::runtime::Runtime::new()?.block_on(self.attack())
    }

    async fn attack(self) -> anyhow::Result<()> {
        let says = Arc::new(Says::new().await?);
        let counts = Arc::new(Counts::default());
        let start = Instant::now();
        for number in 0..self.slow {
            // Evenly over the time after which each comes again.
            let after = SLOW_LASTS.mul_f64(f64::from(number) / f64::from(self.slow));
            tokio::spawn(slow(self.to, number, after, Arc::clone(&counts)));
        }
        tokio::spawn(junk(self.to, self.junk_per_s, says, Arc::clone(&counts)));
        spawn_blocking(|| stdin().lock().read_to_end(&mut Vec::new())).await??;
        let seconds = start.elapsed().as_secs_f64();
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed) as f64;
        worker::tell(&json!({
            "junk_per_s": count(&counts.junk) / seconds,
            "slow_per_s": count(&counts.slow) / seconds,
            "bytes": count(&counts.bytes),
            "failed": count(&counts.failed),
        }))
    }
}

impl Says {
    async fn new() -> anyhow::Result<Self> {
        // Not 0x04 to 0x16, which would be a transport's first byte.
        let random = (0..64_u32).map(|n| (n * 37 + 0x80) as u8).collect();
        // The head of a TLS record that holds a hello, and no hello.
        let mut tls = vec![0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc, 3, 3];
        tls.resize(5 + 512, 0xa5);
        Ok(Self {
            random,
            tls,
            first_message: first_message().await?,
        })
    }

    fn of(&self, number: u64) -> &[u8] {
        match number % 3 {
            0 => &self.random,
            1 => &self.tls,
            _ => &self.first_message,
        }
    }
}

/// The first message of a true handshake, which costs the crowd nothing to say again and again.
async fn first_message() -> anyhow::Result<Vec<u8>> {
    let endpoint = Endpoint::new(&ChainSpec::devnet(), Arc::new(Identity::generate()?));
    let (near, mut far) = tokio::io::duplex(4_096);
    let dial = tokio::spawn(async move { endpoint.connect(near).await.map(drop) });
    let length = far.read_u16().await?;
    let mut message = length.to_be_bytes().to_vec();
    message.resize(2 + usize::from(length), 0);
    if let Some(body) = message.get_mut(2..) {
        far.read_exact(body).await?;
    }
    dial.abort();
    Ok(message)
}

/// The source of the connection with this number: all hosts of the crowd in turn, those of a subnet far apart.
fn source(number: u64) -> SocketAddr {
    let number = u32::try_from(number % u64::from(SUBNETS * HOSTS)).unwrap_or(0);
    let (subnet, host) = (number % SUBNETS, number / SUBNETS);
    let first = u32::from(Ipv4Addr::new(127, 8, 0, 1));
    SocketAddr::from((Ipv4Addr::from(first + (subnet << 8) + host), 0))
}

async fn junk(to: SocketAddr, per_second: u32, says: Arc<Says>, counts: Arc<Counts>) {
    const TICKS: u32 = 100;
    let mut ticks = interval(Duration::from_secs(1) / TICKS);
    let mut number = 0;
    loop {
        ticks.tick().await;
        for _ in 0..per_second / TICKS {
            let (says, counts) = (Arc::clone(&says), Arc::clone(&counts));
            tokio::spawn(async move {
                let Ok(mut stream) = Dial::new(source(number), to).connect().await else {
                    counts.failed.fetch_add(1, Ordering::Relaxed);
                    return;
                };
                counts.junk.fetch_add(1, Ordering::Relaxed);
                let bytes = says.of(number);
                if stream.write_all(bytes).await.is_ok() {
                    counts
                        .bytes
                        .fetch_add(bytes.len() as u64, Ordering::Relaxed);
                }
                // Until it is closed, or for a while.
                let _ = timeout(JUNK_WAITS, stream.read_to_end(&mut Vec::new())).await;
            });
            number += 1;
        }
    }
}

/// One slow connection after the other.
async fn slow(to: SocketAddr, number: u32, after: Duration, counts: Arc<Counts>) {
    sleep(after).await;
    loop {
        let again = Instant::now() + SLOW_LASTS;
        match Dial::new(source(number.into()), to).connect().await {
            Ok(stream) => {
                counts.slow.fetch_add(1, Ordering::Relaxed);
                drip(stream, &counts).await;
            }
            Err(_) => {
                counts.failed.fetch_add(1, Ordering::Relaxed);
            }
        }
        sleep_until(again).await;
    }
}

/// The head of a first message, and then a byte a second, until it is closed.
async fn drip(mut stream: TcpStream, counts: &Counts) {
    if stream.write_all(&[0x04, 0xc0]).await.is_err() {
        return;
    }
    let mut byte = [0];
    while let Err(_elapsed) = timeout(Duration::from_secs(1), stream.read(&mut byte)).await {
        if stream.write_all(&byte).await.is_err() {
            return;
        }
        counts.bytes.fetch_add(1, Ordering::Relaxed);
    }
}

/// As many open files as the system lets us have.
#[cfg(target_os = "linux")]
pub(crate) fn raise_limit() {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if setrlimit(Resource::Nofile, limit).is_err() {
        eprintln!("the limit of open files stays as it is");
    }
}

#[cfg(not(target_os = "linux"))]
pub(crate) fn raise_limit() {}

/// Peers and visitors, which share our cores, go first: in the world they would be on other machines.
#[cfg(target_os = "linux")]
pub(super) fn step_back() {
    if rustix::process::nice(10).is_err() {
        eprintln!("the crowd takes time from peers and visitors");
    }
}

#[cfg(not(target_os = "linux"))]
pub(super) fn step_back() {}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn the_crowd_comes_from_as_many_places_as_it_says() {
        let all: HashSet<_> = (0..20_000).map(|n| source(n).ip()).collect();
        assert_eq!(all.len(), (SUBNETS * HOSTS) as usize);
        let subnet = |ip: &std::net::IpAddr| ip.to_string().rsplit_once('.').unwrap().0.to_owned();
        let subnets: HashSet<_> = all.iter().map(subnet).collect();
        assert_eq!(subnets.len(), SUBNETS as usize);
    }

    #[tokio::test]
    async fn the_first_message_is_one() {
        let message = first_message().await.unwrap();
        assert_eq!((message.len(), &message[..2]), (1_218, &[0x04, 0xc0][..]));
    }
}
