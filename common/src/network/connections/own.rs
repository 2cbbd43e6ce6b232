//! Our own addresses, which are not to be dialled.

use std::collections::VecDeque;
use std::net::SocketAddr;

/// Own addresses remembered; a machine has fewer, and strangers can only make us forget one of them, which costs a dial.
const MAX_OWN: usize = 64;

/// Configured ones, and those at which our own identity was proven to us, the latest last.
#[derive(Debug, Default)]
pub(super) struct OwnAddresses(VecDeque<SocketAddr>);

impl OwnAddresses {
    pub(super) fn add(&mut self, addr: SocketAddr) {
        if self.contains(addr) {
            return;
        }
        self.0.push_back(addr);
        if self.0.len() > MAX_OWN {
            self.0.pop_front();
        }
    }

    pub(super) fn contains(&self, addr: SocketAddr) -> bool {
        self.0.contains(&addr)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_addresses_are_bounded_and_the_latest_stay() {
        let addr = |n: u8| SocketAddr::from(([9, 9, 9, n], 8333));
        let mut own = OwnAddresses::default();
        for n in 0..=MAX_OWN as u8 {
            own.add(addr(n));
            own.add(addr(n));
        }
        assert_eq!(own.0.len(), MAX_OWN);
        assert!(!own.contains(addr(0)) && own.contains(addr(MAX_OWN as u8)));
    }
}
