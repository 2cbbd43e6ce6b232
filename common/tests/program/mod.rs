//! What every program's command line must do, tried on the real program: each program's tests call these.
//!
//! What a user reads is compared with files that are kept: `UPDATE_GOLDEN=1 cargo test` writes them anew, and the difference is
//! for review. Nothing of the environment but what a test sets reaches the program.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use tempfile::TempDir;

/// A program under test.
pub(crate) struct Program {
    /// Its name.
    pub(crate) name: &'static str,
    /// Name of its settings file, such as `node.toml`.
    pub(crate) file: &'static str,
    /// The binary.
    pub(crate) exe: &'static str,
    /// Where what is compared is kept.
    pub(crate) golden: PathBuf,
}

/// A settings file with a mistake, or with an environment or flags that have one.
pub(crate) struct Case {
    /// What kind of mistake.
    pub(crate) kind: &'static str,
    /// The file's bytes.
    pub(crate) file: Vec<u8>,
    /// Variables.
    pub(crate) variables: &'static [(&'static str, &'static str)],
    /// Flags.
    pub(crate) flags: &'static [&'static str],
}

impl Case {
    /// A file that is text.
    pub(crate) fn file(kind: &'static str, text: &str) -> Self {
        Self {
            kind,
            file: text.as_bytes().to_vec(),
            variables: &[],
            flags: &[],
        }
    }

    /// Variables beside an empty file.
    pub(crate) fn variables(
        kind: &'static str,
        variables: &'static [(&'static str, &'static str)],
    ) -> Self {
        Self {
            variables,
            ..Self::file(kind, "")
        }
    }

    /// Flags beside an empty file.
    pub(crate) fn flags(kind: &'static str, flags: &'static [&'static str]) -> Self {
        Self {
            flags,
            ..Self::file(kind, "")
        }
    }
}

/// What a program answered.
pub(crate) struct Answer {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl From<Output> for Answer {
    fn from(output: Output) -> Self {
        let answer = Self {
            code: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        };
        assert!(!answer.stderr.contains("panicked"), "{}", answer.stderr);
        answer
    }
}

impl Program {
    /// The program in a directory of its own, with an environment of its own.
    pub(crate) fn command(&self, dir: &Path) -> Command {
        let mut command = Command::new(self.exe);
        command
            .env_clear()
            .env("HOME", "/home/operator")
            .env("COLUMNS", "100")
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .stdin(Stdio::null())
            .current_dir(dir);
        command
    }

    /// Runs it to its end.
    pub(crate) fn run(&self, arguments: &[&str]) -> Answer {
        let dir = TempDir::new().unwrap();
        let output = self.command(dir.path()).args(arguments).output();
        output.unwrap().into()
    }

    /// Compares with what is kept.
    pub(crate) fn compare(&self, name: &str, actual: &str) {
        compare(&self.golden.join(name), actual);
    }

    /// Every `--help`, of the program and of each command below it.
    pub(crate) fn helps_are_as_kept(&self) {
        let mut commands = vec![Vec::new()];
        let mut all = String::new();
        while let Some(path) = commands.pop() {
            let mut arguments: Vec<&str> = path.iter().map(String::as_str).collect();
            arguments.push("--help");
            let answer = self.run(&arguments);
            assert_eq!(answer.code, Some(0), "{path:?}: {}", answer.stderr);
            all.push_str(&format!("$ {} {}\n", self.name, arguments.join(" ")));
            // A line may end in spaces where a text is empty.
            for line in answer.stdout.lines() {
                all.push_str(line.trim_end());
                all.push('\n');
            }
            all.push('\n');
            let mut below = subcommands(&answer.stdout);
            below.reverse();
            commands.extend(below.into_iter().map(|name| {
                let mut path = path.clone();
                path.push(name);
                path
            }));
        }
        assert!(all.contains("Exit codes: 0 done, 1 failed"), "{all}");
        assert!(all.contains("Examples:"), "{all}");
        self.compare("help.txt", &all);
    }

    /// Each mistake is told with its place and what to do, and nothing of it is a panic.
    pub(crate) fn mistakes_are_told(&self, cases: Vec<Case>) {
        let mut all = String::new();
        for case in cases {
            let dir = TempDir::new().unwrap();
            fs::write(dir.path().join(self.file), &case.file).unwrap();
            let output = self
                .command(dir.path())
                .args(["config", "check", "--config", self.file])
                .args(case.flags)
                .envs(case.variables.iter().copied())
                .output();
            let answer = Answer::from(output.unwrap());
            // A wrong flag is wrong usage, as with every program; all else is a mistake that was looked for.
            let expected = if case.flags.is_empty() { 1 } else { 2 };
            assert_eq!(
                answer.code,
                Some(expected),
                "{}: {}",
                case.kind,
                answer.stderr
            );
            let told = format!("{}{}", answer.stdout, answer.stderr);
            assert!(told.contains("error: "), "{}: {told}", case.kind);
            all.push_str(&format!("== {}\n{}\n", case.kind, told));
        }
        self.compare("mistakes.txt", &all);
    }

