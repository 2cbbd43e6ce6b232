//! The node's word for what stands between it and the internet, held against what does, and against what the reference clients
//! say of it. And the same when one STUN server of three lies.
//!
//! Each kind has a host of its own, so that all are asked at the same time: most of it is waiting for what does not come.

use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, anyhow};
use serde::Deserialize;

use super::kinds::{self, Kind};
use super::space::Space;
use super::stun::{self, Liar};
use super::world::{Host, Internet, Router};

/// Longest that the node may take for an answer, in seconds.
const LIMIT: f64 = 6.0;

/// When the lab gives up.
const PATIENCE: Duration = Duration::from_secs(30);

/// Addresses of the hosts without a router, for IPv4 and IPv6.
const OPEN: (&str, &str) = ("5.100.1.1", "2a0e:b10a:1::1");
const FIREWALLED: (&str, &str) = ("77.101.1.1", "2a0e:b10b:1::1");

/// The routers' networks have the numbers from here on.
const FIRST_LAN: u8 = 1;

/// Number of the host behind a router that is asked.
const GUEST: u8 = 10;

/// What `nat --probe --json` prints.
#[derive(Debug, Deserialize)]
struct Probed {
    v4: Option<Finding>,
    v6: Option<Finding>,
    seconds: f64,
}

/// What it found for IPv4 or IPv6.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Finding {
    pub(super) kind: String,
    pub(super) local: Option<IpAddr>,
    pub(super) external: Option<IpAddr>,
    pub(super) agreed: usize,
    pub(super) answered: usize,
}

/// What there was to see.
#[derive(Debug, Default)]
pub(super) struct Classified {
    /// Answers in all, and those that were right.
    pub(super) of: usize,
    pub(super) right: usize,
    /// Reference clients that said the same.
    pub(super) reference_agreed: usize,
    /// The slowest answer, in seconds.
    pub(super) slowest: f64,
    /// The same of those with a liar among the servers.
    pub(super) lied_to: usize,
    pub(super) not_deceived: usize,
    /// What was not right, in words.
    pub(super) faults: Vec<String>,
}

impl Classified {
    fn add(&mut self, other: Self) {
        self.of += other.of;
        self.right += other.right;
        self.reference_agreed += other.reference_agreed;
        self.slowest = self.slowest.max(other.slowest);
        self.lied_to += other.lied_to;
        self.not_deceived += other.not_deceived;
        self.faults.extend(other.faults);
    }
}

/// A host that is asked, and the truth of it.
#[derive(Debug)]
struct Case {
    name: String,
    kind: Kind,
    v6: bool,
    local: IpAddr,
    external: IpAddr,
}

/// A host, and what it is behind.
#[derive(Debug)]
enum Place {
    Public(Host),
    Behind { guest: Space, _router: Router },
}

impl Place {
    fn space(&self) -> &Space {
        match self {
            Self::Public(host) => &host.space,
            Self::Behind { guest, .. } => guest,
        }
    }
}

/// Asks everywhere, so many times.
pub(super) fn run(internet: &Internet, node: PathBuf, rounds: usize) -> anyhow::Result<Classified> {
    let liar = Liar::start(internet)?;
    let mut places = Vec::new();
    for (number, kind) in Kind::ALL.into_iter().enumerate() {
        places.push(place(internet, kind, u8::try_from(number)?)?);
    }
    let asker = &Asker { node, rounds };
    let mut all = Classified::default();
    std::thread::scope(|scope| {
        let asking: Vec<_> = places
            .iter()
            .flat_map(|(place, cases)| cases.iter().map(move |case| (place.space(), case)))
            .map(|(space, case)| scope.spawn(move || asker.ask(space, case)))
            .collect();
        for asked in asking {
            let asked = asked.join().map_err(|_| anyhow!("a thread panicked"));
            match asked.flatten() {
                Ok(asked) => all.add(asked),
                Err(error) => all.faults.push(format!("{error:#}")),
            }
        }
    });
    drop(liar);
    Ok(all)
}

