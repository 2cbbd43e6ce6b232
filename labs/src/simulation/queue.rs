//! What happens when: of what happens at the same time, what was planned first.

use std::collections::BTreeMap;

/// Events by their times in milliseconds.
#[derive(Debug)]
pub(super) struct Queue<E> {
    events: BTreeMap<(u64, u64), E>,
    planned: u64,
}

impl<E> Default for Queue<E> {
    fn default() -> Self {
        Self {
            events: BTreeMap::new(),
            planned: 0,
        }
    }
}

impl<E> Queue<E> {
    pub(super) fn add(&mut self, at: u64, event: E) {
        self.planned += 1;
        self.events.insert((at, self.planned), event);
    }

    /// The next one, should it happen until then.
    pub(super) fn next_until(&mut self, end: u64) -> Option<(u64, E)> {
        let next = self.events.first_entry()?;
        let (at, _) = *next.key();
        (at <= end).then(|| (at, next.remove()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_as_they_were_planned() {
        let mut queue = Queue::default();
        for (at, event) in [(5, "c"), (3, "a"), (3, "b"), (9, "d")] {
            queue.add(at, event);
        }
        let come: Vec<_> = std::iter::from_fn(|| queue.next_until(8)).collect();
        assert_eq!(come, [(3, "a"), (3, "b"), (5, "c")]);
        assert_eq!(queue.next_until(9), Some((9, "d")));
    }
}