    /// Files that can't be read at all.
    pub(crate) fn files_that_are_none_are_told(&self) {
        let dir = TempDir::new().unwrap();
        let write = |name: &str, bytes: &[u8]| fs::write(dir.path().join(name), bytes).unwrap();
        write("latin1.toml", b"log = \"info\"\ncontact = \"Z\xfcrich\"\n");
        write("large.toml", &vec![b'#'; (1 << 20) + 1]);
        fs::create_dir(dir.path().join("folder.toml")).unwrap();
        let mut all = String::new();
        for name in ["absent.toml", "folder.toml", "large.toml", "latin1.toml"] {
            let mut command = self.command(dir.path());
            let output = command.args(["config", "check", "--config", name]).output();
            let answer = Answer::from(output.unwrap());
            assert_eq!(answer.code, Some(1), "{name}");
            assert!(answer.stdout.contains("help: "), "{}", answer.stdout);
            all.push_str(&format!("== {name}\n{}\n", answer.stdout));
        }
        self.compare("unreadable.txt", &all);
    }

    /// The commented file of deploy/ is what the program prints, has nothing wrong, and changes nothing.
    pub(crate) fn the_template_is_in_deploy(&self) {
        let template = self.run(&["config", "template"]).stdout;
        let kept = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../deploy/config")
            .join(self.file);
        compare(&kept, &template);
        let kept = kept.canonicalize().unwrap();
        let shown = self.run(&[
            "config",
            "show",
            "--json",
            "--config",
            kept.to_str().unwrap(),
        ]);
        let bare = self.run(&["config", "show", "--json"]);
        assert_eq!(values(&shown.stdout), values(&bare.stdout));
        let settable = template.lines().filter(|line| is_setting(line)).count();
        assert!(
            settable >= values(&bare.stdout).len(),
            "{settable} settings"
        );
    }

    /// What `config show` prints is a settings file that says the same. Gives it for comparison.
    pub(crate) fn what_is_shown_can_be_read_again(
        &self,
        file: &str,
        variables: &[(&str, &str)],
        flags: &[&str],
    ) {
        let dir = TempDir::new().unwrap();
        fs::write(dir.path().join(self.file), file).unwrap();
        let show = |more: &[&str]| {
            let mut command = self.command(dir.path());
            let command = command.args(["config", "show", "--config", self.file]);
            let output = command
                .args(flags)
                .args(more)
                .envs(variables.iter().copied())
                .output();
            let answer = Answer::from(output.unwrap());
            assert_eq!(answer.code, Some(0), "{}", answer.stderr);
            answer.stdout
        };
        let (text, json) = (show(&[]), show(&["--json"]));
        self.compare("show.txt", &text);
        fs::write(dir.path().join("again.toml"), &text).unwrap();
        let mut command = self.command(dir.path());
        let output = command
            .args(["config", "show", "--json", "--config", "again.toml"])
            .output();
        let again = Answer::from(output.unwrap());
        assert_eq!(again.code, Some(0), "{}", again.stderr);
        let hidden = |pairs: Vec<(String, Value)>| {
            let pairs = pairs.into_iter();
            pairs
                .filter(|(_, value)| value != "(secret)" && !value.is_null())
                .collect::<Vec<_>>()
        };
        assert_eq!(hidden(values(&again.stdout)), hidden(values(&json)));
    }

    /// A variable that nobody knows is refused by every command that reads settings; each command names it.
    pub(crate) fn a_misspelt_variable_is_refused(
        &self,
        arguments: &[&str],
        wrong: &str,
        right: &str,
    ) {
        let dir = TempDir::new().unwrap();
        let mut command = self.command(dir.path());
        let output = command.args(arguments).env(wrong, "x").output();
        let answer = Answer::from(output.unwrap());
        assert_eq!(answer.code, Some(1), "{}", answer.stdout);
        assert!(
            answer.stderr.contains(wrong)
                && answer.stderr.contains(&format!("did you mean {right}?")),
            "{}",
            answer.stderr
        );
        // Those of the other programs may be in the same environment, and an empty one is none.
        let mut command = self.command(dir.path());
        command.args(["config", "check"]).env(wrong, "");
        let own = self.name.trim_start_matches("quantumcoin-").to_uppercase();
        let others = ["NODE", "CRAWLER", "SEEDER"]
            .into_iter()
            .filter(|name| *name != own);
        for other in others {
            command.env(format!("QTC_{other}_X"), "x");
        }
        let answer = Answer::from(command.output().unwrap());
        assert_eq!(answer.code, Some(0), "{}", answer.stdout);
    }

