//! Time series as SVG coordinates: stacked bands, lines, and bars up and down. Pure; templates only print what is made here.
//!
//! A [`Frame`] is a span of time cut into slots of equal length. Values are laid into slots; where a slot has none, nothing is
//! drawn. Each band is one path, so that a year of days in five bands is five elements and not two thousand.

use std::fmt::Write as _;

use super::view::{clock, count, date_hour, day, month, short_day};

/// Drawing area of the plot in SVG units; the picture scales to the page.
pub(super) const WIDTH: f64 = 720.0;
/// Height of the plot.
pub(super) const HEIGHT: f64 = 160.0;

/// Most slots of a frame: each is two units wide then.
const MOST_SLOTS: i64 = 370;

/// Up to so many slots each has a tooltip.
const FEW_SLOTS: i64 = 200;

/// Seconds.
const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;

/// A span of time in slots.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Frame {
    /// Start of the first slot, Unix seconds.
    pub(super) from: i64,
    /// Length of a slot, seconds: an hour, a day, or some days.
    pub(super) step: i64,
    slots: i64,
}

impl Frame {
    /// The slots that hold the time from `from` to `to` (Unix seconds), by hours or by days; so many hours or days in each that
    /// there are not too many.
    pub(super) fn new(from: i64, to: i64, by_hours: bool) -> Self {
        let unit = if by_hours { HOUR } else { DAY };
        let first = from.div_euclid(unit);
        let last = to.saturating_sub(1).div_euclid(unit).max(first);
        let units = last.saturating_sub(first).saturating_add(1);
        let each = units.div_euclid(MOST_SLOTS) + i64::from(units % MOST_SLOTS > 0);
        Self {
            from: first * unit,
            step: unit * each,
            slots: units.div_euclid(each) + i64::from(units % each > 0),
        }
    }

    /// End of the last slot, Unix seconds.
    pub(super) const fn to(self) -> i64 {
        self.from + self.slots * self.step
    }

    /// The slot that holds a time.
    pub(super) fn slot(self, at: i64) -> Option<usize> {
        let slot = (at - self.from).div_euclid(self.step);
        let slot = usize::try_from(slot).ok()?;
        (slot < self.len()).then_some(slot)
    }

    /// How many slots there are.
    pub(super) fn len(self) -> usize {
        usize::try_from(self.slots).unwrap_or(0)
    }

    /// A slot's name for people.
    pub(super) fn name(self, slot: usize) -> String {
        let at = self.from + self.step * i64::try_from(slot).unwrap_or(0);
        if self.step < DAY {
            date_hour(at)
        } else {
            day(at)
        }
    }

    fn width(self) -> f64 {
        WIDTH / self.slots.max(1) as f64
    }

    fn x(self, slot: usize) -> f64 {
        slot as f64 * self.width()
    }

    /// Texts under the plot, some eight.
    fn ticks(self) -> Vec<Tick> {
        let span = self.to() - self.from;
        let eighth = (span + 8 * DAY - 1).div_euclid(8 * DAY);
        let (every, name): (i64, fn(i64) -> String) = match span {
            s if s <= 3 * DAY => (12 * HOUR, clock),
            s if s <= 10 * DAY => (DAY, short_day),
            s if s <= 100 * DAY => (eighth * DAY, short_day),
            _ => (eighth * DAY, month),
        };
        let first = self.from.div_euclid(every) + i64::from(self.from.rem_euclid(every) > 0);
        let times = (first..)
            .map(|n| n * every)
            .take_while(|at| *at < self.to());
        let scale = WIDTH / span.max(1) as f64;
        let ticks = times.map(|at| Tick {
            x: number((at - self.from) as f64 * scale),
            label: name(at),
        });
        ticks.collect()
    }
}

/// A picture.
pub(super) struct Chart {
    /// Filled, from the bottom.
    pub(super) bands: Vec<Band>,
    /// Stroked.
    pub(super) curves: Vec<Band>,
    /// Horizontal lines with their labels.
    pub(super) lines: Vec<Line>,
    /// Texts under the plot.
    pub(super) ticks: Vec<Tick>,
    /// Tooltips, where slots are wide enough to be hit.
    pub(super) tips: Vec<Tip>,
    /// The same as a table.
    pub(super) table: Table,
    /// The span, for zooming.
    pub(super) frame: Frame,
}

