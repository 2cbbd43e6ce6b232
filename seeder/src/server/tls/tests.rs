//! Which certificate is shown, and what is told of it, by a clock of the test's own.

use std::{fs, net::IpAddr, path::Path, time::SystemTime};

use quantumcoin::{chain_spec::ChainSpec, service::health::Status};
use rcgen::{CertificateParams, KeyPair, date_time_ymd};
use rustls::{
    ClientConfig, HandshakeKind, RootCertStore,
    client::Resumption,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use tempfile::TempDir;
use time::OffsetDateTime;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::TlsConnector;

use super::*;

const DAY: i64 = 86_400;

/// Whom certificates are for.
const HOST: &str = "ns1.seed.test";

/// A certificate for April to June of a year, and the Unix time of its end.
fn issue(year: i32) -> (String, String, i64) {
    issue_for(date_time_ymd(year, 4, 1), date_time_ymd(year, 7, 1))
}

fn issue_for(from: OffsetDateTime, until: OffsetDateTime) -> (String, String, i64) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec![HOST.to_owned()]).unwrap();
    params.not_before = from;
    params.not_after = until;
    let until = params.not_after.unix_timestamp();
    let certificate = params.self_signed(&key).unwrap();
    (certificate.pem(), key.serialize_pem(), until)
}

struct Bench {
    dir: TempDir,
    health: Health,
    expires: IntGauge,
    tls: Arc<Tls>,
    until: i64,
}

impl Bench {
    fn new() -> Self {
        Self::with(issue(2026))
    }

    fn with((certificate, key, until): (String, String, i64)) -> Self {
        let dir = TempDir::new().unwrap();
        write(dir.path(), "chain", &certificate);
        write(dir.path(), "key", &key);
        let options = TlsOptions {
            listen: Vec::new(),
            certificate: dir.path().join("chain"),
            key: dir.path().join("key"),
        };
        let health = Health::new();
        let expires = IntGauge::new("expires", "Test.").unwrap();
        let tls = Tls::new(
            options.clone(),
            Certificate::load(&options).unwrap(),
            Duration::from_secs(1),
            health.check("tls"),
            expires.clone(),
        );
        Self {
            dir,
            health,
            expires,
            tls: Arc::new(tls.unwrap()),
            until,
        }
    }

    fn write(&self, name: &str, text: &str) {
        write(self.dir.path(), name, text);
    }

    /// What health says after a look at that time.
    fn look(&self, now: i64) -> (Status, String) {
        self.tls.look(now);
        let [check] = self.health.ready().checks.try_into().unwrap();
        (check.status, check.reason)
    }

    fn shown(&self) -> Arc<ServerConfig> {
        self.tls.current.load_full()
    }
}

/// Writes a file, later than all before: two in a row may come within one tick of the file system's clock.
fn write(dir: &Path, name: &str, text: &str) {
    use std::sync::atomic::{AtomicU64, Ordering};
    static TICKS: AtomicU64 = AtomicU64::new(1);
    let path = dir.join(name);
    fs::write(&path, text).unwrap();
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    let file = fs::File::options().append(true).open(&path).unwrap();
    let ticks = Duration::from_secs(TICKS.fetch_add(1, Ordering::Relaxed));
    file.set_modified(SystemTime::UNIX_EPOCH + ticks).unwrap();
}

#[test]
fn a_renewal_is_taken_up_and_half_of_one_is_not() {
    let bench = Bench::new();
    let first = bench.shown();
    let soon = bench.until - 20 * DAY;
    assert_eq!(bench.look(soon), (Status::Ok, String::new()));
    assert!(Arc::ptr_eq(&first, &bench.shown()), "nothing has changed");
    assert_eq!(bench.expires.get(), bench.until);

    let (certificate, key, until) = issue(2027);
    bench.write("chain", &certificate);
    let (status, words) = bench.look(soon);
    assert_eq!(status, Status::Degraded);
    assert!(
        words.starts_with("showing the certificate of before: the key of [tls]"),
        "{words}"
    );
    assert!(
        words.contains("does not belong to the first certificate"),
        "{words}"
    );
    assert!(Arc::ptr_eq(&first, &bench.shown()));

    bench.write("key", &key);
    let in_time = until - 20 * DAY;
    assert_eq!(bench.look(in_time), (Status::Ok, String::new()));
    assert!(!Arc::ptr_eq(&first, &bench.shown()));
    assert_eq!(bench.expires.get(), until);
}

