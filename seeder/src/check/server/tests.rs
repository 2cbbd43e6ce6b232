use super::*;
use crate::zone::ZoneOptions;

const NOW: i64 = 1_800_000_000;
const HTTP: Option<SocketAddr> = Some(SocketAddr::new(
    std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED),
    9400,
));

fn ours(signing: Signing) -> Ours {
    let zone = Zone::new("seed.test", &ZoneOptions::default()).unwrap();
    Ours::of(&zone, signing)
}

fn signed() -> Signing {
    Signing::Signed {
        ds: std::collections::BTreeSet::new(),
        waiting: std::collections::BTreeSet::new(),
        wait_until: None,
        leaving: None,
    }
}

fn said() -> Said {
    Said {
        code: ResponseCode::NoError,
        authoritative: true,
        serial: Some(NOW as u32 - 10),
        signed: false,
        cut_off: false,
        recursive: false,
    }
}

fn answers(udp: Result<Said, AskError>, tcp: Result<Said, AskError>) -> Vec<Answer> {
    let of = |protocol, said| Answer {
        addr: "127.0.0.1:53".parse().unwrap(),
        protocol,
        zone: Name::from_ascii("seed.test.").unwrap(),
        said,
    };
    vec![of(Protocol::Udp, udp), of(Protocol::Tcp, tcp)]
}

/// The worst of what is said about UDP answers, with TCP as it should be.
fn judged(udp: Said, signing: Signing) -> Finding {
    let right = Said {
        signed: signing.is_signed(),
        ..said()
    };
    let all = answers(Ok(udp), Ok(right));
    let findings = judge(&all, &[ours(signing)], &[], HTTP, NOW);
    assert!((1..=2).contains(&findings.len()), "{findings:?}");
    findings
        .into_iter()
        .max_by_key(|found| found.level)
        .unwrap()
}

#[test]
fn good_answers_are_good() {
    let told = judged(said(), Signing::Unsigned);
    let wanted = "seed.test. over UDP and TCP: answers as an authority, drawn 10 s ago";
    assert_eq!((told.level, told.found.as_str()), (Level::Ok, wanted));
    let told = judged(
        Said {
            signed: true,
            ..said()
        },
        signed(),
    );
    assert!(
        told.level == Level::Ok && told.found.contains("signed, "),
        "{told:?}"
    );
    assert_eq!(judged(said(), Signing::Unknown).level, Level::Ok);
}

#[test]
fn wrong_answers_are_told() {
    let told = |said: Said, signing| {
        let told = judged(said, signing);
        (told.level, told.found)
    };
    let refused = Said {
        code: ResponseCode::Refused,
        serial: None,
        ..said()
    };
    let (level, found) = told(refused, Signing::Unsigned);
    assert!(
        level == Level::Error && found.contains("REFUSED"),
        "{found}"
    );
    let cached = Said {
        authoritative: false,
        ..said()
    };
    let (level, found) = told(cached, Signing::Unsigned);
    assert!(
        level == Level::Error && found.contains("no AA flag"),
        "{found}"
    );
    let empty = Said {
        serial: None,
        ..said()
    };
    assert_eq!(told(empty, Signing::Unsigned).0, Level::Error);
    let old = Said {
        serial: Some(NOW as u32 - 7200),
        ..said()
    };
    let (level, found) = told(old, Signing::Unsigned);
    assert!(
        level == Level::Warning && found.contains("2 hours ago"),
        "{found}"
    );
    let (level, found) = told(said(), signed());
    assert!(
        level == Level::Error && found.contains("no signatures"),
        "{found}"
    );
    let unknown_keys = Said {
        signed: true,
        ..said()
    };
    assert_eq!(told(unknown_keys, Signing::Unsigned).0, Level::Note);
}

#[test]
fn silence_is_a_note_until_a_seeder_is_known_to_run() {
    let silent = answers(Err(AskError::Silent), Err(AskError::Closed));
    let ours = [ours(Signing::Unsigned)];
    let told = judge(&silent, &ours, &[], HTTP, NOW);
    assert!(told.len() == 1 && told[0].level == Level::Note, "{told:?}");
    let running = ["127.0.0.1:53".parse().unwrap()];
    let told = judge(&silent, &ours, &running, HTTP, NOW);
    let levels: Vec<Level> = told.iter().map(|found| found.level).collect();
    assert_eq!(levels, [Level::Error, Level::Error]);
    // One transport alone is barred.
    let half = answers(Ok(said()), Err(AskError::Silent));
    let told = judge(&half, &ours, &[], HTTP, NOW);
    let worst = told.iter().max_by_key(|found| found.level).unwrap();
    assert!(
        worst.level == Level::Error && worst.found.contains("over TCP"),
        "{told:?}"
    );
    assert_eq!(answering(&half), [(running[0], Protocol::Udp)]);
    assert_eq!(answering(&silent), []);
}

