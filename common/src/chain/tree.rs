//! All known headers in memory: the best chain and, within a bound that the owner keeps, side chains.
//!
//! A header takes 120 bytes and about 16 in the hash index and the two height lists: one million headers
//! stay under 150 MB. Headers lie in fixed segments, so growth never copies them; ids are dense numbers in
//! order of acceptance, so a parent's id is less than its children's.

use std::hash::{BuildHasher, RandomState};

use bitcoin::block::{Header, Version};
use bitcoin::hashes::Hash;
use bitcoin::{BlockHash, CompactTarget, TxMerkleNode};

use super::BlockRef;
use super::consensus::{MEDIAN_TIME_SPAN, ParentContext, work_of};

/// A header's place in its tree. Valid for the tree that gave it, until the tree is rebuilt.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Id(u32);

impl Id {
    /// The genesis block.
    pub(super) const GENESIS: Self = Self(0);

    /// The number, dense from 0, for lists by id.
    pub(super) fn index(self) -> usize {
        self.0 as usize
    }
}

/// Where a record is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Location {
    /// Number of the file.
    pub(super) file: u32,
    /// Where the record starts in the file.
    pub(super) offset: u32,
}

/// No file has this number: the block is not there.
const NO_FILE: u32 = u32::MAX;

struct Entry {
    hash: BlockHash,
    merkle_root: TxMerkleNode,
    // As two halves: a u128 would be aligned to 16 bytes.
    work: [u64; 2],
    version: i32,
    time: u32,
    bits: u32,
    nonce: u32,
    height: u32,
    parent: Id,
    location: Location,
    invalid: bool,
}

/// The tree of headers that grows from the genesis block.
pub(super) struct HeaderTree {
    segments: Vec<Vec<Entry>>,
    len: u32,
    index: HashIndex,
    /// How many headers have a location.
    located: u32,
    /// By height: the chain of most work among headers that are not invalid; of equals, the first.
    best: Vec<Id>,
}

/// Entries of a segment, a power of two.
const SEGMENT: usize = 4096;

impl HeaderTree {
    pub(super) fn new(genesis: &Header) -> Self {
        let mut tree = Self {
            segments: Vec::new(),
            len: 0,
            index: HashIndex::new(),
            located: 0,
            best: Vec::new(),
        };
        tree.push(Entry {
            hash: genesis.block_hash(),
            work: halves(work_of(genesis.bits)),
            height: 0,
            parent: Id::GENESIS,
            ..Entry::from_header(genesis)
        });
        tree.best.push(Id::GENESIS);
        tree
    }

    /// Makes room in the hash index for `more` headers that are about to come.
    pub(super) fn reserve(&mut self, more: usize) {
        let segments = &self.segments;
        let wanted = self.len().saturating_add(more).saturating_mul(3) / 2 + 1;
        if wanted > self.index.slots.len() {
            self.index
                .resize(wanted.next_power_of_two(), |id| &slot(segments, id).hash);
        }
    }

