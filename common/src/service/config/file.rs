//! Walks a settings file by the description of its program. Pure: text in, values and mistakes out.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::Spanned;
use toml::Value;
use toml::de::{DeTable, DeValue};

use super::key::{Key, Program, Section};
use super::mistake::Mistake;
use super::names::other_program;
use super::nearest::{listed, nearest};
use super::text::Text;
use super::value;

/// What a file says.
#[derive(Debug, Default)]
pub(super) struct Found {
    /// Values by dotted name, with their place. Repeated sections are counted: `zone[0].name`.
    pub(super) values: BTreeMap<String, (Value, Range<usize>)>,
    /// How often each repeated section comes.
    pub(super) repeated: BTreeMap<&'static str, usize>,
    /// Where the headings of sections are.
    pub(super) headings: BTreeMap<&'static str, Range<usize>>,
    /// What is wrong with it.
    pub(super) mistakes: Vec<Mistake>,
    /// Whether it is no TOML, so that nothing of it was taken.
    pub(super) is_broken: bool,
}

/// Reads a file's text.
pub(super) fn read(program: &'static Program, text: &Text) -> Found {
    let (document, errors) = DeTable::parse_recoverable(&text.text);
    let mut found = Found::default();
    for error in errors {
        let span = error.span().unwrap_or_default();
        let mistake = match duplicate(document.get_ref(), text, &error, &span) {
            Some(mistake) => mistake,
            None => {
                found.is_broken = true;
                syntax(text, &error, &span)
            }
        };
        found.mistakes.push(mistake);
    }
    // After a mistake of syntax the rest is a guess of the parser's, and what would be said of it noise.
    if !found.is_broken {
        let mut walk = Walk {
            program,
            text,
            found: &mut found,
        };
        walk.top(document.get_ref());
    }
    found.mistakes.sort_by_key(|mistake| match &mistake.place {
        super::mistake::Place::Line { line, column, .. } => (*line, *column),
        _ => (0, 0),
    });
    found
}

fn syntax(text: &Text, error: &toml::de::Error, span: &Range<usize>) -> Mistake {
    let message = error.message();
    // What begins like a number, an address for instance, is told as one.
    let is_bare = ["newline", "literal", "float", "integer", "date", "time"];
    let help = if is_bare.iter().any(|word| message.contains(word)) {
        "text, paths and addresses stand in double quotes, each setting on a line of its own"
    } else if message.contains("string") || message.contains("quote") {
        "close the quotes at the end of the text"
    } else if message.contains("array") || message.contains("`]`") {
        "write a list as [\"one\", \"two\"], with a comma between its items"
    } else {
        "a line is `key = value`, `[section]` or `# a comment`"
    };
    text.mistake(span, format!("this is no TOML: {message}"), help.to_owned())
}

fn duplicate(
    document: &DeTable<'_>,
    text: &Text,
    error: &toml::de::Error,
    span: &Range<usize>,
) -> Option<Mistake> {
    if !error.message().contains("duplicate key") {
        return None;
    }
    let name = text.text.get(span.clone()).unwrap_or_default().trim();
    let mut places = Vec::new();
    spans_of(document, name, &mut places);
    let before = places.into_iter().filter(|place| place.end <= span.start);
    let help = match before.max_by_key(|place| place.start) {
        Some(first) => match text.place(&first) {
            super::mistake::Place::Line { line, .. } => {
                format!("it is in line {line} as well: keep one of them")
            }
            _ => String::new(),
        },
        None => "keep one of them".to_owned(),
    };
    Some(text.mistake(span, format!("`{name}` comes twice"), help))
}

/// Where keys of this name are.
fn spans_of(table: &DeTable<'_>, name: &str, places: &mut Vec<Range<usize>>) {
    for (key, value) in table {
        if key.get_ref() == name {
            places.push(key.span());
        }
        if let DeValue::Table(inner) = value.get_ref() {
            spans_of(inner, name, places);
        }
    }
}

struct Walk<'a> {
    program: &'static Program,
    text: &'a Text,
    found: &'a mut Found,
}

