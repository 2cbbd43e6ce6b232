//! `quantumcoin-seeder keys …`: the DNSSEC keys of the zones.

mod unsign;

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand, ValueEnum};
use serde_json::{Value, json};

use crate::{
    check::parent,
    config::SeederConfig,
    dnssec::{
        key::{Algorithm, Key, Role},
        keyfile,
        keyring::Keyring,
        sign::KEY_TTL,
        times::{Phase, Times, written},
    },
    follow::unix_now,
    zone::Zone,
};

/// Seconds that are waited beyond a TTL: name servers that take up a change late, clocks, and a refresh.
const MARGIN: i64 = 3600;

/// What to do with keys.
#[derive(Debug, Subcommand)]
pub(super) enum Keys {
    /// Make keys for the zones. A running seeder takes them up at its next refresh.
    Generate(New),
    /// Show all keys, and what each does now.
    List {
        /// As JSON.
        #[arg(long)]
        json: bool,
    },
    /// Print the DS records for the parent zone.
    Ds,
    /// Replace a key: the new one is published first and takes over when caches know it.
    ///
    /// A zone-signing key is replaced by itself in some hours. Of an entry point (KSK or CSK) the parent has to be told the new DS:
    /// once the new DNSKEY has spread, CDS and CDNSKEY name it; when the parent has it and the old DS has left the caches, run `keys retire`.
    Roll(New),
    /// Take a key out of use: it signs no more, and is gone when caches have forgotten its signatures.
    Retire {
        /// The key's number, as `keys list` shows it.
        #[arg(long)]
        tag: u16,
        /// Also when nothing can take over yet.
        #[arg(long)]
        force: bool,
    },
    /// Prepare zones for going unsigned: CDS and CDNSKEY ask the parent to drop its DS (RFC 8078).
    ///
    /// They stay signed until their keys are removed, which must wait until the parent has dropped the DS and it has left the caches:
    /// `check` tells.
    Unsign {
        /// Stay signed after all: CDS and CDNSKEY name the keys again.
        #[arg(long)]
        undo: bool,
    },
}

