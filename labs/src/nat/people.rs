//! A network of real programs on the lab's internet: nodes, a crawler that finds them, a seeder that tells of them.
//!
//! Who comes later knows the names of the seeds alone, as newcomers do.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, ensure};
use bitcoin::p2p::message::NetworkMessage;
use quantumcoin::chain_spec::ChainSpec;
use quantumcoin::service::client;
use serde::Deserialize;
use serde_json::Value;

use super::space::{Program, Space, until};
use super::stun;
use super::world::{Host, Internet};
use crate::attack::dial::Dial;
use crate::private_network::SEEDS;

/// Where the nodes that were there before are, each in a netgroup of its own: who hears of his address from two of them has
/// heard it from strangers. Each dials back ten hosts a minute at most, and each newcomer asks three or four of them.
const ELDERS: [Ipv4Addr; 8] = [
    Ipv4Addr::new(81, 10, 1, 1),
    Ipv4Addr::new(82, 11, 1, 1),
    Ipv4Addr::new(83, 12, 1, 1),
    Ipv4Addr::new(84, 13, 1, 1),
    Ipv4Addr::new(86, 15, 1, 1),
    Ipv4Addr::new(87, 16, 1, 1),
    Ipv4Addr::new(88, 17, 1, 1),
    Ipv4Addr::new(89, 18, 1, 1),
];

/// Where crawler and seeder are, and whom the lab visits nodes from.
const WATCH: Ipv4Addr = Ipv4Addr::new(85, 14, 1, 1);
const WATCH_V6: &str = "2a0e:b10c:1::1";

/// Where nodes listen, and where their API is; each has a loopback of its own.
pub(super) const PORT: u16 = 8_333;
const HTTP: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8_332);

/// Seconds between two blocks: at least twelve come in a minute, which is what the crawler lets a good peer be behind.
const MINE_EVERY: &str = "2";

/// Until the network is found by the crawler and told of by the seeder. Machines that also compile are slow.
const PATIENCE: Duration = Duration::from_secs(120);

/// How long a stranger's handshake may take, and an answer of a tool.
const BRIEF: Duration = Duration::from_secs(5);

/// What nodes log: not who comes and goes, which the crawler does all the time.
const LOG: &str = "info,quantumcoin::network::hub=warn,quantumcoin::network::hub::nat=info";

/// What a stranger's ping says: any number will do.
const PING: u64 = 11;

/// The crawler's settings: a network of minutes, not of months.
const CRAWL: &str = "[schedule]\ngood_min_secs = 4\ngood_max_secs = 8\nbackoff_first_secs = 4\nbackoff_cap_secs = 8\n";

/// The programs that are tried.
#[derive(Debug, Clone)]
pub(super) struct Programs {
    dir: PathBuf,
}

impl Programs {
    /// Those of this directory, or those that lie beside this program.
    pub(super) fn find(dir: Option<&Path>) -> anyhow::Result<Self> {
        let own = std::env::current_exe()?;
        let dir = dir.or(own.parent()).context("this program is nowhere")?;
        let dir = dir
            .canonicalize()
            .with_context(|| format!("{} is not there", dir.display()))?;
        let programs = Self { dir };
        for name in [
            "quantumcoin-node",
            "quantumcoin-crawler",
            "quantumcoin-seeder",
        ] {
            let path = programs.path(name);
            ensure!(
                path.is_file(),
                "{} is not there: `cargo build --release --bins` makes it",
                path.display()
            );
        }
        Ok(programs)
    }

    pub(super) fn dir(&self) -> anyhow::Result<&str> {
        let dir = self.dir.to_str();
        dir.with_context(|| format!("{} is not UTF-8", self.dir.display()))
    }

    pub(super) fn node(&self) -> PathBuf {
        self.path("quantumcoin-node")
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }
}

/// All of them.
#[derive(Debug)]
pub(super) struct People {
    // Programs end before their networks do.
    crawler: Program,
    seeder: Program,
    elders: Vec<Node>,
    watch: Host,
    hosts: Vec<Host>,
    setting: Setting,
}

/// What all of them need to know.
#[derive(Debug)]
struct Setting {
    programs: Programs,
    room: PathBuf,
    spec: ChainSpec,
}

