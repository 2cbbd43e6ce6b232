//! From settings to what a node runs with. Each step may fail for itself, so that an operator learns of everything that is
//! wrong at once.

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use clap::Command;
use quantumcoin::chain_spec::ChainSpec;
use quantumcoin::network::NetworkConfig;
use quantumcoin::network::discovery::{DnsTrust, Provider};
use quantumcoin::reachability::Netgroups;
use quantumcoin::reachability::asmap::AsMap;
use quantumcoin::service::config::command::Sources;
use quantumcoin::service::config::flags::Flags;
use quantumcoin::service::config::{Fault, Faults};
use quantumcoin::service::{bind, dirs, spec};
use toml::{Table, Value};

use super::keys::OfRun;
use super::{DEFAULT_HTTP, DnssecChoice, NodeConfig, Settings, data_dir, nat};

/// The layers of a start: `command` is the program's command line, whose variables are known.
#[must_use]
pub fn layers(command: &Command, file: Option<&Path>, flags: &Flags<OfRun>) -> Sources {
    Sources::new(command, file, flags.given().iter().cloned())
}

impl NodeConfig {
    /// Chooses the network, makes the data directory and checks what belongs together.
    ///
    /// # Errors
    /// Everything that is wrong, by key, and how to mend it.
    pub async fn resolve(settings: Settings) -> Result<Self, Faults> {
        let mut faults = Vec::new();
        let config = plan(settings, true, &mut faults).await;
        match config {
            Some(config) if faults.is_empty() => Ok(config),
            _ => Err(Faults(faults)),
        }
    }

    /// What [`Self::resolve`] would find wrong, and nothing is made for it. That the addresses to listen on belong to this
    /// machine is looked at as well.
    pub async fn examine(settings: Settings) -> Vec<Fault> {
        let mut faults = Vec::new();
        let config = plan(settings, false, &mut faults).await;
        if let Some(config) = config {
            let addresses = [
                ("listen", config.network.listen_addr),
                ("http", config.http),
            ];
            for (key, addr) in addresses {
                if let Err(error) = bind::is_ours(addr.ip()) {
                    faults.push(Fault::new(key, error));
                }
            }
        }
        faults
    }
}

/// Goes on after a fault wherever something is left to be looked at; `None` without a network.
async fn plan(settings: Settings, create: bool, faults: &mut Vec<Fault>) -> Option<NodeConfig> {
    let spec = spec::choose(settings.network.as_deref(), settings.chain_spec.as_deref()).await;
    let spec = keep(spec.map_err(|error| Fault::of(error.key(), &error)), faults)?;
    let dir = if create {
        data_dir(&spec, settings.data_dir.as_deref(), true)
    } else {
        let place = data_dir(&spec, settings.data_dir.as_deref(), false);
        place.and_then(|place| dirs::examine(&place).map(|()| place))
    };
    let dir = keep(dir.map_err(|error| Fault::of("data_dir", &error)), faults);
    let mut network = NetworkConfig::new(settings.listen.unwrap_or(default_listen(&spec)));
    network.data_dir.clone_from(&dir);
    names(&mut network, &settings, faults);
    network.manual_peers.clone_from(&settings.connect);
    network.external_address = settings.external_address;
    let nat = nat::settings(&settings.stun_server, &settings.port_mapping, settings.nat);
    if let Some(nat) = keep(nat, faults) {
        network.nat = nat;
    }
    network.transports = settings.transports.unwrap_or_default().kinds();
    if let Some(outbound) = settings.outbound {
        network.outbound_target = outbound;
    }
    let most = spec.network_protocol.max_connections;
    keep(fits(&network, most), faults);
    if let Some(path) = &settings.as_map {
        let map = AsMap::load(path).map_err(|error| Fault::of("as_map", &error));
        if let Some(map) = keep(map, faults) {
            network.netgroups = Netgroups::by_as(map);
        }
    }
    if let Some(seconds) = settings.penalty_half_life {
        network.penalty_half_life = Duration::from_secs(seconds);
    }
    let pause = settings
        .mine_every
        .map(|seconds| mining_pause(seconds, &spec));
    let mine_every = keep(pause.transpose(), faults);
    let http = keep(
        api(settings.http, settings.http_public.unwrap_or_default()),
        faults,
    );
    Some(NodeConfig {
        spec,
        data_dir: dir?,
        network,
        http: http?,
        http_names: settings.http_name,
        mine_every: mine_every?,
    })
}

fn keep<T>(result: Result<T, Fault>, faults: &mut Vec<Fault>) -> Option<T> {
    result.map_err(|fault| faults.push(fault)).ok()
}

