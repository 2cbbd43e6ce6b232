//! `quantumcoin-seeder keys …`: the DNSSEC keys of the zones.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};
use clap::{Args, Subcommand, ValueEnum};
use data_encoding::HEXUPPER;

use crate::{
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
    /// Make keys for the zones, active at once. A running seeder takes them up on SIGHUP.
    Generate(New),
    /// Show all keys, and what each does now.
    List,
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
    let dir = config
        .keys
        .clone()
        .context("name the directory of the keys with --keys DIR")?;
    let zones = config.build_zones()?;
    let now = unix_now();
    match command {
        Keys::Generate(new) => generate(&dir, &zones, *new, now),
        Keys::List => list(&load(&dir, &zones)?, &zones, now),
        Keys::Ds => ds(&load(&dir, &zones)?, &zones),
        Keys::Roll(new) => roll(&dir, &zones, *new, now),
        Keys::Retire { tag } => retire(&dir, &zones, *tag, now),
    }
}

fn load(dir: &Path, zones: &[Zone]) -> anyhow::Result<Keyring> {
    Ok(Keyring::load(dir, zones.iter().map(Zone::apex_wire))?)
}

fn generate(dir: &Path, zones: &[Zone], new: New, now: i64) -> anyhow::Result<String> {
    make_directory(dir)?;
    let ring = load(dir, zones)?;
    let mut text = String::new();
    for zone in zones {
        let role = new.role();
        let others = ring.keys(zone.apex_wire()).iter();
        let mut same = others.filter(|key| {
            key.is_entry_point() == (role == Role::KeySigning)
                && key.algorithm() == new.algorithm()
                && key.times.phase(now) == Phase::Active
        });
        if let Some(key) = same.next() {
            bail!(
                "{} has such a key already ({}, active): replace it with `keys roll`",
                zone.apex(),
                key.tag()
            );
        }
        let mut times = Times::from_now(now);
        if role == Role::KeySigning {
            times.sync_publish = Some(now);
        }
        let key = Key::generate(*zone.apex_wire(), new.algorithm(), role, times)?;
        tell_new(&mut text, dir, &key)?;
    }
    text.push_str("Now: SIGHUP to a running seeder, `keys ds` for the parent once the zone answers with signatures.\n");
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

fn tell_new(text: &mut String, dir: &Path, key: &Key) -> anyhow::Result<()> {
    let path: PathBuf = keyfile::write(dir, key)?;
    writeln!(text, "{}", path.display())?;
    Ok(())
}

fn list(ring: &Keyring, zones: &[Zone], now: i64) -> anyhow::Result<String> {
    let mut text = String::new();
    for zone in zones {
        let keys = ring.keys(zone.apex_wire());
        if keys.is_empty() {
            writeln!(text, "{} is not signed: it has no keys", zone.apex())?;
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
            if key.times.is_for_parent(now) {
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

fn ds(ring: &Keyring, zones: &[Zone]) -> anyhow::Result<String> {
    let mut text = String::new();
    for zone in zones {
        let keys = ring.keys(zone.apex_wire()).iter();
        for key in
            keys.filter(|key| key.is_entry_point() && key.times.phase(unix_now()) != Phase::Removed)
        {
            let rdata = key.ds();
            let digest = HEXUPPER.encode(rdata.get(4..).unwrap_or_default());
            let number = key.algorithm().number();
            writeln!(
                text,
                "{} {KEY_TTL} IN DS {} {number} 2 {digest}",
                zone.apex(),
                key.tag()
            )?;
        }
    }
    ensure!(
        !text.is_empty(),
        "the zones have no keys: make some with `keys generate`"
    );
    Ok(text)
}

/// RFC 7583: a zone-signing key by pre-publication (3.2.1), an entry point by double signature (3.3.2).
fn roll(dir: &Path, zones: &[Zone], new: New, now: i64) -> anyhow::Result<String> {
    let ring = load(dir, zones)?;
    let mut text = String::new();
    for zone in zones {
        let entry_point = new.role() == Role::KeySigning;
        let keys = ring.keys(zone.apex_wire()).iter();
        let active: Vec<_> = keys
            .filter(|key| {
                key.is_entry_point() == entry_point && key.times.phase(now) == Phase::Active
            })
            .collect();
        let [old] = active.as_slice() else {
            bail!(
                "{} has {} such active keys, and one is replaced at a time: see `keys list`",
                zone.apex(),
                active.len()
            );
        };
        ensure!(
            old.algorithm() == new.algorithm() || entry_point,
            "an algorithm is replaced at its entry points first"
        );
        // By then every cache that holds the DNSKEY set holds the new key.
        let known = now + i64::from(KEY_TTL) + MARGIN;
        let mut next = Times::from_now(now);
        let mut last = old.times;
        if entry_point {
            next.sync_publish = Some(known);
            last.sync_delete = Some(known);
        } else {
            next.activate = Some(known);
            last.inactive = Some(known);
            last.delete = Some(known + forgotten(zone));
        }
        let key = Key::generate(*zone.apex_wire(), new.algorithm(), new.role(), next)?;
        tell_new(&mut text, dir, &key)?;
        rewrite(dir, old, last)?;
        if entry_point {
            writeln!(
                text,
                "from {} on CDS asks the parent to trust {} in place of {}",
                written(known),
                key.tag(),
                old.tag()
            )?;
        } else {
            writeln!(
                text,
                "from {} on {} signs in place of {}",
                written(known),
                key.tag(),
                old.tag()
            )?;
        }
    }
    text.push_str("Now: SIGHUP to a running seeder.\n");
    Ok(text)
}

fn retire(dir: &Path, zones: &[Zone], tag: u16, now: i64) -> anyhow::Result<String> {
    let ring = load(dir, zones)?;
    let all = zones.iter().flat_map(|zone| {
        ring.keys(zone.apex_wire())
            .iter()
            .map(move |key| (zone, key))
    });
    let found: Vec<_> = all.filter(|(_, key)| key.tag() == tag).collect();
    let [(zone, key)] = found.as_slice() else {
        bail!(
            "{} keys have the number {tag}; name one zone with --zone",
            found.len()
        );
    };
    let others = ring.keys(zone.apex_wire()).iter();
    let stays = others.filter(|other| other.tag() != tag).any(|other| {
        other.is_entry_point() == key.is_entry_point() && other.times.phase(now) == Phase::Active
    });
    ensure!(
        stays,
        "{tag} is the only active key of its kind in {}: replace it with `keys roll` first",
        zone.apex()
    );
    let mut times = key.times;
    times.inactive = Some(now);
    times.sync_delete = Some(times.sync_delete.map_or(now, |moment| moment.min(now)));
    times.delete = Some(now + forgotten(zone));
    rewrite(dir, key, times)?;
    let mut text = format!(
        "{tag} of {} signs no more, and is gone from {} on.\n",
        zone.apex(),
        written(now + forgotten(zone))
    );
    if key.is_entry_point() {
        text.push_str("Whoever has its DS in a cache finds no way to the zone now: the parent must have dropped it for as long as its TTL.\n");
    }
    text.push_str("Now: SIGHUP to a running seeder.\n");
    Ok(text)
}

/// Seconds until caches have forgotten the last signature of a zone.
fn forgotten(zone: &Zone) -> i64 {
    i64::from(KEY_TTL.max(zone.ttl())) + MARGIN
}

fn rewrite(dir: &Path, key: &Key, times: Times) -> anyhow::Result<()> {
    let same = Key::from_parts(
        key.zone,
        key.algorithm(),
        key.flags,
        *key.secret(),
        key.public().to_vec(),
        times,
    )?;
    Ok(keyfile::rewrite(dir, &same)?)
}
