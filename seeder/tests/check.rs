//! `quantumcoin-seeder check` of the real program: on a machine with and without a seeder, and in a world of our own, where BIND's
//! `named` has the parent zone and unbound resolves. Tests print a reason and pass when a program is missing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test's helpers fail as the test does"
)]

mod support;

use std::{
    fs,
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    path::Path,
    process::{Child, Command},
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
use support::{PATIENCE, bench_with, has};
use tempfile::TempDir;

const ZONE: &str = "seed.test";

/// The parent's name server, and that of the zone: one port at two addresses, as on the internet.
const PARENT: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 1);
const SEEDER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// One run of the program.
struct Checked {
    json: Value,
    success: bool,
}

impl Checked {
    /// The findings of a level about a topic, as `found` and `mend`.
    fn findings(&self, topic: &str, level: &str) -> Vec<String> {
        let all = self.json["findings"].as_array().unwrap();
        let mine = all
            .iter()
            .filter(|one| one["topic"] == topic && one["level"] == level);
        mine.map(|one| format!("{} -> {}", one["found"], one["mend"]))
            .collect()
    }

    fn errors(&self) -> Vec<String> {
        let all = self.json["findings"].as_array().unwrap();
        let errors = all.iter().filter(|one| one["level"] == "error");
        errors.map(ToString::to_string).collect()
    }