/// How seed names are asked for, and which.
fn names(network: &mut NetworkConfig, settings: &Settings, faults: &mut Vec<Fault>) {
    if !settings.resolver.is_empty() {
        let read = |text: &String| {
            let provider = text.parse::<Provider>();
            provider.map_err(|error| Fault::of("resolver", &error))
        };
        let providers: Result<_, _> = settings.resolver.iter().map(read).collect();
        if let Some(providers) = keep(providers, faults) {
            network.providers = providers;
        }
    }
    network.dns_trust = dns_trust(settings, faults);
    if !settings.dns_seed.is_empty() {
        network.dns_seeds = Some(settings.dns_seed.clone());
    }
}

/// Each of the two files for itself.
fn dns_trust(settings: &Settings, faults: &mut Vec<Fault>) -> DnsTrust {
    let dnssec = settings.dnssec.unwrap_or_default();
    let mut trust = DnsTrust::new(dnssec.into());
    match &settings.trust_anchor {
        Some(_) if dnssec == DnssecChoice::Off => faults.push(Fault::new(
            "trust_anchor",
            "dnssec is off, so nothing is done with trust_anchor\n  help: leave one of them out",
        )),
        Some(file) => {
            let read = trust.clone().with_anchors(file);
            let read = read.map_err(|error| Fault::of("trust_anchor", &error));
            trust = keep(read, faults).unwrap_or(trust);
        }
        None => {}
    }
    if let Some(file) = &settings.resolver_ca {
        let read = trust.clone().with_authorities(file);
        let read = read.map_err(|error| Fault::of("resolver_ca", &error));
        trust = keep(read, faults).unwrap_or(trust);
    }
    trust
}

fn fits(network: &NetworkConfig, most: usize) -> Result<(), Fault> {
    let places = network.outbound_places();
    if places <= most {
        return Ok(());
    }
    Err(Fault::new(
        "outbound",
        format!(
            "{} outbound connections, those for blocks alone, a feeler and {} manual peers would be {places}: more \
             than the network allows in all ({most})\n  help: choose fewer by --outbound or --connect",
            network.outbound_target,
            network.manual_peers.len(),
        ),
    ))
}

fn mining_pause(seconds: f64, spec: &ChainSpec) -> Result<Duration, Fault> {
    let wrong = |words: String| Fault::new("mine_every", words);
    if spec.consensus.asert_half_life != 0 {
        return Err(wrong(format!(
            "mining is for devnets; {} has a difficulty that no CPU meets\n  help: leave it out, or choose --network devnet",
            spec.network
        )));
    }
    let pause = Duration::try_from_secs_f64(seconds).ok();
    pause
        .filter(|pause| !pause.is_zero())
        .ok_or_else(|| wrong(format!("{seconds} must be more than 0 seconds")))
}

fn api(chosen: Option<SocketAddr>, public: bool) -> Result<SocketAddr, Fault> {
    let http = match chosen {
        Some(addr) => addr,
        None => DEFAULT_HTTP
            .parse()
            .map_err(|error| Fault::of("http", &error))?,
    };
    if http.ip().is_loopback() || public {
        return Ok(http);
    }
    Err(Fault::new(
        "http",
        format!(
            "the HTTP API would listen on {http}, reachable from outside, and it has no TLS\n  help: choose a loopback \
             address such as {DEFAULT_HTTP} and put a TLS proxy before it, or say --http-public where the network is trusted"
        ),
    ))
}

fn default_listen(spec: &ChainSpec) -> SocketAddr {
    let host = if spec.network_protocol.allow_private_addresses {
        [127, 0, 0, 1]
    } else {
        [0; 4]
    };
    SocketAddr::from((host, spec.network_protocol.default_port))
}

/// What a node uses where nobody sets it, as far as the network or this machine decide it.
#[must_use]
pub fn defaults(spec: &ChainSpec) -> Table {
    let network = NetworkConfig::new(default_listen(spec));
    let list = |items: Vec<String>| Value::Array(items.into_iter().map(Value::String).collect());
    let mut table = Table::new();
    let mut set = |key: &str, value| {
        table.insert(key.to_owned(), value);
    };
    if let Ok(dir) = data_dir(spec, None, false) {
        set("data_dir", Value::String(dir.display().to_string()));
    }
    set("listen", Value::String(network.listen_addr.to_string()));
    let resolvers = network.providers.iter().map(ToString::to_string);
    set("resolver", list(resolvers.collect()));
    set("dns_seed", list(spec.discovery.dns_seeds.clone()));
    set("stun_server", list(network.nat.stun_servers));
    table
}