impl Walk<'_> {
    fn wrong(&mut self, span: &Range<usize>, problem: String, help: String) {
        self.found
            .mistakes
            .push(self.text.mistake(span, problem, help));
    }

    fn top(&mut self, table: &DeTable<'_>) {
        let top = self.program.section("");
        for (name, value) in table {
            let known = top.and_then(|top| Some((top, top.key(name.get_ref())?)));
            let section = self.program.section(name.get_ref());
            let section = section.filter(|section| !section.name.is_empty());
            match (known, section) {
                (Some((section, key)), _) => self.value(section, key, key.name, value),
                (None, Some(section)) => self.section(section, name, value),
                (None, None) if is_section(value.get_ref()) => self.unknown_section(name),
                (None, None) => self.unknown_key(top, name),
            }
        }
    }

    fn section(
        &mut self,
        section: &'static Section,
        name: &Spanned<std::borrow::Cow<'_, str>>,
        value: &Spanned<DeValue<'_>>,
    ) {
        match (value.get_ref(), section.repeated) {
            (DeValue::Table(table), false) => {
                self.found.headings.insert(section.name, name.span());
                self.keys(section, section.name, table);
            }
            (DeValue::Array(tables), true) if is_section(value.get_ref()) => {
                self.found.repeated.insert(section.name, tables.len());
                for (index, table) in tables.iter().enumerate() {
                    if let DeValue::Table(keys) = table.get_ref() {
                        self.keys(section, &format!("{}[{index}]", section.name), keys);
                        self.named(section, keys, &table.span());
                    }
                }
            }
            _ => {
                let heading = section.heading();
                self.wrong(
                    &name.span(),
                    format!("`{}` is a section, written as {heading}", section.name),
                    format!(
                        "write a line {heading} and below it its keys, each on a line of its own"
                    ),
                );
            }
        }
    }

    /// The first key of a repeated section tells which it is.
    fn named(&mut self, section: &Section, table: &DeTable<'_>, place: &Range<usize>) {
        let Some(first) = section.keys.first() else {
            return;
        };
        if !table.keys().any(|name| name.get_ref() == first.name) {
            self.wrong(
                place,
                format!("this {} has no `{}`", section.heading(), first.name),
                format!(
                    "write `{} = {}` below it",
                    first.name,
                    value::example(first)
                ),
            );
        }
    }

    fn keys(&mut self, section: &'static Section, prefix: &str, table: &DeTable<'_>) {
        for (name, value) in table {
            match section.key(name.get_ref()) {
                Some(key) => {
                    let path = format!("{prefix}.{}", key.name);
                    self.value(section, key, &path, value);
                }
                None => self.unknown_key(Some(section), name),
            }
        }
    }

    fn value(&mut self, section: &Section, key: &Key, path: &str, value: &Spanned<DeValue<'_>>) {
        match value::from_toml(key, &section.path(key), value) {
            Ok(read) => {
                let place = (read, value.span());
                self.found.values.insert(path.to_owned(), place);
            }
            Err(wrong) => {
                for (span, wrong) in wrong {
                    let wrong = if key.secret {
                        value::wrong_secret(key)
                    } else {
                        wrong
                    };
                    let mistake = self.text.mistake(&span, wrong.problem, wrong.help);
                    self.found.mistakes.push(if key.secret {
                        mistake.veiled()
                    } else {
                        mistake
                    });
                }
            }
        }
    }

    fn unknown_section(&mut self, name: &Spanned<std::borrow::Cow<'_, str>>) {
        let word = name.get_ref().as_ref();
        let sections = self.program.sections.iter();
        let named = sections.filter(|section| !section.name.is_empty());
        let help = if let Some(other) = other_program(self.program.name, word, true) {
            format!(
                "[{word}] is a section of {other}; this is a file of {}",
                self.program.name
            )
        } else if let Some(near) = nearest(word, named.clone().map(|section| section.name)) {
            let heading = self.program.section(near).map(Section::heading);
            format!("did you mean {}?", heading.unwrap_or_default())
        } else if named.clone().next().is_none() {
            format!(
                "the file of {} has no sections: leave the heading out",
                self.program.name
            )
        } else {
            let headings: Vec<_> = named.map(Section::heading).collect();
            format!("there are {}", headings.join(", "))
        };
        self.wrong(&name.span(), format!("unknown section [{word}]"), help);
    }

    fn unknown_key(
        &mut self,
        section: Option<&'static Section>,
        name: &Spanned<std::borrow::Cow<'_, str>>,
    ) {
        let word = name.get_ref().as_ref();
        let place = match section {
            Some(section) if !section.name.is_empty() => format!(" in {}", section.heading()),
            _ => String::new(),
        };
        let help = self.right_name(section, word);
        self.wrong(&name.span(), format!("unknown key `{word}`{place}"), help);
    }

    fn right_name(&self, section: Option<&'static Section>, word: &str) -> String {
        let own = section.map_or(&[][..], |section| section.keys);
        let normal = word.to_lowercase().replace('-', "_");
        if let Some(key) = own.iter().find(|key| key.name == normal) {
            return format!("keys are written in lower case with _: `{}`", key.name);
        }
        if let Some(key) = own.iter().find(|key| key.also.contains(&normal.as_str())) {
            return format!("it is called `{}` here", key.name);
        }
        if let Some((other, key)) = self.elsewhere(section, &normal) {
            return if other.name.is_empty() {
                format!(
                    "`{}` belongs at the top of the file, before the first [section]",
                    key.name
                )
            } else {
                format!("`{}` belongs below a line {}", key.name, other.heading())
            };
        }
        let prefix = section.map_or("", |section| section.name);
        let path = if prefix.is_empty() {
            normal.clone()
        } else {
            format!("{prefix}.{normal}")
        };
        if let Some(other) = other_program(self.program.name, &path, false) {
            return format!(
                "`{path}` is a setting of {other}; this is a file of {}",
                self.program.name
            );
        }
        if let Some(near) = nearest(word, own.iter().map(|key| key.name)) {
            return format!("did you mean `{near}`?");
        }
        let all = self.program.keys();
        let others: Vec<_> = all.filter(|(other, _)| !is_same(section, other)).collect();
        if let Some(near) = nearest(word, others.iter().map(|(_, key)| key.name)) {
            let at = others.iter().find(|(_, key)| key.name == near);
            return match at.map_or("", |(other, _)| other.name) {
                "" => format!("did you mean `{near}`, at the top of the file?"),
                heading => format!("did you mean `{near}`, below a line [{heading}]?"),
            };
        }
        format!("there are {}", listed(own.iter().map(|key| key.name)))
    }

    /// The key of this name in another section.
    fn elsewhere(
        &self,
        section: Option<&'static Section>,
        name: &str,
    ) -> Option<(&'static Section, &'static Key)> {
        let mut keys = self.program.keys();
        keys.find(|(other, key)| !is_same(section, other) && key.name == name)
    }
}

fn is_same(section: Option<&Section>, other: &Section) -> bool {
    section.is_some_and(|section| section.name == other.name)
}

/// Whether a value is a section, or a repeated one.
fn is_section(value: &DeValue<'_>) -> bool {
    match value {
        DeValue::Table(_) => true,
        DeValue::Array(items) => {
            !items.is_empty() && items.iter().all(|item| item.get_ref().is_table())
        }
        _ => false,
    }
}
