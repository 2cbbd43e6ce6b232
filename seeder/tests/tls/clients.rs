//! Clients that we did not write: `kdig` (Knot), `dig` (BIND) and `openssl s_client`.

use std::{
    io::{Read, Write},
    net::SocketAddr,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use hickory_proto::{
    op::{Message, MessageType, OpCode, Query},
    rr::{Name, RecordType},
};

use crate::{bench::APEX, support::has};

pub(crate) fn has_kdig() -> bool {
    has("kdig", "knot-dnsutils")
}

pub(crate) fn has_openssl() -> bool {
    has("openssl", "openssl")
}

/// Runs a client to its end, away from the threads that the seeder runs on.
pub(crate) async fn run(program: &str, arguments: &[String]) -> (bool, String) {
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
pub(crate) async fn ask(program: &str, server: SocketAddr, arguments: &str) -> String {
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

pub(crate) async fn kdig(server: SocketAddr, arguments: &str) -> String {
    ask("kdig", server, &format!("{arguments} +time=10 +retry=0")).await
}

/// `openssl s_client`, run to the end of its handshake.
pub(crate) async fn s_client(server: SocketAddr, arguments: &str) -> (bool, String) {
    let mut all = vec![
        "s_client".to_owned(),
        "-connect".to_owned(),
        server.to_string(),
    ];
    all.extend(arguments.split_whitespace().map(str::to_owned));
    run("openssl", &all).await
}

/// Whose certificate is shown.
pub(crate) async fn shown(server: SocketAddr) -> String {
    let (_, text) = s_client(server, "").await;
    let subject = text
        .lines()
        .find(|line| line.starts_with("subject="))
        .map(str::to_owned);
    subject.unwrap_or_else(|| panic!("{text}"))
}

pub(crate) fn count(text: &str, kind: &str) -> usize {
    let of_kind =
        |line: &&str| line.split_whitespace().nth(3) == Some(kind) && !line.starts_with(';');
    text.lines().filter(of_kind).count()
}

pub(crate) fn query(name: &str, kind: RecordType, id: u16) -> Vec<u8> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    let bytes = message.to_vec().unwrap();
    let mut framed = u16::try_from(bytes.len()).unwrap().to_be_bytes().to_vec();
    framed.extend(bytes);
    framed
}

/// A connection that `openssl s_client` holds, as a stream of bytes. Its end is the process's.
pub(crate) struct Tunnel {
    pub(crate) process: Child,
    pub(crate) to: ChildStdin,
    pub(crate) from: ChildStdout,
}

impl Tunnel {
    pub(crate) fn open(server: SocketAddr) -> Self {
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

    pub(crate) fn receive(&mut self) -> Message {
        let mut length = [0; 2];
        self.from.read_exact(&mut length).unwrap();
        let mut bytes = vec![0; u16::from_be_bytes(length).into()];
        self.from.read_exact(&mut bytes).unwrap();
        Message::from_vec(&bytes).unwrap()
    }

    pub(crate) fn ask(&mut self) {
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
