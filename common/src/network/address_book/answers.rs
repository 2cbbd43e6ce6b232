//! Answers to `getaddr`. One answer is given for about a day to everybody who asks over the same network, so that asking again,
//! from many places, does not map the book, or show when what came into it (Bitcoin Core's way and figures).

use std::collections::BTreeMap;
use std::net::SocketAddr;

use rand::Rng;
use rand::seq::IteratorRandom;

use super::AddressBook;
use crate::network::protocol::addresses::{self, Gossip};

/// Share of the book that one `getaddr` answer may show, in percent (Bitcoin Core): scraping it all takes
/// time. Books of a private network's size are told whole up to [`ANSWER_FLOOR`].
const ANSWER_PERCENT: usize = 23;

/// Fewest addresses of an answer when the book has that many: below it there is nothing to hide, and
/// newcomers of a small network must hear of everybody.
const ANSWER_FLOOR: usize = 64;

/// Seconds since somebody saw an address after which it is not told any more (Bitcoin Core's horizon).
const HORIZON: u32 = 30 * 24 * 3_600;

/// Seconds for which an answer is given, at least and at most (Bitcoin Core's 21 to 27 hours): drawn, so that nobody knows when
/// the next one comes.
const KEPT: std::ops::Range<u64> = 21 * 3_600..27 * 3_600;

/// A book that has grown by this factor has another answer at once, so that a young node does not tell of the few that it knew
/// in its first minute for a day; it happens ten times until the book is full.
const GROWN: usize = 2;

/// Seconds for which an answer is given although the book has grown: who fills the book to see more of it waits as well.
const KEPT_GROWING: u64 = 3_600;

/// The network over which somebody asks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum AskedBy {
    Ipv4,
    Ipv6,
}

/// The answers that are given now.
#[derive(Debug, Default)]
pub(super) struct Answers(BTreeMap<AskedBy, Answer>);

#[derive(Debug)]
struct Answer {
    list: Vec<Gossip>,
    since: u64,
    until: u64,
    /// Size of the book when it was drawn.
    book: usize,
}

impl AddressBook {
    /// What to answer `asker`: at most 1,000 and at most 23 % of the book, recently seen, at random; for about a day the same.
    pub fn answer<R: Rng>(&mut self, asker: SocketAddr, now: u64, rng: &mut R) -> Vec<Gossip> {
        let by = if asker.ip().to_canonical().is_ipv4() {
            AskedBy::Ipv4
        } else {
            AskedBy::Ipv6
        };
        let known = self.entries.len();
        if let Some(answer) = self.answers.0.get(&by)
            && now < answer.until
            && known > ANSWER_FLOOR
            && (known < answer.book * GROWN || now < answer.since + KEPT_GROWING)
        {
            return answer.list.clone();
        }
        let list = self.draw_answer(now as u32, rng);
        let answer = Answer {
            list: list.clone(),
            since: now,
            until: now + rng.random_range(KEPT),
            book: known,
        };
        self.answers.0.insert(by, answer);
        list
    }

    fn draw_answer<R: Rng>(&self, now: u32, rng: &mut R) -> Vec<Gossip> {
        let share = (self.entries.len() * ANSWER_PERCENT / 100).max(ANSWER_FLOOR);
        let most = share.min(addresses::MAX_ADDRESSES);
        self.entries
            .iter()
            .filter(|(_, e)| e.tried || e.failures == 0)
            .filter(|(_, e)| now.saturating_sub(e.last_seen) < HORIZON)
            .map(|(addr, e)| Gossip {
                addr: *addr,
                services: e.services,
                time: e.last_seen,
            })
            .choose_multiple(rng, most)
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    fn addr(n: u32) -> SocketAddr {
        let ip = std::net::Ipv4Addr::from(0x0b00_0000 + (n << 12));
        SocketAddr::new(ip.into(), 8333)
    }

    fn tell(book: &mut AddressBook, numbers: std::ops::Range<u32>) {
        for n in numbers {
            let gossip = Gossip {
                addr: addr(n),
                services: 9,
                time: NOW as u32,
            };
            book.add(gossip, &n.to_string());
        }
    }

    const NOW: u64 = 1_800_000_000;

    #[test]
    fn who_asks_again_from_elsewhere_learns_nothing_more_for_a_day() {
        let mut rng = StdRng::seed_from_u64(3);
        let mut book = AddressBook::with_key(false, [1, 2]);
        tell(&mut book, 0..2_000);
        let first = book.answer(addr(1), NOW, &mut rng);
        let known = book.counts().0;
        assert_eq!(first.len(), known * ANSWER_PERCENT / 100);
        for n in 0..100 {
            assert_eq!(
                book.answer(addr(n), NOW + u64::from(n) * 700, &mut rng),
                first
            );
        }
        let ipv6 = "[2a01::1]:8333".parse().unwrap();
        let other = book.answer(ipv6, NOW, &mut rng);
        assert_ne!(
            other, first,
            "one network is not recognised by what it says to another"
        );
        let mapped = "[::ffff:9.9.9.9]:8333".parse().unwrap();
        assert_eq!(book.answer(mapped, NOW, &mut rng), first);
        let next = book.answer(addr(1), NOW + KEPT.end, &mut rng);
        assert_ne!(next, first);
        let told: HashSet<_> = first.iter().chain(&next).map(|g| g.addr).collect();
        assert!(told.len() < known * 45 / 100);
    }

    #[test]
    fn a_young_book_tells_what_it_has_learnt() {
        let mut rng = StdRng::seed_from_u64(4);
        let mut book = AddressBook::with_key(false, [1, 2]);
        tell(&mut book, 0..10);
        assert_eq!(book.answer(addr(1), NOW, &mut rng).len(), 10);
        tell(&mut book, 10..60);
        assert_eq!(book.answer(addr(1), NOW, &mut rng).len(), 60);
        tell(&mut book, 60..1_000);
        assert_eq!(book.answer(addr(1), NOW, &mut rng).len(), 60);
        let hour = NOW + KEPT_GROWING;
        let many = book.answer(addr(1), hour, &mut rng);
        assert!(many.len() > 200, "{}", many.len());
        tell(&mut book, 1_000..1_500);
        assert_eq!(book.answer(addr(1), hour + KEPT_GROWING, &mut rng), many);
    }
}
