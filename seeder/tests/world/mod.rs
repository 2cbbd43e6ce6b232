//! Runs of the check, and a world of our own for it: BIND's `named` has the parent zone, unbound resolves, and the
//! program itself is the seeder.

use std::{
    collections::BTreeSet,
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::Path,
    process::{Child, Command},
    sync::Mutex,
    time::{Duration, Instant},
};

use quantumcoin_seeder::{
    dnssec::{
        key::{Algorithm, Key, Role},
        keyfile,
        times::Times,
    },
    follow::unix_now,
    wire::name::WireName,
};
use serde_json::Value;
use tempfile::TempDir;

use crate::support::{self, PATIENCE, has};

/// The zone of the seeder.
pub(crate) const ZONE: &str = "seed.test";

/// The parent's name server, and that of the zone: one port at two addresses, as on the internet.
pub(crate) const PARENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
pub(crate) const SEEDER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// One run of the program.
pub(crate) struct Checked {
    pub(crate) json: Value,
    pub(crate) success: bool,
}

impl Checked {
    /// The findings of a level about a topic, as `found` and `mend`.
    pub(crate) fn findings(&self, topic: &str, level: &str) -> Vec<String> {
        let all = self.json["findings"].as_array().unwrap();
        let mine = all
            .iter()
            .filter(|one| one["topic"] == topic && one["level"] == level);
        mine.map(|one| format!("{} -> {}", one["found"], one["mend"]))
            .collect()
    }

    pub(crate) fn errors(&self) -> Vec<String> {
        let all = self.json["findings"].as_array().unwrap();
        let errors = all.iter().filter(|one| one["level"] == "error");
        errors.map(ToString::to_string).collect()
    }

    /// Exactly one error, about the delegation, with these words in it.
    pub(crate) fn assert_broken(&self, words: &[&str]) {
        let errors = self.errors();
        assert_eq!(errors.len(), 1, "{:#}", self.json);
        let found = self.findings("delegation", "error");
        assert!(
            words.iter().all(|word| found[0].contains(word)),
            "{found:?}"
        );
        assert!(!self.success, "errors make it fail");
    }
}

pub(crate) fn run(arguments: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_quantumcoin-seeder"))
        .args(["check", "--network", "devnet", "--http", "127.0.0.1:0"])
        .args(arguments)
        .output()
        .unwrap()
}

pub(crate) async fn check(arguments: &[&str]) -> Checked {
    let arguments: Vec<String> = arguments.iter().map(|one| (*one).to_owned()).collect();
    let output = tokio::task::spawn_blocking(move || {
        let mut all: Vec<&str> = arguments.iter().map(String::as_str).collect();
        all.push("--json");
        run(&all)
    });
    let output = output.await.unwrap();
    let json = serde_json::from_slice(&output.stdout);
    Checked {
        json: json.unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr))),
        success: output.status.success(),
    }
}

/// Ports that the system gives to nobody who asks for any: those begin at 32768 (ip(7)).
const PORTS: std::ops::Range<u16> = 20_000..32_768;

/// Times that a port is looked for, or a program is started. A port that a client had in the last minute is free for UDP and not for
/// TCP, which may be every fifth after tests with thousands of connections.
const TRIES: usize = 64;

/// A port that is free for UDP and TCP at all of these addresses, and that no other call in this process gets. It has to be let go
/// before a program can take it, so somebody else may come first: see [`Program::at_free_port`].
fn free_port(addresses: &[Ipv4Addr]) -> u16 {
    static TAKEN: Mutex<BTreeSet<u16>> = Mutex::new(BTreeSet::new());
    let free = |port: &u16| {
        let both = |ip: &Ipv4Addr| {
            UdpSocket::bind((*ip, *port)).is_ok() && TcpListener::bind((*ip, *port)).is_ok()
        };
        TAKEN.lock().unwrap().insert(*port) && addresses.iter().all(both)
    };
    let mut some = (0..TRIES).map(|_| rand::random_range(PORTS));
    some.find(free)
        .expect("a port that is free for UDP and TCP")
}

/// A program that ends with the test.
pub(crate) struct Program(pub(crate) Child);

