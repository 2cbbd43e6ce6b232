use std::net::UdpSocket;

use super::*;
use crate::check::holder::Socket;

const ANY: &str = "0.0.0.0:53";

fn held(addr: &str, process: Option<(&str, Option<&str>)>) -> Tried {
    let process = process.map(|(name, unit)| Process {
        pid: 612,
        name: name.to_owned(),
        unit: unit.map(str::to_owned),
    });
    Tried::Taken(vec![Holder {
        socket: Socket {
            addr: addr.parse().unwrap(),
            uid: 101,
            inode: 7,
        },
        process,
    }])
}

fn dns(udp: Tried, tcp: Tried) -> Port {
    Port {
        addr: ANY.parse().unwrap(),
        role: Role::Dns,
        udp: Some(udp),
        tcp,
    }
}

/// Where something answers as it should over both protocols.
fn both(addr: &str) -> Vec<(SocketAddr, Protocol)> {
    let addr = addr.parse().unwrap();
    vec![(addr, Protocol::Udp), (addr, Protocol::Tcp)]
}

fn judged(udp: Tried, tcp: Tried, answering: bool) -> Finding {
    let port = dns(udp, tcp);
    let answering = if answering { both(ANY) } else { Vec::new() };
    let ports = [port];
    judge(&ports[0], &Present::of(&ports, answering))
}

fn settings(listen: &[&str], http: Option<SocketAddr>) -> SeederConfig {
    SeederConfig {
        listen: listen.iter().map(|addr| addr.parse().unwrap()).collect(),
        http,
        ..SeederConfig::new(quantumcoin::chain_spec::ChainSpec::devnet())
    }
}

/// What a seeder with this number holds at an address.
fn seeder(addr: &str, pid: u32) -> Tried {
    let mut held = held(addr, Some(("quantumcoin-see", None)));
    if let Tried::Taken(holders) = &mut held {
        holders[0].process.as_mut().unwrap().pid = pid;
    }
    held
}

#[test]
fn a_free_port_is_good() {
    assert_eq!(judged(Tried::Free, Tried::Free, false).level, Level::Ok);
}

#[test]
fn systemd_resolved_is_named_with_its_remedy() {
    let stub = || {
        held(
            "127.0.0.53:53",
            Some(("systemd-resolve", Some("systemd-resolved.service"))),
        )
    };
    let told = judged(stub(), stub(), false);
    assert_eq!(told.level, Level::Error);
    assert!(
        told.found.contains("systemd-resolved (process 612)"),
        "{told:?}"
    );
    assert!(told.found.contains("127.0.0.53:53"), "{told:?}");
    let mend = told.mend.unwrap();
    assert!(
        mend.contains("DNSStubListener=no") && mend.contains("--listen 192.0.2.53:53"),
        "{mend}"
    );
    assert!(
        mend.contains("systemctl restart systemd-resolved"),
        "{mend}"
    );
}

#[test]
fn systemd_resolved_is_known_by_its_addresses_too() {
    let told = judged(held("127.0.0.54:53", None), Tried::Free, false);
    assert!(
        told.found.contains("systemd-resolved, whose stub"),
        "{told:?}"
    );
    assert!(told.mend.unwrap().contains("DNSStubListener=no"));
    let told = judged(
        held("127.0.0.54:53", Some(("dnsmasq", None))),
        Tried::Free,
        false,
    );
    assert!(!told.found.contains("systemd-resolved"), "{told:?}");
}

#[test]
fn others_are_named_with_how_to_stop_them() {
    let told = judged(
        Tried::Free,
        held(ANY, Some(("dnsmasq", Some("dnsmasq.service")))),
        false,
    );
    assert_eq!(told.level, Level::Error);
    assert!(
        told.found.contains("TCP is taken by dnsmasq (process 612)"),
        "{told:?}"
    );
    assert!(
        told.mend
            .unwrap()
            .contains("systemctl disable --now dnsmasq.service")
    );
    let told = judged(held(ANY, Some(("named", None))), Tried::Free, false);
    assert!(told.mend.unwrap().contains("kill 612"));
    // Whose it is can't be seen.
    let told = judged(held(ANY, None), Tried::Free, false);
    assert!(
        told.level == Level::Error && told.found.contains("user with the number 101"),
        "{told:?}"
    );
    assert!(told.mend.unwrap().contains("sudo ss -lntup 'sport = :53'"));
}

#[test]
fn this_seeder_itself_is_no_fault() {
    let told = judged(seeder(ANY, 612), seeder(ANY, 612), false);
    assert!(
        told.level == Level::Ok && told.found.contains("process 612"),
        "{told:?}"
    );
    let ports = [dns(seeder(ANY, 612), seeder(ANY, 612))];
    let present = Present::of(&ports, Vec::new());
    assert_eq!(present.held(), [ANY.parse().unwrap()]);
    assert!(present.serves(ANY.parse().unwrap()) && !present.at_work());
    // Who may not look into its process sees that it answers.
    let told = judged(held(ANY, None), held(ANY, None), true);
    assert_eq!(told.level, Level::Ok, "{told:?}");
    // It may listen on more than is wanted, or on all that is.
    let wider = || seeder("0.0.0.0:53", 612);
    let port = Port {
        addr: "127.0.0.1:53".parse().unwrap(),
        ..dns(wider(), wider())
    };
    let ports = [port];
    let told = judge(&ports[0], &Present::of(&ports, both("127.0.0.1:53")));
    assert!(
        told.level == Level::Ok && told.found.contains("answers as it should"),
        "{told:?}"
    );
}