#[test]
fn a_file_that_is_gone_and_comes_back_is_told_and_forgotten() {
    let bench = Bench::new();
    let now = bench.until - 20 * DAY;
    let (away, home) = (bench.dir.path().join("away"), bench.dir.path().join("key"));
    fs::rename(&home, &away).unwrap();
    let (status, words) = bench.look(now);
    assert_eq!(status, Status::Degraded);
    assert!(words.contains("can't be read"), "{words}");
    fs::rename(&away, &home).unwrap();
    assert_eq!(bench.look(now), (Status::Ok, String::new()));
}

/// Files that could not be used are read again, whatever their stamps say.
#[cfg(unix)]
#[test]
fn a_mended_mode_is_noticed() {
    use std::os::unix::fs::PermissionsExt;
    let bench = Bench::new();
    let (certificate, key, until) = issue(2027);
    bench.write("chain", &certificate);
    bench.write("key", &key);
    let path = bench.dir.path().join("key");
    let chmod = |mode| fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    chmod(0o644);
    let now = until - 20 * DAY;
    assert!(bench.look(now).1.contains("readable by others (mode 644)"));
    chmod(0o600);
    assert_eq!(bench.look(now), (Status::Ok, String::new()));
}

#[test]
fn time_alone_makes_it_degraded() {
    let bench = Bench::new();
    assert_eq!(bench.look(bench.until - 20 * DAY).0, Status::Ok);
    let (status, words) = bench.look(bench.until - 5 * DAY);
    assert_eq!(status, Status::Degraded);
    assert!(words.contains("is it being renewed?"), "{words}");
    let (status, words) = bench.look(bench.until + 1);
    assert_eq!(
        status,
        Status::Degraded,
        "who looks does not check it (RFC 9539)"
    );
    assert!(words.contains("has expired on 2026-07-01"), "{words}");
}

/// Valid for all of the lives of these tests.
fn lasting() -> (String, String, i64) {
    issue_for(date_time_ymd(2020, 1, 1), date_time_ymd(2400, 1, 1))
}

/// A listener of its own, and clients that trust the certificate of a bench.
struct Street {
    listener: TcpListener,
    config: ClientConfig,
}

impl Street {
    async fn to(bench: &Bench) -> Self {
        let mut roots = RootCertStore::empty();
        let certificate = CertificateDer::from_pem_file(bench.dir.path().join("chain")).unwrap();
        roots.add(certificate).unwrap();
        Self {
            listener: TcpListener::bind("127.0.0.1:0").await.unwrap(),
            config: ClientConfig::builder_with_provider(Arc::new(default_provider()))
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(roots)
                .with_no_client_auth(),
        }
    }

    /// A client that remembers its own sessions.
    fn client(&self) -> TlsConnector {
        let mut config = self.config.clone();
        config.resumption = Resumption::in_memory_sessions(8);
        TlsConnector::from(Arc::new(config))
    }

    /// How hands are shaken with a client that comes from that address at that time.
    async fn shake(
        &self,
        tls: &Tls,
        client: &TlsConnector,
        from: [u8; 4],
        now: u64,
    ) -> Result<HandshakeKind, Handshake> {
        let server = self.listener.local_addr().unwrap();
        let (near, far) = tokio::join!(self.listener.accept(), TcpStream::connect(server));
        let host = ServerName::try_from(HOST).unwrap();
        let from = SocketAddr::new(IpAddr::from(from), 5353);
        let (accepted, connected) = tokio::join!(
            async {
                // What is refused is dropped at once, as the caller does, or the client would wait.
                let mut stream = tls.accept(near.unwrap().0, from, || now).await?;
                stream.shutdown().await.unwrap();
                Ok(stream.get_ref().1.handshake_kind().unwrap())
            },
            async {
                let mut stream = client.connect(host, far.unwrap()).await?;
                // Tickets come after the handshake.
                stream.read_to_end(&mut Vec::new()).await
            },
        );
        assert_eq!(accepted.is_ok(), connected.is_ok());
        accepted.map_err(|(result, _): (Handshake, io::Error)| result)
    }
}

#[tokio::test]
async fn a_network_that_shakes_hands_all_the_time_is_slowed() {
    let bench = Bench::with(lasting());
    let street = Street::to(&bench).await;
    let shake = async |from, now| street.shake(&bench.tls, &street.client(), from, now).await;
    for host in 0..=100 {
        assert_eq!(
            shake([192, 0, 2, host], 0).await,
            Ok(HandshakeKind::Full),
            "{host}"
        );
    }
    assert_eq!(shake([192, 0, 2, 200], 0).await, Err(Handshake::Limited));
    assert!(
        shake([192, 0, 3, 1], 0).await.is_ok(),
        "others are not touched"
    );
    assert!(
        shake([192, 0, 2, 200], 20_000).await.is_ok(),
        "50 in a second"
    );
}

