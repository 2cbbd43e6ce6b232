//! Times in words, for whoever reads logs, health and checks.

use time::OffsetDateTime;

/// Seconds, as in `3 minutes`.
pub(crate) fn span(seconds: i64) -> String {
    match seconds {
        ..120 => format!("{seconds} s"),
        120..7200 => format!("{} minutes", seconds / 60),
        7200..172_800 => format!("{} hours", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

/// A moment in Unix seconds, as in `2026-11-30 18:52 UTC`. One that no calendar has is shown as the first of 1970.
pub(crate) fn date(moment: i64) -> String {
    let at = OffsetDateTime::from_unix_timestamp(moment).unwrap_or(OffsetDateTime::UNIX_EPOCH);
    format!(
        "{:04}-{:02}-{:02} {:02}:{:02} UTC",
        at.year(),
        u8::from(at.month()),
        at.day(),
        at.hour(),
        at.minute()
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_in_words() {
        let words = [0, 119, 120, 7199, 7200, 172_800].map(span);
        let wanted = [
            "0 s",
            "119 s",
            "2 minutes",
            "119 minutes",
            "2 hours",
            "2 days",
        ];
        assert_eq!(words, wanted);
    }

    /// `date -u -d @N +'%F %R'`
    #[test]
    fn moments_are_dates() {
        assert_eq!(date(951_782_400), "2000-02-29 00:00 UTC");
        assert_eq!(date(1_796_040_061), "2026-11-30 12:01 UTC");
        assert_eq!(date(i64::MAX), "1970-01-01 00:00 UTC");
    }
}
