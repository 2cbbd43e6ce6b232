//! The follower against real stores, through their troubles.

use arc_swap::ArcSwap;
use prometheus::{IntCounter, IntGauge};
use quantumcoin::{
    chain_spec::ChainSpec,
    reachability::{GoodPolicy, Outcome, Stage},
    service::{
        health::{Health, Status},
        metrics::Metrics,
    },
    store::{Heard, Observation, ProbeRecord, Store, StoreOptions, Write},
};
use tempfile::TempDir;

use super::*;
use crate::{
    SeederConfig,
    dnssec::{
        key::{Algorithm, Key, Role},
        keyfile,
        times::Times,
    },
    server::counters::Counters,
    snapshot::Snapshot,
    wire::name::WireName,
};

const BOOTSTRAP: &str = "127.9.9.9:28333";

struct Bench {
    dir: TempDir,
    path: PathBuf,
    shared: Shared,
    health: Health,
    follower: Follower,
}

/// With keys in the directory, if there is any.
fn bench(bootstrap: &[&str]) -> Bench {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("crawl.sqlite");
    let policy = Policy {
        network: "devnet".to_owned(),
        default_port: 28_333,
        one_per_netgroup: false,
        variants: 4,
        host_memory: 100,
        selections: vec![crate::snapshot::Selection::default()],
    };
    let snapshot = Arc::new(Snapshot::empty(&policy, 1));
    let config = SeederConfig {
        zones: vec!["seed.test".to_owned()],
        keys: Some(dir.path().to_owned()),
        ..SeederConfig::new(ChainSpec::devnet())
    };
    let counters = Counters::new(&Metrics::new("test")).unwrap();
    let setup = Arc::new(Setup::new(&config, &counters, None).unwrap());
    let state = State::new(setup, snapshot, 1, None).unwrap();
    let shared: Shared = Arc::new(ArcSwap::from_pointee(state));
    let health = Health::new();
    let gauge = || IntGauge::new("g", "g").unwrap();
    let gauges = Gauges {
        good_peers: gauge(),
        stale: gauge(),
        newest_probe: gauge(),
        last_read: gauge(),
        serial: gauge(),
        old_keys: gauge(),
        keys_ending: gauge(),
        failures: IntCounter::new("c", "c").unwrap(),
    };
    let options = FollowOptions {
        store: Some(path.clone()),
        network: "devnet".to_owned(),
        bootstrap: bootstrap.iter().map(|addr| addr.parse().unwrap()).collect(),
        policy,
        every: Duration::from_secs(1),
    };
    let checks = Checks {
        store: health.check("store"),
        keys: health.check("keys"),
    };
    let follower = Follower::new(options, Arc::clone(&shared), checks, gauges).unwrap();
    Bench {
        dir,
        path,
        shared,
        health,
        follower,
    }
}

impl Bench {
    fn now(&self) -> (usize, Origin, bool) {
        let snapshot = Arc::clone(&self.shared.load().snapshot);
        (snapshot.len(), snapshot.origin, snapshot.stale)
    }

    fn status(&self) -> Status {
        self.health.ready().status
    }

    fn reason(&self) -> String {
        self.check("store").1
    }

    fn check(&self, name: &str) -> (Status, String) {
        let checks = self.health.ready().checks;
        let mut mine = checks.into_iter().filter(|check| check.name == name);
        mine.next()
            .map(|check| (check.status, check.reason))
            .unwrap()
    }
}

async fn store(path: &Path, network: &str) -> Store {
    let options = StoreOptions {
        network: network.to_owned(),
        genesis: "00".repeat(32),
        policy: GoodPolicy {
            allow_private_addresses: true,
            max_netgroup_percent: 100,
            ..GoodPolicy::default()
        },
    };
    Store::open(path, options).await.unwrap()
}

/// Enough passed probes of 127.0.0.1 … 127.0.0.n to make them good now.
async fn probe(store: &Store, n: u8) {
    let now = unix_now();
    for host in 1..=n {
        for visit in (0..3).rev() {
            let at = now - visit * 600;
            let record = ProbeRecord {
                addr: SocketAddr::from(([127, 0, 0, host], 28_333)),
                at,
                outcome: Outcome::Ok,
                stage: Stage::Done,
                duration_ms: 5,
                next_due: at + 1500,
                failures: 0,
                observed: Observation {
                    services: Some(9),
                    protocol_version: Some(70_015),
                    proved_height: Some(100),
                    ..Observation::default()
                },
                heard: Heard::default(),
            };
            store.write(Write::Probe(Box::new(record))).await.unwrap();
        }
    }
    store.flush().await.unwrap();
}

/// The file with its companions: SQLite would read a database out of a left-over WAL alone.
fn remove(path: &Path) {
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(format!("{}{end}", path.display()));
    }
}

#[tokio::test]
async fn a_store_that_comes_later_is_picked_up() {
    let mut bench = bench(&[BOOTSTRAP]);
    bench.follower.round().await.unwrap();
    assert_eq!(bench.now(), (1, Origin::Bootstrap, true));
    assert_eq!(bench.status(), Status::Degraded);

    let store = store(&bench.path, "devnet").await;
    bench.follower.round().await.unwrap();
    assert_eq!(
        bench.now(),
        (1, Origin::Bootstrap, true),
        "an empty crawl is none"
    );
    assert!(
        bench.reason().contains("no good peer"),
        "{}",
        bench.reason()
    );

    probe(&store, 5).await;
    bench.follower.round().await.unwrap();
    assert_eq!(bench.now(), (5, Origin::Store, false));
    assert_eq!(bench.status(), Status::Ok);
    let serial = bench.shared.load().snapshot.serial;
    probe(&store, 7).await;
    bench.follower.round().await.unwrap();
    assert_eq!(bench.now().0, 7);
    assert!(bench.shared.load().snapshot.serial > serial);
}

