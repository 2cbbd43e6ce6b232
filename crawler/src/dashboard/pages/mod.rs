//! The HTML pages.
//!
//! | part | page |
//! |---|---|
//! | [`overview`] | the network now, rendered once for everybody |
//! | [`peers`] | search, order and pages of peers |
//! | [`peer`] | all that is known of one |

pub(super) mod overview;
pub(super) mod peer;
pub(super) mod peers;

use askama::Template;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{Html, IntoResponse, Response};
use quantumcoin::store::StoreError;

use super::Site;

#[derive(Template)]
#[template(path = "error.html")]
struct ErrorPage<'a> {
    network: &'a str,
    title: &'a str,
    text: &'a str,
}

/// Everything else.
pub(super) async fn not_found(State(site): State<Site>) -> Response {
    failed(
        &site,
        StatusCode::NOT_FOUND,
        "Not found",
        "There is no such page.",
    )
}

pub(super) fn page(site: &Site, template: &impl Template) -> Response {
    match template.render() {
        Ok(html) => Html(html).into_response(),
        Err(error) => {
            tracing::error!(%error, "a page could not be rendered");
            failed(
                site,
                StatusCode::INTERNAL_SERVER_ERROR,
                "Failed",
                "The page could not be rendered.",
            )
        }
    }
}

pub(super) fn store_failed(site: &Site, error: &StoreError) -> Response {
    tracing::warn!(%error, "the dashboard could not read the store");
    let text = "The store could not be read; the crawler's log says why.";
    failed(site, StatusCode::SERVICE_UNAVAILABLE, "No data", text)
}

pub(super) fn failed(site: &Site, status: StatusCode, title: &str, text: &str) -> Response {
    let html = ErrorPage {
        network: &site.network,
        title,
        text,
    }
    .render();
    (status, Html(html.unwrap_or_else(|_| title.to_owned()))).into_response()
}
