//! Tells the service manager how a program is (sd_notify(3)): ready once its sockets are taken, alive as long as its vital
//! checks are well, in a line what its health says, and stopping.
//!
//! Under systemd that is `Type=notify` with `WatchdogSec=`: a program that hangs, or whose vital part has ended, is started
//! again, and `systemctl status` shows the reason of a trouble. Without a service manager nothing happens.

use std::time::Duration;

use sd_notify::NotifyState;
use tokio_util::sync::CancellationToken;

use super::health::{Health, Report, Status};

/// How often health is looked at for the status line.
const LOOK: Duration = Duration::from_secs(5);

/// Most characters of a status line; `systemctl status` shows one line.
const MAX_STATUS: usize = 200;

/// Says that the program is ready, and how it is until `stop`; then that it stops. For a program whose sockets are bound.
pub async fn report(health: Health, stop: CancellationToken) {
    let watchdog = sd_notify::watchdog_enabled();
    let pause = pause(watchdog);
    let mut told = String::new();
    tell(&[NotifyState::Ready]);
    while !stop.is_cancelled() {
        if watchdog.is_some() && health.live().status != Status::Failing {
            tell(&[NotifyState::Watchdog]);
        }
        let words = words(&health.ready());
        if words != told {
            tell(&[NotifyState::Status(&words)]);
            told = words;
        }
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = stop.cancelled() => {}
        }
    }
    tell(&[NotifyState::Stopping, NotifyState::Status("stopping")]);
}

/// Half of the time after which the watchdog bites, as sd_watchdog_enabled(3) advises, and at most [`LOOK`].
fn pause(watchdog: Option<Duration>) -> Duration {
    watchdog.map_or(LOOK, |limit| LOOK.min(limit / 2))
}

/// What is not well, or that all is.
fn words(report: &Report) -> String {
    let wrong = report
        .checks
        .iter()
        .filter(|check| check.status != Status::Ok);
    let wrong: Vec<String> = wrong
        .map(|check| format!("{} {}: {}", check.name, check.status.as_str(), check.reason))
        .collect();
    let text = if wrong.is_empty() {
        "all is well".to_owned()
    } else {
        wrong.join("; ")
    };
    // A line break would end the message's field.
    let line = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    line.take(MAX_STATUS).collect()
}

fn tell(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "the service manager can't be told");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_status_is_one_short_line() {
        let health = Health::new();
        assert_eq!(words(&health.ready()), "all is well");
        let store = health.check("store");
        store.degraded("the file\nREADY=1 is gone");
        let line = words(&health.ready());
        assert_eq!(line, "store degraded: the file READY=1 is gone");
        store.failing("x".repeat(1_000));
        assert_eq!(words(&health.ready()).chars().count(), MAX_STATUS);
    }

    #[test]
    fn the_watchdog_is_fed_twice_as_often_as_it_bites() {
        assert_eq!(pause(None), LOOK);
        assert_eq!(pause(Some(Duration::from_secs(4))), Duration::from_secs(2));
        assert_eq!(pause(Some(Duration::from_secs(600))), LOOK);
    }
}
