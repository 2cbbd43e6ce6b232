//! DNS over TLS, as clients that we did not write see it: `kdig` (Knot), `dig` (BIND) and `openssl s_client`. Each test
//! prints a reason and passes when its tool is missing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test's helpers fail as the test does"
)]

mod bench;
mod clients;
mod program;
#[path = "../support/mod.rs"]
mod support;

use std::{
    io::{Read, Write},
    net::SocketAddr,
    sync::{
        Arc,
        mpsc::{self, RecvTimeoutError},
    },
    time::{Duration, Instant},
};

use bench::{APEX, HOST, issue, options, secure, secure_until};
use clients::{Tunnel, ask, count, has_kdig, has_openssl, kdig, query, run, s_client};
use hickory_proto::rr::RecordType;
use quantumcoin_seeder::{SeederConfig, tls::TlsOptions};
use rustls::{
    ClientConfig, HandshakeKind, NamedGroup, RootCertStore,
    crypto::aws_lc_rs::default_provider,
    pki_types::{CertificateDer, ServerName, pem::PemObject},
};
use support::{PATIENCE, bench_with, get, has};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::TlsConnector;

#[tokio::test(flavor = "multi_thread")]
async fn kdig_gets_answers_and_denials_signed() {
    if !has_kdig() {
        return;
    }
    let secure = secure().await;
    let a = kdig(secure.tls, &format!("{APEX} A +tls")).await;
    assert!(
        a.contains("TLS session (TLS1.3)") && a.contains("status: NOERROR"),
        "{a}"
    );
    assert_eq!(count(&a, "A"), 24, "{a}");
    let signed = kdig(secure.tls, &format!("{APEX} AAAA +tls +dnssec")).await;
    assert_eq!(
        (count(&signed, "AAAA"), count(&signed, "RRSIG")),
        (24, 1),
        "{signed}"
    );
    let no_name = kdig(secure.tls, &format!("nope.{APEX} A +tls +dnssec")).await;
    assert!(no_name.contains("status: NXDOMAIN"), "{no_name}");
    assert_eq!(count(&no_name, "SOA"), 1, "{no_name}");
    assert!(
        count(&no_name, "NSEC") >= 1 && count(&no_name, "RRSIG") >= 2,
        "{no_name}"
    );
    let no_data = kdig(secure.tls, &format!("{APEX} MX +tls")).await;
    assert!(
        no_data.contains("status: NOERROR") && count(&no_data, "SOA") == 1,
        "{no_data}"
    );
    let refused = kdig(secure.tls, "example.org A +tls").await;
    assert!(refused.contains("status: REFUSED"), "{refused}");
    // With the certificate as its own authority, and the name in it.
    let ca = secure.options.certificate.display();
    let strict = format!("{APEX} SOA +tls-ca={ca} +tls-hostname={HOST}");
    let strict = kdig(secure.tls, &strict).await;
    assert_eq!(count(&strict, "SOA"), 1, "{strict}");
    let metrics = get(secure.bench.http, "/metrics").await;
    let line =
        format!("qtc_seeder_queries_total{{transport=\"tls\",type=\"A\",zone=\"{APEX}.\"}} 2");
    assert!(metrics.contains(&line), "{metrics}");
    assert!(
        metrics.contains("qtc_seeder_tls_handshakes_total{result=\"done\"} 6"),
        "{metrics}"
    );
    assert!(
        metrics.contains("qtc_seeder_response_bytes_total{transport=\"tls\"}"),
        "{metrics}"
    );
    secure.bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn padding_shows_within_tls_alone() {
    if !has_kdig() {
        return;
    }
    let secure = secure().await;
    let received = |text: &str| -> usize {
        let (_, rest) = text.split_once(";; Received ").expect(text);
        rest.split(' ').next().unwrap().parse().unwrap()
    };
    for question in ["SOA", "A", "TXT +dnssec", "AAAA +dnssec", "MX +dnssec"] {
        let padded = kdig(secure.tls, &format!("{APEX} {question} +tls +padding=64")).await;
        assert!(padded.contains("PADDING: "), "{padded}");
        assert_eq!(received(&padded) % 468, 0, "{padded}");
        let unasked = kdig(secure.tls, &format!("{APEX} {question} +tls +nopadding")).await;
        assert!(!unasked.contains("PADDING: "), "{unasked}");
        for plain in ["+notcp", "+tcp"] {
            let plain = kdig(
                secure.bench.dns,
                &format!("{APEX} {question} {plain} +padding=64"),
            )
            .await;
            assert!(!plain.contains("PADDING: "), "{plain}");
        }
    }
    secure.bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn dig_is_told_how_long_a_connection_may_be_idle() {
    if !has("dig", "bind9-dnsutils") {
        return;
    }
    let secure = secure().await;
    let told = "; TCP KEEPALIVE: 10.0 secs";
    for (server, transport, tells) in [
        (secure.tls, "+tls", true),
        (secure.bench.dns, "+tcp", true),
        (secure.bench.dns, "+notcp", false),
    ] {
        let question = format!("{APEX} A +keepalive {transport}");
        if transport == "+tls" {
            let (_, help) = run("dig", &["-h".to_owned()]).await;
            if !help.contains("+[no]tls ") {
                eprintln!("skipped: this dig has no +tls (BIND 9.18 has)");
                continue;
            }
        }
        let text = ask("dig", server, &question).await;
        assert_eq!(count(&text, "A"), 24, "{text}");
        assert_eq!(text.contains(told), tells, "{text}");
    }
    secure.bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn openssl_agrees_on_version_and_protocol() {
    if !has_openssl() {
        return;
    }
    let secure = secure().await;
    let (_, dot) = s_client(secure.tls, "-alpn dot").await;
    assert!(
        dot.contains("ALPN protocol: dot") && dot.contains("TLSv1.3"),
        "{dot}"
    );
    let (good, silent) = s_client(secure.tls, "").await;
    assert!(
        good && silent.contains("No ALPN negotiated"),
        "RFC 7858 is older: {silent}"
    );
    let (good, other) = s_client(secure.tls, "-alpn h2").await;
    assert!(
        !good && other.contains("no application protocol"),
        "{other}"
    );
    let (good, old) = s_client(secure.tls, "-tls1_2").await;
    assert!(!good && old.contains("alert"), "{old}");
    let (good, classical) = s_client(secure.tls, "-groups X25519").await;
    assert!(good && classical.contains("X25519"), "{classical}");
    secure.bench.finish().await;
}

/// The openssl of these days may be too old for it, rustls is not.
#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_prefers_the_hybrid_key_exchange_gets_it_and_may_resume() {
    let secure = secure().await;
    let mut roots = RootCertStore::empty();
    let certificate = CertificateDer::from_pem_file(&secure.options.certificate).unwrap();
    roots.add(certificate).unwrap();
    let mut config = ClientConfig::builder_with_provider(Arc::new(default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    config.alpn_protocols = vec![b"dot".to_vec()];
    let connector = TlsConnector::from(Arc::new(config));
    for kind in [HandshakeKind::Full, HandshakeKind::Resumed] {
        let stream = TcpStream::connect(secure.tls).await.unwrap();
        let host = ServerName::try_from(HOST).unwrap();
        let mut stream = connector.connect(host, stream).await.unwrap();
        stream
            .write_all(&query(APEX, RecordType::SOA, 1))
            .await
            .unwrap();
        let length = timeout(PATIENCE, stream.read_u16()).await.unwrap().unwrap();
        stream
            .read_exact(&mut vec![0; length.into()])
            .await
            .unwrap();
        let (_, session) = stream.get_ref();
        let group = session.negotiated_key_exchange_group().unwrap();
        assert_eq!(group.name(), NamedGroup::X25519MLKEM768);
        assert_eq!(session.handshake_kind(), Some(kind));
    }
    secure.bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_in_a_row_are_answered_in_a_row() {
    if !has_openssl() {
        return;
    }
    let secure = secure().await;
    let server = secure.tls;
    let conversation = tokio::task::spawn_blocking(move || {
        let mut tunnel = Tunnel::open(server);
        let all: Vec<u8> = (0..200)
            .flat_map(|id| query(APEX, RecordType::AAAA, id))
            .collect();
        tunnel.to.write_all(&all).unwrap();
        tunnel.to.flush().unwrap();
        for id in 0..200 {
            let answer = tunnel.receive();
            assert_eq!((answer.metadata.id, answer.answers.len()), (id, 24));
        }
    });
    timeout(PATIENCE, conversation).await.unwrap().unwrap();
    secure.bench.finish().await;
}

/// Bytes that come until the server closes.
async fn until_closed(stream: &mut TcpStream) -> Vec<u8> {
    let mut bytes = Vec::new();
    let closed = timeout(PATIENCE, stream.read_to_end(&mut bytes)).await;
    // An end by force is one as well.
    let _ = closed.expect("the server closes");
    bytes
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_says_nothing_is_shown_out() {
    let secure = secure().await;
    let began = Instant::now();
    let mut silent = TcpStream::connect(secure.tls).await.unwrap();
    let mut slow = TcpStream::connect(secure.tls).await.unwrap();
    // The first bytes of a ClientHello of 512 bytes.
    slow.write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3])
        .await
        .unwrap();
    assert!(until_closed(&mut silent).await.is_empty());
    assert!(until_closed(&mut slow).await.is_empty());
    assert!(
        began.elapsed() >= Duration::from_secs(4),
        "a handshake may take a while"
    );
    if has_openssl() {
        let server = secure.tls;
        let idle = tokio::task::spawn_blocking(move || {
            let mut tunnel = Tunnel::open(server);
            tunnel.ask();
            let mut rest = Vec::new();
            tunnel.from.read_to_end(&mut rest).unwrap();
            assert!(
                tunnel.process.wait().unwrap().success(),
                "a farewell, no broken line"
            );
            assert!(rest.is_empty());
        });
        timeout(PATIENCE, idle).await.unwrap().unwrap();
    }
    let metrics = get(secure.bench.http, "/metrics").await;
    assert!(
        metrics.contains("qtc_seeder_tls_handshakes_total{result=\"late\"} 2"),
        "{metrics}"
    );
    secure.bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn junk_ends_its_own_connection_only() {
    if !has_openssl() {
        return;
    }
    let secure = secure().await;
    let server = secure.tls;
    let mut tunnel = tokio::task::spawn_blocking(move || {
        let mut tunnel = Tunnel::open(server);
        tunnel.ask();
        tunnel
    })
    .await
    .unwrap();
    let plain_dns = query(APEX, RecordType::A, 7);
    for junk in [
        b"GET / HTTP/1.1\r\n\r\n".as_slice(),
        &plain_dns,
        &[0; 600],
        &[22, 3, 1, 0, 4, 1, 0, 0, 0],
    ] {
        let mut stream = TcpStream::connect(secure.tls).await.unwrap();
        stream.write_all(junk).await.unwrap();
        let said = until_closed(&mut stream).await;
        // At most an alert: a record of type 21.
        assert!(
            said.is_empty() || (said[0] == 21 && said.len() == 7),
            "{said:?}"
        );
    }
    tokio::task::spawn_blocking(move || tunnel.ask())
        .await
        .unwrap();
    let metrics = get(secure.bench.http, "/metrics").await;
    assert!(
        metrics.contains("qtc_seeder_tls_handshakes_total{result=\"failed\"} 4"),
        "{metrics}"
    );
    secure.bench.finish().await;
}

/// From 150 networks, half of them with the beginning of a handshake.
#[cfg(target_os = "linux")]
#[tokio::test(flavor = "multi_thread")]
async fn a_crowd_that_never_shakes_hands_keeps_nobody_out() {
    if !has_openssl() {
        return;
    }
    let secure = secure().await;
    let server = secure.tls;
    let mut early = tokio::task::spawn_blocking(move || {
        let mut tunnel = Tunnel::open(server);
        tunnel.ask();
        tunnel
    })
    .await
    .unwrap();
    let mut crowd = Vec::new();
    for n in 0..600_u32 {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        let network = u8::try_from(1 + n % 150).unwrap();
        socket
            .bind(SocketAddr::from(([127, 0, network, 1], 0)))
            .unwrap();
        let mut stream = socket.connect(server).await.unwrap();
        if n % 2 == 0 {
            stream
                .write_all(&[22, 3, 1, 2, 0, 1, 0, 1, 252, 3, 3])
                .await
                .unwrap();
        }
        crowd.push(stream);
    }
    let (ended, late) = mpsc::channel();
    std::thread::spawn(move || {
        Tunnel::open(server).ask();
        let _ = ended.send(());
    });
    let asking = tokio::task::spawn_blocking(move || {
        early.ask();
        // A busy machine may take long to start a program, and whoever only waits is shown out meanwhile.
        let outcome = loop {
            match late.recv_timeout(Duration::from_secs(1)) {
                Err(RecvTimeoutError::Timeout) => early.ask(),
                outcome => break outcome,
            }
        };
        early.ask();
        outcome
    });
    let late = timeout(PATIENCE, asking).await.unwrap().unwrap();
    late.expect("who comes late is answered too");
    let metrics = get(secure.bench.http, "/metrics").await;
    let counted = |name: &str| -> u64 {
        let line = metrics.lines().find_map(|line| line.strip_prefix(name));
        line.expect(name).trim().parse().unwrap()
    };
    let ended = counted("qtc_seeder_tcp_evicted_total")
        + counted("qtc_seeder_tls_handshakes_total{result=\"late\"}");
    assert!(ended >= 600 - 256, "no more may run at once: {ended}");
    drop(crowd);
    secure.bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expired_certificate_is_told_and_still_better_than_none() {
    let secure = secure_until(2021).await;
    let health = get(secure.bench.http, "/health/ready").await;
    assert!(
        health.starts_with("HTTP/1.1 200") && health.contains("degraded"),
        "{health}"
    );
    assert!(
        health.contains("the certificate has expired on 2021-01-01"),
        "{health}"
    );
    let metrics = get(secure.bench.http, "/metrics").await;
    let expires = "qtc_seeder_tls_certificate_expires_seconds 1609459200";
    assert!(metrics.contains(expires), "{metrics}");
    if has_kdig() {
        let soa = kdig(secure.tls, &format!("{APEX} SOA +tls")).await;
        assert_eq!(count(&soa, "SOA"), 1, "{soa}");
    }
    secure.bench.finish().await;
}

/// Its sockets come at a restart, but what would then fail is told now.
#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_is_new_is_looked_at_when_it_is_read() {
    let bench = bench_with(&["127.0.0.1:0"], |_| {}).await;
    let dir = tempfile::TempDir::new().unwrap();
    let options = options(dir.path());
    let reload = async |options: &TlsOptions| {
        let config = SeederConfig {
            tls: Some(options.clone()),
            ..bench.config.clone()
        };
        bench.control.reload(&config).await
    };
    let error = reload(&options).await.unwrap_err().to_string();
    assert!(
        error.starts_with("the certificate of [tls]") && error.contains("can't be read"),
        "{error}"
    );
    issue(&options, "first", 2400);
    reload(&options).await.unwrap();
    let nowhere = TlsOptions {
        listen: Vec::new(),
        ..options
    };
    let error = reload(&nowhere).await.unwrap_err().to_string();
    assert!(error.starts_with("listen in [tls] is empty"), "{error}");
    bench.finish().await;
}
