//! Whole rounds, against DNS servers on loopback that answer, refuse, lie, hang and send junk.

use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use data_encoding::BASE64URL_NOPAD;
use hickory_resolver::proto::op::{Message, OpCode, Query, ResponseCode};
use hickory_resolver::proto::rr::rdata::{A, SRV, TXT};
use hickory_resolver::proto::rr::{Name, RData, Record, RecordType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UdpSocket};

use super::asking::SEED_TIMEOUT;
use super::*;

/// When a round must be over, with room for a busy machine.
const BOUND: Duration = SEED_TIMEOUT.saturating_add(Duration::from_secs(3));

/// When the first good addresses must be there.
const EARLY: Duration = Duration::from_secs(3);

/// What a server does with a question.
enum Says {
    /// Answers; there is nothing when the list is empty.
    Records(Vec<RData>),
    /// Answers with an error.
    Code(ResponseCode),
    /// That the answer does not fit.
    Truncated,
    /// Nothing.
    Nothing,
    /// The question's id, and then what is no DNS.
    Junk,
    /// What is no answer to this question, some of it with poison, and then the answer.
    Noise(Vec<RData>),
}

fn addresses(list: impl IntoIterator<Item = [u8; 4]>) -> Vec<RData> {
    let ips = list.into_iter().map(Ipv4Addr::from);
    ips.map(|ip| RData::A(A(ip))).collect()
}

fn socket(ip: [u8; 4]) -> SocketAddr {
    (ip, ChainSpec::devnet().network_protocol.default_port).into()
}

/// Datagrams in answer to `query`. Names are given to `says` in lower case, whole, with the last dot.
fn datagrams(query: &[u8], says: &impl Fn(&str, RecordType) -> Says) -> Vec<Vec<u8>> {
    let Ok(query) = Message::from_vec(query) else {
        return Vec::new();
    };
    let Some(question) = query.queries.first().cloned() else {
        return Vec::new();
    };
    let id = query.metadata.id;
    let mut before = Vec::new();
    let mut reply = Message::response(id, query.metadata.op_code);
    let name = question.name().to_ascii().to_lowercase();
    let records = match says(&name, question.query_type()) {
        Says::Records(records) => records,
        Says::Noise(records) => {
            before = noise(id, &question);
            records
        }
        Says::Code(code) => {
            reply.metadata.response_code = code;
            Vec::new()
        }
        Says::Truncated => {
            reply.metadata.truncation = true;
            Vec::new()
        }
        Says::Nothing => return Vec::new(),
        Says::Junk => return vec![[&id.to_be_bytes()[..], &[0xff; 60]].concat()],
    };
    for data in records {
        reply.add_answer(Record::from_rdata(question.name().clone(), 60, data));
    }
    reply.add_query(question);
    before.push(reply.to_vec().unwrap());
    before
}

fn noise(id: u16, question: &Query) -> Vec<Vec<u8>> {
    let poisoned = |id, name: Name| {
        let mut forged = Message::response(id, OpCode::Query);
        let poison = RData::A(A(Ipv4Addr::new(66, 66, 66, 66)));
        forged.add_answer(Record::from_rdata(name.clone(), 60, poison));
        forged.add_query(Query::query(name, question.query_type()));
        forged.to_vec().unwrap()
    };
    vec![
        Vec::new(),
        vec![7],
        [&(!id).to_be_bytes()[..], &[0xff; 400]].concat(),
        poisoned(!id, question.name().clone()),
        poisoned(id, Name::from_ascii("other.test.").unwrap()),
    ]
}

/// Answers over UDP until the test ends.
async fn serve(
    socket: UdpSocket,
    says: impl Fn(&str, RecordType) -> Says + Send + 'static,
) -> Provider {
    let addr = socket.local_addr().unwrap();
    tokio::spawn(async move {
        let mut buffer = [0; 4_096];
        while let Ok((length, client)) = socket.recv_from(&mut buffer).await {
            let replies = datagrams(&buffer[..length], &says);
            for reply in replies {
                // A client that has its answer is gone.
                let _ = socket.send_to(&reply, client).await;
            }
        }
    });
    Provider::Server(addr)
}

async fn udp(says: impl Fn(&str, RecordType) -> Says + Send + 'static) -> Provider {
    serve(UdpSocket::bind("127.0.0.1:0").await.unwrap(), says).await
}

