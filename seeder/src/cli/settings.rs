//! The layers of the settings, and `config`.

use std::process::ExitCode;

use clap::CommandFactory;
use quantumcoin::{
    chain_spec::ChainSpec,
    service::{
        config::{
            Loaded, Mistakes, Place,
            command::{ConfigCommand, Sources},
        },
        output, spec,
    },
};
use toml::Table;

use super::{Cli, Options};
use crate::config::{SeederConfig, defaults, keys::PROGRAM};

/// All commands take the flags of `run`.
#[derive(Debug, Clone, clap::Args)]
pub(super) struct Nothing {}

/// File, environment and flags.
pub(super) fn sources(options: &Options) -> Sources {
    let flags = options.flags.given().iter().cloned();
    Sources::new(&Cli::command(), options.config.as_deref(), flags)
}

/// Carries `config` out.
pub(super) async fn config(
    command: ConfigCommand<Nothing>,
    options: &Options,
) -> anyhow::Result<ExitCode> {
    if command.start().is_none() {
        let nothing = Loaded::nothing(&PROGRAM);
        output::print(&command.answer(&nothing, &[], &Table::new()).0)?;
        return Ok(ExitCode::SUCCESS);
    }
    let (loaded, mut mistakes) = Loaded::read_all(&PROGRAM, &sources(options).inputs());
    if command.is_show() && !mistakes.is_empty() {
        return Err(Mistakes(mistakes).into());
    }
    // What the file says can't be looked at further where it can't be read.
    if !command.is_show() && loaded.is_whole() {
        match SeederConfig::of(&loaded).await {
            Ok(config) => {
                let faults = config.examine().into_iter();
                mistakes.extend(faults.map(|fault| loaded.locate(fault)));
            }
            // What the type misses has its place already where the layers miss it too.
            Err(more) => {
                let told = !mistakes.is_empty();
                let more = more.0.into_iter();
                mistakes.extend(
                    more.filter(|more| !told || !matches!(more.place, Place::WholeFile(_))),
                );
            }
        }
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
