//! When to ask DNS, and when to dial the bootstrap nodes.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::Rng;
use rand::seq::SliceRandom;

/// Fewer outbound peers than this for long enough make us ask DNS (Bitcoin Core asks below 2 after 11 s; a quorum of four is
/// what synchronisation wants).
pub(super) const FEW_PEERS: usize = 4;

/// How long known addresses are given before DNS is asked (Bitcoin Core's figure).
const DNS_AFTER: Duration = Duration::from_secs(11);

/// Pause between rounds of DNS while peers are few; seeds are not to be hammered.
const DNS_AGAIN: Duration = Duration::from_secs(60);

/// Pause between attempts at the bootstrap nodes while no peer stands.
const BOOTSTRAP_AGAIN: Duration = Duration::from_secs(30);

/// Addresses of the last round of DNS that are remembered for dialling, at most: what a few seeds give, of which every
/// one has its chance, since another takes its place at random.
const MAX_FRESH: usize = 128;

/// What fallbacks remember.
#[derive(Debug, Default)]
pub(super) struct Fallback {
    running: bool,
    asked: Option<Instant>,
    /// Whether the last round of DNS gave no address at all.
    gave_nothing: bool,
    bootstrapped: Option<Instant>,
}

impl Fallback {
    /// Whether to ask DNS now, peers being few; if so that has begun. `running` is how long the node has been running.
    pub(super) fn asks_dns(&mut self, now: Instant, running: Duration, book_empty: bool) -> bool {
        let rested = is_over(self.asked, DNS_AGAIN, now);
        let asks = !self.running && rested && (running >= DNS_AFTER || book_empty);
        if asks {
            self.running = true;
            self.asked = Some(now);
        }
        asks
    }

    pub(super) fn answered(&mut self, gave_addresses: bool) {
        self.running = false;
        self.gave_nothing = !gave_addresses;
    }

    /// Whether to dial the bootstrap nodes now, nobody being connected: at once when DNS gave nothing, or when it was `waited`
    /// for long enough.
    pub(super) fn bootstraps(&mut self, now: Instant, waited: bool) -> bool {
        let rested = is_over(self.bootstrapped, BOOTSTRAP_AGAIN, now);
        let bootstraps = rested && (self.gave_nothing || waited);
        if bootstraps {
            self.bootstrapped = Some(now);
        }
        bootstraps
    }
}

fn is_over(began: Option<Instant>, pause: Duration, now: Instant) -> bool {
    began.is_none_or(|at| now.saturating_duration_since(at) >= pause)
}

/// What DNS has told lately, to be dialled beside what the book draws.
#[derive(Debug, Default)]
pub(super) struct Fresh(Vec<SocketAddr>);

impl Fresh {
    pub(super) fn add<R: Rng>(&mut self, addr: SocketAddr, rng: &mut R) {
        if self.0.contains(&addr) {
            return;
        }
        if self.0.len() < MAX_FRESH {
            self.0.push(addr);
        } else if let Some(place) = self.0.get_mut(rng.random_range(0..MAX_FRESH)) {
            *place = addr;
        }
    }

    /// Some of them, at random; each is drawn once.
    pub(super) fn draw<R: Rng>(&mut self, count: usize, rng: &mut R) -> Vec<SocketAddr> {
        self.0.shuffle(rng);
        self.0.split_off(self.0.len().saturating_sub(count))
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn dns_is_asked_at_once_with_an_empty_book_and_later_with_a_full_one_and_rests_between() {
        let start = Instant::now();
        let after = |seconds| start + Duration::from_secs(seconds);
        let mut fallback = Fallback::default();
        assert!(!fallback.asks_dns(start, Duration::ZERO, false));
        assert!(fallback.asks_dns(start, Duration::ZERO, true));
        fallback.answered(true);
        assert!(!fallback.asks_dns(after(59), DNS_AFTER, true));
        assert!(fallback.asks_dns(after(60), DNS_AFTER, false));
        // While one round runs no other begins.
        assert!(!fallback.asks_dns(after(600), DNS_AFTER, true));
    }

    #[test]
    fn bootstrap_nodes_are_dialled_when_dns_gave_nothing_or_did_not_help_in_time() {
        let start = Instant::now();
        let mut fallback = Fallback::default();
        assert!(!fallback.bootstraps(start, false));
        fallback.answered(false);
        assert!(fallback.bootstraps(start, false));
        assert!(!fallback.bootstraps(start + Duration::from_secs(29), true));
        fallback.answered(true);
        assert!(!fallback.bootstraps(start + BOOTSTRAP_AGAIN, false));
        assert!(fallback.bootstraps(start + BOOTSTRAP_AGAIN, true));
    }

    #[test]
    fn fresh_addresses_are_bounded_and_each_is_drawn_once() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut fresh = Fresh::default();
        for n in 0..1_000_u16 {
            let addr = SocketAddr::from(([9, 9, 9, 9], n + 1));
            fresh.add(addr, &mut rng);
            fresh.add(addr, &mut rng);
        }
        let mut drawn = fresh.draw(100, &mut rng);
        drawn.extend(fresh.draw(1_000, &mut rng));
        assert_eq!(drawn.len(), MAX_FRESH);
        drawn.sort_unstable();
        drawn.dedup();
        assert_eq!(drawn.len(), MAX_FRESH);
        assert!(fresh.draw(1, &mut rng).is_empty());
    }
}
