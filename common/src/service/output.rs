//! Results to standard output, complaints to standard error, and whether either is coloured.

use std::fmt::Display;
use std::io::{self, IsTerminal, Write};

/// Prints a result as it is. A reader that has closed the pipe (`| head`) has seen enough, which is no failure.
///
/// # Errors
/// Where standard output refuses it for another reason, such as a full disk.
pub fn print(text: &str) -> io::Result<()> {
    let mut out = io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
        _ => Ok(()),
    }
}

/// As [`print()`], with a newline behind it.
///
/// # Errors
/// As [`print()`].
pub fn line(text: impl Display) -> io::Result<()> {
    print(&format!("{text}\n"))
}

/// Tells on standard error why a command failed, with the causes that the error does not tell itself.
pub fn complain(error: &dyn std::error::Error) {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let words = cause.to_string();
        if !text.contains(&words) {
            text = format!("{text}: {words}");
        }
        source = cause.source();
    }
    let (red, plain) = if colour(&io::stderr()) {
        ("\x1b[1;31m", "\x1b[0m")
    } else {
        ("", "")
    };
    // Nobody is left to tell when standard error is closed.
    let _ = writeln!(io::stderr(), "{red}error:{plain} {text}");
}

/// Whether to write colours to this stream.
pub fn colour(stream: &impl IsTerminal) -> bool {
    wants_colour(stream.is_terminal(), |name| std::env::var(name).ok())
}

/// `NO_COLOR` (no-color.org) has the last word, then `CLICOLOR_FORCE` and `CLICOLOR` (bixense.com/clicolors); a dumb
/// terminal has none. Pure.
fn wants_colour(terminal: bool, variable: impl Fn(&str) -> Option<String>) -> bool {
    let set = |name| variable(name).filter(|value| !value.is_empty());
    if set("NO_COLOR").is_some() {
        return false;
    }
    if set("CLICOLOR_FORCE").is_some_and(|value| value != "0") {
        return true;
    }
    let refused = set("CLICOLOR").is_some_and(|value| value == "0");
    terminal && !refused && set("TERM").is_none_or(|value| value != "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_environment_decides_over_colour() {
        let wants = |terminal, pairs: &[(&str, &str)]| {
            wants_colour(terminal, |name| {
                let mut pairs = pairs.iter();
                let pair = pairs.find(|(key, _)| *key == name);
                pair.map(|(_, value)| (*value).to_owned())
            })
        };
        assert!(wants(true, &[]));
        assert!(!wants(false, &[]));
        assert!(!wants(true, &[("NO_COLOR", "1"), ("CLICOLOR_FORCE", "1")]));
        assert!(wants(true, &[("NO_COLOR", "")]), "empty is not set");
        assert!(wants(false, &[("CLICOLOR_FORCE", "1")]));
        assert!(!wants(false, &[("CLICOLOR_FORCE", "0")]));
        assert!(!wants(true, &[("CLICOLOR", "0")]));
        assert!(wants(true, &[("CLICOLOR", "1")]));
        assert!(!wants(true, &[("TERM", "dumb")]));
    }
}
