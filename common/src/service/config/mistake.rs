//! What is wrong with settings: where, what, and the remedy.

use std::fmt;

use serde_json::json;

/// Where a mistake is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// In a line of the file.
    Line {
        /// The file as it was named.
        file: String,
        /// From 1.
        line: usize,
        /// In characters, from 1.
        column: usize,
        /// The line's text.
        excerpt: String,
        /// Characters of it that are meant.
        marked: usize,
    },
    /// The file as a whole.
    WholeFile(String),
    /// A variable of the environment.
    Variable(String),
    /// A flag, with its dashes.
    Flag(String),
    /// A key that nobody set.
    Default(String),
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Where.
    pub place: Place,
    /// What.
    pub problem: String,
    /// What to do; empty where the problem says it.
    pub help: String,
}

/// Everything that is wrong; never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Mistakes(pub Vec<Mistake>);

/// What a program finds wrong with a value, which only [`super::Loaded::locate`] knows the place of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The key in dotted form; of several that do not go together, the one to be changed.
    pub key: String,
    /// What is wrong and, as a rule, how to mend it.
    pub problem: String,
}

/// Everything that a program finds wrong; never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}

impl Fault {
    /// Of a key.
    pub fn new(key: impl Into<String>, problem: impl fmt::Display) -> Self {
        Self {
            key: key.into(),
            problem: problem.to_string(),
        }
    }

    /// With a remedy, where the problem tells none.
    #[must_use]
    pub fn with_help(mut self, help: &str) -> Self {
        if !self.problem.contains("\n  help: ") {
            self.problem.push_str("\n  help: ");
            self.problem.push_str(help);
        }
        self
    }

    /// With the error's causes where it does not tell them itself.
    #[must_use]
    pub fn of(key: impl Into<String>, error: &dyn std::error::Error) -> Self {
        let mut problem = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            let words = cause.to_string();
            if !problem.contains(&words) {
                problem = format!("{problem}: {words}");
            }
            source = cause.source();
        }
        Self {
            key: key.into(),
            problem,
        }
    }
}

impl std::error::Error for Fault {}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.key, self.problem)
    }
}

impl Mistake {
    /// One with a remedy.
    #[must_use]
    pub const fn new(place: Place, problem: String, help: String) -> Self {
        Self {
            place,
            problem,
            help,
        }
    }

    /// Without the value at its place.
    #[must_use]
    pub(super) fn veiled(mut self) -> Self {
        if let Place::Line {
            excerpt,
            marked,
            column,
            ..
        } = &mut self.place
        {
            *excerpt = excerpt.chars().take(column.saturating_sub(1)).collect();
            excerpt.push('…');
            *marked = 1;
        }
        self
    }

    /// For programs.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        let place = match &self.place {
            Place::Line {
                file,
                line,
                column,
                excerpt,
                ..
            } => json!({ "file": file, "line": line, "column": column, "text": excerpt }),
            Place::WholeFile(file) => json!({ "file": file }),
            Place::Variable(name) => json!({ "variable": name }),
            Place::Flag(name) => json!({ "flag": name }),
            Place::Default(key) => json!({ "default_of": key }),
        };
        json!({ "place": place, "problem": self.problem, "help": self.help })
    }
}

impl fmt::Display for Mistake {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.place {
            Place::Line {
                file,
                line,
                column,
                excerpt,
                marked,
            } => {
                write!(f, "{file}:{line}:{column}: {}", self.problem)?;
                let gutter = line.to_string().len();
                write!(f, "\n  {line} | {excerpt}")?;
                let before = column.saturating_sub(1);
                // What lies behind the excerpt's end can't be pointed at.
                if before <= excerpt.chars().count() {
                    let marks = "^".repeat(*marked);
                    write!(f, "\n  {:gutter$} | {:before$}{marks}", "", "")?;
                }
            }
            Place::WholeFile(file) => write!(f, "{file}: {}", self.problem)?,
            Place::Variable(name) => write!(f, "variable {name}: {}", self.problem)?,
            Place::Flag(name) => write!(f, "{name}: {}", self.problem)?,
            Place::Default(key) => write!(f, "{key} (default): {}", self.problem)?,
        }
        if !self.help.is_empty() {
            write!(f, "\n  help: {}", self.help)?;
        }
        Ok(())
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [first, rest @ ..] = self.0.as_slice() else {
            return Ok(());
        };
        write!(f, "{first}")?;
        for mistake in rest {
            // The program says `error: ` before the first.
            write!(f, "\nerror: {mistake}")?;
        }
        Ok(())
    }
}
