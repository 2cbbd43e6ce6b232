//! Reads what a DNS seed answered. Pure; everything in here was written by a stranger, so all of it is
//! bounded: [`MAX_RECORDS`], [`MAX_TARGETS`], [`MAX_TXT_BYTES`].

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use data_encoding::BASE64URL_NOPAD;
use hickory_resolver::proto::rr::rdata::SRV;
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};

use crate::reachability::Transports;
use crate::reachability::netgroup::{canonical_socket, is_dialable};

/// Records of one section that are looked at. Our seeders give about 24; 64 KiB over TCP hold thousands, and SRV with
/// its glue costs their product.
pub const MAX_RECORDS: usize = 256;

/// SRV targets without glue that are asked for, of one seed through one provider. Each costs two questions to a name
/// that a stranger chose, and TXT tells the same peers without any.
pub const MAX_TARGETS: usize = 8;

/// Longest text of a TXT record. Ours have less than 200 bytes; unknown keys need some room.
pub const MAX_TXT_BYTES: usize = 512;

/// An address that a seed named, with what it said of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// Where to dial.
    pub addr: SocketAddr,
    /// The seed that named it, the first when several did; empty where that is unknown.
    pub seed: Arc<str>,
    /// Service bits, when TXT told them; a claim.
    pub services: Option<u64>,
    /// Transports that it speaks, of those that we know, when TXT told them; a claim.
    pub transports: Option<Transports>,
    /// Identity (SHA-256 of the node's ML-DSA-44 key), when TXT told it; a claim.
    pub node_id: Option<[u8; 32]>,
    /// Providers through which it was named in this round; 1 in an early batch.
    pub named_by: usize,
}

impl Candidate {
    /// Takes over what `other` knows and we do not.
    pub fn merge(&mut self, other: &Self) {
        self.services = self.services.or(other.services);
        self.transports = self.transports.or(other.transports);
        self.node_id = self.node_id.or(other.node_id);
    }
}

/// All addresses in the answer to a question for `rtype`, each once: SRV with its glue, TXT, A or AAAA. What can't be
/// dialled is left out, and so is everything that was not asked for: the addresses of name servers, say, which some
/// servers add to whatever they answer. Plain addresses take `port`.
pub fn read(
    rtype: RecordType,
    answers: &[Record],
    glue: &[Record],
    port: u16,
    allow_private: bool,
) -> Vec<Candidate> {
    let mut seen = HashSet::new();
    named(rtype, bounded(answers), bounded(glue), port)
        .map(|mut candidate| {
            candidate.addr = canonical_socket(candidate.addr);
            candidate
        })
        .filter(|c| is_dialable(c.addr, allow_private) && seen.insert(c.addr))
        .take(MAX_RECORDS)
        .collect()
}

/// SRV targets, with their ports, for which the answer holds no address: the first [`MAX_TARGETS`] by priority.
pub fn targets_without_address(answers: &[Record], glue: &[Record]) -> Vec<(Name, u16)> {
    let (answers, glue) = (bounded(answers), bounded(glue));
    let mut bare: Vec<&SRV> = answers
        .iter()
        .filter_map(srv)
        // The root as target says that there is no such service (RFC 2782).
        .filter(|srv| !srv.target.is_root())
        .filter(|srv| addresses_of(answers, glue, &srv.target).next().is_none())
        .collect();
    bare.sort_by_key(|srv| srv.priority);
    let mut targets: Vec<(Name, u16)> = Vec::new();
    for srv in bare {
        let known = targets
            .iter()
            .any(|(name, port)| *name == srv.target && *port == srv.port);
        if !known && targets.len() < MAX_TARGETS {
            targets.push((srv.target.clone(), srv.port));
        }
    }
    targets
}

