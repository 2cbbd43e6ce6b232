//! One test for each header rule.

use bitcoin::CompactTarget;
use bitcoin::block::Version;
use bitcoin::hashes::Hash;

use super::*;
use crate::chain::miner::find_nonce;
use crate::chain_spec::ChainSpec;

const NOW: u32 = 1_800_000_000;

struct Bench {
    rules: Rules,
    parent: ParentContext,
}

impl Bench {
    /// A chain of `count` valid headers after the devnet's genesis, a minute apart.
    fn new(count: u32) -> Self {
        let spec = ChainSpec::devnet();
        let genesis = spec.genesis_block().header;
        let mut bench = Self {
            rules: Rules::new(&spec),
            parent: ParentContext::genesis(&genesis),
        };
        for n in 1..=count {
            let header = bench.child(|header| header.time = genesis.time + 60 * n);
            let hash = bench.check(&header).unwrap();
            bench.parent.push(&header, hash);
        }
        bench
    }

    /// A valid child, changed, with proof of work for its bits.
    fn child(&self, change: impl FnOnce(&mut Header)) -> Header {
        let mut header = Header {
            version: Version::from_consensus(1),
            prev_blockhash: self.parent.hash(),
            merkle_root: bitcoin::TxMerkleNode::all_zeros(),
            time: self.parent.time() + 60,
            bits: CompactTarget::from_consensus(0x207f_ffff),
            nonce: 0,
        };
        change(&mut header);
        find_nonce(&mut header).unwrap();
        header
    }

    fn check(&self, header: &Header) -> Result<BlockHash, HeaderError> {
        check_header(&self.rules, &self.parent, header, NOW)
    }
}

#[test]
fn a_valid_child_passes() {
    let bench = Bench::new(20);
    let header = bench.child(|_| ());
    assert_eq!(bench.check(&header).unwrap(), header.block_hash());
}

#[test]
fn bits_must_be_exact() {
    let bench = Bench::new(3);
    for bits in [0x207f_fffe, 0x1f7f_ffff] {
        let header = bench.child(|header| header.bits = CompactTarget::from_consensus(bits));
        let error = bench.check(&header).unwrap_err();
        assert!(
            matches!(error, HeaderError::Bits { .. }) && error.is_peer_fault(),
            "{error}"
        );
    }
    // Another writing of the same target is not the same bits.
    let mut header = bench.child(|_| ());
    header.bits = CompactTarget::from_consensus(0x2100_7fff);
    assert!(matches!(
        bench.check(&header),
        Err(HeaderError::Bits { .. })
    ));
}

#[test]
fn work_must_be_done() {
    let bench = Bench::new(3);
    let mut header = bench.child(|_| ());
    while bench.check(&header).is_ok() {
        header.nonce += 1;
    }
    let error = bench.check(&header).unwrap_err();
    assert!(matches!(error, HeaderError::ProofOfWork { .. }) && error.is_peer_fault());
}

#[test]
fn version_must_be_positive() {
    let bench = Bench::new(3);
    for version in [0, -1, i32::MIN] {
        let header = bench.child(|header| header.version = Version::from_consensus(version));
        assert!(matches!(
            bench.check(&header),
            Err(HeaderError::Version { .. })
        ));
    }
    let signalling = bench.child(|header| header.version = Version::from_consensus(0x2000_0004));
    assert!(bench.check(&signalling).is_ok());
}

#[test]
fn time_must_pass_the_median_of_eleven() {
    let bench = Bench::new(20);
    let genesis = ChainSpec::devnet().genesis.time;
    // Blocks 10 to 20: the median is block 15's time.
    let median = genesis + 15 * 60;
    assert_eq!(bench.parent.median_time(), median);
    let at = bench.child(|header| header.time = median);
    assert!(
        matches!(bench.check(&at), Err(HeaderError::TimeTooOld { median: m, .. }) if m == median)
    );
    // Earlier than the parent is fine.
    assert!(
        bench
            .check(&bench.child(|header| header.time = median + 1))
            .is_ok()
    );
}

