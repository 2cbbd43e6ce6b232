//! How a program describes its settings. Plain constants: a description is written as a `static`.

/// What one program's operator may set.
#[derive(Debug)]
pub struct Program {
    /// The binary's name, such as `quantumcoin-node`.
    pub name: &'static str,
    /// What its variables begin with, such as `QTC_NODE_`.
    pub prefix: &'static str,
    /// The sections in the order of the template; the first has no name and holds the keys before any `[section]`.
    pub sections: &'static [Section],
}

/// Keys under one heading of the file.
#[derive(Debug)]
pub struct Section {
    /// As it stands in brackets; empty for the keys at the top.
    pub name: &'static str,
    /// What its keys are about, for the template.
    pub text: &'static str,
    /// Whether it may come several times, as `[[name]]`. No variable and no flag reaches its keys.
    pub repeated: bool,
    /// Whether a section that is there but empty means something, so that the template has it as a comment.
    pub optional: bool,
    /// Its keys, in the order of the template.
    pub keys: &'static [Key],
}

/// One thing that may be set.
#[derive(Debug, Clone, Copy)]
pub struct Key {
    /// Its name within the section, in lower case with `_`.
    pub name: &'static str,
    /// What values it takes.
    pub kind: Kind,
    /// What it does, with its unit, for the help of the flag and for the template. No full stop at the end.
    pub text: &'static str,
    /// What is used where nobody sets it.
    pub default: Fallback,
    /// The flag that sets it.
    pub flag: Option<Flag>,
    /// A variable that all programs share, behind the program's own.
    pub shared: Option<&'static str>,
    /// The variable, where it is not the prefix and the key in capitals.
    pub variable: Option<&'static str>,
    /// Whether the value must not be shown.
    pub secret: bool,
    /// Other names that people write for it: refused, with the right one.
    pub also: &'static [&'static str],
}

/// What is used where nobody sets a key.
#[derive(Debug, Clone, Copy)]
pub enum Fallback {
    /// This value, as TOML.
    Is(&'static str),
    /// What these words say; and a value as an example, as TOML.
    Words(&'static str, &'static str),
}

/// A flag of the command line.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    /// Without the dashes.
    pub long: &'static str,
    /// How the help names the value; empty for a flag that takes none and means `false`.
    pub value: &'static str,
    /// Whether only the commands that start the program's work have it.
    pub start: bool,
}

/// What values a key takes.
#[derive(Debug, Clone, Copy)]
pub enum Kind {
    /// Any text.
    Text,
    /// `true` or `false`.
    Switch,
    /// A whole number, from the first to the second.
    Integer(i64, i64),
    /// A number, from the first to the second.
    Number(f64, f64),
    /// One of these words.
    Choice(&'static [&'static str]),
    /// An IP address with a port.
    Socket,
    /// A file or directory.
    Path,
    /// Text of a form that a parser knows.
    Parsed {
        /// What it is, with an article: `a network`.
        form: &'static str,
        /// One that is right.
        example: &'static str,
        /// The parser; what it says of a wrong one.
        check: fn(&str) -> Result<(), String>,
    },
    /// Any number of these.
    List(&'static Self),
    /// So many tables with all of these keys.
    Rows(usize, &'static [Key]),
}

impl Key {
    /// A key without flag.
    #[must_use]
    pub const fn new(
        name: &'static str,
        kind: Kind,
        default: Fallback,
        text: &'static str,
    ) -> Self {
        Self {
            name,
            kind,
            text,
            default,
            flag: None,
            shared: None,
            variable: None,
            secret: false,
            also: &[],
        }
    }

    /// With a flag that all commands have.
    #[must_use]
    pub const fn flag(self, long: &'static str, value: &'static str) -> Self {
        self.with_flag(long, value, false)
    }

    /// With a flag of the commands that start the program's work.
    #[must_use]
    pub const fn start_flag(self, long: &'static str, value: &'static str) -> Self {
        self.with_flag(long, value, true)
    }

    const fn with_flag(mut self, long: &'static str, value: &'static str, start: bool) -> Self {
        self.flag = Some(Flag { long, value, start });
        self
    }

    /// With a variable that all programs share.
    #[must_use]
    pub const fn shared(mut self, variable: &'static str) -> Self {
        self.shared = Some(variable);
        self
    }

    /// With a variable of another name.
    #[must_use]
    pub const fn variable(mut self, variable: &'static str) -> Self {
        self.variable = Some(variable);
        self
    }

    /// Not to be shown.
    #[must_use]
    pub const fn secret(mut self) -> Self {
        self.secret = true;
        self
    }

    /// With names that people write for it.
    #[must_use]
    pub const fn also(mut self, names: &'static [&'static str]) -> Self {
        self.also = names;
        self
    }

    /// Whether it holds a list, so that its flag may come again and its variable has commas.
    #[must_use]
    pub const fn is_list(&self) -> bool {
        matches!(self.kind, Kind::List(_))
    }
}

impl Section {
    /// A section whose keys all have defaults.
    #[must_use]
    pub const fn new(name: &'static str, text: &'static str, keys: &'static [Key]) -> Self {
        Self {
            name,
            text,
            repeated: false,
            optional: false,
            keys,
        }
    }

    /// The key's name in dotted form.
    #[must_use]
    pub fn path(&self, key: &Key) -> String {
        if self.name.is_empty() {
            key.name.to_owned()
        } else {
            format!("{}.{}", self.name, key.name)
        }
    }

    /// The heading as the file has it.
    #[must_use]
    pub fn heading(&self) -> String {
        if self.repeated {
            format!("[[{}]]", self.name)
        } else {
            format!("[{}]", self.name)
        }
    }

    /// The key of this name.
    #[must_use]
    pub fn key(&self, name: &str) -> Option<&'static Key> {
        self.keys.iter().find(|key| key.name == name)
    }
}

impl Program {
    /// The section of this name.
    #[must_use]
    pub fn section(&self, name: &str) -> Option<&'static Section> {
        self.sections.iter().find(|section| section.name == name)
    }

    /// All keys with their sections, in order.
    pub fn keys(&self) -> impl Iterator<Item = (&'static Section, &'static Key)> + use<> {
        let sections = self.sections.iter();
        sections.flat_map(|section| section.keys.iter().map(move |key| (section, key)))
    }

    /// All keys that flags and the environment can reach, in order.
    pub fn single_keys(&self) -> impl Iterator<Item = (&'static Section, &'static Key)> + use<> {
        self.keys().filter(|(section, _)| !section.repeated)
    }

    /// The key of this dotted name.
    #[must_use]
    pub fn find(&self, path: &str) -> Option<(&'static Section, &'static Key)> {
        self.keys().find(|(section, key)| section.path(key) == path)
    }

    /// The variable that sets a key: the prefix, the section and the key, in capitals; `None` for what fits in none.
    #[must_use]
    pub fn variable(&self, section: &Section, key: &Key) -> Option<String> {
        if section.repeated || matches!(key.kind, Kind::Rows(..)) {
            return None;
        }
        Some(key.variable.map_or_else(
            || {
                let name = section.path(key).replace('.', "_").to_ascii_uppercase();
                format!("{}{name}", self.prefix)
            },
            str::to_owned,
        ))
    }
}
