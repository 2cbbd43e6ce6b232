//! A running seeder, asked over real sockets with hickory's codec.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test's helpers fail as the test does"
)]

mod support;

use std::{net::SocketAddr, time::Duration};

use hickory_proto::{
    op::{Message, MessageType, OpCode, Query, ResponseCode},
    rr::{Name, RData, RecordType},
};
use quantumcoin_seeder::{Seeder, SeederError};
use support::{PATIENCE, bench, bench_on, config, get, port, probe};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    time::timeout,
};

const APEX: &str = "seed1.quantumcoin.network.";

fn query(name: &str, kind: RecordType) -> Vec<u8> {
    let mut message = Message::new(7, MessageType::Query, OpCode::Query);
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), kind));
    let mut edns = hickory_proto::op::Edns::new();
    edns.set_max_payload(1232);
    message.set_edns(edns);
    message.to_vec().unwrap()
}

async fn ask_udp(server: SocketAddr, packet: &[u8]) -> Message {
    let local = if server.is_ipv4() {
        "127.0.0.1:0"
    } else {
        "[::1]:0"
    };
    let socket = UdpSocket::bind(local).await.unwrap();
    socket.send_to(packet, server).await.unwrap();
    let mut buffer = [0; 2048];
    let (length, from) = timeout(PATIENCE, socket.recv_from(&mut buffer))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(from, server);
    Message::from_vec(&buffer[..length]).unwrap()
}

async fn send_tcp(stream: &mut TcpStream, packet: &[u8]) {
    let mut framed = u16::try_from(packet.len()).unwrap().to_be_bytes().to_vec();
    framed.extend_from_slice(packet);
    stream.write_all(&framed).await.unwrap();
}