impl People {
    /// Brings them up, and returns when the seeder tells of all nodes.
    pub(super) fn start(
        internet: &Internet,
        programs: &Programs,
        room: &Path,
    ) -> anyhow::Result<Self> {
        let setting = Setting {
            programs: programs.clone(),
            room: room.to_owned(),
            spec: spec(),
        };
        std::fs::write(setting.spec_file(), setting.spec.to_toml())?;
        let (mut hosts, mut elders) = (Vec::new(), Vec::new());
        for (number, ip) in ELDERS.into_iter().enumerate() {
            let name = format!("elder{number}");
            let host = internet.host(&name, &[ip.into()])?;
            let mut more = vec![format!("--listen={ip}:{PORT}")];
            match ELDERS.first() {
                Some(first) if number > 0 => more.push(format!("--connect={first}:{PORT}")),
                _ => more.push(format!("--mine-every={MINE_EVERY}")),
            }
            elders.push(setting.node(&host.space, &name, &more)?);
            hosts.push(host);
        }
        let watch = internet.host("watch", &[WATCH.into(), WATCH_V6.parse()?])?;
        let (crawler, seeder) = (
            setting.crawler(&watch.space)?,
            setting.seeder(&watch.space)?,
        );
        let mut people = Self {
            crawler,
            seeder,
            elders,
            watch,
            hosts,
            setting,
        };
        people.wait()?;
        Ok(people)
    }

    fn wait(&mut self) -> anyhow::Result<()> {
        let ready = until(PATIENCE, || {
            for elder in &mut self.elders {
                elder.program.must_run()?;
            }
            self.crawler.must_run()?;
            self.seeder.must_run()?;
            for ip in ELDERS {
                if !self.serves((ip, PORT).into())? {
                    return Ok(None);
                }
            }
            Ok(Some(()))
        })?;
        ready.with_context(|| {
            format!(
                "the seeder does not tell of all nodes: {}\ncrawler: {}",
                self.seeder.tail(),
                self.crawler.tail()
            )
        })
    }

    /// A newcomer, who knows nothing but the names of the seeds.
    pub(super) fn newcomer(
        &self,
        space: &Space,
        name: &str,
        more: &[String],
    ) -> anyhow::Result<Node> {
        self.setting.node(space, name, more)
    }

    /// Height of the first node's tip.
    pub(super) fn height(&self) -> anyhow::Result<u64> {
        let first = self.elders.first().zip(self.hosts.first());
        let (node, host) = first.context("there are nodes")?;
        let height = node.status(&host.space).height();
        height.context("the first node does not say how high its chain is")
    }

    /// Whether the crawler knows this address as a good peer's.
    pub(super) fn finds(&self, addr: SocketAddr) -> anyhow::Result<bool> {
        let mut explain = Command::new(self.setting.programs.path("quantumcoin-crawler"));
        explain.args(["explain", &addr.to_string(), "--json", "--log=error"]);
        explain.arg("--chain-spec").arg(self.setting.spec_file());
        explain.arg("--data-dir").arg(self.setting.crawl());
        // An address that it does not know is an error, and one that is not good has an exit code of its own.
        let output = explain.output().context("the crawler can't be run")?;
        let known: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        Ok(known.get("good").and_then(Value::as_bool) == Some(true))
    }

    /// Whether the seeder tells of it, when `dig` asks.
    pub(super) fn serves(&self, addr: SocketAddr) -> anyhow::Result<bool> {
        let [seed, ..] = SEEDS;
        let server = format!("@{WATCH}");
        let question = [
            &server, seed, "TXT", "+tcp", "+short", "+time=1", "+tries=1",
        ];
        let told = self.watch.space.said("dig", &question, BRIEF)?;
        Ok(told.contains(&format!(" a={addr} ")))
    }

    /// Becomes a peer of the node at `addr`, as a stranger from elsewhere, and gives its identity.
    pub(super) fn visit(&self, addr: SocketAddr) -> anyhow::Result<String> {
        let spec = &self.setting.spec;
        self.watch.space.block_on(|| async move {
            let from: IpAddr = if addr.is_ipv4() {
                [0; 4].into()
            } else {
                [0; 16].into()
            };
            let from = SocketAddr::new(from, 0);
            let visit = async {
                let mut peer = Dial::new(from, addr).peer(spec).await?;
                peer.writer.write(&NetworkMessage::Ping(PING)).await?;
                while peer.reader.read().await? != NetworkMessage::Pong(PING) {}
                anyhow::Ok(peer.remote.node_id.to_string())
            };
            let visited = tokio::time::timeout(BRIEF, visit).await;
            visited.with_context(|| format!("{addr} does not answer"))?
        })
    }
}

impl Setting {
    fn spec_file(&self) -> PathBuf {
        self.room.join("chain_spec.toml")
    }

