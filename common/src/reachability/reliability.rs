//! How a peer did over five time windows.
//!
//! Exponentially decaying averages in the way of sipa's `bitcoin-seeder` (`db.h`, `CAddrStat::Update`), kept
//! so that operators can compare: at each probe, with `age` = seconds since our last one and
//! `f = e^(-age/tau)`:
//!
//! ```text
//! reliability <- reliability * f + success * (1 - f)
//! count       <- count * f + 1
//! weight      <- weight * f + (1 - f)
//! ```
//!
//! The first probe counts as infinitely late (`f = 0`).

/// Time constants of the five windows in seconds: 2 h, 8 h, 1 day, 7 days, 30 days.
pub const TAUS: [f64; 5] = [7_200.0, 28_800.0, 86_400.0, 604_800.0, 2_592_000.0];

/// One decaying average.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Window {
    /// Share of success, recent probes weighing more; 0 to 1.
    pub reliability: f64,
    /// Decayed number of probes.
    pub count: f64,
    /// How much of the window is covered by probes; 0 to 1.
    pub weight: f64,
}

impl Window {
    fn update(&mut self, decay: f64, success: f64) {
        self.reliability = self.reliability * decay + success * (1.0 - decay);
        self.count = self.count * decay + 1.0;
        self.weight = self.weight * decay + (1.0 - decay);
    }
}

/// A peer's record over all windows.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Reliability {
    /// One window for each of [`TAUS`], shortest first.
    pub windows: [Window; 5],
    /// Probes that counted, ever.
    pub probes: u64,
    /// Those that passed.
    pub successes: u64,
}

impl Reliability {
    /// Adds one probe. `age` is the time since the last one in seconds, `None` for the first. A negative
    /// age (the clock was set back) counts as zero.
    pub fn update(&mut self, age: Option<f64>, success: bool) {
        let first = self.probes == 0;
        for (window, tau) in self.windows.iter_mut().zip(TAUS) {
            let decay = match age {
                Some(age) if !first && age.is_finite() => (-age.max(0.0) / tau).exp(),
                _ => 0.0,
            };
            window.update(decay, f64::from(u8::from(success)));
        }
        self.probes = self.probes.saturating_add(1);
        self.successes = self.successes.saturating_add(u64::from(success));
    }

    /// One figure for drawing among good peers, 0 to 1.
    ///
    /// The mean of the windows' reliabilities, each pulled towards one half by two imagined probes, so that
    /// one lucky visit does not rank with weeks of service.
    pub fn quality(&self) -> f64 {
        /// Weight of the prior in probes: small against the counts that [`super::GoodPolicy`] asks for.
        const PRIOR: f64 = 2.0;
        let sum: f64 = self
            .windows
            .iter()
            .map(|w| (w.reliability * w.count + 0.5 * PRIOR) / (w.count + PRIOR))
            .sum();
        (sum / TAUS.len() as f64).clamp(0.0, 1.0)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_first_probe_decides_alone() {
        let mut r = Reliability::default();
        r.update(None, true);
        for w in r.windows {
            assert_eq!((w.reliability, w.count, w.weight), (1.0, 1.0, 1.0));
        }
    }

    #[test]
    fn one_time_constant_decays_by_e() {
        let mut r = Reliability::default();
        r.update(None, true);
        r.update(Some(7_200.0), false);
        let f = (-1.0f64).exp();
        assert!((r.windows[0].reliability - f).abs() < 1e-12);
        assert!((r.windows[0].count - (f + 1.0)).abs() < 1e-12);
        assert!((r.windows[4].reliability - (-7_200.0f64 / 2_592_000.0).exp()).abs() < 1e-12);
        assert_eq!((r.probes, r.successes), (2, 1));
    }

    #[test]
    fn a_long_record_beats_one_lucky_visit() {
        let mut lucky = Reliability::default();
        lucky.update(None, true);
        let mut steady = lucky;
        for _ in 0..50 {
            steady.update(Some(1_500.0), true);
        }
        assert!(steady.quality() > lucky.quality());
        assert!(lucky.quality() > 0.5);
    }

    /// sipa's statistics written as sums over the whole history instead of step by step: each probe counts with the decay of all
    /// that came after it.
    fn in_closed_form(history: &[(f64, bool)], tau: f64) -> [f64; 3] {
        let decay = |age: f64| (-age / tau).exp();
        // The first probe has no probe before it: its own part is nothing, so it counts whole.
        let own = |(nth, age): (usize, f64)| if nth == 0 { 1.0 } else { 1.0 - decay(age) };
        let mut sums = [0.0; 3];
        for (nth, (age, success)) in history.iter().enumerate() {
            let after = history.iter().skip(nth + 1);
            let left: f64 = decay(after.map(|(age, _)| age).sum());
            let part = own((nth, *age)) * left;
            let [reliability, count, weight] = &mut sums;
            *reliability += if *success { part } else { 0.0 };
            *count += left;
            *weight += part;
        }
        sums
    }

    proptest! {
        #[test]
        fn the_figures_are_those_of_an_independent_sum(
            history in prop::collection::vec((0.0f64..200_000.0, any::<bool>()), 1..200),
        ) {
            let mut stepwise = Reliability::default();
            for (nth, (age, success)) in history.iter().enumerate() {
                stepwise.update((nth > 0).then_some(*age), *success);
            }
            for (window, tau) in stepwise.windows.iter().zip(TAUS) {
                let [reliability, count, weight] = in_closed_form(&history, tau);
                prop_assert!((window.reliability - reliability).abs() < 1e-6);
                prop_assert!((window.count - count).abs() < 1e-6);
                prop_assert!((window.weight - weight).abs() < 1e-6);
            }
        }

        #[test]
        fn figures_stay_in_range(probes in prop::collection::vec((-1e9f64..1e9, any::<bool>()), 0..200)) {
            let mut r = Reliability::default();
            for (age, success) in probes.iter().copied() {
                r.update(Some(age), success);
            }
            for w in r.windows {
                prop_assert!((0.0..=1.0 + 1e-9).contains(&w.reliability));
                prop_assert!((0.0..=1.0 + 1e-9).contains(&w.weight));
                prop_assert!(w.count >= 0.0 && w.count <= probes.len() as f64 + 1e-9);
            }
            prop_assert!((0.0..=1.0).contains(&r.quality()));
            prop_assert_eq!(r.probes, probes.len() as u64);
        }

        #[test]
        fn a_success_never_lowers_and_a_failure_never_raises(
            history in prop::collection::vec((0f64..1e6, any::<bool>()), 1..50), age in 0f64..1e6,
        ) {
            let mut r = Reliability::default();
            for (a, s) in history {
                r.update(Some(a), s);
            }
            let (mut up, mut down) = (r, r);
            up.update(Some(age), true);
            down.update(Some(age), false);
            for i in 0..5 {
                prop_assert!(up.windows[i].reliability >= r.windows[i].reliability - 1e-12);
                prop_assert!(down.windows[i].reliability <= r.windows[i].reliability + 1e-12);
            }
        }
    }
}
