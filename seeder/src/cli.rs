//! The commands of `quantumcoin-seeder`.

mod check;
mod keys;

use std::{
    io::Write,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    process::ExitCode,
};

use anyhow::Context;
use clap::{Args, Parser, Subcommand};
use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode},
    rr::{Name, RecordType},
};
use quantumcoin::{
    service::{
        dirs,
        logging::{self, LogFormat, LogOptions},
        shutdown, spec, supervisor,
    },
    store::StoreReader,
};
use rand::{SeedableRng, rngs::StdRng};
use tokio::sync::watch;

use crate::{
    answer::Identity,
    config::{FileConfig, SeederConfig, ZoneSettings, cookie_secret, same_name},
    follow::unix_now,
    respond,
    server::{Control, Seeder},
    snapshot::Snapshot,
    zone::{ServerAddress, dump},
};

/// Where metrics, health and status are served by default: loopback only.
const DEFAULT_HTTP: SocketAddr = SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9353);

/// Authoritative DNS server that answers from the crawl.
#[derive(Debug, Parser)]
#[command(name = "quantumcoin-seeder", version, about, max_term_width = 100, after_help = EXAMPLES)]
struct Cli {
    #[command(flatten)]
    options: Options,
    /// How log lines look: auto, human or json.
    #[arg(long, global = true, default_value = "auto", env = "QTC_LOG_FORMAT")]
    log_format: LogFormat,
    #[command(subcommand)]
    command: Command,
}

const EXAMPLES: &str = "\
Examples:
  quantumcoin-seeder run --contact seed@example.net --ns ns1.example.net
  quantumcoin-seeder run --network devnet --zone seed.test --listen 127.0.0.1:5353 --refresh-seconds 1
  quantumcoin-seeder check --zone seed.example.org --ns-address 192.0.2.53 --ns-address 2001:db8::53
  quantumcoin-seeder query seed1.quantumcoin.network AAAA
  quantumcoin-seeder zone --dump --zone seed1.quantumcoin.network
  quantumcoin-seeder keys generate --zone seed1.quantumcoin.network --keys /var/lib/quantumcoin-seeder/keys

Exit codes: 0 all went well; 1 something failed (the message says what); 2 wrong usage.
Logs go to standard error; QTC_LOG sets the filter, as in QTC_LOG=debug.";

#[derive(Debug, Subcommand)]
enum Command {
    /// Serve DNS until SIGTERM or SIGINT.
    Run,
    /// Find what is wrong with a seeder, its machine and its delegation, and say how to mend it.
    ///
    /// Takes the same settings as `run`, prints the records that belong into the parent zone, and exits with 1 when there is an error.
    Check(check::Check),
    /// Print what would be answered now, without a server.
    Query {
        /// The name, as in seed1.quantumcoin.network or x9.seed1.quantumcoin.network.
        name: String,
        /// The type: A, AAAA, SRV, TXT, NS, SOA …
        #[arg(default_value = "A")]
        kind: String,
        /// With signatures and proofs, if the zone has keys.
        #[arg(long)]
        dnssec: bool,
    },
    /// Make, show and replace the keys that zones are signed with.
    #[command(subcommand)]
    Keys(keys::Keys),
    /// Print the zones.
    Zone {
        /// As master files, with all peers. Without it, only their names.
        #[arg(long)]
        dump: bool,
    },
}

