//! From settings to what a start of the crawler needs. Each step may fail for itself, so that an operator learns of everything
//! that is wrong at once.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use quantumcoin::chain_spec::ChainSpec;
use quantumcoin::network::discovery::Provider;
use quantumcoin::service::config::{Fault, Faults, Loaded, Mistakes};
use quantumcoin::service::{bind, dirs, spec};
use toml::{Table, Value};

use super::keys::PROGRAM;
use super::{CrawlerConfig, Settings, Start};
use crate::geo::{Geo, GeoFiles};

/// What helps where a file of the operator's can't be used.
const READABLE: &str =
    "check the path and what the file holds, and that the user that runs the crawler may read it";

impl CrawlerConfig {
    /// What the layers come to; the data directory is made.
    ///
    /// # Errors
    /// Everything that is wrong, with its place.
    pub async fn resolve(loaded: &Loaded) -> Result<Self, Mistakes> {
        let mut faults = Vec::new();
        let config = plan(loaded, true, &mut faults).await?;
        match config {
            Some(config) if faults.is_empty() => Ok(config),
            _ => Err(loaded.locate_all(Faults(faults))),
        }
    }

    /// What [`Self::resolve`] would find wrong, and nothing is made for it. That the dashboard's address belongs to this machine
    /// is looked at as well.
    ///
    /// # Errors
    /// Where the program's types refuse what its description allows.
    pub async fn examine(loaded: &Loaded) -> Result<Vec<Fault>, Mistakes> {
        let mut faults = Vec::new();
        let config = plan(loaded, false, &mut faults).await?;
        if let Some(addr) = config.and_then(|config| config.http)
            && let Err(error) = bind::is_ours(addr.ip())
        {
            faults.push(Fault::new("http", error));
        }
        Ok(faults)
    }
}

/// Goes on after a fault wherever something is left to be looked at; `None` without a network.
async fn plan(
    loaded: &Loaded,
    create: bool,
    faults: &mut Vec<Fault>,
) -> Result<Option<CrawlerConfig>, Mistakes> {
    let start: Start = loaded.to(start_defaults())?;
    let spec = spec::choose(start.network.as_deref(), start.chain_spec.as_deref()).await;
    let Some(spec) = keep(spec.map_err(|error| Fault::of(error.key(), &error)), faults) else {
        return Ok(None);
    };
    let settings: Settings = loaded.to(network_defaults(&spec))?;
    let dir = data_dir(&spec, start.data_dir.as_deref(), create);
    let dir = keep(dir.map_err(|error| Fault::of("data_dir", &error)), faults);
    let excluded = settings.excluded();
    let excluded = keep(
        excluded.map_err(|error| Fault::of("do_not_probe", &error).with_help(READABLE)),
        faults,
    );
    let geo = databases(&settings.geo, faults);
    let resolvers = keep(resolvers(&start), faults);
    keep(in_order(&settings), faults);
    let mut config = CrawlerConfig::new(Arc::new(spec), &dir.unwrap_or_default());
    config.http = Some(start.http);
    config.seed_addrs = start.seed_addr;
    config.use_bootstrap = start.bootstrap;
    config.excluded = excluded.unwrap_or_default();
    config.geo = geo;
    config.resolvers = resolvers.unwrap_or_default();
    config.settings = settings;
    Ok(Some(config))
}

fn keep<T>(result: Result<T, Fault>, faults: &mut Vec<Fault>) -> Option<T> {
    result.map_err(|fault| faults.push(fault)).ok()
}

/// The data directory: `chosen`, or one folder for each network, so that their stores do not meet.
fn data_dir(
    spec: &ChainSpec,
    chosen: Option<&Path>,
    create: bool,
) -> Result<PathBuf, dirs::DirError> {
    let place = match chosen {
        Some(dir) => dir.to_owned(),
        None => dirs::locate(PROGRAM.name, None)?.join(&spec.network),
    };
    if create {
        dirs::ensure(PROGRAM.name, Some(&place))
    } else {
        dirs::examine(&place).map(|()| place)
    }
}

/// Each database for itself, so that each is told where it is wrong.
fn databases(files: &GeoFiles, faults: &mut Vec<Fault>) -> Geo {
    let one = [
        (
            "geo.countries",
            GeoFiles {
                systems: None,
                ..files.clone()
            },
        ),
        (
            "geo.systems",
            GeoFiles {
                countries: None,
                ..files.clone()
            },
        ),
    ];
    let before = faults.len();
    for (key, files) in &one {
        keep(
            Geo::read(files).map_err(|error| Fault::of(*key, &error).with_help(READABLE)),
            faults,
        );
    }
    if faults.len() > before {
        return Geo::default();
    }
    let both = Geo::read(files).map_err(|error| Fault::of("geo.systems", &error));
    keep(both, faults).unwrap_or_default()
}

fn resolvers(start: &Start) -> Result<Vec<Provider>, Fault> {
    if !start.dns {
        return match start.resolver.as_slice() {
            [] => Ok(Vec::new()),
            [only] if only == SYSTEM => Ok(Vec::new()),
            _ => Err(Fault::new(
                "resolver",
                "dns is false, so nobody is asked\n  help: leave the resolvers out, or --no-dns",
            )),
        };
    }
    let read = |text: &String| {
        let provider = text.parse::<Provider>();
        provider.map_err(|error| Fault::of("resolver", &error))
    };
    start.resolver.iter().map(read).collect()
}

/// Of two limits the lower must not be the higher one.
fn in_order(settings: &Settings) -> Result<(), Fault> {
    let schedule = &settings.schedule;
    let pairs = [
        (
            "schedule.good_max_secs",
            "good_min_secs",
            schedule.good_min_secs,
            schedule.good_max_secs,
        ),
        (
            "schedule.backoff_cap_secs",
            "backoff_first_secs",
            schedule.backoff_first_secs,
            schedule.backoff_cap_secs,
        ),
    ];
    for (key, lower_key, lower, upper) in pairs {
        if lower > upper {
            return Err(Fault::new(
                key,
                format!(
                    "{upper} is less than {lower_key}, which is {lower}\n  help: raise this one, or lower that"
                ),
            ));
        }
    }
    Ok(())
}

/// The resolver that is asked by default.
const SYSTEM: &str = "system";

fn start_defaults() -> Table {
    let mut table = Table::new();
    let mut set = |key: &str, value| {
        table.insert(key.to_owned(), value);
    };
    set("http", Value::String(super::DEFAULT_HTTP.to_owned()));
    set(
        "resolver",
        Value::Array(vec![Value::String(SYSTEM.to_owned())]),
    );
    set("dns", Value::Boolean(true));
    set("bootstrap", Value::Boolean(true));
    set("log", Value::String("info".to_owned()));
    table
}

/// The settings of a network, in the shape of the file.
fn network_defaults(spec: &ChainSpec) -> Table {
    let config = CrawlerConfig::new(Arc::new(spec.clone()), Path::new(""));
    let settings = Settings {
        good: Some(config.good_policy()),
        ..config.settings
    };
    // What has no TOML form can't be in settings that are read from it; and without them the description's values hold.
    Table::try_from(settings).unwrap_or_default()
}

/// What a crawler uses where nobody sets it, as far as the network or this machine decide it.
#[must_use]
pub fn defaults(spec: &ChainSpec) -> Table {
    let mut table = network_defaults(spec);
    table.extend(start_defaults());
    if let Ok(dir) = dirs::locate(PROGRAM.name, None) {
        let dir = dir.join(&spec.network).display().to_string();
        table.insert("data_dir".to_owned(), Value::String(dir));
    }
    table
}
