use super::*;
use crate::zone::ZoneOptions;

const NOW: i64 = 1_800_000_000;

fn name(text: &str) -> Name {
    Name::from_ascii(text).unwrap()
}

fn names(all: &[&str]) -> BTreeSet<Name> {
    all.iter().map(|text| name(text)).collect()
}

fn ips(all: &[&str]) -> BTreeSet<IpAddr> {
    all.iter().map(|text| text.parse().unwrap()).collect()
}

fn ds(tag: u8, kind: u8) -> Ds {
    let mut rdata = vec![0, tag, 13, kind];
    rdata.extend([tag; 32]);
    Ds::new(rdata)
}

fn signed(wait_until: Option<i64>) -> Signing {
    Signing::Signed {
        ds: [ds(7, 2)].into(),
        wait_until,
    }
}

/// Two name servers within seed.example, each with all of these addresses.
fn ours(signing: Signing) -> Ours {
    let servers = ["ns1.seed.example", "ns2.seed.example"].map(str::to_owned);
    let addresses = ["192.0.2.53", "198.51.100.53", "2001:db8::53"].map(|ip| ip.parse().unwrap());
    let options = ZoneOptions {
        name_servers: &servers,
        name_server_addresses: &addresses,
        ..ZoneOptions::default()
    };
    Ours::of(&Zone::new("seed.example", &options).unwrap(), signing)
}

fn said(code: ResponseCode) -> Said {
    Said {
        code,
        authoritative: code == ResponseCode::NoError,
        serial: (code == ResponseCode::NoError).then_some(NOW as u32),
        signed: false,
    }
}

fn server(server: &str, addr: &str) -> AtServer {
    AtServer {
        name: name(server),
        addr: addr.parse().unwrap(),
        udp: Ok(said(ResponseCode::NoError)),
        tcp: Ok(said(ResponseCode::NoError)),
    }
}

/// All as it should be for [`ours`] without signatures.
fn seen() -> Seen {
    let servers = names(&["ns1.seed.example.", "ns2.seed.example."]);
    let glue = BTreeMap::from([
        (
            name("ns1.seed.example."),
            ips(&["192.0.2.53", "2001:db8::53"]),
        ),
        (name("ns2.seed.example."), ips(&["198.51.100.53"])),
    ]);
    Seen {
        resolvers: vec![AtResolver {
            resolver: "1.1.1.1:53".parse().unwrap(),
            said: Ok(Resolved {
                code: ResponseCode::NoError,
                servers: servers.clone(),
                ds: Some(BTreeSet::new()),
            }),
        }],
        parent: Some(Parent {
            zone: name("example."),
            views: vec![View {
                by: vec![
                    "203.0.113.1:53".parse().unwrap(),
                    "[2001:db8:1::1]:53".parse().unwrap(),
                ],
                servers,
                glue: Some(glue.clone()),
                ds: Some(BTreeSet::new()),
            }],
            silent: Vec::new(),
        }),
        addresses: glue,
        servers: vec![
            server("ns1.seed.example.", "192.0.2.53"),
            server("ns1.seed.example.", "2001:db8::53"),
            server("ns2.seed.example.", "198.51.100.53"),
        ],
    }
}

fn view(seen: &mut Seen) -> &mut View {
    &mut seen.parent.as_mut().unwrap().views[0]
}

fn resolved(seen: &mut Seen) -> &mut Resolved {
    seen.resolvers[0].said.as_mut().unwrap()
}

/// All findings of a level after a change.
fn judged(ours: &Ours, level: Level, change: impl FnOnce(&mut Seen)) -> Vec<Finding> {
    let mut seen = seen();
    change(&mut seen);
    let mut findings = judge(ours, &seen, NOW);
    findings.retain(|found| found.level == level);
    findings
}

/// The only error after a change.
fn error(ours: &Ours, change: impl FnOnce(&mut Seen)) -> (String, String) {
    let mut errors = judged(ours, Level::Error, change);
    assert_eq!(errors.len(), 1, "{errors:?}");
    let Finding { found, mend, .. } = errors.remove(0);
    (found, mend.unwrap())
}

#[test]
fn a_right_delegation_has_nothing_to_mend() {
    let findings = judge(&ours(Signing::Unsigned), &seen(), NOW);
    assert!(
        findings.iter().all(|found| found.level == Level::Ok),
        "{findings:?}"
    );
    // Resolver, delegation, glue, DS, three servers.
    assert_eq!(findings.len(), 7);
}