/// What every command needs to know. Flags come before the environment, the file and the defaults.
#[derive(Debug, Clone, Args)]
struct Options {
    /// Address for UDP and TCP; may be repeated. [default: 0.0.0.0:53 and [::]:53]
    #[arg(
        long,
        global = true,
        value_name = "ADDR",
        env = "QTC_SEEDER_LISTEN",
        value_delimiter = ','
    )]
    listen: Vec<SocketAddr>,
    /// The crawler's store. It may come into being later. [default: in the crawler's data directory]
    #[arg(long, global = true, value_name = "PATH", env = "QTC_SEEDER_STORE")]
    store: Option<PathBuf>,
    /// Built-in network: mainnet, testnet or devnet.
    #[arg(long, global = true, value_name = "NAME", env = "QTC_NETWORK")]
    network: Option<String>,
    /// Chain spec of another network.
    #[arg(long, global = true, value_name = "FILE", env = "QTC_CHAIN_SPEC")]
    chain_spec: Option<PathBuf>,
    /// Zone to serve; may be repeated. [default: the chain spec's DNS seeds]
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        env = "QTC_SEEDER_ZONE",
        value_delimiter = ','
    )]
    zone: Vec<String>,
    /// Name server of the zones; may be repeated. [default: ns1.ZONE]
    #[arg(
        long,
        global = true,
        value_name = "NAME",
        env = "QTC_SEEDER_NS",
        value_delimiter = ','
    )]
    ns: Vec<String>,
    /// Address of the name servers inside the zones, or of the one that is named (glue); may be repeated.
    /// [default: the listen addresses that are not wildcards]
    #[arg(
        long,
        global = true,
        value_name = "[NAME=]IP",
        env = "QTC_SEEDER_NS_ADDRESS",
        value_delimiter = ','
    )]
    ns_address: Vec<ServerAddress>,
    /// Directory of DNSSEC keys; zones that have keys there are signed (see `keys`).
    #[arg(long, global = true, value_name = "DIR", env = "QTC_SEEDER_KEYS")]
    keys: Option<PathBuf>,
    /// Mail address of the operator, for the SOA. [default: hostmaster@ZONE]
    #[arg(long, global = true, value_name = "MAIL", env = "QTC_SEEDER_CONTACT")]
    contact: Option<String>,
    /// Where to serve metrics, health and status. [default: 127.0.0.1:9353]
    #[arg(long, global = true, value_name = "ADDR", env = "QTC_SEEDER_HTTP")]
    http: Option<SocketAddr>,
    /// Seconds that resolvers may keep peers, at least 60. [default: 60]
    #[arg(long, global = true, value_name = "SECONDS", env = "QTC_SEEDER_TTL")]
    ttl: Option<u32>,
    /// Seconds between two looks at the store, 1 to 60. [default: 15]
    #[arg(
        long,
        global = true,
        value_name = "SECONDS",
        env = "QTC_SEEDER_REFRESH_SECONDS"
    )]
    refresh_seconds: Option<u64>,
    /// TOML file with the same keys (name_servers and name_server_addresses for the two --ns flags), and more: see
    /// docs/seeder.md.
    #[arg(long, global = true, value_name = "FILE", env = "QTC_SEEDER_CONFIG")]
    config: Option<PathBuf>,
}

/// Parses the command line and runs the command.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    let level = match cli.command {
        Command::Run => "info",
        _ => "warn",
    };
    let runtime = match tokio::runtime::Runtime::new() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&anyhow::Error::from(error).context("the runtime can't be started"));
            return ExitCode::FAILURE;
        }
    };
    let options = LogOptions {
        level: level.to_owned(),
        format: cli.log_format,
    };
    let result = match logging::init(&options) {
        Ok(()) => runtime.block_on(dispatch(cli)),
        Err(error) => Err(error.into()),
    };
    // What was answered has been sent, for as long as that may take (`DRAIN`). A read that hangs on a dead disk is not waited for:
    // nothing depends on it, and it would hold us up until somebody kills us.
    runtime.shutdown_background();
    result.unwrap_or_else(|error| {
        complain(&error);
        ExitCode::FAILURE
    })
}

/// Before or beside logging: a person reads it on standard error.
fn complain(error: &anyhow::Error) {
    let _ = writeln!(std::io::stderr(), "error: {error:#}");
}

async fn dispatch(cli: Cli) -> anyhow::Result<ExitCode> {
    let flags = cli.options;
    let config = configure(flags.clone()).await;
    match cli.command {
        Command::Run => run(config?, flags).await?,
        Command::Check(how) => return check::run(config, how).await,
        Command::Query { name, kind, dnssec } => query(&config?, &name, &kind, dnssec).await?,
        Command::Keys(command) => print(&keys::run(&config?, &command)?)?,
        Command::Zone { dump } => zones(&config?, dump).await?,
    }
    Ok(ExitCode::SUCCESS)
}

async fn run(config: SeederConfig, flags: Options) -> anyhow::Result<()> {
    let (stop, hangups) = (shutdown::signals(), shutdown::reloads());
    let seeder = Seeder::bind(config).await?;
    let reloading = tokio::spawn(reload(seeder.control(), flags, hangups));
    if let Some(addr) = seeder.http_addr() {
        tracing::info!(%addr, "serving status, metrics and health");
    }
    let telling = tokio::spawn(supervisor::report(seeder.health().clone(), stop.clone()));
    let ran = seeder.run(stop.clone()).await;
    stop.cancel();
    telling.await?;
    ran?;
    reloading.abort();
    Ok(())
}

/// Reads settings and keys again at each SIGHUP. What is wrong with them is told, and the old ones stay.
async fn reload(control: Control, flags: Options, mut hangups: watch::Receiver<u64>) {
    while hangups.changed().await.is_ok() {
        let result = async {
            let config = configure(flags.clone()).await?;
            anyhow::Ok(control.reload(&config).await?)
        };
        match result.await {
            Ok(()) => tracing::info!("settings and keys were read again"),
            Err(error) => tracing::error!("the settings stay as they were: {error:#}"),
        }
    }
}

