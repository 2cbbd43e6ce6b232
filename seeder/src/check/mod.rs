//! `quantumcoin-seeder check`: a doctor for those who run a seeder.
//!
//! ```text
//! configuration, keys ─┐
//! store, ports, /proc ─┼─(look: I/O)──> plain facts ──(judge: pure)──> findings ──> report (text, JSON)
//! clock, server ───────┤
//! resolvers, parent ───┘
//! ```
//!
//! | module | what it is for |
//! |---|---|
//! | `local` | configuration and keys |
//! | `store` | the crawler's store |
//! | `port` | whether the addresses can be listened on |
//! | `holder` | who holds a port, by what Linux shows in `/proc` |
//! | `status` | whether a seeder of ours serves status and metrics |
//! | `rights` | whether low ports may be listened on, and whether there is IPv6 |
//! | `clock` | the clock against an NTP server, and against what can't be |
//! | `server` | what a running seeder answers |
//! | `tls` | certificate and key of DNS over TLS, and a handshake |
//! | `delegation` | what the parent zone, resolvers and name servers say, judged (pure) |
//! | `gather` | asks them |
//! | `parent` | the records that belong into the parent zone |
//! | `report` | all findings as text or JSON |
//!
//! Looking and judging are apart, so that every judgement is tested on plain data. What can't be reached is a note
//! and no error: a doctor in a cellar must not call every patient dead.

mod clock;
mod delegation;
mod gather;
mod holder;
mod local;
pub(crate) mod parent;
mod port;
mod report;
mod rights;
mod server;
mod status;
mod store;
mod tls;

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    time::Duration,
};

use serde::Serialize;
use tokio::time::{Instant, timeout_at};

use self::{
    delegation::{Ours, Signing},
    holder::Protocol,
};
use crate::{
    ask,
    config::{ConfigError, SeederConfig},
    dnssec::{keyfile::KeyFileError, keyring::Keyring},
    follow::unix_now,
    zone::Zone,
};

/// The time server that is asked unless another is named: a pool that anybody may use by its terms.
pub const DEFAULT_NTP: &str = "pool.ntp.org";

/// Public resolvers that are asked unless others are named: three operators that have nothing to do with each other
/// (Cloudflare, Google, Quad9), each by IPv4 and by IPv6.
pub const DEFAULT_RESOLVERS: [IpAddr; 6] = [
    IpAddr::V4(Ipv4Addr::new(1, 1, 1, 1)),
    IpAddr::V4(Ipv4Addr::new(8, 8, 8, 8)),
    IpAddr::V4(Ipv4Addr::new(9, 9, 9, 9)),
    IpAddr::V6(Ipv6Addr::new(0x2606, 0x4700, 0x4700, 0, 0, 0, 0, 0x1111)),
    IpAddr::V6(Ipv6Addr::new(0x2001, 0x4860, 0x4860, 0, 0, 0, 0, 0x8888)),
    IpAddr::V6(Ipv6Addr::new(0x2620, 0xfe, 0, 0, 0, 0, 0, 0xfe)),
];

/// Longest time for all questions about all zones. There are at most eight rounds of questions, nearly all of which end
/// within one waiting time of 3 s; where many zones are silent, what comes until then is judged: a person does not wait longer than a
/// minute.
const ROUNDS: Duration = Duration::from_secs(45);

/// What a finding is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Topic {
    /// Settings, zones and keys.
    Config,
    /// The crawler's store.
    Store,
    /// Whether the addresses can be listened on.
    Port,
    /// Whether this process may listen on low ports.
    Capability,
    /// Whether the machine has IPv6.
    Ipv6,
    /// The machine's clock.
    Clock,
    /// What a running seeder answers.
    Server,
    /// Certificate and handshake of DNS over TLS.
    Tls,
    /// What the rest of the world is told about the zone.
    Delegation,
}

/// How bad a finding is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// As it should be.
    Ok,
    /// Good to know; nothing is broken.
    Note,
    /// Works, or may work, but not as it should.
    Warning,
    /// Somebody gets no answer, or a wrong one.
    Error,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// What it is about.
    pub topic: Topic,
    /// How bad it is.
    pub level: Level,
    /// Which zone, file, address or server.
    pub subject: String,
    /// What was found.
    pub found: String,
    /// What to do; `None` when there is nothing to do.
    pub mend: Option<String>,
}

