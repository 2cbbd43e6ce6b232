//! The settings of a start, from all layers, and `config`.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::CommandFactory;
use quantumcoin::chain_spec::ChainSpec;
use quantumcoin::service::config::command::{ConfigCommand, Sources};
use quantumcoin::service::config::flags::Flags;
use quantumcoin::service::config::{Environment, Loaded, Mistakes, unknown_variables};
use quantumcoin::service::logging::{self, LogOptions};
use quantumcoin::service::{cli, output, spec};
use quantumcoin_node::config::keys::{OfRun, PROGRAM};
use quantumcoin_node::config::{defaults, layers};
use quantumcoin_node::{NodeConfig, Settings};
use toml::Table;

use super::{Cli, Command};

/// Where the settings of a start come from.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Start {
    /// TOML file with settings; its keys are the flags below with _ for -
    #[arg(
        long,
        env = "QTC_NODE_CONFIG",
        value_name = "FILE",
        hide_env_values = true
    )]
    config: Option<PathBuf>,
    #[command(flatten)]
    flags: Flags<OfRun>,
}

impl Start {
    fn sources(&self) -> Sources {
        layers(&Cli::command(), self.config.as_deref(), &self.flags)
    }

    /// All layers, and what they come to.
    pub(super) fn settings(&self) -> Result<(Loaded, Settings), Mistakes> {
        let loaded = Loaded::read(&PROGRAM, &self.sources().inputs())?;
        let settings = loaded.to(Table::new())?;
        Ok((loaded, settings))
    }
}

/// Log output as the settings want it.
pub(super) fn start_logging(settings: &Settings) -> Result<(), logging::LogError> {
    let mut log = LogOptions::default();
    if let Some(level) = &settings.log {
        log.level.clone_from(level);
    }
    log.format = settings.log_format.unwrap_or_default();
    logging::init(&log)
}

/// A misspelt variable would do nothing in silence. `run` and `config` find those with all other mistakes; what tells of the
/// command line alone runs anywhere.
pub(super) fn refuse_unknown_variables(command: &Command) -> anyhow::Result<()> {
    if matches!(
        command,
        Command::Run(_) | Command::Config(_) | Command::Shape(_)
    ) {
        return Ok(());
    }
    let known = cli::variables(&Cli::command());
    let unknown = unknown_variables(&PROGRAM, &Environment::of_process(), &known);
    match unknown.is_empty() {
        true => Ok(()),
        false => Err(Mistakes(unknown).into()),
    }
}

/// Carries `config` out.
pub(super) async fn config(command: ConfigCommand<Start>) -> anyhow::Result<ExitCode> {
    let Some(start) = command.start() else {
        let nothing = Loaded::nothing(&PROGRAM);
        output::print(&command.answer(&nothing, &[], &Table::new()).0)?;
        return Ok(ExitCode::SUCCESS);
    };
    let (loaded, mut mistakes) = Loaded::read_all(&PROGRAM, &start.sources().inputs());
    if command.is_show() && !mistakes.is_empty() {
        return Err(Mistakes(mistakes).into());
    }
    // What the file says can't be looked at further where it can't be read.
    if !command.is_show() && loaded.is_whole() {
        let settings = loaded.to(Table::new())?;
        let faults = NodeConfig::examine(settings).await.into_iter();
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
