//! How much the pool holds.

/// Bounds of the pool. The defaults are for a node; tests set smaller ones.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Most bytes of memory of the transactions in the pool, as [`Mempool::memory`](super::Mempool::memory)
    /// counts them. 64 MB hold about 10,500 payments of one input and two outputs (3,878 bytes, counted as
    /// 6,078), which fill ten blocks. Who wants to push them all out has to outbid all of them.
    pub max_memory: usize,
    /// Most transactions that one may descend from in the pool, itself included. Bitcoin Core's figure.
    /// With the next one it bounds the work of every change: 25 × 25 visits.
    pub max_ancestors: usize,
    /// Most transactions that may descend from one in the pool, itself included.
    pub max_descendants: usize,
    /// Most serialized bytes of either family. A tenth of a block, as Bitcoin Core's 101 kB are of a
    /// block of a million bytes: packages of more leave gaps at the end of blocks. 25 payments have 97 kB.
    pub max_family_bytes: usize,
    /// Most transactions that one may replace, their descendants counted (BIP125's rule 5). What is
    /// replaced was relayed and checked for nothing.
    pub max_replaced: usize,
    /// Seconds after which a transaction that no block took is dropped: 14 days, as in Bitcoin Core.
    pub expiry_seconds: u64,
    /// Most serialized bytes that wait aside between the first block that is disconnected and the end of a
    /// reorganisation: five full blocks, Bitcoin Core's 20 MB. What is beyond it is lost to the pool, the
    /// transactions of the highest blocks first, on which no others depend.
    pub returning_bytes: usize,
    /// Most orphans on one peer's account.
    pub orphans_per_peer: usize,
    /// Most serialized bytes of orphans on one peer's account. Four of the largest transactions; ten payments
    /// have 39 kB.
    pub orphan_bytes_per_peer: usize,
    /// Most orphans of all peers.
    pub orphans: usize,
    /// Most serialized bytes of orphans of all peers: ten times a peer's.
    pub orphan_bytes: usize,
    /// Seconds after which an orphan is dropped: Bitcoin Core's 20 minutes. A parent that is on its way
    /// comes in seconds.
    pub orphan_seconds: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_memory: 64_000_000,
            max_ancestors: 25,
            max_descendants: 25,
            max_family_bytes: 400_000,
            max_replaced: 100,
            expiry_seconds: 14 * 24 * 60 * 60,
            returning_bytes: 20_000_000,
            orphans_per_peer: 10,
            orphan_bytes_per_peer: 400_000,
            orphans: 100,
            orphan_bytes: 4_000_000,
            orphan_seconds: 20 * 60,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chain::policy::MAX_STANDARD_BYTES;

    #[test]
    fn the_bounds_fit_each_other() {
        let limits = Limits::default();
        // Whatever policy relays can be in the pool, and can be an orphan.
        assert!(MAX_STANDARD_BYTES <= limits.max_family_bytes);
        assert!(MAX_STANDARD_BYTES <= limits.orphan_bytes_per_peer);
        assert!(limits.max_family_bytes < limits.max_memory);
        // A single peer can't fill the orphans.
        assert!(2 * limits.orphans_per_peer <= limits.orphans);
        assert!(2 * limits.orphan_bytes_per_peer <= limits.orphan_bytes);
        // A payment is 3,878 bytes: the longest chain of them is bounded by number, not by bytes.
        assert!(25 * 3_878 <= limits.max_family_bytes);
    }
}
