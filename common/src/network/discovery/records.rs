//! Reads what a DNS seed answered. Pure; everything in here was written by a stranger.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use hickory_resolver::proto::rr::{Name, RData, Record};

use crate::reachability::netgroup::{canonical_socket, is_dialable};

/// An address that a seed named, with what it said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Where to dial.
    pub addr: SocketAddr,
    /// The seed that named it, the first when several did; empty where that is unknown.
    pub seed: Arc<str>,
    /// Service bits, when TXT told them; a claim.
    pub services: Option<u64>,
    /// Identity (SHA-256 of the node's ML-DSA-44 key), when TXT told it; a claim.
    pub node_id: Option<[u8; 32]>,
}

impl Candidate {
    /// Takes over what `other` knows and we do not.
    pub fn merge(&mut self, other: &Self) {
        self.services = self.services.or(other.services);
        self.node_id = self.node_id.or(other.node_id);
    }
}

/// All addresses in an answer: SRV with its glue, TXT, A and AAAA. What can't be dialled is left out.
pub fn read(records: &[Record], default_port: u16, allow_private: bool) -> Vec<Candidate> {
    let srv_targets: HashSet<&Name> = records
        .iter()
        .filter_map(|r| match &r.data {
            RData::SRV(srv) => Some(&srv.target),
            _ => None,
        })
        .collect();
    let mut found = Vec::new();
    for record in records {
        match &record.data {
            RData::SRV(srv) => {
                for ip in addresses_of(records, &srv.target) {
                    found.push(plain(SocketAddr::new(ip, srv.port)));
                }
            }
            RData::TXT(txt) => {
                let text: Vec<u8> = txt
                    .txt_data
                    .iter()
                    .flat_map(|part| part.iter().copied())
                    .collect();
                if let Some(candidate) = std::str::from_utf8(&text).ok().and_then(read_txt) {
                    found.push(candidate);
                }
            }
            // Glue belongs to its SRV record, whose port it takes.
            data if !srv_targets.contains(&record.name) => {
                if let Some(ip) = data.ip_addr() {
                    found.push(plain(SocketAddr::new(ip, default_port)));
                }
            }
            _ => {}
        }
    }
    found.retain_mut(|candidate| {
        candidate.addr = canonical_socket(candidate.addr);
        is_dialable(candidate.addr, allow_private)
    });
    found
}

/// SRV targets for which the answer holds no address.
pub fn targets_without_address(records: &[Record]) -> Vec<Name> {
    let mut targets: Vec<Name> = records
        .iter()
        .filter_map(|r| match &r.data {
            RData::SRV(srv) => Some(srv.target.clone()),
            _ => None,
        })
        .filter(|target| addresses_of(records, target).next().is_none())
        .collect();
    targets.sort();
    targets.dedup();
    targets
}

/// One TXT record: `v=qtc1 a=<ip:port> s=<services hex> t=<transports> k=<base64url identity> h=<height>`.
/// Unknown keys are ignored, so that the format can grow.
pub fn read_txt(text: &str) -> Option<Candidate> {
    let mut fields = text.split_ascii_whitespace();
    if fields.next() != Some("v=qtc1") {
        return None;
    }
    let mut addr = None;
    let mut services = None;
    let mut node_id = None;
    for (key, value) in fields.filter_map(|field| field.split_once('=')) {
        match key {
            "a" => addr = value.parse().ok(),
            "s" => services = u64::from_str_radix(value, 16).ok(),
            "k" => {
                node_id = BASE64URL_NOPAD
                    .decode(value.as_bytes())
                    .ok()
                    .and_then(|bytes| bytes.try_into().ok());
            }
            _ => {}
        }
    }
    Some(Candidate {
        addr: addr?,
        seed: Arc::default(),
        services,
        node_id,
    })
}

fn addresses_of<'a>(records: &'a [Record], name: &'a Name) -> impl Iterator<Item = IpAddr> + 'a {
    records
        .iter()
        .filter(move |r| r.name == *name)
        .filter_map(|r| r.data.ip_addr())
}

fn plain(addr: SocketAddr) -> Candidate {
    Candidate {
        addr,
        seed: Arc::default(),
        services: None,
        node_id: None,
    }
}

#[cfg(test)]
mod tests {
    use hickory_resolver::proto::rr::rdata::{A, SRV, TXT};

    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    #[test]
    fn srv_takes_its_port_and_its_glue() {
        let target = name("abc.n.seed1.test.");
        let records = [
            Record::from_rdata(
                name("_qtc._tcp.seed1.test."),
                60,
                RData::SRV(SRV::new(0, 1, 9_000, target.clone())),
            ),
            Record::from_rdata(target, 60, RData::A(A::new(9, 8, 7, 6))),
        ];
        assert_eq!(
            read(&records, 8333, false),
            [plain("9.8.7.6:9000".parse().unwrap())]
        );
        assert!(targets_without_address(&records).is_empty());
        assert_eq!(targets_without_address(&records[..1]).len(), 1);
    }

    #[test]
    fn addresses_take_the_default_port_and_junk_is_left_out() {
        let junk = [
            [0, 0, 0, 0],
            [127, 0, 0, 1],
            [10, 0, 0, 1],
            [255, 255, 255, 255],
            [224, 0, 0, 1],
        ];
        let mut records: Vec<_> = junk
            .iter()
            .map(|&[a, b, c, d]| {
                Record::from_rdata(name("seed1.test."), 60, RData::A(A::new(a, b, c, d)))
            })
            .collect();
        records.push(Record::from_rdata(
            name("seed1.test."),
            60,
            RData::A(A::new(9, 9, 9, 9)),
        ));
        assert_eq!(
            read(&records, 8333, false),
            [plain("9.9.9.9:8333".parse().unwrap())]
        );
        assert_eq!(
            read(&records, 8333, true).len(),
            3,
            "a devnet may use private addresses"
        );
    }

    #[test]
    fn txt_tells_services_and_identity() {
        let id = BASE64URL_NOPAD.encode(&[7; 32]);
        let text = format!("v=qtc1 a=9.9.9.9:1234 s=409 t=noise k={id} h=500 new=thing");
        let expected = Candidate {
            addr: "9.9.9.9:1234".parse().unwrap(),
            seed: Arc::default(),
            services: Some(0x409),
            node_id: Some([7; 32]),
        };
        assert_eq!(read_txt(&text), Some(expected.clone()));
        let record = Record::from_rdata(
            name("seed1.test."),
            60,
            RData::TXT(TXT::new(vec![text[..20].to_owned(), text[20..].to_owned()])),
        );
        assert_eq!(
            read(&[record], 8333, false),
            [expected],
            "strings of one record are joined"
        );
    }

    #[test]
    fn bad_txt_is_ignored() {
        for text in [
            "",
            "v=qtc2 a=9.9.9.9:1",
            "a=9.9.9.9:1 v=qtc1",
            "v=qtc1",
            "v=qtc1 a=nonsense",
        ] {
            assert_eq!(read_txt(text), None, "{text}");
        }
        let partial = read_txt("v=qtc1 a=9.9.9.9:1 s=xyz k=!!").unwrap();
        assert_eq!((partial.services, partial.node_id), (None, None));
    }
}