/// Answers over UDP and, on the same port, over TCP.
async fn udp_and_tcp(
    by_udp: fn(&str, RecordType) -> Says,
    by_tcp: fn(&str, RecordType) -> Says,
) -> Provider {
    let (socket, listener) = loop {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        // The port may be taken by another test's TCP.
        if let Ok(listener) = TcpListener::bind(socket.local_addr().unwrap()).await {
            break (socket, listener);
        }
    };
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(converse(stream, by_tcp));
        }
    });
    serve(socket, by_udp).await
}

async fn converse(mut stream: TcpStream, says: fn(&str, RecordType) -> Says) {
    while let Ok(length) = stream.read_u16().await {
        let mut query = vec![0; length.into()];
        if stream.read_exact(&mut query).await.is_err() {
            return;
        }
        for reply in datagrams(&query, &says) {
            let length = u16::try_from(reply.len()).unwrap();
            let framed = [&length.to_be_bytes()[..], &reply].concat();
            if stream.write_all(&framed).await.is_err() {
                return;
            }
        }
    }
}

/// A round, with what was told early: each batch and when it came.
async fn round(
    providers: &[Provider],
    seeds: &[&str],
) -> (Found, Vec<(Duration, Vec<Candidate>)>, Duration) {
    let discovery = Discovery::new(&ChainSpec::devnet(), providers).unwrap();
    let seeds: Vec<_> = seeds.iter().map(|seed| (*seed).to_owned()).collect();
    let (early, mut heard) = mpsc::channel(16);
    let start = Instant::now();
    let listen = async {
        let mut batches = Vec::new();
        while let Some(batch) = heard.recv().await {
            batches.push((start.elapsed(), batch));
        }
        batches
    };
    let ask = async move { discovery.run(&seeds, Some(&early)).await };
    let (found, batches) = tokio::join!(ask, listen);
    (found, batches, start.elapsed())
}

fn addrs<'a>(candidates: impl IntoIterator<Item = &'a Candidate>) -> BTreeSet<SocketAddr> {
    candidates.into_iter().map(|c| c.addr).collect()
}

/// One seed that works; of the others one is gone, one refuses, one says nothing.
const SEEDS: [&str; 4] = ["good.test", "gone.test", "refused.test", "hung.test"];