#[test]
fn name_servers_that_differ() {
    let ours = ours(Signing::Unsigned);
    let (found, mend) = error(&ours, |seen| view(seen).servers.clear());
    assert!(found.contains("does not delegate it"), "{found}");
    assert!(
        mend.contains("seed.example. 3600 IN NS ns2.seed.example."),
        "{mend}"
    );
    assert!(
        mend.contains("ns1.seed.example. 3600 IN AAAA 2001:db8::53"),
        "{mend}"
    );

    let (found, _) = error(&ours, |seen| {
        view(seen).servers = names(&["ns.other.example."])
    });
    assert!(found.contains("ns.other.example."), "{found}");
    let some = judged(&ours, Level::Warning, |seen| {
        view(seen).servers.insert(name("ns.other.example."));
        resolved(seen).servers.insert(name("ns.other.example."));
    });
    assert_eq!(some.len(), 2, "at the resolver and at the parent: {some:?}");
}

#[test]
fn resolvers_that_find_nothing() {
    let ours = ours(Signing::Unsigned);
    for code in [ResponseCode::NXDomain, ResponseCode::NoError] {
        let (found, mend) = error(&ours, |seen| {
            resolved(seen).code = code;
            resolved(seen).servers.clear();
        });
        assert!(
            found.contains("no such zone") && mend.contains("IN NS"),
            "{found}: {mend}"
        );
    }
    let (found, mend) = error(&ours, |seen| resolved(seen).code = ResponseCode::ServFail);
    assert!(
        found.contains("SERVFAIL") && mend.contains("dig @1.1.1.1 seed.example. SOA +cd"),
        "{found}: {mend}"
    );
    let refused = judged(&ours, Level::Note, |seen| {
        resolved(seen).code = ResponseCode::Refused
    });
    assert!(
        refused[0].found.contains("does not want to be asked"),
        "{refused:?}"
    );
}

#[test]
fn resolvers_that_say_the_same_stand_in_one_line() {
    let findings = judged(&ours(Signing::Unsigned), Level::Ok, |seen| {
        let mut other = seen.resolvers[0].clone();
        other.resolver = "9.9.9.9:53".parse().unwrap();
        seen.resolvers.push(other);
    });
    assert!(
        findings[0].found.starts_with("1.1.1.1, 9.9.9.9: "),
        "{findings:?}"
    );
}

#[test]
fn without_a_network_there_are_notes_alone() {
    let nobody = |seen: &mut Seen| {
        *seen = Seen {
            resolvers: vec![AtResolver {
                resolver: "1.1.1.1:53".parse().unwrap(),
                said: Err(AskError::NoRoute("network is unreachable".to_owned())),
            }],
            ..Seen::default()
        };
    };
    let ours = ours(signed(None));
    for level in [Level::Ok, Level::Warning, Level::Error] {
        assert_eq!(judged(&ours, level, nobody), [], "{level:?}");
    }
    let notes = judged(&ours, Level::Note, nobody);
    assert!(
        notes[0].found.contains("no resolver is reachable"),
        "{notes:?}"
    );
    // Nor is an unreachable parent an error.
    let parent = |seen: &mut Seen| {
        let parent = seen.parent.as_mut().unwrap();
        parent.views.clear();
        parent.silent.push("203.0.113.1: no answer".to_owned());
    };
    let notes = judged(&ours, Level::Note, parent);
    assert!(
        notes[0].found.contains("203.0.113.1: no answer"),
        "{notes:?}"
    );
    let unknown = judged(&ours, Level::Note, |seen| seen.parent = None);
    assert!(
        unknown[0].found.contains("could not be found"),
        "{unknown:?}"
    );
}

#[test]
fn glue_that_is_missing_or_wrong() {
    let ours = ours(Signing::Unsigned);
    let (found, mend) = error(&ours, |seen| {
        view(seen)
            .glue
            .as_mut()
            .unwrap()
            .remove(&name("ns2.seed.example."));
    });
    assert!(found.contains("no glue for ns2.seed.example."), "{found}");
    assert!(
        mend.contains("ns2.seed.example. 3600 IN A 198.51.100.53"),
        "{mend}"
    );
    assert!(!mend.contains("ns1."), "{mend}");

    let (found, _) = error(&ours, |seen| {
        let glue = view(seen).glue.as_mut().unwrap();
        glue.insert(
            name("ns2.seed.example."),
            ips(&["198.51.100.53", "203.0.113.9"]),
        );
    });
    assert!(found.contains("203.0.113.9"), "{found}");

    let warnings = judged(&ours, Level::Warning, |seen| {
        let glue = view(seen).glue.as_mut().unwrap();
        glue.insert(name("ns1.seed.example."), ips(&["192.0.2.53"]));
    });
    assert!(
        warnings[0].found.contains("no glue with 2001:db8::53"),
        "{warnings:?}"
    );
    // A server that holds the zone too shows no delegation.
    let hidden = judged(&ours, Level::Error, |seen| view(seen).glue = None);
    assert_eq!(hidden, []);
}