    fn crawl(&self) -> PathBuf {
        self.room.join("crawl")
    }

    fn node(&self, space: &Space, name: &str, more: &[String]) -> anyhow::Result<Node> {
        let mut node = space.command(self.programs.node());
        node.arg("run")
            .arg("--chain-spec")
            .arg(self.spec_file())
            .arg("--data-dir")
            .arg(self.room.join(name))
            .arg(format!("--http={HTTP}"))
            .arg(format!("--resolver={WATCH}:53"))
            .arg(format!("--log={LOG}"))
            .arg("--nat=auto");
        for server in stun::addresses(false) {
            node.args(["--stun-server", &server]);
        }
        node.args(more);
        let program = Program::start(node, name, &self.room)?;
        Ok(Node { program })
    }

    fn crawler(&self, space: &Space) -> anyhow::Result<Program> {
        std::fs::create_dir_all(self.crawl())?;
        let config = self.room.join("crawler.toml");
        std::fs::write(&config, CRAWL)?;
        let mut crawler = space.command(self.programs.path("quantumcoin-crawler"));
        crawler.arg("run");
        crawler.arg("--chain-spec").arg(self.spec_file());
        crawler.arg("--data-dir").arg(self.crawl());
        crawler.arg("--config").arg(config);
        crawler.args(["--no-dns", "--no-bootstrap"]);
        for ip in ELDERS {
            crawler.arg(format!("--seed-addr={ip}:{PORT}"));
        }
        Program::start(crawler, "crawler", &self.room)
    }

    fn seeder(&self, space: &Space) -> anyhow::Result<Program> {
        let mut seeder = space.command(self.programs.path("quantumcoin-seeder"));
        seeder.arg("run");
        seeder.arg("--chain-spec").arg(self.spec_file());
        seeder.arg("--store").arg(self.crawl().join("crawl.sqlite"));
        seeder.args(["--refresh-seconds=1", "--http=127.0.0.1:9353"]);
        seeder.arg(format!("--listen={WATCH}:53"));
        Program::start(seeder, "seeder", &self.room)
    }
}

/// A node's program.
#[derive(Debug)]
pub(super) struct Node {
    pub(super) program: Program,
}

/// What `/api/v1/nat` says, as far as the lab looks at it.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct NatState {
    pub(super) mapping: Option<MappingState>,
    pub(super) pinhole: Option<MappingState>,
    pub(super) reachable: String,
    pub(super) confirmed_by: usize,
    pub(super) advertised: Option<SocketAddr>,
    pub(super) attempts: Vec<Value>,
}

/// A mapping that it has.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct MappingState {
    pub(super) protocol: String,
    pub(super) external: SocketAddr,
    pub(super) internal: SocketAddr,
}

/// What `/api/v1/status` says.
#[derive(Debug)]
pub(super) struct Status(Option<Value>);

impl Status {
    pub(super) fn height(&self) -> Option<u64> {
        self.0.as_ref()?.pointer("/sync/block_height")?.as_u64()
    }

    pub(super) fn node_id(&self) -> Option<&str> {
        self.0.as_ref()?.get("node_id")?.as_str()
    }
}

impl Node {
    /// How it is doing, when it answers.
    pub(super) fn status(&self, space: &Space) -> Status {
        // It may not be ready yet.
        Status(self.get(space, "/api/v1/status").ok())
    }

    /// What it knows of routers and its own address.
    pub(super) fn nat(&self, space: &Space) -> anyhow::Result<NatState> {
        let told = self.get(space, "/api/v1/nat")?;
        let text = told.to_string();
        serde_json::from_value(told).with_context(|| format!("/api/v1/nat: {text}"))
    }

    fn get(&self, space: &Space, path: &'static str) -> anyhow::Result<Value> {
        space.block_on(async || Ok(client::get(HTTP, path).await?))
    }
}

/// The devnet's chain, whose blocks cost two hashes, under mainnet's rules for peers: only public addresses are any.
fn spec() -> ChainSpec {
    let mut spec = ChainSpec::devnet();
    let magic_bytes = spec.network_protocol.magic_bytes;
    spec.network_protocol = ChainSpec::mainnet().network_protocol;
    spec.network_protocol.magic_bytes = magic_bytes;
    spec.network_protocol.default_port = PORT;
    spec.discovery.dns_seeds = SEEDS.map(str::to_owned).to_vec();
    spec.discovery.bootstrap_nodes = Vec::new();
    spec
}
