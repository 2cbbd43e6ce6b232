//! A domain name in wire form and lower case, on the stack.

use std::fmt;

/// Most bytes of a name (RFC 1035, 2.3.4).
pub const MAX_NAME: usize = 255;

/// Most labels that fit in [`MAX_NAME`] bytes, without the root's.
const MAX_LABELS: usize = 127;

/// Most bytes of one label (RFC 1035, 2.3.4); more would be a compression pointer or a reserved kind.
const MAX_LABEL: u8 = 63;

/// A name, lower-cased, with the places where its labels begin.
#[derive(Clone, Copy)]
pub struct WireName {
    bytes: [u8; MAX_NAME],
    length: u8,
    starts: [u8; MAX_LABELS],
    labels: u8,
}

impl WireName {
    /// Reads an uncompressed name from the start of `bytes`: the name, and how many bytes it took. `None` for one that is
    /// cut off, too long, or compressed (RFC 9267, 2 lists what pointers in questions have been good for).
    #[must_use]
    pub fn read(bytes: &[u8]) -> Option<(Self, usize)> {
        let mut name = Self::root();
        let used = name.read_in_place(bytes)?;
        Some((name, used))
    }

    /// The same in the place of another name, which saves the usual path moving hundreds of bytes. It is the root after a failure.
    pub(super) fn read_in_place(&mut self, bytes: &[u8]) -> Option<usize> {
        let used = self.parse(bytes);
        if used.is_none() {
            *self = Self::root();
        }
        used
    }

    fn parse(&mut self, bytes: &[u8]) -> Option<usize> {
        self.labels = 0;
        let mut at = 0;
        loop {
            let size = *bytes.get(at)?;
            if size > MAX_LABEL {
                return None;
            }
            let end = at + 1 + usize::from(size);
            let label = bytes.get(at..end)?;
            let copy = self.bytes.get_mut(at..end)?;
            copy.copy_from_slice(label);
            // The length byte is at most 63: no letter.
            copy.make_ascii_lowercase();
            if size == 0 {
                self.length = u8::try_from(end).ok()?;
                return Some(end);
            }
            *self.starts.get_mut(usize::from(self.labels))? = u8::try_from(at).ok()?;
            self.labels += 1;
            at = end;
        }
    }

    /// The same of a name from elsewhere, in any case.
    #[must_use]
    pub fn of(name: &hickory_proto::rr::Name) -> Self {
        let mut bytes = Vec::with_capacity(MAX_NAME);
        for label in name {
            // hickory's labels have at most 63 bytes and its names at most 255.
            bytes.push(label.len() as u8);
            bytes.extend_from_slice(label);
        }
        bytes.push(0);
        Self::read(&bytes).map_or_else(Self::root, |(name, _)| name)
    }

    /// This name below more labels, in lower case; `None` when it would be too long.
    #[must_use]
    pub fn below_labels(&self, labels: &[&[u8]]) -> Option<Self> {
        let mut bytes = Vec::with_capacity(MAX_NAME);
        for label in labels {
            bytes.push(
                u8::try_from(label.len())
                    .ok()
                    .filter(|size| *size <= MAX_LABEL)?,
            );
            bytes.extend_from_slice(label);
        }
        bytes.extend_from_slice(self.as_bytes());
        Self::read(&bytes).map(|(name, _)| name)
    }

    /// The root's name.
    #[must_use]
    pub const fn root() -> Self {
        Self {
            bytes: [0; MAX_NAME],
            length: 1,
            starts: [0; MAX_LABELS],
            labels: 0,
        }
    }

    /// Wire form with the root's zero byte.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        self.bytes
            .get(..usize::from(self.length))
            .unwrap_or_default()
    }

    /// Labels without the root's.
    #[must_use]
    pub fn labels(&self) -> usize {
        usize::from(self.labels)
    }

    /// The label at `index`, from the left.
    #[must_use]
    pub fn label(&self, index: usize) -> Option<&[u8]> {
        let start = usize::from(*self.starts.get(..self.labels())?.get(index)?);
        let size = usize::from(*self.bytes.get(start)?);
        self.bytes.get(start + 1..start + 1 + size)
    }

    /// The name without its first `labels` labels, in wire form; the root for too many.
    #[must_use]
    pub fn suffix(&self, labels: usize) -> &[u8] {
        let root = self.as_bytes().len().saturating_sub(1);
        let start = self
            .starts
            .get(..self.labels())
            .and_then(|starts| starts.get(labels))
            .map_or(root, |start| usize::from(*start));
        self.as_bytes().get(start..).unwrap_or_default()
    }

    /// The end of the name that begins with the label at byte `at`; `None` where no label begins.
    pub(super) fn end_at(&self, at: usize) -> Option<&[u8]> {
        let mut ends = (0..=self.labels()).map(|labels| self.suffix(labels));
        ends.find(|end| end.len() + at == self.as_bytes().len())
    }

    /// How many labels stand before `zone`, when this name is `zone` (0) or below it.
    #[must_use]
    pub fn below(&self, zone: &Self) -> Option<usize> {
        let above = self.labels().checked_sub(zone.labels())?;
        (self.suffix(above) == zone.as_bytes()).then_some(above)
    }
}

