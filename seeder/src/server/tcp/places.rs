//! How many connections there may be, and who goes when there are too many.
//!
//! A newcomer gets the place of the connection that has waited longest without a query: in its own network when that has
//! all it may have, else in the network that has most. So whoever opens connections and asks nothing takes places from itself,
//! and a client that sends its query at once is answered, whatever the crowd. Only when all are at work is a newcomer refused.

use std::{
    collections::{BTreeMap, HashMap},
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio_util::sync::CancellationToken;

use crate::guard::Network;

/// Most connections at once, over all listeners; half of the usual limit of descriptors.
const MAX_CONNECTIONS: usize = 512;

/// Most connections of one client network (/24 or /56): resolvers behind one address use a few.
const MAX_PER_NETWORK: usize = 64;

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
}

#[derive(Debug)]
struct Seat {
    waits_since: Option<u64>,
    lost: CancellationToken,
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
    /// A place for one more connection from `client`, if there is or can be one.
    pub(super) fn take(&self, client: IpAddr) -> Option<Place> {
        let network = Network::of(client);
        let mut book = self.lock();
        let here = book.networks.get(&network).map_or(0, HashMap::len);
        if here >= MAX_PER_NETWORK {
            book.evict(network)?;
        } else if book.total >= MAX_CONNECTIONS {
            let waits =
                |seats: &HashMap<u64, Seat>| seats.values().any(|seat| seat.waits_since.is_some());
            let some = book.networks.iter().filter(|(_, seats)| waits(seats));
            let most = some.max_by_key(|(_, seats)| {
                let oldest = seats.values().filter_map(|seat| seat.waits_since).min();
                // Of networks with as many connections, the one whose has waited longest.
                (seats.len(), std::cmp::Reverse(oldest.unwrap_or(u64::MAX)))
            });
            let most = *most?.0;
            book.evict(most)?;
        }
        let id = book.number();
        let lost = CancellationToken::new();
        let seat = Seat {
            waits_since: Some(id),
            lost: lost.clone(),
        };
        book.networks.entry(network).or_default().insert(id, seat);
        book.total += 1;
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

    /// Takes the place of the connection of `network` that has waited longest; `None` when all are at work.
    fn evict(&mut self, network: Network) -> Option<()> {
        let seats = self.networks.get(&network)?;
        let waiting: BTreeMap<u64, u64> = seats
            .iter()
            .filter_map(|(id, seat)| Some((seat.waits_since?, *id)))
            .collect();
        let (_, id) = waiting.first_key_value()?;
        self.leave(network, *id).map(|seat| seat.lost.cancel())
    }

    fn leave(&mut self, network: Network, id: u64) -> Option<Seat> {
        let seats = self.networks.get_mut(&network)?;
        let seat = seats.remove(&id)?;
        if seats.is_empty() {
            self.networks.remove(&network);
        }
        self.total -= 1;
        Some(seat)
    }

    fn seat(&mut self, place: &Place) -> Option<&mut Seat> {
        self.networks.get_mut(&place.network)?.get_mut(&place.id)
    }
}

impl Place {
    /// Whether half of all places are taken.
    pub(super) fn is_crowded(&self) -> bool {
        self.places.lock().total > MAX_CONNECTIONS / 2
    }

    /// A whole query has come: the place can't be taken away now.
    pub(super) fn is_busy(&self) {
        if let Some(seat) = self.places.lock().seat(self) {
            seat.waits_since = None;
        }
    }

    /// All that was asked is answered.
    pub(super) fn waits(&self) {
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
        places.take(IpAddr::from([10, a, b, host]))
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
        own[0].is_busy();
        own[1].is_busy();
        own[1].waits();
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
            place.is_busy();
        }
        newcomer.is_busy();
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
}
