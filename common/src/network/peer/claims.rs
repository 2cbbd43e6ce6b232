//! Which nodes we have dialled: one outbound connection a node, whatever its number of addresses.
//!
//! The claim is made between the two handshakes, when the node's identity is proven and it has not heard
//! our version yet: the second connection then ends before the other side takes it for a new one of ours
//! and closes the first.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};

use crate::transport::NodeId;

/// The nodes that are claimed now. Cloning shares the set; its size is bounded by dials and peers.
#[derive(Debug, Clone, Default)]
pub(crate) struct Claims(Arc<Mutex<HashSet<NodeId>>>);

/// One claimed node; dropping it gives the node free.
#[derive(Debug)]
pub(crate) struct Claim {
    claims: Claims,
    node: NodeId,
}

impl Claims {
    /// Claims a node; `None` when a connection to it stands or is being made.
    pub(crate) fn claim(&self, node: NodeId) -> Option<Claim> {
        self.set(|set| set.insert(node)).then(|| Claim {
            claims: self.clone(),
            node,
        })
    }

    fn set<T>(&self, f: impl FnOnce(&mut HashSet<NodeId>) -> T) -> T {
        // Nothing panics while the lock is held.
        f(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        self.claims.set(|set| set.remove(&self.node));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::transport::Identity;

    #[test]
    fn a_node_is_claimed_once_until_it_is_given_free() {
        let claims = Claims::default();
        let node = Identity::generate().unwrap().node_id();
        let other = Identity::generate().unwrap().node_id();
        let held = claims.claim(node).unwrap();
        assert!(claims.claim(node).is_none());
        assert!(claims.claim(other).is_some());
        drop(held);
        assert!(claims.claim(node).is_some());
    }
}
