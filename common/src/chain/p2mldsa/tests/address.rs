//! Addresses: vectors, every wrong form, and each single-character substitution.

use bech32::primitives::decode::SegwitHrpstring;
use bech32::primitives::gf32::Fe32;
use bech32::{ByteIterExt, Fe32IterExt};
use proptest::prelude::*;

use super::*;
use crate::chain_spec::ChainSpec;

/// The characters of bech32's data part (BIP173), by value.
const CHARSET: &[u8; 32] = b"qpzry9x8gf2tvdw0s3jn54khce6mua7l";

fn qtc(text: &str) -> Result<Address, AddressError> {
    Address::parse("qtc", text)
}

/// BIP350's checksum, written from its text; BIP173's with `constant = 1`.
fn checksum(prefix: &str, data: &[u8], constant: u32) -> Vec<u8> {
    let polymod = |values: &[u8]| {
        values.iter().fold(1_u32, |check, value| {
            let top = check >> 25;
            [
                0x3b6a_57b2,
                0x2650_8e6d,
                0x1ea1_19fa,
                0x3d42_33dd,
                0x2a14_62b3,
            ]
            .iter()
            .enumerate()
            .filter(|(bit, _)| top >> bit & 1 == 1)
            .fold(
                (check & 0x1ff_ffff) << 5 ^ u32::from(*value),
                |c, (_, g)| c ^ g,
            )
        })
    };
    let mut values: Vec<u8> = prefix.bytes().map(|b| b >> 5).collect();
    values.push(0);
    values.extend(prefix.bytes().map(|b| b & 31));
    values.extend_from_slice(data);
    values.extend([0; 6]);
    let check = polymod(&values) ^ constant;
    (0..6)
        .map(|i| (check >> (5 * (5 - i)) & 31) as u8)
        .collect()
}

/// An address-like text from five-bit values.
fn text(prefix: &str, data: &[u8], constant: u32) -> String {
    let all = [data, &checksum(prefix, data, constant)].concat();
    let data: String = all
        .iter()
        .map(|v| char::from(CHARSET[usize::from(*v)]))
        .collect();
    format!("{prefix}1{data}")
}

const BECH32M: u32 = 0x2bc8_30a3;

/// Version and program in five-bit values, padded with zero bits.
fn values(version: u8, program: &[u8]) -> Vec<u8> {
    let mut bits: Vec<u8> = program
        .iter()
        .flat_map(|byte| (0..8).rev().map(move |bit| byte >> bit & 1))
        .collect();
    bits.resize(bits.len().div_ceil(5) * 5, 0);
    let groups = bits
        .chunks(5)
        .map(|c| c.iter().fold(0, |value, bit| value << 1 | bit));
    std::iter::once(version).chain(groups).collect()
}

#[test]
fn golden_addresses() {
    let counting: [u8; 32] = std::array::from_fn(|i| i as u8);
    for (prefix, program, expected) in [
        (
            "qtc",
            [0; 32],
            "qtc1rqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqjhqd9d",
        ),
        (
            "qtc",
            [0xff; 32],
            "qtc1rlllllllllllllllllllllllllllllllllllllllllllllllllllssfruv6",
        ),
        (
            "qtc",
            counting,
            "qtc1rqqqsyqcyq5rqwzqfpg9scrgwpugpzysnzs23v9ccrydpk8qarc0smrt095",
        ),
        (
            "tqtc",
            counting,
            "tqtc1rqqqsyqcyq5rqwzqfpg9scrgwpugpzysnzs23v9ccrydpk8qarc0ssv036p",
        ),
        (
            "dqtc",
            counting,
            "dqtc1rqqqsyqcyq5rqwzqfpg9scrgwpugpzysnzs23v9ccrydpk8qarc0s4p6rz0",
        ),
    ] {
        let address = Address::new(prefix, program).unwrap();
        assert_eq!(address.to_string(), expected);
        // And by the checksum written out above.
        assert_eq!(text(prefix, &values(3, &program), BECH32M), expected);
        assert_eq!(Address::parse(prefix, expected).unwrap().program(), program);
    }
}

#[test]
fn the_checksum_above_is_bip350s() {
    // From BIP350's list of valid addresses, version 1, and BIP173's version 0.
    for (address, constant) in [
        (
            "bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0",
            BECH32M,
        ),
        (
            "bc1pw508d6qejxtdg4y5r3zarvary0c5xw7kw508d6qejxtdg4y5r3zarvary0c5xw7kt5nd6y",
            BECH32M,
        ),
        (
            "tb1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3q0sl5k7",
            1,
        ),
    ] {
        let parsed = SegwitHrpstring::new(address).unwrap();
        let program: Vec<u8> = parsed.byte_iter().collect();
        let data = values(parsed.witness_version().to_u8(), &program);
        assert_eq!(text(parsed.hrp().as_str(), &data, constant), address);
    }
}

