//! One value of a kind: from TOML, or from a word of the environment or the command line. Pure.

use std::net::{IpAddr, SocketAddr};
use std::ops::Range;

use toml::Spanned;
use toml::Value;
use toml::de::DeValue;

use super::key::{Fallback, Key, Kind};
use super::nearest::{listed, nearest};

/// What is wrong with a value, and the remedy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) problem: String,
    pub(super) help: String,
}

/// A wrong value at its place in the file.
pub(super) type WrongAt = (Range<usize>, Wrong);

fn wrong<T>(problem: String, help: String) -> Result<T, Wrong> {
    Err(Wrong { problem, help })
}

/// Reads one word; of a key that holds a list, one of its items.
pub(super) fn from_word(key: &Key, word: &str) -> Result<Value, Wrong> {
    let kind = match key.kind {
        Kind::List(item) => *item,
        kind => kind,
    };
    match kind {
        Kind::Switch => match word {
            "true" => Ok(Value::Boolean(true)),
            "false" => Ok(Value::Boolean(false)),
            _ => wrong(
                format!("{} is neither true nor false", quoted(word)),
                "write true or false".to_owned(),
            ),
        },
        Kind::Integer(least, most) => match word.parse() {
            Ok(number) => integer(number, least, most),
            Err(_) => wrong(
                format!("{} is no whole number", quoted(word)),
                format!("write a number {}", span(least, most)),
            ),
        },
        Kind::Number(least, most) => match word.parse() {
            Ok(number) => float(number, least, most),
            Err(_) => wrong(
                format!("{} is no number", quoted(word)),
                "write a number such as 2 or 0.5".to_owned(),
            ),
        },
        Kind::Rows(..) | Kind::List(_) => wrong(
            "this setting fits in no word".to_owned(),
            "set it in the file".to_owned(),
        ),
        _ => text(kind, word),
    }
}

/// Reads a value of the file. `path` is its dotted name.
pub(super) fn from_toml(
    key: &Key,
    path: &str,
    found: &Spanned<DeValue<'_>>,
) -> Result<Value, Vec<WrongAt>> {
    match (key.kind, found.get_ref()) {
        (Kind::List(item), DeValue::Array(items)) => {
            let read = |one: &Spanned<DeValue<'_>>| {
                single(*item, key, path, one).map_err(|wrong| (one.span(), wrong))
            };
            all(items.iter().map(read))
        }
        (Kind::Rows(count, columns), DeValue::Array(rows)) if rows.len() == count => {
            let read = |row: &Spanned<DeValue<'_>>| row_of(columns, path, row);
            let (rows, mistakes): (Vec<_>, Vec<_>) = rows.iter().map(read).partition(Result::is_ok);
            if mistakes.is_empty() {
                return Ok(Value::Array(rows.into_iter().flatten().collect()));
            }
            Err(mistakes
                .into_iter()
                .filter_map(Result::err)
                .flatten()
                .collect())
        }
        (kind, _) => single(kind, key, path, found).map_err(|wrong| vec![(found.span(), wrong)]),
    }
}

fn all(items: impl Iterator<Item = Result<Value, WrongAt>>) -> Result<Value, Vec<WrongAt>> {
    let (mut good, mut bad) = (Vec::new(), Vec::new());
    for item in items {
        match item {
            Ok(value) => good.push(value),
            Err(mistake) => bad.push(mistake),
        }
    }
    if bad.is_empty() {
        Ok(Value::Array(good))
    } else {
        Err(bad)
    }
}