/// One TXT record: `v=qtc1 a=<ip:port> s=<services hex> t=<transports> k=<base64url identity> h=<height>`.
/// Unknown keys are ignored, so that the format can grow; of a key that stands twice, the first counts. A record
/// without an address that we can dial tells nothing; any other value that makes no sense is as if it were not there.
pub fn read_txt(text: &str) -> Option<Candidate> {
    if text.len() > MAX_TXT_BYTES {
        return None;
    }
    let mut fields = text.split_ascii_whitespace();
    if fields.next() != Some("v=qtc1") {
        return None;
    }
    let (mut addr, mut services, mut transports, mut node_id) = (None, None, None, None);
    for (key, value) in fields.filter_map(|field| field.split_once('=')) {
        let place = match key {
            "a" => &mut addr,
            "s" => &mut services,
            "t" => &mut transports,
            "k" => &mut node_id,
            _ => continue,
        };
        place.get_or_insert(value);
    }
    Some(Candidate {
        addr: addr?.parse().ok()?,
        seed: Arc::default(),
        services: services.and_then(read_services),
        transports: transports.map(read_transports),
        node_id: node_id.and_then(read_identity),
        named_by: 1,
    })
}

/// Hex digits and nothing else; `from_str_radix` alone would also take a sign.
fn read_services(text: &str) -> Option<u64> {
    let hex = text.bytes().all(|byte| byte.is_ascii_hexdigit());
    hex.then(|| u64::from_str_radix(text, 16).ok()).flatten()
}

/// Names with commas between; those that we don't know are left out.
fn read_transports(text: &str) -> Transports {
    text.split(',')
        .fold(Transports::NONE, |all, name| match name {
            "noise" => all.union(Transports::NOISE),
            "tls" => all.union(Transports::TLS),
            _ => all,
        })
}

fn read_identity(text: &str) -> Option<[u8; 32]> {
    let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
    bytes.try_into().ok()
}

/// As the records have it, unchecked.
fn named<'a>(
    rtype: RecordType,
    answers: &'a [Record],
    glue: &'a [Record],
    port: u16,
) -> Box<dyn Iterator<Item = Candidate> + 'a> {
    match rtype {
        RecordType::SRV => Box::new(answers.iter().filter_map(srv).flat_map(move |srv| {
            addresses_of(answers, glue, &srv.target)
                .map(move |ip| plain(SocketAddr::new(ip, srv.port)))
        })),
        RecordType::TXT => Box::new(answers.iter().filter_map(described)),
        RecordType::A | RecordType::AAAA => Box::new(
            answers
                .iter()
                .filter_map(|record| record.data.ip_addr())
                .filter(move |ip| ip.is_ipv4() == (rtype == RecordType::A))
                .map(move |ip| plain(SocketAddr::new(ip, port))),
        ),
        _ => Box::new(std::iter::empty()),
    }
}

fn described(record: &Record) -> Option<Candidate> {
    let RData::TXT(txt) = &record.data else {
        return None;
    };
    // The strings of one record are one text. A byte too many is enough to see that it is too long.
    let text: Vec<u8> = txt
        .txt_data
        .iter()
        .flat_map(|part| part.iter().copied())
        .take(MAX_TXT_BYTES + 1)
        .collect();
    std::str::from_utf8(&text).ok().and_then(read_txt)
}

fn srv(record: &Record) -> Option<&SRV> {
    match &record.data {
        RData::SRV(srv) => Some(srv),
        _ => None,
    }
}

fn addresses_of<'a>(
    answers: &'a [Record],
    glue: &'a [Record],
    name: &'a Name,
) -> impl Iterator<Item = IpAddr> + 'a {
    answers
        .iter()
        .chain(glue)
        .filter(move |record| record.name == *name)
        .filter_map(|record| record.data.ip_addr())
}

fn bounded(records: &[Record]) -> &[Record] {
    &records[..records.len().min(MAX_RECORDS)]
}

fn plain(addr: SocketAddr) -> Candidate {
    Candidate {
        addr,
        seed: Arc::default(),
        services: None,
        transports: None,
        node_id: None,
        named_by: 1,
    }
}

#[cfg(test)]
mod tests {
    use hickory_resolver::proto::rr::rdata::{A, TXT};
    use proptest::prelude::*;

    use super::*;

    fn name(text: &str) -> Name {
        Name::from_ascii(text).unwrap()
    }

    fn a_record(owner: &str, ip: [u8; 4]) -> Record {
        Record::from_rdata(name(owner), 60, RData::A(A(ip.into())))
    }