#[test]
fn another_seeder_is_in_the_way() {
    let other = |told: Finding| {
        let mend = told.mend.unwrap_or_default();
        assert!(
            told.level == Level::Error && mend.contains("if you want both"),
            "{}: {mend}",
            told.found
        );
    };
    // With one protocol alone, two of them, and one at a part of the addresses.
    other(judged(seeder(ANY, 612), Tried::Free, false));
    other(judged(seeder(ANY, 612), seeder(ANY, 613), false));
    let one = || seeder("127.0.0.1:53", 612);
    other(judged(one(), one(), false));
    other(judged(one(), one(), true));
    let hidden = || held("127.0.0.1:53", None);
    assert_eq!(judged(hidden(), hidden(), true).level, Level::Error);
    // The port of status is whose those of DNS are.
    let status = |pid| Port {
        addr: "127.0.0.1:9353".parse().unwrap(),
        role: Role::Status,
        udp: None,
        tcp: seeder("127.0.0.1:9353", pid),
    };
    let ports = [dns(Tried::Free, Tried::Free), status(612)];
    other(judge(&ports[1], &Present::of(&ports, Vec::new())));
    let mine = || dns(seeder(ANY, 612), seeder(ANY, 612));
    let ports = [mine(), status(613)];
    other(judge(&ports[1], &Present::of(&ports, both(ANY))));
    let ports = [mine(), status(612)];
    let told = judge(&ports[1], &Present::of(&ports, both(ANY)));
    assert_eq!(told.level, Level::Ok, "{told:?}");
}

#[test]
fn what_this_user_may_not_see_is_no_error_where_a_seeder_answers() {
    let status = || Port {
        addr: "127.0.0.1:9353".parse().unwrap(),
        role: Role::Status,
        udp: None,
        tcp: held("127.0.0.1:9353", None),
    };
    let ports = [dns(held(ANY, None), held(ANY, None)), status()];
    let told = judge(&ports[1], &Present::of(&ports, both(ANY)));
    assert!(
        told.level == Level::Note && told.mend.unwrap().contains("sudo"),
        "{}",
        told.found
    );
    let mut known = both(ANY);
    known.push((ports[1].addr, Protocol::Tcp));
    let told = judge(&ports[1], &Present::of(&ports, known));
    assert_eq!(told.level, Level::Ok, "{told:?}");
    let nobody = judge(&ports[1], &Present::of(&ports, Vec::new()));
    assert_eq!(nobody.level, Level::Error, "{nobody:?}");
    // The stub of systemd-resolved is nobody's seeder.
    let stub = [dns(held("127.0.0.53:53", None), Tried::Free)];
    let told = judge(&stub[0], &Present::of(&stub, both("[::]:53")));
    assert_eq!(told.level, Level::Error, "{told:?}");
}

#[test]
fn a_proxy_that_works_is_no_error() {
    let proxy = || held(ANY, Some(("docker-proxy", None)));
    let told = judged(proxy(), proxy(), true);
    assert!(
        told.level == Level::Note && told.found.contains("docker-proxy (process 612)"),
        "{told:?}"
    );
    assert_eq!(judged(proxy(), proxy(), false).level, Level::Error);
}

#[test]
fn what_can_not_be_tried_is_no_error_and_what_fails_is() {
    let told = judged(Tried::Denied, Tried::Denied, false);
    assert!(told.level == Level::Note && told.mend.unwrap().contains("sudo"));
    let told = judged(
        Tried::Failed("no interface has it".to_owned()),
        Tried::Free,
        false,
    );
    assert!(told.level == Level::Error && told.found == "no interface has it");
}

/// Real sockets of this process, which is no seeder.
#[tokio::test]
async fn a_taken_port_is_found_with_its_holder() {
    let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
    let addr = udp.local_addr().unwrap();
    let ports = look(&settings(&[&addr.to_string()], None));
    let told = judge(&ports[0], &Present::default());
    assert_eq!(told.level, Level::Error, "{told:?}");
    #[cfg(target_os = "linux")]
    assert!(
        told.found.contains(&std::process::id().to_string()),
        "{told:?}"
    );
    assert_eq!(Present::of(&ports, Vec::new()).held(), []);
    drop(udp);
    // 192.0.2.0/24 is for documentation (RFC 5737): no interface has it.
    let foreign = look(&settings(&["192.0.2.77:0"], None));
    let told = judge(&foreign[0], &Present::default());
    assert!(
        told.found.contains("no interface") && told.mend.unwrap().contains("--listen"),
        "{foreign:?}"
    );
}

#[tokio::test]
async fn the_address_of_status_is_tried_too() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let mut config = settings(&[], Some(addr));
    let none = Present::default();
    let told = judge(&look(&config)[0], &none);
    assert!(
        told.level == Level::Error && told.found.contains("TCP"),
        "{told:?}"
    );
    drop(listener);
    let told = judge(&look(&config)[0], &none);
    assert!(
        told.level == Level::Ok && told.found.contains("status"),
        "{told:?}"
    );
    // Port 0 is any that is free.
    config.http = Some("127.0.0.1:0".parse().unwrap());
    assert!(look(&config).is_empty());
    config.tls = Some(crate::tls::TlsOptions {
        listen: vec![addr],
        certificate: "chain".into(),
        key: "key".into(),
    });
    let told = judge(&look(&config)[0], &none);
    assert!(
        told.level == Level::Ok && told.found.contains("DNS over TLS"),
        "{told:?}"
    );
    assert_eq!(super::dns(&config), [addr]);
}
