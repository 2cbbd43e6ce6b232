mod keys_and_servers;

use std::collections::BTreeMap;

use super::*;
use crate::{ask::AskError, check::server::Said, zone::ZoneOptions};

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
        waiting: [ds(6, 2)].into(),
        wait_until,
        leaving: None,
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
        cut_off: false,
        recursive: false,
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
            replaced: 0,
        }),
        addresses: glue,
        servers: vec![
            server("ns1.seed.example.", "192.0.2.53"),
            server("ns1.seed.example.", "2001:db8::53"),
            server("ns2.seed.example.", "198.51.100.53"),
        ],
        ..Seen::default()
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
        view(seen).servers = names(&["ns.other.example."]);
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
        let denies = |seen: &mut Seen| {
            resolved(seen).code = code;
            resolved(seen).servers.clear();
        };
        // The parent has it: the resolver remembers a time before.
        let notes = judged(&ours, Level::Note, denies);
        assert!(
            notes.len() == 1 && notes[0].mend.as_ref().unwrap().contains("wait"),
            "{notes:?}"
        );
        let (found, mend) = error(&ours, |seen| {
            denies(seen);
            seen.parent = None;
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
        resolved(seen).code = ResponseCode::Refused;
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
fn a_network_that_answers_for_everybody_is_a_note() {
    let ours = ours(Signing::Unsigned);
    let portal = |seen: &mut Seen| {
        let parent = seen.parent.as_mut().unwrap();
        parent.views.clear();
        parent.replaced = 2;
        parent.silent.push("203.0.113.1: somebody".to_owned());
        for at in &mut seen.servers {
            for said in [&mut at.udp, &mut at.tcp] {
                let said = said.as_mut().unwrap();
                (said.authoritative, said.recursive) = (false, true);
            }
        }
    };
    assert_eq!(judged(&ours, Level::Error, portal), []);
    let notes = judged(&ours, Level::Note, portal);
    assert!(
        notes.len() == 1 && notes[0].found.contains("in place of every server"),
        "{notes:?}"
    );
    // One that answers by itself shows that nobody stands between: the others are lame.
    let lame = judged(&ours, Level::Error, |seen| {
        portal(seen);
        seen.servers[0] = server("ns1.seed.example.", "192.0.2.53");
    });
    assert_eq!(lame.len(), 2, "{lame:?}");
    let lame = judged(&ours, Level::Error, |seen| {
        let parent = seen.parent.clone();
        portal(seen);
        seen.parent = parent;
    });
    assert_eq!(lame.len(), 3, "{lame:?}");
}

#[test]
fn what_came_before_time_ran_out_is_judged() {
    let ours = ours(Signing::Unsigned);
    let late = |seen: &mut Seen| {
        resolved(seen).code = ResponseCode::ServFail;
        *seen = Seen {
            resolvers: seen.resolvers.clone(),
            late: true,
            ..Seen::default()
        };
    };
    assert_eq!(judged(&ours, Level::Error, late).len(), 1);
    let notes = judged(&ours, Level::Note, late);
    assert!(notes[0].found.contains("took too long"), "{notes:?}");
}

#[test]
fn servers_of_the_parent_that_do_not_agree() {
    // One that holds the zone itself tells what is in there.
    let itself = judged(&ours(Signing::Unsigned), Level::Warning, |seen| {
        let mut other = view(seen).clone();
        (other.glue, other.by) = (None, vec!["203.0.113.3:53".parse().unwrap()]);
        other.servers.remove(&name("ns2.seed.example."));
        seen.parent.as_mut().unwrap().views.push(other);
    });
    assert!(
        itself.len() == 1 && itself[0].found.contains("by the parent zone"),
        "{itself:?}"
    );
    let silent = judged(&ours(Signing::Unsigned), Level::Note, |seen| {
        let parent = seen.parent.as_mut().unwrap();
        parent.silent.push("203.0.113.9: no answer".to_owned());
    });
    assert!(silent[0].found.contains("203.0.113.9"), "{silent:?}");
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
