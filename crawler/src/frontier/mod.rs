//! The due queue: which address is visited next. Pure: time comes in as an argument.
//!
//! Every known address is in one of three time-ordered queues, or in flight. The queues take turns so that
//! a flood of new addresses never starves the visits to good peers, nor the other way round.
//!
//! [`intake`] decides which new addresses are believed; [`load`] fills it from the store.

pub mod intake;
pub mod load;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::net::SocketAddr;

use quantumcoin::store::Heard;

/// What the queue keeps of an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// Next visit, Unix seconds.
    pub due: i64,
    /// Failures in a row.
    pub failures: u32,
    /// Last passed probe, Unix seconds.
    pub last_ok_at: Option<i64>,
    /// Which queue it belongs to.
    pub class: Class,
    /// When it last answered `getaddr`, Unix seconds.
    pub told_addresses_at: Option<i64>,
    /// What was heard of it and is not written down yet.
    pub heard: Heard,
    pub(crate) in_flight: bool,
}

/// The queues.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Class {
    /// Never tried.
    New,
    /// The last probe passed.
    Good,
    /// Tried, and the last probe failed.
    Rest,
}

/// Which queue is asked first at each turn: half of the dials for new addresses while there are any, a
/// third for good peers, the rest for the rest. A queue with nothing due gives its turn to the next.
const TURNS: [Class; 6] = [
    Class::New,
    Class::Good,
    Class::New,
    Class::Rest,
    Class::New,
    Class::Good,
];

type Queue = BTreeSet<(i64, SocketAddr)>;

/// All known addresses, time-ordered.
#[derive(Debug, Default)]
pub struct Frontier {
    entries: HashMap<SocketAddr, Entry>,
    new: Queue,
    good: Queue,
    rest: Queue,
    turn: usize,
    in_flight: usize,
    good_in_flight: HashSet<SocketAddr>,
}

impl Frontier {
    /// Adds an address if it is not known; returns whether it was added.
    pub fn add(&mut self, addr: SocketAddr, entry: Entry) -> bool {
        if self.entries.contains_key(&addr) {
            return false;
        }
        self.queue(entry.class).insert((entry.due, addr));
        self.entries.insert(addr, entry);
        true
    }

    /// Takes the next address that is due, or none. The address is in flight until [`Self::finish`].
    pub fn pop_due(&mut self, now: i64) -> Option<(SocketAddr, Entry)> {
        let start = self.turn;
        for step in 0..TURNS.len() {
            let class = *TURNS.get((start + step) % TURNS.len())?;
            let first = self.queue(class).first().copied();
            if let Some((due, addr)) = first
                && due <= now
            {
                self.queue(class).remove(&(due, addr));
                self.turn = (start + step + 1) % TURNS.len();
                let entry = self.entries.get_mut(&addr)?;
                entry.in_flight = true;
                self.in_flight += 1;
                if class == Class::Good {
                    self.good_in_flight.insert(addr);
                }
                return Some((addr, *entry));
            }
        }
        None
    }

    /// Puts an address that was in flight back with its new state.
    pub fn finish(&mut self, addr: SocketAddr, entry: Entry) {
        if let Some(old) = self.entries.get_mut(&addr)
            && old.in_flight
        {
            *old = Entry {
                in_flight: false,
                // It may have been told of meanwhile.
                heard: old.heard,
                ..entry
            };
            self.in_flight -= 1;
            self.good_in_flight.remove(&addr);
            self.queue(entry.class).insert((entry.due, addr));
        }
    }

    /// Somebody has told of an address; returns whether it is known. What was told of known addresses is added up here, since
    /// on a large network everybody tells of everybody.
    pub fn hear(&mut self, addr: SocketAddr, now: i64, teller: u32) -> bool {
        let Some(entry) = self.entries.get_mut(&addr) else {
            return false;
        };
        let heard = &mut entry.heard;
        heard.times = heard.times.saturating_add(1);
        heard.at = heard.at.max(now);
        heard.told_by |= teller;
        true
    }

