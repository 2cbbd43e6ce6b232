//! Mining a first block: for a network's launch, for testnets, and to show how mainnet's was made.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bitcoin::CompactTarget;
use bitcoin::consensus::encode::serialize;
use bitcoin::hashes::{Hash, HashEngine, sha256};
use ruint::aliases::U256;

use crate::chain_spec::{ChainSpec, GenesisSpec, compact};

/// Hashes between two looks at `stop`, and between two progress reports of one thread.
const BATCH: u64 = 1 << 16;
/// In place of a nonce: none was found.
const NOT_FOUND: u64 = u64::MAX;
/// Most threads.
const MAX_THREADS: usize = 256;

/// Mines the genesis block that `spec.genesis` describes, and gives it with nonce, extra nonce, merkle root
/// and hash filled in; the values that `spec` has for these four are not read.
///
/// Gives the solution with the lowest extra nonce and, of these, the lowest nonce, whatever the number of
/// threads: so anyone can repeat it. `on_progress` is told the hashes done so far.
/// `None` once `stop` is set, or when the bits are no target.
#[must_use]
pub fn mine_genesis(
    spec: &ChainSpec,
    threads: usize,
    on_progress: impl Fn(u64) + Sync,
    stop: &AtomicBool,
) -> Option<GenesisSpec> {
    let target = compact::target_of(CompactTarget::from_consensus(spec.genesis.bits))?;
    let threads = threads.clamp(1, MAX_THREADS);
    let done = AtomicU64::new(0);
    for extra_nonce in 0..=u32::MAX {
        let mut candidate = spec.clone();
        candidate.genesis.extra_nonce = extra_nonce;
        let search = Search::new(&candidate, target);
        std::thread::scope(|scope| {
            for thread in 0..threads {
                let (search, done, on_progress) = (&search, &done, &on_progress);
                scope.spawn(move || {
                    search.run(thread as u64, threads as u64, stop, done, on_progress);
                });
            }
        });
        if stop.load(Ordering::Relaxed) {
            return None;
        }
        if let Some(nonce) = search.result() {
            candidate.genesis.nonce = nonce;
            let block = candidate.genesis_block();
            candidate.genesis.merkle_root = block.header.merkle_root.to_string();
            candidate.genesis.hash = block.block_hash().to_string();
            return Some(candidate.genesis);
        }
    }
    None
}

/// One header's search over all nonces.
struct Search {
    /// SHA-256 after the header's first 64 bytes, which the nonce is not part of.
    midstate: sha256::HashEngine,
    /// Bytes 64 to 75: the end of the merkle root, time, bits.
    tail: [u8; 12],
    target: U256,
    /// The lowest nonce found, or `NOT_FOUND`.
    lowest: AtomicU64,
}

impl Search {
    fn new(spec: &ChainSpec, target: U256) -> Self {
        let header = serialize(&spec.genesis_block().header);
        let (first, rest) = header.split_at(header.len().min(64));
        let mut midstate = sha256::HashEngine::default();
        midstate.input(first);
        let mut tail = [0; 12];
        // A header has 80 bytes: 64, these 12 and the nonce.
        for (to, from) in tail.iter_mut().zip(rest) {
            *to = *from;
        }
        Self {
            midstate,
            tail,
            target,
            lowest: AtomicU64::new(NOT_FOUND),
        }
    }

    /// Tries the batches `thread`, `thread + threads`, and so on.
    fn run(
        &self,
        thread: u64,
        threads: u64,
        stop: &AtomicBool,
        done: &AtomicU64,
        on_progress: &impl Fn(u64),
    ) {
        let mut first = thread * BATCH;
        // Above the lowest solution found so far there is nothing to gain; below it, another may be.
        while first <= u64::from(u32::MAX)
            && first < self.lowest.load(Ordering::Relaxed)
            && !stop.load(Ordering::Relaxed)
        {
            // Within 32 bits: batches divide 2^32.
            if let Some(nonce) = (first..first + BATCH).find(|nonce| self.meets(*nonce as u32)) {
                self.lowest.fetch_min(nonce, Ordering::Relaxed);
            }
            on_progress(done.fetch_add(BATCH, Ordering::Relaxed) + BATCH);
            first += threads * BATCH;
        }
    }

    fn meets(&self, nonce: u32) -> bool {
        let mut engine = self.midstate.clone();
        engine.input(&self.tail);
        engine.input(&nonce.to_le_bytes());
        let hash = sha256::Hash::hash(sha256::Hash::from_engine(engine).as_byte_array());
        U256::from_le_bytes(hash.to_byte_array()) <= self.target
    }

    fn result(&self) -> Option<u32> {
        // `NOT_FOUND` is beyond 32 bits.
        u32::try_from(self.lowest.load(Ordering::Relaxed)).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bits of about 2^12 hashes.
    const EASY: u32 = 0x1f0f_ffff;

    #[test]
    fn a_mined_genesis_makes_a_spec_that_holds() {
        let mut spec = ChainSpec::devnet();
        spec.network = "mined".into();
        spec.network_protocol.magic_bytes = *b"MINE";
        spec.consensus.pow_limit_bits = EASY;
        spec.genesis.bits = EASY;
        spec.genesis.message = "another first block".into();
        let told = AtomicU64::new(0);
        let progress = |hashes| {
            told.fetch_max(hashes, Ordering::Relaxed);
        };
        spec.genesis = mine_genesis(&spec, 2, progress, &AtomicBool::new(false)).unwrap();
        assert!(told.load(Ordering::Relaxed) > 0);
        assert_eq!(
            ChainSpec::from_toml(&spec.to_toml(), "mined").unwrap(),
            spec
        );
    }

    #[test]
    fn finds_the_built_in_devnet() {
        let spec = ChainSpec::devnet();
        let mined = mine_genesis(&spec, 1, |_| (), &AtomicBool::new(false)).unwrap();
        assert_eq!(mined, spec.genesis);
    }

    #[test]
    fn the_number_of_threads_does_not_matter() {
        let mut spec = ChainSpec::devnet();
        for message in ["one", "two", "three"] {
            spec.genesis.bits = 0x1e3f_ffff;
            spec.genesis.message = message.into();
            let mine = |threads| mine_genesis(&spec, threads, |_| (), &AtomicBool::new(false));
            let alone = mine(1).unwrap();
            assert_eq!(mine(4).unwrap(), alone);
        }
    }

    #[test]
    fn stops_when_told() {
        assert_eq!(
            mine_genesis(&ChainSpec::mainnet(), 1, |_| (), &AtomicBool::new(true)),
            None
        );
    }
}
