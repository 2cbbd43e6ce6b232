//! What holds for every request: it asks for this host, in measure, and in time; one that would change something comes from no
//! other site's page, and has the token.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::extract::{ConnectInfo, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use prometheus::IntCounterVec;

use super::origin::{self, Refusal};
use super::pace::Counter;
use super::problem::Problem;
use super::token::ApiToken;

/// How long a request may take, its body included: what answers does so in milliseconds, and a body of the largest size comes in
/// a second over a slow line.
const DEADLINE: Duration = Duration::from_secs(10);

/// What is known of the API's callers, and how they are judged.
#[derive(Debug)]
pub(super) struct Guard {
    token: ApiToken,
    names: Vec<String>,
    counter: Mutex<Counter>,
    requests: IntCounterVec,
}

impl Guard {
    pub(super) fn new(token: ApiToken, names: Vec<String>, requests: IntCounterVec) -> Self {
        Self {
            token,
            names,
            counter: Mutex::new(Counter::new(Instant::now())),
            requests,
        }
    }

    fn check(&self, request: &Request) -> Result<(), Problem> {
        let headers = request.headers();
        origin::check_host(headers, &self.names).map_err(turned_away)?;
        let client = request.extensions().get::<ConnectInfo<SocketAddr>>();
        // Every server of ours tells it.
        let client = client.map_or(Ipv4Addr::LOCALHOST.into(), |info| info.0.ip());
        self.count(client)?;
        if matches!(*request.method(), Method::GET | Method::HEAD) {
            return Ok(());
        }
        origin::check_same_site(headers).map_err(turned_away)?;
        if self.token.is(bearer(headers).unwrap_or_default()) {
            Ok(())
        } else {
            Err(Problem::new(
                StatusCode::UNAUTHORIZED,
                "token_needed",
                "this call changes something, and needs the node's token",
                "send `authorization: Bearer TOKEN` with what the file api.token in the node's data directory holds",
            ))
        }
    }

    fn note(&self, status: StatusCode) {
        let class = match status.as_u16() {
            ..300 => "2xx",
            300..400 => "3xx",
            400..500 => "4xx",
            _ => "5xx",
        };
        self.requests.with_label_values(&[class]).inc();
    }

    fn count(&self, client: IpAddr) -> Result<(), Problem> {
        // Whole after every step, so a poisoned lock still holds a good value.
        let mut counter = self.counter.lock().unwrap_or_else(PoisonError::into_inner);
        counter
            .take(client, Instant::now())
            .map_err(Problem::too_fast)
    }
}

/// Lets a request through, or says why not.
pub(super) async fn watch(
    State(guard): State<Arc<Guard>>,
    request: Request,
    next: Next,
) -> Response {
    let response = match guard.check(&request) {
        Ok(()) => in_time(request, next).await,
        Err(problem) => problem.into_response(),
    };
    guard.note(response.status());
    response
}

async fn in_time(request: Request, next: Next) -> Response {
    let answered = tokio::time::timeout(DEADLINE, next.run(request)).await;
    answered.unwrap_or_else(|_| {
        let slow = Problem::new(
            StatusCode::REQUEST_TIMEOUT,
            "too_slow",
            "the request did not come, or was not answered, in time",
            "send it whole, within 10 seconds",
        );
        ([(header::CONNECTION, "close")], slow).into_response()
    })
}

fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme
        .eq_ignore_ascii_case("bearer")
        .then_some(token.trim())
}

fn turned_away(refusal: Refusal) -> Problem {
    match refusal {
        Refusal::NoHost => {
            Problem::bad_request("the request names no host", "send the header `host`, once")
        }
        Refusal::OtherHost => Problem::new(
            StatusCode::MISDIRECTED_REQUEST,
            "other_host",
            "the API does not answer for the host that was asked for",
            "ask for it by address or as localhost; names are allowed by `--http-name NAME`",
        ),
        Refusal::CrossSite => Problem::new(
            StatusCode::FORBIDDEN,
            "cross_site",
            "pages of other sites change nothing here",
            "call the API from a program, or from its own page",
        ),
    }
}
