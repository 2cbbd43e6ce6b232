//! Headers: taking them in, finding them, offering them to peers.

use bitcoin::BlockHash;
use bitcoin::block::Header;

use super::writer::Writer;
use super::{Blockchain, State};
use crate::chain::consensus::check_hashed;
use crate::chain::store::HeadersFile;
use crate::chain::tree::Id;
use crate::chain::{BlockRef, HeaderError};

/// Most headers of one message (Bitcoin's protocol).
pub const MAX_HEADERS_PER_MESSAGE: usize = 2_000;
/// Most hashes of a locator (Bitcoin Core's limit; ours has about 40).
pub const MAX_LOCATOR_ENTRIES: usize = 101;

/// What [`Blockchain::accept_headers`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct HeadersAccepted {
    /// Headers that were not known before.
    pub new: usize,
    /// The last header of the list, or the best header for an empty list.
    pub last: BlockRef,
}

impl Blockchain {
    /// Takes in a list of headers, each following the one before it, the first following any known header.
    ///
    /// Each is checked in full: work, difficulty, time, height cap. `now` is our clock, Unix seconds. Where a
    /// header fails, those before it are kept.
    ///
    /// # Errors
    /// The first header's fault, or the disk's.
    pub fn accept_headers(
        &self,
        headers: &[Header],
        now: u32,
    ) -> Result<HeadersAccepted, HeaderError> {
        if headers.len() > MAX_HEADERS_PER_MESSAGE {
            return Err(HeaderError::TooMany {
                count: headers.len(),
                limit: MAX_HEADERS_PER_MESSAGE,
            });
        }
        // Hashing is most of the cost: once per header, before any lock is taken.
        let hashes: Vec<BlockHash> = headers.iter().map(Header::block_hash).collect();
        if let Some(index) = first_break(headers, &hashes) {
            return Err(HeaderError::NotContinuous { index });
        }
        match self.take_in(headers, &hashes, now, None)? {
            Some(accepted) => Ok(accepted),
            // Room must be made in the tree: not while blocks of it are being connected.
            None => {
                let mut writer = self.lock_writer();
                let accepted = self.take_in(headers, &hashes, now, Some(&mut writer))?;
                let limit = self.max_side_headers;
                accepted.ok_or(HeaderError::TooManySideHeaders { limit })
            }
        }
    }

    /// Checks and adds headers. `None` where there is no room for them and no `writer` to make it with.
    fn take_in(
        &self,
        headers: &[Header],
        hashes: &[BlockHash],
        now: u32,
        writer: Option<&mut Writer>,
    ) -> Result<Option<HeadersAccepted>, HeaderError> {
        let mut file = self.lock_headers();
        let (mut parent, known) = self.known_part(headers, hashes)?;
        let fresh = headers.get(known..).unwrap_or_default();
        if fresh.is_empty() {
            let last = self.read().tree.reference(parent);
            return Ok(Some(HeadersAccepted { new: 0, last }));
        }
        let mut context = self.read().tree.context(parent);
        let mut checked = Vec::with_capacity(fresh.len());
        let mut fault = None;
        for (header, hash) in fresh.iter().zip(hashes.iter().skip(known)) {
            if let Err(error) = check_hashed(&self.rules, &context, header, *hash, now) {
                fault = Some(error);
                break;
            }
            context.push(header, *hash);
            checked.push((*hash, context.work()));
        }
        let valid = fresh.get(..checked.len()).unwrap_or_default();
        let room = Room {
            more: valid.len(),
            work: context.work(),
            // A plausible chain's length is below 2^32.
            limit: self
                .max_side_headers
                .min(self.rules.height_cap(now) as usize),
        };
        if !room.is_there(&self.read()) {
            let Some(writer) = writer else {
                return Ok(None);
            };
            parent = self.make_room(writer, &mut file, parent, &room)?;
        }
        if let Some(file) = &mut *file {
            file.append(valid)?;
        }
        let last = self.insert(parent, valid, &checked);
        match fault {
            None => Ok(Some(HeadersAccepted {
                new: valid.len(),
                last,
            })),
            Some(error) => Err(error),
        }
    }

