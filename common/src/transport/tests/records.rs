//! The record format without I/O: limits, order, attacks.

use proptest::prelude::*;

use crate::transport::cipher::DirectionCipher;
use crate::transport::error::RecordError;
use crate::transport::record::{
    Assembler, Kind, MAX_DECOYS_IN_A_ROW, MAX_MESSAGE, MAX_RECORD_DATA, OVERHEAD, Progress,
    REKEY_INTERVAL, Trailer, fragments, seal_decoy, seal_record,
};

pub(super) const KEY: [u8; 32] = [42; 32];
pub(super) const FIRST: u8 = 1;
pub(super) const LAST: u8 = 2;

pub(super) fn sealing() -> DirectionCipher {
    DirectionCipher::new(&KEY)
}

/// An assembler that is past the identity.
fn opening() -> Assembler {
    let mut records = Assembler::before_identity(DirectionCipher::new(&KEY), 0);
    records.authenticated();
    records
}

/// The records of one message, each on its own.
pub(super) fn sealed(cipher: &mut DirectionCipher, message: &[u8]) -> Vec<Vec<u8>> {
    fragments(Kind::Message, message)
        .unwrap()
        .map(|(data, trailer)| one(cipher, data, trailer))
        .collect()
}

pub(super) fn one(cipher: &mut DirectionCipher, data: &[u8], trailer: Trailer) -> Vec<u8> {
    let mut out = Vec::new();
    seal_record(cipher, data, trailer, &mut out).unwrap();
    out
}

pub(super) fn trailer(flags: u8, kind: u8, padding: u16, total: usize) -> Trailer {
    Trailer {
        flags,
        kind,
        padding,
        total: u32::try_from(total).unwrap(),
    }
}

/// All messages in `bytes`, which must end where a record ends.
fn opened(records: &mut Assembler, bytes: Vec<u8>) -> Result<Vec<Vec<u8>>, RecordError> {
    let (mut messages, mut start) = (Vec::new(), 0);
    loop {
        match records.take(&bytes[start..])? {
            Progress::NeedMore => {
                assert_eq!(start, bytes.len(), "bytes are left over");
                return Ok(messages);
            }
            Progress::Consumed(count) => start += count,
            Progress::Message(count, message) => {
                start += count;
                messages.push(message);
            }
        }
    }
}

#[test]
fn the_arithmetic_of_the_format() {
    assert_eq!(MAX_RECORD_DATA, 65_511);
    assert_eq!(MAX_RECORD_DATA + OVERHEAD, usize::from(u16::MAX));
    let mut cipher = sealing();
    for (length, record) in [
        (0, 90),
        (1, 90),
        (64, 90),
        (65, 91),
        (MAX_RECORD_DATA, 65_537),
    ] {
        let records = sealed(&mut cipher, &vec![1; length]);
        assert_eq!(records.len(), 1, "{length}");
        assert_eq!(records[0].len(), record, "{length}");
    }
    assert_eq!(sealed(&mut cipher, &vec![1; MAX_RECORD_DATA + 1]).len(), 2);
    assert_eq!(sealed(&mut cipher, &vec![1; MAX_MESSAGE]).len(), 65);
}

#[test]
fn a_record_too_large_for_its_length_is_not_sealed() {
    let mut out = Vec::new();
    let data = vec![0; MAX_RECORD_DATA];
    let result = seal_record(
        &mut sealing(),
        &data,
        trailer(FIRST | LAST, 1, 1, data.len()),
        &mut out,
    );
    assert!(matches!(result, Err(RecordError::BadLength { .. })));
    assert!(out.is_empty());
}

#[test]
fn messages_around_the_rekey_pass() {
    for count in [
        REKEY_INTERVAL - 1,
        REKEY_INTERVAL,
        REKEY_INTERVAL + 1,
        2 * REKEY_INTERVAL + 1,
    ] {
        let (mut cipher, mut records) = (sealing(), opening());
        for number in 0..count {
            let message = number.to_be_bytes();
            let bytes = sealed(&mut cipher, &message).concat();
            assert_eq!(opened(&mut records, bytes).unwrap(), [message.to_vec()]);
        }
    }
}

#[test]
fn a_message_across_the_rekey_passes() {
    let (mut cipher, mut records) = (sealing(), opening());
    for _ in 0..REKEY_INTERVAL - 2 {
        opened(&mut records, sealed(&mut cipher, b"x").concat()).unwrap();
    }
    let long: Vec<u8> = (0..5 * MAX_RECORD_DATA)
        .map(|n| u8::try_from(n % 251).unwrap())
        .collect();
    let bytes = sealed(&mut cipher, &long).concat();
    assert_eq!(opened(&mut records, bytes).unwrap(), [long]);
}

