//! What fits, and what becomes of the rest.

use hickory_proto::rr::RData;

use super::*;

#[test]
fn what_does_not_fit_is_cut_to_nothing_with_tc_and_comes_whole_over_tcp() {
    let cases = [
        (RecordType::AAAA, None, 512, true),
        (RecordType::AAAA, Some(512), 512, true),
        (RecordType::AAAA, Some(0), 512, true),
        (RecordType::AAAA, Some(1232), 1232, false),
        (RecordType::AAAA, Some(65_535), 1232, false),
        (RecordType::TXT, None, 512, true),
        (RecordType::TXT, Some(4096), 1232, false),
        (RecordType::A, None, 512, false),
    ];
    for (kind, edns, limit, cut) in cases {
        let (answer, bytes) = ask(&query(APEX, kind, edns), Transport::Udp);
        assert!(
            bytes.len() <= limit,
            "{kind} {edns:?}: {} bytes",
            bytes.len()
        );
        assert_eq!(answer.metadata.truncation, cut, "{kind} {edns:?}");
        assert_eq!(
            answer.answers.is_empty(),
            cut,
            "{kind} {edns:?}: never a part of a set"
        );
        assert_eq!(answer.queries.len(), 1);
        let (whole, _) = ask(&query(APEX, kind, edns), Transport::Tcp);
        assert!(!whole.metadata.truncation);
        assert!(whole.answers.len() >= 8);
    }
}

#[test]
fn glue_is_left_out_record_by_record_before_an_answer_is_cut() {
    // Which peers an answer draws differs from query to query, and so does its size: 12 services take some 700 to
    // 1,000 bytes and their addresses 16 or 28 bytes each.
    let name = format!("_qtc._tcp.{APEX}");
    let responder = responder();
    let mut glue = Vec::new();
    for limit in [1000, 1232] {
        for _ in 0..32 {
            let packet = query(&name, RecordType::SRV, Some(limit)).to_vec().unwrap();
            let bytes = reply(&responder, &packet, Transport::Udp).unwrap();
            let answer = Message::from_vec(&bytes).unwrap();
            assert!(bytes.len() <= usize::from(limit));
            assert_eq!(answer.answers.len(), 12);
            assert!(
                !answer.metadata.truncation,
                "the additional section is not essential (RFC 2181, 9)"
            );
            for (service, host) in answer.answers.iter().zip(&answer.additionals) {
                let RData::SRV(srv) = &service.data else {
                    panic!("{service}")
                };
                assert_eq!(
                    host.name, srv.target,
                    "glue comes in the order of the services"
                );
            }
            glue.push((limit, answer.additionals.len()));
        }
    }
    let some = |limit, least, most| {
        let mut counts = glue.iter().filter(|(l, _)| *l == limit);
        counts.all(|(_, count)| (least..=most).contains(count))
    };
    assert!(some(1232, 6, 12), "{glue:?}");
    assert!(glue.contains(&(1232, 12)), "{glue:?}");
    assert!(
        glue.iter().any(|(_, count)| (1..12).contains(count)),
        "{glue:?}"
    );
}
