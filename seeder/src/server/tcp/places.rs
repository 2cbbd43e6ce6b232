//! How many connections there may be, and who goes when there are too many.
//!
//! A newcomer gets the place of the connection that has waited longest without a query: in its own network when that has
//! all it may have, else in the network that has most. So whoever opens connections and asks nothing takes places from itself,
//! and a client that sends its query at once is answered, whatever the crowd. One that does not take its answers waits as
//! well, so that only those are safe whose query is being answered at this moment.
//!
//! Connections in a TLS handshake wait as well, and have places from the beginning; but no more than half of all, so
//! that those who begin handshakes and do not end them leave the other half to whoever asks. For them a newcomer with a
//! handshake takes the place of another handshake. No newcomer ever ends more than one connection; when none fits all of
//! its limits, it is refused.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

use crate::guard::Network;

/// Most connections at once, over all listeners; half of the usual limit of descriptors.
pub(super) const MAX_CONNECTIONS: usize = 512;

/// Most connections of one client network (/24 or /56): resolvers behind one address use a few.
const MAX_PER_NETWORK: usize = 64;

/// Most handshakes at once: half of the places.
const MAX_HANDSHAKES: usize = MAX_CONNECTIONS / 2;

/// Counts connections; clones share the counts.
#[derive(Debug, Clone, Default)]
pub(in crate::server) struct Places {
    book: Arc<Mutex<Book>>,
}

#[derive(Debug, Default)]
struct Book {
    /// Of the next connection, and of the next that begins to wait.
    next: u64,
    /// Connections of each network, and since when they wait; those at work have no such number.
    networks: HashMap<Network, HashMap<u64, Seat>>,
    total: usize,
    /// How many of them are in their handshake.
    handshakes: usize,
}

#[derive(Debug)]
struct Seat {
    waits_since: Option<u64>,
    /// It has not ended its TLS handshake.
    handshakes: bool,
    lost: CancellationToken,
}

impl Seat {
    const fn handshakes(&self) -> bool {
        self.handshakes
    }

    const fn any(&self) -> bool {
        true
    }
}

/// A place within the limits, given back when dropped.
#[derive(Debug)]
pub(super) struct Place {
    id: u64,
    network: Network,
    lost: CancellationToken,
    places: Places,
}

