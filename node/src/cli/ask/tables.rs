//! What the API answers, for people. Whatever a peer said is shown without control characters, so that it can't command a terminal.

use std::time::{SystemTime, UNIX_EPOCH};

use comfy_table::{CellAlignment, Table, presets};
use serde_json::Value;

/// Characters of a peer's own words in a table.
const MAX_WORDS: usize = 40;

/// A value as text: strings without quotes and control characters, nothing as a dash.
fn word(value: &Value) -> String {
    match value {
        Value::String(text) => text.chars().filter(|c| !c.is_control()).collect(),
        Value::Null => "-".to_owned(),
        other => other.to_string(),
    }
}

fn short(value: &Value) -> String {
    word(value).chars().take(MAX_WORDS).collect()
}

fn items<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key].as_array().into_iter().flatten()
}

fn table(heads: &[&str], right: &[usize]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(heads);
    for column in right {
        if let Some(column) = table.column_mut(*column) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    table
}

fn lines(table: &Table) -> String {
    table
        .lines()
        .map(|line| format!("{}\n", line.trim_end()))
        .collect()
}

fn unix_now() -> u64 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH);
    now.map_or(0, |now| now.as_secs())
}

/// So many seconds, roughly.
fn span(seconds: u64) -> String {
    match seconds {
        s if s < 120 => format!("{s} s"),
        s if s < 7_200 => format!("{} min", s / 60),
        s if s < 172_800 => format!("{} h", s / 3_600),
        s => format!("{} days", s / 86_400),
    }
}

fn left(until: &Value) -> String {
    until.as_u64().map_or_else(
        || "for ever".to_owned(),
        |until| format!("{} more", span(until.saturating_sub(unix_now()))),
    )
}

pub(super) fn peers(answer: &Value) -> String {
    let heads = [
        "no.",
        "address",
        "kind",
        "transport",
        "netgroup",
        "block",
        "ping ms",
        "since",
        "user agent",
    ];
    let mut rows = table(&heads, &[0, 5, 6]);
    for peer in items(answer, "items") {
        let kind = match (&peer["kept"], peer["purpose"].as_str()) {
            (Value::Bool(true), _) => "kept".to_owned(),
            (_, Some("block_only")) => "block-only".to_owned(),
            _ => word(&peer["direction"]),
        };
        let ping = peer["ping_us"].as_f64();
        rows.add_row([
            word(&peer["id"]),
            word(&peer["addr"]),
            kind,
            word(&peer["transport"]),
            word(&peer["netgroup"]),
            word(&peer["height"]),
            ping.map_or_else(|| "-".to_owned(), |us| format!("{:.1}", us / 1e3)),
            span(peer["connected_seconds"].as_u64().unwrap_or(0)),
            short(&peer["user_agent"]),
        ]);
    }
    match answer["total"].as_u64() {
        Some(0) => "nobody is connected\n".to_owned(),
        _ => lines(&rows),
    }
}

pub(super) fn bans(bans: &[Value]) -> String {
    let mut rows = table(&["network", "by", "how long", "reason"], &[]);
    for ban in bans {
        rows.add_row([
            word(&ban["network"]),
            word(&ban["by"]),
            left(&ban["until"]),
            word(&ban["reason"]),
        ]);
    }
    if bans.is_empty() {
        return "nobody is kept out\n".to_owned();
    }
    lines(&rows)
}

pub(super) fn events(answer: &Value) -> String {
    let mut rows = table(&["no.", "when", "what", "who", "done", "detail"], &[0]);
    for event in items(answer, "events") {
        let ago = unix_now().saturating_sub(event["at"].as_u64().unwrap_or(0));
        let more = match event["suppressed"].as_u64() {
            None | Some(0) => String::new(),
            Some(n) => format!(" (and {n} more before)"),
        };
        rows.add_row([
            word(&event["id"]),
            format!("{} ago", span(ago)),
            word(&event["detector"]),
            word(&event["addr"]),
            word(&event["response"]),
            word(&event["detail"]) + &more,
        ]);
    }
    let missed = match answer["missed"].as_u64() {
        None | Some(0) => String::new(),
        Some(n) => format!("{n} before these are kept no more\n"),
    };
    if items(answer, "events").next().is_none() {
        return format!("{missed}nothing was found\n");
    }
    missed + &lines(&rows)
}

