//! What the command lines of all programs have in common: the meaning of their exit codes, completions, man pages.

use std::io;
use std::path::{Path, PathBuf};

use clap::{Command, Subcommand};
use clap_complete::Shell;

/// What every `--help` ends with. A program with more codes says so behind it.
pub const EXIT_CODES: &str =
    "Exit codes: 0 done, 1 failed (the reason is on standard error), 2 wrong usage";

/// The variables that a command line and its subcommands know by themselves, beside the settings.
#[must_use]
pub fn variables(command: &Command) -> Vec<String> {
    let own = command.get_arguments().filter_map(clap::Arg::get_env);
    let own = own.map(|name| name.to_string_lossy().into_owned());
    let below = command.get_subcommands().flat_map(variables);
    own.chain(below).collect()
}

/// Commands that tell of the command line itself.
#[derive(Debug, Clone, Subcommand)]
pub enum ShapeCommand {
    /// Print completions for a shell, as in `completions bash > /etc/bash_completion.d/PROGRAM`
    Completions {
        /// The shell
        shell: Shell,
    },
    /// Print the man page, or write one for each command
    Man {
        /// Write PROGRAM.1 and PROGRAM-COMMAND.1 for each command into this directory
        #[arg(long, value_name = "DIR")]
        out: Option<PathBuf>,
    },
}

/// A page or a script that can't be made.
#[derive(Debug, thiserror::Error)]
pub enum ShapeError {
    /// The directory.
    #[error("man pages can't be written to {}: {source}; name a directory with --out that can be written", path.display())]
    Out {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Memory, in practice.
    #[error("the text can't be made: {0}")]
    Text(#[from] io::Error),
}

impl ShapeCommand {
    /// Carries it out: what to print.
    ///
    /// # Errors
    /// [`ShapeError`] where a directory can't be written.
    pub fn text(&self, mut command: Command) -> Result<String, ShapeError> {
        let name = command.get_name().to_owned();
        let mut bytes = Vec::new();
        match self {
            Self::Completions { shell } => {
                clap_complete::generate(*shell, &mut command, name, &mut bytes);
            }
            Self::Man { out: None } => {
                command.build();
                clap_mangen::Man::new(command).render(&mut bytes)?;
            }
            Self::Man { out: Some(dir) } => {
                let pages = pages(command, dir).map_err(|source| ShapeError::Out {
                    path: dir.clone(),
                    source,
                })?;
                bytes.extend_from_slice(format!("{pages} pages in {}\n", dir.display()).as_bytes());
            }
        }
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }
}

/// Writes the pages of a program; tells how many there are.
fn pages(command: Command, dir: &Path) -> io::Result<usize> {
    std::fs::create_dir_all(dir)?;
    // What the parser adds by itself, `help`, needs no page.
    let command = command.disable_help_subcommand(true);
    let count = count(&command);
    clap_mangen::generate_to(command, dir)?;
    Ok(count)
}

fn count(command: &Command) -> usize {
    let below = command
        .get_subcommands()
        .filter(|command| !command.is_hide_set());
    1 + below.map(count).sum::<usize>()
}