    /// Brings the places of headers that are about to come into the processor's cache, all at once: one by
    /// one, each would wait for memory, which is most of the cost of adding a header to a large tree.
    pub(super) fn warm<'a>(&self, hashes: impl Iterator<Item = &'a BlockHash>) {
        let slots = hashes.filter_map(|hash| self.index.probe(hash).next());
        let seen = slots.fold(0, |seen, slot| {
            seen ^ self.index.slots.get(slot).copied().unwrap_or_default()
        });
        // The values don't matter, only that they were read.
        std::hint::black_box(seen);
    }

    /// How many headers there are, the genesis block's included.
    pub(super) fn len(&self) -> usize {
        self.len as usize
    }

    /// How many headers are neither on the best chain nor have a block: what spam is made of.
    pub(super) fn loose_len(&self) -> usize {
        // Blocks come first on a chain; the genesis block has no location.
        let on_best = self
            .best
            .partition_point(|id| self.has_block(*id))
            .saturating_sub(1);
        let on_sides = (self.located as usize).saturating_sub(on_best);
        self.len()
            .saturating_sub(self.best.len())
            .saturating_sub(on_sides)
    }

    /// How many loose headers lead to `id`, itself included.
    pub(super) fn loose_branch_len(&self, id: Id) -> usize {
        let mut length = 0;
        let mut id = id;
        while !self.has_block(id) && self.best.get(self.height(id) as usize) != Some(&id) {
            length += 1;
            id = self.parent(id);
        }
        length
    }

    pub(super) fn find(&self, hash: &BlockHash) -> Option<Id> {
        self.index.find(hash, |id| &self.entry(id).hash)
    }

    /// By height, the chain of most work.
    pub(super) fn best_chain(&self) -> &[Id] {
        &self.best
    }

    pub(super) fn best_header(&self) -> Id {
        // The genesis block is always there.
        self.best.last().copied().unwrap_or(Id::GENESIS)
    }

    pub(super) fn hash(&self, id: Id) -> BlockHash {
        self.entry(id).hash
    }

    pub(super) fn height(&self, id: Id) -> u32 {
        self.entry(id).height
    }

    pub(super) fn work(&self, id: Id) -> u128 {
        let [high, low] = self.entry(id).work;
        (u128::from(high) << 64) | u128::from(low)
    }

    pub(super) fn is_invalid(&self, id: Id) -> bool {
        self.entry(id).invalid
    }

    pub(super) fn parent(&self, id: Id) -> Id {
        self.entry(id).parent
    }

    pub(super) fn reference(&self, id: Id) -> BlockRef {
        let entry = self.entry(id);
        BlockRef {
            height: entry.height,
            hash: entry.hash,
        }
    }

    pub(super) fn header(&self, id: Id) -> Header {
        let entry = self.entry(id);
        let prev_blockhash = if id == Id::GENESIS {
            BlockHash::all_zeros()
        } else {
            self.entry(entry.parent).hash
        };
        Header {
            version: Version::from_consensus(entry.version),
            prev_blockhash,
            merkle_root: entry.merkle_root,
            time: entry.time,
            bits: CompactTarget::from_consensus(entry.bits),
            nonce: entry.nonce,
        }
    }

    /// Where the block is kept; the genesis block is kept nowhere and always there.
    pub(super) fn location(&self, id: Id) -> Option<Location> {
        let location = self.entry(id).location;
        (location.file != NO_FILE).then_some(location)
    }

    /// Whether the block is kept.
    pub(super) fn has_block(&self, id: Id) -> bool {
        id == Id::GENESIS || self.location(id).is_some()
    }

    pub(super) fn set_location(&mut self, id: Id, location: Location) {
        if self.location(id).is_none() {
            self.located += 1;
        }
        self.entry_mut(id).location = location;
    }

    /// What a child of `id` is checked against.
    pub(super) fn context(&self, id: Id) -> ParentContext {
        let mut next = Some(id);
        let times = std::iter::from_fn(|| {
            let entry = self.entry(next?);
            next = (entry.height > 0).then_some(entry.parent);
            Some(entry.time)
        });
        ParentContext::new(
            self.height(id),
            self.hash(id),
            self.work(id),
            times.take(MEDIAN_TIME_SPAN),
        )
    }

    /// Adds a checked header, whose hash is `hash`, below `parent`. `None` when there are 2^32 - 1 already.
    pub(super) fn insert(
        &mut self,
        parent: Id,
        header: &Header,
        hash: BlockHash,
        work: u128,
    ) -> Option<Id> {
        let invalid = self.is_invalid(parent);
        let height = self.height(parent).checked_add(1)?;
        let id = self.push(Entry {
            hash,
            work: halves(work),
            height,
            parent,
            invalid,
            ..Entry::from_header(header)
        })?;
        if !invalid && work > self.work(self.best_header()) {
            let mut best = std::mem::take(&mut self.best);
            self.lead(&mut best, id);
            self.best = best;
        }
        Some(id)
    }

    /// Changes `chain`, a list by height, to the chain that ends in `tip`.
    pub(super) fn lead(&self, chain: &mut Vec<Id>, tip: Id) {
        let mut branch = Vec::new();
        let mut id = tip;
        while chain.get(self.height(id) as usize) != Some(&id) {
            branch.push(id);
            if id == Id::GENESIS {
                break;
            }
            id = self.parent(id);
        }
        let fork = self.height(branch.last().copied().unwrap_or(tip)) as usize;
        chain.truncate(if branch.is_empty() { fork + 1 } else { fork });
        chain.extend(branch.into_iter().rev());
    }

    /// Marks headers and all that follow them invalid, and chooses the best chain anew.
    pub(super) fn mark_invalid(&mut self, ids: &[Id]) {
        let Some(first) = ids.iter().min() else {
            return;
        };
        for id in ids {
            self.entry_mut(*id).invalid = true;
        }
        // Children come after their parents, so one pass reaches all.
        for child in (first.0 + 1..self.len).map(Id) {
            if self.is_invalid(self.parent(child)) {
                self.entry_mut(child).invalid = true;
            }
        }
        let mut tip = Id::GENESIS;
        for candidate in (1..self.len).map(Id) {
            if !self.is_invalid(candidate) && self.work(candidate) > self.work(tip) {
                tip = candidate;
            }
        }
        let mut best = std::mem::take(&mut self.best);
        self.lead(&mut best, tip);
        self.best = best;
    }

    /// A tree with only the headers that are on the best chain, have a block, or lead to `keep`; and this
    /// tree's ids in the new one.
    pub(super) fn pruned(&self, keep: Id) -> (Self, Vec<Option<Id>>) {
        let mut wanted = vec![false; self.len()];
        let mut want = |id: Id| {
            wanted
                .get_mut(id.index())
                .is_some_and(|flag| !std::mem::replace(flag, true))
        };
        for id in &self.best {
            want(*id);
        }
        for id in (0..self.len).map(Id).filter(|id| self.has_block(*id)) {
            want(id);
        }
        let mut id = keep;
        while want(id) {
            id = self.parent(id);
        }
        let mut tree = Self::new(&self.header(Id::GENESIS));
        let mut moved = vec![None; self.len()];
        for (old, flag) in wanted.into_iter().enumerate() {
            let Some(old_id) = u32::try_from(old).ok().map(Id).filter(|_| flag) else {
                continue;
            };
            let new = if old_id == Id::GENESIS {
                Some(Id::GENESIS)
            } else {
                // A wanted header's parent is wanted (a block's parent has a block) and came before it.
                let parent = moved.get(self.parent(old_id).index()).copied().flatten();
                parent.and_then(|parent| {
                    tree.insert(
                        parent,
                        &self.header(old_id),
                        self.hash(old_id),
                        self.work(old_id),
                    )
                })
            };
            if let Some(new) = new {
                if let Some(location) = self.location(old_id) {
                    tree.set_location(new, location);
                }
                tree.entry_mut(new).invalid = self.is_invalid(old_id);
            }
            if let Some(slot) = moved.get_mut(old) {
                *slot = new;
            }
        }
        let tip = moved
            .get(self.best_header().index())
            .copied()
            .flatten()
            .unwrap_or(Id::GENESIS);
        let mut best = std::mem::take(&mut tree.best);
        tree.lead(&mut best, tip);
        tree.best = best;
        (tree, moved)
    }

    /// All headers but the genesis block's, in order of acceptance.
    pub(super) fn ids(&self) -> impl Iterator<Item = Id> + use<> {
        (1..self.len).map(Id)
    }

    fn push(&mut self, entry: Entry) -> Option<Id> {
        let id = Id(self.len);
        let next = self.len.checked_add(1)?;
        if self.len().is_multiple_of(SEGMENT) {
            self.segments.push(Vec::with_capacity(SEGMENT));
        }
        let hash = entry.hash;
        self.segments.last_mut()?.push(entry);
        self.len = next;
        let segments = &self.segments;
        self.index.insert(id, &hash, |id| &slot(segments, id).hash);
        Some(id)
    }

    fn entry(&self, id: Id) -> &Entry {
        slot(&self.segments, id)
    }

    fn entry_mut(&mut self, id: Id) -> &mut Entry {
        // As in `slot`.
        &mut self.segments[id.index() / SEGMENT][id.index() % SEGMENT]
    }
}

