//! Asks the HTTP interface of another of our programs: JSON in, JSON out, one request over a fresh connection.
//!
//! For the command line (a node's API) and for pages that show another program (a seeder's status). It trusts the
//! other end with nothing: size and time of an answer are bounded, and its errors come back as words.

use std::net::SocketAddr;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderValue, Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::Value;
use thiserror::Error;
use tokio::net::TcpStream;

/// Most bytes of an answer. A node's status with 125 peers is about 50 kB, a list of 10,000 bans about 1 MB.
pub const MAX_ANSWER: usize = 4 * 1024 * 1024;

/// Longest time of a request, from the connection to the last byte. On loopback milliseconds are usual.
pub const TIMEOUT: Duration = Duration::from_secs(5);

/// Most characters of the other end's words that an error repeats.
const MAX_WORDS: usize = 300;

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum ClientError {
    /// Nobody listens there, or the way is closed.
    #[error("nothing answers at http://{addr}: {source}")]
    Connect {
        /// Where.
        addr: SocketAddr,
        /// What the system says.
        source: std::io::Error,
    },
    /// It took longer than [`TIMEOUT`].
    #[error("http://{addr}{path} did not answer within {} s", TIMEOUT.as_secs())]
    TimedOut {
        /// Where.
        addr: SocketAddr,
        /// What was asked.
        path: String,
    },
    /// What came is not HTTP, breaks off, or is longer than [`MAX_ANSWER`].
    #[error("http://{addr}{path} gave no whole answer: {reason}")]
    Broken {
        /// Where.
        addr: SocketAddr,
        /// What was asked.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// It refused.
    #[error("http://{addr}{path} answered {status}: {words}")]
    Refused {
        /// Where.
        addr: SocketAddr,
        /// What was asked.
        path: String,
        /// Its status.
        status: StatusCode,
        /// Its `error`, or the first of what it said.
        words: String,
    },
    /// The path or the token can't be sent: it holds what HTTP does not allow.
    #[error("the request for {path} can't be made: {reason}")]
    Request {
        /// What was to be asked.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
}

impl ClientError {
    /// Whether nobody listens there.
    #[must_use]
    pub const fn is_absent(&self) -> bool {
        matches!(self, Self::Connect { .. })
    }

    /// The status of a refusal.
    #[must_use]
    pub const fn status(&self) -> Option<StatusCode> {
        match self {
            Self::Refused { status, .. } => Some(*status),
            _ => None,
        }
    }
}

/// The JSON at `path` (with its query, percent-encoded).
///
/// # Errors
/// [`ClientError`].
pub async fn get(addr: SocketAddr, path: &str) -> Result<Value, ClientError> {
    send(addr, Method::GET, path, None, None).await
}

/// Sends a request with a body of JSON, if any, and a bearer token (RFC 6750), if any. An answer without a body
/// (204) is [`Value::Null`].
///
/// # Errors
/// [`ClientError`].
pub async fn send(
    addr: SocketAddr,
    method: Method,
    path: &str,
    token: Option<&str>,
    body: Option<&Value>,
) -> Result<Value, ClientError> {
    let request = request(addr, method, path, token, body)?;
    let answer = tokio::time::timeout(TIMEOUT, exchange(addr, path, request)).await;
    answer.unwrap_or_else(|_| {
        Err(ClientError::TimedOut {
            addr,
            path: path.to_owned(),
        })
    })
}

fn request(
    addr: SocketAddr,
    method: Method,
    path: &str,
    token: Option<&str>,
    body: Option<&Value>,
) -> Result<Request<Body>, ClientError> {
    let wrong = |reason: String| ClientError::Request {
        path: path.to_owned(),
        reason,
    };
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, addr.to_string())
        .header(header::ACCEPT, "application/json")
        .header(header::CONNECTION, "close");
    if let Some(token) = token {
        let value = HeaderValue::try_from(format!("Bearer {token}"));
        let mut value = value.map_err(|_| wrong("the token holds control characters".into()))?;
        value.set_sensitive(true);
        request = request.header(header::AUTHORIZATION, value);
    }
    let body = match body {
        Some(json) => {
            request = request.header(header::CONTENT_TYPE, "application/json");
            Body::from(json.to_string())
        }
        None => Body::empty(),
    };
    request.body(body).map_err(|error| wrong(error.to_string()))
}

async fn exchange(
    addr: SocketAddr,
    path: &str,
    request: Request<Body>,
) -> Result<Value, ClientError> {
    let broken = |reason: String| ClientError::Broken {
        addr,
        path: path.to_owned(),
        reason,
    };
    let stream = TcpStream::connect(addr).await;
    let stream = stream.map_err(|source| ClientError::Connect { addr, source })?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| broken(error.to_string()))?;
    let answer = async {
        let answer = sender.send_request(request).await?;
        let (head, body) = answer.into_parts();
        Ok((head.status, Limited::new(body, MAX_ANSWER).collect().await))
    };
    // The connection has to be driven while the answer is read; it ends with it.
    let (answer, _) = tokio::join!(answer, connection);
    let (status, body) = answer.map_err(|error: hyper::Error| broken(error.to_string()))?;
    let body = body.map_err(|error| broken(error.to_string()))?.to_bytes();
    if !status.is_success() {
        return Err(ClientError::Refused {
            addr,
            path: path.to_owned(),
            status,
            words: words(&body),
        });
    }
    if body.is_empty() {
        return Ok(Value::Null);
    }
    serde_json::from_slice(&body).map_err(|error| broken(format!("it is no JSON: {error}")))
}

