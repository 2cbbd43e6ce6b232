//! The right name for a wrong one. Pure.

/// Letters of a name for each mistake that is forgiven: one in a name of up to five, two in one of up to eight.
const LETTERS_PER_MISTAKE: usize = 3;

/// The candidate that was meant: one that differs in a few letters, or the only one that begins or ends with the word.
pub(super) fn nearest<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let candidates: Vec<&str> = candidates.into_iter().collect();
    if let Some(name) = misspelt(word, candidates.iter().copied()) {
        return Some(name);
    }
    let word = normal(word);
    let is_part = |name: &&str| {
        let name = name.to_lowercase();
        name.starts_with(&format!("{word}_")) || name.ends_with(&format!("_{word}"))
    };
    let mut parts = candidates.into_iter().filter(is_part);
    match (parts.next(), parts.next()) {
        (Some(only), None) => Some(only),
        _ => None,
    }
}

/// The candidate that differs in a few letters.
pub(super) fn misspelt<'a>(
    word: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    let word = normal(word);
    let allowed = (word.chars().count() / LETTERS_PER_MISTAKE).max(1);
    let near = candidates
        .into_iter()
        .map(|name| (strsim::osa_distance(&word, &name.to_lowercase()), name))
        .filter(|(distance, name)| *distance <= allowed && *distance < name.chars().count())
        .min_by_key(|(distance, _)| *distance);
    near.map(|(_, name)| name)
}

fn normal(word: &str) -> String {
    word.to_lowercase().replace('-', "_")
}

/// Names for a sentence: `a, b and c`, each in back quotes.
pub(super) fn listed<'a>(names: impl IntoIterator<Item = &'a str>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    match names.as_slice() {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_letters_or_a_part_lead_to_the_right_name() {
        let names = [
            "listen",
            "http",
            "log",
            "log_format",
            "dials_per_second",
            "max_in_flight",
        ];
        for (wrong, right) in [
            ("lisen", Some("listen")),
            ("lsiten", Some("listen")),
            ("LISTEN", Some("listen")),
            ("log-format", Some("log_format")),
            ("https", Some("http")),
            ("lgo", Some("log")),
            ("dials", Some("dials_per_second")),
            ("in_flight", Some("max_in_flight")),
            ("per", None),
            ("x", None),
            ("colour", None),
            ("", None),
        ] {
            assert_eq!(nearest(wrong, names), right, "{wrong}");
        }
    }

    #[test]
    fn names_are_listed_as_in_a_sentence() {
        assert_eq!(listed([]), "");
        assert_eq!(listed(["a"]), "`a`");
        assert_eq!(listed(["a", "b", "c"]), "`a`, `b` and `c`");
    }
}
