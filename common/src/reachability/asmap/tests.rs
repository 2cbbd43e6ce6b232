//! Bitcoin Core's own vectors, an encoder against a naive table, every fault, and hostile bytes.

use std::ops::RangeInclusive;

use data_encoding::HEXLOWER;
use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

/// 250.0.0.0/8 is AS1000, 101.1.0.0/16 AS1 and so on to 101.8.0.0/16 AS8: `src/test/data/asmap.raw` of Bitcoin
/// Core. The answers are in the comments of its `addrman_tests.cpp`. The bytes were checked against the
/// version (a hash) that its `feature_asmap.py` expects, fec61fa2…5853.
const CORE_RAW: &str = "fb03ec0fb03fc0fe00fb03ec0fb03fc0fe00fb03ec0fb0fffffeffedb0ffd486e62829\
                        0000400000400040990100800180040000050006001cf039";

/// 128 random ranges: `asmap_test_vectors` in Bitcoin Core's `src/test/netbase_tests.cpp`, as are its answers.
const CORE_RANDOM: &str = "\
    fd38d50f7d5d665357f64bba6bfc190d6078a7e68e5d3ac032edf47f8b5755f87881bfd3633d9aa7c1fa279b3\
    6fe26c63bbc9de44e0f04e5a382d8e1cddbe1c26653bc939d4327f287e8b4d1f8aff33176787cb0ff7cb28e3f\
    daef0f8f47357f801c9f7ff7a99f7f9c9f99de7f3156ae00f23eb27a303bc486aa3ccc31ec19394c2f8a53ddd\
    ea3cc56257f3b7e9b1f488be9c1137db823759aa4e071eef2e984aaf97b52d5f88d0f373dd190fe45e06efef1\
    df7278be680a73a74c76db4dd910f1d30752c57fe2bc9f079f1a1e1b036c2a69219f11c5e11980a3fa51f4f82\
    d36373de73b1863a8c27e36ae0e4f705be3d76ecff038a75bc0f92ba7e7f6f4080f1c47c34d095367ecf4406c\
    1e3bbc17ba4d6f79ea3f031b876799ac268b1e0ea9babf0f9a8e5f6c55e363c6363df46afc696d7afceaf49b6\
    e62df9e9dc27e70664cafe5c53df66dd0b8237678ada90e73f05ec60e6f6e96c3cbb1ea2f9dece115d5bdba10\
    33e53662a7d72a29477b5beb35710591d3e23e5f0379baea62ffdee535bcdf879cbf69b88d7ea37c8015381cf\
    63dc33d28f757a4a5e15d6a08";

fn hex(text: &str) -> Vec<u8> {
    HEXLOWER.decode(text.as_bytes()).unwrap()
}

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

/// The answer for an address given as the 128 bits that a map reads.
fn lookup(map: &AsMap, bits: u128) -> Option<u32> {
    map.lookup(IpAddr::V6(bits.into()))
}