pub(super) fn health(answer: &Value) -> String {
    let mut text = String::new();
    for check in items(answer, "checks") {
        let reason = match &check["reason"] {
            Value::Null => String::new(),
            reason => format!(": {}", word(reason)),
        };
        text += &format!(
            "{:<10} {}{reason}\n",
            word(&check["name"]),
            word(&check["status"])
        );
    }
    let mut all_is_well = true;
    for one in items(answer, "advice") {
        all_is_well &= one["severity"] == "note";
        let (severity, fact) = (word(&one["severity"]), word(&one["fact"]));
        text += &format!("{severity:<10} {fact}\n  help: {}\n", word(&one["remedy"]));
    }
    if all_is_well && answer["status"] == "ok" {
        text += "all is well\n";
    }
    text
}

/// An object as names and values; what is within it, indented.
pub(super) fn facts(answer: &Value) -> String {
    let mut text = String::new();
    indented(answer, 0, &mut text);
    text
}

fn indented(value: &Value, depth: usize, text: &mut String) {
    let Value::Object(fields) = value else {
        return;
    };
    let margin = "  ".repeat(depth);
    for (name, value) in fields {
        let name = name.replace('_', " ");
        match value {
            Value::Object(_) => {
                *text += &format!("{margin}{name}\n");
                indented(value, depth + 1, text);
            }
            Value::Array(list) if list.iter().any(Value::is_object) => {
                for one in list {
                    *text += &format!("{margin}{name}\n");
                    indented(one, depth + 1, text);
                }
            }
            Value::Array(list) => {
                let list: Vec<_> = list.iter().map(word).collect();
                *text += &format!("{margin}{name:<18} {}\n", list.join(", "));
            }
            value => *text += &format!("{margin}{name:<18} {}\n", word(value)),
        }
    }
}

pub(super) fn dropped(answer: &Value) -> String {
    let kept = if answer["was_kept"] == Value::Bool(true) {
        "; it is no longer dialled whenever it is gone"
    } else {
        ""
    };
    let (addr, connections) = (word(&answer["addr"]), &answer["connections"]);
    format!("{addr} is dropped: {connections} connections ended{kept}\n")
}

pub(super) fn banned(answer: &Value) -> String {
    let (network, connections) = (word(&answer["network"]), &answer["connections"]);
    let left = left(&answer["until"]);
    format!("{network} is kept out, {left}; {connections} connections ended\n")
}

pub(super) fn submitted(answer: &Value) -> String {
    let (txid, fee) = (word(&answer["txid"]), &answer["fee"]);
    format!("{txid} was taken, with a fee of {fee} base units, and is announced to peers\n")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_peers_words_do_not_command_the_terminal() {
        let evil = "/\u{1b}[31m\u{7}evil\n/".to_owned() + &"x".repeat(500);
        let answer = json!({ "total": 1, "items": [{
            "id": 7, "addr": "192.0.2.7:8333", "direction": "inbound", "purpose": null, "kept": false, "transport": "noise",
            "netgroup": "192.0.0.0/16", "height": 9, "ping_us": 1_500, "connected_seconds": 300, "user_agent": evil,
        }]});
        let text = peers(&answer);
        assert!(
            !text.contains('\u{1b}') && !text.contains('\u{7}'),
            "{text:?}"
        );
        assert_eq!(text.lines().count(), 2, "{text}");
        for part in ["192.0.2.7:8333", "inbound", "1.5", "5 min", "/[31mevil/"] {
            assert!(text.contains(part), "{part}: {text}");
        }
        let one = facts(&answer["items"][0]);
        assert!(!one.contains('\u{1b}'), "{one:?}");
    }

    #[test]
    fn nothing_is_said_as_such() {
        let none = json!({ "total": 0, "items": [], "events": [], "missed": 0 });
        assert_eq!(peers(&none), "nobody is connected\n");
        assert_eq!(bans(&[]), "nobody is kept out\n");
        assert_eq!(events(&none), "nothing was found\n");
        let well =
            json!({ "status": "ok", "checks": [{ "name": "sync", "status": "ok" }], "advice": [] });
        assert_eq!(health(&well), "sync       ok\nall is well\n");
    }

    #[test]
    fn faults_come_with_their_remedies() {
        let answer = json!({ "status": "failing",
            "checks": [{ "name": "sync", "status": "failing", "reason": "no peers" }],
            "advice": [{ "severity": "bad", "code": "no_peers", "fact": "There are no peers.", "remedy": "Look." }] });
        let text = "sync       failing: no peers\nbad        There are no peers.\n  help: Look.\n";
        assert_eq!(health(&answer), text);
        let left = json!({ "events": [], "missed": 3 });
        assert!(events(&left).starts_with("3 before these"));
    }
}