    fn srv_record(priority: u16, port: u16, target: &str) -> Record {
        let srv = SRV::new(priority, 1, port, name(target));
        Record::from_rdata(name("_qtc._tcp.seed1.test."), 60, RData::SRV(srv))
    }

    fn txt_record(parts: &[&str]) -> Record {
        let parts = parts.iter().map(|part| (*part).to_owned()).collect();
        Record::from_rdata(name("seed1.test."), 60, RData::TXT(TXT::new(parts)))
    }

    #[test]
    fn srv_takes_its_port_and_its_glue() {
        let answer = [srv_record(0, 9_000, "abc.n.seed1.test.")];
        let glue = [
            a_record("ABC.n.seed1.test.", [9, 8, 7, 6]),
            a_record("ns1.seed1.test.", [9, 8, 7, 5]),
        ];
        assert_eq!(
            read(RecordType::SRV, &answer, &glue, 8333, false),
            [plain("9.8.7.6:9000".parse().unwrap())],
            "names are compared without case, and the name server is no peer"
        );
        assert!(targets_without_address(&answer, &glue).is_empty());
        assert_eq!(
            targets_without_address(&answer, &glue[1..]),
            [(name("abc.n.seed1.test."), 9_000)]
        );
    }

    #[test]
    fn few_targets_are_asked_for_and_the_best_first() {
        let mut answer: Vec<_> = (0..40)
            .map(|n| srv_record(40 - n, 9_000, &format!("h{n}.test.")))
            .collect();
        answer.push(srv_record(1, 9_000, "h39.test."));
        answer.push(srv_record(0, 9_000, "."));
        let targets = targets_without_address(&answer, &[]);
        assert_eq!(targets.len(), MAX_TARGETS);
        assert_eq!(targets[0].0, name("h39.test."));
        assert_eq!(targets[1].0, name("h38.test."), "each target once");
    }

    #[test]
    fn addresses_take_the_default_port_and_junk_is_left_out() {
        let addresses = [
            [0, 0, 0, 0],
            [127, 0, 0, 1],
            [10, 0, 0, 1],
            [255, 255, 255, 255],
            [224, 0, 0, 1],
            [9, 9, 9, 9],
            [9, 9, 9, 9],
        ];
        let answer = addresses.map(|ip| a_record("seed1.test.", ip));
        assert_eq!(
            read(RecordType::A, &answer, &[], 8333, false),
            [plain("9.9.9.9:8333".parse().unwrap())]
        );
        assert_eq!(
            read(RecordType::A, &answer, &[], 8333, true).len(),
            3,
            "a devnet may use private addresses"
        );
    }

    #[test]
    fn only_what_was_asked_for_is_read() {
        let answer = [
            a_record("seed1.test.", [9, 9, 9, 9]),
            txt_record(&["v=qtc1 a=9.9.9.8:1"]),
            srv_record(0, 9_000, "seed1.test."),
        ];
        let glue = [a_record("ns1.seed1.test.", [9, 9, 9, 7])];
        let read = |rtype| read(rtype, &answer, &glue, 8333, false);
        assert_eq!(
            read(RecordType::A),
            [plain("9.9.9.9:8333".parse().unwrap())]
        );
        assert!(read(RecordType::AAAA).is_empty());
        assert_eq!(read(RecordType::TXT), [plain("9.9.9.8:1".parse().unwrap())]);
        assert_eq!(
            read(RecordType::SRV),
            [plain("9.9.9.9:9000".parse().unwrap())]
        );
        assert!(read(RecordType::NS).is_empty());
    }

    #[test]
    fn a_flood_of_records_is_cut() {
        let flood: Vec<_> = (0..2_000_u16)
            .map(|n| a_record("seed1.test.", [9, 9, (n >> 8) as u8, n as u8]))
            .collect();
        assert_eq!(
            read(RecordType::A, &flood, &[], 8333, false).len(),
            MAX_RECORDS
        );
        let ports: Vec<_> = (1..2_000)
            .map(|port| srv_record(0, port, "seed1.test."))
            .collect();
        assert_eq!(
            read(RecordType::SRV, &ports, &flood, 8333, false).len(),
            MAX_RECORDS,
            "and not their product"
        );
    }

