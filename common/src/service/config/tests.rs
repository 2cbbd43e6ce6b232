//! Rules of the layers on a small description; the programs' own tests look at theirs.

use std::path::PathBuf;

use proptest::prelude::*;
use serde::Deserialize;
use toml::{Table, Value};

use super::flags::Given;
use super::*;

static SMALL: Program = Program {
    name: "small",
    prefix: "QTC_SMALL_",
    sections: &[
        Section::new(
            "",
            "",
            &[
                Key::new("name", Kind::Text, Fallback::Is("\"a\""), "A name"),
                Key::new(
                    "listen",
                    Kind::List(&Kind::Socket),
                    Fallback::Words("nowhere", "[\"127.0.0.1:1\"]"),
                    "Addresses",
                )
                .flag("listen", "ADDR"),
                Key::new(
                    "pin",
                    Kind::Integer(0, 9_999),
                    Fallback::Is("0"),
                    "A secret",
                )
                .secret(),
            ],
        ),
        Section::new(
            "pace",
            "How fast.",
            &[
                Key::new(
                    "per_second",
                    Kind::Integer(1, 10),
                    Fallback::Is("5"),
                    "A number",
                ),
                Key::new(
                    "share",
                    Kind::Number(0.0, 1.0),
                    Fallback::Is("0.5"),
                    "A share",
                ),
                Key::new("on", Kind::Switch, Fallback::Is("true"), "A switch"),
            ],
        ),
        Section {
            name: "part",
            text: "Parts.",
            repeated: true,
            optional: true,
            keys: &[
                Key::new(
                    "name",
                    Kind::Text,
                    Fallback::Words("must be set", "\"p\""),
                    "Its name",
                ),
                Key::new(
                    "size",
                    Kind::Integer(1, 3),
                    Fallback::Words("none", "2"),
                    "Its size",
                ),
            ],
        },
    ],
};

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
struct Small {
    name: String,
    listen: Vec<std::net::SocketAddr>,
    pin: u16,
    pace: Pace,
    part: Vec<Part>,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields, default)]
struct Pace {
    per_second: u32,
    share: f64,
    on: bool,
}

#[derive(Debug, Deserialize, PartialEq)]
#[serde(deny_unknown_fields)]
struct Part {
    name: String,
    size: Option<u8>,
}

impl Default for Small {
    fn default() -> Self {
        Self {
            name: "a".to_owned(),
            listen: Vec::new(),
            pin: 0,
            pace: Pace::default(),
            part: Vec::new(),
        }
    }
}

impl Default for Pace {
    fn default() -> Self {
        Self {
            per_second: 5,
            share: 0.5,
            on: true,
        }
    }
}

fn read(text: &str, variables: &[(&str, &str)], flags: &[Given]) -> (Loaded, Vec<Mistake>) {
    let dir = tempfile::tempdir().unwrap();
    let file: PathBuf = dir.path().join("small.toml");
    std::fs::write(&file, text).unwrap();
    let variables = variables
        .iter()
        .map(|(name, value)| (name.into(), value.into()));
    let inputs = Inputs {
        file: Some(&file),
        environment: &Environment::of(variables),
        known_variables: &["QTC_SMALL_CONFIG".to_owned()],
        flags,
    };
    Loaded::read_all(&SMALL, &inputs)
}

fn small(loaded: &Loaded) -> Small {
    loaded.to(Table::new()).unwrap()
}

#[test]
fn each_layer_goes_before_those_below_it() {
    let text = "name = \"file\"\npin = 7\n[pace]\nper_second = 2\nshare = 1\n[[part]]\nname = \"x\"\n[[part]]\nname = \"y\"\nsize = 3\n";
    let variables = [
        ("QTC_SMALL_NAME", "variable"),
        ("QTC_SMALL_PACE_ON", "false"),
        ("QTC_SMALL_LISTEN", "127.0.0.1:2, [::1]:3"),
        ("QTC_SMALL_CONFIG", "known"),
        ("QTC_NODE_NONSENSE", "of another program"),
        ("QTC_LAB_SIZE", "of nobody"),
    ];
    let given = Given {
        path: "listen".to_owned(),
        flag: "--listen".to_owned(),
        words: vec!["127.0.0.1:4".to_owned()],
    };
    let (loaded, mistakes) = read(text, &variables, &[given]);
    assert_eq!(mistakes, []);
    let result = small(&loaded);
    assert_eq!(result.name, "variable");
    assert_eq!(result.listen, ["127.0.0.1:4".parse().unwrap()]);
    assert_eq!(
        result.pace,
        Pace {
            per_second: 2,
            share: 1.0,
            on: false
        }
    );
    assert_eq!(
        (result.pin, result.part.len(), result.part[1].size),
        (7, 2, Some(3))
    );
    assert!(loaded.is_overridden("listen") && !loaded.is_overridden("pin"));
    let origin = |path: &str| loaded.get(path).unwrap().origin.clone();
    assert!(matches!(
        origin("part[1].size"),
        Origin::File { line: 10, .. }
    ));
    assert_eq!(
        origin("pace.on"),
        Origin::Variable("QTC_SMALL_PACE_ON".to_owned())
    );
    assert_eq!(origin("listen"), Origin::Flag("--listen".to_owned()));
    assert!(loaded.has_section("pace") && loaded.has_section("part[0]"));
}