/// Which key.
#[derive(Debug, Clone, Copy, Args)]
pub(super) struct New {
    /// The algorithm; ECDSA is what every validator knows.
    #[arg(long, value_enum, default_value = "ecdsa-p256")]
    algorithm: AlgorithmName,
    /// What the key signs: everything (csk), the keys (ksk), or the rest (zsk).
    #[arg(long, value_enum, default_value = "csk")]
    role: RoleName,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum AlgorithmName {
    EcdsaP256,
    Ed25519,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum RoleName {
    Csk,
    Ksk,
    Zsk,
}

impl New {
    const fn algorithm(self) -> Algorithm {
        match self.algorithm {
            AlgorithmName::EcdsaP256 => Algorithm::EcdsaP256,
            AlgorithmName::Ed25519 => Algorithm::Ed25519,
        }
    }

    const fn role(self) -> Role {
        match self.role {
            RoleName::Csk | RoleName::Ksk => Role::KeySigning,
            RoleName::Zsk => Role::ZoneSigning,
        }
    }
}

/// Runs a command and tells what it did.
pub(super) fn run(config: &SeederConfig, command: &Keys) -> anyhow::Result<String> {
    let now = unix_now();
    let mut told = String::new();
    let directories = directories(config)?;
    // A change is made in one directory or not at all.
    let changes = matches!(
        command,
        Keys::Generate(_) | Keys::Roll(_) | Keys::Retire { .. } | Keys::Unsign { .. }
    );
    ensure!(
        directories.len() == 1 || !changes,
        "the zones have their keys in several directories: name one zone with --zone"
    );
    if let Keys::List { json: true } = command {
        let mut all = Vec::new();
        for (dir, zones) in &directories {
            let ring = load(dir, zones)?;
            all.extend(zones.iter().map(|zone| as_json(&ring, zone, now)));
        }
        return Ok(format!("{}\n", Value::Array(all)));
    }
    for (dir, zones) in directories {
        let text = match command {
            Keys::Generate(new) => generate(&dir, &zones, *new, now),
            Keys::List { .. } => list(&load(&dir, &zones)?, &zones, now),
            Keys::Ds => ds(&load(&dir, &zones)?, &zones, now),
            Keys::Roll(new) => roll(&dir, &zones, *new, now),
            Keys::Retire { tag, force } => retire(&dir, &zones, *tag, *force, now),
            Keys::Unsign { undo: false } => unsign::begin(&dir, &zones, now),
            Keys::Unsign { undo: true } => unsign::undo(&dir, &zones, now),
        };
        told.push_str(&text?);
    }
    ensure!(
        !told.is_empty() || !matches!(command, Keys::Ds),
        "the zones have no keys: make some with `keys generate`"
    );
    Ok(told)
}

/// The directories of keys with the zones that have theirs there.
fn directories(config: &SeederConfig) -> anyhow::Result<BTreeMap<PathBuf, Vec<Zone>>> {
    let mut all: BTreeMap<PathBuf, Vec<Zone>> = BTreeMap::new();
    for zone in config.build_zones()? {
        let dir = config.keys_of(&zone).with_context(|| {
            format!(
                "name the directory of the keys of {} with --keys DIR, or another zone with --zone",
                zone.apex()
            )
        })?;
        all.entry(dir.to_owned()).or_default().push(zone);
    }
    Ok(all)
}

fn load(dir: &Path, zones: &[Zone]) -> anyhow::Result<Keyring> {
    Ok(Keyring::load(dir, zones.iter().map(Zone::apex_wire))?)
}

fn generate(dir: &Path, zones: &[Zone], new: New, now: i64) -> anyhow::Result<String> {
    make_directory(dir)?;
    let ring = load(dir, zones)?;
    unsign::refuse(&ring, zones)?;
    let mut changes = Vec::new();
    for zone in zones {
        let (role, apex) = (new.role(), zone.apex_wire());
        let mut same = ring.keys(apex).iter().filter(|key| {
            key.is_entry_point() == (role == Role::KeySigning)
                && key.algorithm() == new.algorithm()
                && matches!(key.times.phase(now), Phase::Published | Phase::Active)
        });
        if let Some(key) = same.next() {
            bail!(
                "{} has such a key already ({}): replace it with `keys roll`",
                zone.apex(),
                key.tag()
            );
        }
        let mut times = Times::from_now(now);
        // Who has the zone's keys in a cache must learn this one before it signs alone.
        let known = now + known_after(zone);
        if role == Role::ZoneSigning && !ring.keys(apex).is_empty() {
            times.activate = Some(known);
        }
        // Unsigned answers must have left the caches before there is a DS.
        times.sync_publish = (role == Role::KeySigning).then_some(known);
        let key = Key::generate(*apex, new.algorithm(), role, times)?;
        changes.push(Change {
            zone,
            keys: vec![key],
        });
    }
    let mut text = commit(dir, &ring, &changes, now)?;
    text.push_str("A running seeder takes them up at its next refresh. `keys ds` prints what the parent needs once the zone answers with signatures.\n");
    Ok(text)
}

/// What is to be written for a zone: keys that are new, or have other times.
struct Change<'a> {
    zone: &'a Zone,
    keys: Vec<Key>,
}

/// Writes changes, when with all of them each zone can be signed now and at every moment at which one of its keys changes.
fn commit(dir: &Path, ring: &Keyring, changes: &[Change<'_>], now: i64) -> anyhow::Result<String> {
    for Change { zone, keys } in changes {
        let apex = zone.apex_wire();
        let after = ring.with(apex, keys)?;
        let mut moment = Some(now);
        while let Some(at) = moment {
            after
                .current(apex, at)
                .with_context(|| format!("nothing was changed: from {} on", written(at)))?;
            let all = after.keys(apex).iter();
            moment = all.filter_map(|key| key.times.next_change(at)).min();
        }
    }
    let mut text = String::new();
    for Change { zone, keys } in changes {
        for key in keys {
            let mut known = ring.keys(zone.apex_wire()).iter();
            if known.any(|known| known.tag() == key.tag()) {
                keyfile::rewrite(dir, key)?;
            } else {
                writeln!(text, "{}", keyfile::write(dir, key)?.display())?;
            }
        }
    }
    Ok(text)
}

fn make_directory(dir: &Path) -> anyhow::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    let made = fs::create_dir_all(dir);
    made.with_context(|| format!("{} can't be made", dir.display()))?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        fs::set_permissions(dir, fs::Permissions::from_mode(0o700))?;
    }
    Ok(())
}

