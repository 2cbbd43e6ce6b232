//! All findings as text for people, or as JSON for programs.

use std::fmt::Write as _;

use serde::Serialize;

use super::{Finding, Level, Report, Topic};

/// Columns of a mark and the space behind it.
const MARK: usize = 9;

/// How a report is written as JSON.
#[derive(Debug, Serialize)]
struct Json<'a> {
    findings: &'a [Finding],
    parent_records: &'a [String],
    errors: usize,
    warnings: usize,
}

impl Topic {
    const fn title(self) -> &'static str {
        match self {
            Self::Config => "Configuration",
            Self::Store => "Store",
            Self::Port => "Ports",
            Self::Capability => "Right to use the ports",
            Self::Ipv6 => "IPv6",
            Self::Clock => "Clock",
            Self::Server => "Running server",
            Self::Tls => "DNS over TLS",
            Self::Delegation => "Delegation",
        }
    }
}

impl Level {
    const fn mark(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warning => "WARNING",
            Self::Error => "ERROR",
        }
    }
}

impl Report {
    /// As one JSON object.
    ///
    /// # Errors
    /// None that these types can have.
    pub fn json(&self) -> Result<String, serde_json::Error> {
        serde_json::to_string_pretty(&Json {
            findings: &self.findings,
            parent_records: &self.parent_records,
            errors: self.count(Level::Error),
            warnings: self.count(Level::Warning),
        })
    }

    /// As text: by topic, then the records for the parent zone, then a summary.
    #[must_use]
    pub fn text(&self) -> String {
        let mut text = String::new();
        let mut topic = None;
        for finding in &merged(&self.findings) {
            if topic != Some(finding.topic) {
                let gap = if topic.is_some() { "\n" } else { "" };
                // Writing to a String never fails.
                let _ = writeln!(text, "{gap}{}", finding.topic.title());
                topic = Some(finding.topic);
            }
            push(&mut text, finding);
        }
        if !self.parent_records.is_empty() {
            text.push_str("\nRecords for the parent zone\n");
            for record in &self.parent_records {
                let _ = writeln!(text, "  {record}");
            }
        }
        let _ = writeln!(text, "\n{}", self.summary());
        text
    }

    fn summary(&self) -> String {
        let [errors, warnings, notes, fine] =
            [Level::Error, Level::Warning, Level::Note, Level::Ok].map(|level| self.count(level));
        let counted = |number: usize, word: &str| match number {
            1 => format!("1 {word}"),
            _ => format!("{number} {word}s"),
        };
        let verdict = match (errors, warnings) {
            (0, 0) => "All is well",
            (0, _) => "It works, but not as it should",
            _ => "Something is broken",
        };
        format!(
            "{verdict}: {}, {}, {}, {fine} ok.",
            counted(errors, "error"),
            counted(warnings, "warning"),
            counted(notes, "note"),
        )
    }
}

/// Findings that say the same of several zones or addresses stand in one line, where the first stood.
fn merged(findings: &[Finding]) -> Vec<Finding> {
    let mut merged: Vec<Finding> = Vec::new();
    for finding in findings {
        let subject = finding.subject.trim_end_matches('.');
        let same = merged.iter_mut().find(|other| {
            (other.topic, other.level, &other.found, &other.mend)
                == (finding.topic, finding.level, &finding.found, &finding.mend)
        });
        match same {
            Some(other) => {
                other.subject.push_str(", ");
                other.subject.push_str(subject);
            }
            None => merged.push(Finding {
                subject: subject.to_owned(),
                ..finding.clone()
            }),
        }
    }
    merged
}

/// The mark, what was found about what, and below it what to do.
fn push(text: &mut String, finding: &Finding) {
    let Finding {
        level,
        subject,
        found,
        mend,
        ..
    } = finding;
    let _ = writeln!(text, "  {:<MARK$}{subject}: {found}", level.mark());
    for (index, line) in mend.iter().flat_map(|mend| mend.lines()).enumerate() {
        let before = if index == 0 { "-> " } else { "   " };
        let _ = writeln!(text, "  {:MARK$}{before}{line}", "");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report() -> Report {
        let of = |topic, level, mend: &str| Finding::new(topic, level, "thing", "as it is", mend);
        Report {
            findings: vec![
                of(Topic::Config, Level::Ok, ""),
                of(Topic::Config, Level::Note, "do one\nthen two"),
                of(Topic::Port, Level::Error, "stop it"),
                of(Topic::Clock, Level::Warning, "set it"),
            ],
            parent_records: vec!["a. 60 IN NS b.".to_owned()],
        }
    }

    #[test]
    fn text_is_grouped_and_says_what_to_do() {
        let wanted = "\
Configuration
  ok       thing: as it is
  note     thing: as it is
           -> do one
              then two

Ports
  ERROR    thing: as it is
           -> stop it

Clock
  WARNING  thing: as it is
           -> set it

Records for the parent zone
  a. 60 IN NS b.

Something is broken: 1 error, 1 warning, 1 note, 1 ok.
";
        assert_eq!(report().text(), wanted);
    }

    #[test]
    fn what_is_said_of_several_stands_in_one_line() {
        let of = |subject, found: &str| Finding::ok(Topic::Server, subject, found);
        let findings = [of("a.test.", "x"), of("b.test.", "y"), of("c.test.", "x")];
        let report = Report {
            findings: findings.to_vec(),
            parent_records: Vec::new(),
        };
        let wanted = "Running server\n  ok       a.test, c.test: x\n  ok       b.test: y\n\n\
                      All is well: 0 errors, 0 warnings, 0 notes, 3 ok.\n";
        assert_eq!(report.text(), wanted);
    }

    #[test]
    fn the_summary_tells_how_bad_it_is() {
        let mut report = report();
        report.findings.retain(|found| found.level != Level::Error);
        assert!(report.summary().starts_with("It works, but"));
        report.findings.retain(|found| found.level < Level::Warning);
        let wanted = "All is well: 0 errors, 0 warnings, 1 note, 1 ok.";
        assert_eq!(report.summary(), wanted);
    }

    #[test]
    fn json_is_one_object() {
        let json: serde_json::Value = serde_json::from_str(&report().json().unwrap()).unwrap();
        assert_eq!(
            (json["errors"].as_u64(), json["warnings"].as_u64()),
            (Some(1), Some(1))
        );
        assert_eq!(json["parent_records"][0], "a. 60 IN NS b.");
        let first = serde_json::json!({
            "topic": "config", "level": "ok", "subject": "thing", "found": "as it is", "mend": null
        });
        assert_eq!(json["findings"][0], first);
        assert_eq!(json["findings"][2]["mend"], "stop it");
    }
}