#[tokio::test]
async fn without_store_and_bootstrap_nodes_it_is_not_ready_and_says_why() {
    let mut bench = bench(&[]);
    bench.follower.round().await.unwrap();
    assert_eq!(bench.now(), (0, Origin::Nothing, true));
    assert_eq!(bench.status(), Status::Failing);
    assert!(
        bench.reason().contains("no such store"),
        "{}",
        bench.reason()
    );
}

#[tokio::test]
async fn a_deleted_store_keeps_the_last_good_set_until_a_new_one_comes() {
    let mut bench = bench(&[BOOTSTRAP]);
    let first = store(&bench.path, "devnet").await;
    probe(&first, 5).await;
    bench.follower.round().await.unwrap();
    first.close().await.unwrap();
    remove(&bench.path);
    bench.follower.round().await.unwrap();
    assert_eq!(
        bench.now(),
        (5, Origin::Store, true),
        "not the bootstrap nodes"
    );
    assert_eq!(bench.status(), Status::Degraded);
    assert!(
        bench.reason().contains("last good set"),
        "{}",
        bench.reason()
    );

    let second = store(&bench.path, "devnet").await;
    bench.follower.round().await.unwrap();
    assert_eq!(
        bench.now(),
        (5, Origin::Store, true),
        "an empty new crawl does not empty the answers"
    );
    probe(&second, 3).await;
    bench.follower.round().await.unwrap();
    assert_eq!(bench.now(), (3, Origin::Store, false));
    assert_eq!(bench.status(), Status::Ok);
}

#[tokio::test]
async fn a_damaged_store_keeps_the_last_good_set() {
    let mut bench = bench(&[]);
    let store = store(&bench.path, "devnet").await;
    probe(&store, 5).await;
    bench.follower.round().await.unwrap();
    store.close().await.unwrap();
    // A new file in its place, as a failed restore would leave it.
    remove(&bench.path);
    std::fs::write(
        &bench.path,
        b"this is no database, and long enough to be looked at".repeat(99),
    )
    .unwrap();
    bench.follower.round().await.unwrap();
    assert_eq!(bench.now(), (5, Origin::Store, true));
    assert!(bench.reason().contains("damaged"), "{}", bench.reason());
    assert_eq!(bench.follower.gauges.failures.get(), 1);
    assert_eq!(bench.follower.gauges.stale.get(), 1);
}

#[tokio::test]
async fn the_crawl_of_another_network_is_refused() {
    let mut bench = bench(&[]);
    let store = store(&bench.path, "testnet").await;
    probe(&store, 5).await;
    bench.follower.round().await.unwrap();
    assert_eq!(bench.now(), (0, Origin::Nothing, true));
    assert!(bench.reason().contains("testnet"), "{}", bench.reason());
}

#[tokio::test]
async fn a_crawler_without_network_marks_the_set_stale_and_keeps_it() {
    let mut bench = bench(&[]);
    let store = store(&bench.path, "devnet").await;
    probe(&store, 5).await;
    store.write(Write::Frozen(Some(unix_now()))).await.unwrap();
    store.flush().await.unwrap();
    bench.follower.round().await.unwrap();
    assert_eq!(bench.now(), (5, Origin::Store, true));
    assert_eq!(bench.status(), Status::Degraded);
}

#[tokio::test]
async fn keys_that_can_not_be_followed_are_told_apart_from_the_store() {
    let mut bench = bench(&[]);
    let apex = WireName::of(&hickory_proto::rr::Name::from_ascii("seed.test.").unwrap());
    let times = Times::from_now(unix_now() - 10);
    let key = Key::generate(apex, Algorithm::EcdsaP256, Role::KeySigning, times).unwrap();
    let stem = keyfile::write(bench.dir.path(), &key).unwrap();
    bench.follower.round().await.unwrap();
    let told = |bench: &Bench| (bench.follower.gauges.old_keys.get(), bench.check("keys"));
    assert_eq!(told(&bench), (0, (Status::Ok, String::new())));
    let store = bench.check("store");
    assert_eq!(
        store.0,
        Status::Failing,
        "there is none, and nobody to serve"
    );

    let private = stem.with_added_extension("private");
    let good = std::fs::read(&private).unwrap();
    std::fs::write(&private, "junk").unwrap();
    bench.follower.round().await.unwrap();
    let (gauge, (status, reason)) = told(&bench);
    assert_eq!((gauge, status), (1, Status::Degraded));
    assert!(
        reason.contains("signing with the keys of before") && reason.contains(".private"),
        "{reason}"
    );
    assert_eq!(bench.check("store"), store, "which is as bad as it was");

    std::fs::write(&private, good).unwrap();
    bench.follower.round().await.unwrap();
    assert_eq!(told(&bench), (0, (Status::Ok, String::new())));
}

/// A named pipe stands for a disk that hangs: whoever reads it waits until somebody writes.
#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_hangs_does_not_hold_up_the_end() {
    let bench = bench(&[]);
    let pipe = bench.dir.path().join("Kseed.test.+013+00001.key");
    std::fs::write(pipe.with_extension("private"), "").unwrap();
    assert!(
        std::process::Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    let (_reloads, receiver) = mpsc::channel(1);
    let stop = CancellationToken::new();
    let following = tokio::spawn(bench.follower.run(receiver, stop.clone()));
    // Opening it for writing waits for the reader, who then waits for what is never written.
    let writer = std::fs::OpenOptions::new().write(true).open(&pipe);
    stop.cancel();
    let ended = tokio::time::timeout(Duration::from_secs(10), following).await;
    ended.expect("ends").unwrap();
    drop(writer);
}
