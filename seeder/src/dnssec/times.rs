//! The life of a key (RFC 7583): published, then signing, then no more signing, then gone.

use std::fmt;

use time::{Date, Month, OffsetDateTime, PrimitiveDateTime, Time};

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

/// A moment as key files and RRSIG records are written: `YYYYMMDDHHmmSS`, UTC (RFC 4034, 3.2). One that no calendar has is written as
/// the first.
#[must_use]
pub fn written(moment: i64) -> String {
    let at = OffsetDateTime::from_unix_timestamp(moment).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    format!(
        "{:04}{:02}{:02}{:02}{:02}{:02}",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute(),
        at.second()
    )
}

/// Reads what [`written`] writes.
#[must_use]
pub fn read(text: &str) -> Option<i64> {
    if text.len() != 14 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let two = |from: usize| text.get(from..from + 2)?.parse::<u8>().ok();
    let year = text.get(..4)?.parse().ok()?;
    let month = Month::try_from(two(4)?).ok()?;
    let date = Date::from_calendar_date(year, month, two(6)?).ok()?;
    let time = Time::from_hms(two(8)?, two(10)?, two(12)?).ok()?;
    Some(
        PrimitiveDateTime::new(date, time)
            .assume_utc()
            .unix_timestamp(),
    )
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
