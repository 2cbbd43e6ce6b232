//! Any bytes as what a resolver answers, and as the text of a TXT record: few candidates, each once and dialable, and few
//! questions more.
#![no_main]

use std::collections::HashSet;

use hickory_proto::op::Message;
use hickory_proto::rr::RecordType;
use libfuzzer_sys::fuzz_target;
use quantumcoin::network::discovery::records::{
    MAX_RECORDS, MAX_TARGETS, MAX_TXT_BYTES, read, read_txt, targets_without_address,
};
use quantumcoin::reachability::netgroup::{canonical_socket, is_dialable};
use quantumcoin_fuzz::Script;

/// What is asked for, and one type that is not.
const TYPES: [RecordType; 5] = [
    RecordType::SRV,
    RecordType::TXT,
    RecordType::A,
    RecordType::AAAA,
    RecordType::NS,
];

fuzz_target!(|bytes: &[u8]| {
    let mut script = Script(bytes);
    let (Some(flags), Some(port)) = (script.u8(), script.u16()) else {
        return;
    };
    if let Ok(text) = std::str::from_utf8(script.0) {
        let candidate = read_txt(text);
        assert!(candidate.is_none() || text.len() <= MAX_TXT_BYTES);
    }
    let Ok(message) = Message::from_vec(script.0) else {
        return;
    };
    let (answers, glue) = (&message.answers, &message.additionals);
    let allow_private = flags & 1 == 1;
    for rtype in TYPES {
        let found = read(rtype, answers, glue, port, allow_private);
        assert!(found.len() <= MAX_RECORDS);
        let distinct: HashSet<_> = found.iter().map(|candidate| candidate.addr).collect();
        assert_eq!(distinct.len(), found.len());
        for candidate in found {
            assert!(is_dialable(candidate.addr, allow_private));
            assert_eq!(candidate.addr, canonical_socket(candidate.addr));
            let described = rtype == RecordType::TXT;
            assert!(
                described
                    || candidate
                        .services
                        .or(candidate.node_id.map(|_| 0))
                        .is_none()
            );
        }
    }
    let targets = targets_without_address(answers, glue);
    assert!(targets.len() <= MAX_TARGETS);
    assert!(targets.iter().all(|(name, _)| !name.is_root()));
    let distinct: HashSet<_> = targets.iter().collect();
    assert_eq!(distinct.len(), targets.len());
});
