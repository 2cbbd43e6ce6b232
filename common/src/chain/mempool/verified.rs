//! Which transactions had their signatures checked and are not in the pool any more.
//!
//! A wtxid stands for all that the signatures depend on: it commits to the witnesses and, through the ids in
//! the inputs, to the values and scripts of the outputs that they spend. So where those coins exist, a wtxid
//! that passed once passes again, in a block too. A wrong answer takes a collision of SHA-256.

use bitcoin::Wtxid;

use crate::recent::Recent;

/// Wtxids in a generation. There are two, so between this many and twice as many of the last ones are
/// known: more than a full pool holds. A set of 28,672 has 2^15 buckets of 33 bytes: 2.2 MB for both.
pub(super) const GENERATION: usize = 28_672;

/// The last ones; the oldest are forgotten.
pub(super) type Verified = Recent<Wtxid>;