    #[test]
    fn txt_tells_services_transports_and_identity() {
        let id = BASE64URL_NOPAD.encode(&[7; 32]);
        let text = format!("v=qtc1 a=9.9.9.9:1234 s=409 t=noise,new k={id} h=500 new=thing");
        let expected = Candidate {
            services: Some(0x409),
            transports: Some(Transports::NOISE),
            node_id: Some([7; 32]),
            ..plain("9.9.9.9:1234".parse().unwrap())
        };
        assert_eq!(read_txt(&text), Some(expected.clone()));
        assert_eq!(
            read(
                RecordType::TXT,
                &[txt_record(&[&text[..20], &text[20..]])],
                &[],
                8333,
                false
            ),
            [expected],
            "strings of one record are joined"
        );
        let both = read_txt("v=qtc1 a=[2a01:4f8::1]:9 t=tls,noise").unwrap();
        assert_eq!(
            both.transports,
            Some(Transports::NOISE.union(Transports::TLS))
        );
    }

    #[test]
    fn bad_txt_is_ignored() {
        let padding = "x=".repeat(MAX_TXT_BYTES / 2);
        for text in [
            "",
            "v=qtc2 a=9.9.9.9:1",
            "a=9.9.9.9:1 v=qtc1",
            "v=qtc1",
            "v=qtc1 a=nonsense",
            "v=qtc1 a=9.9.9.9",
            "v=qtc1 a=9.9.9.9:65536",
            "v=qtc1 a=seed1.test:8333",
            "v=qtc1 a=2gzyxa5ihm7nsggfxnu52rck2vv4rvmdlkiu3zzui5du4xyclen53wid.onion:8333",
            "v=qtc1 a=x a=9.9.9.9:1",
            &format!("v=qtc1 a=9.9.9.9:1 {padding}"),
        ] {
            assert_eq!(read_txt(text), None, "{text}");
        }
        for partial in [
            "v=qtc1 a=9.9.9.9:1 s=xyz k=!!",
            "v=qtc1 a=9.9.9.9:1 s=+9 k=AAAA",
            "v=qtc1 a=9.9.9.9:1 s=10000000000000000 k= =",
            "v=qtc1 a=9.9.9.9:1 s= s=9",
        ] {
            let read = read_txt(partial).unwrap();
            assert_eq!((read.services, read.node_id), (None, None), "{partial}");
        }
        let twice = read_txt("v=qtc1 a=9.9.9.9:1 a=9.9.9.8:1 s=1 s=2").unwrap();
        assert_eq!(
            (twice.addr, twice.services),
            ("9.9.9.9:1".parse().unwrap(), Some(1))
        );
        assert!(
            read(
                RecordType::TXT,
                &[txt_record(&["v=qtc1 a=127.0.0.1:8333"])],
                &[],
                8333,
                false
            )
            .is_empty()
        );
    }

    proptest! {
        #[test]
        fn no_text_makes_it_panic(text in any::<String>(), rest in "[ -~]{0,600}") {
            let _ = read_txt(&text);
            let _ = read_txt(&format!("v=qtc1 {rest}"));
        }

        #[test]
        fn what_is_written_is_read(
            ip in any::<IpAddr>(),
            port in any::<u16>(),
            services in any::<u64>(),
            bits in 0_u8..4,
            id in any::<[u8; 32]>(),
        ) {
            let (addr, transports) = (SocketAddr::new(ip, port), Transports::from_bits(bits));
            let names: Vec<_> = transports.names().collect();
            let text = format!(
                "v=qtc1 a={addr} s={services:x} t={} k={}",
                names.join(","),
                BASE64URL_NOPAD.encode(&id)
            );
            let read = read_txt(&text);
            prop_assert_eq!(
                read,
                Some(Candidate {
                    services: Some(services),
                    transports: Some(transports),
                    node_id: Some(id),
                    ..plain(addr)
                })
            );
        }
    }
}