#[test]
fn servers_of_the_parent_that_do_not_agree() {
    let findings = judged(&ours(Signing::Unsigned), Level::Warning, |seen| {
        let mut other = view(seen).clone();
        other.servers.remove(&name("ns2.seed.example."));
        seen.parent.as_mut().unwrap().views.push(other);
    });
    assert!(
        findings
            .iter()
            .any(|found| found.found.contains("do not agree")),
        "{findings:?}"
    );
}

#[test]
fn ds_records_and_keys() {
    let at_parent = |all: &[Ds]| {
        let all = all.to_vec();
        move |seen: &mut Seen| {
            view(seen).ds = Some(all.into_iter().collect());
            for at in &mut seen.servers {
                at.udp.as_mut().unwrap().signed = true;
            }
        }
    };
    let unsigned = ours(Signing::Unsigned);
    let (found, mend) = error(&unsigned, at_parent(&[ds(7, 2)]));
    assert!(
        found.contains("bogus") && mend.contains("take the DS out"),
        "{found}: {mend}"
    );

    let signed = |wait| ours(signed(wait));
    assert_eq!(
        judged(&signed(None), Level::Error, at_parent(&[ds(7, 2)])),
        []
    );
    // A digest that we don't make, of our key.
    assert_eq!(
        judged(&signed(None), Level::Error, at_parent(&[ds(7, 4)])),
        []
    );
    let (found, mend) = error(&signed(None), at_parent(&[ds(8, 2), ds(9, 4)]));
    assert!(
        found.contains("names a key of the zone") && found.contains("bogus"),
        "{found}"
    );
    assert!(
        mend.contains("seed.example. 3600 IN DS 7 13 2 0707"),
        "{mend}"
    );

    let notes = judged(&signed(None), Level::Note, at_parent(&[]));
    assert!(notes[0].found.contains("has no DS"), "{notes:?}");
    let mend = notes[0].mend.as_ref().unwrap();
    assert!(
        mend.ends_with(&format!(
            "seed.example. 3600 IN DS 7 13 2 {}",
            "07".repeat(32)
        )),
        "{mend}"
    );
    let notes = judged(&signed(Some(951_782_400)), Level::Note, at_parent(&[]));
    assert!(
        notes[0]
            .mend
            .as_ref()
            .unwrap()
            .contains("not before 20000229000000"),
        "{notes:?}"
    );
    let left = judged(&signed(None), Level::Note, at_parent(&[ds(7, 2), ds(8, 2)]));
    assert!(left[0].found.contains("names no key"), "{left:?}");

    let unknown = judged(&ours(Signing::Unknown), Level::Note, at_parent(&[ds(7, 2)]));
    assert!(
        unknown[0].found.contains("can't be compared"),
        "{unknown:?}"
    );
    // Where the parent can't be asked, resolvers know its DS.
    let (found, _) = error(&unsigned, |seen| {
        seen.parent = None;
        resolved(seen).ds = Some([ds(7, 2)].into());
    });
    assert!(found.contains("bogus"), "{found}");
}