    /// A known header by hash, with its height; of side chains too.
    #[must_use]
    pub fn header(&self, hash: &BlockHash) -> Option<(u32, Header)> {
        let state = self.read();
        let id = state.tree.find(hash)?;
        Some((state.tree.height(id), state.tree.header(id)))
    }

    /// All the work of the chain that ends in a header; `None` where it is not known, or known to be invalid.
    #[must_use]
    pub fn header_work(&self, hash: &BlockHash) -> Option<u128> {
        let state = self.read();
        let id = state.tree.find(hash)?;
        (!state.tree.is_invalid(id)).then(|| state.tree.work(id))
    }

    /// The height of the last header that two chains share, given by their ends; `None` where one is not
    /// known. Takes steps only for headers that are not on the best chain.
    #[must_use]
    pub fn fork_height(&self, one: &BlockHash, other: &BlockHash) -> Option<u32> {
        let state = self.read();
        let tree = &state.tree;
        let (mut a, mut b) = (tree.find(one)?, tree.find(other)?);
        let on_best = |id: Id| tree.best_chain().get(tree.height(id) as usize) == Some(&id);
        while a != b {
            let (height_a, height_b) = (tree.height(a), tree.height(b));
            match (on_best(a), on_best(b)) {
                (true, true) => return Some(height_a.min(height_b)),
                // Whatever a chain shares with the best one is on the best one.
                (false, true) => a = tree.parent(a),
                (true, false) => b = tree.parent(b),
                (false, false) if height_a >= height_b => a = tree.parent(a),
                (false, false) => b = tree.parent(b),
            }
        }
        Some(tree.height(a))
    }

    /// Hash of the best header chain at this height.
    #[must_use]
    pub fn best_header_at(&self, height: u32) -> Option<BlockHash> {
        let state = self.read();
        let id = state.tree.best_chain().get(height as usize)?;
        Some(state.tree.hash(*id))
    }

    /// Hashes of the best header chain from its end back to the genesis block: ten in a row, then with
    /// doubling distance. At most [`MAX_LOCATOR_ENTRIES`].
    #[must_use]
    pub fn locator(&self) -> Vec<BlockHash> {
        let state = self.read();
        let best = state.tree.best_chain();
        let mut locator = Vec::new();
        let mut step = 1;
        let mut height = best.len().saturating_sub(1);
        while height > 0 && locator.len() < MAX_LOCATOR_ENTRIES - 1 {
            locator.extend(best.get(height).map(|id| state.tree.hash(*id)));
            if locator.len() >= 10 {
                step *= 2;
            }
            height = height.saturating_sub(step);
        }
        locator.push(state.tree.hash(Id::GENESIS));
        locator
    }

    /// Headers of the chain of verified blocks that follow the first hash of `locator` on it (the genesis
    /// block where none is), up to and with `stop`, at most `limit` and at most one message's.
    #[must_use]
    pub fn headers_after(
        &self,
        locator: &[BlockHash],
        stop: BlockHash,
        limit: usize,
    ) -> Vec<Header> {
        let state = self.read();
        let fork = locator
            .iter()
            .take(MAX_LOCATOR_ENTRIES)
            .filter_map(|hash| state.verified_height(hash))
            .next()
            .unwrap_or(0);
        let following = state.verified.get(fork as usize + 1..).unwrap_or_default();
        let mut headers = Vec::new();
        for id in following.iter().take(limit.min(MAX_HEADERS_PER_MESSAGE)) {
            headers.push(state.tree.header(*id));
            if state.tree.hash(*id) == stop {
                break;
            }
        }
        headers
    }