    /// Exactly one error, about the delegation, with these words in it.
    fn assert_broken(&self, words: &[&str]) {
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

fn run(arguments: &[&str]) -> std::process::Output {
    Command::new(env!("CARGO_BIN_EXE_quantumcoin-seeder"))
        .args(["check", "--network", "devnet"])
        .args(arguments)
        .output()
        .unwrap()
}

async fn check(arguments: &[&str]) -> Checked {
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

/// A port that is free for UDP and TCP at all of these addresses.
fn free_port(addresses: &[Ipv4Addr]) -> u16 {
    loop {
        let first = UdpSocket::bind((addresses[0], 0)).unwrap();
        let port = first.local_addr().unwrap().port();
        drop(first);
        let free = |ip: &Ipv4Addr| {
            UdpSocket::bind((*ip, port)).is_ok() && TcpListener::bind((*ip, port)).is_ok()
        };
        if addresses.iter().all(free) {
            return port;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_machine_without_store_and_network() {
    let dir = TempDir::new().unwrap();
    let store = dir.path().join("crawl.sqlite");
    let holder = UdpSocket::bind("127.0.0.1:0").unwrap();
    let listen = holder.local_addr().unwrap().to_string();
    // 192.0.2.0/24 is for documentation (RFC 5737): nobody answers there.
    let checked = check(&[
        "--zone",
        ZONE,
        "--listen",
        &listen,
        "--store",
        store.to_str().unwrap(),
        "--resolver",
        "192.0.2.1",
        "--ntp",
        "192.0.2.1",
    ])
    .await;
    assert!(!checked.success);
    let store = checked.findings("store", "error");
    assert!(
        store[0].contains("is not there") && store[0].contains("systemctl"),
        "{store:?}"
    );
    let port = checked.findings("port", "error");
    let me = std::process::id().to_string();
    assert!(
        port[0].contains(&me) || !cfg!(target_os = "linux"),
        "{port:?}"
    );
    assert_eq!(
        checked.json["errors"], 2,
        "what is out of reach is no error: {:#}",
        checked.json
    );
    let outside = checked.findings("delegation", "note");
    assert!(
        outside[0].contains("no resolver is reachable from here"),
        "{outside:?}"
    );
    let clock = checked.findings("clock", "note");
    assert!(
        clock[0].contains("no time server is reachable"),
        "{clock:?}"
    );
    let records = checked.json["parent_records"].as_array().unwrap();
    let wanted = [
        "seed.test. 3600 IN NS ns1.seed.test.",
        "ns1.seed.test. 3600 IN A 127.0.0.1",
    ];
    assert_eq!(*records, wanted);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_seeder_is_known_and_judged() {
    let bench = bench_with(&["127.0.0.1:0"], |_| {}).await;
    let (listen, store) = (
        bench.dns.to_string(),
        bench.path.to_str().unwrap().to_owned(),
    );
    let arguments = [
        "--listen",
        &listen,
        "--store",
        &store,
        "--offline",
        "--zone",
    ];
    let ours = check(&[&arguments[..], &["seed1.quantumcoin.network"]].concat()).await;
    let answers = ours.findings("server", "ok");
    assert_eq!(answers.len(), 2, "UDP and TCP: {:#}", ours.json);
    assert!(
        answers[0].contains("answers as an authority"),
        "{answers:?}"
    );
    let store = ours.findings("store", "ok");
    assert!(
        store[0].contains("30 good peers by IPv4 and 30 by IPv6"),
        "{store:?}"
    );
    assert!(
        !ours.findings("delegation", "note").is_empty(),
        "--offline is told"
    );
    // The seeder runs within this test program, whose name is another.
    let port = ours.findings("port", "error");
    assert!(port[0].contains("is taken by check-"), "{port:?}");

    let other = check(&[&arguments[..], &["other.test"]].concat()).await;
    let refused = other.findings("server", "error");
    assert!(refused[0].contains("REFUSED"), "{refused:?}");
    bench.finish().await;
}

/// The program itself holds the port: no fault.
#[tokio::test(flavor = "multi_thread")]
async fn the_programs_own_port_is_no_fault() {
    let dir = TempDir::new().unwrap();
    let listen = SocketAddr::from((PARENT, free_port(&[PARENT]))).to_string();
    let store = dir.path().join("none");
    let arguments = [
        "--listen",
        &listen,
        "--zone",
        ZONE,
        "--store",
        store.to_str().unwrap(),
    ];
    let seeder = Program::start(
        Command::new(env!("CARGO_BIN_EXE_quantumcoin-seeder"))
            .env("QTC_LOG", "error")
            .args(["run", "--network", "devnet", "--http", "127.0.0.1:0"])
            .args(arguments),
    );
    let start = Instant::now();
    let checked = loop {
        let checked = check(&[&arguments[..], &["--offline"]].concat()).await;
        if !checked.findings("server", "ok").is_empty() {
            break checked;
        }
        assert!(start.elapsed() < PATIENCE, "{:#}", checked.json);
    };
    let port = checked.findings("port", "ok");
    let me = format!("process {}", seeder.0.id());
    assert!(
        port[0].contains(&me) || !cfg!(target_os = "linux"),
        "{port:?}"
    );
}

#[test]
fn settings_that_can_not_be_read_are_a_finding() {
    let dir = TempDir::new().unwrap();
    let path = dir.path().join("seeder.toml");
    fs::write(&path, "zoness = []\n").unwrap();
    let output = run(&["--config", path.to_str().unwrap(), "--offline"]);
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(
        text.starts_with("Configuration\n  ERROR ") && text.contains("zoness"),
        "{text}"
    );
    assert!(text.contains("Something is broken: 1 error,"), "{text}");
    let output = run(&["--resolver", "dns.example"]);
    let text = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(2), "wrong usage");
    assert!(text.contains("write an IP address"), "{text}");
}

/// A program that ends with the test.
struct Program(Child);

impl Program {
    fn start(command: &mut Command) -> Self {
        Self(command.spawn().unwrap())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A parent zone on a real `named`, a resolver that is a real unbound, and the program itself as the seeder.
struct World {
    /// For the seeder and for the check.
    settings: Vec<String>,
    port: u16,
    resolver: SocketAddr,
    dir: TempDir,
    _running: [Program; 2],
}

impl World {
    /// `None` when a program is missing.
    async fn new(signed: bool) -> Option<Self> {
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
        let port = free_port(&[PARENT, SEEDER]);
        let listen = SocketAddr::from((SEEDER, port)).to_string();
        let settings = [
            ["--zone", ZONE],
            ["--listen", &listen],
            ["--store", store.to_str().unwrap()],
            ["--keys", keys.to_str().unwrap()],
        ];
        let settings: Vec<String> = settings.concat().into_iter().map(str::to_owned).collect();
        let seeder = Program::start(
            Command::new(env!("CARGO_BIN_EXE_quantumcoin-seeder"))
                .env("QTC_LOG", "error")
                .args(["run", "--network", "devnet", "--http", "127.0.0.1:0"])
                .args(&settings),
        );
        let resolver = SocketAddr::from((PARENT, free_port(&[PARENT])));
        let unbound = unbound(dir.path(), resolver, port);
        Some(Self {
            settings,
            port,
            resolver,
            dir,
            _running: [seeder, unbound],
        })
    }

    /// What the check says when these lines are in the parent zone.
    async fn check(&self, delegation: &str) -> Checked {
        let named = named(self.dir.path(), self.port, delegation);
        let parent = SocketAddr::from((PARENT, self.port));
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

/// Serves `test.` with these lines.
fn named(dir: &Path, port: u16, delegation: &str) -> Program {
    let zone = format!(
        "$TTL 60\n@ IN SOA ns hostmaster 1 3600 600 86400 1\n@ IN NS ns\nns IN A {PARENT}\n{delegation}\n"
    );
    fs::write(dir.join("zone"), zone).unwrap();
    let dir_name = dir.display();
    let config = format!(
        "options {{ directory \"{dir_name}\"; listen-on port {port} {{ {PARENT}; }}; listen-on-v6 {{ none; }}; recursion no;\n  \
         pid-file none; session-keyfile \"{dir_name}/session.key\"; dnssec-validation no; check-integrity no; }};\n\
         controls {{ }};\nzone \"test\" {{ type primary; file \"{dir_name}/zone\"; check-names ignore; }};\n"
    );
    let path = dir.join("named.conf");
    fs::write(&path, config).unwrap();
    let log = fs::File::create(dir.join("named.log")).unwrap();
    Program::start(
        Command::new("named")
            .arg("-g")
            .arg("-c")
            .arg(&path)
            .stderr(log),
    )
}

/// Resolves, with the parent's and the zone's servers at a port of ours. Nothing is kept, so that each delegation is seen.
fn unbound(dir: &Path, addr: SocketAddr, port: u16) -> Program {
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
    Program::start(
        Command::new("unbound")
            .arg("-d")
            .arg("-c")
            .arg(&path)
            .stderr(log),
    )
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
fn records(checked: &Checked) -> String {
    let lines = checked.json["parent_records"].as_array().unwrap();
    let lines: Vec<&str> = lines.iter().map(|line| line.as_str().unwrap()).collect();
    lines.join("\n")
}

#[tokio::test(flavor = "multi_thread")]
async fn delegations_that_are_right_and_broken() {
    let Some(world) = World::new(false).await else {
        return;
    };
    let nothing = world.check("").await;
    nothing.assert_broken(&[
        "does not delegate it",
        "seed.test. 3600 IN NS ns1.seed.test.",
    ]);

    // The lines that it asks for make all well.
    let right = world.check(&records(&nothing)).await;
    assert_eq!(right.errors(), [""; 0], "{:#}", right.json);
    assert!(right.success);
    let ok = right.findings("delegation", "ok").join("\n");
    for wanted in [
        "its name servers are ns1.seed.test.",
        "the parent zone test. (by 127.0.0.1) delegates it to ns1.seed.test.",
        "the parent's glue is right: 127.0.0.2",
        "is not signed, and the parent has no DS",
        "ns1.seed.test. at 127.0.0.2 answers as an authority over UDP and TCP",
    ] {
        assert!(ok.contains(wanted), "{wanted}: {ok}");
    }

    let no_glue = world.check("seed IN NS ns1.seed").await;
    no_glue.assert_broken(&[
        "no glue for ns1.seed.test.",
        "ns1.seed.test. 3600 IN A 127.0.0.2",
    ]);

    // The parent's server gets asked for the zone, and refers to others: lame. Its address is no glue of ours, which is told, too.
    let lame = world
        .check("seed IN NS ns1.seed\nseed IN NS ns\nns1.seed IN A 127.0.0.2")
        .await;
    lame.assert_broken(&["ns.test. at 127.0.0.1 is lame", "no AA flag"]);
    let other = lame.findings("delegation", "warning").join("\n");
    assert!(
        other.contains("ns.test."),
        "the sets of name servers differ: {other}"
    );

    let ds =
        "seed IN DS 4711 13 2 0707070707070707070707070707070707070707070707070707070707070707";
    let bogus = world.check(&format!("{}\n{ds}", records(&nothing))).await;
    bogus.assert_broken(&["4711 13 2", "bogus", "take the DS out"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_zone_with_and_without_its_ds() {
    let Some(world) = World::new(true).await else {
        return;
    };
    let plain = "seed IN NS ns1.seed\nns1.seed IN A 127.0.0.2";
    let insecure = world.check(plain).await;
    assert_eq!(insecure.errors(), [""; 0], "{:#}", insecure.json);
    let notes = insecure.findings("delegation", "note").join("\n");
    assert!(
        notes.contains("the parent has no DS of it") && notes.contains(" IN DS "),
        "{notes}"
    );

    let secure = world.check(&records(&insecure)).await;
    assert_eq!(secure.errors(), [""; 0], "{:#}", secure.json);
    let ok = secure.findings("delegation", "ok").join("\n");
    assert!(
        ok.contains("the parent's DS names a key of the zone"),
        "{ok}"
    );

    let digest = "07".repeat(32);
    let wrong = world
        .check(&format!("{plain}\nseed IN DS 4711 13 2 {digest}"))
        .await;
    wrong.assert_broken(&["no DS of the parent", "names a key of the zone"]);
}