#[test]
fn no_way_to_oneself_is_no_fault_of_the_seeder() {
    let no_way = || Err(AskError::NoRoute("address not available".to_owned()));
    let running = ["127.0.0.1:53".parse().unwrap()];
    let ours = [ours(Signing::Unsigned)];
    let told = judge(&answers(no_way(), no_way()), &ours, &running, HTTP, NOW);
    assert!(told.len() == 1 && told[0].level == Level::Note, "{told:?}");
}

#[test]
fn an_answer_that_is_cut_off_is_judged_over_tcp() {
    let cut = || Said {
        serial: None,
        cut_off: true,
        ..said()
    };
    // Neither is its serial missing, nor are its signatures, nor is it old.
    assert_eq!(judged(cut(), signed()).level, Level::Ok);
    let half = answers(
        Ok(cut()),
        Ok(Said {
            serial: None,
            ..said()
        }),
    );
    let told = judge(&half, &[ours(Signing::Unsigned)], &[], HTTP, NOW);
    let errors: Vec<&Finding> = told
        .iter()
        .filter(|one| one.level == Level::Error)
        .collect();
    assert!(
        errors.len() == 1 && errors[0].found.contains("over TCP"),
        "{told:?}"
    );
    // Over TCP nothing is cut off.
    let zone = Name::from_ascii("seed.test.").unwrap();
    let mut message = Message::new(
        1,
        hickory_proto::op::MessageType::Response,
        hickory_proto::op::OpCode::Query,
    );
    message.metadata.truncation = true;
    let cut_off = [Via::Udp, Via::Tcp].map(|via| Said::of(&message, &zone, via).cut_off);
    assert_eq!(cut_off, [true, false]);
}

#[test]
fn health_is_asked_where_it_is_told() {
    assert!(ask_health(HTTP).contains("http://127.0.0.1:9400/health/ready"));
    assert!(ask_health(None).contains("journalctl"));
}

/// A port that takes datagrams and connections, and says nothing.
fn silent() -> (SocketAddr, std::net::TcpListener, std::net::UdpSocket) {
    let any = || {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let addr = listener.local_addr().unwrap();
        let socket = std::net::UdpSocket::bind(addr).ok()?;
        Some((addr, listener, socket))
    };
    (0..64).find_map(|_| any()).expect("a port of both kinds")
}

/// As many as would take a minute and more when each is waited for.
#[tokio::test(start_paused = true)]
async fn zones_that_are_silent_share_one_time() {
    let quiet = [silent(), silent()];
    let listen = [quiet[0].0, quiet[1].0];
    let zones: Vec<Zone> = (0..150)
        .map(|n| Zone::new(&format!("z{n}.test"), &ZoneOptions::default()).unwrap())
        .collect();
    let (began, limit) = (Instant::now(), crate::check::ROUNDS);
    let answers = look(&listen, &zones, began + limit).await;
    let took = began.elapsed();
    assert!(took < limit + std::time::Duration::from_secs(1), "{took:?}");
    // By address, in the order of the zones, over UDP and TCP.
    let asked = answers.iter().map(|one| (one.addr, one.zone.clone()));
    let wanted = listen.iter().flat_map(|addr| {
        let zones = zones
            .iter()
            .flat_map(|zone| [zone.apex().clone(), zone.apex().clone()]);
        zones.map(move |zone| (*addr, zone))
    });
    assert!(asked.eq(wanted));
    let late = |one: &&Answer| one.said == Err(AskError::Late);
    assert!(
        answers.iter().filter(late).count() > 0,
        "not all had a turn"
    );
    assert!(answers.iter().all(|one| one.said.is_err()));
    let told = judge(&answers, &[ours(Signing::Unsigned)], &listen, HTTP, NOW);
    assert!(told.is_empty(), "of other zones: {told:?}");
}

#[test]
fn what_was_not_asked_is_no_fault() {
    let all = answers(Ok(said()), Err(AskError::Late));
    let told = judge(&all, &[ours(Signing::Unsigned)], &[], HTTP, NOW);
    let worst = told.iter().max_by_key(|found| found.level).unwrap();
    assert_eq!(worst.level, Level::Note, "{worst:?}");
    assert!(worst.found.contains("not asked"), "{worst:?}");
}
