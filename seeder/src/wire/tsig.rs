//! TSIG (RFC 8945), as far as a server goes that has no keys: it reads the record and answers that it knows no such key.
//!
//! ```text
//! in a query    = key's name | TSIG ANY 0 | algorithm | time | fudge | MAC    | original id | error  | other data
//! in a response = key's name | TSIG ANY 0 | algorithm | time | fudge | no MAC | original id | BADKEY | no data
//! ```
//!
//! What differs is left out, so that the record is never longer than the one that came.

use super::{CLASS_ANY, HEADER, kind, name::MAX_NAME, name::WireName, reply::put};

/// The key is not known here (RFC 8945, 3).
const BADKEY: u16 = 17;

/// Bytes between a record's owner and its data: type, class, TTL, length (RFC 1035, 4.1.3).
const RECORD_FIXED: usize = 10;

/// Bytes of "time signed" and "fudge" (RFC 8945, 4.2).
const TIMES: usize = 8;

/// Bytes of the sizes of MAC and other data, of the original id and of the error (RFC 8945, 4.2).
const NUMBERS: usize = 8;

/// What of a query's TSIG record comes back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tsig<'a> {
    /// The key's name as it came: labels, and the root or a pointer into the question, which comes back at the same place.
    key: &'a [u8],
    /// The algorithm's name, "time signed" and "fudge".
    signed: &'a [u8],
    original_id: [u8; 2],
}

impl<'a> Tsig<'a> {
    /// Reads a record; `question` is the name that was asked for. `None` for one that RFC 8945 calls malformed, and for a key whose
    /// name is compressed by anything else than the question's.
    #[cold]
    pub(super) fn read(
        owner: &'a [u8],
        class: u16,
        ttl: [u8; 4],
        data: &'a [u8],
        question: Option<&WireName>,
    ) -> Option<Self> {
        if class != CLASS_ANY || ttl != [0; 4] || !comes_back(owner, question) {
            return None;
        }
        let (_, algorithm) = WireName::read(data)?;
        let (signed, rest) = data.split_at_checked(algorithm + TIMES)?;
        let rest = after_sized(rest)?;
        let ([id0, id1, _, _], rest) = rest.split_first_chunk::<4>()?;
        after_sized(rest)?.is_empty().then_some(Self {
            key: owner,
            signed,
            original_id: [*id0, *id1],
        })
    }

    /// Bytes of the record in a response.
    pub(super) const fn len(&self) -> usize {
        self.key.len() + RECORD_FIXED + self.signed.len() + NUMBERS
    }

    /// Writes the last record of a response: unsigned, with the error (RFC 8945, 5.3.2). The times are the client's; nobody looks at
    /// them where nothing is signed.
    pub(super) fn write(&self, out: &mut Vec<u8>) {
        out.extend_from_slice(self.key);
        put(out, kind::TSIG);
        put(out, CLASS_ANY);
        out.extend_from_slice(&[0; 4]);
        // A name and a few numbers.
        put(out, (self.signed.len() + NUMBERS) as u16);
        out.extend_from_slice(self.signed);
        put(out, 0);
        out.extend_from_slice(&self.original_id);
        put(out, BADKEY);
        put(out, 0);
    }
}

/// Whether a name means the same when it is sent back as it stands, behind the same question.
fn comes_back(owner: &[u8], question: Option<&WireName>) -> bool {
    if WireName::read(owner).is_some() {
        return true;
    }
    let Some((labels, pointer)) = owner.split_last_chunk::<2>() else {
        return false;
    };
    let at = usize::from(u16::from_be_bytes(*pointer) & 0x3fff).checked_sub(HEADER);
    let end = question.zip(at).and_then(|(name, at)| name.end_at(at));
    end.is_some_and(|end| labels.len() + end.len() <= MAX_NAME)
}

/// What follows two bytes of length and as many bytes as they say.
fn after_sized(bytes: &[u8]) -> Option<&[u8]> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    rest.get(usize::from(u16::from_be_bytes(*length))..)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TIME_AND_FUDGE: [u8; TIMES] = [0, 0, 0x65, 1, 2, 3, 1, 44];

    fn question() -> WireName {
        WireName::read(b"\x04seed\x04test\x00").unwrap().0
    }

    fn data(mac: &[u8], other: &[u8]) -> Vec<u8> {
        let sized = |bytes: &[u8]| [&[0, bytes.len() as u8], bytes].concat();
        let numbers = [9, 8, 0, 0];
        [
            b"\x03mac\x00".as_slice(),
            &TIME_AND_FUDGE,
            &sized(mac),
            &numbers,
            &sized(other),
        ]
        .concat()
    }

    fn read<'a>(owner: &'a [u8], data: &'a [u8]) -> Option<Tsig<'a>> {
        Tsig::read(owner, CLASS_ANY, [0; 4], data, Some(&question()))
    }

    #[test]
    fn the_answer_has_the_clients_names_and_no_mac() {
        let data = data(&[7; 32], &[1; 6]);
        let tsig = read(b"\x01k\x00", &data).unwrap();
        let mut out = Vec::new();
        tsig.write(&mut out);
        let wanted = [
            b"\x01k\x00\x00\xfa\x00\xff\x00\x00\x00\x00\x00\x15\x03mac\x00".as_slice(),
            &TIME_AND_FUDGE,
            &[0, 0, 9, 8, 0, 17, 0, 0],
        ];
        assert_eq!(out, wanted.concat());
        assert_eq!(out.len(), tsig.len());
        assert!(out.len() <= 3 + RECORD_FIXED + data.len());
    }

    #[test]
    fn malformed_records_are_told() {
        let good = data(&[7; 32], &[]);
        let key = b"\x01k\x00";
        assert!(read(key, &good).is_some());
        for length in 0..good.len() {
            assert!(read(key, &good[..length]).is_none(), "{length}");
        }
        assert!(read(key, &[good.as_slice(), &[0]].concat()).is_none());
        // An algorithm's name is not compressed (RFC 3597, 4).
        let pointer = [&[0xc0, 12], &good[5..]].concat();
        assert!(read(key, &pointer).is_none());
        let with = |class, ttl| Tsig::read(key, class, ttl, &good, None);
        assert!(with(1, [0; 4]).is_none() && with(CLASS_ANY, [0, 0, 0, 1]).is_none());
        assert!(with(CLASS_ANY, [0; 4]).is_some());
    }

    #[test]
    fn a_key_may_be_named_by_the_question_alone() {
        let data = data(&[], &[]);
        // `seed.test.`, `test.` and the root.
        for at in [12, 17, 22] {
            let owner = [1, b'k', 0xc0, at];
            assert!(read(&owner, &data).is_some(), "{at}");
            assert!(Tsig::read(&owner, CLASS_ANY, [0; 4], &data, None).is_none());
        }
        // Within a label, within the header, behind the name, far beyond.
        for pointer in [[0xc0, 13], [0xc0, 0], [0xc0, 23], [0xff, 0xff]] {
            let owner = [[1, b'k'], pointer].concat();
            assert!(read(&owner, &data).is_none(), "{pointer:?}");
        }
        let long = [[63_u8].as_slice(), &[b'a'; 63]].concat().repeat(3);
        let whole = |last: usize| {
            let label = [&[last as u8], vec![b'a'; last].as_slice()].concat();
            [long.as_slice(), &label, &[0xc0, 12]].concat()
        };
        // 192 bytes, a label and the eleven of the question's name.
        assert!(read(&whole(51), &data).is_some());
        assert!(read(&whole(52), &data).is_none(), "more than 255 bytes");
    }
}
