//! The report as a page that reads well without JavaScript.

use askama::Template;
use axum::{
    http::StatusCode,
    response::{Html, IntoResponse, Response},
};

use super::{AuditReport, KeyReport, Report, ZoneReport};
use crate::words::{date, span};

#[derive(Template)]
#[template(path = "status.html")]
struct Page<'a> {
    network: &'a str,
    report: &'a Report,
    updated: String,
    age: String,
    asked: u64,
    rows: Vec<ZoneRow<'a>>,
    audit: Option<AuditRow<'a>>,
    tls: Option<String>,
}

/// One zone with its figures in words.
struct ZoneRow<'a> {
    zone: &'a ZoneReport,
    name_servers: String,
    queries: String,
    keys: Vec<KeyRow<'a>>,
}

struct KeyRow<'a> {
    key: &'a KeyReport,
    next: String,
}

struct AuditRow<'a> {
    audit: &'a AuditReport,
    when: String,
    right: usize,
}

/// The page, or an error in words.
pub(super) fn render(report: &Report) -> Response {
    let never = || "never".to_owned();
    let page = Page {
        network: &report.network,
        updated: date(report.at),
        age: report
            .age_seconds
            .map_or_else(never, |age| format!("{} ago", span(age))),
        asked: report.queries.values().sum(),
        rows: report.zones.iter().map(|zone| row(zone)).collect(),
        audit: report.audit.as_ref().map(|audit| AuditRow {
            audit,
            when: format!("{} ago", span(report.at.saturating_sub(audit.at).max(0))),
            right: audit.ways.saturating_sub(audit.failed_ways),
        }),
        tls: report.tls_expires_at.map(date),
        report,
    };
    match page.render() {
        Ok(html) => Html(html).into_response(),
        Err(error) => {
            tracing::error!(%error, "the status page could not be rendered");
            let text = "the page could not be rendered; /api/v1/status has the figures";
            (StatusCode::INTERNAL_SERVER_ERROR, text).into_response()
        }
    }
}

fn row(zone: &ZoneReport) -> ZoneRow<'_> {
    let asked = zone.queries.iter().filter(|(_, count)| **count > 0);
    let asked: Vec<String> = asked
        .map(|(kind, count)| format!("{kind} {count}"))
        .collect();
    let keys = zone.keys.iter().map(|key| KeyRow {
        key,
        next: key
            .next_change_at
            .map_or_else(String::new, |at| format!("until {}", date(at))),
    });
    ZoneRow {
        name_servers: zone.name_servers.join(", "),
        queries: if asked.is_empty() {
            "none yet".to_owned()
        } else {
            asked.join(", ")
        },
        keys: keys.collect(),
        zone,
    }
}
