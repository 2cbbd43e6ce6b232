//! DNS over TLS, as clients that we did not write see it: `kdig` (Knot), `dig` (BIND) and `openssl s_client`. Each test
//! prints a reason and passes when its tool is missing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test's helpers fail as the test does"
)]

mod support;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::SocketAddr,
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use hickory_proto::{
    op::{Message, MessageType, OpCode, Query},
    rr::{Name, RecordType},
};
use quantumcoin_seeder::{
    dnssec::{
        key::{Algorithm, Key, Role},
        keyfile,
        times::Times,
    },
    follow::unix_now,
    tls::TlsOptions,
    wire::name::WireName,
};
use rcgen::{CertificateParams, DnType, KeyPair, date_time_ymd};
use rustls::{
    ClientConfig, HandshakeKind, NamedGroup, RootCertStore,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use support::{Bench, PATIENCE, bench_with, get, has};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};
use tokio_rustls::TlsConnector;

const APEX: &str = "seed1.quantumcoin.network";

/// Whom the certificates are for.
const HOST: &str = "ns1.seed1.quantumcoin.network";

/// Puts a new certificate with this common name, and its key, where the options say: each file whole, as certbot does.
fn issue(options: &TlsOptions, name: &str, last_year: i32) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![HOST.to_owned()]).unwrap();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = date_time_ymd(2020, 1, 1);
    params.not_after = date_time_ymd(last_year, 1, 1);
    let certificate = params.self_signed(&key).unwrap();
    put(&options.certificate, &certificate.pem());
    put(&options.key, &key.serialize_pem());
}

fn put(path: &Path, text: &str) {
    let scratch = path.with_extension("new");
    fs::write(&scratch, text).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&scratch, fs::Permissions::from_mode(0o600)).unwrap();
    }
    fs::rename(&scratch, path).unwrap();
}

fn options(dir: &Path) -> TlsOptions {
    TlsOptions {
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        certificate: dir.join("fullchain.pem"),
        key: dir.join("privkey.pem"),
    }
}

/// A seeder with DNS over TLS, whose first zone is signed.
struct Secure {
    bench: Bench,
    tls: SocketAddr,
    options: TlsOptions,
    _dir: TempDir,
}

async fn secure() -> Secure {
    secure_until(2400).await
}

/// With a certificate that is valid until the beginning of that year.
async fn secure_until(year: i32) -> Secure {
    let dir = TempDir::new().unwrap();
    let options = options(dir.path());
    issue(&options, "first", year);
    let keys = dir.path().join("keys");
    fs::create_dir(&keys).unwrap();
    let apex = WireName::of(&Name::from_ascii(format!("{APEX}.")).unwrap());
    let times = Times::from_now(unix_now() - 10);
    let key = Key::generate(apex, Algorithm::EcdsaP256, Role::KeySigning, times).unwrap();
    keyfile::write(&keys, &key).unwrap();
    let bench = bench_with(&["127.0.0.1:0"], |config| {
        config.keys = Some(keys);
        config.tls = Some(options.clone());
    })
    .await;
    Secure {
        tls: bench.tls.unwrap(),
        bench,
        options,
        _dir: dir,
    }
}

fn has_kdig() -> bool {
    has("kdig", "knot-dnsutils")
}

fn has_openssl() -> bool {
    has("openssl", "openssl")
}

/// Runs a client to its end, away from the threads that the seeder runs on.
async fn run(program: &str, arguments: &[String]) -> (bool, String) {
    let mut command = Command::new(program);
    command.args(arguments).stdin(Stdio::null());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap());
    let output = output.await.unwrap();
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

/// `kdig` or `dig`.
async fn ask(program: &str, server: SocketAddr, arguments: &str) -> String {
    let mut all = vec![
        format!("@{}", server.ip()),
        "-p".to_owned(),
        server.port().to_string(),
    ];
    all.extend(arguments.split_whitespace().map(str::to_owned));
    let (good, text) = run(program, &all).await;
    assert!(good, "{program} {arguments}: {text}");
    text
}