    /// The last known header of a list whose headers are known up to some point, and that point.
    fn known_part(
        &self,
        headers: &[Header],
        hashes: &[BlockHash],
    ) -> Result<(Id, usize), HeaderError> {
        let state = self.read();
        let Some(first) = headers.first() else {
            return Ok((state.tree.best_header(), 0));
        };
        let mut parent = state.tree.find(&first.prev_blockhash);
        let mut known = 0;
        for hash in hashes {
            let Some(id) = state.tree.find(hash) else {
                break;
            };
            parent = Some(id);
            known += 1;
        }
        let Some(parent) = parent else {
            return Err(HeaderError::UnknownParent {
                hash: first.block_hash(),
                parent: first.prev_blockhash,
            });
        };
        if state.tree.is_invalid(parent) {
            return Err(HeaderError::KnownInvalid {
                hash: first.block_hash(),
            });
        }
        Ok((parent, known))
    }

    /// Drops headers to keep side chains within their bound, and gives the parent's id in the tree as it is
    /// then.
    ///
    /// All side chains are dropped but the one that is being extended and those with blocks. So spam can't
    /// crowd out a chain that will win: a whole chain of plausible length fits the bound. What was dropped
    /// can be fetched again.
    fn make_room(
        &self,
        writer: &mut Writer,
        file: &mut Option<HeadersFile>,
        parent: Id,
        room: &Room,
    ) -> Result<Id, HeaderError> {
        let limit = room.limit;
        // What dropping all others can't make fit is refused at once, since dropping is work.
        if self.read().tree.loose_branch_len(parent) + room.more > limit {
            return Err(HeaderError::TooManySideHeaders { limit });
        }
        let (tree, moved) = self.read().tree.pruned(parent);
        let new_id = |id: Id| moved.get(id.index()).copied().flatten();
        let Some(parent) = new_id(parent) else {
            // Can't be: what leads to `parent` is kept.
            return Err(HeaderError::TooManySideHeaders { limit });
        };
        if let Some(file) = file {
            // In between the mark must fit both files: none of it is certain.
            if let Some(files) = writer.files_mut() {
                files.forget_headers_mark()?;
            }
            file.rewrite(tree.ids().map(|id| tree.header(id)))?;
        }
        let mut state = self.write();
        let dropped = state.tree.len() - tree.len();
        state.verified = state.verified.iter().filter_map(|id| new_id(*id)).collect();
        state.tree = tree;
        tracing::warn!(
            dropped,
            limit,
            "dropped headers of side chains to bound memory"
        );
        Ok(parent)
    }

    /// Adds checked headers; `checked` has each one's hash and its chain's work.
    fn insert(&self, parent: Id, headers: &[Header], checked: &[(BlockHash, u128)]) -> BlockRef {
        let mut state = self.write();
        state.tree.warm(checked.iter().map(|(hash, _)| hash));
        let mut last = parent;
        for (header, (hash, work)) in headers.iter().zip(checked) {
            // `None` only beyond 2^32 headers, far above every bound.
            let Some(id) = state.tree.insert(last, header, *hash, *work) else {
                break;
            };
            last = id;
        }
        state.tree.reference(last)
    }
}

/// What headers that are to be added ask for.
struct Room {
    more: usize,
    /// All work of the chain that they end.
    work: u128,
    /// How many headers may be neither on the best chain nor have a block.
    limit: usize,
}

impl Room {
    fn is_there(&self, state: &State) -> bool {
        let wins = self.work > state.tree.work(state.tree.best_header());
        wins || state.tree.loose_len() + self.more <= self.limit
    }
}

impl State {
    /// The height of a block on the verified chain.
    pub(super) fn verified_height(&self, hash: &BlockHash) -> Option<u32> {
        let id = self.tree.find(hash)?;
        self.is_verified(id).then(|| self.tree.height(id))
    }
}

/// Index of the first header that does not follow the one before it.
fn first_break(headers: &[Header], hashes: &[BlockHash]) -> Option<usize> {
    let pairs = headers.iter().skip(1).zip(hashes);
    pairs
        .enumerate()
        .find(|(_, (header, parent))| header.prev_blockhash != **parent)
        .map(|(index, _)| index + 1)
}
