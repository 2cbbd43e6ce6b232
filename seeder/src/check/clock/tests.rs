use tokio::net::UdpSocket;

use super::*;

const NONCE: u64 = 0x0102_0304_0506_0708;

/// An answer with these three times.
fn answer(received: u64, sent: u64) -> [u8; PACKET] {
    let mut packet = [0; PACKET];
    packet[0] = 4 << 3 | 4;
    packet[1] = 2;
    packet[24..32].copy_from_slice(&NONCE.to_be_bytes());
    packet[32..40].copy_from_slice(&received.to_be_bytes());
    packet[40..48].copy_from_slice(&sent.to_be_bytes());
    packet
}

#[test]
fn the_question_is_a_clients() {
    let packet = question(NONCE);
    assert_eq!(packet[0], 0x23, "LI 0, VN 4, mode 3");
    assert!(packet[1..40].iter().all(|byte| *byte == 0));
    assert_eq!(packet[40..], NONCE.to_be_bytes());
}

/// Dates of RFC 5905, figure 4, as seconds of NTP's first two eras.
#[test]
fn timestamps_are_unix_seconds_in_both_eras() {
    for (seconds, wanted) in [
        (2_208_988_800_u64, 0.0),
        (2_272_060_800, 63_072_000.0),
        (3_155_587_200, 946_598_400.0),
        // 8 February 2036, in the second era.
        (63_104, 2_086_041_600.0),
    ] {
        assert_eq!(unix(seconds << 32), wanted, "{seconds}");
    }
    assert_eq!(unix(2_208_988_800 << 32 | 1 << 31), 0.5);
}

#[test]
fn an_answer_tells_the_servers_times() {
    let (received, sent) = (2_208_988_900_u64 << 32, 2_208_988_901 << 32);
    let told = read(&answer(received, sent), NONCE).unwrap();
    assert_eq!((told.received, told.sent), (100.0, 101.0));
    // RFC 4330, 5: ((T2 - T1) + (T3 - T4)) / 2.
    assert_eq!(offset(told, 90.0, 93.0), 9.0);
    assert_eq!(offset(told, 99.0, 102.0), 0.0);
}

#[test]
fn what_tells_no_time_is_refused() {
    let good = answer(1 << 63, 1 << 63);
    let changed = |at: usize, byte: u8| {
        let mut packet = good;
        packet[at] = byte;
        read(&packet, NONCE)
    };
    assert!(read(&good, NONCE).is_ok());
    assert_eq!(read(&good, NONCE + 1), Err(SntpError::Foreign));
    assert_eq!(
        changed(0, 4 << 3 | 3),
        Err(SntpError::Foreign),
        "a question"
    );
    assert_eq!(
        changed(0, 4 << 3 | 5),
        Err(SntpError::Foreign),
        "a broadcast"
    );
    assert_eq!(changed(0, 3 << 6 | 4 << 3 | 4), Err(SntpError::Unset));
    assert_eq!(changed(1, 16), Err(SntpError::Unset));
    assert_eq!(read(&answer(1 << 63, 0), NONCE), Err(SntpError::Unset));
    for length in 0..PACKET {
        assert_eq!(read(&good[..length], NONCE), Err(SntpError::Foreign));
    }
    let mut kiss = good;
    kiss[1] = 0;
    kiss[12..16].copy_from_slice(b"RATE");
    assert_eq!(read(&kiss, NONCE), Err(SntpError::Kiss("RATE".to_owned())));
}

/// A time server whose clock differs by `seconds` from ours.
async fn server(seconds: f64) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let addr = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 64];
        let (_, from) = socket.recv_from(&mut buffer).await.unwrap();
        let now = ((unix_seconds() + seconds + EPOCH) * ERA) as u64;
        let mut packet = answer(now, now);
        packet[24..32].copy_from_slice(&buffer[40..48]);
        socket.send_to(&packet, from).await.unwrap();
    });
    addr
}

#[tokio::test]
async fn a_clock_is_compared_over_the_network() {
    for seconds in [0.0, 400.0, -2.5] {
        let mut options = CheckOptions {
            resolvers: Vec::new(),
            ntp: server(seconds).await.to_string(),
            offline: false,
            server_port: 53,
        };
        let Asked::Told(told) = look(&options).await else {
            panic!("no answer")
        };
        assert!((told.seconds - seconds).abs() < 0.5, "{told:?}");
        options.offline = true;
        assert_eq!(look(&options).await, Asked::No);
        options.offline = false;
        options.ntp = "time.test".to_owned();
        assert!(matches!(look(&options).await, Asked::Unreachable(_)));
    }
}

fn facts(seconds: f64, signed: bool) -> Facts {
    Facts {
        now: 1000,
        offset: Asked::Told(Offset {
            server: "192.0.2.123:123".parse().unwrap(),
            seconds,
            took: 0.01,
        }),
        newest_probe: Some(990),
        genesis: 500,
        signed,
    }
}

fn worst(facts: &Facts) -> Finding {
    let findings = judge(facts);
    findings
        .into_iter()
        .max_by_key(|found| found.level)
        .unwrap()
}

#[test]
fn the_offset_decides() {
    for (seconds, signed, level) in [
        (0.2, true, Level::Ok),
        (-0.9, true, Level::Ok),
        (1.5, false, Level::Warning),
        (-299.0, true, Level::Warning),
        (301.0, true, Level::Error),
        (-301.0, true, Level::Error),
        (301.0, false, Level::Warning),
    ] {
        let told = worst(&facts(seconds, signed));
        assert_eq!(told.level, level, "{told:?}");
        assert_eq!(told.mend.is_some(), level > Level::Ok);
    }
    assert!(worst(&facts(2.0, false)).found.contains("2.000 s late"));
    assert!(worst(&facts(-2.0, false)).found.contains("2.000 s early"));
    for offset in [Asked::No, Asked::Unreachable("no route".to_owned())] {
        let told = worst(&Facts {
            offset,
            ..facts(0.0, true)
        });
        assert_eq!(told.level, Level::Note);
    }
}

#[test]
fn a_clock_before_what_has_happened_is_wrong() {
    let probe = worst(&Facts {
        newest_probe: Some(1000 + 3600),
        ..facts(0.0, false)
    });
    assert!(
        probe.level == Level::Error && probe.found.contains("in the future"),
        "{probe:?}"
    );
    let just = worst(&Facts {
        newest_probe: Some(1001),
        ..facts(0.0, false)
    });
    assert_eq!(just.level, Level::Ok);
    let genesis = worst(&Facts {
        genesis: 2000,
        ..facts(0.0, false)
    });
    assert!(
        genesis.level == Level::Error && genesis.found.contains("first block"),
        "{genesis:?}"
    );
}
