//! The layers put together, and where each value came from.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use serde::de::DeserializeOwned;
use toml::{Table, Value};

use super::environment::{self, Environment};
use super::flags::Given;
use super::key::Program;
use super::mistake::{Fault, Faults, Mistake, Mistakes, Place};
use super::text::Text;
use super::{file, value};

/// Where settings come from.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// The file that was named, if any.
    pub file: Option<&'a Path>,
    /// The variables.
    pub environment: &'a Environment,
    /// Variables that mean something to the program beside its settings.
    pub known_variables: &'a [String],
    /// What flags said.
    pub flags: &'a [Given],
}

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A line of the file.
    File {
        /// The file as it was named.
        file: String,
        /// From 1.
        line: usize,
        /// Bytes of the text that hold the value.
        span: Range<usize>,
    },
    /// A variable.
    Variable(String),
    /// A flag, with its dashes.
    Flag(String),
}

/// A value that somebody set.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    /// What was set.
    pub value: Value,
    /// By whom.
    pub origin: Origin,
}

/// All that was set. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub(super) program: &'static Program,
    pub(super) set: BTreeMap<String, Setting>,
    pub(super) repeated: BTreeMap<&'static str, usize>,
    headings: BTreeMap<&'static str, Range<usize>>,
    text: Option<Arc<Text>>,
    is_whole: bool,
}

impl Loaded {
    /// Nobody has set anything.
    #[must_use]
    pub const fn nothing(program: &'static Program) -> Self {
        Self {
            program,
            set: BTreeMap::new(),
            repeated: BTreeMap::new(),
            headings: BTreeMap::new(),
            text: None,
            is_whole: true,
        }
    }

    /// Reads all layers, to the end: what is wrong is left out of the result.
    #[must_use]
    pub fn read_all(program: &'static Program, inputs: &Inputs<'_>) -> (Self, Vec<Mistake>) {
        let mut loaded = Self::nothing(program);
        let mut mistakes = Vec::new();
        match inputs.file.map(Text::read) {
            None => {}
            Some(Err(mistake)) => {
                loaded.is_whole = false;
                mistakes.push(mistake);
            }
            Some(Ok(text)) => mistakes.extend(loaded.take_file(text)),
        }
        let found = environment::read(program, inputs.environment, inputs.known_variables);
        mistakes.extend(found.mistakes);
        for (path, (value, name)) in found.values {
            let origin = Origin::Variable(name);
            loaded.set.insert(path, Setting { value, origin });
        }
        for given in inputs.flags {
            loaded.take_flag(given);
        }
        (loaded, mistakes)
    }

    /// Reads all layers.
    ///
    /// # Errors
    /// Everything that is wrong with them.
    pub fn read(program: &'static Program, inputs: &Inputs<'_>) -> Result<Self, Mistakes> {
        match Self::read_all(program, inputs) {
            (loaded, mistakes) if mistakes.is_empty() => Ok(loaded),
            (_, mistakes) => Err(Mistakes(mistakes)),
        }
    }

    fn take_file(&mut self, text: Text) -> Vec<Mistake> {
        let found = file::read(self.program, &text);
        self.repeated = found.repeated;
        self.headings = found.headings;
        self.is_whole = !found.is_broken;
        for (path, (value, span)) in found.values {
            let line = match text.place(&span) {
                Place::Line { line, .. } => line,
                _ => 0,
            };
            let origin = Origin::File {
                file: text.origin.clone(),
                line,
                span,
            };
            self.set.insert(path, Setting { value, origin });
        }
        self.text = Some(Arc::new(text));
        found.mistakes
    }

    fn take_flag(&mut self, given: &Given) {
        let Some((_, key)) = self.program.find(&given.path) else {
            return;
        };
        // The command line's parser has checked the words.
        let words = given.words.iter();
        let values: Vec<Value> = words
            .filter_map(|word| value::from_word(key, word).ok())
            .collect();
        let value = if key.is_list() {
            Some(Value::Array(values))
        } else {
            values.into_iter().last()
        };
        if let Some(value) = value {
            let origin = Origin::Flag(given.flag.clone());
            self.set
                .insert(given.path.clone(), Setting { value, origin });
        }
    }

