//! The layers of a start put together, at the start and at each reload; and `config`.

use std::process::ExitCode;

use quantumcoin::chain_spec::ChainSpec;
use quantumcoin::service::config::command::{ConfigCommand, Sources};
use quantumcoin::service::config::flags::Flags;
use quantumcoin::service::config::{Loaded, Mistakes};
use quantumcoin::service::logging::{self, LogOptions};
use quantumcoin::service::{output, spec};
use toml::Table;

use super::Cli;
use crate::config::keys::{OfStart, PROGRAM};
use crate::config::{CrawlerConfig, defaults};

/// Makes the configuration of a start.
pub(super) struct Loader {
    sources: Sources,
}

/// Makes it again: what belongs to the start stays.
pub(super) struct Reloader {
    sources: Sources,
    base: CrawlerConfig,
}

impl Loader {
    pub(super) fn new(command: &clap::Command, cli: &Cli) -> Self {
        let start = cli.command.start().map_or(&[][..], Flags::given);
        let flags = cli.common.flags.given().iter().chain(start).cloned();
        Self {
            sources: Sources::new(command, cli.common.config.as_deref(), flags),
        }
    }

    /// What the layers come to, and the log output that they want.
    pub(super) async fn first(&self) -> anyhow::Result<CrawlerConfig> {
        let loaded = Loaded::read(&PROGRAM, &self.sources.inputs())?;
        let level = loaded.text("log").unwrap_or("info").to_owned();
        let format = loaded.text("log_format").unwrap_or("auto").parse();
        logging::init(&LogOptions {
            level,
            format: format.unwrap_or_default(),
        })?;
        Ok(CrawlerConfig::resolve(&loaded).await?)
    }

    /// For reloads.
    pub(super) fn again(self, base: CrawlerConfig) -> Reloader {
        Reloader {
            sources: self.sources,
            base,
        }
    }

    /// A crawl that ends soon shows nothing by itself, for it may run beside the one whose settings these are.
    pub(super) fn once(&self, mut config: CrawlerConfig) -> CrawlerConfig {
        let mut flags = self.sources.flags.iter();
        if !flags.any(|given| given.path == "http") {
            config.http = None;
        }
        config
    }
}

impl Reloader {
    /// With the settings as they are now.
    pub(super) async fn load(&self) -> anyhow::Result<CrawlerConfig> {
        let loaded = Loaded::read(&PROGRAM, &self.sources.inputs())?;
        let config = CrawlerConfig::resolve(&loaded).await?;
        Ok(CrawlerConfig {
            settings: config.settings,
            excluded: config.excluded,
            geo: config.geo,
            ..self.base.clone()
        })
    }
}

/// Carries `config` out.
pub(super) async fn config(
    command: ConfigCommand<Flags<OfStart>>,
    loader: &Loader,
) -> anyhow::Result<ExitCode> {
    if command.start().is_none() {
        let nothing = Loaded::nothing(&PROGRAM);
        output::print(&command.answer(&nothing, &[], &Table::new()).0)?;
        return Ok(ExitCode::SUCCESS);
    }
    let (loaded, mut mistakes) = Loaded::read_all(&PROGRAM, &loader.sources.inputs());
    if command.is_show() && !mistakes.is_empty() {
        return Err(Mistakes(mistakes).into());
    }
    // What the file says can't be looked at further where it can't be read.
    if !command.is_show() && loaded.is_whole() {
        let faults = CrawlerConfig::examine(&loaded).await?.into_iter();
        mistakes.extend(faults.map(|fault| loaded.locate(fault)));
    }
    let spec = spec::choose(loaded.text("network"), loaded.path("chain_spec")).await;
    let defaults = defaults(&spec.unwrap_or_else(|_| ChainSpec::mainnet()));
    let (text, is_well) = command.answer(&loaded, &mistakes, &defaults);
    output::print(&text)?;
    Ok(if is_well {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