#[test]
fn scripts_and_addresses_are_the_same_thing() {
    let address = Address::new("qtc", [3; 32]).unwrap();
    assert_eq!(address.script(), script([3; 32]));
    assert_eq!(Address::from_script("qtc", &address.script()), Ok(address));
    assert_eq!(
        Address::from_script("qtc", Script::from_bytes(&[0x54, 2, 0, 0])),
        Err(AddressError::Script)
    );
    let key = SpendingKey::from_seed(&[4; SEED_BYTES]).unwrap();
    assert_eq!(
        Address::from_script("qtc", &key.script())
            .unwrap()
            .program(),
        key.program()
    );
    assert_eq!(format!("{address:?}"), format!("Address({address})"));
}

#[test]
fn upper_case_is_read_and_mixed_case_is_not() {
    let address = Address::new("qtc", [3; 32]).unwrap();
    let upper = address.to_string().to_uppercase();
    assert_eq!(qtc(&upper), Ok(address));
    let mixed = address.to_string().replacen("qtc", "QTC", 1);
    assert_eq!(qtc(&mixed), Err(AddressError::MixedCase));
}

#[test]
fn another_networks_address_is_named() {
    let devnet = Address::new(&ChainSpec::devnet().address_prefix, [3; 32]).unwrap();
    let error = qtc(&devnet.to_string()).unwrap_err();
    assert_eq!(
        error,
        AddressError::WrongNetwork {
            found: "dqtc".into(),
            expected: "qtc".into()
        }
    );
    assert!(error.to_string().contains("starts with dqtc1"), "{error}");
    // A real Bitcoin address.
    assert!(matches!(
        qtc("bc1p0xlxvlhemja6c4dqv22uapctqupfhlxm9h8z3k2e72q4k9hcz7vqzk5jj0"),
        Err(AddressError::WrongNetwork { found, .. }) if found == "bc"
    ));
}

#[test]
fn bech32_in_place_of_bech32m_is_named() {
    let old = text("qtc", &values(3, &[3; 32]), 1);
    assert_eq!(qtc(&old), Err(AddressError::Bech32));
}

#[test]
fn each_other_version_is_named() {
    for version in (0..32).filter(|version| *version != 3) {
        let other = text("qtc", &values(version, &[3; 32]), BECH32M);
        assert_eq!(qtc(&other), Err(AddressError::Version { found: version }));
    }
}

#[test]
fn each_other_length_is_named() {
    for length in (0..=48).filter(|length| *length != 32) {
        let other = text("qtc", &values(3, &vec![3; length]), BECH32M);
        assert_eq!(
            qtc(&other),
            Err(AddressError::Length { found: length }),
            "{other}"
        );
    }
    let long = text("qtc", &values(3, &[3; 50]), BECH32M);
    assert_eq!(qtc(&long), Err(AddressError::TooLong { bytes: 91 }));
    let longest = text("qtc", &values(3, &[3; 49]), BECH32M);
    assert_eq!(longest.len(), 90);
    assert_eq!(qtc(&longest), Err(AddressError::Length { found: 49 }));
}

#[test]
fn padding_must_be_zero() {
    // 52 characters hold 260 bits: the last four are padding.
    for bit in 0..4 {
        let mut data = values(3, &[3; 32]);
        *data.last_mut().unwrap() |= 1 << bit;
        assert_eq!(
            qtc(&text("qtc", &data, BECH32M)),
            Err(AddressError::Padding)
        );
    }
    // One more character of zeros is no whole byte more: 265 bits are 33 bytes and one bit.
    let mut data = values(3, &[3; 32]);
    data.push(0);
    assert_eq!(
        qtc(&text("qtc", &data, BECH32M)),
        Err(AddressError::Length { found: 33 })
    );
}

