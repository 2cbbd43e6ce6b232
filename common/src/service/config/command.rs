//! `config show`, `config check` and `config template`, which every program has.

use std::fmt::Write as _;

use clap::{Args, Subcommand};
use serde_json::json;
use toml::Table;

use super::environment::Environment;
use super::flags::Given;
use super::layers::{Loaded, Origin};
use super::mistake::Mistake;
use super::{show, template};
use crate::service::cli;

/// What may be asked of the settings. `F` are the flags of the program's start, so that what is shown is what `run` would do
/// with the same words.
#[derive(Debug, Clone, Subcommand)]
pub enum ConfigCommand<F: Args> {
    /// Print every setting with where it comes from, as a settings file or as JSON
    Show {
        /// What `run` takes
        #[command(flatten)]
        start: F,
        /// Print JSON
        #[arg(long, conflicts_with = "toml")]
        json: bool,
        /// Print a settings file (what it does anyway)
        #[arg(long)]
        toml: bool,
    },
    /// Read everything that `run` would read, start nothing, and tell all that is wrong
    Check {
        /// What `run` takes
        #[command(flatten)]
        start: F,
        /// Print JSON
        #[arg(long)]
        json: bool,
    },
    /// Print a commented settings file with every key
    Template,
}

impl<F: Args> ConfigCommand<F> {
    /// The flags of the program's start, where they matter.
    pub const fn start(&self) -> Option<&F> {
        match self {
            Self::Show { start, .. } | Self::Check { start, .. } => Some(start),
            Self::Template => None,
        }
    }

    /// Whether it shows what is in force, which takes settings without mistakes.
    pub const fn is_show(&self) -> bool {
        matches!(self, Self::Show { .. })
    }

    /// Carries it out: what to print, and whether all is well. `mistakes` are those of the layers and of what they name;
    /// `defaults` see [`show::toml`].
    pub fn answer(
        &self,
        loaded: &Loaded,
        mistakes: &[Mistake],
        defaults: &Table,
    ) -> (String, bool) {
        match self {
            Self::Template => (template::text(loaded.program()), true),
            Self::Show { json: true, .. } => (format!("{}\n", show::json(loaded, defaults)), true),
            Self::Show { json: false, .. } => (show::toml(loaded, defaults), true),
            Self::Check { json: true, .. } => (checked_json(loaded, mistakes), mistakes.is_empty()),
            Self::Check { json: false, .. } => (checked(loaded, mistakes), mistakes.is_empty()),
        }
    }
}

fn checked_json(loaded: &Loaded, mistakes: &[Mistake]) -> String {
    let report = json!({
        "program": loaded.program().name,
        "file": loaded.file(),
        "ok": mistakes.is_empty(),
        "mistakes": mistakes.iter().map(Mistake::json).collect::<Vec<_>>(),
    });
    format!("{report}\n")
}

fn checked(loaded: &Loaded, mistakes: &[Mistake]) -> String {
    let mut text = String::new();
    for mistake in mistakes {
        let _ = write!(text, "error: {mistake}\n\n");
    }
    let count = |is_of: fn(&Origin) -> bool| {
        let settings = loaded.set.values();
        settings.filter(|setting| is_of(&setting.origin)).count()
    };
    let file = count(|origin| matches!(origin, Origin::File { .. }));
    let variables = count(|origin| matches!(origin, Origin::Variable(_)));
    let flags = count(|origin| matches!(origin, Origin::Flag(_)));
    let place = loaded
        .file()
        .map_or("no settings file was read".to_owned(), |name| {
            format!("{file} from {name}")
        });
    let _ = writeln!(
        text,
        "settings of {}: {place}, {variables} from variables, {flags} from flags, the others are defaults",
        loaded.program().name
    );
    text.push_str(&match mistakes.len() {
        0 => "nothing is wrong with them\n".to_owned(),
        1 => "1 mistake\n".to_owned(),
        many => format!("{many} mistakes\n"),
    });
    text
}

/// The layers of a start: the file that was named, the environment of this process, the flags.
#[derive(Debug, Clone)]
pub struct Sources {
    /// The file.
    pub file: Option<std::path::PathBuf>,
    /// The variables.
    pub environment: Environment,
    /// Variables of the command line's parser.
    pub known_variables: Vec<String>,
    /// The flags.
    pub flags: Vec<Given>,
}

impl Sources {
    /// With the environment of this process; `command` tells which other variables it knows.
    #[must_use]
    pub fn new(
        command: &clap::Command,
        file: Option<&std::path::Path>,
        flags: impl IntoIterator<Item = Given>,
    ) -> Self {
        Self {
            file: file.map(std::path::Path::to_owned),
            environment: Environment::of_process(),
            known_variables: cli::variables(command),
            flags: flags.into_iter().collect(),
        }
    }

    /// As [`Loaded::read_all`] takes them.
    #[must_use]
    pub fn inputs(&self) -> super::layers::Inputs<'_> {
        super::layers::Inputs {
            file: self.file.as_deref(),
            environment: &self.environment,
            known_variables: &self.known_variables,
            flags: &self.flags,
        }
    }
}