/// Can't be out of range: an `Id` is made only by `push`, for an entry that is there, and entries are never
/// removed; whoever rebuilds the tree rebuilds all ids.
fn slot(segments: &[Vec<Entry>], id: Id) -> &Entry {
    &segments[id.index() / SEGMENT][id.index() % SEGMENT]
}

impl Entry {
    fn from_header(header: &Header) -> Self {
        Self {
            hash: BlockHash::all_zeros(),
            merkle_root: header.merkle_root,
            work: [0; 2],
            version: header.version.to_consensus(),
            time: header.time,
            bits: header.bits.to_consensus(),
            nonce: header.nonce,
            height: 0,
            parent: Id::GENESIS,
            location: Location {
                file: NO_FILE,
                offset: 0,
            },
            invalid: false,
        }
    }
}

fn halves(work: u128) -> [u64; 2] {
    [(work >> 64) as u64, work as u64]
}

/// Block hash → id, by open addressing with linear probing: four bytes a slot. The hasher is keyed, so
/// nobody can make hashes that collide in it.
struct HashIndex {
    /// A power of two; `EMPTY` or an id.
    slots: Vec<u32>,
    used: usize,
    hasher: RandomState,
}

const EMPTY: u32 = u32::MAX;

impl HashIndex {
    fn new() -> Self {
        Self {
            slots: vec![EMPTY; 1024],
            used: 0,
            hasher: RandomState::new(),
        }
    }