fn honest(known: &'static [[u8; 4]]) -> impl Fn(&str, RecordType) -> Says {
    move |name: &str, rtype: RecordType| match (name, rtype) {
        ("good.test.", RecordType::A) => Says::Records(addresses(known.iter().copied())),
        (name, _) if name.ends_with("good.test.") => Says::Records(Vec::new()),
        (name, _) if name.ends_with("gone.test.") => Says::Code(ResponseCode::NXDomain),
        (name, _) if name.ends_with("refused.test.") => Says::Code(ResponseCode::Refused),
        _ => Says::Nothing,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dead_seeds_a_liar_and_hung_resolvers_delay_nothing() {
    static ONE: [[u8; 4]; 4] = [[20, 1, 0, 1], [20, 2, 0, 1], [20, 3, 0, 1], [20, 4, 0, 1]];
    static OTHER: [[u8; 4]; 4] = [[20, 2, 0, 1], [20, 3, 0, 1], [20, 4, 0, 1], [20, 5, 0, 1]];
    let lies = (1..50).map(|n| [66, n, 0, 1]);
    let good: BTreeSet<_> = ONE.iter().chain(&OTHER).map(|ip| socket(*ip)).collect();
    let nobody = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let nobody_there = Provider::Server(nobody.local_addr().unwrap());
    drop(nobody);
    let (one, other) = (udp(honest(&ONE)).await, udp(honest(&OTHER)).await);
    let liar = udp(move |_: &str, rtype: RecordType| match rtype {
        RecordType::A => Says::Records(addresses(lies.clone())),
        _ => Says::Records(Vec::new()),
    })
    .await;
    let hung = udp(|_: &str, _: RecordType| Says::Nothing).await;
    let providers = [
        hung.clone(),
        nobody_there.clone(),
        liar.clone(),
        one.clone(),
        other.clone(),
    ];

    let (found, batches, took) = round(&providers, &SEEDS).await;

    let early = batches.iter().find(|(_, batch)| {
        let batch = addrs(batch);
        !batch.is_disjoint(&good)
    });
    let early = early.expect("good addresses are told early").0;
    assert!(early <= EARLY, "after {early:?}");
    assert!(took <= BOUND, "after {took:?}");
    let all = addrs(&found.candidates);
    assert!(good.is_subset(&all), "{all:?}");
    assert_eq!(addrs(batches.iter().flat_map(|(_, batch)| batch)), all);
    let both = found.candidates[0].clone();
    assert_eq!((both.addr, both.named_by), (socket([20, 2, 0, 1]), 2));

    let reports: BTreeMap<_, _> = found
        .seeds
        .iter()
        .map(|report| ((report.seed.as_str(), report.provider.clone()), report))
        .collect();
    assert_eq!(reports.len(), SEEDS.len() * providers.len());
    let report = |seed, provider: &Provider| reports[&(seed, provider.to_string())];
    for silent in [&hung, &nobody_there] {
        for seed in SEEDS {
            let report = report(seed, silent);
            assert_eq!((report.answered, report.addresses), (0, 0), "{report:?}");
            assert_eq!(report.standing, Standing::Silent, "{report:?}");
            assert!(report.error.is_some(), "{report:?}");
        }
    }
    for seed in SEEDS {
        let report = report(seed, &liar);
        assert_eq!(report.addresses, MAX_PER_SEED, "{report:?}");
        assert_eq!(report.shared, 0, "{report:?}");
    }
    assert_eq!(report("good.test", &liar).standing, Standing::Alone);
    assert_eq!(report("gone.test", &liar).standing, Standing::Alone);
    assert_eq!(report("refused.test", &liar).standing, Standing::Unclear);
    for (honest, friend) in [(&one, &other), (&other, &one)] {
        let report_good = report("good.test", honest);
        assert_eq!(report_good.answered, 4);
        assert_eq!(report_good.standing, Standing::Agrees);
        assert_eq!(report_good.agrees_with, [friend.to_string()]);
        assert_eq!(report_good.shared, 3);
        assert_eq!(report_good.seed_standing, Standing::Unclear);
        for dead in SEEDS.into_iter().skip(1) {
            let report = report(dead, honest);
            assert_eq!((report.answered, report.addresses), (0, 0), "{report:?}");
            assert!(report.error.is_some(), "{report:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_seed_that_names_too_many_is_cut_and_no_type_crowds_out_another() {
    let many = udp(|name: &str, rtype: RecordType| {
        let seed = if name.starts_with("one") { 21 } else { 22 };
        match rtype {
            RecordType::A => Says::Records(addresses((0..60).map(|n| [seed, n, 0, 1]))),
            RecordType::TXT => Says::Records(
                (0..8)
                    .map(|n| {
                        let id = BASE64URL_NOPAD.encode(&[n; 32]);
                        let text =
                            format!("v=qtc1 a={seed}.{}.0.1:9000 s=9 t=noise k={id}", 100 + n);
                        RData::TXT(TXT::new(vec![text]))
                    })
                    .collect(),
            ),
            _ => Says::Records(Vec::new()),
        }
    })
    .await;
    let (found, batches, _) = round(&[many.clone(), many], &["one.test", "two.test"]).await;
    assert_eq!(
        found.seeds.len(),
        2,
        "a provider that stands twice is asked once"
    );
    assert_eq!(found.candidates.len(), 2 * MAX_PER_SEED);
    assert_eq!(
        addrs(batches.iter().flat_map(|(_, batch)| batch)),
        addrs(&found.candidates)
    );
    for seed in ["one.test", "two.test"] {
        let of_seed: Vec<_> = found
            .candidates
            .iter()
            .filter(|c| *c.seed == *seed)
            .collect();
        assert_eq!(of_seed.len(), MAX_PER_SEED);
        let described = of_seed.iter().filter(|c| c.node_id.is_some()).count();
        assert_eq!(described, 8, "all that TXT tells");
    }
    assert!(batches.iter().all(|(_, batch)| !batch.is_empty()));
}

#[tokio::test(flavor = "multi_thread")]
async fn junk_is_no_answer() {
    let noisy = udp(|_: &str, rtype: RecordType| match rtype {
        RecordType::A => Says::Noise(addresses([[20, 1, 0, 1]])),
        _ => Says::Noise(Vec::new()),
    })
    .await;
    let broken = udp(|_: &str, _: RecordType| Says::Junk).await;
    let (found, batches, took) = round(&[broken, noisy], &["good.test"]).await;
    assert!(took <= BOUND, "after {took:?}");
    assert!(batches[0].0 <= EARLY, "after {:?}", batches[0].0);
    assert_eq!(
        addrs(&found.candidates),
        BTreeSet::from([socket([20, 1, 0, 1])])
    );
    assert_eq!((found.seeds[0].answered, found.seeds[1].answered), (0, 4));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_udp_does_not_bring_tcp_does() {
    let good: fn(&str, RecordType) -> Says = |_, rtype| match rtype {
        RecordType::A => Says::Records(addresses((0..120).map(|n| [20, n, 0, 1]))),
        _ => Says::Records(Vec::new()),
    };
    let lost = udp_and_tcp(|_, _| Says::Nothing, good).await;
    let short = udp_and_tcp(|_, _| Says::Truncated, good).await;
    let broken = udp_and_tcp(|_, _| Says::Junk, good).await;
    let (found, batches, took) = round(&[lost, short, broken], &["good.test"]).await;
    assert!(took <= BOUND, "after {took:?}");
    assert!(batches[0].0 <= EARLY, "after {:?}", batches[0].0);
    for report in &found.seeds {
        assert_eq!(report.addresses, MAX_PER_SEED, "{report:?}");
        assert_eq!(report.answered, 4, "{report:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn srv_targets_without_glue_are_asked_for() {
    let server = udp(|name: &str, rtype: RecordType| match (name, rtype) {
        ("_qtc._tcp.good.test.", RecordType::SRV) => {
            let target = |label: &str| Name::from_ascii(format!("{label}.n.good.test.")).unwrap();
            let hung = SRV::new(0, 1, 9_000, target("hung"));
            let good = SRV::new(0, 1, 9_001, target("good"));
            Says::Records(vec![RData::SRV(hung), RData::SRV(good)])
        }
        ("good.n.good.test.", RecordType::A) => Says::Records(addresses([[20, 1, 0, 1]])),
        ("hung.n.good.test.", _) => Says::Nothing,
        _ => Says::Records(Vec::new()),
    })
    .await;
    let (found, batches, took) = round(&[server], &["good.test"]).await;
    let expected = SocketAddr::from(([20, 1, 0, 1], 9_001));
    assert_eq!(addrs(&found.candidates), BTreeSet::from([expected]));
    assert!(
        batches[0].0 <= EARLY,
        "one target does not wait for another"
    );
    assert!(took <= BOUND, "after {took:?}");
    assert_eq!(found.seeds[0].answered, 4, "targets are not among the four");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_listener_that_does_not_listen_holds_nothing_up() {
    static GOOD: [[u8; 4]; 2] = [[20, 1, 0, 1], [20, 2, 0, 1]];
    let providers = [udp(honest(&GOOD)).await, udp(honest(&GOOD)).await];
    let discovery = Discovery::new(&ChainSpec::devnet(), &providers).unwrap();
    let (early, heard) = mpsc::channel(1);
    let start = Instant::now();
    let found = discovery.run(&["good.test".to_owned()], Some(&early)).await;
    assert!(start.elapsed() <= BOUND, "after {:?}", start.elapsed());
    assert_eq!(found.candidates.len(), 2);
    drop(heard);
    let gone = Instant::now();
    let found = discovery.run(&["good.test".to_owned()], Some(&early)).await;
    assert!(gone.elapsed() <= EARLY, "after {:?}", gone.elapsed());
    assert_eq!(found.candidates.len(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_providers_or_seeds_a_round_is_empty() {
    let (found, batches, _) = round(&[], &SEEDS).await;
    assert!(found.candidates.is_empty() && found.seeds.is_empty() && batches.is_empty());
    let (found, _, _) = round(&[udp(|_: &str, _: RecordType| Says::Nothing).await], &[]).await;
    assert!(found.candidates.is_empty() && found.seeds.is_empty());
}

#[test]
fn what_a_suspect_says_of_a_good_address_does_not_count_before_what_others_say() {
    let heard = |standing, provider: u8, id: u8| {
        let provider = Provider::Server(SocketAddr::from(([127, 0, 0, provider], 53)));
        let mut report = SeedReport::new("good.test", &provider);
        report.standing = standing;
        let mut candidate = records::read_txt("v=qtc1 a=20.1.0.1:8333").unwrap();
        candidate.node_id = Some([id; 32]);
        Heard {
            candidates: vec![candidate],
            report,
            denies: false,
        }
    };
    let merged = merge(&[
        heard(Standing::Disputed, 1, 66),
        heard(Standing::Agrees, 2, 1),
        heard(Standing::Agrees, 2, 1),
    ]);
    assert_eq!(merged.len(), 1);
    assert_eq!((merged[0].node_id, merged[0].named_by), (Some([1; 32]), 2));
}