/// A host of this kind, and what it is asked for.
fn place(internet: &Internet, kind: Kind, number: u8) -> anyhow::Result<(Place, Vec<Case>)> {
    let case = |v6, local: IpAddr, external: IpAddr, kind: Kind| Case {
        name: format!("{}{}", kind.as_str(), if v6 { " (IPv6)" } else { "" }),
        kind,
        v6,
        local,
        external,
    };
    if !kind.is_behind_router() {
        let (v4, v6) = if kind == Kind::Open { OPEN } else { FIREWALLED };
        let (v4, v6) = (v4.parse()?, v6.parse()?);
        let host = internet.host(kind.as_str(), &[v4, v6])?;
        if kind == Kind::Firewalled {
            kinds::set_firewall(&host.space)?;
        }
        let cases = vec![case(false, v4, v4, kind), case(true, v6, v6, kind)];
        return Ok((Place::Public(host), cases));
    }
    let wan = Ipv4Addr::new(80, 100 + number, 1, 1);
    let lan = FIRST_LAN + number;
    let router = Router::new(internet, &format!("r{lan}"), lan, wan)?;
    kind.set_on_router(&router.host.space)?;
    let guest = router.guest(&format!("g{lan}"), GUEST)?;
    let mut cases = vec![case(false, router.inside(GUEST).into(), wan.into(), kind)];
    if kind == Kind::PortRestricted {
        // IPv6 is not translated, and the router lets only answers in.
        let ip = router.inside_v6(GUEST).into();
        cases.push(case(true, ip, ip, Kind::Firewalled));
    }
    let place = Place::Behind {
        guest,
        _router: router,
    };
    Ok((place, cases))
}

/// Asks the node's program and the reference clients.
#[derive(Debug)]
struct Asker {
    node: PathBuf,
    rounds: usize,
}

impl Asker {
    fn ask(&self, space: &Space, case: &Case) -> anyhow::Result<Classified> {
        let servers = stun::addresses(case.v6);
        let mut all = Classified::default();
        for round in 0..self.rounds {
            let mut servers = servers.clone();
            servers.rotate_left(round % stun::SERVERS.len());
            let (reference, probed) = std::thread::scope(|scope| {
                let reference = scope.spawn(|| reference(space, case, &servers));
                let probed = self.probe(space, &servers);
                let reference = reference.join();
                (reference.map_err(|_| anyhow!("a thread panicked")), probed)
            });
            all.of += 1;
            match reference.flatten()? {
                None => all.reference_agreed += 1,
                Some(said) => all.faults.push(format!("{}: {said}", case.name)),
            }
            let probed = probed.with_context(|| case.name.clone())?;
            all.slowest = all.slowest.max(probed.seconds);
            match case.wrong(&probed, servers.len()) {
                None => all.right += 1,
                Some(wrong) => all
                    .faults
                    .push(format!("{}, round {round}: {wrong}", case.name)),
            }
            if !case.v6 {
                self.ask_with_liar(space, case, round, &mut all)?;
            }
        }
        Ok(all)
    }

    /// One server lies, each time another one.
    fn ask_with_liar(
        &self,
        space: &Space,
        case: &Case,
        round: usize,
        all: &mut Classified,
    ) -> anyhow::Result<()> {
        let mut servers = stun::addresses(false);
        let honest = servers.len() - 1;
        if let Some(server) = servers.get_mut(round % stun::SERVERS.len()) {
            *server = Liar::address();
        }
        let probed = self.probe(space, &servers);
        let probed = probed.with_context(|| case.name.clone())?;
        all.lied_to += 1;
        match case.wrong(&probed, honest) {
            None => all.not_deceived += 1,
            Some(wrong) => all.faults.push(format!(
                "{}, round {round}, one server lies: {wrong}",
                case.name
            )),
        }
        Ok(())
    }

