//! Peers that the operator chose: dialled again and again, and never banned.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// First and longest pause between attempts at a manual peer.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// A manual peer that stood for so long is dialled again at once when it goes; one that comes and goes waits longer each
/// time.
const GOOD_STANDING: Duration = Duration::from_secs(300);

/// When a manual peer is dialled next, and the pause after that.
#[derive(Debug, Clone, Copy)]
struct Manual {
    next: Instant,
    backoff: Duration,
}

/// All of them, by canonical address.
#[derive(Debug, Default)]
pub(super) struct ManualPeers(BTreeMap<SocketAddr, Manual>);

impl ManualPeers {
    pub(super) fn add(&mut self, addr: SocketAddr, now: Instant) {
        let backoff = BACKOFF.0;
        let manual = Manual { next: now, backoff };
        self.0.entry(addr).or_insert(manual);
    }

    /// Whether it was one.
    pub(super) fn remove(&mut self, addr: SocketAddr) -> bool {
        self.0.remove(&addr).is_some()
    }

    /// Removes all for which `gone` holds; gives how many.
    pub(super) fn remove_all(&mut self, gone: impl Fn(SocketAddr) -> bool) -> usize {
        let before = self.0.len();
        self.0.retain(|addr, _| !gone(*addr));
        before - self.0.len()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) fn contains(&self, addr: SocketAddr) -> bool {
        self.0.contains_key(&addr)
    }

    /// Those that are due and not `busy`; each is due again after a doubled pause.
    pub(super) fn due(
        &mut self,
        now: Instant,
        busy: impl Fn(&SocketAddr) -> bool,
    ) -> Vec<SocketAddr> {
        let mut due = Vec::new();
        for (addr, manual) in &mut self.0 {
            if manual.next <= now && !busy(addr) {
                manual.next = now + manual.backoff;
                manual.backoff = (manual.backoff * 2).min(BACKOFF.1);
                due.push(*addr);
            }
        }
        due
    }

    /// A connection to `addr` ended after it had stood for `stood`.
    pub(super) fn gone(&mut self, addr: SocketAddr, stood: Duration, now: Instant) {
        if let Some(manual) = self.0.get_mut(&addr) {
            if stood >= GOOD_STANDING {
                manual.backoff = BACKOFF.0;
            }
            manual.next = now + manual.backoff;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manual_peer_that_comes_and_goes_waits_longer_each_time() {
        let addr = SocketAddr::from(([9, 9, 9, 1], 8333));
        let mut now = Instant::now();
        let mut peers = ManualPeers::default();
        peers.add(addr, now);
        let mut pauses = Vec::new();
        for _ in 0..8 {
            assert_eq!(peers.due(now, |_| false), [addr]);
            now += Duration::from_millis(100);
            peers.gone(addr, Duration::from_millis(100), now);
            let gone = now;
            while peers.0[&addr].next > now {
                now += Duration::from_secs(1);
            }
            pauses.push((now - gone).as_secs());
        }
        assert_eq!(pauses, [2, 4, 8, 16, 32, 60, 60, 60]);
        peers.due(now, |_| false);
        peers.gone(addr, GOOD_STANDING, now);
        assert_eq!(peers.0[&addr].next, now + BACKOFF.0);
    }
}
