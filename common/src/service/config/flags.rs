//! The flags of a command line, made from the description of a program's settings.
//!
//! [`Flags`] is flattened into a program's clap types in place of fields. It keeps what was given as words; values are
//! checked while the command line is parsed, so that a wrong one is wrong usage like any other.

use std::fmt;
use std::marker::PhantomData;

use clap::builder::PossibleValuesParser;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Args, Command, FromArgMatches, ValueHint};
use toml::Value;

use super::key::{Fallback, Flag, Key, Kind, Program, Section};
use super::{show, value};

/// Which flags of which program.
pub trait Scope: 'static {
    /// The program whose settings they are.
    fn program() -> &'static Program;

    /// Whether the flag is one of them.
    fn has(flag: &Flag) -> bool;

    /// Whether subcommands take them as well.
    const GLOBAL: bool;
}

/// A setting that was given by a flag: the words behind it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// Its dotted name.
    pub path: String,
    /// The flag with its dashes.
    pub flag: String,
    /// What was given, checked already.
    pub words: Vec<String>,
}

/// The flags that were given.
pub struct Flags<S> {
    given: Vec<Given>,
    scope: PhantomData<fn() -> S>,
}

impl<S> Flags<S> {
    /// No flag at all.
    #[must_use]
    pub const fn none() -> Self {
        Self {
            given: Vec::new(),
            scope: PhantomData,
        }
    }

    /// What was given.
    #[must_use]
    pub fn given(&self) -> &[Given] {
        &self.given
    }
}

impl<S> Clone for Flags<S> {
    fn clone(&self) -> Self {
        Self {
            given: self.given.clone(),
            scope: PhantomData,
        }
    }
}

impl<S> fmt::Debug for Flags<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Words may be secret.
        let flags = self.given.iter().map(|given| &given.flag);
        f.debug_list().entries(flags).finish()
    }
}

impl<S: Scope> Flags<S> {
    fn all() -> impl Iterator<Item = (&'static Section, &'static Key, Flag)> {
        let keys = S::program().single_keys();
        keys.filter_map(|(section, key)| {
            let flag = key.flag.filter(S::has)?;
            Some((section, key, flag))
        })
    }
}

impl<S: Scope> FromArgMatches for Flags<S> {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        let mut given = Vec::new();
        for (section, key, flag) in Self::all() {
            let path = section.path(key);
            if matches.value_source(flag.long) != Some(ValueSource::CommandLine) {
                continue;
            }
            let words = if flag.value.is_empty() {
                vec!["false".to_owned()]
            } else {
                let words = matches.get_many::<String>(flag.long);
                words.into_iter().flatten().cloned().collect()
            };
            given.push(Given {
                path,
                flag: format!("--{}", flag.long),
                words,
            });
        }
        Ok(Self {
            given,
            scope: PhantomData,
        })
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::from_arg_matches(matches)?;
        Ok(())
    }
}

impl<S: Scope> Args for Flags<S> {
    fn augment_args(command: Command) -> Command {
        Self::all().fold(command, |command, (section, key, flag)| {
            command.arg(argument(S::program(), section, key, flag).global(S::GLOBAL))
        })
    }

    fn augment_args_for_update(command: Command) -> Command {
        Self::augment_args(command)
    }
}

fn argument(program: &Program, section: &Section, key: &'static Key, flag: Flag) -> Arg {
    let arg = Arg::new(flag.long)
        .long(flag.long)
        .help(help(program, section, key, flag));
    if flag.value.is_empty() {
        return arg.action(ArgAction::SetTrue);
    }
    let arg = arg.value_name(flag.value);
    let arg = if key.is_list() {
        arg.action(ArgAction::Append).value_delimiter(',')
    } else {
        arg.action(ArgAction::Set)
    };
    let kind = match key.kind {
        Kind::List(item) => *item,
        kind => kind,
    };
    let arg = if matches!(kind, Kind::Switch) {
        arg.num_args(0..=1).default_missing_value("true")
    } else {
        arg
    };
    match kind {
        Kind::Choice(words) => arg.value_parser(PossibleValuesParser::new(words.iter().copied())),
        Kind::Path => arg.value_hint(ValueHint::AnyPath),
        _ => arg.value_parser(move |word: &str| {
            let read = value::from_word(key, word);
            read.map(|_| word.to_owned())
                .map_err(|wrong| format!("{}\n  help: {}", wrong.problem, wrong.help))
        }),
    }
}

fn help(program: &Program, section: &Section, key: &Key, flag: Flag) -> String {
    let mut text = if flag.value.is_empty() {
        format!(
            "Sets {} to false: {}",
            section.path(key),
            lower_first(key.text)
        )
    } else {
        key.text.to_owned()
    };
    if key.is_list() {
        text.push_str(" (repeatable)");
    }
    if !flag.value.is_empty() {
        let default = match key.default {
            Fallback::Is(literal) => spoken(literal),
            Fallback::Words(words, _) => words.to_owned(),
        };
        text.push_str(&format!(" [default: {default}]"));
    }
    if let Some(variable) = program.variable(section, key) {
        // The shared one is the one to be set; the program's own is for those who need to tell programs apart.
        let shown = key.shared.map_or(variable, str::to_owned);
        text.push_str(&format!(" [env: {shown}]"));
    }
    text
}

/// A TOML value as it would be given on a command line.
fn spoken(literal: &str) -> String {
    match show::value_of(literal) {
        Some(Value::String(text)) => text,
        Some(Value::Array(items)) if items.is_empty() => "none".to_owned(),
        Some(Value::Array(items)) => {
            let words = items.iter().filter_map(Value::as_str);
            words.collect::<Vec<_>>().join(",")
        }
        _ => literal.to_owned(),
    }
}

fn lower_first(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map_or_else(String::new, |first| {
        first.to_lowercase().chain(chars).collect()
    })
}