impl Program {
    pub(crate) fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }

    /// Starts a program that listens at the first of these addresses, at a port that is free at all of them. One that ends at once
    /// has found that it is not, and gets another.
    pub(crate) fn at_free_port(
        addresses: &[Ipv4Addr],
        command: impl Fn(SocketAddr) -> Command,
    ) -> (Self, SocketAddr) {
        for _ in 0..TRIES {
            let addr = SocketAddr::from((addresses[0], free_port(addresses)));
            let mut program = Self::start(&mut command(addr));
            if program.takes_connections(addr) {
                return (program, addr);
            }
        }
        panic!("no program could be started at {TRIES} ports");
    }

    /// Waits until it takes connections; `false` when it has ended.
    fn takes_connections(&mut self, addr: SocketAddr) -> bool {
        let start = Instant::now();
        loop {
            let connected = TcpStream::connect(addr).is_ok();
            if self.0.try_wait().unwrap().is_some() {
                return false;
            }
            if connected {
                return true;
            }
            assert!(start.elapsed() < PATIENCE, "nobody listens at {addr}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A parent zone on a real `named`, a resolver that is a real unbound, and the program itself as the seeder.
pub(crate) struct World {
    /// For the seeder and for the check.
    settings: Vec<String>,
    port: u16,
    resolver: SocketAddr,
    dir: TempDir,
    _running: [Program; 2],
}

impl World {
    /// `None` when a program is missing.
    pub(crate) async fn new(signed: bool) -> Option<Self> {
        if !has("named", "bind9") || !has("unbound", "unbound") || !has("dig", "bind9-dnsutils") {
            return None;
        }
        let dir = TempDir::new().unwrap();
        let (keys, store) = (dir.path().join("keys"), dir.path().join("crawl.sqlite"));
        fs::create_dir(&keys).unwrap();
        if signed {
            make_key(&keys);
        }
        let crawl = support::open(&store).await;
        for n in 1..=8 {
            let addr = SocketAddr::from(([127, 0, 0, n], support::port()));
            support::probe(&crawl, addr, 9).await;
        }
        crawl.close().await.unwrap();
        let settings = |listen: SocketAddr| -> Vec<String> {
            let settings = [
                ["--zone", ZONE],
                ["--listen", &listen.to_string()],
                ["--store", store.to_str().unwrap()],
                ["--keys", keys.to_str().unwrap()],
            ];
            settings.concat().into_iter().map(str::to_owned).collect()
        };
        let (seeder, listen) =
            Program::at_free_port(&[SEEDER, PARENT], |listen| seeder(&settings(listen)));
        let port = listen.port();
        let (unbound, resolver) =
            Program::at_free_port(&[PARENT], |addr| unbound(dir.path(), addr, port));
        Some(Self {
            settings: settings(listen),
            port,
            resolver,
            dir,
            _running: [seeder, unbound],
        })
    }

    /// `keys …` for the zone.
    pub(crate) fn keys(&self, arguments: &[&str]) {
        let status = Command::new(env!("CARGO_BIN_EXE_quantumcoin-seeder"))
            .arg("keys")
            .args(arguments)
            .args(["--network", "devnet", "--zone", ZONE, "--keys"])
            .arg(self.dir.path().join("keys"))
            .status();
        assert!(status.unwrap().success());
    }

    /// What the check says when these lines are in the parent zone.
    pub(crate) async fn check(&self, delegation: &str) -> Checked {
        let parent = SocketAddr::from((PARENT, self.port));
        let mut named = Program::start(&mut named(self.dir.path(), self.port, delegation));
        assert!(named.takes_connections(parent), "see named.log");
        let resolver = self.resolver;
        let up = tokio::task::spawn_blocking(move || {
            wait_for(parent, "test");
            wait_for(resolver, "test");
            wait_for(resolver, ZONE);
        });
        up.await.unwrap();
        let mut arguments = self.settings.clone();
        let (resolver, port) = (self.resolver.to_string(), self.port.to_string());
        let how = [
            "--resolver",
            &resolver,
            "--port-of-servers",
            &port,
            "--ntp",
            "192.0.2.1",
        ];
        arguments.extend(how.map(str::to_owned));
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let checked = check(&arguments).await;
        drop(named);
        checked
    }
}

fn make_key(dir: &Path) {
    let apex = WireName::of(&hickory_proto::rr::Name::from_ascii("seed.test.").unwrap());
    let times = Times {
        sync_publish: Some(0),
        ..Times::from_now(unix_now() - 10)
    };
    let key = Key::generate(apex, Algorithm::EcdsaP256, Role::KeySigning, times).unwrap();
    keyfile::write(dir, &key).unwrap();
}

/// The program itself as a seeder.
pub(crate) fn seeder(settings: &[String]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_quantumcoin-seeder"));
    command
        .env("QTC_LOG", "error")
        .args(["run", "--network", "devnet", "--http", "127.0.0.1:0"])
        .args(settings);
    command
}

/// Serves `test.` with these lines.
fn named(dir: &Path, port: u16, delegation: &str) -> Command {
    let zone = format!(
        "$TTL 60\n@ IN SOA ns hostmaster 1 3600 600 86400 1\n@ IN NS ns\nns IN A {PARENT}\n{delegation}\n"
    );
    fs::write(dir.join("zone"), zone).unwrap();
    let dir_name = dir.display();
    let config = format!(
        "options {{ directory \"{dir_name}\"; listen-on port {port} {{ {PARENT}; }}; listen-on-v6 {{ none; }}; \
         recursion no;\n  \
         pid-file none; session-keyfile \"{dir_name}/session.key\"; dnssec-validation no; check-integrity no; }};\n\
         controls {{ }};\nzone \"test\" {{ type primary; file \"{dir_name}/zone\"; check-names ignore; }};\n"
    );
    let path = dir.join("named.conf");
    fs::write(&path, config).unwrap();
    let log = fs::File::create(dir.join("named.log")).unwrap();
    let mut command = Command::new("named");
    command.arg("-g").arg("-c").arg(&path).stderr(log);
    command
}

/// Resolves, with the parent's and the zone's servers at a port of ours. Nothing is kept, so that each delegation is
/// seen.
fn unbound(dir: &Path, addr: SocketAddr, port: u16) -> Command {
    let (ip, own) = (addr.ip(), addr.port());
    let stub = |zone: &str, server: IpAddr| {
        format!("stub-zone:\n  name: \"{zone}\"\n  stub-addr: {server}@{port}\n  stub-prime: no\n")
    };
    let stubs = stub("test", PARENT.into()) + &stub(ZONE, SEEDER.into());
    let config = format!(
        "server:\n  interface: {ip}@{own}\n  port: {own}\n  username: \"\"\n  chroot: \"\"\n  directory: \"{}\"\n  \
         pidfile: \"\"\n  use-syslog: no\n  do-daemonize: no\n  do-not-query-localhost: no\n  num-threads: 1\n  \
         module-config: \"iterator\"\n  cache-max-ttl: 0\n  cache-max-negative-ttl: 0\n  infra-host-ttl: 0\n  \
         local-zone: \"test.\" nodefault\nremote-control:\n  control-enable: no\n{stubs}",
        dir.display()
    );
    let path = dir.join("unbound.conf");
    fs::write(&path, config).unwrap();
    let log = fs::File::create(dir.join("unbound.log")).unwrap();
    let mut command = Command::new("unbound");
    command.arg("-d").arg("-c").arg(&path).stderr(log);
    command
}

/// Waits until a server has the zone's SOA.
fn wait_for(server: SocketAddr, zone: &str) {
    let start = Instant::now();
    loop {
        let output = Command::new("dig")
            .args([
                &format!("@{}", server.ip()),
                "-p",
                &server.port().to_string(),
            ])
            .args(["+tries=1", "+time=1", "+noall", "+answer", zone, "SOA"])
            .output()
            .unwrap();
        if String::from_utf8_lossy(&output.stdout).contains("SOA") {
            return;
        }
        assert!(
            start.elapsed() < PATIENCE,
            "{server} does not answer for {zone}: {output:?}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// The lines that the check itself prints for the parent zone.
pub(crate) fn records(checked: &Checked) -> String {
    let lines = checked.json["parent_records"].as_array().unwrap();
    let lines: Vec<&str> = lines.iter().map(|line| line.as_str().unwrap()).collect();
    lines.join("\n")
}