#[test]
fn four_mebibytes_pass_and_one_byte_more_does_not() {
    let (mut cipher, mut records) = (sealing(), opening());
    let largest = vec![7; MAX_MESSAGE];
    let bytes = sealed(&mut cipher, &largest).concat();
    assert_eq!(opened(&mut records, bytes).unwrap(), [largest]);

    assert!(matches!(
        fragments(Kind::Message, &vec![7; MAX_MESSAGE + 1]).err(),
        Some(RecordError::MessageTooLong {
            received: false,
            ..
        })
    ));
    // A peer that announces it anyway is refused at the first record.
    let bytes = one(
        &mut cipher,
        &[7; MAX_RECORD_DATA],
        trailer(FIRST, 1, 0, MAX_MESSAGE + 1),
    );
    let error = opened(&mut records, bytes).unwrap_err();
    assert!(
        matches!(error, RecordError::MessageTooLong { received: true, length, .. }
            if length == MAX_MESSAGE + 1),
        "{error}"
    );
    assert!(error.is_peer_fault());
}

#[test]
fn every_broken_trailer_is_refused() {
    let full = vec![3; MAX_RECORD_DATA];
    let cases: Vec<(&str, &[u8], Trailer)> = vec![
        ("no start", b"abc", trailer(LAST, 1, 0, 3)),
        ("neither start nor end", b"abc", trailer(0, 1, 0, 3)),
        ("unknown flag", b"abc", trailer(FIRST | LAST | 4, 1, 0, 3)),
        ("unknown kind", b"abc", trailer(FIRST | LAST, 3, 0, 3)),
        (
            "identity after the handshake",
            b"abc",
            trailer(FIRST | LAST, 2, 0, 3),
        ),
        (
            "shorter than announced",
            b"abc",
            trailer(FIRST | LAST, 1, 0, 4),
        ),
        (
            "longer than announced",
            b"abc",
            trailer(FIRST | LAST, 1, 0, 2),
        ),
        (
            "a part that is not full",
            b"abc",
            trailer(FIRST, 1, 0, 100_000),
        ),
        ("a part without data", b"", trailer(FIRST, 1, 64, 100_000)),
        (
            "a first part that is the whole",
            &full,
            trailer(FIRST, 1, 0, MAX_RECORD_DATA),
        ),
    ];
    for (what, data, trailer) in cases {
        let bytes = one(&mut sealing(), data, trailer);
        let error = opened(&mut opening(), bytes).unwrap_err();
        assert!(
            matches!(error, RecordError::Malformed(_)),
            "{what}: {error}"
        );
        assert!(error.is_peer_fault(), "{what}");
    }
}

#[test]
fn a_second_part_that_does_not_continue_the_first_is_refused() {
    let full = vec![3; MAX_RECORD_DATA];
    let total = MAX_RECORD_DATA + 3;
    let seconds = [
        ("starts again", trailer(FIRST | LAST, 1, 0, 3)),
        ("changes the total", trailer(LAST, 1, 0, total + 1)),
        ("does not end", trailer(0, 1, 0, total)),
    ];
    for (what, second) in seconds {
        let mut cipher = sealing();
        let mut bytes = one(&mut cipher, &full, trailer(FIRST, 1, 0, total));
        bytes.extend(one(&mut cipher, b"abc", second));
        let error = opened(&mut opening(), bytes).unwrap_err();
        assert!(
            matches!(error, RecordError::Malformed(_)),
            "{what}: {error}"
        );
    }
}

#[test]
fn padding_must_be_zero_and_fit() {
    // Plaintexts by hand: data, padding and trailer in one, sealed as raw bytes.
    let raw = |plaintext: &[u8]| {
        let mut cipher = sealing();
        let mask = cipher.length_mask().unwrap();
        let [high, low] = u16::try_from(plaintext.len() + 16).unwrap().to_be_bytes();
        let mut bytes = plaintext.to_vec();
        let tag = cipher.seal(&mut bytes).unwrap();
        [&[high ^ mask[0], low ^ mask[1]], bytes.as_slice(), &tag].concat()
    };
    let good = [b"ab\0\0".as_slice(), &[3, 1, 0, 2, 0, 0, 0, 2]].concat();
    assert_eq!(opened(&mut opening(), raw(&good)).unwrap(), [b"ab"]);
    let not_zero = [b"ab\0x".as_slice(), &[3, 1, 0, 2, 0, 0, 0, 2]].concat();
    let too_much = [b"ab\0\0".as_slice(), &[3, 1, 0, 5, 0, 0, 0, 2]].concat();
    for plaintext in [not_zero, too_much] {
        let error = opened(&mut opening(), raw(&plaintext)).unwrap_err();
        assert!(matches!(error, RecordError::Malformed(_)), "{error}");
    }
    let no_trailer = opened(&mut opening(), raw(&[0; 7])).unwrap_err();
    assert!(
        matches!(no_trailer, RecordError::BadLength { length: 23, .. }),
        "{no_trailer}"
    );
}

#[test]
fn decoys_are_ignored_but_not_for_ever() {
    let (mut cipher, mut records) = (sealing(), opening());
    let mut bytes = Vec::new();
    for _ in 0..MAX_DECOYS_IN_A_ROW {
        seal_decoy(&mut cipher, 0, &mut bytes).unwrap();
    }
    bytes.extend(sealed(&mut cipher, b"real").concat());
    assert_eq!(opened(&mut records, bytes).unwrap(), [b"real"]);

    let mut bytes = Vec::new();
    for _ in 0..=MAX_DECOYS_IN_A_ROW {
        seal_decoy(&mut cipher, usize::MAX, &mut bytes).unwrap();
    }
    let error = opened(&mut records, bytes).unwrap_err();
    assert!(matches!(error, RecordError::TooManyDecoys(_)), "{error}");
}