    fn probe(&self, space: &Space, servers: &[String]) -> anyhow::Result<Probed> {
        let mut arguments = vec!["nat", "--probe", "--json"];
        for server in servers {
            arguments.extend(["--stun-server", server]);
        }
        let program = self.node.to_string_lossy();
        let said = space.said(&program, &arguments, PATIENCE)?;
        let object = said.find('{').and_then(|start| said.get(start..));
        let mut objects =
            serde_json::Deserializer::from_str(object.unwrap_or_default()).into_iter::<Probed>();
        let probed = objects.next().context("nothing was printed");
        probed
            .and_then(|probed| Ok(probed?))
            .with_context(|| format!("{program} {}: {said}", arguments.join(" ")))
    }
}

impl Case {
    /// What is not as it is, if anything. So many servers at least have to agree.
    fn wrong(&self, probed: &Probed, agreeing: usize) -> Option<String> {
        let found = if self.v6 { &probed.v6 } else { &probed.v4 };
        let Some(found) = found else {
            return Some(format!("nothing was found: {probed:?}"));
        };
        let blocked = self.kind == Kind::Blocked;
        let external = (!blocked).then_some(self.external);
        let mut wrong = Vec::new();
        if found.kind != self.kind.as_str() {
            wrong.push(format!("it says {}", found.kind));
        }
        if found.external != external {
            wrong.push(format!("external {:?}, not {external:?}", found.external));
        }
        if !blocked && found.local != Some(self.local) {
            wrong.push(format!("local {:?}, not {}", found.local, self.local));
        }
        if !blocked && found.agreed < agreeing {
            let (agreed, answered) = (found.agreed, found.answered);
            wrong.push(format!("{agreed} of {answered} servers agree"));
        }
        if probed.seconds > LIMIT {
            wrong.push(format!("it took {:.1} s", probed.seconds));
        }
        (!wrong.is_empty()).then(|| wrong.join(", "))
    }
}

/// What the reference client says that is not so, if anything: Debian's `stun` for IPv4, coturn's own for IPv6.
fn reference(space: &Space, case: &Case, servers: &[String]) -> anyhow::Result<Option<String>> {
    let server = servers.first().context("there are servers")?;
    let server = stun::host_of(server)?.to_string();
    let (program, arguments, expected) = if case.v6 {
        let filtering = if case.kind == Kind::Open {
            "NAT with Endpoint Independent Filtering!"
        } else {
            "NAT with Address and Port Dependent Filtering!"
        };
        ("turnutils_natdiscovery", vec!["-m", "-f"], filtering)
    } else {
        ("stun", Vec::new(), case.kind.in_stun_client_words())
    };
    let arguments = [arguments, vec![&server]].concat();
    let said = space.said(program, &arguments, PATIENCE)?;
    if said.contains(expected) {
        return Ok(None);
    }
    Ok(Some(format!("{program} does not say {expected:?}: {said}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn case() -> Case {
        Case {
            name: "full_cone".to_owned(),
            kind: Kind::FullCone,
            v6: false,
            local: "192.168.1.10".parse().unwrap(),
            external: "80.100.1.1".parse().unwrap(),
        }
    }

    /// With the node's own names of things.
    fn probed(kind: &str, external: &str, seconds: f64) -> Probed {
        let text = format!(
            r#"{{"v4": {{"kind": "{kind}", "local": "192.168.1.10", "external": "{external}", "agreed": 3, "answered": 3,
            "servers": [{{"server": "45.80.1.1:3478", "mapped": "80.100.1.1:4000", "error": null}}]}}, "v6": null, "seconds": {seconds}}}"#
        );
        serde_json::from_str(&text).unwrap()
    }

    #[test]
    fn what_is_right_is_right() {
        let found = probed("full_cone", "80.100.1.1", 5.9);
        assert_eq!(case().wrong(&found, 3), None);
    }

    #[test]
    fn what_is_wrong_is_told() {
        let found = probed("open", "66.6.6.6", 6.1);
        assert_eq!(
            case().wrong(&found, 4).unwrap(),
            "it says open, external Some(66.6.6.6), not Some(80.100.1.1), 3 of 3 servers agree, it took 6.1 s"
        );
    }
}