async fn kdig(server: SocketAddr, arguments: &str) -> String {
    ask("kdig", server, &format!("{arguments} +time=10 +retry=0")).await
}

/// `openssl s_client`, run to the end of its handshake.
async fn s_client(server: SocketAddr, arguments: &str) -> (bool, String) {
    let mut all = vec![
        "s_client".to_owned(),
        "-connect".to_owned(),
        server.to_string(),
    ];
    all.extend(arguments.split_whitespace().map(str::to_owned));
    run("openssl", &all).await
}

/// Whose certificate is shown.
async fn shown(server: SocketAddr) -> String {
    let (_, text) = s_client(server, "").await;
    let subject = text
        .lines()
        .find(|line| line.starts_with("subject="))
        .map(str::to_owned);
    subject.unwrap_or_else(|| panic!("{text}"))
}

fn count(text: &str, kind: &str) -> usize {
    let of_kind =
        |line: &&str| line.split_whitespace().nth(3) == Some(kind) && !line.starts_with(';');
    text.lines().filter(of_kind).count()
}

fn query(name: &str, kind: RecordType, id: u16) -> Vec<u8> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    let bytes = message.to_vec().unwrap();
    let mut framed = u16::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
    framed.extend(bytes);
    framed
}

/// A connection that `openssl s_client` holds, as a stream of bytes. Its end is the process's.
struct Tunnel {
    process: Child,
    to: ChildStdin,
    from: ChildStdout,
}

impl Tunnel {
    fn open(server: SocketAddr) -> Self {
        let mut process = Command::new("openssl")
            .args([
                "s_client",
                "-quiet",
                "-alpn",
                "dot",
                "-connect",
                &server.to_string(),
            ])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let (to, from) = (
            process.stdin.take().unwrap(),
            process.stdout.take().unwrap(),
        );
        Self { process, to, from }
    }

    fn receive(&mut self) -> Message {
        let mut length = [0; 2];
        self.from.read_exact(&mut length).unwrap();
        let mut bytes = vec![0; u16::from_be_bytes(length).into()];
        self.from.read_exact(&mut bytes).unwrap();
        Message::from_vec(&bytes).unwrap()
    }

    fn ask(&mut self) {
        self.to.write_all(&query(APEX, RecordType::A, 1)).unwrap();
        self.to.flush().unwrap();
        assert_eq!(self.receive().answers.len(), 24);
    }
}