#[test]
fn texts_of_no_form_are_told_apart() {
    for (wrong, error) in [
        ("", AddressError::Form),
        ("qtc", AddressError::Form),
        ("qtc1", AddressError::Checksum),
        ("qtc1q", AddressError::Checksum),
        ("1qqqqqqqq", AddressError::Form),
        (
            "qtc1rbqqqqqqqqq",
            AddressError::Character { character: 'b' },
        ),
        (
            "qtc1rqqqqqqqqqé",
            AddressError::Character { character: 'é' },
        ),
        (" qtc1rqqqqqqqqqq", AddressError::Form),
    ] {
        assert_eq!(qtc(wrong), Err(error), "{wrong:?}");
    }
    // The checksum of the version alone, without a program.
    assert_eq!(
        qtc(&text("qtc", &[3], BECH32M)),
        Err(AddressError::Length { found: 0 })
    );
    assert_eq!(qtc(&text("qtc", &[], BECH32M)), Err(AddressError::Form));
}

#[test]
fn prefixes_that_no_spec_may_name_make_no_address() {
    for prefix in ["", "QTC", "1qtc", "q-c", "qtç", &"q".repeat(31)] {
        assert!(matches!(
            Address::new(prefix, [0; 32]),
            Err(AddressError::Prefix { .. })
        ));
        assert!(matches!(
            Address::parse(prefix, "x"),
            Err(AddressError::Prefix { .. })
        ));
    }
    let longest = "q".repeat(30);
    let address = Address::new(&longest, [5; 32]).unwrap();
    assert_eq!(address.to_string().len(), MAX_ADDRESS_BYTES);
    assert_eq!(Address::parse(&longest, &address.to_string()), Ok(address));
}

/// Each character of an address, replaced by each other printable one.
#[test]
fn no_single_substitution_is_an_address() {
    for program in [[0; 32], [0xff; 32], std::array::from_fn(|i| (31 * i) as u8)] {
        let good = Address::new("qtc", program).unwrap().to_string();
        for at in 0..good.len() {
            for byte in 33..=126_u8 {
                if good.as_bytes()[at] == byte {
                    continue;
                }
                let mut wrong = good.clone().into_bytes();
                wrong[at] = byte;
                let wrong = String::from_utf8(wrong).unwrap();
                assert!(qtc(&wrong).is_err(), "{wrong}");
            }
        }
    }
}

proptest! {
    #[test]
    fn addresses_round_trip(program: [u8; 32], prefix in "[a-z][a-z0-9]{0,29}") {
        let address = Address::new(&prefix, program).unwrap();
        let text = address.to_string();
        prop_assert_eq!(Address::parse(&prefix, &text), Ok(address));
        prop_assert_eq!(Address::parse(&prefix, &text.to_uppercase()), Ok(address));
        // The library's own reading agrees.
        let (hrp, version, bytes) = bech32::segwit::decode(&text).unwrap();
        prop_assert_eq!((hrp.as_str(), version, bytes), (prefix.as_str(), Fe32::R, program.to_vec()));
    }

    /// BIP350: up to four wrong characters are always seen.
    #[test]
    fn up_to_four_wrong_characters_are_seen(
        program: [u8; 32],
        changes in prop::collection::vec((5_usize..63, 0_usize..32), 1..=4),
    ) {
        let good = Address::new("qtc", program).unwrap().to_string();
        let mut wrong = good.clone().into_bytes();
        for (at, value) in changes {
            wrong[at] = CHARSET[value];
        }
        let wrong = String::from_utf8(wrong).unwrap();
        prop_assume!(wrong != good);
        prop_assert_eq!(qtc(&wrong), Err(AddressError::Checksum));
    }

    #[test]
    fn any_text_is_read_or_refused(text in ".{0,100}", prefix in ".{0,40}") {
        let _ = qtc(&text);
        let _ = Address::parse(&prefix, &text);
    }

    /// Any bytes with a right checksum: an address only if version, length and padding are right too.
    #[test]
    fn any_data_under_a_right_checksum_is_judged_whole(data in prop::collection::vec(0_u8..32, 0..80)) {
        let whole = data.len() == 53 && data[0] == 3 && data[52] & 15 == 0;
        prop_assert_eq!(qtc(&text("qtc", &data, BECH32M)).is_ok(), whole);
        let hrp = bech32::Hrp::parse("qtc").unwrap();
        let theirs: String = data
            .iter()
            .map(|v| Fe32::try_from(*v).unwrap())
            .with_checksum::<bech32::Bech32m>(&hrp)
            .chars()
            .collect();
        prop_assert_eq!(theirs, text("qtc", &data, BECH32M));
    }
}

#[test]
fn five_bit_groups_are_as_the_library_makes_them() {
    let program: Vec<u8> = (0..32).map(|i| i * 7).collect();
    let theirs: Vec<u8> = program
        .iter()
        .copied()
        .bytes_to_fes()
        .map(Fe32::to_u8)
        .collect();
    assert_eq!(values(3, &program)[1..], theirs);
}
