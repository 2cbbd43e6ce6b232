//! The HTTP server of each program, and the routes that all of them have.
//!
//! HTTP/1.1 by axum over hyper, with the guards that a port on the internet needs: a limit on bodies, a
//! deadline for the request's head (which also ends idle connections), a cap on connections, and security
//! headers on every answer. Stopping is graceful: running requests finish, streams are cut after
//! [`DRAIN`].

use std::{net::SocketAddr, sync::Arc, time::Duration};

use axum::{
    Extension, Json, Router,
    extract::{ConnectInfo, DefaultBodyLimit, State},
    http::{HeaderName, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use hyper_util::{
    rt::{TokioExecutor, TokioIo, TokioTimer},
    server::conn::auto::Builder,
    service::TowerToHyperService,
};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::Semaphore,
    task::JoinSet,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{
    bind::{self, BindError},
    health::{Health, Report},
    metrics::{self, Metrics},
};

/// Most bytes of a request's body. Our largest request is a form of a few fields; without a limit one
/// client could fill the memory.
pub const MAX_BODY_BYTES: usize = 64 * 1024;

/// Seconds for a client to send a request's head, counted from the connection's start or the last answer.
/// Guards against slow or idle clients that hold connections.
pub const HEAD_TIMEOUT: Duration = Duration::from_secs(10);

/// Most connections at once; more are closed at once. At about 40 KiB each they need 20 MiB and leave most
/// of the usual limit of 1,024 descriptors to the program's own work.
pub const MAX_CONNECTIONS: usize = 512;

/// Most bytes of a request's head plus read-ahead. Browsers send less than 8 KiB; the smallest that hyper
/// allows is 8 KiB.
const MAX_HEAD_BYTES: usize = 32 * 1024;

/// How long a stop waits for running answers. Shorter than the 10 s that container runtimes wait before
/// they kill.
pub const DRAIN: Duration = Duration::from_secs(3);

/// How long a client may take nothing of what is sent to it: it can't hold an answer's memory for longer. On Linux, whose kernel
/// watches that (`TCP_USER_TIMEOUT`); a client on a bad line that takes a little now and then is served on.
pub const STALL_TIMEOUT: Duration = Duration::from_secs(20);

/// Pause after a failed `accept` (no descriptors left), so that the loop does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// A bound HTTP server, not serving yet.
#[derive(Debug)]
pub struct HttpServer {
    listener: TcpListener,
    local_addr: SocketAddr,
    router: Router,
}

impl HttpServer {
    /// Binds `addr` (port 0 picks a free one) for `router`. Connections queue in the kernel until
    /// [`HttpServer::run`].
    ///
    /// # Errors
    /// [`BindError`] with the reason and the remedy in words.
    pub async fn bind(addr: SocketAddr, router: Router) -> Result<Self, BindError> {
        let listener = bind::tcp(addr, "the HTTP server")?;
        let local_addr = listener.local_addr().unwrap_or(addr);
        let router = router
            .layer(DefaultBodyLimit::max(MAX_BODY_BYTES))
            .layer(axum::middleware::map_response(security_headers));
        Ok(Self {
            listener,
            local_addr,
            router,
        })
    }

    /// The address in use, with the real port.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// Serves until `stop` is cancelled and the running requests have ended (at most [`DRAIN`]).
    pub async fn run(self, stop: CancellationToken) {
        let Self {
            listener, router, ..
        } = self;
        let permits = Arc::new(Semaphore::new(MAX_CONNECTIONS));
        let mut connections = JoinSet::new();
        loop {
            let accepted = tokio::select! {
                accepted = listener.accept() => accepted,
                Some(_) = connections.join_next() => continue,
                () = stop.cancelled() => break,
            };
            match accepted {
                Ok((stream, peer)) => match Arc::clone(&permits).try_acquire_owned() {
                    Ok(permit) => {
                        // For handlers that count by client.
                        let router = router.clone().layer(Extension(ConnectInfo(peer)));
                        let stop = stop.clone();
                        connections.spawn(async move {
                            serve(stream, router, stop).await;
                            drop(permit);
                        });
                    }
                    Err(_) => {
                        tracing::debug!("HTTP connection refused: {MAX_CONNECTIONS} are open");
                    }
                },
                Err(error) => {
                    tracing::debug!(%error, "HTTP accept failed");
                    tokio::time::sleep(ACCEPT_PAUSE).await;
                }
            }
        }
        drop(listener);
        let drained = timeout(DRAIN, async {
            while connections.join_next().await.is_some() {}
        });
        if drained.await.is_err() {
            // Streams (SSE) never end by themselves.
            connections.shutdown().await;
        }
    }
}

/// The routes that every program has: `/metrics`, `/health/live` and `/health/ready`.
pub fn shell(metrics: Metrics, health: Health) -> Router {
    Router::new()
        .route("/metrics", get(serve_metrics).with_state(metrics))
        .route("/health/live", get(serve_live).with_state(health.clone()))
        .route("/health/ready", get(serve_ready).with_state(health))
}

async fn serve(stream: TcpStream, router: Router, stop: CancellationToken) {
    end_when_stalled(&stream);
    let mut builder = Builder::new(TokioExecutor::new()).http1_only();
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .max_buf_size(MAX_HEAD_BYTES);
    let connection =
        builder.serve_connection(TokioIo::new(stream), TowerToHyperService::new(router));
    tokio::pin!(connection);
    tokio::select! {
        result = connection.as_mut() => return note(result),
        () = stop.cancelled() => connection.as_mut().graceful_shutdown(),
    }
    note(connection.await);
}

/// Has the kernel end the connection when the client takes nothing for [`STALL_TIMEOUT`].
fn end_when_stalled(stream: &TcpStream) {
    #[cfg(target_os = "linux")]
    if let Err(error) = socket2::SockRef::from(stream).set_tcp_user_timeout(Some(STALL_TIMEOUT)) {
        tracing::debug!(%error, "a stalled client can't be watched for");
    }
    #[cfg(not(target_os = "linux"))]
    let _ = stream;
}

/// Clients that vanish or send nonsense are their own matter.
fn note<E: std::fmt::Display>(result: Result<(), E>) {
    if let Err(error) = result {
        tracing::debug!(%error, "HTTP connection ended early");
    }
}

/// Adds to each answer what browsers need to be strict; an answer that sets a header itself keeps it.
async fn security_headers(mut response: Response) -> Response {
    const HEADERS: [(HeaderName, &str); 5] = [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::X_FRAME_OPTIONS, "DENY"),
        (header::REFERRER_POLICY, "no-referrer"),
        (
            header::CONTENT_SECURITY_POLICY,
            "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'self'",
        ),
        (header::CACHE_CONTROL, "no-store"),
    ];
    for (name, value) in HEADERS {
        response
            .headers_mut()
            .entry(name)
            .or_insert(HeaderValue::from_static(value));
    }
    response
}

async fn serve_metrics(State(metrics): State<Metrics>) -> Response {
    match metrics.encode() {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(error) => {
            tracing::error!(%error, "metrics can't be encoded");
            StatusCode::INTERNAL_SERVER_ERROR.into_response()
        }
    }
}

async fn serve_live(State(health): State<Health>) -> Response {
    answer(health.live())
}

async fn serve_ready(State(health): State<Health>) -> Response {
    answer(health.ready())
}

fn answer(report: Report) -> Response {
    let status =
        StatusCode::from_u16(report.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    (status, Json(report)).into_response()
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    async fn started(
        router: Router,
    ) -> (SocketAddr, CancellationToken, tokio::task::JoinHandle<()>) {
        let server = HttpServer::bind("127.0.0.1:0".parse().unwrap(), router)
            .await
            .unwrap();
        let (addr, stop) = (server.local_addr(), CancellationToken::new());
        (addr, stop.clone(), tokio::spawn(server.run(stop)))
    }

    async fn ask(addr: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut text = Vec::new();
        stream.read_to_end(&mut text).await.unwrap();
        String::from_utf8(text).unwrap()
    }

    async fn get_path(addr: SocketAddr, path: &str) -> String {
        ask(
            addr,
            &format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"),
        )
        .await
    }

    #[tokio::test]
    async fn the_shell_tells_metrics_and_health_with_security_headers() {
        let (metrics, health) = (Metrics::new("qtc_test"), Health::new());
        metrics.counter("things_total", "Things.").unwrap().inc();
        let check = health.check("store");
        let (addr, stop, task) = started(shell(metrics, health)).await;

        let text = get_path(addr, "/metrics").await;
        assert!(
            text.starts_with("HTTP/1.1 200") && text.contains("qtc_test_things_total 1"),
            "{text}"
        );
        assert!(text.contains("x-content-type-options: nosniff"), "{text}");
        assert!(
            text.contains("content-security-policy: default-src 'self'"),
            "{text}"
        );
        assert!(
            get_path(addr, "/health/ready")
                .await
                .starts_with("HTTP/1.1 503")
        );
        assert!(
            get_path(addr, "/health/live")
                .await
                .starts_with("HTTP/1.1 200")
        );
        check.ok();
        assert!(
            get_path(addr, "/health/ready")
                .await
                .starts_with("HTTP/1.1 200")
        );

        stop.cancel();
        task.await.unwrap();
        assert!(
            TcpStream::connect(addr).await.is_err(),
            "the port is free again"
        );
    }

    #[tokio::test]
    async fn a_large_body_is_refused() {
        let echo = Router::new().route("/", axum::routing::post(|body: String| async { body }));
        let (addr, _stop, _task) = started(echo).await;
        let body = "x".repeat(MAX_BODY_BYTES + 1);
        let head = "POST / HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-length:";
        let text = ask(addr, &format!("{head} {}\r\n\r\n{body}", body.len())).await;
        assert!(text.starts_with("HTTP/1.1 413"), "{text}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_sends_no_request_is_cut_off() {
        let (addr, _stop, _task) = started(Router::new()).await;
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream.write_all(b"GET / HT").await.unwrap();
        let begun = tokio::time::Instant::now();
        let mut rest = Vec::new();
        let ended = timeout(HEAD_TIMEOUT * 2, stream.read_to_end(&mut rest)).await;
        assert!(ended.is_ok(), "still open after {:?}", begun.elapsed());
    }

    #[tokio::test]
    async fn connections_over_the_cap_are_closed_and_the_rest_still_served() {
        let (addr, _stop, _task) = started(Router::new().route("/", get(|| async { "hi" }))).await;
        let mut idle = Vec::new();
        for _ in 0..MAX_CONNECTIONS {
            idle.push(TcpStream::connect(addr).await.unwrap());
        }
        let mut extra = TcpStream::connect(addr).await.unwrap();
        assert_eq!(
            extra.read(&mut [0]).await.unwrap_or(0),
            0,
            "closed without an answer"
        );
        let mut first = idle.swap_remove(0);
        first
            .write_all(b"GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
        let mut text = String::new();
        first.read_to_string(&mut text).await.unwrap();
        assert!(text.ends_with("hi"), "{text}");
    }

    /// An answer that fits no buffer, to somebody who does not read it.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn a_client_that_takes_nothing_is_cut_off() {
        let (gone, mut is_gone) = tokio::sync::mpsc::channel::<()>(1);
        let held = Arc::new(std::sync::Mutex::new(Some(gone)));
        let large = Router::new().route(
            "/",
            get(async move || {
                let gone = held.lock().unwrap().take().unwrap();
                let parts = futures_util::stream::unfold(gone, |gone| async move {
                    let part = axum::body::Bytes::from(vec![0; 64 * 1024]);
                    Some((Ok::<_, std::io::Error>(part), gone))
                });
                axum::body::Body::from_stream(parts)
            }),
        );
        let (addr, _stop, _task) = started(large).await;
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        // What the answer holds is given back when the connection is over.
        let ended = timeout(STALL_TIMEOUT * 3, is_gone.recv()).await;
        assert!(ended.is_ok(), "its answer is still held");
    }

    #[tokio::test(start_paused = true)]
    async fn an_endless_answer_does_not_hold_up_the_stop() {
        let endless = Router::new().route(
            "/",
            get(|| async {
                let forever = futures_util::stream::pending::<Result<String, std::io::Error>>();
                axum::body::Body::from_stream(forever)
            }),
        );
        let (addr, stop, task) = started(endless).await;
        let mut stream = TcpStream::connect(addr).await.unwrap();
        stream
            .write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        stream.read_exact(&mut [0; 12]).await.unwrap();
        stop.cancel();
        timeout(DRAIN * 2, task).await.expect("stops").unwrap();
    }
}
