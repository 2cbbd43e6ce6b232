use super::*;

const ANY: &str = "0.0.0.0:53";

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
    let nobody = |_| false;
    let level = |of: &Rights| rights(&[ANY.parse().unwrap()], of, nobody)[0].level;
    assert_eq!(level(&with), Level::Ok);
    assert_eq!(level(&lowered), Level::Ok);
    assert_eq!(level(&unknown), Level::Ok);
    let told = &rights(
        &[ANY.parse().unwrap(), "[::]:53".parse().unwrap()],
        &without,
        nobody,
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
    let high = rights(&["0.0.0.0:5353".parse().unwrap()], &without, nobody);
    assert_eq!(high[0].level, Level::Ok);
    // Who listens there already has the right.
    let both = [ANY.parse().unwrap(), "[::]:53".parse().unwrap()];
    let served = rights(&both, &without, |addr| addr.is_ipv4());
    assert!(
        served.len() == 1 && served[0].level == Level::Ok,
        "{served:?}"
    );
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
