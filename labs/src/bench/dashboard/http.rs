//! The least of HTTP that measuring needs: one request after the other over a connection that stays open.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

/// Longest time of an answer.
const PATIENCE: Duration = Duration::from_secs(30);

/// Most bytes of an answer that is kept: the peers of a large network as CSV are some 10 MB.
const MOST: usize = 64 << 20;

/// A connection to the dashboard.
#[derive(Debug)]
pub(super) struct Connection {
    stream: BufReader<TcpStream>,
    host: SocketAddr,
}

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) etag: Option<String>,
    pub(super) body: Vec<u8>,
}

impl Connection {
    pub(super) async fn open(host: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(host).await?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream: BufReader::new(stream),
            host,
        })
    }

    /// Asks for a path as browsers do, or only for what is newer than `known`.
    pub(super) async fn get(&mut self, path: &str, known: Option<&str>) -> anyhow::Result<Answer> {
        let answer = timeout(PATIENCE, self.exchange(path, known)).await;
        answer
            .with_context(|| format!("no answer to {path}"))?
            .with_context(|| path.to_owned())
    }

    async fn exchange(&mut self, path: &str, known: Option<&str>) -> anyhow::Result<Answer> {
        self.ask(path, known).await?;
        let head = self.head().await?;
        let body = match (head.status, head.length) {
            (204 | 304, _) => Vec::new(),
            (_, Some(length)) => {
                ensure!(length <= MOST, "an answer of {length} bytes");
                let mut body = vec![0; length];
                self.stream.read_exact(&mut body).await?;
                body
            }
            _ => self.chunks().await?,
        };
        Ok(Answer {
            status: head.status,
            etag: head.etag,
            body,
        })
    }

    /// Sends a request.
    async fn ask(&mut self, path: &str, known: Option<&str>) -> anyhow::Result<()> {
        let known = known.map_or_else(String::new, |tag| format!("If-None-Match: {tag}\r\n"));
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nAccept-Encoding: gzip\r\n{known}\r\n",
            self.host
        );
        self.stream.write_all(request.as_bytes()).await?;
        Ok(())
    }

    async fn head(&mut self) -> anyhow::Result<Head> {
        let mut head = Head::default();
        let status = self.line().await?;
        let word = status.split(' ').nth(1).and_then(|word| word.parse().ok());
        head.status = word.with_context(|| format!("{status:?} is no status line"))?;
        loop {
            let line = self.line().await?;
            let Some((name, value)) = line.split_once(':') else {
                return Ok(head);
            };
            let value = value.trim();
            match name {
                "content-length" => head.length = value.parse().ok(),
                "etag" => head.etag = Some(value.to_owned()),
                _ => {}
            }
        }
    }

    /// The parts of an answer of unknown length.
    async fn chunks(&mut self) -> anyhow::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = self.line().await?;
            let length = usize::from_str_radix(line.trim(), 16).context("no length of a part")?;
            let end = body.len() + length;
            ensure!(end <= MOST, "an answer of more than {MOST} bytes");
            let start = body.len();
            body.resize(end, 0);
            let part = body.get_mut(start..).unwrap_or_default();
            self.stream.read_exact(part).await?;
            self.line().await?;
            if length == 0 {
                return Ok(body);
            }
        }
    }

    async fn line(&mut self) -> anyhow::Result<String> {
        let mut line = String::new();
        if self.stream.read_line(&mut line).await? == 0 {
            bail!("the dashboard closed the connection");
        }
        line.truncate(line.trim_end().len());
        Ok(line)
    }

    /// Opens the live stream.
    pub(super) async fn follow(mut self) -> anyhow::Result<Events> {
        self.ask("/events", None).await?;
        let head = self.head().await?;
        ensure!(
            head.status == 200,
            "the live stream answered {}",
            head.status
        );
        Ok(Events(self))
    }
}

#[derive(Debug, Default)]
struct Head {
    status: u16,
    length: Option<usize>,
    etag: Option<String>,
}

/// A live stream.
#[derive(Debug)]
pub(super) struct Events(Connection);

impl Events {
    /// Waits until there is something new.
    pub(super) async fn next(&mut self) -> anyhow::Result<()> {
        loop {
            if self.0.line().await?.starts_with("data:") {
                return Ok(());
            }
        }
    }
}
