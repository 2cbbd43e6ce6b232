//! Health: named checks that the parts of a program set, and the two questions that supervisors ask.
//!
//! *Live* asks whether the process should be restarted: only checks registered as [`Health::vital`] count.
//! *Ready* asks whether it does its job: every check counts, and one that is failing answers 503.
//! A check starts as failing ("starting"), so a part that never reports can't look healthy.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{SystemTime, UNIX_EPOCH},
};

use serde::Serialize;

/// State of one check, or of all together (the worst one).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// As it should be.
    Ok,
    /// Works, but an operator should look.
    Degraded,
    /// Does not do its job.
    Failing,
}

impl Status {
    /// As it is written in reports.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
            Self::Failing => "failing",
        }
    }
}

/// All checks of one program. Clones share the same state.
#[derive(Debug, Clone, Default)]
pub struct Health {
    checks: Arc<Mutex<BTreeMap<&'static str, Entry>>>,
}

#[derive(Debug, Clone)]
struct Entry {
    vital: bool,
    status: Status,
    reason: String,
    since: u64,
}

/// The right to set one check. Clones set the same check.
#[derive(Debug, Clone)]
pub struct Check {
    name: &'static str,
    health: Health,
}

/// What `/health/live` and `/health/ready` answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The worst status among `checks`; [`Status::Ok`] when there is none.
    pub status: Status,
    /// Each check, by name.
    pub checks: Vec<CheckReport>,
}

/// One check within a [`Report`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct CheckReport {
    /// Name given at registration.
    pub name: &'static str,
    /// Its state.
    pub status: Status,
    /// Why, in words; empty when all is well.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Unix seconds of the last change of status.
    pub since: u64,
}

impl Health {
    /// No checks yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Registers a check that readiness depends on. Registering a name again takes the check over.
    #[must_use]
    pub fn check(&self, name: &'static str) -> Check {
        self.register(name, false)
    }

    /// Registers a check whose failure means that only a restart can help: readiness and liveness depend on
    /// it.
    #[must_use]
    pub fn vital(&self, name: &'static str) -> Check {
        self.register(name, true)
    }

    /// Whether the process should go on living: the vital checks. A vital check that is still starting
    /// does not count against it.
    #[must_use]
    pub fn live(&self) -> Report {
        self.report(|entry| entry.vital && entry.reason != STARTING)
    }

    /// Whether the program does its job: all checks.
    #[must_use]
    pub fn ready(&self) -> Report {
        self.report(|_| true)
    }

    fn register(&self, name: &'static str, vital: bool) -> Check {
        let entry = Entry {
            vital,
            status: Status::Failing,
            reason: STARTING.to_owned(),
            since: unix_seconds(),
        };
        self.lock().insert(name, entry);
        Check {
            name,
            health: self.clone(),
        }
    }

    fn report(&self, counts: impl Fn(&Entry) -> bool) -> Report {
        let checks: Vec<CheckReport> = self
            .lock()
            .iter()
            .filter(|(_, entry)| counts(entry))
            .map(|(name, entry)| CheckReport {
                name,
                status: entry.status,
                reason: entry.reason.clone(),
                since: entry.since,
            })
            .collect();
        let status = checks
            .iter()
            .map(|check| check.status)
            .max()
            .unwrap_or(Status::Ok);
        Report { status, checks }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, Entry>> {
        // A panic while holding this lock leaves the map whole: each change is one assignment or insert.
        self.checks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Check {
    /// All is well.
    pub fn ok(&self) {
        self.set(Status::Ok, String::new());
    }

    /// Works, but an operator should look: `reason` says at what.
    pub fn degraded(&self, reason: impl Into<String>) {
        self.set(Status::Degraded, reason.into());
    }

    /// Does not work: `reason` says why and what to do.
    pub fn failing(&self, reason: impl Into<String>) {
        self.set(Status::Failing, reason.into());
    }

    fn set(&self, status: Status, reason: String) {
        let mut checks = self.health.lock();
        if let Some(entry) = checks.get_mut(self.name) {
            if entry.status != status {
                entry.since = unix_seconds();
            }
            entry.status = status;
            entry.reason = reason;
        }
    }
}

impl Report {
    /// The HTTP status that goes with it: 200, or 503 when failing.
    #[must_use]
    pub const fn http_status(&self) -> u16 {
        match self.status {
            Status::Ok | Status::Degraded => 200,
            Status::Failing => 503,
        }
    }
}

/// Reason of a check that nobody has set yet.
const STARTING: &str = "starting";

fn unix_seconds() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |elapsed| elapsed.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_that_never_reports_is_not_ready_but_lives() {
        let health = Health::new();
        let _store = health.check("store");
        let _loop = health.vital("loop");
        assert_eq!(health.ready().status, Status::Failing);
        assert_eq!(health.live().status, Status::Ok);
    }

    #[test]
    fn the_worst_check_decides_and_says_why() {
        let health = Health::new();
        let store = health.check("store");
        let dns = health.vital("dns");
        store.ok();
        dns.ok();
        assert_eq!(health.ready().http_status(), 200);
        store.degraded("old");
        assert_eq!(
            (health.ready().status, health.ready().http_status()),
            (Status::Degraded, 200)
        );
        dns.failing("socket lost");
        let ready = health.ready();
        assert_eq!((ready.status, ready.http_status()), (Status::Failing, 503));
        assert!(
            ready
                .checks
                .iter()
                .any(|check| check.reason == "socket lost")
        );
        assert_eq!(
            health.live().status,
            Status::Failing,
            "a vital check ends liveness"
        );
        dns.ok();
        assert_eq!(health.live().status, Status::Ok);
    }

    #[test]
    fn json_names_each_check() {
        let health = Health::new();
        health.check("store").degraded("last read failed");
        let json = serde_json::to_value(health.ready()).unwrap();
        assert_eq!(json["status"], "degraded");
        assert_eq!(json["checks"][0]["name"], "store");
        assert_eq!(json["checks"][0]["reason"], "last read failed");
    }
}
