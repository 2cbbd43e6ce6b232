//! DS records against keys, and the name servers themselves.

use super::*;

/// All as it should be, signed, with these DS records at the parent.
fn at_parent(all: &[Ds]) -> impl FnOnce(&mut Seen) {
    let all = all.to_vec();
    move |seen: &mut Seen| {
        view(seen).ds = Some(all.into_iter().collect());
        for at in &mut seen.servers {
            at.udp.as_mut().unwrap().signed = true;
        }
    }
}

#[test]
fn ds_records_and_keys() {
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
            .contains("not before 2000-02-29 00:00 UTC"),
        "{notes:?}"
    );
    // A key that does not sign yet is no help, and no harm beside one that does.
    let (found, mend) = error(&signed(None), at_parent(&[ds(6, 2)]));
    assert!(
        found.contains("that signs now") && mend.contains("IN DS 7 13 2"),
        "{found}: {mend}"
    );
    let early = judged(
        &signed(None),
        Level::Warning,
        at_parent(&[ds(6, 2), ds(7, 2)]),
    );
    assert!(
        early.len() == 1 && early[0].found.contains("does not sign yet"),
        "{early:?}"
    );
    let left = judged(&signed(None), Level::Note, at_parent(&[ds(7, 2), ds(8, 2)]));
    assert!(left[0].found.contains("names no key"), "{left:?}");
}

#[test]
fn a_zone_that_is_to_become_unsigned_is_told_how_far_it_is() {
    let mut signing = signed(None);
    if let Signing::Signed { leaving, .. } = &mut signing {
        *leaving = Some(951_782_400);
    }
    let leaving = ours(signing);
    let asking = judged(&leaving, Level::Note, at_parent(&[ds(7, 2)]));
    let [asking] = asking.as_slice() else {
        panic!("{asking:?}")
    };
    assert!(
        asking.found.contains("since 2000-02-29 00:00 UTC") && asking.found.contains("still has"),
        "{asking:?}"
    );
    let mend = asking.mend.as_deref().unwrap();
    assert!(
        mend.contains("leave the keys") && mend.contains("--undo"),
        "{mend}"
    );
    let done = judged(&leaving, Level::Note, at_parent(&[]));
    let [done] = done.as_slice() else {
        panic!("{done:?}")
    };
    assert!(done.found.contains("its keys may be removed"), "{done:?}");
    assert!(done.mend.as_deref().unwrap().contains("Kseed.example.*"));
    let (found, _) = error(&leaving, at_parent(&[ds(8, 2)]));
    assert!(found.contains("bogus"), "{found}");
}

#[test]
fn ds_records_where_keys_or_parent_are_out_of_sight() {
    let unknown = judged(&ours(Signing::Unknown), Level::Note, at_parent(&[ds(7, 2)]));
    assert!(
        unknown[0].found.contains("can't be compared"),
        "{unknown:?}"
    );
    // Where the parent can't be asked, resolvers know its DS.
    let (found, _) = error(&ours(Signing::Unsigned), |seen| {
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
        seen.servers[2].tcp = Err(AskError::Silent);
    });
    assert!(
        found.contains("no answer over TCP") && mend.contains("+tcp"),
        "{found}: {mend}"
    );
    let (found, mend) = error(&unsigned, |seen| {
        seen.servers[2].udp = Err(AskError::Silent);
    });
    assert!(
        found.contains("no answer over UDP") && mend.contains("firewall"),
        "{found}: {mend}"
    );
    let (found, _) = error(&unsigned, |seen| {
        seen.servers[2].tcp = Ok(said(ResponseCode::ServFail));
    });
    assert!(found.contains("lame over TCP"), "{found}");

    let cut = judged(&unsigned, Level::Error, |seen| {
        let over_udp = seen.servers[0].udp.as_mut().unwrap();
        (over_udp.cut_off, over_udp.serial) = (true, None);
    });
    assert_eq!(cut, [], "TCP has the rest");

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
    let unknown = |seen: &mut Seen| {
        seen.addresses
            .insert(name("ns.other.example."), BTreeSet::new());
        seen.unknown.insert(name("ns.other.example."));
    };
    let notes = judged(&ours(Signing::Unsigned), Level::Note, unknown);
    assert!(
        notes.len() == 1 && notes[0].found.contains("could not be looked up"),
        "{notes:?}"
    );
    assert_eq!(judged(&ours(Signing::Unsigned), Level::Error, unknown), []);
    let (found, _) = error(&ours(Signing::Unsigned), |seen| {
        seen.addresses
            .insert(name("ns.other.example."), BTreeSet::new());
        seen.aliases.insert(name("ns.other.example."));
    });
    assert!(found.contains("ns.other.example. is an alias"), "{found}");
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
        key::{Algorithm, Key, Role},
        times::Times,
    };
    let zone = Zone::new("seed.example", &ZoneOptions::default()).unwrap();
    let apex = zone.apex_wire();
    let key = |times| {
        let key = Key::generate(*apex, Algorithm::Ed25519, Role::KeySigning, times);
        key.unwrap()
    };
    let again = |key: &Key| key.with_times(key.times).unwrap();
    let ring = |keys: &[Key]| Keyring::default().with(apex, keys).unwrap();
    let active = key(Times {
        sync_publish: Some(200),
        ..Times::from_now(0)
    });
    let early = key(Times {
        activate: Some(300),
        ..Times::from_now(0)
    });
    let of = |keys: &[&Key]| keys.iter().map(|key| Ds::new(key.ds())).collect();
    let wanted = |waiting: &[&Key], wait_until| Signing::Signed {
        ds: of(&[&active]),
        waiting: of(waiting),
        wait_until,
        leaving: None,
    };
    let one = ring(std::slice::from_ref(&active));
    assert_eq!(Signing::by(&one, apex, 100), wanted(&[], Some(200)));
    assert_eq!(Signing::by(&one, apex, 200), wanted(&[], None));
    let two = ring(&[again(&active), again(&early)]);
    assert_eq!(Signing::by(&two, apex, 200), wanted(&[&early], None));
    let none = Keyring::default();
    assert_eq!(Signing::by(&none, apex, 100), Signing::Unsigned);
    // Keys that are not yet, or no more, sign nothing.
    let future = ring(&[key(Times::from_now(400))]);
    assert_eq!(Signing::by(&future, apex, 100), Signing::Unknown);
    assert_eq!(
        Signing::by(&ring(&[again(&early)]), apex, 100),
        Signing::Unknown
    );
}