/// A table that has each of the columns and nothing else.
fn row_of(
    columns: &'static [Key],
    path: &str,
    row: &Spanned<DeValue<'_>>,
) -> Result<Value, Vec<WrongAt>> {
    let names = || listed(columns.iter().map(|column| column.name));
    let DeValue::Table(table) = row.get_ref() else {
        let problem = format!(
            "a row of `{path}` is {}; a table is wanted",
            named(row.get_ref())
        );
        let help = format!("write each row as a table of {}", names());
        return Err(vec![(row.span(), Wrong { problem, help })]);
    };
    let (mut values, mut mistakes) = (toml::Table::new(), Vec::new());
    for (name, value) in table {
        match columns.iter().find(|column| column.name == name.get_ref()) {
            None => mistakes.push((
                name.span(),
                Wrong {
                    problem: format!("unknown key `{}` in a row of `{path}`", name.get_ref()),
                    help: format!("a row has {}", names()),
                },
            )),
            Some(column) => match from_toml(column, &format!("{path}.{}", column.name), value) {
                Ok(value) => {
                    values.insert(column.name.to_owned(), value);
                }
                Err(wrong) => mistakes.extend(wrong),
            },
        }
    }
    let missing: Vec<_> = columns
        .iter()
        .map(|column| column.name)
        .filter(|name| !table.keys().any(|found| found.get_ref() == name))
        .collect();
    if !missing.is_empty() {
        mistakes.push((
            row.span(),
            Wrong {
                problem: format!("a row of `{path}` lacks {}", listed(missing)),
                help: format!("a row has {}", names()),
            },
        ));
    }
    if mistakes.is_empty() {
        Ok(Value::Table(values))
    } else {
        Err(mistakes)
    }
}

fn single(kind: Kind, key: &Key, path: &str, found: &Spanned<DeValue<'_>>) -> Result<Value, Wrong> {
    match (kind, found.get_ref()) {
        (Kind::Switch, DeValue::Boolean(value)) => Ok(Value::Boolean(*value)),
        (Kind::Integer(least, most), DeValue::Integer(number)) => {
            match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => integer(number, least, most),
                Err(_) => wrong(
                    format!("{number} has too many digits"),
                    format!("write a number {}", span(least, most)),
                ),
            }
        }
        (Kind::Number(least, most), DeValue::Integer(number)) => {
            match i64::from_str_radix(number.as_str(), number.radix()) {
                Ok(number) => float(number as f64, least, most),
                Err(_) => wrong(
                    format!("{number} has too many digits"),
                    "write a number such as 2 or 0.5".to_owned(),
                ),
            }
        }
        (Kind::Number(least, most), DeValue::Float(number)) => match number.as_str().parse() {
            Ok(number) => float(number, least, most),
            Err(_) => wrong(
                format!("{number} is no number"),
                "write a number such as 2 or 0.5".to_owned(),
            ),
        },
        (
            Kind::Text | Kind::Choice(_) | Kind::Socket | Kind::Path | Kind::Parsed { .. },
            DeValue::String(word),
        ) => text(kind, word),
        (_, other) => Err(of_another_type(kind, key, path, other)),
    }
}

/// What is written as text.
fn text(kind: Kind, word: &str) -> Result<Value, Wrong> {
    match kind {
        Kind::Choice(words) if !words.contains(&word) => {
            let help = match nearest(word, words.iter().copied()) {
                Some(near) => format!(
                    "did you mean {near:?}? There are {}",
                    listed(words.iter().copied())
                ),
                None => format!("write one of {}", listed(words.iter().copied())),
            };
            wrong(format!("{} is no choice", quoted(word)), help)
        }
        Kind::Socket if word.parse::<SocketAddr>().is_err() => {
            let bare = word.trim_matches(['[', ']']).parse::<IpAddr>();
            let help = match (bare, word.strip_prefix("localhost:")) {
                (Ok(IpAddr::V4(ip)), _) => format!("add a port: \"{ip}:8333\""),
                (Ok(IpAddr::V6(ip)), _) => format!("add a port: \"[{ip}]:8333\""),
                (_, Some(port)) => format!("write the address itself: \"127.0.0.1:{port}\""),
                _ => {
                    "write ADDRESS:PORT, such as 127.0.0.1:8333 or [::1]:8333; a name is no address"
                        .to_owned()
                }
            };
            wrong(format!("{} is no address with port", quoted(word)), help)
        }
        Kind::Path if word.is_empty() => wrong(
            "the path is empty".to_owned(),
            "name a path, or leave the setting out".to_owned(),
        ),
        Kind::Parsed {
            form,
            example,
            check,
        } => match check(word) {
            Ok(()) => Ok(Value::String(word.to_owned())),
            Err(words) if words.is_empty() => wrong(
                format!("{} is not {form}", quoted(word)),
                format!("write it as in {example:?}"),
            ),
            Err(words) => wrong(words, format!("wanted is {form}, as in {example:?}")),
        },
        _ => Ok(Value::String(word.to_owned())),
    }
}

