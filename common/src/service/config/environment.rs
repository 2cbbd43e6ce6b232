//! Variables of the environment: those that set something, and those that look as if they did.

use std::collections::BTreeMap;
use std::ffi::OsString;

use toml::Value;

use super::key::{Key, Program};
use super::mistake::{Mistake, Place};
use super::nearest::{misspelt, nearest};
use super::value;
use crate::service::logging::LOG_ENV;

/// What the variables of all programs begin with.
const COMMON_PREFIX: &str = "QTC_";

/// Of the other programs: nothing is said of them, for all may share one environment file.
const PREFIXES: [&str; 3] = ["QTC_NODE_", "QTC_CRAWLER_", "QTC_SEEDER_"];

/// Variables that begin with `QTC_`. Others are never looked at.
#[derive(Debug, Clone, Default)]
pub struct Environment(BTreeMap<String, Option<String>>);

impl Environment {
    /// Those of this process.
    #[must_use]
    pub fn of_process() -> Self {
        Self::of(std::env::vars_os())
    }

    /// Those among these. An empty one is as one that is not there.
    pub fn of(variables: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        let ours = variables.into_iter().filter_map(|(name, value)| {
            let name = name.into_string().ok()?;
            let is_ours = name.starts_with(COMMON_PREFIX) && !value.is_empty();
            is_ours.then(|| (name, value.into_string().ok()))
        });
        Self(ours.collect())
    }
}

/// What the environment says.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Values by dotted name, with the variable.
    pub(super) values: BTreeMap<String, (Value, String)>,
    pub(super) mistakes: Vec<Mistake>,
}

/// The variables that look as if they set something and do not: for commands that read no settings, whose operator would
/// wonder all the same. `known` are those that mean something else to the program.
#[must_use]
pub fn unknown_variables(
    program: &Program,
    environment: &Environment,
    known: &[String],
) -> Vec<Mistake> {
    let names = known_names(program, known);
    let unknown = environment.0.keys().filter(|name| !names.contains(name));
    unknown
        .filter_map(|name| stranger(program, name, &names))
        .collect()
}

fn known_names(program: &Program, known: &[String]) -> Vec<String> {
    let settings = program.single_keys().filter_map(|(section, key)| {
        let own = program.variable(section, key)?;
        Some([Some(own), key.shared.map(str::to_owned)])
    });
    let mut names: Vec<String> = settings.flatten().flatten().collect();
    names.extend_from_slice(known);
    names.push(LOG_ENV.to_owned());
    names
}

/// Reads the variables. `known` are those that mean something else to the program.
pub(super) fn read(program: &Program, environment: &Environment, known: &[String]) -> Found {
    let mut found = Found::default();
    for (section, key) in program.single_keys() {
        let Some(own) = program.variable(section, key) else {
            continue;
        };
        let shared = key.shared.map(str::to_owned);
        let candidates = [Some(own), shared];
        let mut set = candidates.into_iter().flatten();
        if let Some(name) = set.find(|name| environment.0.contains_key(name)) {
            match read_one(key, environment.0.get(&name)) {
                Ok(value) => {
                    found.values.insert(section.path(key), (value, name));
                }
                Err(wrong) => found.mistakes.push(Mistake::new(
                    Place::Variable(name),
                    wrong.problem,
                    wrong.help,
                )),
            }
        }
    }
    let unknown = unknown_variables(program, environment, known);
    found.mistakes.extend(unknown);
    found
}

fn read_one(key: &Key, value: Option<&Option<String>>) -> Result<Value, value::Wrong> {
    let Some(Some(text)) = value else {
        return Err(value::Wrong {
            problem: "its value is not UTF-8 text".to_owned(),
            help: "set it anew, or unset it".to_owned(),
        });
    };
    let shown = |wrong| {
        if key.secret {
            value::wrong_secret(key)
        } else {
            wrong
        }
    };
    if !key.is_list() {
        return value::from_word(key, text.trim()).map_err(shown);
    }
    let words = text
        .split(',')
        .map(str::trim)
        .filter(|word| !word.is_empty());
    let items: Result<Vec<Value>, _> = words.map(|word| value::from_word(key, word)).collect();
    items.map(Value::Array).map_err(shown)
}

/// What to say of a variable that means nothing: every one with the program's prefix, and those that all programs share
/// but for a letter or two.
fn stranger(program: &Program, name: &str, names: &[String]) -> Option<Mistake> {
    let is_own = name.starts_with(program.prefix);
    if !is_own && PREFIXES.iter().any(|prefix| name.starts_with(prefix)) {
        return None;
    }
    // All begin alike, so only what follows is compared.
    let prefix = if is_own {
        program.prefix
    } else {
        COMMON_PREFIX
    };
    let rest = name.strip_prefix(prefix)?;
    let rests = names.iter().filter_map(|known| known.strip_prefix(prefix));
    let near = if is_own {
        nearest(rest, rests)
    } else {
        misspelt(rest, rests)
    };
    let near = near.map(|near| format!("{prefix}{near}"));
    if !is_own && near.is_none() {
        return None;
    }
    let help = near.map_or_else(
        || {
            format!(
                "unset it; `{} config template` names the variable of each setting",
                program.name
            )
        },
        |near| format!("did you mean {near}?"),
    );
    let problem = format!(
        "{} knows no such variable, so it would do nothing",
        program.name
    );
    Some(Mistake::new(
        Place::Variable(name.to_owned()),
        problem,
        help,
    ))
}