async fn receive_tcp(stream: &mut TcpStream) -> Message {
    let length = timeout(PATIENCE, stream.read_u16()).await.unwrap().unwrap();
    let mut bytes = vec![0; length.into()];
    stream.read_exact(&mut bytes).await.unwrap();
    Message::from_vec(&bytes).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn udp_and_tcp_answer_on_one_port_over_both_protocols() {
    let bench = bench_on(&["127.0.0.1:0", "[::1]:0"]).await;
    for kind in [
        RecordType::A,
        RecordType::AAAA,
        RecordType::TXT,
        RecordType::SOA,
    ] {
        let packet = query(APEX, kind);
        let udp = ask_udp(bench.dns, &packet).await;
        let mut stream = TcpStream::connect(bench.dns).await.unwrap();
        send_tcp(&mut stream, &packet).await;
        let tcp = receive_tcp(&mut stream).await;
        assert_eq!(udp.metadata, tcp.metadata);
        assert!(!udp.answers.is_empty());
        assert_eq!(udp.answers.len(), tcp.answers.len());
        assert!(
            udp.answers
                .iter()
                .all(|record| record.record_type() == kind)
        );
    }
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn ipv6_is_served() {
    if UdpSocket::bind("[::1]:0").await.is_err() {
        eprintln!("skipped: this machine has no IPv6 loopback");
        return;
    }
    let bench = bench_on(&["[::1]:0"]).await;
    let answer = ask_udp(bench.dns, &query(APEX, RecordType::NS)).await;
    assert_eq!(answer.additionals.len(), 1);
    assert!(
        matches!(answer.additionals[0].data, RData::AAAA(_)),
        "glue from the listen address"
    );
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_carries_many_queries() {
    let bench = bench().await;
    let mut stream = TcpStream::connect(bench.dns).await.unwrap();
    for _ in 0..50 {
        send_tcp(&mut stream, &query(APEX, RecordType::A)).await;
    }
    for _ in 0..50 {
        assert_eq!(receive_tcp(&mut stream).await.answers.len(), 24);
    }
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn slow_and_rude_clients_hurt_no_one() {
    let bench = bench().await;
    let mut slow = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(bench.dns).await.unwrap();
        stream.write_all(&[0, 40, 1]).await.unwrap();
        slow.push(stream);
    }
    let mut large = TcpStream::connect(bench.dns).await.unwrap();
    large.write_all(&[0xff, 0xff, 1, 2, 3]).await.unwrap();
    let closed = timeout(PATIENCE, large.read(&mut [0; 16])).await.unwrap();
    assert_eq!(
        closed.unwrap_or(0),
        0,
        "a claim of 65,535 bytes is no query"
    );
    let mut honest = TcpStream::connect(bench.dns).await.unwrap();
    send_tcp(&mut honest, &query(APEX, RecordType::A)).await;
    assert_eq!(receive_tcp(&mut honest).await.answers.len(), 24);
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_gets_the_place_of_who_has_waited_longest() {
    let bench = bench().await;
    let mut open = Vec::new();
    // 64 are allowed; each proves by an answer that it was accepted.
    for _ in 0..64 {
        let mut stream = TcpStream::connect(bench.dns).await.unwrap();
        send_tcp(&mut stream, &query(APEX, RecordType::SOA)).await;
        receive_tcp(&mut stream).await;
        open.push(stream);
    }
    let mut newcomer = TcpStream::connect(bench.dns).await.unwrap();
    send_tcp(&mut newcomer, &query(APEX, RecordType::SOA)).await;
    assert_eq!(receive_tcp(&mut newcomer).await.answers.len(), 1);
    let closed = timeout(PATIENCE, open[0].read(&mut [0; 16])).await.unwrap();
    assert_eq!(closed.unwrap_or(0), 0, "the first has waited longest");
    send_tcp(&mut open[1], &query(APEX, RecordType::SOA)).await;
    receive_tcp(&mut open[1]).await;
    let metrics = get(bench.http, "/metrics").await;
    assert!(
        metrics.contains("qtc_seeder_tcp_evicted_total 1"),
        "{metrics}"
    );
    bench.finish().await;
}

/// A connection from that address that asks 400 times, and never reads.
#[cfg(target_os = "linux")]
async fn ask_and_never_read(from: [u8; 4], server: SocketAddr) -> TcpStream {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    // The system makes the least of it that it allows. The server's send buffer grows with the size of segments.
    socket.set_recv_buffer_size(1).unwrap();
    socket.set_tcp_mss(536).unwrap();
    socket.bind(&SocketAddr::from((from, 0)).into()).unwrap();
    socket.connect(&server.into()).unwrap();
    socket.set_nonblocking(true).unwrap();
    let mut stream = TcpStream::from_std(socket.into()).unwrap();
    let packet = query(APEX, RecordType::AAAA);
    let length = u16::try_from(packet.len()).unwrap().to_be_bytes();
    let questions = [&length, packet.as_slice()].concat().repeat(400);
    // As much of it as the system takes at once.
    assert!(stream.write(&questions).await.unwrap() > 0);
    stream
}

/// All places are taken, by eight networks that ask and do not read what they are told.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_that_never_reads_keeps_nobody_out() {
    let bench = bench().await;
    let mut crowd = Vec::new();
    for (network, host) in (1..=8).flat_map(|n| (1..=64).map(move |host| (n, host))) {
        crowd.push(ask_and_never_read([127, 0, network, host], bench.dns).await);
    }
    let counted = async |name: &str| -> u64 {
        let metrics = get(bench.http, "/metrics").await;
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        line.expect(name).trim().parse().unwrap()
    };
    // Until the server writes no more answers: it waits for all of them.
    let answers = "qtc_seeder_responses_total{rcode=\"NOERROR\"}";
    let mut before = 0;
    loop {
        let now = counted(answers).await;
        if now == before && now > 512 {
            break;
        }
        before = now;
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut newcomers = Vec::new();
    for _ in 0..20 {
        let mut stream = TcpStream::connect(bench.dns).await.unwrap();
        send_tcp(&mut stream, &query(APEX, RecordType::A)).await;
        assert_eq!(receive_tcp(&mut stream).await.answers.len(), 24);
        newcomers.push(stream);
    }
    assert_eq!(counted("qtc_seeder_tcp_refused_total").await, 0);
    drop(crowd);
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn junk_on_the_socket_does_not_stop_the_answers() {
    let bench = bench().await;
    let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let mut state = 0x9e37_79b9_u32;
    for length in 0..400 {
        let junk: Vec<u8> = (0..length)
            .map(|_| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                (state >> 24) as u8
            })
            .collect();
        socket.send_to(&junk, bench.dns).await.unwrap();
    }
    let answer = ask_udp(bench.dns, &query(APEX, RecordType::A)).await;
    assert_eq!(answer.answers.len(), 24);
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn services_and_hosts_fit_together() {
    let bench = bench().await;
    let name = format!("_qtc._tcp.{APEX}");
    let mut found_odd_port = false;
    // Over TCP: a UDP answer of 1232 bytes may have no room for the addresses of its services.
    let mut stream = TcpStream::connect(bench.dns).await.unwrap();
    // 61 peers, 12 in an answer: the one on another port shows up soon.
    for _ in 0..200 {
        send_tcp(&mut stream, &query(&name, RecordType::SRV)).await;
        let answer = receive_tcp(&mut stream).await;
        assert_eq!(answer.answers.len(), 12);
        for record in &answer.answers {
            let RData::SRV(srv) = &record.data else {
                panic!("{record}")
            };
            let glue = answer
                .additionals
                .iter()
                .find(|glue| glue.name == srv.target)
                .unwrap();
            if srv.port == 9999 {
                assert_eq!(glue.data.to_string(), "127.0.0.99");
                let host = query(&srv.target.to_ascii(), RecordType::A);
                assert_eq!(ask_udp(bench.dns, &host).await.answers, vec![glue.clone()]);
                found_odd_port = true;
            }
        }
        if found_odd_port {
            break;
        }
    }
    assert!(found_odd_port);
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_changed_crawl_shows_within_a_refresh() {
    let bench = bench().await;
    let serial = |answer: &Message| match &answer.answers[0].data {
        RData::SOA(soa) => soa.serial,
        other => panic!("{other}"),
    };
    let soa = query("seed2.quantumcoin.network.", RecordType::SOA);
    let before = serial(&ask_udp(bench.dns, &soa).await);
    probe(
        &bench.store,
        (std::net::Ipv4Addr::new(127, 0, 0, 77), port()).into(),
        0x1000,
    )
    .await;
    bench.store.flush().await.unwrap();
    let wanted = query("x1000.seed2.quantumcoin.network.", RecordType::A);
    let seen = async {
        while ask_udp(bench.dns, &wanted).await.answers.is_empty() {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(PATIENCE, seen).await.expect("picked up");
    assert!(serial(&ask_udp(bench.dns, &soa).await) > before);
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn status_and_health_tell_the_truth() {
    let bench = bench().await;
    ask_udp(bench.dns, &query(APEX, RecordType::A)).await;
    ask_udp(bench.dns, &query("foreign.example.", RecordType::TXT)).await;
    let json = quantumcoin::service::client::get(bench.http, "/api/v1/status").await;
    let json = json.unwrap();
    assert_eq!(json["good_peers"], 61);
    assert_eq!(json["origin"], "store");
    assert_eq!(json["stale"], false);
    assert_eq!(json["zones"][1]["name"], "seed2.quantumcoin.network.");
    assert_eq!(json["zones"][0]["queries"]["A"], 1);
    assert_eq!(json["zones"][1]["queries"]["A"], 0);
    assert_eq!(json["queries"]["A"], 1);
    assert_eq!(json["responses"]["REFUSED"], 1);
    assert!(json["age_seconds"].as_i64().unwrap() < 60);
    let diversity = &json["diversity"];
    let families = ["ipv4", "ipv6", "overlay"].map(|family| diversity[family].as_u64().unwrap());
    assert_eq!(families.iter().sum::<u64>(), 61);
    assert!(diversity["netgroups"].as_u64().unwrap() > 1);
    assert_eq!(json["alerts"], serde_json::json!([]));
    let page = get(bench.http, "/").await;
    assert!(
        page.starts_with("HTTP/1.1 200")
            && page.contains("content-security-policy: default-src 'none'")
    );
    assert!(
        page.contains("seed2.quantumcoin.network.") && page.contains("All is well"),
        "{page}"
    );
    assert!(
        !page.contains("<script") && !page.contains("style="),
        "{page}"
    );
    assert!(
        get(bench.http, "/health/ready")
            .await
            .starts_with("HTTP/1.1 200")
    );
    let metrics = get(bench.http, "/metrics").await;
    let line = "qtc_seeder_queries_total{transport=\"udp\",type=\"A\",zone=\"seed1.quantumcoin.network.\"} 1";
    assert!(metrics.contains(line), "{metrics}");
    assert!(metrics.contains("qtc_seeder_good_peers 61"));
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_busy_port_is_told_in_words_for_either_protocol() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("none.sqlite");
    let tcp = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let udp = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    for (addr, protocol) in [
        (tcp.local_addr().unwrap(), "TCP"),
        (udp.local_addr().unwrap(), "UDP"),
    ] {
        let error = Seeder::bind(config(&path, &[&addr.to_string()]))
            .await
            .unwrap_err();
        assert!(matches!(error, SeederError::Bind(_)));
        let words = error.to_string();
        assert!(
            words.contains(&format!("the DNS server can't listen on {protocol} {addr}")),
            "{words}"
        );
        assert!(
            words.contains("in use") && words.contains("ss -lntup"),
            "{words}"
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_store_names_still_exist_and_answers_are_empty() {
    let dir = tempfile::tempdir().unwrap();
    let seeder = Seeder::bind(config(&dir.path().join("later.sqlite"), &["127.0.0.1:0"]))
        .await
        .unwrap();
    let (dns, stop) = (
        seeder.dns_addr(),
        tokio_util::sync::CancellationToken::new(),
    );
    let task = tokio::spawn(seeder.run(stop.clone()));
    let answer = ask_udp(dns, &query(APEX, RecordType::A)).await;
    assert_eq!(answer.metadata.response_code, ResponseCode::NoError);
    assert!(answer.answers.is_empty());
    assert_eq!(answer.authorities[0].name.to_ascii(), APEX);
    stop.cancel();
    timeout(PATIENCE, task).await.unwrap().unwrap().unwrap();
}

/// The answer to a whole query does not wait for the rest of the next.
#[tokio::test(flavor = "multi_thread")]
async fn a_query_in_part_holds_up_no_answer() {
    let bench = bench().await;
    let mut stream = TcpStream::connect(bench.dns).await.unwrap();
    let packet = query(APEX, RecordType::SOA);
    let length = u16::try_from(packet.len()).unwrap().to_be_bytes();
    let (first, rest) = packet.split_at(5);
    stream
        .write_all(&[&length, packet.as_slice(), &length, first].concat())
        .await
        .unwrap();
    assert_eq!(receive_tcp(&mut stream).await.answers.len(), 1);
    stream.write_all(rest).await.unwrap();
    assert_eq!(receive_tcp(&mut stream).await.answers.len(), 1);
    bench.finish().await;
}

/// Nobody listens where the peers of the test's crawl are said to be.
#[tokio::test(flavor = "multi_thread")]
async fn a_seeder_that_serves_dead_peers_finds_out_by_itself() {
    let bench = bench_on(&["127.0.0.1:0"]).await;
    let end = tokio::time::Instant::now() + PATIENCE;
    let health = loop {
        let health = get(bench.http, "/health/ready").await;
        if health.contains("served peers that were dialled 0 answered") {
            break health;
        }
        assert!(tokio::time::Instant::now() < end, "{health}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert!(
        !health.contains("over UDP") && !health.contains("over TCP"),
        "{health}"
    );
    let metrics = get(bench.http, "/metrics").await;
    for line in [
        "qtc_seeder_audit_ways 2",
        "qtc_seeder_audit_failed_ways 0",
        "qtc_seeder_audit_answered_peers 0",
        "qtc_seeder_audit_answered_ratio 0",
    ] {
        assert!(
            metrics.contains(&format!("\n{line}\n")),
            "{line} in {metrics}"
        );
    }
    bench.finish().await;
}