/// What a refusal says: its `error`, with its `help` below it, or the start of its text; control characters are left out.
fn words(body: &[u8]) -> String {
    let json = serde_json::from_slice::<Value>(body).ok();
    let error = json.as_ref().and_then(|json| json.get("error")?.as_str());
    let text = error.map_or_else(|| String::from_utf8_lossy(body).into_owned(), str::to_owned);
    let text = harmless(&text);
    let help = json.as_ref().and_then(|json| json.get("help")?.as_str());
    match help {
        _ if text.is_empty() => "it does not say why".to_owned(),
        Some(help) => format!("{text}\n  help: {}", harmless(help)),
        None => text,
    }
}

fn harmless(text: &str) -> String {
    let shown = text.chars().filter(|c| !c.is_control());
    shown.take(MAX_WORDS).collect()
}

#[cfg(test)]
mod tests {
    use axum::Json;
    use axum::http::HeaderMap;
    use axum::routing::{get as on_get, post};
    use serde_json::json;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;
    use tokio_util::sync::CancellationToken;

    use super::*;
    use crate::service::http::HttpServer;

    async fn server() -> (SocketAddr, CancellationToken) {
        let echo = async |headers: HeaderMap, Json(body): Json<Value>| {
            let token = headers.get(header::AUTHORIZATION);
            let token = token.and_then(|value| value.to_str().ok().map(str::to_owned));
            Json(json!({ "token": token, "body": body }))
        };
        let router = axum::Router::new()
            .route("/json", on_get(async || Json(json!({ "a": [1, 2] }))))
            .route("/none", on_get(async || StatusCode::NO_CONTENT))
            .route("/text", on_get(async || "no JSON"))
            .route("/long", on_get(async || vec![b'1'; MAX_ANSWER + 1]))
            .route(
                "/no",
                on_get(async || {
                    (
                        StatusCode::CONFLICT,
                        Json(json!({ "error": "not\u{1b}[31m now", "help": "wait" })),
                    )
                }),
            )
            .route("/echo", post(echo));
        let server = HttpServer::bind("127.0.0.1:0".parse().unwrap(), router)
            .await
            .unwrap();
        let addr = server.local_addr();
        let stop = CancellationToken::new();
        tokio::spawn(server.run(stop.clone()));
        (addr, stop)
    }

    #[tokio::test]
    async fn answers_and_refusals_come_back() {
        let (addr, stop) = server().await;
        assert_eq!(get(addr, "/json").await.unwrap(), json!({ "a": [1, 2] }));
        assert_eq!(get(addr, "/none").await.unwrap(), Value::Null);
        let body = json!({ "x": "y" });
        let echo = send(addr, Method::POST, "/echo", Some("t0ken"), Some(&body)).await;
        assert_eq!(
            echo.unwrap(),
            json!({ "token": "Bearer t0ken", "body": body })
        );
        let refusal = get(addr, "/no").await.unwrap_err();
        assert_eq!(refusal.status(), Some(StatusCode::CONFLICT));
        assert!(
            refusal.to_string().ends_with("not[31m now\n  help: wait"),
            "{refusal}"
        );
        for (path, word) in [("/text", "no JSON"), ("/long", "limit"), ("/gone", "404")] {
            let error = get(addr, path).await.unwrap_err().to_string();
            assert!(error.contains(word) && error.contains(path), "{error}");
        }
        stop.cancel();
    }

    #[tokio::test]
    async fn what_can_not_be_sent_is_told() {
        let addr = "127.0.0.1:1".parse().unwrap();
        let error = send(addr, Method::GET, "/", Some("a\nb"), None).await;
        let error = error.unwrap_err().to_string();
        assert!(
            error.contains("token") && !error.contains("a\nb"),
            "{error}"
        );
        let error = get(addr, "/a b").await.unwrap_err().to_string();
        assert!(error.contains("/a b"), "{error}");
    }

    #[tokio::test]
    async fn nobody_and_nonsense_are_told_apart() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let nonsense = tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 1024];
            let _ = stream.read(&mut head).await.unwrap();
            stream.write_all(b"SSH-2.0-x\r\n").await.unwrap();
        });
        let error = get(addr, "/").await.unwrap_err();
        assert!(!error.is_absent(), "{error}");
        nonsense.await.unwrap();
        let error = get(addr, "/").await.unwrap_err();
        assert!(error.is_absent(), "{error}");
    }

    /// Somebody who takes the connection and says nothing, or goes on for ever, holds nobody up.
    #[tokio::test(start_paused = true)]
    async fn silence_ends() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addr = listener.local_addr().unwrap();
        let error = get(addr, "/slow").await.unwrap_err().to_string();
        assert!(error.contains("/slow") && error.contains("5 s"), "{error}");
        drop(listener);
    }
}
