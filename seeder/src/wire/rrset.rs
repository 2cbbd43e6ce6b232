//! RRsets as bytes.

use hickory_proto::{
    ProtoError,
    rr::Record,
    serialize::binary::{BinDecodable, BinDecoder},
};

use super::name::WireName;

/// An RRset (RFC 2181, 5) with its RDATA in canonical form: names uncompressed and in lower case (RFC 4034, 6.2).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RrSet {
    /// Owner.
    pub owner: WireName,
    /// Type.
    pub kind: u16,
    /// Class.
    pub class: u16,
    /// Time to live in seconds.
    pub ttl: u32,
    /// RDATA of each record.
    pub rdata: Rdata,
}

/// The RDATA of several records, one behind the other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rdata {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl Rdata {
    /// Adds a record's RDATA, which `write` appends to what it is given.
    pub fn push(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        write(&mut self.bytes);
        self.ends.push(self.bytes.len());
    }

    /// Each record's RDATA.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let ranges = starts.zip(&self.ends);
        ranges.map(|(start, end)| self.bytes.get(start..*end).unwrap_or_default())
    }

    /// How many records there are.
    #[must_use]
    pub const fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// In canonical order, each once (RFC 4034, 6.3).
    #[must_use]
    pub fn sorted(&self) -> Vec<&[u8]> {
        let mut sorted: Vec<&[u8]> = self.iter().collect();
        sorted.sort_unstable();
        sorted.dedup();
        sorted
    }
}

impl<T: AsRef<[u8]>> FromIterator<T> for Rdata {
    fn from_iter<I: IntoIterator<Item = T>>(all: I) -> Self {
        let mut rdata = Self::default();
        for one in all {
            rdata.push(|bytes| bytes.extend_from_slice(one.as_ref()));
        }
        rdata
    }
}

impl RrSet {
    /// The records, for people and for other programs.
    ///
    /// # Errors
    /// When hickory does not understand one.
    pub fn records(&self) -> Result<Vec<Record>, ProtoError> {
        let record = |rdata: &[u8]| {
            let mut bytes = self.owner.as_bytes().to_vec();
            bytes.extend(self.kind.to_be_bytes());
            bytes.extend(self.class.to_be_bytes());
            bytes.extend(self.ttl.to_be_bytes());
            // RDATA has at most 64 KiB.
            bytes.extend((rdata.len() as u16).to_be_bytes());
            bytes.extend_from_slice(rdata);
            Record::read(&mut BinDecoder::new(&bytes)).map_err(Into::into)
        };
        self.rdata.iter().map(record).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rdata_comes_back_in_order_or_sorted() {
        let rdata: Rdata = [&b"b"[..], b"", b"abc", b"b"].into_iter().collect();
        assert_eq!(rdata.len(), 4);
        assert_eq!(
            rdata.iter().collect::<Vec<_>>(),
            [&b"b"[..], b"", b"abc", b"b"]
        );
        assert_eq!(rdata.sorted(), [&b""[..], b"abc", b"b"]);
        assert!(Rdata::default().is_empty());
    }

    #[test]
    fn records_are_what_hickory_reads() {
        let set = RrSet {
            owner: WireName::read(b"\x01a\x00").unwrap().0,
            kind: 1,
            class: 1,
            ttl: 60,
            rdata: [[192, 0, 2, 1], [192, 0, 2, 2]].iter().collect(),
        };
        let shown: Vec<String> = set
            .records()
            .unwrap()
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(shown, ["a. 60 IN A 192.0.2.1", "a. 60 IN A 192.0.2.2"]);
        let broken = RrSet {
            rdata: [[1, 2, 3]].iter().collect(),
            ..set
        };
        assert!(broken.records().is_err());
    }
}
