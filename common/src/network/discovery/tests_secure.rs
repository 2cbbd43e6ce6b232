//! Whole rounds over TLS and HTTPS and with signed zones, against hickory's server on loopback: its zones, its signing and
//! its TLS, and certificates made anew for each test.

use std::collections::BTreeMap;
use std::io::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hickory_resolver::proto::rr::{Record, RecordType, RrKey};
use tokio::net::{TcpListener, TcpStream};

use super::asking::SEED_TIMEOUT;
use super::tests_server::{Served, address, key, name, run, seeds, signed_zone, socket, zone};
use super::*;

/// When the first good addresses must be there.
const EARLY: Duration = Duration::from_secs(3);

fn trust(dnssec: Dnssec, anchor: &str) -> DnsTrust {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(anchor.as_bytes()).unwrap();
    DnsTrust::new(dnssec).with_anchors(file.path()).unwrap()
}

/// A round; how long it took until the first address, and in all.
async fn round(
    trust: &DnsTrust,
    providers: &[Provider],
    seeds: &[&str],
) -> (Found, Option<Duration>, Duration) {
    let discovery = Discovery::with_trust(&ChainSpec::devnet(), providers, trust).unwrap();
    let seeds: Vec<_> = seeds.iter().map(|seed| (*seed).to_owned()).collect();
    let (early, mut heard) = mpsc::channel(64);
    let start = Instant::now();
    let ask = async move { discovery.run(&seeds, Some(&early)).await };
    let first = async {
        let first = heard.recv().await.map(|_| start.elapsed());
        while heard.recv().await.is_some() {}
        first
    };
    let (found, first) = tokio::join!(ask, first);
    (found, first, start.elapsed())
}

fn addrs(found: &Found) -> BTreeSet<SocketAddr> {
    found.candidates.iter().map(|c| c.addr).collect()
}

