//! hickory verifies what we sign.

use hickory_proto::{
    dnssec::{Verifier, rdata::DNSSECRData},
    rr::{DNSClass, Name, RData, RecordType},
};

use super::*;
use crate::dnssec::{
    key::{Algorithm, Role},
    times::Times,
};

fn name(text: &str) -> WireName {
    WireName::of(&Name::from_ascii(text).unwrap())
}

fn signer(keys: Vec<Arc<Key>>) -> Signer {
    let current = Current {
        published: keys.clone(),
        for_parent: keys.clone(),
        key_signing: keys.clone(),
        zone_signing: keys,
        leaving: false,
    };
    Signer::new(name("seed1.example."), current, 1_800_000_000, 17)
}

#[test]
fn hickory_verifies_our_signatures() {
    let times = Times::from_now(0);
    let make = |algorithm| {
        Arc::new(Key::generate(name("seed1.example."), algorithm, Role::KeySigning, times).unwrap())
    };
    let signer = signer(vec![make(Algorithm::EcdsaP256), make(Algorithm::Ed25519)]);
    let mut sets = signer.key_sets();
    assert_eq!(
        sets.iter().map(|set| set.kind).collect::<Vec<_>>(),
        [kind::DNSKEY, kind::CDS, kind::CDNSKEY]
    );
    let keys = sets[0].records().unwrap();
    sets.push(RrSet {
        owner: name("x9.SEED1.example."),
        kind: 1,
        class: CLASS_IN,
        ttl: 60,
        // Out of order, and one twice.
        rdata: [[10, 0, 0, 2], [10, 0, 0, 1], [10, 0, 0, 2], [9, 0, 0, 1]]
            .iter()
            .collect(),
    });
    for set in sets {
        let signatures = signer.sign(&set).unwrap();
        assert_eq!((signatures.kind, signatures.rdata.len()), (kind::RRSIG, 2));
        let mut records = set.records().unwrap();
        records.sort_by_key(|record| record.data.to_string());
        records.dedup();
        for signature in signatures.records().unwrap() {
            let RData::DNSSEC(DNSSECRData::RRSIG(rrsig)) = signature.data else {
                panic!()
            };
            let tag = rrsig.input().key_tag;
            let verified = keys.iter().filter(|key| {
                let RData::DNSSEC(DNSSECRData::DNSKEY(key)) = &key.data else {
                    panic!()
                };
                key.calculate_key_tag().unwrap() == tag
                    && key
                        .verify_rrsig(&records[0].name, DNSClass::IN, &rrsig, records.iter())
                        .is_ok()
            });
            assert_eq!(verified.count(), 1, "{}", RecordType::from(set.kind));
            let (from, to) = (
                rrsig.input().sig_inception.get(),
                rrsig.input().sig_expiration.get(),
            );
            assert!(from < 1_800_000_000 - 3599 && to > 1_800_000_000 + 604_799);
        }
    }
}

/// As RFC 8078, 4 writes them.
#[test]
fn a_parent_is_asked_to_drop_its_ds() {
    let times = Times::from_now(0);
    let key = Key::generate(
        name("seed1.example."),
        Algorithm::EcdsaP256,
        Role::KeySigning,
        times,
    );
    let mut signer = signer(vec![Arc::new(key.unwrap())]);
    signer.keys.leaving = true;
    let sets = signer.key_sets();
    let shown: Vec<_> = sets[1..]
        .iter()
        .map(|set| (set.kind, set.rdata.sorted()))
        .collect();
    let wanted = [
        (kind::CDS, vec![&[0, 0, 0, 0, 0][..]]),
        (kind::CDNSKEY, vec![&[0, 0, 3, 0, 0][..]]),
    ];
    assert_eq!(shown, wanted, "0 0 0 00 and 0 3 0 AA==");
    assert_eq!(sets[0].rdata.len(), 1, "the key is there still");
    for set in &sets {
        assert_eq!(signer.sign(set).unwrap().rdata.len(), 1);
    }
}