#[test]
fn a_decoy_between_the_parts_of_a_message_is_ignored() {
    let (mut cipher, mut records) = (sealing(), opening());
    let long = vec![1; MAX_RECORD_DATA + 1];
    let mut bytes = Vec::new();
    for (data, trailer) in fragments(Kind::Message, &long).unwrap() {
        seal_decoy(&mut cipher, 100, &mut bytes).unwrap();
        seal_record(&mut cipher, data, trailer, &mut bytes).unwrap();
    }
    assert_eq!(opened(&mut records, bytes).unwrap(), [long]);
}

#[test]
fn small_messages_look_alike() {
    let mut cipher = sealing();
    let lengths: Vec<_> = [0, 1, 24, 32, 64]
        .map(|length| sealed(&mut cipher, &vec![0; length]).concat().len())
        .to_vec();
    assert!(
        lengths.iter().all(|length| *length == lengths[0]),
        "{lengths:?}"
    );
}

#[test]
fn lengths_on_the_wire_do_not_repeat() {
    let mut cipher = sealing();
    let masked: std::collections::HashSet<[u8; 2]> = (0..500)
        .map(|_| {
            let bytes = sealed(&mut cipher, b"same").concat();
            [bytes[0], bytes[1]]
        })
        .collect();
    assert!(masked.len() > 450, "{} of 500 differ", masked.len());
}

#[test]
fn every_bit_flip_of_a_record_is_refused_or_waits() {
    let good = sealed(&mut sealing(), b"message").concat();
    for bit in 0..good.len() * 8 {
        let mut bytes = good.clone();
        bytes[bit / 8] ^= 1 << (bit % 8);
        match opening().take(&bytes) {
            Err(error) => assert!(error.is_peer_fault(), "bit {bit}"),
            // A flipped length can only ask for more bytes.
            Ok(progress) => {
                assert_eq!(progress, Progress::NeedMore, "bit {bit}");
                assert!(bit < 16, "bit {bit}");
            }
        }
    }
}

#[test]
fn every_truncation_waits() {
    let good = sealed(&mut sealing(), b"message").concat();
    for length in 0..good.len() {
        let progress = opening().take(&good[..length]).unwrap();
        assert_eq!(progress, Progress::NeedMore, "{length}");
    }
}

#[test]
fn replayed_reordered_and_dropped_records_are_refused() {
    let records: Vec<_> = {
        let mut cipher = sealing();
        (0..3_u8)
            .map(|n| sealed(&mut cipher, &[n]).concat())
            .collect()
    };
    for order in [[0, 0, 1], [1, 0, 2], [0, 2, 1], [2, 1, 0]] {
        let mut bytes = order.map(|n| records[n].clone()).concat();
        // So that a wrongly unmasked length has bytes to take.
        bytes.resize(bytes.len() + usize::from(u16::MAX), 0);
        let error = opened(&mut opening(), bytes).unwrap_err();
        // A length that is unmasked with the wrong mask is as likely to be impossible.
        assert!(
            matches!(error, RecordError::Decrypt | RecordError::BadLength { .. }),
            "{order:?}: {error}"
        );
    }
    assert_eq!(opened(&mut opening(), records.concat()).unwrap().len(), 3);
}

#[test]
fn before_the_identity_only_the_identity_passes() {
    let fresh = || Assembler::before_identity(DirectionCipher::new(&KEY), 100);
    let identity = one(&mut sealing(), &[1; 100], trailer(FIRST | LAST, 2, 0, 100));
    assert_eq!(opened(&mut fresh(), identity).unwrap(), [vec![1; 100]]);

    let message = one(&mut sealing(), &[1; 100], trailer(FIRST | LAST, 1, 0, 100));
    assert!(matches!(
        opened(&mut fresh(), message),
        Err(RecordError::Malformed(_))
    ));
    let long = one(&mut sealing(), &[1; 101], trailer(FIRST | LAST, 2, 0, 101));
    assert!(matches!(
        opened(&mut fresh(), long),
        Err(RecordError::BadLength { .. })
    ));
    let mut decoy = Vec::new();
    seal_decoy(&mut sealing(), 64, &mut decoy).unwrap();
    assert!(matches!(
        opened(&mut fresh(), decoy),
        Err(RecordError::Malformed(_))
    ));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn messages_round_trip(
        lengths in prop::collection::vec(0_usize..200_000, 1..5),
        fill: u8,
    ) {
        let (mut cipher, mut records) = (sealing(), opening());
        let messages: Vec<_> = lengths.iter().map(|length| vec![fill; *length]).collect();
        let bytes: Vec<u8> =
            messages.iter().flat_map(|message| sealed(&mut cipher, message).concat()).collect();
        prop_assert_eq!(opened(&mut records, bytes).unwrap(), messages);
    }

    #[test]
    fn junk_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..2_000)) {
        let _ = opening().take(&bytes);
    }
}
