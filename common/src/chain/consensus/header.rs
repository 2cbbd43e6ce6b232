//! Checking a header against its parent.

use bitcoin::BlockHash;
use bitcoin::block::Header;

use super::{Rules, work_of};
use crate::chain::error::HeaderError;
use crate::chain_spec::compact;

/// Blocks whose times' median a block must exceed.
pub const MEDIAN_TIME_SPAN: usize = 11;

/// Blocks by which a chain may be ahead of one per spacing since the genesis block: 3.8 years of mainnet.
///
/// Guards memory and disk: without it a chain of lowest difficulty could be made arbitrarily long. The
/// slack covers ASERT's fast start (see `docs/launch.md`).
pub const HEIGHT_CAP_SLACK: u64 = 200_000;

/// What the rules need to know of a header's ancestors.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ParentContext {
    height: u32,
    hash: BlockHash,
    /// Times of the last blocks; the block at height `h` is at `h % 11`.
    times: [u32; MEDIAN_TIME_SPAN],
    work: u128,
}

impl ParentContext {
    /// The context in which a child of `header` is checked, where `header` is the genesis block's.
    #[must_use]
    pub fn genesis(header: &Header) -> Self {
        Self::new(
            0,
            header.block_hash(),
            work_of(header.bits),
            std::iter::once(header.time),
        )
    }

    /// The context in which a child of the block at `height` is checked; `times` are its own time, its
    /// parent's and so on, of which at most 11 are read. `work` is the chain's up to and with it.
    pub(crate) fn new(
        height: u32,
        hash: BlockHash,
        work: u128,
        times: impl Iterator<Item = u32>,
    ) -> Self {
        let mut context = Self {
            height,
            hash,
            times: [0; MEDIAN_TIME_SPAN],
            work,
        };
        for (back, time) in times.take(MEDIAN_TIME_SPAN).enumerate() {
            if let Some(height) = (height as usize).checked_sub(back) {
                context.set_time(height, time);
            }
        }
        context
    }

    /// Height of the parent.
    #[must_use]
    pub fn height(&self) -> u32 {
        self.height
    }

    /// Hash of the parent.
    #[must_use]
    pub fn hash(&self) -> BlockHash {
        self.hash
    }

    /// Work of the chain up to and with the parent.
    #[must_use]
    pub fn work(&self) -> u128 {
        self.work
    }

    /// Time of the parent, Unix seconds.
    #[must_use]
    pub fn time(&self) -> u32 {
        self.times
            .get(self.height as usize % MEDIAN_TIME_SPAN)
            .copied()
            .unwrap_or_default()
    }

    /// The median time of the parent and its ten ancestors (fewer near the genesis block; of an even
    /// number, the later middle one, as in Bitcoin). A child's time must be greater.
    #[must_use]
    pub fn median_time(&self) -> u32 {
        let mut times = self.times;
        let count = (self.height as usize + 1).min(MEDIAN_TIME_SPAN);
        let known = times.get_mut(..count).unwrap_or_default();
        known.sort_unstable();
        known.get(count / 2).copied().unwrap_or_default()
    }

    /// Moves on to the child that [`check_header`] passed.
    pub fn push(&mut self, header: &Header, hash: BlockHash) {
        self.height = self.height.saturating_add(1);
        self.hash = hash;
        self.work = self.work.saturating_add(work_of(header.bits));
        self.set_time(self.height as usize, header.time);
    }

    fn set_time(&mut self, height: usize, time: u32) {
        if let Some(slot) = self.times.get_mut(height % MEDIAN_TIME_SPAN) {
            *slot = time;
        }
    }
}

/// Checks every header rule for a child of `parent`, and gives the header's hash.
///
/// `now` is the time by our clock, in Unix seconds.
///
/// # Errors
/// The first rule that `header` breaks.
pub fn check_header(
    rules: &Rules,
    parent: &ParentContext,
    header: &Header,
    now: u32,
) -> Result<BlockHash, HeaderError> {
    let hash = header.block_hash();
    check_hashed(rules, parent, header, hash, now).map(|()| hash)
}

/// [`check_header`] for a caller that has hashed the header already.
pub(crate) fn check_hashed(
    rules: &Rules,
    parent: &ParentContext,
    header: &Header,
    hash: BlockHash,
    now: u32,
) -> Result<(), HeaderError> {
    if header.prev_blockhash != parent.hash {
        return Err(HeaderError::UnknownParent {
            hash,
            parent: header.prev_blockhash,
        });
    }
    let expected = rules.asert.next_bits(parent.height, parent.time());
    if header.bits != expected {
        return Err(HeaderError::Bits {
            hash,
            found: header.bits,
            expected,
        });
    }
    // Bits that ASERT gave are canonical and within the limit; a zero target is met by no hash.
    let target = compact::target_of(expected).unwrap_or_default();
    if compact::hash_number(&hash) > target || target > rules.limit {
        return Err(HeaderError::ProofOfWork {
            hash,
            bits: header.bits,
        });
    }
    if header.version.to_consensus() < 1 {
        return Err(HeaderError::Version {
            hash,
            version: header.version.to_consensus(),
        });
    }
    let median = parent.median_time();
    if header.time <= median {
        return Err(HeaderError::TimeTooOld {
            hash,
            time: header.time,
            median,
        });
    }
    let latest = u64::from(now) + rules.max_future_seconds;
    if u64::from(header.time) > latest {
        return Err(HeaderError::TimeTooNew {
            hash,
            time: header.time,
            latest,
        });
    }
    let height = u64::from(parent.height) + 1;
    let cap = rules.height_cap(now);
    if height > cap {
        return Err(HeaderError::AboveHeightCap { hash, height, cap });
    }
    Ok(())
}

impl Rules {
    /// The greatest height that a chain can plausibly have at `now` (Unix seconds); below 2^32.
    #[must_use]
    pub fn height_cap(&self, now: u32) -> u64 {
        let elapsed = u64::from(now.saturating_sub(self.genesis_time));
        (elapsed / self.target_spacing + HEIGHT_CAP_SLACK).min(u64::from(u32::MAX) - 1)
    }
}

#[cfg(test)]
#[path = "header_tests.rs"]
mod tests;