#[test]
fn name_servers_that_answer_wrongly_or_not() {
    let unsigned = ours(Signing::Unsigned);
    let (found, mend) = error(&unsigned, |seen| {
        seen.servers[0].udp = Ok(said(ResponseCode::Refused));
    });
    assert!(
        found.contains("ns1.seed.example. at 192.0.2.53 is lame"),
        "{found}"
    );
    assert!(
        found.contains("REFUSED") && mend.contains("--zone seed.example."),
        "{found}: {mend}"
    );
    let (found, _) = error(&unsigned, |seen| {
        seen.servers[0].udp.as_mut().unwrap().authoritative = false;
    });
    assert!(
        found.contains("lame") && found.contains("no AA flag"),
        "{found}"
    );
    let (found, mend) = error(&unsigned, |seen| {
        seen.servers[2].tcp = Err(AskError::Silent)
    });
    assert!(
        found.contains("no answer over TCP") && mend.contains("+tcp"),
        "{found}: {mend}"
    );
    let (found, mend) = error(&unsigned, |seen| {
        seen.servers[2].udp = Err(AskError::Silent)
    });
    assert!(
        found.contains("no answer over UDP") && mend.contains("firewall"),
        "{found}: {mend}"
    );
    let (found, _) = error(&unsigned, |seen| {
        seen.servers[2].tcp = Ok(said(ResponseCode::ServFail));
    });
    assert!(found.contains("lame over TCP"), "{found}");

    let signed = ours(signed(None));
    let unsigned_answers = judged(&signed, Level::Error, |_| {});
    assert_eq!(unsigned_answers.len(), 3, "{unsigned_answers:?}");
    assert!(unsigned_answers[0].found.contains("without signatures"));
    let old = judged(&unsigned, Level::Warning, |seen| {
        seen.servers[1].udp.as_mut().unwrap().serial = Some(NOW as u32 - 7200);
    });
    assert!(old[0].found.contains("from 2 hours ago"), "{old:?}");
}

#[test]
fn a_family_that_we_have_not_is_no_fault_of_the_servers() {
    let findings = judged(&ours(Signing::Unsigned), Level::Note, |seen| {
        view(seen).by.truncate(1);
        seen.servers[1].udp = Err(AskError::Silent);
    });
    assert!(
        findings[0]
            .found
            .contains("2001:db8::53 is not reachable from here"),
        "{findings:?}"
    );
    let findings = judged(&ours(Signing::Unsigned), Level::Note, |seen| {
        seen.servers[1].udp = Err(AskError::NoRoute("unreachable".to_owned()));
    });
    assert_eq!(findings.len(), 1, "{findings:?}");
}

#[test]
fn a_name_server_elsewhere_without_an_address() {
    let (found, mend) = error(&ours(Signing::Unsigned), |seen| {
        seen.addresses
            .insert(name("ns.other.example."), BTreeSet::new());
    });
    assert!(
        found.contains("ns.other.example. has no address") && mend.contains("AAAA"),
        "{found}"
    );
}

#[test]
fn few_servers_and_few_networks() {
    let notes = |ours: &Ours, all: &[&str]| -> Vec<String> {
        let all = ips(all);
        let found = judged(ours, Level::Note, |seen| {
            seen.addresses = BTreeMap::from([(name("ns1.seed.example."), all)]);
        });
        found.into_iter().map(|found| found.found).collect()
    };
    let mut single = ours(Signing::Unsigned);
    single.servers.pop_last();
    let told = notes(&single, &["192.0.2.53", "2001:db8::53"]);
    assert!(
        told.iter()
            .any(|found| found.contains("a single name server")),
        "{told:?}"
    );
    let both = ours(Signing::Unsigned);
    let told = notes(&both, &["192.0.2.53", "192.0.2.54"]);
    assert!(
        told[0].contains("in one network") && told[1].contains("no name server has an IPv6"),
        "{told:?}"
    );
    assert_eq!(notes(&both, &["192.0.2.53", "2001:db8::53"]), [""; 0]);
    let warnings = judged(&both, Level::Warning, |seen| {
        seen.addresses = BTreeMap::from([(name("ns1.seed.example."), ips(&["2001:db8::53"]))]);
    });
    assert!(
        warnings[0].found.contains("no name server has an IPv4"),
        "{warnings:?}"
    );
}

#[test]
fn keys_say_what_the_parent_may_have_and_from_when_on() {
    use crate::dnssec::{
        key::{Algorithm, Role},
        times::Times,
    };
    let zone = Zone::new("seed.example", &ZoneOptions::default()).unwrap();
    let times = Times {
        sync_publish: Some(200),
        ..Times::from_now(0)
    };
    let key = Key::generate(
        *zone.apex_wire(),
        Algorithm::Ed25519,
        Role::KeySigning,
        times,
    );
    let keys = [Arc::new(key.unwrap())];
    let wanted = |wait_until| Signing::Signed {
        ds: [Ds::new(keys[0].ds())].into(),
        wait_until,
    };
    assert_eq!(Signing::by(&keys, 100), wanted(Some(200)));
    assert_eq!(Signing::by(&keys, 200), wanted(None));
    assert_eq!(Signing::by(&[], 100), Signing::Unsigned);
}
