//! A real seeder over a real store on loopback.
#![allow(dead_code, reason = "each test program uses a part")]

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use quantumcoin::{
    chain_spec::ChainSpec,
    reachability::{GoodPolicy, Outcome, Stage, Transports},
    store::{Heard, Observation, ProbeRecord, Store, StoreOptions, Write},
};
use quantumcoin_seeder::{Control, Seeder, SeederConfig, answer::Identity};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

/// Long enough for a busy machine; nothing waits for it when all goes well.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// The devnet's default port.
pub(crate) fn port() -> u16 {
    ChainSpec::devnet().network_protocol.default_port
}

pub(crate) struct Bench {
    pub(crate) dns: SocketAddr,
    /// Where DNS over TLS is spoken, if the configuration wants it.
    pub(crate) tls: Option<SocketAddr>,
    pub(crate) http: SocketAddr,
    pub(crate) store: Store,
    pub(crate) path: PathBuf,
    pub(crate) stop: CancellationToken,
    pub(crate) task: JoinHandle<()>,
    pub(crate) control: Control,
    pub(crate) config: SeederConfig,
    _dir: TempDir,
}

impl Bench {
    /// Stops the seeder and waits for its end.
    pub(crate) async fn finish(self) {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, self.task)
            .await
            .expect("stops")
            .unwrap();
        self.store.close().await.unwrap();
    }
}

/// A seeder for seed1 and seed2 with 30 good peers on 127.0.0.x (pruned ones among them), 30 on IPv6 and
/// one on another port.
pub(crate) async fn bench() -> Bench {
    bench_on(&["127.0.0.1:0"]).await
}

pub(crate) async fn bench_on(listen: &[&str]) -> Bench {
    bench_with(listen, |_| {}).await
}

/// The same with a configuration that is changed before the start.
pub(crate) async fn bench_with(listen: &[&str], change: impl FnOnce(&mut SeederConfig)) -> Bench {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("crawl.sqlite");
    let store = open(&path).await;
    for n in 1..=30 {
        let services = if n % 3 == 0 { 0x400 } else { 0x9 };
        probe(&store, SocketAddr::from(([127, 0, 0, n], port())), services).await;
        let six = format!("[2400:{n:x}::1]:{}", port()).parse().unwrap();
        probe(&store, six, services).await;
    }
    probe(&store, "127.0.0.99:9999".parse().unwrap(), 9).await;
    store.flush().await.unwrap();

    let mut config = config(&path, listen);
    change(&mut config);
    let seeder = Seeder::bind(config.clone()).await.unwrap();
    let control = seeder.control();
    let (dns, http) = (seeder.dns_addr(), seeder.http_addr().unwrap());
    let tls = seeder.tls_addrs().first().copied();
    let stop = CancellationToken::new();
    let ended = stop.clone();
    let task = tokio::spawn(async move { seeder.run(ended).await.expect("runs") });
    Bench {
        dns,
        tls,
        http,
        store,
        path,
        stop,
        task,
        control,
        config,
        _dir: dir,
    }
}

pub(crate) fn config(store: &Path, listen: &[&str]) -> SeederConfig {
    SeederConfig {
        store: Some(store.to_owned()),
        listen: listen.iter().map(|addr| addr.parse().unwrap()).collect(),
        zones: ["seed1.quantumcoin.network", "seed2.quantumcoin.network"]
            .map(str::to_owned)
            .into(),
        contact: "ops@quantumcoin.network".to_owned(),
        http: Some("127.0.0.1:0".parse().unwrap()),
        refresh_seconds: 1,
        identity: Identity {
            version: Some("qtc".to_owned()),
            id: None,
        },
        ..SeederConfig::new(ChainSpec::devnet())
    }
}

pub(crate) async fn open(path: &Path) -> Store {
    let options = StoreOptions {
        network: "devnet".to_owned(),
        genesis: ChainSpec::devnet().genesis_hash().to_string(),
        policy: GoodPolicy {
            allow_private_addresses: true,
            max_netgroup_percent: 100,
            ..GoodPolicy::default()
        },
    };
    Store::open(path, options).await.unwrap()
}

/// Three passed probes within the last half hour.
pub(crate) async fn probe(store: &Store, addr: SocketAddr, services: u64) {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs() as i64;
    let mut id = [5; 32];
    id.iter_mut()
        .zip(addr.to_string().bytes())
        .for_each(|(own, byte)| *own = byte);
    for at in [now - 1200, now - 600, now] {
        let observed = Observation {
            services: Some(services),
            protocol_version: Some(70_015),
            proved_height: Some(512),
            transports: Some(Transports::NOISE),
            node_id: Some(id),
            ..Observation::default()
        };
        let record = ProbeRecord {
            addr,
            at,
            outcome: Outcome::Ok,
            stage: Stage::Done,
            duration_ms: 5,
            next_due: at + 1500,
            failures: 0,
            observed,
            heard: Heard::default(),
        };
        store.write(Write::Probe(Box::new(record))).await.unwrap();
    }
}

/// What an HTTP server says, headers and all.
pub(crate) async fn get(addr: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = String::new();
    stream.read_to_string(&mut text).await.unwrap();
    text
}

/// Whether a program that we did not write is there.
pub(crate) fn has(tool: &str, package: &str) -> bool {
    let found = Command::new(tool)
        .arg("-v")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok();
    if !found {
        eprintln!("skipped: {tool} is not installed (Debian: {package})");
    }
    found
}
