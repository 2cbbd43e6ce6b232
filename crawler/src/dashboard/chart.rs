//! Hourly bars as SVG coordinates: per hour good peers, other reachable ones, and other known addresses.
//!
//! Pure; the template only prints numbers.

use quantumcoin::store::queries::Hour;

use super::view::{clock, count, date_hour};

/// Drawing area of the plot in SVG units; the picture scales to the page.
pub(super) const WIDTH: f64 = 720.0;
/// Height of the plot.
pub(super) const HEIGHT: f64 = 160.0;

/// Hours that are drawn.
const SLOTS: i64 = 48;

/// The chart.
pub(super) struct Chart {
    pub(super) columns: Vec<Column>,
    /// Horizontal lines with their labels.
    pub(super) lines: Vec<Line>,
    /// Texts under the plot.
    pub(super) ticks: Vec<Tick>,
}

/// One hour.
pub(super) struct Column {
    pub(super) x: String,
    pub(super) width: String,
    /// The stacked parts, from the bottom.
    pub(super) parts: Vec<Part>,
    /// The same in words, as tooltip and table row.
    pub(super) when: String,
    pub(super) good: u64,
    pub(super) reachable: u64,
    pub(super) known: u64,
}

/// One part of a column.
pub(super) struct Part {
    pub(super) class: &'static str,
    pub(super) y: String,
    pub(super) height: String,
}

/// A horizontal line.
pub(super) struct Line {
    pub(super) y: String,
    pub(super) label: String,
}

/// A text under the plot.
pub(super) struct Tick {
    pub(super) x: String,
    pub(super) label: String,
}

/// Lays out the hours up to `now` (Unix seconds).
pub(super) fn chart(hours: &[Hour], now: i64) -> Chart {
    let first = now.div_euclid(3600) - SLOTS + 1;
    let shown: Vec<(i64, &Hour)> = hours
        .iter()
        .map(|h| (h.hour.div_euclid(3600) - first, h))
        .filter(|(slot, h)| (0..SLOTS).contains(slot) && h.known > 0)
        .collect();
    let top = nice(shown.iter().map(|(_, h)| h.known).max().unwrap_or(1));
    let slot_width = WIDTH / SLOTS as f64;
    let columns = shown
        .iter()
        .map(|(slot, hour)| column(*slot, hour, slot_width, top))
        .collect();
    let lines = [0, top / 2, top]
        .into_iter()
        .map(|n| Line {
            y: number(HEIGHT - scale(n, top)),
            label: count(n),
        })
        .collect();
    let ticks = (0..SLOTS)
        .filter(|slot| (first + slot).rem_euclid(12) == 0)
        .map(|slot| Tick {
            x: number((slot as f64 + 0.5) * slot_width),
            label: clock((first + slot) * 3600),
        })
        .collect();
    Chart {
        columns,
        lines,
        ticks,
    }
}

fn column(slot: i64, hour: &Hour, slot_width: f64, top: u64) -> Column {
    let good = hour.good.min(hour.known);
    let reachable = hour.reachable.clamp(good, hour.known.max(good));
    let mut base = 0.0;
    let parts = [
        ("good", good),
        ("reachable", reachable - good),
        ("known", hour.known.saturating_sub(reachable)),
    ]
    .into_iter()
    .map(|(class, n)| {
        let height = scale(n, top);
        base += height;
        Part {
            class,
            y: number(HEIGHT - base),
            height: number(height),
        }
    })
    .collect();
    Column {
        x: number(slot as f64 * slot_width + 1.0),
        width: number(slot_width - 2.0),
        parts,
        when: date_hour(hour.hour),
        good,
        reachable,
        known: hour.known,
    }
}

fn scale(n: u64, top: u64) -> f64 {
    n as f64 / top.max(1) as f64 * HEIGHT
}

fn number(x: f64) -> String {
    format!("{x:.1}")
}

/// The next of 2, 4, 10, 20, 40, 100, ...: halves of them are whole.
fn nice(n: u64) -> u64 {
    let mut unit = 1u64;
    loop {
        for step in [2, 4, 10] {
            let top = unit.saturating_mul(step);
            if top >= n {
                return top;
            }
        }
        unit = unit.saturating_mul(10);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_stack_to_the_known_total_and_stay_inside() {
        let hour = |h: i64, known, reachable, good| Hour {
            hour: h * 3600,
            known,
            reachable,
            good,
            outcomes: Vec::new(),
        };
        // The second hour is inconsistent on purpose: good peers seen before it, reachable counted later.
        let hours = [
            hour(1_000, 100, 60, 40),
            hour(1_001, 3, 1, 9),
            hour(10, 5, 5, 5),
        ];
        let chart = chart(&hours, 1_001 * 3600 + 7);
        assert_eq!(chart.columns.len(), 2, "what is too old is left out");
        for column in &chart.columns {
            let sum: f64 = column
                .parts
                .iter()
                .map(|p| p.height.parse::<f64>().unwrap())
                .sum();
            assert!(sum <= HEIGHT + 0.2, "{sum}");
            assert!(column.parts.iter().all(|p| !p.height.starts_with('-')));
        }
    }

    #[test]
    fn tops_are_round_and_enough() {
        for n in [0, 1, 3, 5, 11, 99, 101, 1_000_000] {
            assert!(nice(n) >= n && nice(n).is_multiple_of(2), "{n}");
        }
        assert_eq!((nice(11), nice(100), nice(101)), (20, 100, 200));
        assert!(nice(u64::MAX) == u64::MAX);
    }
}
