//! What a seeder says of itself, read leniently: a field that is missing or of another kind is not shown, lists and texts
//! are cut. Pure.

use serde_json::Value;

/// Most entries of each list and table that are shown.
const MOST: usize = 32;

/// Most characters of each text.
const CHARS: usize = 200;

/// A name and a number.
pub type Count = (String, u64);

/// What a seeder says of itself. All of it may be missing.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct SeederStatus {
    /// Name of its network.
    pub network: Option<String>,
    /// Its zones.
    pub zones: Vec<Zone>,
    /// Queries by type, of all zones.
    pub queries: Vec<Count>,
    /// Answers by response code.
    pub responses: Vec<Count>,
    /// Good peers that it draws from.
    pub good_peers: Option<u64>,
    /// Seconds since the newest passed probe that its answers rest on.
    pub age_seconds: Option<u64>,
    /// Whether it serves the last known good set only.
    pub stale: Option<bool>,
    /// Where its peers come from.
    pub origin: Option<String>,
    /// Netgroups among its good peers, and how many of these the largest has.
    pub diversity: Option<(u64, Option<u64>)>,
    /// What it found when it asked itself.
    pub audit: Option<Audit>,
    /// What its operator should look at; `None` of one that does not judge itself.
    pub alerts: Option<Vec<Notice>>,
}

/// A zone that it serves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Zone {
    /// Its name.
    pub name: String,
    /// Whether it is signed.
    pub signed: Option<bool>,
    /// Queries by type.
    pub queries: Vec<Count>,
    /// Its signing keys.
    pub keys: Vec<Key>,
}

/// What a seeder found when it asked itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Audit {
    /// When, Unix seconds.
    pub at: Option<i64>,
    /// Addresses and transports at which it asked itself.
    pub ways: u64,
    /// Those whose answers were right.
    pub passed: u64,
    /// Peers that it serves and dialled.
    pub dialled: u64,
    /// Those that answered.
    pub answered: u64,
    /// What was wrong.
    pub failures: Vec<String>,
}

/// Something that its operator should look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notice {
    /// `critical`, `warning` or another word of its own.
    pub severity: String,
    /// What is wrong.
    pub what: String,
    /// How to mend it.
    pub remedy: String,
}

/// A signing key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Key {
    /// `KSK` or `ZSK`.
    pub role: String,
    /// What it does now.
    pub phase: String,
    /// When that changes, Unix seconds.
    pub next_change_at: Option<i64>,
}

/// What answers there is no seeder.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("what answers there is no seeder: its status is no JSON object with a network or zones")]
pub struct NoSeeder;

impl SeederStatus {
    /// Reads a status.
    ///
    /// # Errors
    /// It is something else.
    pub fn read(json: &Value) -> Result<Self, NoSeeder> {
        let zones: Vec<Zone> = list(json, "zones").filter_map(zone).collect();
        let network = text(json, "network");
        if network.is_none() && zones.is_empty() {
            return Err(NoSeeder);
        }
        let queries = match counts(json.get("queries")) {
            sums if sums.is_empty() => sum(&zones),
            sums => sums,
        };
        Ok(Self {
            network,
            queries,
            zones,
            responses: counts(json.get("responses")),
            good_peers: number(json, "good_peers"),
            age_seconds: number(json, "age_seconds"),
            stale: json.get("stale").and_then(Value::as_bool),
            origin: text(json, "origin"),
            diversity: json.get("diversity").and_then(|diversity| {
                Some((
                    number(diversity, "netgroups")?,
                    number(diversity, "largest"),
                ))
            }),
            audit: json.get("audit").and_then(audit),
            alerts: json
                .get("alerts")
                .filter(|alerts| alerts.is_array())
                .map(|_| list(json, "alerts").filter_map(notice).collect()),
        })
    }
}

fn zone(json: &Value) -> Option<Zone> {
    // A seeder of the first version tells names alone.
    let name = json.as_str().map(cut).or_else(|| text(json, "name"))?;
    Some(Zone {
        name,
        signed: json.get("signed").and_then(Value::as_bool),
        queries: counts(json.get("queries")),
        keys: list(json, "keys").filter_map(key).collect(),
    })
}

fn audit(json: &Value) -> Option<Audit> {
    let ways = number(json, "ways")?;
    let failed = number(json, "failed_ways").unwrap_or(0);
    Some(Audit {
        at: json.get("at").and_then(Value::as_i64),
        ways,
        passed: ways.saturating_sub(failed),
        dialled: number(json, "dialled").unwrap_or(0),
        answered: number(json, "answered").unwrap_or(0),
        failures: list(json, "failures").map(words).collect(),
    })
}

fn notice(json: &Value) -> Option<Notice> {
    Some(Notice {
        severity: text(json, "severity").unwrap_or_else(|| "warning".to_owned()),
        what: text(json, "what")?,
        remedy: text(json, "remedy").unwrap_or_default(),
    })
}

fn key(json: &Value) -> Option<Key> {
    Some(Key {
        role: text(json, "role")?,
        phase: text(json, "phase").unwrap_or_default(),
        next_change_at: json.get("next_change_at").and_then(Value::as_i64),
    })
}

/// Numbers by name, the greatest first; those that are 0 are left out.
fn counts(json: Option<&Value>) -> Vec<Count> {
    let table = json.and_then(Value::as_object);
    let entries = table.into_iter().flatten();
    let numbers = entries.filter_map(|(name, n)| Some((cut(name), n.as_u64()?)));
    greatest(numbers.filter(|(_, n)| *n > 0).collect())
}