impl Finding {
    fn new(
        topic: Topic,
        level: Level,
        subject: impl ToString,
        found: impl Into<String>,
        mend: impl Into<String>,
    ) -> Self {
        let mend = Some(mend.into()).filter(|mend| !mend.is_empty());
        Self {
            topic,
            level,
            subject: subject.to_string(),
            found: found.into(),
            mend,
        }
    }

    fn ok(topic: Topic, subject: impl ToString, found: impl Into<String>) -> Self {
        Self::new(topic, Level::Ok, subject, found, "")
    }
}

/// All that was found.
#[derive(Debug, Clone, Default)]
pub struct Report {
    /// By topic, in the order in which they were looked at.
    pub findings: Vec<Finding>,
    /// Lines for the parent zones, in master file format.
    pub parent_records: Vec<String>,
}

impl Report {
    /// How many findings have a level.
    #[must_use]
    pub fn count(&self, level: Level) -> usize {
        let same = self.findings.iter().filter(|found| found.level == level);
        same.count()
    }

    /// A report of settings that can't even be read.
    #[must_use]
    pub fn of_broken_settings(words: &str) -> Self {
        let mend = "mend that line or option; `quantumcoin-seeder --help` and docs/seeder.md list all of them";
        let finding = Finding::new(Topic::Config, Level::Error, "settings", words, mend);
        Self {
            findings: vec![finding],
            parent_records: Vec::new(),
        }
    }
}

/// What is asked of whom.
#[derive(Debug, Clone)]
pub struct CheckOptions {
    /// Resolvers that stand for the rest of the world.
    pub resolvers: Vec<SocketAddr>,
    /// Time server: a name or an address, each with or without a port.
    pub ntp: String,
    /// Whether to leave out all that needs the internet.
    pub offline: bool,
    /// Port at which name servers are asked, the parent's too.
    pub server_port: u16,
}

/// The settings, as far as they could be understood.
struct Settings {
    zones: Result<Vec<Zone>, ConfigError>,
    /// The directories of keys, with the zones that have theirs there.
    keys: Vec<KeyDirectory>,
}

/// A directory of keys.
struct KeyDirectory {
    path: PathBuf,
    zones: Vec<Zone>,
    ring: Result<Keyring, KeyFileError>,
}

impl Settings {
    fn of(config: &SeederConfig) -> Self {
        let zones = config.build_zones();
        let mut directories: BTreeMap<PathBuf, Vec<Zone>> = BTreeMap::new();
        for zone in zones.iter().flatten() {
            if let Some(path) = config.keys_of(zone) {
                let mine = directories.entry(path.to_owned()).or_default();
                mine.push(zone.clone());
            }
        }
        let directories = directories.into_iter().map(|(path, zones)| KeyDirectory {
            ring: Keyring::load(&path, zones.iter().map(Zone::apex_wire)),
            path,
            zones,
        });
        Self {
            keys: directories.collect(),
            zones,
        }
    }

    /// What of a zone's keys can be read; `None` when it has no directory of keys.
    fn ring(&self, zone: &Zone) -> Option<Result<&Keyring, &KeyFileError>> {
        let mut directories = self.keys.iter();
        let mine = directories.find(|directory| directory.zones.contains(zone))?;
        Some(mine.ring.as_ref())
    }

    fn zones(&self) -> &[Zone] {
        self.zones.as_deref().unwrap_or_default()
    }

    fn ours(&self, now: i64) -> Vec<Ours> {
        let signing = |zone: &Zone| match self.ring(zone) {
            None => Signing::Unsigned,
            Some(Ok(ring)) => Signing::by(ring, zone.apex_wire(), now),
            Some(Err(_)) => Signing::Unknown,
        };
        let zones = self.zones().iter();
        zones.map(|zone| Ours::of(zone, signing(zone))).collect()
    }
}

/// What was looked at.
struct Looked {
    now: i64,
    settings: Settings,
    ours: Vec<Ours>,
    ports: Vec<port::Port>,
    crawl: store::StoreState,
    answers: Vec<server::Answer>,
    tls: Option<tls::Facts>,
    offset: clock::Asked,
    present: port::Present,
    seen: Option<Vec<delegation::Seen>>,
}

