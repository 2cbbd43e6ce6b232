//! All of these attacks, for a look at whether each is seen and withstood. Several run at a time, each at a victim of its
//! own, so what their figures say of time and processor is worth less than when they run alone.

use std::sync::{Mutex, PoisonError, mpsc};
use std::thread;

use anyhow::ensure;
use clap::ValueEnum;

use super::{Scenario, run};
use crate::attack::cores::Cores;
use crate::bench::report::Report;

/// Attacks at a time: most are waiting most of the time, and two of them take more than a minute of it.
const AT_ONCE: usize = 4;

/// Runs every attack and gives `show` each one's name and report as soon as it is there.
///
/// # Errors
/// Where one fails, after the others have run; or where `show` does.
pub(in crate::attack) fn run_all(
    quick: bool,
    mut show: impl FnMut(&str, &Report) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let (victims, others) = Cores::halves();
    others.keep_to()?;
    let waiting = Mutex::new(longest_last(quick));
    let next = || {
        let mut waiting = waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.pop()
    };
    let (told, reports) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..AT_ONCE {
            let (told, victims, next) = (told.clone(), &victims, &next);
            scope.spawn(move || {
                while let Some(scenario) = next() {
                    let report = run(scenario, quick, victims);
                    if told.send((scenario, report)).is_err() {
                        // Whoever listened has failed and says why.
                        return;
                    }
                }
            });
        }
        drop(told);
        let mut failed = Vec::new();
        for (scenario, report) in reports {
            match report {
                Ok(report) => show(&scenario.name(), &report)?,
                Err(error) => {
                    eprintln!("{error:#}");
                    failed.push(scenario.name());
                }
            }
        }
        ensure!(failed.is_empty(), "failed: {}", failed.join(", "));
        Ok(())
    })
}

/// All attacks, so that the longest is taken from the end first.
fn longest_last(quick: bool) -> Vec<Scenario> {
    let mut all = Scenario::value_variants().to_vec();
    all.sort_by_key(|scenario| {
        let plan = scenario.plan(quick);
        plan.lasts.as_secs() * plan.rounds as u64
    });
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_begins() {
        let all = longest_last(true);
        assert_eq!(all.len(), Scenario::value_variants().len());
        assert_eq!(all.last(), Some(&Scenario::SlowWriters));
    }
}