    /// What was heard of an address since this was asked last.
    pub fn take_heard(&mut self, addr: SocketAddr) -> Heard {
        let entry = self.entries.get_mut(&addr);
        entry.map_or_else(Heard::default, |entry| std::mem::take(&mut entry.heard))
    }

    /// The same of all addresses of which anything was heard.
    pub fn take_all_heard(&mut self) -> impl Iterator<Item = (SocketAddr, Heard)> {
        let heard = self.entries.iter_mut();
        heard
            .map(|(addr, entry)| (*addr, std::mem::take(&mut entry.heard)))
            .filter(|(_, heard)| heard.times > 0)
    }

    /// Removes an address.
    pub fn forget(&mut self, addr: SocketAddr) {
        if let Some(entry) = self.entries.remove(&addr) {
            if entry.in_flight {
                self.in_flight -= 1;
                self.good_in_flight.remove(&addr);
            } else {
                self.queue(entry.class).remove(&(entry.due, addr));
            }
        }
    }

    /// Makes a known address due at once.
    pub fn visit_now(&mut self, addr: SocketAddr, now: i64) {
        match self.entries.get(&addr).copied() {
            Some(entry) if !entry.in_flight => {
                self.queue(entry.class).remove(&(entry.due, addr));
                self.queue(entry.class).insert((now, addr));
                if let Some(entry) = self.entries.get_mut(&addr) {
                    entry.due = now;
                }
            }
            _ => {}
        }
    }

    /// The address to give up when there is no room: the one that failed longest and never passed.
    pub fn worst(&self) -> Option<SocketAddr> {
        let &(_, addr) = self.rest.last()?;
        self.entries
            .get(&addr)?
            .last_ok_at
            .is_none()
            .then_some(addr)
    }

    /// Peers whose last probe passed, of the ways that `takes` says, those due first; at most `most`. Looks at all of them where
    /// few are taken.
    pub fn good(&self, takes: impl Fn(SocketAddr) -> bool, most: usize) -> Vec<SocketAddr> {
        let all = self.good.iter().map(|(_, addr)| *addr);
        all.filter(|addr| takes(*addr)).take(most).collect()
    }

    /// How many peers whose last settled probe passed are being visited, of those that `takes` says.
    pub fn good_in_flight(&self, takes: impl Fn(SocketAddr) -> bool) -> usize {
        let good = self.good_in_flight.iter();
        good.filter(|addr| takes(**addr)).count()
    }

    /// How many addresses are due at `now` (Unix seconds) and wait, and when that was due which waits longest.
    pub fn waiting(&self, now: i64) -> (usize, Option<i64>) {
        let queues = [&self.new, &self.good, &self.rest];
        let due = queues.map(|queue| queue.iter().take_while(|(due, _)| *due <= now).count());
        let oldest = self.next_due().filter(|due| *due <= now);
        (due.iter().sum(), oldest)
    }

    /// When the next address is due, Unix seconds; none when all are in flight or there are none.
    pub fn next_due(&self) -> Option<i64> {
        [&self.new, &self.good, &self.rest]
            .into_iter()
            .filter_map(|q| Some(q.first()?.0))
            .min()
    }

    /// What is known of an address.
    pub fn get(&self, addr: SocketAddr) -> Option<&Entry> {
        self.entries.get(&addr)
    }

    /// Known addresses.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Addresses being visited.
    pub fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Addresses never tried and not in flight.
    pub fn untried(&self) -> usize {
        self.new.len()
    }

    fn queue(&mut self, class: Class) -> &mut Queue {
        match class {
            Class::New => &mut self.new,
            Class::Good => &mut self.good,
            Class::Rest => &mut self.rest,
        }
    }
}

/// Makes a frontier of many addresses at once.
#[derive(Debug)]
pub struct Builder {
    entries: HashMap<SocketAddr, Entry>,
    new: Vec<(i64, SocketAddr)>,
    good: Vec<(i64, SocketAddr)>,
    rest: Vec<(i64, SocketAddr)>,
}

