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
    let zone = name("seed.test.");
    let view = |server: &str, names: &[&str]| View {
        by: vec![server.parse().unwrap()],
        servers: names.iter().map(|text| name(text)).collect(),
        glue: Some(BTreeMap::new()),
        ds: None,
    };
    let glue = |owner: &str| BTreeMap::from([(name(owner), [IpAddr::from([192, 0, 2, 1])].into())]);
    let counts = |all: Vec<View>| -> Vec<usize> {
        let mut views = Vec::new();
        for view in all {
            view.join(&mut views, &zone);
        }
        views.iter().map(|view| view.by.len()).collect()
    };
    let ns = ["ns1.seed.test."];
    // One that did not tell the DS says nothing else.
    let mut with_ds = view("192.0.2.2:53", &ns);
    with_ds.ds = Some(BTreeSet::new());
    let one = || view("192.0.2.1:53", &ns);
    assert_eq!(counts(vec![one(), with_ds.clone(), one()]), [3]);
    let mut other_ds = with_ds.clone();
    other_ds.ds = Some([Ds::new(vec![1])].into());
    assert_eq!(counts(vec![with_ds, other_ds]), [1, 1]);
    // Nor does one that leaves out glue which nobody needs, or that holds the zone itself.
    let mut optional = one();
    optional.glue = Some(glue("ns.other.test."));
    let mut itself = one();
    itself.glue = None;
    assert_eq!(counts(vec![one(), optional, itself]), [3]);
    let mut needed = one();
    needed.glue = Some(glue("ns1.seed.test."));
    assert_eq!(counts(vec![one(), needed]), [1, 1]);
    let others = view("192.0.2.3:53", &["ns2.seed.test."]);
    assert_eq!(counts(vec![one(), others]), [1, 1]);
}

#[test]
fn only_a_servers_own_answer_is_taken_for_the_parents() {
    let zone = name("seed.test.");
    let mut referral = response();
    referral.add_authority(ns("seed.test.", "ns1.seed.test."));
    assert!(parents(&referral, &zone).is_ok());
    // Servers of a parent that resolve for others, too, say so.
    referral.metadata.recursion_available = true;
    assert!(parents(&referral, &zone).is_ok());
    let mut denial = response();
    denial.metadata.authoritative = true;
    denial.metadata.response_code = ResponseCode::NXDomain;
    assert!(parents(&denial, &zone).unwrap().servers.is_empty());

    let mut memory = response();
    memory.add_answer(ns("seed.test.", "ns1.seed.test."));
    for recursion in [false, true] {
        memory.metadata.recursion_available = recursion;
        assert_eq!(parents(&memory, &zone), Err(Unheard::Replaced));
    }
    for code in [ResponseCode::Refused, ResponseCode::NXDomain] {
        let mut portal = response();
        portal.metadata.response_code = code;
        portal.metadata.recursion_available = true;
        assert_eq!(parents(&portal, &zone), Err(Unheard::Replaced));
    }
    let mut refused = response();
    refused.metadata.response_code = ResponseCode::Refused;
    let failed = Err(Unheard::Failed("REFUSED".to_owned()));
    assert_eq!(parents(&refused, &zone), failed);
    // A server of the root knows who has `test.`, not whether that has the zone.
    let mut above = response();
    above.add_authority(ns("test.", "ns.test."));
    assert_eq!(parents(&above, &zone), Err(Unheard::Above(name("test."))));
}

#[test]
fn addresses_that_could_not_be_found_out_are_not_missing() {
    let (host, zone) = (name("ns.other.test."), name("seed.test."));
    let question = |kind| Question::of_resolver(&host, kind);
    let mut found = Addresses::default();
    found.add(&question(RecordType::A), Some(&response()));
    found.add(&question(RecordType::AAAA), None);
    assert_eq!(found.unknown, [host.clone()].into());

    let mut alias = response();
    let to = RData::CNAME(rdata::CNAME(name("real.test.")));
    alias.add_answer(Record::from_rdata(host.clone(), 60, to));
    alias.add_answer(a("real.test.", [192, 0, 2, 1]));
    let mut found = Addresses::default();
    found.add(&question(RecordType::A), Some(&alias));
    assert_eq!(found.aliases, [host.clone()].into());
    assert_eq!(found.known[&host], BTreeSet::new());

    let mut right = response();
    right.add_answer(a("NS.other.test.", [192, 0, 2, 1]));
    let mut found = Addresses::default();
    found.add(&question(RecordType::A), Some(&right));
    assert_eq!(found.known[&host].len(), 1);
    assert!(found.unknown.is_empty() && found.aliases.is_empty());
    assert_ne!(host, zone);
}

#[test]
fn a_parent_can_not_make_us_ask_the_whole_world() {
    let zone = crate::zone::Zone::new("seed.test", &crate::zone::ZoneOptions::default()).unwrap();
    let ours = Ours::of(&zone, crate::check::delegation::Signing::Unsigned);
    let many = (1..=200_u8).map(|n| IpAddr::from([192, 0, 2, n])).collect();
    let own = IpAddr::from([198, 51, 100, 1]);
    let addresses = BTreeMap::from([
        (name("a.evil.test."), many),
        (name("ns1.seed.test."), [own].into()),
    ]);
    let asked = pairs(&ours, &addresses);
    assert_eq!(asked.len(), SERVERS);
    assert_eq!(asked[0], (name("ns1.seed.test."), own));
}

/// A resolver that knows zones by their SOA, and fails for some names.
async fn resolver(zones: &'static [&'static str], fails: &'static [&'static str]) -> SocketAddr {
    let socket = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let addr = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 1500];
        loop {
            let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
            let query = Message::from_vec(&buffer[..length]).unwrap();
            let asked = query.queries[0].name().clone();
            let mut message = Message::response(query.metadata.id, OpCode::Query);
            message.add_queries(query.queries);
            if fails.iter().any(|text| name(text) == asked) {
                message.metadata.response_code = ResponseCode::ServFail;
            } else if zones.iter().any(|text| name(text) == asked) {
                let soa = rdata::SOA::new(name("a."), name("b."), 1, 1, 1, 1, 1);
                message.add_answer(Record::from_rdata(asked, 60, RData::SOA(soa)));
            }
            socket
                .send_to(&message.to_vec().unwrap(), from)
                .await
                .unwrap();
        }
    });
    addr
}

#[tokio::test]
async fn the_parent_is_the_next_zone_above_and_a_failure_hides_it() {
    let good = resolver(&["test.", "."], &[]).await;
    let bad = resolver(&["test.", "."], &["test.", "deep.seed.test."]).await;
    let deep = name("deep.seed.test.");
    let parent = find_parent(&[good], &deep).await;
    assert_eq!(parent, Some(name("test.")), "three steps");
    assert_eq!(find_parent(&[bad], &deep).await, None);
    assert_eq!(
        find_parent(&[bad], &name("test.")).await,
        None,
        "not the root"
    );
    assert_eq!(find_parent(&[bad, good], &deep).await, parent);
    let nothing = resolver(&[], &[]).await;
    assert_eq!(find_parent(&[nothing], &deep).await, None);
}