/// The queries of all zones together.
fn sum(zones: &[Zone]) -> Vec<Count> {
    let mut sums: Vec<Count> = Vec::new();
    for (name, n) in zones.iter().flat_map(|zone| &zone.queries) {
        match sums.iter_mut().find(|(known, _)| known == name) {
            Some((_, sum)) => *sum = sum.saturating_add(*n),
            None => sums.push((name.clone(), *n)),
        }
    }
    greatest(sums)
}

fn greatest(mut counts: Vec<Count>) -> Vec<Count> {
    counts.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    counts.truncate(MOST);
    counts
}

fn list<'a>(json: &'a Value, name: &str) -> impl Iterator<Item = &'a Value> {
    let list = json.get(name).and_then(Value::as_array);
    list.into_iter().flatten().take(MOST)
}

fn number(json: &Value, name: &str) -> Option<u64> {
    json.get(name).and_then(Value::as_u64)
}

fn text(json: &Value, name: &str) -> Option<String> {
    json.get(name).and_then(Value::as_str).map(cut)
}

/// A text as it is, anything else as JSON.
fn words(json: &Value) -> String {
    json.as_str().map_or_else(|| cut(&json.to_string()), cut)
}

fn cut(text: &str) -> String {
    let visible = text.chars().filter(|c| !c.is_control());
    visible.take(CHARS).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn all_that_a_seeder_tells_is_read() {
        let status = SeederStatus::read(&json!({
            "network": "devnet",
            "zones": [{ "name": "seed1.example.", "signed": true, "queries": { "A": 3, "AAAA": 9, "MX": 0 },
                        "keys": [{ "tag": 1, "role": "KSK", "phase": "active", "next_change_at": 99 }] },
                      { "name": "seed2.example.", "queries": { "A": 4 } }],
            "responses": { "NOERROR": 12, "REFUSED": 1 },
            "good_peers": 8, "age_seconds": 3, "stale": false, "origin": "store",
            "diversity": { "netgroups": 5, "largest": 2, "ipv4": 8 },
            "audit": { "at": 77, "ways": 6, "failed_ways": 1, "dialled": 4, "answered": 3, "failures": ["127.0.0.1:1 refused"] },
            "alerts": [{ "severity": "critical", "what": "w", "remedy": "r" }],
        }))
        .unwrap();
        assert_eq!(
            status.zones[0].queries,
            [("AAAA".to_owned(), 9), ("A".to_owned(), 3)]
        );
        assert_eq!(
            status.queries,
            [("AAAA".to_owned(), 9), ("A".to_owned(), 7)]
        );
        assert_eq!(status.diversity, Some((5, Some(2))));
        let audit = status.audit.unwrap();
        assert_eq!((audit.ways, audit.passed, audit.answered), (6, 5, 3));
        assert_eq!(audit.failures, ["127.0.0.1:1 refused"]);
        assert_eq!(status.zones[0].keys[0].next_change_at, Some(99));
        assert_eq!(status.alerts.unwrap()[0].remedy, "r");
    }

    #[test]
    fn one_of_the_first_version_is_read_too() {
        let status = SeederStatus::read(&json!({
            "network": "devnet", "zones": ["seed1.example."], "queries": { "A": 2 }, "good_peers": 1,
        }))
        .unwrap();
        assert_eq!(status.zones[0].name, "seed1.example.");
        assert_eq!(status.queries, [("A".to_owned(), 2)]);
        assert!(status.audit.is_none() && status.stale.is_none() && status.alerts.is_none());
    }

    #[test]
    fn what_is_no_seeder_is_told_and_what_is_too_much_is_cut() {
        for junk in [
            json!(null),
            json!([1]),
            json!({ "good_peers": 1 }),
            json!("network"),
        ] {
            assert_eq!(SeederStatus::read(&junk), Err(NoSeeder));
        }
        let many: serde_json::Map<_, _> = (0..5_000).map(|n| (format!("T{n}"), json!(n))).collect();
        let zones: Vec<_> = (0..5_000)
            .map(|n| json!({ "name": "z".repeat(n), "queries": many }))
            .collect();
        let status = SeederStatus::read(
            &json!({ "network": "x".repeat(9_000), "zones": zones, "responses": many }),
        );
        let status = status.unwrap();
        assert_eq!(status.network.unwrap().len(), CHARS);
        assert_eq!((status.zones.len(), status.responses.len()), (MOST, MOST));
        assert!(status.zones.iter().all(|zone| zone.name.len() <= CHARS));
    }

    proptest! {
        /// Whatever kind a field has, nothing else is harmed.
        #[test]
        fn fields_of_any_kind_are_survived(field in 0_usize..10, kind in 0_usize..6) {
            let fields = ["zones", "queries", "responses", "good_peers", "age_seconds", "stale", "diversity", "audit", "alerts", "keys"];
            let kinds = [json!(null), json!(-1), json!("x"), json!([[]]), json!({ "a": {} }), json!(1e300)];
            let mut json = json!({ "network": "devnet" });
            json[fields[field]] = kinds[kind].clone();
            let status = SeederStatus::read(&json).unwrap();
            prop_assert_eq!(status.network.as_deref(), Some("devnet"));
        }
    }
}