impl Places {
    /// A place for one more connection from `client`, if there is or can be one; `handshakes` when it begins with a TLS
    /// handshake.
    pub(super) fn take(&self, client: IpAddr, handshakes: bool) -> Option<Place> {
        let network = Network::of(client);
        let mut book = self.lock();
        book.make_room(network, handshakes)?;
        let id = book.number();
        let lost = CancellationToken::new();
        let seat = Seat {
            waits_since: Some(id),
            handshakes,
            lost: lost.clone(),
        };
        book.networks.entry(network).or_default().insert(id, seat);
        book.total += 1;
        book.handshakes += usize::from(handshakes);
        Some(Place {
            id,
            network,
            lost,
            places: self.clone(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Book> {
        self.book.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Book {
    const fn number(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    /// Ends a connection when a newcomer from `network` needs that; one that frees all that is short.
    fn make_room(&mut self, network: Network, handshakes: bool) -> Option<()> {
        let here = self.networks.get(&network).map_or(0, HashMap::len);
        let own = here >= MAX_PER_NETWORK;
        let handshake = handshakes && self.handshakes >= MAX_HANDSHAKES;
        if !own && !handshake && self.total < MAX_CONNECTIONS {
            return Some(());
        }
        let count = if handshake {
            Seat::handshakes
        } else {
            Seat::any
        };
        let from = if own { network } else { self.largest(count)? };
        self.evict(from, count)
    }

    /// The network with most of those that `count`, of which one waits.
    fn largest(&self, count: fn(&Seat) -> bool) -> Option<Network> {
        let networks = self.networks.iter().filter_map(|(network, seats)| {
            let counted = || seats.values().filter(|seat| count(seat));
            let oldest = counted().filter_map(|seat| seat.waits_since).min()?;
            // Of networks with as many, the one whose has waited longest.
            Some((counted().count(), std::cmp::Reverse(oldest), *network))
        });
        let (_, _, most) = networks.max_by_key(|(number, oldest, _)| (*number, *oldest))?;
        Some(most)
    }

    /// Takes the place of the connection of `network` that has waited longest, of those that `count`; `None` when all
    /// are at work.
    fn evict(&mut self, network: Network, count: fn(&Seat) -> bool) -> Option<()> {
        let seats = self.networks.get(&network)?;
        let waiting = seats.iter().filter(|(_, seat)| count(seat));
        let waiting = waiting.filter_map(|(id, seat)| Some((seat.waits_since?, *id)));
        let (_, id) = waiting.min()?;
        self.leave(network, id).map(|seat| seat.lost.cancel())
    }

    fn leave(&mut self, network: Network, id: u64) -> Option<Seat> {
        let seats = self.networks.get_mut(&network)?;
        let seat = seats.remove(&id)?;
        if seats.is_empty() {
            self.networks.remove(&network);
        }
        self.total -= 1;
        self.handshakes -= usize::from(seat.handshakes);
        Some(seat)
    }

    fn seat(&mut self, place: &Place) -> Option<&mut Seat> {
        self.networks.get_mut(&place.network)?.get_mut(&place.id)
    }
}

impl Place {
    /// Whether half of all places are taken, by connections that can ask. Those in a handshake give way to each other, and
    /// are no reason to hurry who asks.
    pub(super) fn is_crowded(&self) -> bool {
        let book = self.places.lock();
        book.total - book.handshakes > MAX_CONNECTIONS / 2
    }

    /// A whole query has come: the place can't be taken away now.
    pub(super) fn set_busy(&self) {
        if let Some(seat) = self.places.lock().seat(self) {
            seat.waits_since = None;
        }
    }

    /// The handshake has ended well; from now on it counts as one that has just been answered.
    pub(super) fn end_handshake(&self) {
        let mut book = self.places.lock();
        let now = book.number();
        if let Some(seat) = book.seat(self) {
            let handshook = std::mem::take(&mut seat.handshakes);
            seat.waits_since = Some(now);
            book.handshakes -= usize::from(handshook);
        }
    }

    /// What was asked is answered, and may be sent: from now on it is up to the client.
    pub(super) fn set_waiting(&self) {
        let mut book = self.places.lock();
        let now = book.number();
        if let Some(seat) = book.seat(self) {
            seat.waits_since = Some(now);
        }
    }

    /// Until another has got the place.
    pub(super) async fn lost(&self) {
        self.lost.cancelled().await;
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // One whose place was taken has left already.
        let _ = self.places.lock().leave(self.network, self.id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn take(places: &Places, network: u32, host: u8) -> Option<Place> {
        let [_, a, b, _] = (network << 8).to_be_bytes();
        places.take(IpAddr::from([10, a, b, host]), false)
    }

    fn begin_tls(places: &Places, network: u32) -> Option<Place> {
        let [_, _, a, b] = network.to_be_bytes();
        places.take(IpAddr::from([172, a, b, 1]), true)
    }

    fn is_lost(place: &Place) -> bool {
        place.lost.is_cancelled()
    }

    #[test]
    fn a_network_takes_places_from_itself() {
        let places = Places::default();
        let other = take(&places, 1, 1).unwrap();
        let own: Vec<Place> = (0..MAX_PER_NETWORK)
            .map(|host| take(&places, 0, host as u8).unwrap())
            .collect();
        own[0].set_busy();
        own[1].set_busy();
        own[1].set_waiting();
        let newcomer = take(&places, 0, 200).unwrap();
        let lost: Vec<usize> = (0..own.len())
            .filter(|index| is_lost(&own[*index]))
            .collect();
        assert_eq!(
            lost,
            [2],
            "the first is at work, the second has asked since"
        );
        assert!(!is_lost(&newcomer) && !is_lost(&other));
        for place in &own {
            place.set_busy();
        }
        newcomer.set_busy();
        assert!(take(&places, 0, 201).is_none(), "all are at work");
        assert!(take(&places, 2, 1).is_some());
    }

    #[test]
    fn the_largest_network_makes_room_and_then_the_one_that_waits_longest() {
        let places = Places::default();
        let crowd: Vec<Place> = (0..MAX_PER_NETWORK)
            .map(|host| take(&places, 0, host as u8).unwrap())
            .collect();
        let has_room = || places.lock().total < MAX_CONNECTIONS;
        let fill = |first: u32| -> Vec<Place> {
            (first..)
                .map_while(|network| {
                    if has_room() {
                        take(&places, network, 1)
                    } else {
                        None
                    }
                })
                .collect()
        };
        let others = fill(1);
        assert_eq!(crowd.len() + others.len(), MAX_CONNECTIONS);
        let newcomer = take(&places, 100_000, 1).unwrap();
        assert!(is_lost(&crowd[0]) && !is_lost(&crowd[1]));
        drop(crowd);
        let fill = fill(200_000);
        let last = take(&places, 300_000, 1).unwrap();
        assert!(is_lost(&others[0]) && !is_lost(&others[1]) && !is_lost(&newcomer));
        drop((others, newcomer, fill, last));
        let book = places.lock();
        assert!(
            book.total == 0 && book.networks.is_empty(),
            "nothing is kept for clients that left"
        );
    }

    #[test]
    fn a_crowd_shortens_the_wait() {
        let places = Places::default();
        let first = take(&places, 0, 1).unwrap();
        assert!(!first.is_crowded());
        let crowd: Vec<Place> = (1..=MAX_CONNECTIONS as u32 / 2)
            .filter_map(|n| take(&places, n, 1))
            .collect();
        assert!(first.is_crowded());
        drop(crowd);
        assert!(!first.is_crowded());
    }

    /// Of whatever is short, one connection goes for one that comes.
    #[test]
    fn a_newcomer_ends_one_connection() {
        let places = Places::default();
        let plain: Vec<Place> = (0..MAX_CONNECTIONS as u32 - MAX_HANDSHAKES as u32)
            .map(|network| take(&places, network, 1).unwrap())
            .collect();
        let begun: Vec<Place> = (0..MAX_HANDSHAKES as u32)
            .map(|network| begin_tls(&places, network).unwrap())
            .collect();
        let lost = |of: &[Place]| of.iter().filter(|place| is_lost(place)).count();
        assert!(!plain[0].is_crowded(), "half of all are in handshakes");
        let newcomer = begin_tls(&places, 9000).unwrap();
        assert!(is_lost(&begun[0]), "the oldest of the handshakes");
        assert_eq!((lost(&plain), lost(&begun)), (0, 1));
        begun[1].end_handshake();
        assert!(plain[0].is_crowded(), "one more than half can ask");
        let last = begin_tls(&places, 9001).unwrap();
        assert_eq!(
            (lost(&plain), lost(&begun)),
            (1, 1),
            "no place, but few handshakes"
        );
        drop((plain, begun, newcomer, last));
    }

    #[test]
    fn a_full_network_gets_no_handshake_at_the_cost_of_others() {
        let places = Places::default();
        let own: Vec<Place> = (0..MAX_PER_NETWORK)
            .map(|_| begin_tls(&places, 0).unwrap())
            .collect();
        let (last, established) = own.split_last().unwrap();
        established.iter().for_each(Place::end_handshake);
        let others: Vec<Place> = (1..MAX_HANDSHAKES as u32)
            .map(|network| begin_tls(&places, network).unwrap())
            .collect();
        let newcomer = begin_tls(&places, 0).unwrap();
        assert!(is_lost(last), "its own handshake");
        newcomer.end_handshake();
        let one_more = begin_tls(&places, 9000).unwrap();
        assert!(begin_tls(&places, 0).is_none(), "it has no other");
        let all = established
            .iter()
            .chain(&others)
            .chain([&newcomer, &one_more]);
        assert!(!all.into_iter().any(is_lost), "nobody pays for it");
    }

    #[test]
    fn handshakes_take_places_from_handshakes() {
        let places = Places::default();
        let plain = take(&places, 0, 1).unwrap();
        let done = begin_tls(&places, 0).unwrap();
        done.end_handshake();
        let begun: Vec<Place> = (0..MAX_HANDSHAKES as u32)
            .map(|network| begin_tls(&places, network).unwrap())
            .collect();
        assert!(!begun.iter().any(is_lost), "half of the places are theirs");
        let newcomer = begin_tls(&places, 9000).unwrap();
        assert!(is_lost(&begun[0]) && !is_lost(&begun[1]) && !is_lost(&newcomer));
        begun[1].end_handshake();
        let next = begin_tls(&places, 9001).unwrap();
        assert!(begun[1..].iter().all(|place| !is_lost(place)));
        let more: Vec<Place> = (0..MAX_CONNECTIONS as u32)
            .map(|network| begin_tls(&places, 10_000 + network).unwrap())
            .collect();
        assert!(is_lost(&next) && is_lost(&newcomer) && is_lost(&more[0]));
        for established in [&plain, &done, &begun[1]] {
            assert!(!is_lost(established), "however many begin");
        }
        drop((plain, done, begun, newcomer, next, more));
        let book = places.lock();
        assert_eq!((book.total, book.handshakes), (0, 0));
    }
}