#[test]
fn nothing_is_set_where_nobody_sets_it() {
    let (loaded, mistakes) = read("", &[("QTC_SMALL_NAME", "")], &[]);
    assert_eq!((mistakes.len(), small(&loaded)), (0, Small::default()));
}

#[test]
fn a_fault_is_told_where_its_key_was_set() {
    let variables = [("QTC_SMALL_PACE_ON", "false")];
    let (loaded, _) = read("name = \"x\"\n[pace]\n", &variables, &[]);
    let place = |key: &str| {
        loaded
            .locate(Fault::new(key, "wrong\n  help: mend it"))
            .to_string()
    };
    let words = place("name");
    assert!(
        words.ends_with(
            "small.toml:1:8: wrong\n  1 | name = \"x\"\n    |        ^^^\n  help: mend it"
        ),
        "{words}"
    );
    assert_eq!(
        place("pace.on"),
        "variable QTC_SMALL_PACE_ON: wrong\n  help: mend it"
    );
    assert!(
        place("pace.share").contains("small.toml:2:2: wrong"),
        "{}",
        place("pace.share")
    );
    assert_eq!(place("pin"), "pin (default): wrong\n  help: mend it");
}

#[test]
fn secrets_are_shown_by_nobody() {
    let (loaded, _) = read("pin = 1234\n", &[], &[]);
    let text = show::toml(&loaded, &Table::new());
    let json = show::json(&loaded, &Table::new()).to_string();
    assert!(
        text.contains("# pin = (secret)") && json.contains("(secret)"),
        "{text}\n{json}"
    );
    let (_, mistakes) = read("", &[("QTC_SMALL_PIN", "1234x")], &[]);
    let words = Mistakes(mistakes).to_string();
    let (_, mistakes) = read("pin = \"1234\" # 1234\n", &[], &[]);
    let more = Mistakes(mistakes).to_string();
    assert!(more.contains("  1 | pin = …\n"), "{more}");
    for words in [text, json, words, more] {
        assert!(!words.contains("1234"), "{words}");
    }
}

#[test]
fn every_mistake_is_told_in_one_go() {
    let text = "nam = 1\nlisten = [\"x\", \"127.0.0.1:1\", 5]\n[pace]\nper_second = 11\nshare = nan\n[[part]]\nsize = 1\n";
    let (_, mistakes) = read(text, &[("QTC_SMALL_NAMES", "x")], &[]);
    let lines: Vec<usize> = mistakes
        .iter()
        .filter_map(|mistake| match mistake.place {
            Place::Line { line, .. } => Some(line),
            _ => None,
        })
        .collect();
    assert_eq!(lines, [1, 2, 2, 4, 5, 6], "{}", Mistakes(mistakes.clone()));
    assert_eq!(mistakes.len(), 7);
    assert!(mistakes.iter().all(|mistake| !mistake.help.is_empty()));
}

#[test]
fn the_template_sets_every_key_once() {
    let set: String = template::text(&SMALL)
        .lines()
        .map(|line| line.strip_prefix('#').unwrap_or(line))
        .filter(|line| !line.starts_with(' '))
        .map(|line| format!("{line}\n"))
        .collect();
    let (loaded, mistakes) = read(&set, &[], &[]);
    assert_eq!(mistakes, []);
    let defaults = Small {
        listen: vec!["127.0.0.1:1".parse().unwrap()],
        part: vec![Part {
            name: "p".to_owned(),
            size: Some(2),
        }],
        ..Small::default()
    };
    assert_eq!(small(&loaded), defaults);
}

proptest! {
    #[test]
    fn no_text_is_too_much(text in "\\PC{0,80}|([a-z_]{1,6}( = )?[-\\[\\]{}\"'0-9a-z.,:# \n]{0,12}\n?){0,8}") {
        let (loaded, mistakes) = read(&text, &[], &[]);
        for mistake in mistakes {
            prop_assert!(!mistake.to_string().is_empty());
        }
        let _ = show::toml(&loaded, &Table::new());
        // What was taken is what the description allows, so the type takes it.
        if loaded.get("part[0].name").is_some() || loaded.repeated.is_empty() {
            prop_assert!(loaded.to::<Value>(Table::new()).is_ok());
        }
    }

    #[test]
    fn what_is_shown_says_the_same(
        name in "\\PC{0,12}",
        per_second in 1u32..=10,
        share in 0.0f64..=1.0,
        on: bool,
        sizes in proptest::collection::vec(1u8..=3, 0..3),
    ) {
        let quoted = Value::String(name.clone());
        let mut text = format!("name = {quoted}\n[pace]\nper_second = {per_second}\nshare = {share:?}\non = {on}\n");
        for size in &sizes {
            text.push_str(&format!("[[part]]\nname = {quoted}\nsize = {size}\n"));
        }
        let (loaded, mistakes) = read(&text, &[], &[]);
        prop_assert_eq!(&mistakes, &[]);
        let (again, mistakes) = read(&show::toml(&loaded, &Table::new()), &[], &[]);
        prop_assert_eq!(mistakes, []);
        prop_assert_eq!(small(&again), small(&loaded));
        prop_assert_eq!(small(&again).name, name);
    }
}