impl Drop for Tunnel {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn kdig_gets_answers_and_denials_signed() {
    if !has_kdig() {
        return;
    }
    let secure = secure().await;
    let a = kdig(secure.tls, &format!("{APEX} A +tls")).await;
    assert!(
        a.contains("TLS session (TLS1.3)") && a.contains("status: NOERROR"),
        "{a}"
    );
    assert_eq!(count(&a, "A"), 24, "{a}");
    let signed = kdig(secure.tls, &format!("{APEX} AAAA +tls +dnssec")).await;
    assert_eq!(
        (count(&signed, "AAAA"), count(&signed, "RRSIG")),
        (24, 1),
        "{signed}"
    );
    let no_name = kdig(secure.tls, &format!("nope.{APEX} A +tls +dnssec")).await;
    assert!(no_name.contains("status: NXDOMAIN"), "{no_name}");
    assert_eq!(count(&no_name, "SOA"), 1, "{no_name}");
    assert!(
        count(&no_name, "NSEC") >= 1 && count(&no_name, "RRSIG") >= 2,
        "{no_name}"
    );
    let no_data = kdig(secure.tls, &format!("{APEX} MX +tls")).await;
    assert!(
        no_data.contains("status: NOERROR") && count(&no_data, "SOA") == 1,
        "{no_data}"
    );
    let refused = kdig(secure.tls, "example.org A +tls").await;
    assert!(refused.contains("status: REFUSED"), "{refused}");
    // With the certificate as its own authority, and the name in it.
    let ca = secure.options.certificate.display();
    let strict = format!("{APEX} SOA +tls-ca={ca} +tls-hostname={HOST}");
    let strict = kdig(secure.tls, &strict).await;
    assert_eq!(count(&strict, "SOA"), 1, "{strict}");
    let metrics = get(secure.bench.http, "/metrics").await;
    let line =
        format!("qtc_seeder_queries_total{{transport=\"tls\",type=\"A\",zone=\"{APEX}.\"}} 2");
    assert!(metrics.contains(&line), "{metrics}");
    assert!(
        metrics.contains("qtc_seeder_tls_handshakes_total{result=\"done\"} 6"),
        "{metrics}"
    );
    assert!(
        metrics.contains("qtc_seeder_response_bytes_total{transport=\"tls\"}"),
        "{metrics}"
    );
    secure.bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn padding_shows_within_tls_alone() {
    if !has_kdig() {
        return;
    }
    let secure = secure().await;
    let received = |text: &str| -> usize {
        let (_, rest) = text.split_once(";; Received ").expect(text);
        rest.split(' ').next().unwrap().parse().unwrap()
    };
    for question in ["SOA", "A", "TXT +dnssec", "AAAA +dnssec", "MX +dnssec"] {
        let padded = kdig(secure.tls, &format!("{APEX} {question} +tls +padding=64")).await;
        assert!(padded.contains("PADDING: "), "{padded}");
        assert_eq!(received(&padded) % 468, 0, "{padded}");
        let unasked = kdig(secure.tls, &format!("{APEX} {question} +tls +nopadding")).await;
        assert!(!unasked.contains("PADDING: "), "{unasked}");
        for plain in ["+notcp", "+tcp"] {
            let plain = kdig(
                secure.bench.dns,
                &format!("{APEX} {question} {plain} +padding=64"),
            )
            .await;
            assert!(!plain.contains("PADDING: "), "{plain}");
        }
    }
    secure.bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dig_is_told_how_long_a_connection_may_be_idle() {
    if !has("dig", "bind9-dnsutils") {
        return;
    }
    let secure = secure().await;
    let told = "; TCP KEEPALIVE: 10.0 secs";
    for (server, transport, tells) in [
        (secure.tls, "+tls", true),
        (secure.bench.dns, "+tcp", true),
        (secure.bench.dns, "+notcp", false),
    ] {
        let question = format!("{APEX} A +keepalive {transport}");
        if transport == "+tls" {
            let (_, help) = run("dig", &["-h".to_owned()]).await;
            if !help.contains("+[no]tls ") {
                eprintln!("skipped: this dig has no +tls (BIND 9.18 has)");
                continue;
            }
        }
        let text = ask("dig", server, &question).await;
        assert_eq!(count(&text, "A"), 24, "{text}");
        assert_eq!(text.contains(told), tells, "{text}");
    }
    secure.bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn openssl_agrees_on_version_and_protocol() {
    if !has_openssl() {
        return;
    }
    let secure = secure().await;
    let (_, dot) = s_client(secure.tls, "-alpn dot").await;
    assert!(
        dot.contains("ALPN protocol: dot") && dot.contains("TLSv1.3"),
        "{dot}"
    );
    let (good, silent) = s_client(secure.tls, "").await;
    assert!(
        good && silent.contains("No ALPN negotiated"),
        "RFC 7858 is older: {silent}"
    );
    let (good, other) = s_client(secure.tls, "-alpn h2").await;
    assert!(
        !good && other.contains("no application protocol"),
        "{other}"
    );
    let (good, old) = s_client(secure.tls, "-tls1_2").await;
    assert!(!good && old.contains("alert"), "{old}");
    let (good, classical) = s_client(secure.tls, "-groups X25519").await;
    assert!(good && classical.contains("X25519"), "{classical}");
    secure.bench.finish().await;
}

/// The openssl of these days may be too old for it, rustls is not.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_prefers_the_hybrid_key_exchange_gets_it_and_may_resume() {
    let secure = secure().await;
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(&secure.options.certificate).unwrap();
    roots.add(certificate).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"dot".to_vec()];
    let connector = TlsConnector::from(Arc::new(config));
    for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let stream = TcpStream::connect(secure.tls).await.unwrap();
        let host = ServerName::try_from(HOST).unwrap();
        let mut stream = connector.connect(host, stream).await.unwrap();
        stream
            .write_all(&query(APEX, RecordType::SOA, 1))
            .await
            .unwrap();
        let length = timeout(PATIENCE, stream.read_u16()).await.unwrap().unwrap();
        stream
            .read_exact(&mut vec![0; length.into()])
            .await
            .unwrap();
        let (_, session) = stream.get_ref();
        let group = session.negotiated_key_exchange_group().unwrap();
        assert_eq!(group.name(), NamedGroup::X25519MLKEM768);
        assert_eq!(session.handshake_kind(), Some(kind));
    }
    secure.bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_in_a_row_are_answered_in_a_row() {
    if !has_openssl() {
        return;
    }
    let secure = secure().await;
    let server = secure.tls;
    let conversation = tokio::task::spawn_blocking(move || {
        let mut tunnel = Tunnel::open(server);
        let all: Vec<u8> = (0..200)
            .flat_map(|id| query(APEX, RecordType::AAAA, id))
            .collect();
        tunnel.to.write_all(&all).unwrap();
        tunnel.to.flush().unwrap();
        for id in 0..200 {
            let answer = tunnel.receive();
            assert_eq!((answer.metadata.id, answer.answers.len()), (id, 24));
        }
    });
    timeout(PATIENCE, conversation).await.unwrap().unwrap();
    secure.bench.finish().await;
}

/// Bytes that come until the server closes.
async fn until_closed(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let closed = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
    // An end by force is one as well.
    let _ = closed.expect("the server closes");
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_says_nothing_is_shown_out() {
    let secure = secure().await;
    let began = Instant::now();
    let mut silent = TcpStream::connect(secure.tls).await.unwrap();
    let mut slow = TcpStream::connect(secure.tls).await.unwrap();
    // The first bytes of a ClientHello of 512 bytes.
    slow.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3])
        .await
        .unwrap();
    assert!(until_closed(&mut silent).await.is_empty());
    assert!(until_closed(&mut slow).await.is_empty());
    assert!(
        began.elapsed() >= Duration::from_secs(4),
        "a handshake may take a while"
    );
    if has_openssl() {
        let server = secure.tls;
        let idle = tokio::task::spawn_blocking(move || {
            let mut tunnel = Tunnel::open(server);
            tunnel.ask();
            let mut rest = Vec::new();
            tunnel.from.read_to_end(&mut rest).unwrap();
            assert!(
                tunnel.process.wait().unwrap().success(),
                "a farewell, no broken line"
            );
            assert!(rest.is_empty());
        });
        timeout(PATIENCE, idle).await.unwrap().unwrap();
    }
    let metrics = get(secure.bench.http, "/metrics").await;
    assert!(
        metrics.contains("qtc_seeder_tls_handshakes_total{result=\"late\"} 2"),
        "{metrics}"
    );
    secure.bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn junk_ends_its_own_connection_only() {
    if !has_openssl() {
        return;
    }
    let secure = secure().await;
    let server = secure.tls;
    let mut tunnel = tokio::task::spawn_blocking(move || {
        let mut tunnel = Tunnel::open(server);
        tunnel.ask();
        tunnel
    })
    .await
    .unwrap();
    let plain_dns = query(APEX, RecordType::A, 7);
    for junk in [
        b"GET / HTTP/1.1\r\n\r\n".as_slice(),
        &plain_dns,
        &[0; 600],
        &[22, 3, 1, 0, 4, 1, 0, 0, 0],
    ] {
        let mut stream = TcpStream::connect(secure.tls).await.unwrap();
        stream.write_all(junk).await.unwrap();
        let said = until_closed(&mut stream).await;
        // At most an alert: a record of type 21.
        assert!(
            said.is_empty() || (said[0] == 21 && said.len() == 7),
            "{said:?}"
        );
    }
    tokio::task::spawn_blocking(move || tunnel.ask())
        .await
        .unwrap();
    let metrics = get(secure.bench.http, "/metrics").await;
    assert!(
        metrics.contains("qtc_seeder_tls_handshakes_total{result=\"failed\"} 4"),
        "{metrics}"
    );
    secure.bench.finish().await;
}

/// From 150 networks, half of them with the beginning of a handshake.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_that_never_shakes_hands_keeps_nobody_out() {
    if !has_openssl() {
        return;
    }
    let secure = secure().await;
    let server = secure.tls;
    let mut early = tokio::task::spawn_blocking(move || {
        let mut tunnel = Tunnel::open(server);
        tunnel.ask();
        tunnel
    })
    .await
    .unwrap();
    let mut crowd = Vec::new();
    for n in 0..600_u32 {
        let socket = TcpSocket::new_v4().unwrap();
        let network = u8::try_from(1 + n % 150).unwrap();
        socket
            .bind(SocketAddr::from(([127, 0, network, 1], 0)))
            .unwrap();
        let mut stream = socket.connect(server).await.unwrap();
        if n % 2 == 0 {
            stream
                .write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3])
                .await
                .unwrap();
        }
        crowd.push(stream);
    }
    let late = tokio::task::spawn_blocking(move || {
        early.ask();
        Tunnel::open(server).ask();
        early.ask();
    });
    timeout(PATIENCE, late).await.unwrap().unwrap();
    let metrics = get(secure.bench.http, "/metrics").await;
    let evicted = metrics
        .lines()
        .find_map(|line| line.strip_prefix("qtc_seeder_tcp_evicted_total "));
    let evicted: u64 = evicted.unwrap().parse().unwrap();
    // 600 came, 256 handshakes may run; some may have ended at their time limit before.
    assert!(evicted > 100, "{evicted}");
    drop(crowd);
    secure.bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_is_told_and_still_better_than_none() {
    let secure = secure_until(2021).await;
    let health = get(secure.bench.http, "/health/ready").await;
    assert!(
        health.starts_with("HTTP/1.1 200") && health.contains("degraded"),
        "{health}"
    );
    assert!(
        health.contains("the certificate has expired on 2021-01-01"),
        "{health}"
    );
    let metrics = get(secure.bench.http, "/metrics").await;
    let expires = "qtc_seeder_tls_certificate_expires_seconds 1609459200";
    assert!(metrics.contains(expires), "{metrics}");
    if has_kdig() {
        let soa = kdig(secure.tls, &format!("{APEX} SOA +tls")).await;
        assert_eq!(count(&soa, "SOA"), 1, "{soa}");
    }
    secure.bench.finish().await;
}