    /// Completions that the shells take, as far as they are installed; bash is everywhere.
    pub(crate) fn completions_are_scripts(&self) {
        let dir = TempDir::new().unwrap();
        for (shell, check) in [("bash", "-n"), ("zsh", "-n"), ("fish", "--no-execute")] {
            let script = self.run(&["completions", shell]).stdout;
            assert!(
                script.contains(self.name) && script.contains("config"),
                "{shell}"
            );
            let path = dir.path().join(shell);
            fs::write(&path, script).unwrap();
            match Command::new(shell).arg(check).arg(&path).output() {
                Ok(output) => assert!(output.status.success(), "{shell}: {output:?}"),
                Err(error) => assert!(shell != "bash", "{shell}: {error}"),
            }
        }
        for shell in ["elvish", "powershell"] {
            assert!(self.run(&["completions", shell]).stdout.contains(self.name));
        }
    }

    /// A man page for the program and for each of its commands, which the typesetter takes where one is installed.
    pub(crate) fn man_pages_are_pages(&self) {
        let dir = TempDir::new().unwrap();
        let out = dir.path().to_str().unwrap();
        let answer = self.run(&["man", "--out", out]);
        assert_eq!(answer.code, Some(0), "{}", answer.stderr);
        let mut names: Vec<String> = fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        let help = self.run(&["--help"]).stdout;
        for command in subcommands(&help) {
            let page = format!("{}-{command}.1", self.name);
            assert!(names.contains(&page), "{page}: {names:?}");
        }
        assert!(
            answer.stdout.starts_with(&format!("{} pages", names.len())),
            "{}",
            answer.stdout
        );
        assert!(
            names.contains(&format!("{}-config-show.1", self.name)),
            "{names:?}"
        );
        for name in &names {
            let path = dir.path().join(name);
            let page = fs::read_to_string(&path).unwrap();
            assert!(page.contains(".SH SYNOPSIS"), "{name}");
            if let Ok(output) = Command::new("groff")
                .args(["-man", "-Tutf8", "-ww", "-z"])
                .arg(&path)
                .output()
            {
                assert!(output.status.success(), "{name}: {output:?}");
                let said = String::from_utf8_lossy(&output.stderr);
                assert!(!said.contains("error"), "{name}: {said}");
            }
            if let Ok(output) = Command::new("mandoc")
                .args(["-Tlint", "-Werror"])
                .arg(&path)
                .output()
            {
                assert!(output.status.success(), "{name}: {output:?}");
            }
        }
        let page = self.run(&["man"]).stdout;
        assert!(
            page.contains(".TH") && page.contains("SUBCOMMANDS"),
            "{page}"
        );
    }

    /// Who reads one line of the output and goes has seen enough.
    pub(crate) fn a_closed_pipe_is_no_failure(&self) {
        for arguments in [
            &["config", "template"][..],
            &["config", "show"],
            &["completions", "bash"],
        ] {
            let dir = TempDir::new().unwrap();
            let mut child = self
                .command(dir.path())
                .args(arguments)
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap();
            drop(child.stdout.take());
            let answer = Answer::from(child.wait_with_output().unwrap());
            assert_eq!(
                (answer.code, answer.stderr.as_str()),
                (Some(0), ""),
                "{arguments:?}"
            );
        }
    }
}

/// Compares with what is kept in a file, or writes it when that is asked for.
pub(crate) fn compare(path: &Path, actual: &str) {
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, actual).unwrap();
        return;
    }
    let kept = fs::read_to_string(path).unwrap_or_default();
    if kept == actual {
        return;
    }
    let mut lines = kept.lines().zip(actual.lines()).enumerate();
    let first = lines.find(|(_, (kept, actual))| kept != actual);
    let place = match first {
        Some((index, (kept, actual))) => {
            format!("line {}:\n  kept  {kept}\n  now   {actual}", index + 1)
        }
        None => format!(
            "{} lines are kept, {} now",
            kept.lines().count(),
            actual.lines().count()
        ),
    };
    panic!(
        "{} differs, first in {place}\nIf it is meant: UPDATE_GOLDEN=1 cargo test",
        path.display()
    );
}

/// The commands that a help lists, but for `help`.
fn subcommands(help: &str) -> Vec<String> {
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let lines = lines.take_while(|line| !line.is_empty());
    // A description that is wrapped stands further right.
    let names = lines.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names = names.filter_map(|line| line.split_whitespace().next());
    names
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

fn is_setting(line: &str) -> bool {
    line.starts_with('#') && !line.starts_with("# ") && line.contains(" = ")
}

/// Names and values of `config show --json`.
fn values(json: &str) -> Vec<(String, Value)> {
    let shown: Value = serde_json::from_str(json).unwrap();
    let settings = shown["settings"].as_array().unwrap().iter();
    settings
        .map(|one| {
            (
                one["key"].as_str().unwrap().to_owned(),
                one["value"].clone(),
            )
        })
        .collect()
}
