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

fn judged(udp: Tried, tcp: Tried, answering: bool) -> Finding {
    let addr = ANY.parse().unwrap();
    let answering: &[SocketAddr] = if answering { &[addr] } else { &[] };
    judge(
        &Port {
            addr,
            udp: Some(udp),
            tcp,
        },
        answering,
    )
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
    let seeder = || {
        held(
            ANY,
            Some(("quantumcoin-see", Some("quantumcoin-seeder.service"))),
        )
    };
    let told = judged(seeder(), seeder(), false);
    assert!(
        told.level == Level::Ok && told.found.contains("process 612"),
        "{told:?}"
    );
    let port = Port {
        addr: ANY.parse().unwrap(),
        udp: Some(seeder()),
        tcp: Tried::Free,
    };
    assert_eq!(running(&[port]), [ANY.parse().unwrap()]);
    // Who may not look into its process sees that it answers.
    let told = judged(held(ANY, None), held(ANY, None), true);
    assert_eq!(told.level, Level::Ok, "{told:?}");
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
    let ports = look(&[addr], None);
    let told = judge(&ports[0], &[]);
    assert_eq!(told.level, Level::Error, "{told:?}");
    #[cfg(target_os = "linux")]
    assert!(
        told.found.contains(&std::process::id().to_string()),
        "{told:?}"
    );
    assert_eq!(running(&ports), []);
    drop(udp);
    // 192.0.2.0/24 is for documentation (RFC 5737): no interface has it.
    let foreign = look(&["192.0.2.77:0".parse().unwrap()], None);
    assert!(
        judge(&foreign[0], &[]).found.contains("no interface"),
        "{foreign:?}"
    );
}

#[tokio::test]
async fn the_address_of_status_is_tried_too() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let ports = look(&[], Some(addr));
    let told = judge(&ports[0], &[]);
    assert!(
        told.level == Level::Error && told.found.contains("TCP"),
        "{told:?}"
    );
    assert!(look(&[], Some("127.0.0.1:0".parse().unwrap())).is_empty());
    drop(listener);
    let told = judge(&look(&[], Some(addr))[0], &[]);
    assert!(
        told.level == Level::Ok && told.found.contains("status"),
        "{told:?}"
    );
}

#[test]
fn rights_are_read_and_judged() {
    let status = "Name:\tx\nCapEff:\t0000000000000400\nCapBnd:\tff\n";
    let with = Rights::read(status, "1024\n");
    let without = Rights::read(&status.replace("400", "000"), "1024\n");
    let lowered = Rights::read(&status.replace("400", "000"), "53\n");
    let unknown = Rights::read("", "");
    assert_eq!(
        (with.capabilities, with.unprivileged),
        (Some(1 << 10), 1024)
    );
    assert_eq!((unknown.capabilities, unknown.unprivileged), (None, 1024));
    let level = |of: &Rights| rights(&[ANY.parse().unwrap()], of)[0].level;
    assert_eq!(level(&with), Level::Ok);
    assert_eq!(level(&lowered), Level::Ok);
    assert_eq!(level(&unknown), Level::Ok);
    let told = &rights(
        &[ANY.parse().unwrap(), "[::]:53".parse().unwrap()],
        &without,
    )[..];
    assert_eq!(told.len(), 1, "one port, one finding: {told:?}");
    assert!(told[0].level == Level::Warning && told[0].found.contains("CAP_NET_BIND_SERVICE"));
    assert!(
        told[0]
            .mend
            .as_ref()
            .unwrap()
            .contains("setcap cap_net_bind_service=+ep")
    );
    let high = rights(&["0.0.0.0:5353".parse().unwrap()], &without);
    assert_eq!(high[0].level, Level::Ok);
}

#[test]
fn ipv6_is_missed_where_it_is_listened_on() {
    let (both, v4) = (["0.0.0.0:53", "[::]:53"], ["0.0.0.0:53"]);
    let judged = |listen: &[&str], source: Option<&str>| {
        let listen: Vec<SocketAddr> = listen.iter().map(|addr| addr.parse().unwrap()).collect();
        ipv6(&listen, source.map(|ip| ip.parse().unwrap())).remove(0)
    };
    let global = Some("2001:db8::1");
    assert_eq!(judged(&both, global).level, Level::Ok);
    for none in [None, Some("fd00::2"), Some("fe80::1")] {
        let told = judged(&both, none);
        assert!(
            told.level == Level::Warning && told.found.contains("[::]:53"),
            "{told:?}"
        );
        assert_eq!(judged(&v4, none).level, Level::Note);
    }
    let unused = judged(&v4, global);
    assert!(unused.level == Level::Note && unused.mend.unwrap().contains("--listen [::]:53"));
    let loopback = judged(&["[::1]:53"], None);
    assert_eq!(loopback.level, Level::Note);
}

#[test]
fn wildcards_are_reached_by_loopback() {
    let reached = |addr: &str| reachable(addr.parse().unwrap()).to_string();
    assert_eq!(reached("0.0.0.0:53"), "127.0.0.1:53");
    assert_eq!(reached("[::]:53"), "[::1]:53");
    assert_eq!(reached("192.0.2.1:53"), "192.0.2.1:53");
}
