//! The life of a key (RFC 7583): published, then signing, then no more signing, then gone.

use std::fmt;

/// Moments in a key's life, Unix seconds; what is not set has no effect.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Times {
    /// When it was made.
    pub created: Option<i64>,
    /// From when on it is among the zone's DNSKEY records.
    pub publish: Option<i64>,
    /// From when on it signs.
    pub activate: Option<i64>,
    /// From when on it signs no more.
    pub inactive: Option<i64>,
    /// From when on it is no more among the DNSKEY records.
    pub delete: Option<i64>,
    /// From when on the parent is asked by CDS and CDNSKEY to trust it.
    pub sync_publish: Option<i64>,
    /// From when on the parent is no more asked.
    pub sync_delete: Option<i64>,
}

/// What a key does at a moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Phase {
    /// Not yet published.
    Future,
    /// Published, so that caches learn it before it signs.
    Published,
    /// Signs.
    Active,
    /// Published still, so that signatures in caches stay valid.
    Retired,
    /// Gone.
    Removed,
}

impl fmt::Display for Phase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Future => "future",
            Self::Published => "published",
            Self::Active => "active",
            Self::Retired => "retired",
            Self::Removed => "removed",
        })
    }
}

impl Times {
    /// Published and active from `now` on.
    #[must_use]
    pub const fn from_now(now: i64) -> Self {
        Self {
            created: Some(now),
            publish: Some(now),
            activate: Some(now),
            inactive: None,
            delete: None,
            sync_publish: None,
            sync_delete: None,
        }
    }

    /// What the key does at `now`.
    #[must_use]
    pub fn phase(&self, now: i64) -> Phase {
        let since = |moment: Option<i64>| moment.is_some_and(|moment| moment <= now);
        if since(self.delete) {
            Phase::Removed
        } else if since(self.inactive) {
            Phase::Retired
        } else if since(self.activate) {
            Phase::Active
        } else if since(self.publish) {
            Phase::Published
        } else {
            Phase::Future
        }
    }

    /// Whether the parent is asked to trust the key at `now`.
    #[must_use]
    pub fn is_for_parent(&self, now: i64) -> bool {
        let since = |moment: Option<i64>| moment.is_some_and(|moment| moment <= now);
        since(self.sync_publish) && !since(self.sync_delete)
    }

    /// The next moment after `now` at which something changes.
    #[must_use]
    pub fn next_change(&self, now: i64) -> Option<i64> {
        [
            self.publish,
            self.activate,
            self.inactive,
            self.delete,
            self.sync_publish,
            self.sync_delete,
        ]
        .into_iter()
        .flatten()
        .filter(|moment| *moment > now)
        .min()
    }
}

/// Days from 1970-01-01 to a date of the Gregorian calendar (Howard Hinnant's `days_from_civil`).
fn days(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let shifted = (month + 9) % 12;
    let day_of_year = (153 * shifted + 2) / 5 + day - 1;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

/// The date of a day since 1970-01-01 (`civil_from_days`).
fn date(days: i64) -> (i64, i64, i64) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day = shifted.rem_euclid(146_097);
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day_of_year = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day_of_year + 2) / 153;
    let (day, month) = (
        day_of_year - (153 * month + 2) / 5 + 1,
        if month < 10 { month + 3 } else { month - 9 },
    );
    let year = year + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// A moment as key files and RRSIG records are written: `YYYYMMDDHHmmSS`, UTC (RFC 4034, 3.2).
#[must_use]
pub fn written(moment: i64) -> String {
    let (year, month, day) = date(moment.div_euclid(86_400));
    let rest = moment.rem_euclid(86_400);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{year:04}{month:02}{day:02}{hour:02}{minute:02}{second:02}")
}

/// Reads what [`written`] writes.
#[must_use]
pub fn read(text: &str) -> Option<i64> {
    if text.len() != 14 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let part = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok();
    let (year, month, day) = (part(0, 4)?, part(4, 6)?, part(6, 8)?);
    let (hour, minute, second) = (part(8, 10)?, part(10, 12)?, part(12, 14)?);
    let days = days(year, month, day);
    let is_a_date = date(days) == (year, month, day) && hour < 24 && minute < 60 && second < 60;
    is_a_date.then_some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_goes_through_its_life() {
        let times = Times {
            publish: Some(10),
            activate: Some(20),
            inactive: Some(30),
            delete: Some(40),
            sync_publish: Some(15),
            sync_delete: Some(35),
            created: Some(5),
        };
        let phases = [
            (9, Phase::Future),
            (10, Phase::Published),
            (20, Phase::Active),
            (30, Phase::Retired),
            (40, Phase::Removed),
        ];
        for (now, phase) in phases {
            assert_eq!(times.phase(now), phase, "{now}");
        }
        assert_eq!(
            [14, 15, 34, 35].map(|now| times.is_for_parent(now)),
            [false, true, true, false]
        );
        assert_eq!(
            [0, 10, 35, 40].map(|now| times.next_change(now)),
            [Some(10), Some(15), Some(40), None]
        );
        assert_eq!(Times::default().phase(0), Phase::Future);
        assert_eq!(Times::from_now(7).phase(7), Phase::Active);
    }

    #[test]
    fn moments_are_written_as_dates() {
        // `date -u -d @N +%Y%m%d%H%M%S`
        for (moment, text) in [
            (0, "19700101000000"),
            (951_782_400, "20000229000000"),
            (1_796_040_000, "20261130120000"),
            (4_107_542_399, "21000228235959"),
        ] {
            assert_eq!(written(moment), text);
            assert_eq!(read(text), Some(moment));
        }
        for wrong in [
            "",
            "2026",
            "20260231000000",
            "20261301000000",
            "20260101240000",
            "2026010100000x",
            "+2026010100000",
        ] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn moments_come_back(moment in 0..253_402_300_799_i64) {
            prop_assert_eq!(read(&written(moment)), Some(moment));
        }
    }
}