fn integer(number: i64, least: i64, most: i64) -> Result<Value, Wrong> {
    if (least..=most).contains(&number) {
        return Ok(Value::Integer(number));
    }
    wrong(
        format!("{number} is out of range"),
        format!("write a number {}", span(least, most)),
    )
}

fn float(number: f64, least: f64, most: f64) -> Result<Value, Wrong> {
    if (least..=most).contains(&number) {
        return Ok(Value::Float(number));
    }
    wrong(
        format!("{number} is out of range"),
        format!("write a number from {least} to {most}"),
    )
}

/// A range in words; the largest values mean that there is no limit.
pub(super) fn span(least: i64, most: i64) -> String {
    if most == i64::MAX {
        format!("of at least {least}")
    } else {
        format!("from {least} to {most}")
    }
}

fn of_another_type(kind: Kind, key: &Key, path: &str, found: &DeValue<'_>) -> Wrong {
    let name = key.name;
    let help = match (kind, found) {
        (Kind::List(_), DeValue::String(word)) => {
            format!("write a list: `{name} = [{word:?}]`")
        }
        (Kind::Switch | Kind::Integer(..) | Kind::Number(..), DeValue::String(word))
            if from_word(key, word).is_ok() =>
        {
            format!("leave the quotes out: `{name} = {word}`")
        }
        (
            Kind::Text | Kind::Choice(_) | Kind::Path | Kind::Socket | Kind::Parsed { .. },
            DeValue::Integer(_) | DeValue::Float(_) | DeValue::Boolean(_) | DeValue::Datetime(_),
        ) => format!("put it in quotes, as in `{name} = {}`", example(key)),
        _ => format!("write it as in `{name} = {}`", example(key)),
    };
    let problem = match key.kind {
        Kind::List(_) if !matches!(kind, Kind::List(_)) => {
            format!(
                "an item of `{path}` is {}; wanted is {}",
                named(found),
                wanted(kind)
            )
        }
        _ => format!("`{path}` is {}; wanted is {}", named(found), wanted(kind)),
    };
    Wrong { problem, help }
}

/// A right value of a key, as TOML.
pub(super) const fn example(key: &Key) -> &'static str {
    match key.default {
        Fallback::Is(value) | Fallback::Words(_, value) => value,
    }
}

const fn named(found: &DeValue<'_>) -> &'static str {
    match found {
        DeValue::String(_) => "text",
        DeValue::Integer(_) => "a whole number",
        DeValue::Float(_) => "a number with a fraction",
        DeValue::Boolean(_) => "true or false",
        DeValue::Datetime(_) => "a date",
        DeValue::Array(_) => "a list",
        DeValue::Table(_) => "a section",
    }
}

fn wanted(kind: Kind) -> String {
    match kind {
        Kind::Text => "text".to_owned(),
        Kind::Switch => "true or false".to_owned(),
        Kind::Integer(least, most) => format!("a whole number {}", span(least, most)),
        Kind::Number(..) => "a number".to_owned(),
        Kind::Choice(words) => format!("one of {}", listed(words.iter().copied())),
        Kind::Socket => "an address with port".to_owned(),
        Kind::Path => "a path".to_owned(),
        Kind::Parsed { form, .. } => form.to_owned(),
        Kind::List(_) => "a list".to_owned(),
        Kind::Rows(count, columns) => format!(
            "a list of {count} tables with {}",
            listed(columns.iter().map(|column| column.name))
        ),
    }
}

/// What is said of a secret: nothing that tells it.
pub(super) fn wrong_secret(key: &Key) -> Wrong {
    Wrong {
        problem: format!("the value of `{}` is not what it should be", key.name),
        help: format!("wanted is {}", wanted(key.kind)),
    }
}

/// A value for a message: in quotes, with what could steer a terminal escaped, and not too long.
fn quoted(word: &str) -> String {
    /// Characters of a wrong value that are shown.
    const SHOWN: usize = 60;
    if word.chars().count() <= SHOWN {
        return format!("{word:?}");
    }
    let start: String = word.chars().take(SHOWN).collect();
    format!("{start:?}…")
}