#[test]
fn median_near_genesis_uses_what_there_is() {
    let genesis = ChainSpec::devnet().genesis.time;
    assert_eq!(Bench::new(0).parent.median_time(), genesis);
    assert_eq!(Bench::new(1).parent.median_time(), genesis + 60);
    assert_eq!(Bench::new(2).parent.median_time(), genesis + 60);
    assert_eq!(Bench::new(10).parent.median_time(), genesis + 300);
}

#[test]
fn median_sorts_times_out_of_order() {
    let mut context = Bench::new(0).parent;
    let genesis = context.time();
    for offset in [900, 100, 800, 200, 700, 300, 600, 400, 500, 1_000, 50] {
        let header = Header {
            time: genesis + offset,
            ..Bench::new(0).child(|_| ())
        };
        context.push(&header, header.block_hash());
    }
    assert_eq!(context.median_time(), genesis + 500);
    assert_eq!(context.time(), genesis + 50);
}

#[test]
fn time_must_not_lie_too_far_ahead() {
    let bench = Bench::new(3);
    assert!(
        bench
            .check(&bench.child(|header| header.time = NOW + 7_200))
            .is_ok()
    );
    let error = bench
        .check(&bench.child(|header| header.time = NOW + 7_201))
        .unwrap_err();
    assert!(matches!(error, HeaderError::TimeTooNew { .. }));
    assert!(!error.is_peer_fault(), "our clock may be the wrong one");
}

#[test]
fn parent_must_match() {
    let bench = Bench::new(3);
    let header = bench.child(|header| header.prev_blockhash = BlockHash::all_zeros());
    let error = bench.check(&header).unwrap_err();
    assert!(matches!(error, HeaderError::UnknownParent { .. }) && !error.is_peer_fault());
}

#[test]
fn height_is_capped_by_the_age_of_the_chain() {
    let spec = ChainSpec::mainnet();
    let mut rules = Rules::new(&spec);
    assert_eq!(rules.height_cap(spec.genesis.time), 200_000);
    assert_eq!(rules.height_cap(spec.genesis.time + 599), 200_000);
    assert_eq!(rules.height_cap(spec.genesis.time + 600_000), 201_000);
    assert_eq!(rules.height_cap(0), 200_000);
    assert!(rules.height_cap(u32::MAX) < u64::from(u32::MAX));

    let bench = Bench::new(3);
    rules = bench.rules.clone();
    // Two hundred thousand blocks with the clock at the genesis time: one more is too many.
    let clock = rules.genesis_time;
    for (height, fits) in [(199_999, true), (200_000, false)] {
        let parent = ParentContext::new(
            height,
            bench.parent.hash(),
            1,
            std::iter::repeat(clock - 10),
        );
        let header = bench.child(|header| header.time = clock);
        let result = check_header(&rules, &parent, &header, clock);
        assert_eq!(result.is_ok(), fits, "{result:?}");
        if let Err(error) = result {
            assert!(matches!(
                error,
                HeaderError::AboveHeightCap { cap: 200_000, .. }
            ));
        }
    }
}

#[test]
fn work_adds_up() {
    // Difficulty 1 is 2^32 + 2^16 + 1 hashes; the lowest difficulty is two.
    assert_eq!(
        work_of(CompactTarget::from_consensus(0x1d00_ffff)),
        0x1_0001_0001
    );
    assert_eq!(work_of(CompactTarget::from_consensus(0x207f_ffff)), 2);
    assert_eq!(work_of(CompactTarget::from_consensus(0)), 0);
    assert_eq!(
        work_of(CompactTarget::from_consensus(0x0101_0000)),
        u128::MAX
    );
    assert_eq!(Bench::new(20).parent.work(), 2 * 21);
}