fn list(ring: &Keyring, zones: &[Zone], now: i64) -> anyhow::Result<String> {
    let mut text = String::new();
    for zone in zones {
        let keys = ring.keys(zone.apex_wire());
        if keys.is_empty() {
            writeln!(text, "{} is not signed: it has no keys", zone.apex())?;
        }
        let leaving = ring.leaving(zone.apex_wire()).filter(|_| !keys.is_empty());
        if let Some(since) = leaving {
            writeln!(
                text,
                "{} is to become unsigned: CDS asks the parent since {} to drop its DS",
                zone.apex(),
                written(since)
            )?;
        }
        for key in keys {
            let kind = if key.is_entry_point() {
                "entry point"
            } else {
                "zone-signing"
            };
            write!(
                text,
                "{} {} {} {kind}, {}",
                zone.apex(),
                key.tag(),
                key.algorithm().name(),
                key.times.phase(now)
            )?;
            if key.times.is_for_parent(now) && leaving.is_none() {
                write!(text, ", named by CDS")?;
            }
            if let Some(change) = key.times.next_change(now) {
                write!(text, ", changes {}", written(change))?;
            }
            writeln!(text)?;
        }
        if let Err(error) = ring.current(zone.apex_wire(), now) {
            writeln!(text, "problem: {error}")?;
        }
    }
    Ok(text)
}

/// A zone's keys; times are Unix seconds.
fn as_json(ring: &Keyring, zone: &Zone, now: i64) -> Value {
    let leaving = ring.leaving(zone.apex_wire());
    let key = |key: &Arc<Key>| {
        json!({
            "tag": key.tag(),
            "algorithm": key.algorithm().name(),
            "entry_point": key.is_entry_point(),
            "phase": key.times.phase(now).to_string(),
            "named_by_cds": key.times.is_for_parent(now) && leaving.is_none(),
            "next_change": key.times.next_change(now),
        })
    };
    let problem = ring.current(zone.apex_wire(), now).err();
    json!({
        "zone": zone.apex().to_string(),
        "leaving_since": leaving,
        "keys": ring.keys(zone.apex_wire()).iter().map(key).collect::<Vec<_>>(),
        "problem": problem.map(|error| error.to_string()),
    })
}

/// Lines that may be put into the parent zone as they stand; what is not safe yet is told in comments.
///
/// Replacing an entry point needs the DS of both keys for a time, so the new one is shown from the beginning.
fn ds(ring: &Keyring, zones: &[Zone], now: i64) -> anyhow::Result<String> {
    let mut text = String::new();
    for zone in zones {
        let (apex, wire) = (zone.apex(), zone.apex_wire());
        if ring.leaving(wire).is_some() {
            writeln!(
                text,
                "; {apex} is to become unsigned: no DS of it belongs into the parent zone"
            )?;
            continue;
        }
        let keys = || parent::entry_points(ring.keys(wire), now);
        let signs = |key: &&Key| key.times.phase(now) == Phase::Active;
        for key in keys().filter(signs) {
            let early = key.times.sync_publish.filter(|at| *at > now);
            if let Some(at) = early {
                writeln!(
                    text,
                    "; {} not before {} in place of another DS or of none: until then not all caches know the key",
                    key.tag(),
                    written(at)
                )?;
            }
            writeln!(text, "{}", parent::ds(apex, &key.ds()))?;
        }
        for key in keys().filter(|key| !signs(key)) {
            let when = key.times.activate.map_or_else(
                || "nobody has said when it will".to_owned(),
                |at| format!("it will from {} on", written(at)),
            );
            writeln!(
                text,
                "; {} does not sign yet ({when}); until then its DS does no harm beside one above, and alone makes all answers bogus:\n; {}",
                key.tag(),
                parent::ds(apex, &key.ds())
            )?;
        }
    }
    Ok(text)
}

