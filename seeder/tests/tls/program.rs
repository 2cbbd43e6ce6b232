//! The program itself: settings, signals and log.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Instant,
};

use hickory_proto::rr::RecordType;
use quantumcoin_seeder::tls::TlsOptions;
use tempfile::TempDir;

use crate::{
    bench::{APEX, issue, options, put},
    clients::{Tunnel, has_openssl, query, shown},
    support::PATIENCE,
};

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
        self.signal("HUP");
    }

    fn signal(&self, name: &str) {
        let command = format!("kill -{name} {}", self.process.id());
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

/// A named pipe stands for a file on a disk that hangs: whoever reads it waits until somebody writes.
#[cfg(unix)]
#[test]
fn a_disk_that_hangs_does_not_hold_up_the_end() {
    let dir = TempDir::new().unwrap();
    let options = options(dir.path());
    issue(&options, "first", 2400);
    let config = dir.path().join("seeder.toml");
    let (certificate, key) = (options.certificate.display(), options.key.display());
    let text = format!(
        "store = \"{}\"\n[tls]\nlisten = [\"127.0.0.1:0\"]\ncertificate = \"{certificate}\"\nkey = \"{key}\"\n",
        dir.path().join("none").display()
    );
    fs::write(&config, text).unwrap();
    let mut program = Program::start(&config);
    program.says("answering DNS over TLS");
    let pipe = dir.path().join("pipe");
    assert!(
        Command::new("mkfifo")
            .arg(&pipe)
            .status()
            .unwrap()
            .success()
    );
    fs::rename(&pipe, &options.certificate).unwrap();
    // Opening it for writing waits for the reader, who then waits for what is never written.
    let writer = fs::OpenOptions::new()
        .write(true)
        .open(&options.certificate);
    let began = Instant::now();
    program.signal("TERM");
    // The log is at its end when the program is.
    while program.log.recv_timeout(PATIENCE).is_ok() {}
    assert!(began.elapsed() < PATIENCE / 2, "{:?}", began.elapsed());
    assert_eq!(program.process.wait().unwrap().code(), Some(0));
    drop(writer);
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