impl Builder {
    /// With room for so many.
    pub fn new(addresses: usize) -> Self {
        Self {
            entries: HashMap::with_capacity(addresses),
            new: Vec::new(),
            good: Vec::new(),
            rest: Vec::new(),
        }
    }

    /// Adds an address; of one that is added twice, the first counts.
    pub fn add(&mut self, addr: SocketAddr, entry: Entry) {
        if let std::collections::hash_map::Entry::Vacant(vacant) = self.entries.entry(addr) {
            vacant.insert(entry);
            let queue = match entry.class {
                Class::New => &mut self.new,
                Class::Good => &mut self.good,
                Class::Rest => &mut self.rest,
            };
            queue.push((entry.due, addr));
        }
    }

    /// The frontier. Collected at once a queue is sorted and built from the ground, several times as fast as one by one.
    pub fn build(self) -> Frontier {
        Frontier {
            entries: self.entries,
            new: self.new.into_iter().collect(),
            good: self.good.into_iter().collect(),
            rest: self.rest.into_iter().collect(),
            turn: 0,
            in_flight: 0,
            good_in_flight: HashSet::new(),
        }
    }
}

impl Entry {
    /// An address that was just heard of.
    pub fn new(due: i64) -> Self {
        Self {
            due,
            failures: 0,
            last_ok_at: None,
            class: Class::New,
            told_addresses_at: None,
            heard: Heard::default(),
            in_flight: false,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn addr(n: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, (n >> 8) as u8, n as u8], 1))
    }

    fn entry(class: Class, due: i64) -> Entry {
        Entry {
            class,
            ..Entry::new(due)
        }
    }

    #[test]
    fn classes_share_the_dials() {
        let mut f = Frontier::default();
        for n in 0..300 {
            let class = [Class::New, Class::Good, Class::Rest][usize::from(n) % 3];
            f.add(addr(n), entry(class, 0));
        }
        let mut seen: HashMap<Class, u32> = HashMap::new();
        for _ in 0..60 {
            *seen.entry(f.pop_due(0).unwrap().1.class).or_default() += 1;
        }
        assert_eq!(
            (seen[&Class::New], seen[&Class::Good], seen[&Class::Rest]),
            (30, 20, 10)
        );
    }

    #[test]
    fn many_at_once_are_as_one_by_one() {
        let class = |n: u16| [Class::New, Class::Good, Class::Rest][usize::from(n) % 3];
        let all = (0..200).map(|n| (addr(n % 150), entry(class(n), i64::from(n % 17))));
        let (mut many, mut singly) = (Builder::new(150), Frontier::default());
        for (addr, entry) in all {
            many.add(addr, entry);
            singly.add(addr, entry);
        }
        let mut many = many.build();
        assert_eq!((many.len(), many.untried()), (150, singly.untried()));
        while let Some(popped) = singly.pop_due(20) {
            assert_eq!(many.pop_due(20), Some(popped));
        }
        assert_eq!(many.pop_due(20), None);
    }

    #[test]
    fn what_is_in_flight_is_not_due_and_does_not_spin() {
        let mut f = Frontier::default();
        f.add(addr(1), Entry::new(5));
        assert_eq!(f.pop_due(4), None);
        assert_eq!(f.next_due(), Some(5));
        let (a, e) = f.pop_due(5).unwrap();
        assert_eq!((f.pop_due(5), f.next_due(), f.in_flight()), (None, None, 1));
        f.finish(
            a,
            Entry {
                due: 9,
                class: Class::Good,
                ..e
            },
        );
        assert_eq!((f.next_due(), f.in_flight()), (Some(9), 0));
    }

    #[test]
    fn what_is_heard_adds_up_also_during_a_visit_and_is_taken_once() {
        let mut f = Frontier::default();
        assert!(!f.hear(addr(1), 5, 1));
        f.add(addr(1), Entry::new(0));
        assert!(f.hear(addr(1), 5, 1));
        let (a, e) = f.pop_due(0).unwrap();
        assert!(f.hear(addr(1), 7, 4) && f.hear(addr(1), 6, 4));
        f.finish(a, Entry { due: 9, ..e });
        let heard = Heard {
            times: 3,
            at: 7,
            told_by: 5,
        };
        assert_eq!(f.take_heard(addr(1)), heard);
        assert_eq!(f.take_heard(addr(1)), Heard::default());
        f.hear(addr(1), 8, 2);
        assert_eq!(f.take_all_heard().count(), 1);
        assert_eq!(f.take_all_heard().count(), 0);
    }

    #[test]
    fn good_peers_come_in_the_order_of_their_visits() {
        let mut f = Frontier::default();
        for (n, due) in [(1, 30), (2, 10), (3, 20)] {
            f.add(addr(n), entry(Class::Good, due));
        }
        f.add(addr(4), entry(Class::Rest, 1));
        assert_eq!(f.good(|_| true, 2), [addr(2), addr(3)]);
        assert_eq!(f.good(|a| a != addr(2), 9), [addr(3), addr(1)]);
        assert_eq!(f.good_in_flight(|_| true), 0);
        let (first, entry) = f.pop_due(10).unwrap();
        assert_eq!((first, f.good_in_flight(|_| true)), (addr(2), 1));
        let (second, _) = f.pop_due(10).unwrap();
        assert_eq!((second, f.good_in_flight(|_| true)), (addr(4), 1));
        f.finish(first, entry);
        assert_eq!(f.good_in_flight(|_| true), 0);
        f.pop_due(10).unwrap();
        f.forget(first);
        assert_eq!(f.good_in_flight(|_| true), 0);
    }

    #[test]
    fn the_worst_never_passed() {
        let mut f = Frontier::default();
        assert_eq!(f.worst(), None);
        f.add(addr(1), entry(Class::Rest, 10));
        f.add(addr(2), entry(Class::Rest, 99));
        assert_eq!(f.worst(), Some(addr(2)));
        f.add(
            addr(3),
            Entry {
                last_ok_at: Some(1),
                ..entry(Class::Rest, 100)
            },
        );
        assert_eq!(f.worst(), None);
    }

    #[derive(Debug, Clone)]
    enum Op {
        Add(u16, i64),
        Pop(i64),
        Finish(i64),
        Forget(u16),
        Now(u16, i64),
    }

    fn op() -> impl Strategy<Value = Op> {
        prop_oneof![
            (0u16..20, 0i64..50).prop_map(|(a, t)| Op::Add(a, t)),
            (0i64..50).prop_map(Op::Pop),
            (0i64..50).prop_map(Op::Finish),
            (0u16..20).prop_map(Op::Forget),
            (0u16..20, 0i64..50).prop_map(|(a, t)| Op::Now(a, t)),
        ]
    }

    proptest! {
        #[test]
        fn every_address_is_in_one_place(ops in prop::collection::vec(op(), 0..200)) {
            let mut f = Frontier::default();
            let mut flying = Vec::new();
            for op in ops {
                match op {
                    Op::Add(a, t) => { f.add(addr(a), Entry::new(t)); }
                    Op::Pop(t) => if let Some((a, e)) = f.pop_due(t) {
                        prop_assert!(e.due <= t);
                        prop_assert!(!flying.contains(&a), "popped twice");
                        flying.push(a);
                    },
                    Op::Finish(t) => if let Some(a) = flying.pop() {
                        f.finish(a, entry(Class::Rest, t));
                    },
                    Op::Forget(a) => { f.forget(addr(a)); flying.retain(|x| *x != addr(a)); }
                    Op::Now(a, t) => f.visit_now(addr(a), t),
                }
                prop_assert_eq!(f.in_flight(), flying.len());
                let queued = f.new.len() + f.good.len() + f.rest.len();
                prop_assert_eq!(queued + flying.len(), f.len());
            }
        }
    }
}
