//! A settings file's text: read within bounds, with lines, columns and excerpts.

use std::fs::File;
use std::io::Read;
use std::ops::Range;
use std::path::Path;

use super::mistake::{Mistake, Place};

/// Most bytes of a settings file: a hundred times what the commented templates have. Guards memory against a wrong path.
pub const MAX_FILE_BYTES: u64 = 1 << 20;

/// Most characters of a line that an excerpt shows: what a terminal has, twice.
const EXCERPT_CHARS: usize = 160;

/// A file's text and what it is called.
#[derive(Debug)]
pub(super) struct Text {
    pub(super) origin: String,
    pub(super) text: String,
}

impl Text {
    /// Reads a file.
    pub(super) fn read(path: &Path) -> Result<Self, Mistake> {
        let origin = path.display().to_string();
        let whole = |problem: String, help: &str| {
            Mistake::new(Place::WholeFile(origin.clone()), problem, help.to_owned())
        };
        let unreadable = |error: std::io::Error| {
            let help = match error.kind() {
                std::io::ErrorKind::NotFound => {
                    "check the path after --config, or leave it out to use the defaults"
                }
                std::io::ErrorKind::PermissionDenied => {
                    "let the user that runs this program read it (`chown`, `chmod`), and enter the directories above it"
                }
                _ => "check the path after --config and the disk",
            };
            whole(format!("the settings file can't be read: {error}"), help)
        };
        let file = File::open(path).map_err(unreadable)?;
        let meta = file.metadata().map_err(unreadable)?;
        if meta.is_dir() {
            let help = "name the TOML file in it, not the directory";
            return Err(whole(
                "this is a directory, no settings file".to_owned(),
                help,
            ));
        }
        let mut bytes = Vec::new();
        let mut bounded = file.take(MAX_FILE_BYTES + 1);
        bounded.read_to_end(&mut bytes).map_err(unreadable)?;
        if bytes.len() as u64 > MAX_FILE_BYTES {
            let problem = format!("more than {MAX_FILE_BYTES} bytes, which no settings file has");
            return Err(whole(
                problem,
                "this is probably another file: check the path after --config",
            ));
        }
        let text = String::from_utf8(bytes).map_err(|error| {
            let good = error.utf8_error().valid_up_to();
            let before = error.as_bytes().get(..good).unwrap_or_default();
            let line = before.iter().filter(|byte| **byte == b'\n').count() + 1;
            Mistake::new(
                Place::WholeFile(format!("{origin}:{line}")),
                format!("byte {good} is not UTF-8 text"),
                "save the file as UTF-8; if it is not a text file, name another".to_owned(),
            )
        })?;
        Ok(Self { origin, text })
    }

    /// The place of a span, with its line's text.
    pub(super) fn place(&self, span: &Range<usize>) -> Place {
        let mut start = span.start.min(self.text.len());
        while !self.text.is_char_boundary(start) {
            start -= 1;
        }
        let (before, after) = self.text.split_at(start);
        let line_start = before.rfind('\n').map_or(0, |at| at + 1);
        let line = before.matches('\n').count() + 1;
        let before = before.get(line_start..).unwrap_or_default();
        let rest = after.lines().next().unwrap_or_default();
        let wanted = span.end.saturating_sub(start).min(rest.len());
        let marked = rest
            .char_indices()
            .take_while(|(at, _)| *at < wanted)
            .count();
        let column = before.chars().count() + 1;
        let excerpt: String = format!("{before}{rest}")
            .chars()
            // A tab is as wide as one character here, and nothing steers a terminal.
            .map(|c| if c.is_control() { ' ' } else { c })
            .take(EXCERPT_CHARS)
            .collect();
        Place::Line {
            file: self.origin.clone(),
            line,
            column,
            excerpt: excerpt.trim_end().to_owned(),
            marked: marked.max(1),
        }
    }

    /// What is wrong at a span.
    pub(super) fn mistake(&self, span: &Range<usize>, problem: String, help: String) -> Mistake {
        Mistake::new(self.place(span), problem, help)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(text: &str, span: Range<usize>) -> (usize, usize, String, usize) {
        let text = Text {
            origin: "x".to_owned(),
            text: text.to_owned(),
        };
        match text.place(&span) {
            Place::Line {
                line,
                column,
                excerpt,
                marked,
                ..
            } => (line, column, excerpt, marked),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn spans_have_lines_columns_and_excerpts() {
        let text = "a = 1\n\tbé = \"é\" # end\n";
        assert_eq!(place(text, 0..1), (1, 1, "a = 1".to_owned(), 1));
        let at = text.find('"').unwrap();
        let shown = " bé = \"é\" # end".to_owned();
        assert_eq!(place(text, at..at + 4), (2, 7, shown.clone(), 3));
        // Within a character, over the line's end, over the text's end.
        assert_eq!(place(text, at + 2..at + 3), (2, 8, shown.clone(), 1));
        assert_eq!(place(text, at..999).0, 2);
        assert_eq!(place(text, 999..1_000), (3, 1, String::new(), 1));
        assert_eq!(place("", 0..0), (1, 1, String::new(), 1));
    }
}