#[tokio::test]
async fn all_networks_together_are_slowed_too() {
    let bench = Bench::with(lasting());
    let street = Street::to(&bench).await;
    let shake = async |from, now| street.shake(&bench.tls, &street.client(), from, now).await;
    for network in 0..=200 {
        assert!(shake([192, 0, network, 1], 0).await.is_ok(), "{network}");
    }
    assert_eq!(shake([192, 1, 0, 1], 0).await, Err(Handshake::Limited));
    assert!(
        shake([192, 1, 0, 1], 5_000).await.is_ok(),
        "200 in a second"
    );
    assert_eq!(shake([192, 1, 0, 1], 5_000).await, Err(Handshake::Limited));
}

/// As those that rustls itself keeps do not: at most 256, in what a new certificate replaces.
#[tokio::test]
async fn sessions_are_resumed_after_many_others_and_after_a_renewal() {
    let bench = Bench::with(lasting());
    let street = Street::to(&bench).await;
    let client = street.client();
    let mut now = 0;
    let mut shake = async |client: &TlsConnector| {
        now += 1_000_000;
        street.shake(&bench.tls, client, [192, 0, 2, 1], now).await
    };
    assert_eq!(shake(&client).await, Ok(HandshakeKind::Full));
    for _ in 0..300 {
        assert_eq!(shake(&street.client()).await, Ok(HandshakeKind::Full));
    }
    assert_eq!(shake(&client).await, Ok(HandshakeKind::Resumed));
    let (certificate, key, _) = lasting();
    bench.write("chain", &certificate);
    bench.write("key", &key);
    let before = bench.shown();
    assert_eq!(bench.look(unix_now()), (Status::Ok, String::new()));
    assert!(!Arc::ptr_eq(&before, &bench.shown()));
    assert_eq!(shake(&client).await, Ok(HandshakeKind::Resumed));
}

/// A named pipe stands for the disk: whoever opens it waits until somebody writes.
#[cfg(unix)]
#[tokio::test]
async fn a_disk_that_hangs_holds_up_nobody() {
    let bench = Bench::with(lasting());
    let street = Street::to(&bench).await;
    let pipe = bench.dir.path().join("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status();
    assert!(made.unwrap().success());
    let (certificate, key, until) = issue(2300);
    bench.write("other", &key);
    let options = TlsOptions {
        listen: Vec::new(),
        certificate: pipe.clone(),
        key: bench.dir.path().join("other"),
    };
    let before = bench.tls.valid_until();
    let tls = Arc::clone(&bench.tls);
    let turning = tokio::spawn(async move {
        let config = SeederConfig::new(ChainSpec::devnet());
        tls.take_up(&config, &options).await;
    });
    while bench.tls.reading.try_lock().is_ok() {
        tokio::task::yield_now().await;
    }
    assert_eq!(bench.tls.valid_until(), before);
    let client = street.client();
    let shaken = street.shake(&bench.tls, &client, [192, 0, 2, 1], 0);
    assert!(shaken.await.is_ok(), "with the certificate of before");
    // Ends when it has been read.
    let written = tokio::task::spawn_blocking(move || fs::write(pipe, certificate));
    written.await.unwrap().unwrap();
    turning.await.unwrap();
    assert_eq!(bench.tls.valid_until(), date(until));
}

/// What is read again at a reload may not be what was looked at before.
#[test]
fn what_fails_at_the_last_moment_is_tried_again() {
    let bench = Bench::new();
    let now = bench.until - 20 * DAY;
    let (certificate, key, until) = issue(2027);
    bench.write("other", &certificate);
    let options = TlsOptions {
        listen: Vec::new(),
        certificate: bench.dir.path().join("other"),
        key: bench.dir.path().join("other.key"),
    };
    let every = Duration::from_secs(7);
    bench.tls.turn_to(options, every, now);
    let (status, words) = bench.look(now);
    assert_eq!(status, Status::Degraded);
    assert!(words.contains("other.key, can't be read"), "{words}");
    assert_eq!(
        (bench.expires.get(), bench.tls.watch().every),
        (bench.until, every)
    );
    bench.write("other.key", &key);
    assert_eq!(bench.look(until - 20 * DAY), (Status::Ok, String::new()));
    assert_eq!(bench.expires.get(), until);
}