impl PartialEq for WireName {
    fn eq(&self, other: &Self) -> bool {
        self.as_bytes() == other.as_bytes()
    }
}

impl Eq for WireName {}

impl fmt::Debug for WireName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for index in 0..self.labels() {
            let label = self.label(index).unwrap_or_default();
            write!(f, "{}.", label.escape_ascii())?;
        }
        if self.labels() == 0 {
            f.write_str(".")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::Name;
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> WireName {
        WireName::of(&Name::from_ascii(text).unwrap())
    }

    #[test]
    fn a_name_is_read_in_lower_case_with_its_labels() {
        let (read, used) = WireName::read(b"\x02X9\x04SeEd\x00rest").unwrap();
        assert_eq!((used, read.as_bytes()), (9, &b"\x02x9\x04seed\x00"[..]));
        assert_eq!(read.labels(), 2);
        assert_eq!(
            (read.label(0), read.label(1), read.label(2)),
            (Some(&b"x9"[..]), Some(&b"seed"[..]), None)
        );
        assert_eq!(format!("{read:?}"), "x9.seed.");
        assert_eq!(read.suffix(1), b"\x04seed\x00");
        assert_eq!(read.suffix(2), b"\0");
        assert_eq!(read.suffix(9), b"\0");
        assert_eq!(format!("{:?}", name(".")), ".");
    }

    #[test]
    fn a_zone_holds_itself_and_what_is_below_by_whole_labels() {
        let zone = name("seed.example.");
        assert_eq!(name("seed.example.").below(&zone), Some(0));
        assert_eq!(name("a.b.SEED.example.").below(&zone), Some(2));
        for other in ["example.", "aseed.example.", "seed.example.org.", "."] {
            assert_eq!(name(other).below(&zone), None, "{other}");
        }
        // The bytes of the zone's name, but inside a label.
        let (inside, _) = WireName::read(b"\x0f-\x04seed\x07example\x00\x00").unwrap();
        assert_eq!(inside.labels(), 1);
        assert_eq!(inside.below(&zone), None);
        assert_eq!(name("a.").below(&name(".")), Some(1));
    }

    #[test]
    fn what_is_no_name_is_none() {
        let long_label = [&[64][..], &[b'a'; 64], &[0]].concat();
        let mut too_long = [[63].as_slice(), &[b'a'; 63]].concat().repeat(4);
        too_long.push(0);
        for bytes in [
            &b""[..],
            b"\x01",
            b"\x01a",
            b"\x03ab\x00",
            b"\xc0\x0c",
            b"\x01a\xc0\x0c",
            b"\x80",
            &long_label,
            &too_long,
        ] {
            assert!(WireName::read(bytes).is_none(), "{bytes:?}");
        }
        let mut longest = [[63].as_slice(), &[b'a'; 63]].concat().repeat(3);
        longest.push(61);
        longest.extend_from_slice(&[b'a'; 61]);
        longest.push(0);
        assert_eq!(WireName::read(&longest).unwrap().1, MAX_NAME);
        let many = [[1, b'a'].repeat(127), vec![0]].concat();
        assert_eq!(WireName::read(&many).unwrap().0.labels(), 127);
    }

    proptest! {
        #[test]
        fn bytes_are_read_as_hickory_reads_them(
            labels in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 1..70), 0..6),
            damage in proptest::option::of((any::<prop::sample::Index>(), any::<u8>())), rest in any::<[u8; 4]>(),
        ) {
            use hickory_proto::serialize::binary::{BinDecodable, BinDecoder};
            let mut bytes = Vec::new();
            for label in &labels {
                bytes.push(label.len() as u8);
                bytes.extend_from_slice(label);
            }
            bytes.push(0);
            bytes.extend(rest);
            if let Some((index, value)) = damage {
                let at = index.index(bytes.len());
                bytes[at] = value;
            }
            let mut decoder = BinDecoder::new(&bytes);
            let theirs = Name::read(&mut decoder).ok();
            match (WireName::read(&bytes), theirs) {
                (Some((ours, used)), Some(theirs)) => {
                    prop_assert_eq!(ours, WireName::of(&theirs));
                    prop_assert_eq!(used, decoder.index());
                }
                // They follow pointers.
                (None, Some(_)) => prop_assert!(bytes.iter().any(|byte| *byte >= 0xc0)),
                (None, None) => {}
                (Some(ours), None) => prop_assert!(false, "only we read {:?}", ours.0),
            }
        }
    }
}
