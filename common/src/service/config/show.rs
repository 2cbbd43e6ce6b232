//! What the layers come to, with the origin of each value.

use std::fmt::Write as _;

use serde_json::{Value as Json, json};
use toml::{Table, Value};

use super::key::{Fallback, Key, Section};
use super::layers::{Loaded, Origin};

/// Column at which the origins stand, where the values leave room: as the comments of the documentation.
const ORIGIN_COLUMN: usize = 40;

/// As TOML: a settings file that says the same, with each value's origin as a comment. Secrets and what nobody set
/// without a fixed default are comments altogether. `defaults` has the program's values for what nobody set, in the shape
/// of the file.
#[must_use]
pub fn toml(loaded: &Loaded, defaults: &Table) -> String {
    let mut text = format!(
        "# The settings of {} and where each comes from\n",
        loaded.program.name
    );
    for section in loaded.program.sections {
        if section.repeated {
            let count = loaded.repeated.get(section.name).copied().unwrap_or(0);
            for index in 0..count {
                let prefix = format!("{}[{index}]", section.name);
                let _ = write!(text, "\n{}\n", section.heading());
                set_keys(&mut text, loaded, section, &prefix);
            }
            continue;
        }
        if !section.name.is_empty() {
            let is_there = !section.optional || is_set(loaded, section);
            let mark = if is_there { "" } else { "# " };
            let _ = write!(text, "\n{mark}{}\n", section.heading());
        }
        for key in section.keys {
            line(&mut text, loaded, section, key, defaults);
        }
    }
    text
}

/// As one JSON object.
#[must_use]
pub fn json(loaded: &Loaded, defaults: &Table) -> Json {
    let mut settings = Vec::new();
    for section in loaded.program.sections {
        if section.repeated {
            let count = loaded.repeated.get(section.name).copied().unwrap_or(0);
            for index in 0..count {
                for key in section.keys {
                    let path = format!("{}[{index}].{}", section.name, key.name);
                    if loaded.get(&path).is_some() {
                        settings.push(one(loaded, &path, key, None));
                    }
                }
            }
            continue;
        }
        for key in section.keys {
            let default = default_of(section, key, defaults);
            settings.push(one(loaded, &section.path(key), key, default));
        }
    }
    json!({ "program": loaded.program.name, "file": loaded.file(), "settings": settings })
}

fn one(loaded: &Loaded, path: &str, key: &Key, default: Option<Value>) -> Json {
    let set = loaded.get(path);
    let value = set.map(|setting| setting.value.clone()).or(default);
    let value = match value {
        Some(_) if key.secret => json!("(secret)"),
        value => serde_json::to_value(value).unwrap_or(Json::Null),
    };
    let origin = match set.map(|setting| &setting.origin) {
        Some(Origin::File { file, line, .. }) => json!({ "file": file, "line": line }),
        Some(Origin::Variable(name)) => json!({ "variable": name }),
        Some(Origin::Flag(name)) => json!({ "flag": name }),
        None => json!("default"),
    };
    json!({ "key": path, "value": value, "origin": origin })
}

fn is_set(loaded: &Loaded, section: &Section) -> bool {
    let mut keys = section.keys.iter();
    keys.any(|key| loaded.get(&section.path(key)).is_some())
}

fn set_keys(text: &mut String, loaded: &Loaded, section: &Section, prefix: &str) {
    for key in section.keys {
        if let Some(setting) = loaded.get(&format!("{prefix}.{}", key.name)) {
            let _ = writeln!(
                text,
                "{}",
                told(key, &setting.value, &words(&setting.origin))
            );
        }
    }
}

fn line(text: &mut String, loaded: &Loaded, section: &Section, key: &Key, defaults: &Table) {
    let shown = match (
        loaded.get(&section.path(key)),
        default_of(section, key, defaults),
    ) {
        (Some(setting), _) => told(key, &setting.value, &words(&setting.origin)),
        (None, Some(value)) => {
            let origin = match key.default {
                Fallback::Is(literal) if value_of(literal).as_ref() == Some(&value) => {
                    "default".to_owned()
                }
                Fallback::Is(_) => "default of this network".to_owned(),
                Fallback::Words(words, _) => format!("default: {words}"),
            };
            told(key, &value, &origin)
        }
        (None, None) => match key.default {
            Fallback::Is(literal) => aligned(&format!("{} = {literal}", key.name), "default"),
            Fallback::Words(words, _) => aligned(
                &format!("# {} is not set", key.name),
                &format!("default: {words}"),
            ),
        },
    };
    let _ = writeln!(text, "{shown}");
}

fn told(key: &Key, value: &Value, origin: &str) -> String {
    if key.secret {
        return aligned(&format!("# {} = (secret)", key.name), origin);
    }
    aligned(&format!("{} = {value}", key.name), origin)
}

fn aligned(setting: &str, origin: &str) -> String {
    format!("{setting:<ORIGIN_COLUMN$}  # {origin}")
}

fn words(origin: &Origin) -> String {
    match origin {
        Origin::File { file, line, .. } => format!("{file}:{line}"),
        Origin::Variable(name) => format!("variable {name}"),
        Origin::Flag(name) => format!("flag {name}"),
    }
}

fn default_of(section: &Section, key: &Key, defaults: &Table) -> Option<Value> {
    let table = if section.name.is_empty() {
        Some(defaults)
    } else {
        defaults.get(section.name).and_then(Value::as_table)
    };
    let computed = table.and_then(|table| table.get(key.name)).cloned();
    computed.or_else(|| match key.default {
        Fallback::Is(literal) => value_of(literal),
        Fallback::Words(..) => None,
    })
}

/// A TOML literal's value.
pub(super) fn value_of(literal: &str) -> Option<Value> {
    let mut table: Table = toml::from_str(&format!("v = {literal}")).ok()?;
    table.remove("v")
}