/// The addresses of `good.seeds`: its own, and its peer's by SRV.
fn good() -> BTreeSet<SocketAddr> {
    BTreeSet::from([socket(1), ([20, 2, 0, 1], 9_000).into()])
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resolver_is_asked_over_tls_and_https() {
    let server = run(Served::new(zone("seeds.", &seeds()))).await;
    let trust = DnsTrust::default()
        .with_authorities(server.authority.path())
        .unwrap();
    for provider in [&server.tls, &server.https] {
        let (found, first, _) =
            round(&trust, std::slice::from_ref(provider), &["good.seeds"]).await;
        assert_eq!(addrs(&found), good(), "{:?}", found.seeds);
        assert_eq!(found.seeds[0].answered, 4);
        assert_eq!(found.seeds[0].provider, provider.to_string());
        assert!(first.unwrap() <= EARLY, "{provider}: after {first:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_can_not_prove_his_name_is_asked_nothing() {
    let server = run(Served::new(zone("seeds.", &seeds()))).await;
    let trusted = DnsTrust::default()
        .with_authorities(server.authority.path())
        .unwrap();
    let (
        Provider::Tls { addr: tls, .. },
        Provider::Https {
            addr: https, path, ..
        },
    ) = (server.tls.clone(), server.https.clone())
    else {
        panic!("as made above");
    };
    let other = || Some(Arc::from("other.test"));
    let misnamed = [
        Provider::Tls {
            addr: tls,
            name: other(),
        },
        Provider::Tls {
            addr: tls,
            name: None,
        },
        Provider::Https {
            addr: https,
            name: other(),
            path,
        },
    ];
    let unknown = [server.tls.clone(), server.https.clone()];
    for (trust, providers) in [
        (&trusted, &misnamed[..]),
        (&DnsTrust::default(), &unknown[..]),
    ] {
        let (found, _, took) = round(trust, providers, &["good.seeds"]).await;
        assert!(took < SEED_TIMEOUT, "after {took:?}");
        assert!(found.candidates.is_empty());
        for report in &found.seeds {
            let error = report.error.as_deref().unwrap();
            assert!(error.contains("certificate"), "{error}");
        }
    }
    assert_eq!(server.questions.load(Ordering::Relaxed), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_firewall_that_swallows_tls_holds_nothing_up() {
    let good_server = run(Served::new(zone("seeds.", &seeds()))).await;
    // It takes connections and says nothing; the other is not there at all.
    let swallows = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = swallows.local_addr().unwrap();
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let gone = nobody.local_addr().unwrap();
    drop(nobody);
    let path: Arc<str> = "/dns-query".into();
    let providers = [
        Provider::Tls { addr, name: None },
        Provider::Https {
            addr,
            name: None,
            path,
        },
        Provider::Tls {
            addr: gone,
            name: None,
        },
        good_server.udp.clone(),
    ];
    let seeds = ["good.seeds", "plain.seeds"];
    let (found, first, took) = round(&DnsTrust::default(), &providers, &seeds).await;
    assert!(first.unwrap() <= EARLY, "after {first:?}");
    assert!(took <= SEED_TIMEOUT + EARLY, "after {took:?}");
    assert!(good().is_subset(&addrs(&found)));
    let silent = found.seeds.iter().filter(|report| report.answered == 0);
    assert_eq!(silent.count(), 6, "{:?}", found.seeds);
    drop(swallows);
}

/// Hands bytes on between clients and `to`, and counts the clients.
async fn counted(to: SocketAddr) -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap();
    let count = Arc::new(AtomicUsize::new(0));
    let counter = Arc::clone(&count);
    tokio::spawn(async move {
        while let Ok((mut client, _)) = listener.accept().await {
            counter.fetch_add(1, Ordering::Relaxed);
            tokio::spawn(async move {
                let mut server = TcpStream::connect(to).await.unwrap();
                // Either side may close as it likes.
                let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
            });
        }
    });
    (addr, count)
}

#[tokio::test(flavor = "multi_thread")]
async fn all_questions_of_a_round_share_one_connection() {
    let (served, line) = Served::signed();
    let server = run(served).await;
    let trust = trust(Dnssec::Signed, &line)
        .with_authorities(server.authority.path())
        .unwrap();
    let seeds = ["good.seeds", "plain.seeds", "alias.seeds", "none.seeds"];
    for provider in [server.tls.clone(), server.https.clone()] {
        let (provider, connections) = match provider {
            Provider::Tls { addr, name } => {
                let (addr, count) = counted(addr).await;
                (Provider::Tls { addr, name }, count)
            }
            Provider::Https { addr, name, path } => {
                let (addr, count) = counted(addr).await;
                (Provider::Https { addr, name, path }, count)
            }
            other => panic!("{other} is not encrypted"),
        };
        let (found, ..) = round(&trust, &[provider], &seeds).await;
        assert!(good().is_subset(&addrs(&found)), "{:?}", found.seeds);
        assert_eq!(connections.load(Ordering::Relaxed), 1);
    }
}

fn states(found: &Found) -> BTreeMap<&str, Option<Validation>> {
    let state = |report: &'_ SeedReport| report.validation;
    found
        .seeds
        .iter()
        .map(|report| (report.seed.as_str(), state(report)))
        .collect()
}

/// That there is no such name is proven in `labs/dns`, by BIND: where several labels are missing, hickory's server denies
/// another wildcard than the one that would apply.
const ALL: [&str; 3] = ["good.seeds", "alias.seeds", "plain.seeds"];

#[tokio::test(flavor = "multi_thread")]
async fn a_signed_zone_is_proven_and_an_unsigned_one_taken_unless_forbidden() {
    use Validation::{Insecure, Secure};
    let (served, line) = Served::signed();
    let server = run(served).await;
    let providers = [server.udp.clone()];
    let expected = BTreeMap::from([
        ("alias.seeds", Some(Secure)),
        ("good.seeds", Some(Secure)),
        ("plain.seeds", Some(Insecure)),
    ]);

    let (found, first, _) = round(&trust(Dnssec::Signed, &line), &providers, &ALL).await;
    assert_eq!(states(&found), expected, "{:?}", found.seeds);
    let mut all = good();
    all.insert(socket(3));
    assert_eq!(addrs(&found), all);
    assert!(first.unwrap() <= EARLY, "after {first:?}");
    let last = found.candidates.last().unwrap();
    assert_eq!(last.addr, socket(3), "what is not signed comes last");
    let reports: BTreeMap<_, _> = found.seeds.iter().map(|r| (r.seed.as_str(), r)).collect();
    assert_eq!(reports["good.seeds"].answered, 4);

    let (found, ..) = round(&trust(Dnssec::Require, &line), &providers, &ALL).await;
    assert_eq!(states(&found), expected);
    assert_eq!(addrs(&found), good());
    let plain = found
        .seeds
        .iter()
        .find(|r| r.seed == "plain.seeds")
        .unwrap();
    let error = plain.error.as_deref().unwrap();
    assert!(error.contains("not signed"), "{error}");

    let (found, ..) = round(&trust(Dnssec::Off, &line), &providers, &ALL).await;
    assert_eq!(addrs(&found), all);
    let unjudged = |state: &Option<Validation>| *state == Some(Validation::Indeterminate);
    assert!(states(&found).values().all(unjudged));
}

/// `good.seeds` with another address than the one that was signed.
fn tampered() -> (Served, String) {
    let (mut zone, line) = signed_zone();
    let key = RrKey::new(name("good.seeds.").into(), RecordType::A);
    let set = zone.records_get_mut().get_mut(&key).unwrap();
    let forged = Record::from_rdata(name("good.seeds."), 60, address(66));
    Arc::make_mut(set).set_records(vec![forged]);
    (Served::new(zone), line)
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_changed_after_signing_is_dropped_and_told() {
    let (served, line) = tampered();
    let server = run(served).await;
    for dnssec in [Dnssec::Signed, Dnssec::Require] {
        let providers = [server.udp.clone()];
        let (found, ..) = round(&trust(dnssec, &line), &providers, &["good.seeds"]).await;
        let report = &found.seeds[0];
        assert_eq!(report.validation, Some(Validation::Bogus));
        let error = report.error.as_deref().unwrap();
        assert!(error.starts_with("bogus"), "{error}");
        assert_eq!(report.answered, 3, "the others are good");
        assert_eq!(
            addrs(&found),
            BTreeSet::from([([20, 2, 0, 1], 9_000).into()])
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn records_without_their_signatures_are_bogus_where_the_zone_has_keys() {
    let (mut zone, line) = signed_zone();
    let key = RrKey::new(name("good.seeds.").into(), RecordType::A);
    let set = zone.records_get_mut().get_mut(&key).unwrap();
    Arc::make_mut(set).clear_rrsigs();
    let server = run(Served::new(zone)).await;
    let providers = [server.udp.clone()];
    let (found, ..) = round(&trust(Dnssec::Signed, &line), &providers, &["good.seeds"]).await;
    assert_eq!(found.seeds[0].validation, Some(Validation::Bogus));
    assert!(!addrs(&found).contains(&socket(1)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resolver_that_hands_on_no_signatures_is_heard_unless_they_are_required() {
    let (_, line) = key("seeds.");
    let server = run(Served::new(zone("seeds.", &seeds()))).await;
    let providers = [server.udp.clone()];
    let (found, first, _) = round(&trust(Dnssec::Signed, &line), &providers, &ALL).await;
    let unjudged = |state: &Option<Validation>| *state == Some(Validation::Indeterminate);
    assert!(states(&found).values().all(unjudged), "{:?}", found.seeds);
    assert!(good().is_subset(&addrs(&found)));
    assert!(first.unwrap() <= EARLY, "after {first:?}");

    let (found, ..) = round(&trust(Dnssec::Require, &line), &providers, &ALL).await;
    assert!(found.candidates.is_empty());
    let error = found.seeds[0].error.as_deref().unwrap();
    assert!(error.contains("hands on no signatures"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn names_under_no_trust_anchor_can_not_be_judged() {
    let (served, _) = Served::signed();
    let server = run(served).await;
    let (_, elsewhere) = key("elsewhere.");
    let providers = [server.udp.clone()];
    let (found, ..) = round(
        &trust(Dnssec::Signed, &elsewhere),
        &providers,
        &["good.seeds"],
    )
    .await;
    assert_eq!(found.seeds[0].validation, Some(Validation::Indeterminate));
    assert_eq!(addrs(&found), good());
    let (found, ..) = round(
        &trust(Dnssec::Require, &elsewhere),
        &providers,
        &["good.seeds"],
    )
    .await;
    assert!(found.candidates.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn resolvers_that_lie_alike_do_not_outvote_what_the_zone_signed() {
    let (served, line) = Served::signed();
    let honest = run(served).await;
    let lie = || {
        zone(
            "seeds.",
            &[("good.seeds.", address(66)), ("good.seeds.", address(67))],
        )
    };
    let liars = [
        run(Served::new(lie())).await,
        run(Served::new(lie())).await,
        run(Served::new(lie())).await,
    ];
    let mut providers: Vec<_> = liars.iter().map(|liar| liar.udp.clone()).collect();
    providers.push(honest.udp.clone());
    let (found, ..) = round(&trust(Dnssec::Signed, &line), &providers, &["good.seeds"]).await;
    let first: BTreeSet<_> = found.candidates[..2].iter().map(|c| c.addr).collect();
    assert_eq!(first, good(), "what is signed comes first");
    let signed = found.seeds.last().unwrap();
    assert_eq!(signed.validation, Some(Validation::Secure));
    assert!(!signed.standing.is_suspect(), "{signed:?}");
    let (found, ..) = round(&trust(Dnssec::Require, &line), &providers, &["good.seeds"]).await;
    assert_eq!(addrs(&found), good(), "and when it is required, alone");
}