/// What belongs together, as one path.
pub(super) struct Band {
    pub(super) class: &'static str,
    pub(super) name: &'static str,
    pub(super) path: String,
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

/// A slot's figures in words.
pub(super) struct Tip {
    pub(super) x: String,
    pub(super) width: String,
    pub(super) text: String,
}

/// Figures by slot.
pub(super) struct Table {
    pub(super) heads: Vec<&'static str>,
    /// When, and a figure for each head; the newest first.
    pub(super) rows: Vec<(String, Vec<String>)>,
}

/// A band's or curve's class in the style sheet, and its name for people.
pub(super) type Kind = (&'static str, &'static str);

/// Values of one slot, one for each kind; `None` where nothing is known.
pub(super) type Slot = Option<Vec<u64>>;

/// Bands on top of each other. With `is_share` each slot's bands are parts of a whole and fill the plot.
pub(super) fn stacked(frame: Frame, kinds: &[Kind], slots: &[Slot], is_share: bool) -> Chart {
    let sum = |values: &[u64]| values.iter().fold(0, |sum: u64, n| sum.saturating_add(*n));
    let known = || slots.iter().flatten();
    let top = nice(known().map(|values| sum(values)).max().unwrap_or(1));
    let mut paths = vec![String::new(); kinds.len()];
    for (slot, values) in slots.iter().enumerate() {
        let Some(values) = values else { continue };
        let whole = if is_share { sum(values).max(1) } else { top };
        let mut base = HEIGHT;
        for (path, value) in paths.iter_mut().zip(values) {
            let height = *value as f64 / whole as f64 * HEIGHT;
            base -= height;
            if *value > 0 {
                bar(path, frame, slot, base, height);
            }
        }
    }
    let labels = if is_share {
        ["0 %", "50 %", "100 %"].map(str::to_owned)
    } else {
        [0, top / 2, top].map(count)
    };
    let bands = kinds.iter().zip(paths);
    let bands = bands.map(|((class, name), path)| Band { class, name, path });
    chart(
        frame,
        bands.collect(),
        Vec::new(),
        levels(labels),
        kinds,
        slots,
    )
}

/// Curves over the same scale.
pub(super) fn curves(frame: Frame, kinds: &[Kind], slots: &[Slot]) -> Chart {
    let top = nice(slots.iter().flatten().flatten().copied().max().unwrap_or(1));
    let mut curves = Vec::new();
    for (index, (class, name)) in kinds.iter().enumerate() {
        let mut path = String::new();
        let mut is_open = false;
        for (slot, values) in slots.iter().enumerate() {
            let Some(value) = values.as_ref().and_then(|values| values.get(index)) else {
                is_open = false;
                continue;
            };
            let x = frame.x(slot) + frame.width() / 2.0;
            let y = HEIGHT - *value as f64 / top as f64 * HEIGHT;
            let step = if is_open { 'L' } else { 'M' };
            // A point alone is a line of no length, which round ends make visible.
            let _ = write!(path, "{step}{} {}", number(x), number(y));
            if !is_open {
                path.push_str("h0");
            }
            is_open = true;
        }
        curves.push(Band { class, name, path });
    }
    let lines = levels([0, top / 2, top].map(count));
    chart(frame, Vec::new(), curves, lines, kinds, slots)
}

/// The first kind upwards, the second downwards.
pub(super) fn up_and_down(frame: Frame, kinds: &[Kind; 2], slots: &[Slot]) -> Chart {
    let top = nice(slots.iter().flatten().flatten().copied().max().unwrap_or(1));
    let mut paths = [String::new(), String::new()];
    for (slot, values) in slots.iter().enumerate() {
        let [up, down] = &mut paths;
        let Some([above, below]) = values.as_deref() else {
            continue;
        };
        let scale = |n: &u64| *n as f64 / top as f64 * HEIGHT / 2.0;
        if *above > 0 {
            bar(up, frame, slot, HEIGHT / 2.0 - scale(above), scale(above));
        }
        if *below > 0 {
            bar(down, frame, slot, HEIGHT / 2.0, scale(below));
        }
    }
    let bands = kinds.iter().zip(paths);
    let bands = bands.map(|((class, name), path)| Band { class, name, path });
    let labels = [
        format!("\u{2212}{}", count(top)),
        "0".to_owned(),
        format!("+{}", count(top)),
    ];
    chart(
        frame,
        bands.collect(),
        Vec::new(),
        levels(labels),
        kinds,
        slots,
    )
}

fn chart(
    frame: Frame,
    bands: Vec<Band>,
    curves: Vec<Band>,
    lines: Vec<Line>,
    kinds: &[Kind],
    slots: &[Slot],
) -> Chart {
    let known = slots.iter().enumerate();
    let known: Vec<(usize, &Vec<u64>)> = known
        .filter_map(|(slot, values)| Some((slot, values.as_ref()?)))
        .collect();
    let tips = known.iter().filter(|_| frame.slots <= FEW_SLOTS);
    let tips = tips.map(|(slot, values)| Tip {
        x: number(frame.x(*slot)),
        width: number(frame.width()),
        text: tip(frame, *slot, kinds, values),
    });
    let rows = known.iter().rev().map(|(slot, values)| {
        let cells = values.iter().map(|n| count(*n));
        (frame.name(*slot), cells.collect())
    });
    Chart {
        tips: tips.collect(),
        table: Table {
            heads: kinds.iter().map(|(_, name)| *name).collect(),
            rows: rows.collect(),
        },
        ticks: frame.ticks(),
        bands,
        curves,
        lines,
        frame,
    }
}

fn tip(frame: Frame, slot: usize, kinds: &[Kind], values: &[u64]) -> String {
    let parts = kinds.iter().zip(values);
    let parts: Vec<String> = parts
        .map(|((_, name), n)| format!("{} {name}", count(*n)))
        .collect();
    format!("{}: {}", frame.name(slot), parts.join(", "))
}

/// Adds a slot's bar to a path. Wide ones leave a gap between them.
fn bar(path: &mut String, frame: Frame, slot: usize, y: f64, height: f64) {
    let gap = if frame.width() > 6.0 { 1.0 } else { 0.0 };
    let (x, width) = (frame.x(slot) + gap, frame.width() - 2.0 * gap);
    // Writing to a string can't fail.
    let _ = write!(
        path,
        "M{} {}h{w}v{}h-{w}z",
        number(x),
        number(y),
        number(height),
        w = number(width)
    );
}

/// Lines at the bottom, in the middle and at the top.
fn levels(labels: [String; 3]) -> Vec<Line> {
    let heights = [HEIGHT, HEIGHT / 2.0, 0.0];
    let lines = heights.into_iter().zip(labels);
    lines
        .map(|(y, label)| Line {
            y: number(y),
            label,
        })
        .collect()
}

fn number(x: f64) -> String {
    let text = format!("{x:.1}");
    text.strip_suffix(".0").map_or(text.clone(), str::to_owned)
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
    use proptest::prelude::*;

    use super::*;

    const KINDS: [Kind; 3] = [
        ("good", "good"),
        ("reachable", "reachable"),
        ("known", "known"),
    ];

    #[test]
    fn a_frame_holds_its_span_in_few_slots() {
        let two_days = Frame::new(1_000_000 * HOUR + 7, 1_000_048 * HOUR, true);
        assert_eq!((two_days.step, two_days.len()), (HOUR, 48));
        let year = Frame::new(0, 365 * DAY, false);
        assert_eq!((year.step, year.len()), (DAY, 365));
        let years = Frame::new(0, 1_096 * DAY, false);
        assert_eq!((years.step, years.len()), (3 * DAY, 366));
        assert_eq!(years.slot(3 * DAY - 1), Some(0));
        assert_eq!((years.slot(-1), years.slot(years.to())), (None, None));
    }

    #[test]
    fn what_is_not_known_is_not_drawn() {
        let frame = Frame::new(0, 4 * HOUR, true);
        let slots = [
            Some(vec![1, 1, 0]),
            None,
            Some(vec![0, 0, 0]),
            Some(vec![4, 0, 0]),
        ];
        let chart = stacked(frame, &KINDS, &slots, false);
        let bars: Vec<usize> = chart
            .bands
            .iter()
            .map(|b| b.path.matches('M').count())
            .collect();
        assert_eq!(bars, [2, 1, 0]);
        assert_eq!(chart.lines[2].label, "4");
        assert_eq!(chart.tips.len(), 3);
        assert!(chart.tips[0].text.ends_with("1 good, 1 reachable, 0 known"));
        let heads: Vec<&str> = chart.table.rows.iter().map(|row| row.0.as_str()).collect();
        assert_eq!(
            heads,
            ["1970-01-01 03:00", "1970-01-01 02:00", "1970-01-01 00:00"]
        );
        // A curve is broken by the gap.
        let chart = curves(frame, &KINDS[..1], &slots);
        assert_eq!(chart.curves[0].path.matches('M').count(), 2);
        let chart = up_and_down(frame, &[KINDS[0], KINDS[1]], &[Some(vec![1, 2])]);
        assert_eq!(chart.lines[0].label, "\u{2212}2");
    }

    #[test]
    fn tops_are_round_and_enough() {
        for n in [0, 1, 3, 5, 11, 99, 101, 1_000_000] {
            assert!(nice(n) >= n && nice(n).is_multiple_of(2), "{n}");
        }
        assert_eq!((nice(11), nice(100), nice(101)), (20, 100, 200));
        assert!(nice(u64::MAX) == u64::MAX);
    }

    /// Numbers of a path, without its letters.
    fn numbers(path: &str) -> Vec<f64> {
        let words = path.split(|c: char| !c.is_ascii_digit() && c != '.' && c != '-');
        words
            .filter(|w| !w.is_empty())
            .map(|w| w.parse().unwrap())
            .collect()
    }

    proptest! {
        /// Whatever the figures and the span: no path leaves the plot, and labels are few.
        #[test]
        fn all_stays_inside(from in 0_i64..2_000_000_000, span in 1_i64..40_000_000, by_hours: bool,
            values in prop::collection::vec(prop::option::of(prop::collection::vec(0_u64..1_000_000, 3)), 1..60),
            is_share: bool)
        {
            let by_hours = by_hours && span < 90 * DAY;
            let frame = Frame::new(from, from + span, by_hours);
            prop_assert!(frame.len() as i64 <= MOST_SLOTS && frame.to() >= from + span);
            let mut slots = values;
            slots.resize(frame.len(), None);
            let chart = stacked(frame, &KINDS, &slots, is_share);
            prop_assert!(chart.ticks.len() <= 12, "{}", chart.ticks.len());
            for band in chart.bands {
                for n in numbers(&band.path) {
                    prop_assert!(n.abs() <= WIDTH + 0.2, "{}", band.path);
                }
                prop_assert!(!band.path.contains("v-"));
            }
        }
    }
}
