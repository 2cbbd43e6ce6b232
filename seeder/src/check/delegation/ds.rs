//! The parent's DS records against the zone's keys (RFC 4035, 5.2).

use std::{collections::BTreeSet, fmt};

use super::{Level, Ours, Seen, Signing, of};
use crate::{
    check::{Finding, parent},
    words::date,
};

/// SHA-256 (RFC 4509), the digest that our DS records have.
const SHA256: u8 = 2;

/// One DS record: its RDATA.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::check) struct Ds(Vec<u8>);

impl Ds {
    /// By its RDATA.
    pub(in crate::check) const fn new(rdata: Vec<u8>) -> Self {
        Self(rdata)
    }

    /// Whether `self`, at the parent, names the key that `ours` names. Of a digest that we don't make, key tag and
    /// algorithm decide.
    fn names(&self, ours: &Self) -> bool {
        match self.0.as_slice() {
            [_, _, _, SHA256, ..] => self == ours,
            rdata => rdata.get(..3).is_some_and(|key| ours.0.starts_with(key)),
        }
    }
}

impl fmt::Display for Ds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&parent::ds_data(&self.0))
    }
}

/// All DS records that the parent's servers have, or, where none could be asked, that resolvers have.
fn at_parent(seen: &Seen) -> Option<BTreeSet<&Ds>> {
    let views = seen.parent.iter().flat_map(|parent| &parent.views);
    let resolved = seen.resolvers.iter().filter_map(|at| at.said.as_ref().ok());
    let mut sets: Vec<&BTreeSet<Ds>> = views.filter_map(|view| view.ds.as_ref()).collect();
    if sets.is_empty() {
        sets = resolved.filter_map(|said| said.ds.as_ref()).collect();
    }
    (!sets.is_empty()).then(|| sets.into_iter().flatten().collect())
}

/// Judges the DS records. Nothing is said when nobody could be asked.
pub(super) fn judge(ours: &Ours, seen: &Seen) -> Vec<Finding> {
    let Some(theirs) = at_parent(seen) else {
        return Vec::new();
    };
    let shown = super::list(&theirs);
    match &ours.signing {
        Signing::Unknown if theirs.is_empty() => Vec::new(),
        Signing::Unknown => vec![of(
            ours,
            Level::Note,
            format!(
                "the parent has DS records ({shown}), which can't be compared with keys that can't be used"
            ),
            "",
        )],
        Signing::Unsigned if theirs.is_empty() => {
            vec![of(
                ours,
                Level::Ok,
                "is not signed, and the parent has no DS of it",
                "",
            )]
        }
        Signing::Unsigned => vec![of(
            ours,
            Level::Error,
            format!(
                "the parent has a DS ({shown}), but the zone is not signed: validating resolvers take all \
                 answers for bogus"
            ),
            "take the DS out of the parent zone now; or run with the keys that it names (--keys DIR)",
        )],
        Signing::Signed {
            ds,
            waiting,
            leaving: Some(since),
            ..
        } => leave(ours, (ds, waiting), *since, &theirs),
        Signing::Signed { ds, wait_until, .. } if theirs.is_empty() => {
            vec![without_ds(ours, ds, *wait_until)]
        }
        Signing::Signed { ds, waiting, .. } => compare(ours, ds, waiting, &theirs),
    }
}

fn lines(ours: &Ours, ds: &BTreeSet<Ds>) -> String {
    let lines: Vec<String> = ds.iter().map(|ds| parent::ds(&ours.zone, &ds.0)).collect();
    lines.join("\n")
}

fn without_ds(ours: &Ours, ds: &BTreeSet<Ds>, wait_until: Option<i64>) -> Finding {
    let found = "is signed, but the parent has no DS of it, so that nobody validates";
    let when = wait_until.map_or_else(String::new, |at| {
        format!(
            ", but not before {}, when unsigned answers have left the caches",
            date(at)
        )
    });
    let mend = format!("put this into the parent zone{when}:\n{}", lines(ours, ds));
    of(ours, Level::Note, found, mend)
}

/// On the way to become unsigned. A DS that fits no key is as bad as ever.
fn leave(
    ours: &Ours,
    (ds, waiting): (&BTreeSet<Ds>, &BTreeSet<Ds>),
    since: i64,
    theirs: &BTreeSet<&Ds>,
) -> Vec<Finding> {
    if theirs.is_empty() {
        let zone = &ours.zone;
        let found = "is to become unsigned, and the parent has no DS of it any more: its keys may be removed";
        let mend = format!(
            "when the DS has left the caches (its TTL, a day with most parents), stop the seeder, remove K{zone}* from the directory of \
             keys, and start it again"
        );
        return vec![of(ours, Level::Note, found, mend)];
    }
    if !theirs.iter().any(|their| among(ds, their)) {
        return compare(ours, ds, waiting, theirs);
    }
    let found = format!(
        "is to become unsigned, and asks the parent since {} to drop its DS ({}), which it still has",
        date(since),
        super::list(theirs)
    );
    let mend = "leave the keys where they are. Parents that read CDS drop it within some days; at others take it out by hand. \
                `quantumcoin-seeder keys unsign --undo` keeps the zone signed";
    vec![of(ours, Level::Note, found, mend)]
}

fn among(set: &BTreeSet<Ds>, their: &Ds) -> bool {
    set.iter().any(|ours| their.names(ours))
}

fn compare(
    ours: &Ours,
    ds: &BTreeSet<Ds>,
    waiting: &BTreeSet<Ds>,
    theirs: &BTreeSet<&Ds>,
) -> Vec<Finding> {
    let (right, others): (Vec<&Ds>, Vec<&Ds>) = theirs.iter().partition(|their| among(ds, their));
    let (early, wrong): (Vec<&Ds>, Vec<&Ds>) =
        others.into_iter().partition(|their| among(waiting, their));
    if right.is_empty() {
        let what = match early.as_slice() {
            [] => "names a key of the zone",
            _ => "names a key of the zone that signs now",
        };
        let found = format!(
            "no DS of the parent ({}) {what}: validating resolvers take all answers for bogus",
            super::list(theirs)
        );
        let mend = format!(
            "put back the keys that it names, or replace it in the parent zone by:\n{}",
            lines(ours, ds)
        );
        return vec![of(ours, Level::Error, found, mend)];
    }
    let found = format!(
        "the parent's DS names a key of the zone ({})",
        super::list(&right)
    );
    let mut findings = vec![of(ours, Level::Ok, found, "")];
    if !early.is_empty() {
        let found = format!(
            "the parent has a DS ({}) of a key that does not sign yet",
            super::list(&early)
        );
        let mend = "leave the other one there until the key signs (`quantumcoin-seeder keys list` tells when): \
         alone it would make all answers bogus";
        findings.push(of(ours, Level::Warning, found, mend));
    }
    if !wrong.is_empty() {
        let found = format!(
            "the parent has a DS ({}) that names no key of the zone",
            super::list(&wrong)
        );
        let mend = "harmless while another one is right; when the key has been replaced, take it out of the \
         parent zone";
        findings.push(of(ours, Level::Note, found, mend));
    }
    findings
}
