use hickory_proto::{
    op::{MessageType, OpCode},
    rr::rdata,
};

use super::*;

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn response() -> Message {
    Message::new(1, MessageType::Response, OpCode::Query)
}

fn ns(zone: &str, server: &str) -> Record {
    Record::from_rdata(name(zone), 60, RData::NS(rdata::NS(name(server))))
}

fn a(owner: &str, ip: [u8; 4]) -> Record {
    let [a, b, c, d] = ip;
    Record::from_rdata(name(owner), 60, RData::A(rdata::A::new(a, b, c, d)))
}

#[test]
fn a_referral_is_read() {
    let zone = name("seed.test.");
    let mut message = response();
    message.add_authority(ns("seed.test.", "NS1.seed.test."));
    message.add_authority(ns("test.", "ns.test."));
    message.add_additional(a("ns1.SEED.test.", [192, 0, 2, 1]));
    message.add_additional(a("other.test.", [192, 0, 2, 2]));
    let view = view_of(&message, &zone);
    assert_eq!(view.servers, [name("ns1.seed.test.")].into());
    let glue = BTreeMap::from([(
        name("ns1.seed.test."),
        BTreeSet::from([IpAddr::from([192, 0, 2, 1])]),
    )]);
    assert_eq!(view.glue, Some(glue));

    let mut itself = response();
    itself.metadata.authoritative = true;
    itself.add_answer(ns("seed.test.", "ns1.seed.test."));
    let view = view_of(&itself, &zone);
    assert_eq!((view.servers.len(), view.glue), (1, None));
}

#[test]
fn a_denial_without_an_soa_is_nobodys() {
    let zone = name("seed.test.");
    let mut denial = response();
    denial.metadata.response_code = ResponseCode::NXDomain;
    assert_eq!(resolved(&denial, None, &zone), Err(AskError::Hollow));
    let soa = rdata::SOA::new(name("a."), name("b."), 1, 1, 1, 1, 1);
    denial.add_authority(Record::from_rdata(name("test."), 60, RData::SOA(soa)));
    let told = resolved(&denial, None, &zone).unwrap();
    assert_eq!(
        (told.code, told.servers.len(), told.ds),
        (ResponseCode::NXDomain, 0, None)
    );
    let mut failure = response();
    failure.metadata.response_code = ResponseCode::ServFail;
    assert!(
        resolved(&failure, Some(&failure), &zone)
            .unwrap()
            .ds
            .is_none()
    );
    let mut found = response();
    found.add_answer(ns("seed.test.", "ns1.seed.test."));
    let told = resolved(&found, Some(&response()), &zone).unwrap();
    assert_eq!((told.servers.len(), told.ds), (1, Some(BTreeSet::new())));
}

#[test]
fn some_of_each_family_are_asked() {
    let all = (1..=9_u8).map(|n| IpAddr::from([192, 0, 2, n]));
    let six = (1..=9_u16).map(|n| IpAddr::from([0x2001, 0xdb8, 0, 0, 0, 0, 0, n]));
    let chosen = choose(all.chain(six));
    assert_eq!(chosen.iter().filter(|ip| ip.is_ipv4()).count(), PARENTS);
    assert_eq!(chosen.len(), 2 * PARENTS);
}

#[test]
fn servers_that_say_the_same_stand_together() {
    let mut views = Vec::new();
    let of = |server: &str, ds: Option<BTreeSet<Ds>>| View {
        by: vec![server.parse().unwrap()],
        servers: BTreeSet::new(),
        glue: None,
        ds,
    };
    add(&mut views, of("192.0.2.1:53", None));
    add(&mut views, of("192.0.2.2:53", None));
    add(&mut views, of("192.0.2.3:53", Some(BTreeSet::new())));
    let counts: Vec<usize> = views.iter().map(|view| view.by.len()).collect();
    assert_eq!(counts, [2, 1]);
}
