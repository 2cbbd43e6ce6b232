//! When to ask DNS, and when to dial the bootstrap nodes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::Rng;

/// Fewer outbound peers than this for long enough make us ask DNS (Bitcoin Core asks below 2 after 11 s; a quorum of four is
/// what synchronisation wants).
pub(super) const FEW_PEERS: usize = 4;

/// How long known addresses are given before DNS is asked (Bitcoin Core's figure).
const DNS_AFTER: Duration = Duration::from_secs(11);

/// Pause between rounds of DNS while peers are few; seeds are not to be hammered.
const DNS_AGAIN: Duration = Duration::from_secs(60);

/// Pause between attempts at the bootstrap nodes while no peer stands.
const BOOTSTRAP_AGAIN: Duration = Duration::from_secs(30);

/// Addresses of one seed that are remembered for dialling, at most: what the book takes of an answer.
const MAX_FRESH: usize = 32;

/// Seeds of which some are remembered, at most; a network has a handful.
const MAX_SEEDS: usize = 16;

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

/// What the last round of DNS has told, to be dialled beside what the book draws: each seed has its share.
#[derive(Debug, Default)]
pub(super) struct Fresh(BTreeMap<String, Vec<SocketAddr>>);

impl Fresh {
    pub(super) fn add<R: Rng>(&mut self, addr: SocketAddr, seed: &str, rng: &mut R) {
        if !self.0.contains_key(seed) && self.0.len() >= MAX_SEEDS {
            return;
        }
        let told = self.0.entry(seed.to_owned()).or_default();
        if told.contains(&addr) {
            return;
        }
        // At random places, since whoever is told first need not be best.
        told.insert(rng.random_range(0..=told.len()), addr);
        told.truncate(MAX_FRESH);
    }

    /// A new round begins.
    pub(super) fn clear(&mut self) {
        self.0.clear();
    }

    /// One of each seed, then the next of each.
    pub(super) fn in_turn(&self) -> Vec<SocketAddr> {
        let longest = self.0.values().map(Vec::len).max().unwrap_or(0);
        let turns =
            (0..longest).flat_map(|turn| self.0.values().filter_map(move |told| told.get(turn)));
        turns.copied().collect()
    }

    /// These are being dialled.
    pub(super) fn remove(&mut self, dialled: &[SocketAddr]) {
        for told in self.0.values_mut() {
            told.retain(|addr| !dialled.contains(addr));
        }
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
    fn no_seed_fills_what_is_to_be_dialled_and_each_has_its_turn() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut fresh = Fresh::default();
        for n in 1..=1_000_u16 {
            let addr = SocketAddr::from(([9, 9, 9, 9], n));
            fresh.add(addr, "flood", &mut rng);
            fresh.add(addr, "flood", &mut rng);
        }
        let few = [1, 2].map(|n| SocketAddr::from(([8, 8, 8, 8], n)));
        for addr in few {
            fresh.add(addr, "few", &mut rng);
        }
        let told = fresh.in_turn();
        assert_eq!(told.len(), MAX_FRESH + 2);
        assert!(few.iter().all(|addr| told[..4].contains(addr)));
        fresh.remove(&told[..4]);
        assert_eq!(fresh.in_turn(), told[4..]);
        for n in 0..100 {
            fresh.add(few[0], &format!("seed {n}"), &mut rng);
        }
        assert_eq!(fresh.0.len(), MAX_SEEDS);
        fresh.clear();
        assert!(fresh.in_turn().is_empty());
    }
}
