//! The look that the pages of all programs share: one style sheet, one frame of a page, one policy.
//!
//! | part | where |
//! |---|---|
//! | frame of a page: head, navigation, footer | `common/templates/look.html`; a program's templates extend it (its `askama.toml` names the folder) |
//! | style sheet: light and dark, phone width, print | `common/assets/style.css`, served by [`routes`] |
//! | what a page may do | [`CONTENT_SECURITY_POLICY`], set on every answer by [`with_policy`] |
//!
//! A page needs nothing from elsewhere and holds neither inline scripts nor inline styles, so that what a stranger
//! wrote into a user agent stays text even if escaping should ever fail.

use axum::Router;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// The style sheet of all pages.
pub const STYLE: &str = include_str!("../../assets/style.css");

/// Own files only; no inline script or style; in nobody's frame.
pub const CONTENT_SECURITY_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self' data:; \
     form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
);

/// The files that every page names: `/assets/style.css`.
pub fn routes<S>() -> Router<S>
where
    S: Clone + Send + Sync + 'static,
{
    let style = async || asset("text/css; charset=utf-8", STYLE);
    Router::new().route("/assets/style.css", get(style))
}

/// A file that is part of the program: `text` of that media type. Browsers may keep it for five minutes, so that
/// a new version of the program is seen soon.
pub fn asset(kind: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "max-age=300"),
    ];
    (StatusCode::OK, headers, text).into_response()
}

/// The answer with [`CONTENT_SECURITY_POLICY`], for `axum::middleware::map_response`.
pub async fn with_policy(mut response: Response) -> Response {
    response
        .headers_mut()
        .insert(header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY);
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the policy forbids would fail in silence: a style sheet must not ask for anything from elsewhere.
    #[test]
    fn the_style_sheet_stands_alone() {
        for word in ["@import", "url(", "http:", "https:", "expression("] {
            assert!(!STYLE.contains(word), "{word}");
        }
        let frame = include_str!("../../templates/look.html");
        assert!(
            !frame.contains("style=") && !frame.contains("<style") && !frame.contains("onload")
        );
    }
}