    fn find<'a>(&self, hash: &BlockHash, hash_of: impl Fn(Id) -> &'a BlockHash) -> Option<Id> {
        self.probe(hash)
            .map_while(|slot| {
                self.slots
                    .get(slot)
                    .copied()
                    .filter(|id| *id != EMPTY)
                    .map(Id)
            })
            .find(|id| hash_of(*id) == hash)
    }

    /// Adds an id whose hash is not there yet.
    fn insert<'a>(&mut self, id: Id, hash: &BlockHash, hash_of: impl Fn(Id) -> &'a BlockHash) {
        // Two thirds full at most, so that a probe soon meets an empty slot.
        if self.used * 3 >= self.slots.len() * 2 {
            self.resize(self.slots.len() * 2, hash_of);
        }
        self.place(id, hash);
        self.used += 1;
    }

    /// `size` is a power of two, larger than before.
    fn resize<'a>(&mut self, size: usize, hash_of: impl Fn(Id) -> &'a BlockHash) {
        let old = std::mem::replace(&mut self.slots, vec![EMPTY; size]);
        for moved in old.into_iter().filter(|id| *id != EMPTY).map(Id) {
            self.place(moved, hash_of(moved));
        }
    }

    fn place(&mut self, id: Id, hash: &BlockHash) {
        let free = self
            .probe(hash)
            .find(|slot| self.slots.get(*slot) == Some(&EMPTY));
        if let Some(slot) = free.and_then(|slot| self.slots.get_mut(slot)) {
            *slot = id.0;
        }
    }

    /// Every slot once, from the one that the hash points at.
    fn probe(&self, hash: &BlockHash) -> impl Iterator<Item = usize> + use<> {
        let mask = self.slots.len() - 1;
        // Eight bytes tell hashes apart well enough: nobody can make many with the same 64 bits.
        let start = self.hasher.hash_one(first_word(hash)) as usize;
        (0..=mask).map(move |step| start.wrapping_add(step) & mask)
    }
}

fn first_word(hash: &BlockHash) -> u64 {
    let mut word = [0; 8];
    for (to, from) in word.iter_mut().zip(hash.as_byte_array()) {
        *to = *from;
    }
    u64::from_le_bytes(word)
}