async fn query(config: &SeederConfig, name: &str, kind: &str, dnssec: bool) -> anyhow::Result<()> {
    let mut owner =
        Name::from_ascii(name).with_context(|| format!("{name:?} is no domain name"))?;
    owner.set_fqdn(true);
    let kind: RecordType = kind.to_ascii_uppercase().parse().map_err(|_| {
        anyhow::anyhow!("{kind:?} is no record type: use A, AAAA, SRV, TXT, NS, SOA …")
    })?;
    let mut message = Message::new(0, MessageType::Query, OpCode::Query);
    message.add_query(hickory_proto::op::Query::query(owner, kind));
    if dnssec {
        let mut edns = Edns::new();
        edns.set_dnssec_ok(true);
        message.set_edns(edns);
    }
    let snapshot = load(config).await?;
    let response = respond::answer_once(config, snapshot, &message.to_vec()?)?;
    print(&render(&Message::from_vec(&response)?))
}

async fn zones(config: &SeederConfig, dump: bool) -> anyhow::Result<()> {
    let zones = config.build_zones()?;
    if !dump {
        let names: Vec<String> = zones.iter().map(|zone| zone.apex().to_string()).collect();
        return print(&format!("{}\n", names.join("\n")));
    }
    let snapshot = load(config).await?;
    let port = config.spec.network_protocol.default_port;
    for zone in &zones {
        print(&dump::master_file(zone, &snapshot, port)?)?;
    }
    Ok(())
}

/// The snapshot that a seeder would start with.
async fn load(config: &SeederConfig) -> anyhow::Result<Snapshot> {
    let (policy, now) = (config.policy(&config.build_zones()?), unix_now());
    let mut rng = StdRng::from_os_rng();
    let read = async {
        let path = config.store.as_ref().context("no store")?;
        let reader = StoreReader::open(path).await?;
        let found = reader.network().await?;
        anyhow::ensure!(
            found == config.spec.network,
            "{} holds the crawl of {found}, not of {}",
            path.display(),
            config.spec.network
        );
        anyhow::Ok(reader.good_peers(now).await?)
    };
    let snapshot = match read.await {
        Ok(set) if !set.peers.is_empty() => Snapshot::build(set, &policy, None, now, &mut rng),
        other => {
            let nodes = &config.spec.discovery.bootstrap_nodes;
            let why = match other {
                Ok(_) => "the store holds no good peer".to_owned(),
                Err(error) => format!("{error:#}"),
            };
            tracing::warn!(
                nodes = nodes.len(),
                "using the chain spec's bootstrap nodes: {why}"
            );
            Snapshot::bootstrap(nodes, &policy, None, now, &mut rng)
        }
    };
    Ok(snapshot)
}

/// As `dig` shows it: the code, then the sections.
fn render(message: &Message) -> String {
    let mut text = format!("; {}\n", message.metadata.response_code);
    let sections = [
        ("answer", &message.answers),
        ("authority", &message.authorities),
        ("additional", &message.additionals),
    ];
    for (name, records) in sections {
        if !records.is_empty() {
            text.push_str(&format!("; {name}\n"));
            for record in records {
                dump::line(&mut text, record);
            }
        }
    }
    text
}