/// The program itself.
struct Program {
    process: Child,
    log: mpsc::Receiver<String>,
}

impl Program {
    fn start(config: &Path) -> Self {
        let mut process = Command::new(env!("CARGO_BIN_EXE_quantumcoin-seeder"))
            .args([
                "run",
                "--network",
                "devnet",
                "--zone",
                APEX,
                "--log-format",
                "human",
            ])
            .args([
                "--listen",
                "127.0.0.1:0",
                "--http",
                "127.0.0.1:0",
                "--refresh-seconds",
                "1",
            ])
            .args([Path::new("--config"), config])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let (sender, log) = mpsc::channel();
        std::thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                let _ = sender.send(line);
            }
        });
        Self { process, log }
    }

    /// The next line of the log with these words.
    fn says(&self, words: &str) -> String {
        let mut seen = Vec::new();
        loop {
            match self.log.recv_timeout(PATIENCE) {
                Ok(line) if line.contains(words) => return line,
                Ok(line) => seen.push(line),
                Err(_) => panic!("nothing of {words:?} in {seen:#?}"),
            }
        }
    }

    fn hang_up(&self) {
        let command = format!("kill -HUP {}", self.process.id());
        assert!(
            Command::new("sh")
                .args(["-c", &command])
                .status()
                .unwrap()
                .success()
        );
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// The address after `addresses=[` in a line of the log.
fn address(line: &str) -> SocketAddr {
    let (_, rest) = line.split_once("127.0.0.1:").expect(line);
    let port: String = rest.chars().take_while(char::is_ascii_digit).collect();
    SocketAddr::from(([127, 0, 0, 1], port.parse().unwrap()))
}

#[cfg(unix)]
#[tokio::test(flavor = "multi_thread")]
async fn a_renewed_certificate_is_shown_and_connections_stay() {
    if !has_openssl() {
        return;
    }
    let dir = TempDir::new().unwrap();
    let options = options(dir.path());
    issue(&options, "first", 2400);
    let config = dir.path().join("seeder.toml");
    let (certificate, key) = (options.certificate.display(), options.key.display());
    let table = format!(
        "[tls]\nlisten = [\"127.0.0.1:0\"]\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n"
    );
    fs::write(
        &config,
        format!("store = \"{}\"\n{table}", dir.path().join("none").display()),
    )
    .unwrap();
    let program = Program::start(&config);
    let server = address(&program.says("answering DNS over TLS"));
    assert!(shown(server).await.contains("first"));
    let soa = move |tunnel: &mut Tunnel| {
        tunnel
            .to
            .write_all(&query(APEX, RecordType::SOA, 1))
            .unwrap();
        assert_eq!(tunnel.receive().answers.len(), 1);
    };
    let mut open = Tunnel::open(server);
    soa(&mut open);

    // Nothing that can be shown: the whole reload is refused.
    let good = fs::read_to_string(&options.certificate).unwrap();
    put(&options.certificate, "nonsense");
    program.hang_up();
    let said = program.says("the settings stay as they were");
    assert!(
        said.contains("fullchain.pem, holds no certificate in PEM"),
        "{said}"
    );
    assert!(shown(server).await.contains("first"));
    put(&options.certificate, &good);

    // To other files, by SIGHUP.
    let second = TlsOptions {
        certificate: dir.path().join("second.pem"),
        key: dir.path().join("second.key"),
        ..options.clone()
    };
    issue(&second, "second", 2400);
    let text = fs::read_to_string(&config).unwrap();
    let text = text
        .replace("fullchain.pem", "second.pem")
        .replace("privkey.pem", "second.key");
    fs::write(&config, text).unwrap();
    program.hang_up();
    program.says("settings and keys were read again");
    assert!(shown(server).await.contains("second"));
    soa(&mut open);

    // In place, without a word to the program.
    issue(&second, "third", 2400);
    program.says("showing a new certificate");
    assert!(shown(server).await.contains("third"));
    soa(&mut open);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_missing_keeps_the_seeder_from_starting() {
    let dir = TempDir::new().unwrap();
    let config = dir.path().join("seeder.toml");
    fs::write(
        &config,
        "[tls]\ncertificate = \"/no/such/chain.pem\"\nkey = \"/no/such/key.pem\"\n",
    )
    .unwrap();
    let mut program = Program::start(&config);
    let said = program.says("error:");
    assert!(
        said.contains("the certificate of [tls], /no/such/chain.pem, can't be read"),
        "{said}"
    );
    assert!(said.contains("is the path right?"), "{said}");
    assert_eq!(program.process.wait().unwrap().code(), Some(1));
}