/// RFC 7583: a zone-signing key by pre-publication (3.2.1), an entry point by double signature (3.3.2).
fn roll(dir: &Path, zones: &[Zone], new: New, now: i64) -> anyhow::Result<String> {
    let ring = load(dir, zones)?;
    unsign::refuse(&ring, zones)?;
    let (mut changes, mut text) = (Vec::new(), String::new());
    for zone in zones {
        let apex = zone.apex_wire();
        let entry_point = new.role() == Role::KeySigning;
        let of = |phase| -> Vec<&Key> {
            let keys = ring.keys(apex).iter().map(AsRef::as_ref);
            keys.filter(|key: &&Key| {
                key.is_entry_point() == entry_point && key.times.phase(now) == phase
            })
            .collect()
        };
        if let Some(waiting) = of(Phase::Published).first() {
            bail!(
                "{} has a key that waits already: {}",
                zone.apex(),
                waiting.tag()
            );
        }
        let active = of(Phase::Active);
        let [old] = active.as_slice() else {
            bail!(
                "{} has {} such active keys, and one is replaced at a time: see `keys list`",
                zone.apex(),
                active.len()
            );
        };
        // By then every cache that holds the DNSKEY set holds the new key.
        let known = now + known_after(zone);
        let (mut next, mut last) = (Times::from_now(now), old.times);
        if entry_point {
            next.sync_publish = Some(known);
            last.sync_delete = Some(known);
        } else {
            ensure!(
                old.algorithm() == new.algorithm(),
                "another algorithm needs another entry point: `keys generate` one and then its zone-signing key"
            );
            next.activate = Some(known);
            last.inactive = Some(known);
            last.delete = Some(known + known_after(zone));
        }
        let key = Key::generate(*apex, new.algorithm(), new.role(), next)?;
        let what = if entry_point {
            "is named by CDS"
        } else {
            "signs"
        };
        writeln!(
            text,
            "from {} on {} {what} in place of {}",
            written(known),
            key.tag(),
            old.tag()
        )?;
        changes.push(Change {
            zone,
            keys: vec![key, old.with_times(last)?],
        });
    }
    let files = commit(dir, &ring, &changes, now)?;
    Ok(format!(
        "{files}{text}A running seeder takes it up at its next refresh.\n"
    ))
}

fn retire(dir: &Path, zones: &[Zone], tag: u16, force: bool, now: i64) -> anyhow::Result<String> {
    let ring = load(dir, zones)?;
    if !force {
        // The parent may know this key alone, and hears of no other until the zone is to stay signed.
        unsign::refuse(&ring, zones)?;
    }
    let all = zones.iter().flat_map(|zone| {
        let keys = ring.keys(zone.apex_wire()).iter();
        keys.map(move |key| (zone, key))
    });
    let found: Vec<_> = all.filter(|(_, key)| key.tag() == tag).collect();
    let [(zone, key)] = found.as_slice() else {
        bail!(
            "{} keys have the number {tag}; name one zone with --zone",
            found.len()
        );
    };
    let known = now - known_after(zone);
    let takes_over = |other: &Key| {
        other.tag() != tag
            && other.is_entry_point() == key.is_entry_point()
            && other.times.phase(now) == Phase::Active
            && other.times.publish.is_some_and(|publish| publish <= known)
            && (!other.is_entry_point() || other.times.is_for_parent(now))
    };
    let mut others = ring.keys(zone.apex_wire()).iter();
    ensure!(
        force || others.any(|other| takes_over(other)),
        "no other key of its kind in {} has been known for long enough to take over from {tag}: see `keys list`. With --force it is \
         taken out all the same, and validators may take the zone for forged",
        zone.apex()
    );
    let gone = now + known_after(zone);
    let mut times = key.times;
    times.inactive = Some(now);
    times.sync_delete = Some(times.sync_delete.map_or(now, |moment| moment.min(now)));
    times.delete = Some(gone);
    let change = Change {
        zone,
        keys: vec![key.with_times(times)?],
    };
    commit(dir, &ring, &[change], now)?;
    let mut text = format!(
        "{tag} of {} signs no more, and is gone from {} on.\n",
        zone.apex(),
        written(gone)
    );
    if key.is_entry_point() {
        text.push_str("Whoever has its DS in a cache finds no way to the zone now: the parent must have dropped it for as long as its TTL.\n");
    }
    Ok(text)
}

/// Seconds until caches have taken up or forgotten what the zone says now.
fn known_after(zone: &Zone) -> i64 {
    i64::from(KEY_TTL.max(zone.ttl())) + MARGIN
}

#[cfg(test)]
mod tests;
