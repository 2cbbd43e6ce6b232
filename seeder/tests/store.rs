//! The store is locked, deleted, damaged, emptied, replaced and stale while clients ask.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test's helpers fail as the test does"
)]

mod support;

use std::{
    io::Read,
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use hickory_proto::{
    op::{Message, MessageType, OpCode, Query, ResponseCode},
    rr::{Name, RecordType},
};
use quantumcoin::store::Write;
use support::{Bench, PATIENCE, bench_with, get, open, port, probe};

/// One client after the other, as fast as answers come.
struct Clients {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

impl Clients {
    fn start(server: SocketAddr) -> Self {
        let (stop, answered) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicUsize::new(0)),
        );
        let (end, count) = (Arc::clone(&stop), Arc::clone(&answered));
        let thread = std::thread::spawn(move || {
            let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
            socket.set_read_timeout(Some(PATIENCE)).unwrap();
            socket.connect(server).unwrap();
            let mut message = Message::new(7, MessageType::Query, OpCode::Query);
            let apex = Name::from_ascii("seed1.quantumcoin.network.").unwrap();
            message.add_query(Query::query(apex, RecordType::A));
            let packet = message.to_vec().unwrap();
            let mut buffer = [0; 2048];
            while !end.load(Ordering::Relaxed) {
                socket.send(&packet).unwrap();
                let length = socket.recv(&mut buffer).expect("an answer");
                let answer = Message::from_vec(&buffer[..length]).unwrap();
                assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
                assert!(answer.answers.len() >= 8, "{answer}");
                count.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self {
            stop,
            answered,
            thread,
        }
    }

    /// Every one of them has had an answer of at least eight peers.
    fn finish(self) -> usize {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().expect("every query was answered");
        self.answered.load(Ordering::Relaxed)
    }
}

/// What a path of the HTTP server says, once it says `expected`.
async fn until(bench: &Bench, path: &str, expected: &str) {
    let end = Instant::now() + PATIENCE;
    loop {
        let said = get(bench.http, path).await;
        if said.contains(expected) {
            return;
        }
        assert!(Instant::now() < end, "{expected:?} is not in {said}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

async fn trouble(bench: &Bench, expected: &str) {
    until(bench, "/health/ready", expected).await;
    until(bench, "/health/ready", "degraded").await;
    until(bench, "/metrics", "\nqtc_seeder_stale 1\n").await;
}

async fn well(bench: &Bench, peers: usize) {
    until(
        bench,
        "/metrics",
        &format!("\nqtc_seeder_good_peers {peers}\n"),
    )
    .await;
    until(bench, "/metrics", "\nqtc_seeder_stale 0\n").await;
}

/// The file with its companions.
fn remove(path: &Path) {
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{end}", path.display()));
    }
}

/// Another program that has the database for itself until its standard input ends.
fn lock(path: &Path) -> std::process::Child {
    let program = "import sqlite3, sys\n\
        db = sqlite3.connect(sys.argv[1], isolation_level=None)\n\
        db.execute('PRAGMA locking_mode = EXCLUSIVE')\n\
        db.execute('BEGIN EXCLUSIVE')\n\
        print('locked', flush=True)\n\
        sys.stdin.read()\n";
    let mut locker = Command::new("python3")
        .args(["-c", program])
        .arg(path)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = [0; 6];
    let stdout = locker.stdout.as_mut().unwrap();
    stdout.read_exact(&mut said).unwrap();
    assert_eq!(&said, b"locked");
    locker
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_go_on_whatever_becomes_of_the_store() {
    let bench = bench_with(&["127.0.0.1:0"], |config| {
        // One client asks more than a network may.
        config.rate_limit = 0;
    })
    .await;
    let clients = Clients::start(bench.dns);
    well(&bench, 61).await;

    bench.store.write(Write::Frozen(Some(1))).await.unwrap();
    bench.store.flush().await.unwrap();
    trouble(&bench, "the crawl is old").await;
    bench.store.write(Write::Frozen(None)).await.unwrap();
    bench.store.flush().await.unwrap();
    well(&bench, 61).await;

    bench.store.close().await.unwrap();
    remove(&bench.path);
    trouble(&bench, "no such store").await;

    std::fs::write(
        &bench.path,
        b"this is no database and no backup".repeat(200),
    )
    .unwrap();
    trouble(&bench, "damaged").await;
    remove(&bench.path);

    let second = open(&bench.path).await;
    trouble(&bench, "no good peer").await;
    for n in 1..=20 {
        probe(&second, SocketAddr::from(([127, 0, 1, n], port())), 9).await;
    }
    second.flush().await.unwrap();
    well(&bench, 20).await;
    second.close().await.unwrap();

    // Another file under its name, as a restored backup would be; at first somebody has it for himself.
    let other = bench.path.with_extension("other");
    let third = open(&other).await;
    for n in 1..=12 {
        probe(&third, SocketAddr::from(([127, 0, 2, n], port())), 9).await;
    }
    third.close().await.unwrap();
    let locker = support::has("python3", "python3").then(|| lock(&other));
    remove(&bench.path);
    std::fs::rename(&other, &bench.path).unwrap();
    if let Some(mut locker) = locker {
        trouble(&bench, "lock").await;
        drop(locker.stdin.take());
        assert!(locker.wait().unwrap().success());
    }
    well(&bench, 12).await;

    let answered = clients.finish();
    assert!(answered > 1000, "{answered}");
    bench.stop.cancel();
    tokio::time::timeout(PATIENCE, bench.task)
        .await
        .expect("stops")
        .unwrap();
}