/// Looks at everything and judges it. Takes less than a minute, whatever hangs.
pub async fn run(config: &SeederConfig, options: &CheckOptions) -> Report {
    let looked = look(config, options).await;
    let Looked {
        now,
        settings,
        ours,
        seen,
        ..
    } = &looked;
    let mut findings = judge_here(config, &looked);
    match seen {
        None => findings.push(Finding::new(
            Topic::Delegation,
            Level::Note,
            "all zones",
            "not looked at (--offline)",
            "leave --offline out to ask the parent zone and public resolvers",
        )),
        Some(seen) => {
            for (ours, seen) in ours.iter().zip(seen) {
                findings.extend(delegation::judge(ours, seen, *now));
            }
        }
    }
    let none = Keyring::default();
    let records = settings.zones().iter().flat_map(|zone| {
        let ring = settings.ring(zone).and_then(Result::ok);
        parent::records(zone, ring.unwrap_or(&none), *now)
    });
    Report {
        findings,
        parent_records: records.collect(),
    }
}

/// All that is done and asked.
async fn look(config: &SeederConfig, options: &CheckOptions) -> Looked {
    let now = unix_now();
    let settings = Settings::of(config);
    let ours = settings.ours(now);
    let ports = port::look(config);
    let end = Instant::now() + ROUNDS;
    let over_tls = async {
        match &config.tls {
            Some(options) => Some(tls::look(options).await),
            None => None,
        }
    };
    let (crawl, answers, tls, status, offset, seen) = tokio::join!(
        store::look(config, now),
        server::look(&config.listen, settings.zones(), end),
        over_tls,
        status::look(config, settings.zones()),
        clock::look(options),
        look_outside(&ours, options, end),
    );
    let mut answering = server::answering(&answers);
    let secure = tls.iter().flat_map(tls::Facts::answering);
    answering.extend(secure.chain(status).map(|addr| (addr, Protocol::Tcp)));
    Looked {
        now,
        present: port::Present::of(&ports, answering),
        settings,
        ours,
        ports,
        crawl,
        answers,
        tls,
        offset,
        seen,
    }
}

/// Judges this machine and what runs on it.
fn judge_here(config: &SeederConfig, looked: &Looked) -> Vec<Finding> {
    let Looked {
        now,
        settings,
        ours,
        ports,
        present,
        ..
    } = looked;
    let now = *now;
    let at_work = present.at_work();
    let mut findings = local::config(config, &settings.zones);
    if settings.keys.is_empty() {
        findings.push(local::no_keys());
    }
    for directory in &settings.keys {
        findings.extend(local::keys(directory, settings.zones(), at_work, now));
    }
    let wanted = store::Wanted::of(config);
    findings.extend(store::judge(&looked.crawl, &wanted, at_work, now));
    findings.extend(ports.iter().map(|port| port::judge(port, present)));
    let dns = port::dns(config);
    let rights = rights::look_at_rights();
    findings.extend(rights::rights(&dns, &rights, |addr| present.serves(addr)));
    findings.extend(rights::ipv6(&dns, rights::look_at_ipv6()));
    findings.extend(clock::judge(&clock::Facts {
        now,
        offset: looked.offset.clone(),
        newest_probe: looked.crawl.newest_probe(),
        genesis: i64::from(config.spec.genesis.time),
        signed: ours.iter().any(|ours| ours.signing.is_signed()),
    }));
    findings.extend(server::judge(
        &looked.answers,
        ours,
        present.held(),
        config.http,
        now,
    ));
    if let (Some(options), Some(facts)) = (&config.tls, &looked.tls) {
        let holds = |addr| present.holds(ports, addr);
        findings.extend(tls::judge(options, facts, at_work, holds, now));
    }
    findings
}

/// What the rest of the world says about each zone; `None` when it is not to be asked.
async fn look_outside(
    ours: &[Ours],
    options: &CheckOptions,
    end: Instant,
) -> Option<Vec<delegation::Seen>> {
    if options.offline {
        return None;
    }
    let asked = ours.iter().cloned().map(|ours| {
        let options = options.clone();
        async move {
            let mut seen = delegation::Seen::default();
            let looked = timeout_at(end, gather::look(&ours, &options, &mut seen)).await;
            seen.late = looked.is_err();
            seen
        }
    });
    Some(ask::all(asked).await)
}
