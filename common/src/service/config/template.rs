//! A settings file with every key as a comment: what it does, its default, its variable and its flag.

use std::fmt::Write as _;

use super::key::{Fallback, Key, Kind, Program, Section};
use super::value::{example, span};

/// Width of the comments: what the documentation has.
const WIDTH: usize = 100;

/// The file. A line that begins with `#` and a letter or bracket is a setting with its default, or an example where the
/// comment says what the default is; the others are words.
#[must_use]
pub fn text(program: &Program) -> String {
    let mut text = String::new();
    comment(
        &mut text,
        &format!(
            "Settings of {0}. Every line is a comment: take the # away from what you change. `{0} config check \
             --config FILE` tells what is wrong with it, `{0} config show` what is in force and why. Flags come before \
             variables, variables before this file, this file before the defaults.",
            program.name
        ),
    );
    for section in program.sections {
        if !section.name.is_empty() {
            text.push('\n');
            comment(&mut text, section.text);
            let mark = if section.repeated || section.optional {
                "#"
            } else {
                ""
            };
            let _ = writeln!(text, "{mark}{}", section.heading());
        }
        for key in section.keys {
            text.push('\n');
            describe(&mut text, program, section, key);
        }
    }
    text
}

fn describe(text: &mut String, program: &Program, section: &Section, key: &Key) {
    comment(text, &format!("{}.", key.text));
    let mut facts = Vec::new();
    if let Fallback::Words(words, _) = key.default {
        facts.push(format!("Default: {words}."));
    }
    facts.extend(range(key.kind));
    if let Some(variable) = program.variable(section, key) {
        let shared = key
            .shared
            .map(|shared| format!(", or {shared} for all programs"));
        facts.push(format!(
            "Variable: {variable}{}.",
            shared.unwrap_or_default()
        ));
    }
    if let Some(flag) = key.flag {
        facts.push(format!("Flag: --{}.", flag.long));
    }
    if !facts.is_empty() {
        comment(text, &facts.join(" "));
    }
    let mut lines = example(key).lines();
    let _ = writeln!(text, "#{} = {}", key.name, lines.next().unwrap_or_default());
    for line in lines {
        let _ = writeln!(text, "#{line}");
    }
}

fn range(kind: Kind) -> Option<String> {
    match kind {
        Kind::Integer(0, most) if most >= i64::from(u32::MAX) => None,
        Kind::Integer(least, most) => Some(format!("A number {}.", span(least, most))),
        Kind::Choice(words) => Some(format!("One of {}.", words.join(", "))),
        _ => None,
    }
}

/// Words as comments, wrapped.
fn comment(text: &mut String, words: &str) {
    let mut line = String::from("#");
    for word in words.split_whitespace() {
        if line.len() + 1 + word.len() > WIDTH && line.len() > 1 {
            let _ = writeln!(text, "{line}");
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    let _ = writeln!(text, "{line}");
}
