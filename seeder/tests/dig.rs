//! What `dig` and `named-checkzone` (BIND's tools) say about a running seeder. Each test prints a reason and
//! passes when the tool is missing.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "a test's helpers fail as the test does"
)]

mod support;

use std::{collections::HashSet, net::SocketAddr, process::Command};

use support::{bench, has};

const APEX: &str = "seed1.quantumcoin.network";

/// One run of dig, taken apart.
#[derive(Debug)]
struct Dig {
    status: String,
    flags: Vec<String>,
    edns: Option<String>,
    question: Vec<String>,
    answer: Vec<Vec<String>>,
    authority: Vec<Vec<String>>,
    additional: Vec<Vec<String>>,
    text: String,
}

impl Dig {
    fn new(server: SocketAddr, arguments: &str) -> Self {
        let output = Command::new("dig")
            .args([
                &format!("@{}", server.ip()),
                "-p",
                &server.port().to_string(),
            ])
            .args(["+tries=1", "+time=5", "+nocookie"])
            .args(arguments.split_whitespace())
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "dig {arguments}: {text}");
        assert!(!text.contains("Warning: ID mismatch"), "{text}");
        assert!(!text.contains("malformed"), "dig {arguments}: {text}");
        Self::parse(text)
    }

    fn parse(text: String) -> Self {
        let after = |start: &str, end: &str| {
            let rest = text.split_once(start).map(|(_, rest)| rest)?;
            rest.split_once(end).map(|(found, _)| found.to_owned())
        };
        let section = |name: &str| -> Vec<Vec<String>> {
            text.split_once(&format!(";; {name} SECTION:\n"))
                .map(|(_, rest)| rest)
                .into_iter()
                .flat_map(|rest| rest.lines().take_while(|line| !line.is_empty()))
                .map(|line| line.split_whitespace().map(str::to_owned).collect())
                .collect()
        };
        Self {
            status: after("status: ", ",").unwrap_or_default(),
            flags: after(";; flags: ", ";")
                .unwrap_or_default()
                .split_whitespace()
                .map(str::to_owned)
                .collect(),
            edns: after("; EDNS: ", "\n"),
            question: section("QUESTION").concat(),
            answer: section("ANSWER"),
            authority: section("AUTHORITY"),
            additional: section("ADDITIONAL"),
            text,
        }
    }

    fn flag(&self, flag: &str) -> bool {
        self.flags.iter().any(|found| found == flag)
    }

    /// Every answer's type and last field.
    fn data(&self, kind: &str) -> HashSet<String> {
        assert!(
            self.answer.iter().all(|record| record[3] == kind),
            "{}",
            self.text
        );
        self.answer
            .iter()
            .map(|record| record.last().unwrap().clone())
            .collect()
    }

    /// NXDOMAIN or NODATA as it should be: authoritative, the apex's SOA, kept for a minute.
    fn assert_denies(&self, status: &str) {
        assert_eq!(self.status, status, "{}", self.text);
        assert!(
            self.flag("aa") && self.flag("qr") && self.answer.is_empty(),
            "{}",
            self.text
        );
        let [soa] = self.authority.as_slice() else {
            panic!("{}", self.text)
        };
        assert_eq!(
            (soa[0].as_str(), soa[1].as_str(), soa[3].as_str()),
            (&*format!("{APEX}."), "60", "SOA")
        );
        assert!(
            soa[6].parse::<u32>().unwrap() > 1_700_000_000,
            "a real serial: {}",
            self.text
        );
        assert_eq!(soa.last().unwrap(), "60");
    }
}