/// Results go to standard output; a reader that closes the pipe early is no fault.
fn print(text: &str) -> anyhow::Result<()> {
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

/// Puts the layers together.
async fn configure(flags: Options) -> anyhow::Result<SeederConfig> {
    let file = match &flags.config {
        Some(path) => FileConfig::load(path)?,
        None => FileConfig::default(),
    };
    let mut zones = file.zones.unwrap_or_default();
    let listed = zones.clone();
    let is_listed = |name: &String| listed.iter().any(|other| same_name(other, name));
    let named = file.zone.iter().map(|settings| &settings.name);
    zones.extend(named.filter(|name| !is_listed(name)).cloned());
    let zone_settings = file
        .zone
        .into_iter()
        .map(|own| overridden(own, &flags))
        .collect();
    let network = flags.network.or(file.network);
    let chain_spec = flags.chain_spec.or(file.chain_spec);
    let spec = spec::choose(network.as_deref(), chain_spec.as_deref()).await?;
    let defaults = SeederConfig::new(spec);
    let store = match flags.store.or(file.store) {
        Some(path) => Some(path),
        None => default_store(&defaults.spec.network),
    };
    Ok(SeederConfig {
        store,
        listen: list(flags.listen, file.listen, defaults.listen),
        zones: list(flags.zone, Some(zones), defaults.zones),
        zone_settings,
        name_servers: list(flags.ns, file.name_servers, defaults.name_servers),
        name_server_addresses: list(
            flags.ns_address,
            file.name_server_addresses,
            defaults.name_server_addresses,
        ),
        contact: flags.contact.or(file.contact).unwrap_or(defaults.contact),
        http: Some(flags.http.or(file.http).unwrap_or(DEFAULT_HTTP)),
        ttl: flags.ttl.or(file.ttl).unwrap_or(defaults.ttl),
        refresh_seconds: flags
            .refresh_seconds
            .or(file.refresh_seconds)
            .unwrap_or(defaults.refresh_seconds),
        keys: flags.keys.or(file.keys),
        udp_workers: file.udp_workers.unwrap_or(defaults.udp_workers),
        rate_limit: file.rate_limit.unwrap_or(defaults.rate_limit),
        cookie_secret: file
            .cookie_secret
            .as_deref()
            .map(cookie_secret)
            .transpose()?,
        audit_seconds: file.audit_seconds.unwrap_or(defaults.audit_seconds),
        audit_addresses: file.audit_addresses.unwrap_or_default(),
        identity: Identity {
            version: file.version,
            id: file.id,
        },
        tls: file.tls,
        spec: defaults.spec,
    })
}

/// What flags and the environment say counts for all zones, whatever the file says of one.
fn overridden(own: ZoneSettings, flags: &Options) -> ZoneSettings {
    ZoneSettings {
        name_servers: own.name_servers.filter(|_| flags.ns.is_empty()),
        name_server_addresses: own
            .name_server_addresses
            .filter(|_| flags.ns_address.is_empty()),
        contact: own.contact.filter(|_| flags.contact.is_none()),
        ttl: own.ttl.filter(|_| flags.ttl.is_none()),
        keys: own.keys.filter(|_| flags.keys.is_none()),
        ..own
    }
}

fn list<T>(flags: Vec<T>, file: Option<Vec<T>>, default: Vec<T>) -> Vec<T> {
    if flags.is_empty() {
        file.unwrap_or(default)
    } else {
        flags
    }
}

/// Where the crawler keeps its store unless told otherwise.
fn default_store(network: &str) -> Option<PathBuf> {
    let dir = dirs::locate("quantumcoin-crawler", None).ok()?;
    Some(dir.join(network).join("crawl.sqlite"))
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[tokio::test]
    async fn flags_win_over_the_file_and_the_file_over_defaults() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("seeder.toml");
        std::fs::write(
            &path,
            "network = \"devnet\"\nttl = 120\nzones = [\"a.test\"]\n",
        )
        .unwrap();
        let parse = |more: &[&str]| {
            let base = [
                "quantumcoin-seeder",
                "run",
                "--config",
                path.to_str().unwrap(),
            ];
            Cli::parse_from(base.iter().chain(more)).options
        };
        let config = configure(parse(&[])).await.unwrap();
        assert_eq!((config.ttl, config.refresh_seconds), (120, 15));
        assert_eq!(config.spec.network, "devnet");
        assert_eq!(config.zones, ["a.test"]);
        std::fs::write(
            &path,
            "network = \"devnet\"\nttl = 120\nzones = [\"a.test\"]\n\
             [[zone]]\nname = \"a.test\"\nslice = \"1/2\"\n[[zone]]\nname = \"c.test\"\n",
        )
        .unwrap();
        let config = configure(parse(&[])).await.unwrap();
        assert_eq!(config.zones, ["a.test", "c.test"]);
        let slices: Vec<String> = config
            .build_zones()
            .unwrap()
            .iter()
            .map(|zone| zone.selection().slice.to_string())
            .collect();
        assert_eq!(slices, ["1/2", "1/1"]);
        let config = configure(parse(&["--ttl", "90", "--zone", "b.test"]))
            .await
            .unwrap();
        assert_eq!((config.ttl, config.zones), (90, vec!["b.test".to_owned()]));
        std::fs::write(
            &path,
            "network = \"devnet\"\nzones = [\"A.test.\"]\n[[zone]]\nname = \"a.test\"\nttl = 120\nkeys = \"/own\"\n",
        )
        .unwrap();
        let config = configure(parse(&[])).await.unwrap();
        let zones = config.build_zones().unwrap();
        assert_eq!((zones.len(), zones[0].ttl()), (1, 120));
        let config = configure(parse(&["--ttl", "90", "--keys", "/flag"]))
            .await
            .unwrap();
        let zones = config.build_zones().unwrap();
        assert_eq!(zones[0].ttl(), 90, "flags come before the file");
        assert_eq!(
            config.keys_of(&zones[0]).unwrap(),
            std::path::Path::new("/flag")
        );
    }
}