    /// The program whose settings these are.
    #[must_use]
    pub const fn program(&self) -> &'static Program {
        self.program
    }

    /// Whether the file, if there is one, could be read to its end: a mistake of syntax hides what comes after it.
    #[must_use]
    pub const fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// What somebody set a key to.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<&Setting> {
        self.set.get(path)
    }

    /// The text that somebody set a key to.
    #[must_use]
    pub fn text(&self, path: &str) -> Option<&str> {
        self.get(path)?.value.as_str()
    }

    /// The path that somebody set a key to.
    #[must_use]
    pub fn path(&self, path: &str) -> Option<&Path> {
        self.text(path).map(Path::new)
    }

    /// Whether a section is in the file, if only by its heading, or one of its keys is set otherwise.
    #[must_use]
    pub fn has_section(&self, name: &str) -> bool {
        let mut keys = self.set.keys();
        self.headings.contains_key(name)
            || keys.any(|key| {
                key.rsplit_once('.')
                    .is_some_and(|(section, _)| section == name)
            })
    }

    /// Whether a flag or the environment sets a key, so that it counts for all of a repeated section.
    #[must_use]
    pub fn is_overridden(&self, path: &str) -> bool {
        let origin = self.get(path).map(|setting| &setting.origin);
        matches!(origin, Some(Origin::Flag(_) | Origin::Variable(_)))
    }

    /// What was set, in the shape of the file, over these defaults.
    #[must_use]
    pub fn over(&self, mut defaults: Table) -> Table {
        for (name, count) in &self.repeated {
            let tables = vec![Value::Table(Table::new()); *count];
            defaults.insert((*name).to_owned(), Value::Array(tables));
        }
        for (path, setting) in &self.set {
            let Some((section, key)) = path.rsplit_once('.') else {
                defaults.insert(path.clone(), setting.value.clone());
                continue;
            };
            if let Some(table) = section_of(&mut defaults, section) {
                table.insert(key.to_owned(), setting.value.clone());
            }
        }
        defaults
    }

    /// What was set, over these defaults, as the program's type.
    ///
    /// # Errors
    /// Where the type refuses what the description allows: a fault of the program.
    pub fn to<T: DeserializeOwned>(&self, defaults: Table) -> Result<T, Mistakes> {
        T::deserialize(Value::Table(self.over(defaults))).map_err(|error| {
            let place = match &self.text {
                Some(text) => Place::WholeFile(text.origin.clone()),
                None => Place::Default(self.program.name.to_owned()),
            };
            let problem = error.to_string().trim_end().to_owned();
            Mistakes(vec![Mistake::new(place, problem, String::new())])
        })
    }

    /// Gives a fault its place: the line, variable or flag that set the key.
    #[must_use]
    pub fn locate(&self, fault: Fault) -> Mistake {
        let place = match self.get(&fault.key).map(|setting| &setting.origin) {
            None => self
                .heading_of(&fault.key)
                .unwrap_or(Place::Default(fault.key)),
            Some(Origin::Variable(name)) => Place::Variable(name.clone()),
            Some(Origin::Flag(name)) => Place::Flag(name.clone()),
            Some(Origin::File { file, span, .. }) => match &self.text {
                Some(text) => text.place(span),
                None => Place::WholeFile(file.clone()),
            },
        };
        // Many errors of the library end with their remedy.
        match fault.problem.split_once("\n  help: ") {
            Some((problem, help)) => Mistake::new(place, problem.to_owned(), help.to_owned()),
            None => Mistake::new(place, fault.problem, String::new()),
        }
    }

    /// The heading under which a key that nobody set would stand.
    fn heading_of(&self, key: &str) -> Option<Place> {
        let (section, _) = key.rsplit_once('.')?;
        let heading = self.headings.get(section)?;
        Some(self.text.as_ref()?.place(heading))
    }

    /// All of them.
    #[must_use]
    pub fn locate_all(&self, faults: Faults) -> Mistakes {
        let located = faults.0.into_iter().map(|fault| self.locate(fault));
        Mistakes(located.collect())
    }

    /// The file that was read, if any.
    #[must_use]
    pub fn file(&self) -> Option<&str> {
        self.text.as_ref().map(|text| text.origin.as_str())
    }
}

/// The table of a section, made where there is none: `pace`, or `zone[0]`.
fn section_of<'a>(top: &'a mut Table, section: &str) -> Option<&'a mut Table> {
    let (name, index) = match section.split_once('[') {
        Some((name, rest)) => (name, rest.trim_end_matches(']').parse::<usize>().ok()),
        None => (section, None),
    };
    let entry = top
        .entry(name.to_owned())
        .or_insert_with(|| Value::Table(Table::new()));
    match (entry, index) {
        (Value::Array(tables), Some(index)) => tables.get_mut(index)?.as_table_mut(),
        (other, None) => other.as_table_mut(),
        _ => None,
    }
}