async fn with_dig(test: impl FnOnce(SocketAddr) + Send + 'static) {
    if !has("dig", "bind9-dnsutils") {
        return;
    }
    let bench = bench().await;
    let dns = bench.dns;
    tokio::task::spawn_blocking(move || test(dns))
        .await
        .unwrap();
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn positive_answers() {
    with_dig(|dns| {
        let a = Dig::new(dns, &format!("{APEX} A"));
        assert_eq!(
            (a.status.as_str(), a.flag("aa"), a.flag("tc")),
            ("NOERROR", true, false)
        );
        assert_eq!(a.data("A").len(), 24);
        assert!(
            a.data("A")
                .iter()
                .all(|ip| ip.starts_with("127.0.0.") && ip != "127.0.0.99")
        );
        assert!(
            a.answer.iter().all(|record| record[1] == "60"),
            "{}",
            a.text
        );

        let aaaa = Dig::new(dns, &format!("{APEX} AAAA"));
        assert_eq!(aaaa.data("AAAA").len(), 24);

        let srv = Dig::new(dns, &format!("_qtc._tcp.{APEX} SRV"));
        let targets = srv.data("SRV");
        assert_eq!(srv.answer.len(), 12);
        let glue: HashSet<String> = srv
            .additional
            .iter()
            .map(|record| record[0].clone())
            .collect();
        assert_eq!(glue, targets, "each target has its address: {}", srv.text);
        for record in &srv.additional {
            let host = Dig::new(dns, &format!("{} {}", record[0], record[3]));
            assert_eq!(host.data(&record[3]), HashSet::from([record[4].clone()]));
        }

        let txt = Dig::new(dns, &format!("{APEX} TXT"));
        assert_eq!(txt.answer.len(), 8);
        assert!(
            txt.answer
                .iter()
                .all(|r| r[4] == "\"v=qtc1" && r[5].starts_with("a=")),
            "{}",
            txt.text
        );

        let ns = Dig::new(dns, &format!("{APEX} NS"));
        assert_eq!(ns.data("NS"), HashSet::from([format!("ns1.{APEX}.")]));
        assert_eq!(ns.additional[0][4], "127.0.0.1", "{}", ns.text);

        let soa = Dig::new(dns, &format!("{APEX} SOA"));
        assert_eq!(soa.answer[0][5], "ops.quantumcoin.network.");
        assert!(soa.answer[0][6].parse::<u32>().unwrap() > 1_700_000_000);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_in_any_case() {
    with_dig(|dns| {
        for name in ["x9", "X9"] {
            assert_eq!(
                Dig::new(dns, &format!("{name}.{APEX} A")).data("A").len(),
                20,
                "{name}"
            );
        }
        let pruned = Dig::new(dns, &format!("x400.{APEX} A")).data("A");
        assert_eq!(pruned.len(), 10);
        assert!(pruned.contains("127.0.0.3") && !pruned.contains("127.0.0.1"));
        let srv = Dig::new(dns, &format!("_qtc._tcp.x400.{APEX} SRV"));
        assert_eq!(srv.answer.len(), 12);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn negative_answers() {
    with_dig(|dns| {
        Dig::new(dns, &format!("nope.{APEX} A")).assert_denies("NXDOMAIN");
        Dig::new(dns, &format!("nope.{APEX} A +tcp")).assert_denies("NXDOMAIN");
        Dig::new(dns, &format!("a.b.c.{APEX} TXT")).assert_denies("NXDOMAIN");
        Dig::new(dns, &format!("{APEX} MX")).assert_denies("NOERROR");
        Dig::new(dns, &format!("{APEX} CAA")).assert_denies("NOERROR");
        Dig::new(dns, &format!("{APEX} TYPE65000")).assert_denies("NOERROR");
        Dig::new(dns, &format!("_tcp.{APEX} A")).assert_denies("NOERROR");
        Dig::new(dns, &format!("n.{APEX} A")).assert_denies("NOERROR");
        Dig::new(dns, &format!("x4000.{APEX} A")).assert_denies("NOERROR");
        for foreign in [
            "example.org",
            "quantumcoin.network",
            "seed9.quantumcoin.network",
        ] {
            let refused = Dig::new(dns, &format!("{foreign} A"));
            assert_eq!(refused.status, "REFUSED");
            assert!(
                refused.flag("qr") && !refused.flag("aa"),
                "{}",
                refused.text
            );
            assert_eq!(
                refused.question.len(),
                3,
                "the question comes back: {}",
                refused.text
            );
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sizes_and_transports() {
    with_dig(|dns| {
        let tcp = Dig::new(dns, &format!("{APEX} AAAA +tcp"));
        assert!(tcp.text.contains("(TCP)"), "{}", tcp.text);
        assert_eq!(tcp.answer.len(), 24);

        let plain = Dig::new(dns, &format!("{APEX} A +noedns"));
        assert_eq!(
            (plain.edns, plain.answer.len()),
            (None, 24),
            "24 A records fit in 512 bytes"
        );

        let cut = Dig::new(dns, &format!("{APEX} AAAA +noedns +ignore"));
        assert!(
            cut.flag("tc") && cut.answer.is_empty() && cut.edns.is_none(),
            "{}",
            cut.text
        );
        let cut = Dig::new(dns, &format!("{APEX} AAAA +bufsize=512 +ignore"));
        assert!(
            cut.flag("tc") && cut.answer.is_empty() && cut.edns.is_some(),
            "{}",
            cut.text
        );
        let retried = Dig::new(dns, &format!("{APEX} AAAA +bufsize=512"));
        assert!(
            !retried.flag("tc") && retried.text.contains("(TCP)"),
            "{}",
            retried.text
        );
        assert_eq!(retried.answer.len(), 24);

        let large = Dig::new(dns, &format!("{APEX} TXT +bufsize=65000 +dnssec"));
        assert_eq!(
            large.edns.as_deref(),
            Some("version: 0, flags: do; udp: 1232")
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn mixed_case_comes_back() {
    with_dig(|dns| {
        let name = "SeEd1.QuAnTuMcOiN.nEtWoRk";
        let mixed = Dig::new(dns, &format!("{name} A"));
        assert_eq!(mixed.question[0], format!(";{name}."));
        assert_eq!(mixed.answer.len(), 24);
        assert!(
            mixed
                .answer
                .iter()
                .all(|record| record[0] == format!("{name}."))
        );
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_questions() {
    with_dig(|dns| {
        let version = Dig::new(dns, &format!("{APEX} A +edns=1 +noednsneg"));
        assert_eq!(version.status, "BADVERS");
        assert_eq!(
            version.edns.as_deref(),
            Some("version: 0, flags:; udp: 1232")
        );

        let any = Dig::new(dns, &format!("{APEX} ANY +notcp"));
        assert_eq!(any.answer.len(), 1);
        assert_eq!(any.answer[0][3..], ["HINFO", "\"RFC8482\"", "\"\""]);

        let chaos = Dig::new(dns, "version.bind TXT -c CH");
        assert_eq!(chaos.answer[0][2..], ["CH", "TXT", "\"qtc\""]);
        assert_eq!(Dig::new(dns, "id.server TXT -c CH").status, "REFUSED");
        assert_eq!(Dig::new(dns, &format!("{APEX} A -c CH")).status, "REFUSED");

        let opcode = Dig::new(dns, &format!("{APEX} A +opcode=15 +noedns"));
        assert_eq!(opcode.status, "NOTIMP");
        let notify = Dig::new(dns, &format!("{APEX} SOA +opcode=notify +noedns"));
        assert_eq!(notify.status, "NOTIMP");
        let header = Dig::new(dns, "+header-only +noedns");
        assert_eq!(header.status, "FORMERR");

        let options = Dig::new(
            dns,
            &format!("{APEX} A +ednsopt=65001:0102 +nsid +ednsflags=0x40"),
        );
        assert_eq!(
            (options.status.as_str(), options.answer.len()),
            ("NOERROR", 24)
        );
        let cookie = Dig::new(dns, &format!("{APEX} A +cookie=0102030405060708"));
        assert_eq!(
            (cookie.status.as_str(), cookie.answer.len()),
            ("NOERROR", 24)
        );
    })
    .await;
}

/// Clients that sign with a key are told that it is not known here, in words of their own.
#[tokio::test(flavor = "multi_thread")]
async fn queries_that_are_signed_with_a_key() {
    let signed = |tool: &str, dns: SocketAddr, key: &str, arguments: &str| {
        let output = Command::new(tool)
            .args([&format!("@{}", dns.ip()), "-p", &dns.port().to_string()])
            .args(["-y", &format!("hmac-sha256:{key}:c2VjcmV0")])
            .args(arguments.split_whitespace())
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    with_dig(move |dns| {
        // Of a name elsewhere, below the question's, and of that name itself.
        for key in ["transfer.example", &format!("key.{APEX}"), APEX] {
            for how in ["", "+tcp", "+noedns", "+norec +dnssec +cookie"] {
                let told = signed("dig", dns, key, &format!("{APEX} A +tries=1 {how}"));
                assert!(told.contains("status: NOTAUTH"), "{key} {how}: {told}");
                assert!(told.contains("TSIG PSEUDOSECTION"), "{key} {how}: {told}");
                let record = told.lines().find(|line| line.contains("ANY\tTSIG"));
                let record = record.unwrap_or_else(|| panic!("{told}"));
                assert!(record.starts_with(&format!("{key}.")), "{told}");
                // No MAC, and the error.
                let id = told
                    .split_once("id: ")
                    .unwrap()
                    .1
                    .split_once('\n')
                    .unwrap()
                    .0;
                let end = format!(" 300 0  {id} BADKEY 0");
                let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
                assert!(words(record).ends_with(words(&end).as_str()), "{told}");
                assert!(!told.contains("malformed"), "{told}");
            }
            if has("kdig", "knot-dnsutils") {
                let told = signed("kdig", dns, key, &format!("{APEX} A +retry=0"));
                // It shows the error of the record in place of the header's.
                assert!(told.contains("status: BADKEY"), "{told}");
            }
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_dump_is_a_zone_that_bind_loads() {
    if !has("named-checkzone", "bind9-utils") {
        return;
    }
    let bench = bench().await;
    let path = bench.path.clone();
    let dump = tokio::task::spawn_blocking(move || {
        Command::new(env!("CARGO_BIN_EXE_quantumcoin-seeder"))
            .args([
                "zone",
                "--dump",
                "--network",
                "devnet",
                "--zone",
                APEX,
                "--ns-address",
                "192.0.2.1",
            ])
            .args([std::ffi::OsStr::new("--store"), path.as_os_str()])
            .output()
            .unwrap()
    });
    let dump = dump.await.unwrap();
    assert!(
        dump.status.success(),
        "{}",
        String::from_utf8_lossy(&dump.stderr)
    );
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &dump.stdout).unwrap();
    let check = Command::new("named-checkzone")
        .args(["-i", "full", APEX])
        .arg(file.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&check.stdout).into_owned();
    assert!(check.status.success() && said.contains("OK"), "{said}");
    assert!(!said.contains("warning"), "{said}");
    let zone = String::from_utf8(dump.stdout).unwrap();
    assert!(zone.lines().filter(|line| line.contains(" SRV ")).count() >= 61);
    bench.finish().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_query_command_answers_without_a_server() {
    let bench = bench().await;
    let path = bench.path.clone();
    let output = tokio::task::spawn_blocking(move || {
        Command::new(env!("CARGO_BIN_EXE_quantumcoin-seeder"))
            .args([
                "query",
                "x400.seed1.quantumcoin.network",
                "a",
                "--network",
                "devnet",
            ])
            .args(["--zone", APEX, "--store"])
            .arg(path)
            .output()
            .unwrap()
    });
    let output = output.await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(
        text.lines()
            .filter(|line| line.contains(" IN A 127.0.0."))
            .count(),
        10,
        "{text}"
    );
    bench.finish().await;
}