fn fault(bytes: &[u8]) -> Option<(usize, AsMapFault)> {
    match AsMap::from_bytes(bytes.to_vec()) {
        Ok(_) => None,
        Err(AsMapError::Malformed { bit, fault, .. }) => Some((bit, fault)),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn core_map_of_nine_networks() {
    let map = AsMap::from_bytes(hex(CORE_RAW)).unwrap();
    for (text, system) in [
        ("250.0.0.0", Some(1000)),
        ("250.255.255.255", Some(1000)),
        ("::ffff:250.1.2.3", Some(1000)),
        // The map is a filled one: space of nobody went to a neighbour where that made it smaller.
        ("128.0.0.0", Some(1000)),
        ("101.9.0.0", Some(8)),
        ("127.255.255.255", None),
        ("101.16.0.0", None),
        ("::", None),
        ("2a01:4f8::1", None),
    ] {
        assert_eq!(map.lookup(ip(text)), system, "{text}");
    }
    for n in 1..=8 {
        for (low, high) in [(0, 0), (1, 2), (255, 255)] {
            let address = IpAddr::from([101, n, low, high]);
            assert_eq!(map.lookup(address), Some(n.into()), "{address}");
        }
    }
}

#[test]
fn core_map_of_random_ranges() {
    let map = AsMap::from_bytes(hex(CORE_RANDOM)).unwrap();
    for (text, system) in [
        ("0:1559:183:3728:224c:65a5:62e6:e991", 961_340),
        ("d0:d493:faa0:8609:e927:8b75:293c:f5a4", 961_340),
        ("2a0:26f:8b2c:2ee7:c7d1:3b24:4705:3f7f", 693_761),
        ("a77:7cd4:4be5:a449:89f2:3212:78c6:ee38", 0),
        ("1336:1ad6:2f26:4fe3:d809:7321:6e0d:4615", 672_176),
        ("1d56:abd0:a52f:a8d5:d5a7:a610:581d:d792", 499_880),
        ("378e:7290:54e5:bd36:4760:971c:e9b9:570d", 0),
        ("406c:820b:272a:c045:b74e:fc0a:9ef2:cecc", 248_495),
        ("46c2:ae07:9d08:2d56:d473:2bc7:57e3:20ac", 248_495),
        ("50d2:3db6:52fa:2e7:12ec:5bc4:1bd1:49f9", 124_471),
        ("53e1:1812:ffa:dccf:f9f2:64be:75fa:795", 539_993),
        ("544d:eeba:3990:35d1:ad66:f9a3:576d:8617", 374_443),
        ("6a53:40dc:8f1d:3ffa:efeb:3aa3:df88:b94b", 435_070),
        ("87aa:d1c9:9edb:91e7:aab1:9eb9:baa0:de18", 244_121),
        ("9f00:48fa:88e3:4b67:a6f3:e6d2:5cc1:5be2", 862_116),
        ("c49f:9cc6:86ad:ba08:4580:315e:dbd1:8a62", 969_411),
        ("dff5:8021:61d:b17d:406d:7888:fdac:4a20", 969_411),
        ("e888:6791:2960:d723:bcfd:47e1:2d8c:599f", 824_019),
        ("ffff:d499:8c4b:4941:bc81:d5b9:b51e:85a8", 824_019),
    ] {
        assert_eq!(map.lookup(ip(text)).unwrap_or(0), system, "{text}");
    }
}

/// Both from Bitcoin Core's `netbase_tests.cpp`.
#[test]
fn core_maps_of_one_system() {
    let everything = AsMap::from_bytes(hex("000000")).unwrap();
    for text in ["::", "1.2.3.4", "ffff::ffff"] {
        assert_eq!(everything.lookup(ip(text)), Some(1));
    }
    let bytes = hex("fb03ec0fb03fc0fe00fb03ec0fb03fc0fe00fb03ec0fb0fffffeff000000");
    let ipv4 = AsMap::from_bytes(bytes).unwrap();
    assert_eq!(ipv4.lookup(ip("1.2.3.4")), Some(1));
    assert_eq!(ipv4.lookup(ip("::ffff:1.2.3.4")), Some(1));
    for other in ["::1.2.3.4", "::fffe:1.2.3.4", "2a01:4f8::1"] {
        assert_eq!(ipv4.lookup(ip(other)), None, "{other}");
    }
    // As netgroups do, so maps: what is tunnelled is no IPv4 address.
    for tunnelled in ["2002:102:304::", "64:ff9b::102:304", "2001::102:304"] {
        assert_eq!(ipv4.lookup(ip(tunnelled)), None, "{tunnelled}");
    }
}

#[test]
fn a_cut_or_longer_map_is_refused() {
    for text in [CORE_RAW, CORE_RANDOM, "000000"] {
        let bytes = hex(text);
        for length in 0..bytes.len() {
            let (bit, fault) = fault(&bytes[..length]).expect("a part of a map was taken for one");
            // Where the end is near, a JUMP may be the first to miss the rest.
            assert!(
                [AsMapFault::Ends, AsMapFault::PastEnd].contains(&fault),
                "{length}: {fault}"
            );
            assert!(bit <= length * 8);
        }
        for more in [0, 1, 128] {
            let longer = [&bytes[..], &[more]].concat();
            assert_eq!(
                fault(&longer).map(|(_, fault)| fault),
                Some(AsMapFault::Padding)
            );
        }
    }
    let mut padded = hex("000000");
    padded[2] = 1 << 7;
    assert_eq!(fault(&padded), Some((17, AsMapFault::Padding)));
}

#[test]
fn every_fault_is_told_with_its_place() {
    let as1 = || returns(1);
    let shallow = [jump(17), as1(), as1()].concat();
    let deep = [matches(&[false; 8]).repeat(16), as1()].concat();
    assert_eq!(fault(&pack(&shallow)), None);
    assert_eq!(fault(&pack(&deep)), None);
    let match_1 = || matches(&[true]);
    for (bits, expected) in [
        (vec![], (0, AsMapFault::Ends)),
        (vec![true; 8], (0, AsMapFault::Ends)),
        (matches(&[true; 8]), (18, AsMapFault::Ends)),
        (
            [jump(18), as1(), as1()].concat(),
            (25, AsMapFault::Unreachable),
        ),
        // Longer than the first half is said to be.
        (
            [jump(17), returns(40_000), as1()].concat(),
            (25, AsMapFault::Overlap),
        ),
        (
            [jump(17), default(40_000), match_1(), as1()].concat(),
            (25, AsMapFault::Overlap),
        ),
        ([jump(17), as1()].concat(), (25, AsMapFault::Ends)),
        ([jump(80), as1(), as1()].concat(), (0, AsMapFault::PastEnd)),
        (
            [jump(31), jump(30), as1(), as1(), as1()].concat(),
            (8, AsMapFault::Crossing),
        ),
        (
            [matches(&[false; 8]).repeat(16), shallow.clone()].concat(),
            (288, AsMapFault::AddressEnds),
        ),
        (
            [match_1(), deep.clone()].concat(),
            (275, AsMapFault::AddressEnds),
        ),
        ([default(1), as1()].concat(), (19, AsMapFault::IdleDefault)),
        (
            [default(1), default(1), match_1(), as1()].concat(),
            (19, AsMapFault::IdleDefault),
        ),
        (
            [match_1(), match_1(), as1()].concat(),
            (5, AsMapFault::ShortMatches),
        ),
        ([as1(), vec![true]].concat(), (17, AsMapFault::Padding)),
        ([as1(), vec![false; 8]].concat(), (17, AsMapFault::Padding)),
    ] {
        assert_eq!(fault(&pack(&bits)), Some(expected), "{bits:?}");
    }
}

#[test]
fn numbers_of_all_widths() {
    let number = |bits: Vec<bool>, code: &Code| Reader::new(&pack(&bits)).number(code);
    for (code, highest) in [(&AS, 33_521_664), (&MATCH, 511), (&JUMP, 2_147_483_632)] {
        let (narrowest, widest) = code.widths;
        let mut lowest = code.first;
        for width in narrowest..=widest {
            let last = lowest + (1 << width) - 1;
            for value in [lowest, last] {
                let bits = encode_number(value, code.first, narrowest..=widest);
                assert_eq!(number(bits, code), Some(value));
            }
            lowest = last + 1;
        }
        assert_eq!(lowest - 1, highest);
    }
    assert_eq!(
        returns(1).len(),
        JUMP.first as usize,
        "the shortest instruction that may be jumped over"
    );
    // Positions after any JUMP fit a usize of 32 bits.
    assert!(MAX_BYTES as u64 * 8 + 2_147_483_632 < u32::MAX.into());
}

#[test]
fn files_are_loaded_or_refused_in_words_that_help() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ip_asn.map");
    let refused = || AsMap::load(&path).unwrap_err().to_string();
    let name = path.display();

    let missing = refused();
    assert!(
        missing.starts_with(&format!("{name}: can't read the AS map: ")),
        "{missing}"
    );
    assert!(missing.contains("\n  help: check path, owner and permissions; take a map from"));
    let directory = AsMap::load(dir.path()).unwrap_err().to_string();
    assert!(
        directory.contains("can't read the AS map: not a file\n"),
        "{directory}"
    );

    fs::write(&path, hex(CORE_RAW)).unwrap();
    let map = AsMap::load(&path).unwrap();
    assert_eq!(map.lookup(ip("101.7.1.1")), Some(7));
    assert_eq!(format!("{map:?}"), "AsMap { bytes: 59, .. }");

    fs::write(&path, "1.0.0.0/24 AS13335\n").unwrap();
    assert_eq!(
        refused(),
        format!(
            "{name}: no AS map, or a damaged one: bit 31: no instruction leads here\n  \
             help: compare its SHA-256 with the published one; take a map from \
             https://github.com/bitcoin-core/asmap-data, or make one from a list in text form by \
             `asmap-tool.py encode` of Bitcoin Core (contrib/asmap)"
        )
    );
    File::create(&path)
        .unwrap()
        .set_len(MAX_BYTES as u64 + 1)
        .unwrap();
    let large = refused();
    let expected = format!("{name}: more than 16777216 bytes, which no AS map has\n  help: ");
    assert!(large.starts_with(&expected), "{large}");
    let large = AsMap::from_bytes(vec![0; MAX_BYTES + 1]).unwrap_err();
    assert!(matches!(large, AsMapError::TooLarge { .. }), "{large}");
}

/// As much work as a file can ask for: none is read twice, so the largest take a moment.
#[test]
fn large_hostile_files_are_refused_in_a_moment() {
    for byte in [0x00, 0x01, 0x03, 0x55, 0x99, 0xaa, 0xfb, 0xff] {
        assert!(AsMap::from_bytes(vec![byte; MAX_BYTES]).is_err());
    }
    // Good up to the last bit.
    let table: Vec<_> = (0..1 << 12)
        .map(|n: u32| Route::new(u128::from(n) << 116, 12, 1 + n))
        .collect();
    let mut bytes = encode(&table, false);
    let map = AsMap::from_bytes(bytes.clone()).unwrap();
    assert_eq!(lookup(&map, 0xabc << 116), Some(1 + 0xabc));
    bytes.push(1);
    assert!(AsMap::from_bytes(bytes).is_err());
}

proptest! {
    #[test]
    fn lookups_find_the_longest_prefix(
        table in vec(route(), 1..40),
        with_defaults: bool,
        others in vec(any::<u128>(), 20),
    ) {
        let map = AsMap::from_bytes(encode(&table, with_defaults)).unwrap();
        let near = table.iter().flat_map(|route| {
            let last = route.prefix | !mask(route.length);
            [route.prefix, last, route.prefix.wrapping_sub(1), last.wrapping_add(1)]
        });
        for bits in near.chain(others) {
            prop_assert_eq!(lookup(&map, bits), longest_prefix(&table, bits), "{:x}", bits);
        }
    }

    #[test]
    fn ipv4_is_found_where_it_is_mapped(a: u32, b: u32, length in 0_u32..=32) {
        let route = Route::new(0xffff_0000_0000 | u128::from(a), 96 + length, 7);
        let map = AsMap::from_bytes(encode(&[route], false)).unwrap();
        let inside = length == 0 || a >> (32 - length) == b >> (32 - length);
        prop_assert_eq!(map.lookup(IpAddr::from(a.to_be_bytes())), Some(7));
        prop_assert_eq!(map.lookup(IpAddr::from(b.to_be_bytes())), inside.then_some(7));
    }

    /// A map may be damaged into another one, but never into one whose lookups don't end.
    #[test]
    fn damaged_maps_are_refused_or_still_answer(
        table in vec(route(), 1..20),
        with_defaults: bool,
        cut: prop::sample::Index,
        flips in vec(any::<prop::sample::Index>(), 1..4),
        addresses in vec(any::<u128>(), 20),
    ) {
        let mut bytes = encode(&table, with_defaults);
        prop_assert!(fault(&bytes[..cut.index(bytes.len())]).is_some());
        for flip in flips {
            let bit = flip.index(bytes.len() * 8);
            bytes[bit / 8] ^= 1 << (bit % 8);
        }
        answers_or_is_refused(bytes, &addresses)?;
    }

    #[test]
    fn any_bytes_are_refused_or_answer(
        bytes in vec(any::<u8>(), 0..300),
        addresses in vec(any::<u128>(), 20),
    ) {
        answers_or_is_refused(bytes, &addresses)?;
    }
}

/// A lookup in what was accepted never meets the end of the bytes.
fn answers_or_is_refused(bytes: Vec<u8>, addresses: &[u128]) -> Result<(), TestCaseError> {
    let bits = bytes.len() * 8;
    match AsMap::from_bytes(bytes) {
        Ok(map) => {
            for address in addresses {
                prop_assert!(map.find(*address).is_some(), "{:x}", address);
            }
        }
        Err(AsMapError::Malformed { bit, .. }) => prop_assert!(bit <= bits),
        Err(other) => panic!("{other}"),
    }
    Ok(())
}

/// One line of a list that maps are made from.
#[derive(Debug, Clone, Copy)]
struct Route {
    prefix: u128,
    length: u32,
    system: u32,
}

impl Route {
    fn new(prefix: u128, length: u32, system: u32) -> Self {
        Self {
            prefix: prefix & mask(length),
            length,
            system,
        }
    }
}

/// Prefixes anywhere, and such as lie within each other or side by side.
fn route() -> impl Strategy<Value = Route> {
    let prefix = prop_oneof![
        any::<u128>(),
        (0_u128..64).prop_map(|n| n << 122),
        (0_u128..64).prop_map(|n| 0xffff_0a00_0000 | (n << 18)),
        (0_u128..4).prop_map(|n| !n),
    ];
    let system = prop_oneof![1_u32..5, 1_u32..33_521_665];
    (prefix, 0_u32..=128, system)
        .prop_map(|(prefix, length, system)| Route::new(prefix, length, system))
}

fn mask(length: u32) -> u128 {
    u128::MAX.checked_shl(128 - length).unwrap_or(0)
}

/// What a map says, found by looking at every line; of equal prefixes the last counts.
fn longest_prefix(table: &[Route], bits: u128) -> Option<u32> {
    let holds = |route: &&Route| bits & mask(route.length) == route.prefix;
    let longest = table.iter().filter(holds).max_by_key(|route| route.length);
    longest.map(|route| route.system)
}

enum Trie {
    /// 0 where nobody announces.
    Leaf(u32),
    Fork(Box<[Self; 2]>),
}

impl Trie {
    /// The part of the table below one node. `inherited` is what the prefixes above it say.
    fn new(table: &[Route], depth: u32, inherited: u32) -> Self {
        let mut here = table.iter().filter(|route| route.length == depth);
        let system = here.next_back().map_or(inherited, |route| route.system);
        let half = |bit| {
            let below = table
                .iter()
                .filter(|route| route.length > depth && (route.prefix >> (127 - depth)) & 1 == bit);
            Self::new(&below.copied().collect::<Vec<_>>(), depth + 1, system)
        };
        if table.iter().all(|route| route.length <= depth) {
            return Self::Leaf(system);
        }
        Self::Fork(Box::new([half(0), half(1)]))
    }

    fn is(&self, system: u32) -> bool {
        matches!(self, Self::Leaf(leaf) if *leaf == system)
    }

    fn has_hole(&self) -> bool {
        match self {
            Self::Leaf(system) => *system == 0,
            Self::Fork(halves) => halves.iter().any(Self::has_hole),
        }
    }

    /// The program for what a failing MATCH ends with `failing`.
    fn encode(&self, failing: u32, with_defaults: bool) -> Vec<bool> {
        let mut node = self;
        let mut path = Vec::new();
        while let Self::Fork(halves) = node
            && let Some(side) = halves.iter().position(|half| half.is(failing))
        {
            path.push(side == 0);
            node = &halves[1 - side];
        }
        if !path.is_empty() {
            // A short MATCH first: there may not be two in a row.
            let (short, whole) = path.split_at(path.len() % 8);
            let short = if short.is_empty() {
                vec![]
            } else {
                matches(short)
            };
            let whole = whole.chunks(8).flat_map(matches);
            return short
                .into_iter()
                .chain(whole)
                .chain(node.encode(failing, with_defaults))
                .collect();
        }
        match node {
            Self::Leaf(system) => returns(*system),
            Self::Fork(halves) => {
                let leaf = halves.iter().find_map(|half| match half {
                    Self::Leaf(system) => Some(*system),
                    Self::Fork(_) => None,
                });
                if let Some(system) = leaf
                    && with_defaults
                    && !node.has_hole()
                {
                    return [default(system), node.encode(system, with_defaults)].concat();
                }
                let [first, second] = &**halves;
                let first = first.encode(failing, with_defaults);
                let second = second.encode(failing, with_defaults);
                [jump(first.len()), first, second].concat()
            }
        }
    }
}

/// A map of the table, which has at least one line.
fn encode(table: &[Route], with_defaults: bool) -> Vec<u8> {
    pack(&Trie::new(table, 0, 0).encode(0, with_defaults))
}

fn returns(system: u32) -> Vec<bool> {
    [vec![false], encode_number(system, 1, 15..=24)].concat()
}

fn jump(first_half: usize) -> Vec<bool> {
    [
        vec![true, false],
        encode_number(first_half as u32, 17, 5..=30),
    ]
    .concat()
}

fn matches(path: &[bool]) -> Vec<bool> {
    let number = path
        .iter()
        .fold(1, |number, bit| number * 2 + u32::from(*bit));
    [vec![true, true, false], encode_number(number, 2, 1..=8)].concat()
}

fn default(system: u32) -> Vec<bool> {
    [vec![true; 3], encode_number(system, 1, 15..=24)].concat()
}

fn encode_number(number: u32, first: u32, widths: RangeInclusive<u32>) -> Vec<bool> {
    let (mut rest, widest) = (number - first, *widths.end());
    let mut bits = Vec::new();
    for width in widths {
        if rest >= 1 << width && width < widest {
            bits.push(true);
            rest -= 1 << width;
            continue;
        }
        if width < widest {
            bits.push(false);
        }
        bits.extend((0..width).rev().map(|place| (rest >> place) & 1 == 1));
        break;
    }
    bits
}

fn pack(bits: &[bool]) -> Vec<u8> {
    let byte = |bits: &[bool]| {
        let bits = bits.iter().enumerate();
        bits.map(|(place, bit)| u8::from(*bit) << place).sum()
    };
    bits.chunks(8).map(byte).collect()
}
