//! Every refusal of the API: a status, and JSON with a code for programs, words for people, and what helps.

use axum::Json;
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use quantumcoin::chain::mempool::MempoolError;
use quantumcoin::network::SubmitError;
use quantumcoin::network::control::ControlError;
use serde_json::json;

/// Why a request was not answered as it was meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Problem {
    status: StatusCode,
    /// One of a closed list, for programs.
    code: &'static str,
    /// What is wrong, in words.
    error: String,
    /// What to do about it.
    help: &'static str,
    /// Seconds after which to try again.
    retry_after: Option<u64>,
}

impl Problem {
    pub(super) fn new(
        status: StatusCode,
        code: &'static str,
        error: impl Into<String>,
        help: &'static str,
    ) -> Self {
        Self {
            status,
            code,
            error: error.into(),
            help,
            retry_after: None,
        }
    }

    pub(super) fn bad_request(error: impl Into<String>, help: &'static str) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", error, help)
    }

    pub(super) fn not_found(error: impl Into<String>, help: &'static str) -> Self {
        Self::new(StatusCode::NOT_FOUND, "not_found", error, help)
    }

    pub(super) fn no_such_path() -> Self {
        Self::not_found(
            "there is no such path",
            "GET /api/v1/openapi.json describes all that there is",
        )
    }

    pub(super) fn no_such_method() -> Self {
        Self::new(
            StatusCode::METHOD_NOT_ALLOWED,
            "method_not_allowed",
            "this path does not take that method",
            "the header `allow` names those that it takes",
        )
    }

    pub(super) fn busy(error: &'static str, retry_after: u64) -> Self {
        Self {
            retry_after: Some(retry_after),
            ..Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "busy",
                error,
                "try again in a moment",
            )
        }
    }

    pub(super) fn too_fast(retry_after: u64) -> Self {
        Self {
            retry_after: Some(retry_after),
            ..Self::new(
                StatusCode::TOO_MANY_REQUESTS,
                "too_many_requests",
                "too many requests in a short time",
                "wait for the seconds of the header `retry-after`; GET /api/v1/live tells changes as they come",
            )
        }
    }

    pub(super) fn stopping() -> Self {
        Self {
            retry_after: Some(1),
            ..Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "stopping",
                "the node is starting or stopping",
                "try again in a moment",
            )
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let body = json!({ "error": self.error, "code": self.code, "help": self.help });
        let mut response = (self.status, Json(body)).into_response();
        if let Some(seconds) = self.retry_after {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

impl From<JsonRejection> for Problem {
    fn from(rejection: JsonRejection) -> Self {
        match rejection.status() {
            StatusCode::UNSUPPORTED_MEDIA_TYPE => Self::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "not_json",
                "the body must be JSON",
                "send the header `content-type: application/json`",
            ),
            StatusCode::PAYLOAD_TOO_LARGE => Self::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too_large",
                "the body is larger than any that this path takes",
                "GET /api/v1/openapi.json describes what it takes",
            ),
            _ => Self::bad_request(
                rejection.body_text(),
                "GET /api/v1/openapi.json describes the fields",
            ),
        }
    }
}

impl From<QueryRejection> for Problem {
    fn from(rejection: QueryRejection) -> Self {
        Self::bad_request(
            rejection.body_text(),
            "GET /api/v1/openapi.json describes what may stand after `?`",
        )
    }
}

impl From<PathRejection> for Problem {
    fn from(rejection: PathRejection) -> Self {
        Self::bad_request(rejection.body_text(), "percent-encode UTF-8 in the path")
    }
}

impl From<ControlError> for Problem {
    fn from(error: ControlError) -> Self {
        let words = error.to_string();
        let conflict = |code, help| Self::new(StatusCode::CONFLICT, code, words.clone(), help);
        match error {
            ControlError::Stopped => Self::stopping(),
            ControlError::NotDialable(_) | ControlError::Ours(_) => {
                Self::bad_request(words, "name the address and port of another node")
            }
            ControlError::Banned { .. } => {
                conflict("banned", "DELETE /api/v1/bans?network=… lets it in again")
            }
            ControlError::AlreadyThere(_) => {
                conflict("already_there", "GET /api/v1/peers shows it once it stands")
            }
            ControlError::TooManyKept => conflict(
                "too_many",
                "DELETE /api/v1/peers/ADDR:PORT drops one; \"once\": true adds without keeping",
            ),
            ControlError::TooManyBans(_) => {
                conflict("too_many", "DELETE /api/v1/bans?network=… lifts one")
            }
            ControlError::NoSuchPeer(_) => {
                Self::not_found(words, "GET /api/v1/peers lists those that are connected")
            }
            ControlError::NotBanned(_) => Self::not_found(
                words,
                "GET /api/v1/bans lists all; name a network as it stands there",
            ),
            ControlError::NatOff => {
                conflict("nat_off", "start the node with `--nat on` (docs/nat.md)")
            }
            _ => conflict("refused", "the words say why"),
        }
    }
}

impl From<SubmitError> for Problem {
    fn from(error: SubmitError) -> Self {
        let words = error.to_string();
        match error {
            SubmitError::Stopped => Self::stopping(),
            SubmitError::Busy => Self::busy("too many transactions wait to be checked", 1),
            SubmitError::Refused(refusal) => {
                let (code, help) = refusal_code(&refusal);
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, code, words, help)
            }
        }
    }
}

/// What programs and people are told of a refused transaction.
fn refusal_code(refusal: &MempoolError) -> (&'static str, &'static str) {
    use MempoolError as E;
    match refusal {
        E::Invalid(_) => ("invalid", "no block can hold it: make it anew"),
        E::NotStandard(_) => (
            "not_standard",
            "it breaks a rule of relaying, which the words name: make it anew",
        ),
        E::AlreadyKnown | E::OtherWitness => ("already_known", "nothing: it waits for a block"),
        E::AlreadyConfirmed => ("already_confirmed", "nothing: it is in a block"),
        E::MissingInputs { .. } => (
            "missing_inputs",
            "submit first what it spends, or wait until the chain is synchronised",
        ),
        E::NoSuchOutput { .. } => ("no_such_output", "spend an output that exists"),
        E::BelowFloor { .. } => ("fee_too_low", "pay a higher fee, or wait"),
        E::TooManyAncestors { .. }
        | E::AncestorBytes { .. }
        | E::TooManyDescendants { .. }
        | E::DescendantBytes { .. } => (
            "family_too_large",
            "wait until a block holds some of what it depends on",
        ),
        E::ConflictsWithAncestor { .. } => (
            "conflict",
            "spend an output that none of its ancestors spends",
        ),
        E::ReplacementRate { .. }
        | E::ReplacementInput { .. }
        | E::ReplacementFee { .. }
        | E::TooManyReplaced { .. } => (
            "replacement_refused",
            "another transaction that waits spends the same: pay more than it, or wait for it",
        ),
        E::Full => ("pool_full", "pay a higher fee, or wait"),
        _ => ("refused", "the words say why"),
    }
}
