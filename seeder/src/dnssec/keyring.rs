//! The keys of all zones, and which of them count at a moment.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use super::{
    key::{Algorithm, Key, KeyError},
    keyfile::{self, KeyFileError},
    leaving,
    times::Phase,
};
use crate::wire::name::WireName;

/// A keyring that can't be used.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// A file.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// Keys, but none that may sign.
    #[error(
        "{zone} has keys, but at this moment no {missing} of {algorithm} is active: see `keys list`, and make one with \
         `keys generate`"
    )]
    NoneActive {
        /// The zone.
        zone: String,
        /// What kind of key is missing.
        missing: &'static str,
        /// Its algorithm.
        algorithm: &'static str,
    },
    /// A signed zone with another of ours within it.
    #[error(
        "{zone} is to be signed, but {inner} lies within it, which it would have to delegate: serve {inner} by another seeder, or take \
         the keys of {zone} away"
    )]
    Inner {
        /// The outer zone.
        zone: String,
        /// The inner one.
        inner: String,
    },
    /// What a state made from these keys would complain of.
    #[error("{0}")]
    Complaint(String),
    /// A zone whose keys are others at once.
    #[error(
        "none of the keys of {0} is one of those that have signed until now. Whoever trusts its DS would take all answers for forged: put the \
         former keys back and replace them with `keys roll`, or start the seeder anew if that is meant"
    )]
    Strangers(String),
    /// A zone that was signed would not be any more.
    #[error(
        "{0} was signed and has no keys any more. Whoever trusts its DS would take all answers for forged: put the keys back, \
         or remove the DS records from the parent, wait for their TTL, and start the seeder anew"
    )]
    Lost(String),
}

/// The keys of some zones.
#[derive(Debug, Clone, Default)]
pub struct Keyring {
    zones: BTreeMap<Vec<u8>, Vec<Arc<Key>>>,
    /// Since when zones are to become unsigned.
    leaving: BTreeMap<Vec<u8>, i64>,
}

/// The keys of a zone that count at a moment.
#[derive(Debug, Clone)]
pub struct Current {
    /// Those among the DNSKEY records.
    pub published: Vec<Arc<Key>>,
    /// Those that sign the DNSKEY, CDS and CDNSKEY records.
    pub key_signing: Vec<Arc<Key>>,
    /// Those that sign all else.
    pub zone_signing: Vec<Arc<Key>>,
    /// Those that the parent is asked to trust.
    pub for_parent: Vec<Arc<Key>>,
    /// The parent is asked to trust none, since the zone is to become unsigned.
    pub leaving: bool,
}

impl Current {
    /// Whether some entry point is one that was published before: the way from the parent goes on.
    pub(crate) fn continues(&self, before: &Self) -> bool {
        let entry_points = self.published.iter().filter(|key| key.is_entry_point());
        let mut known = entry_points.filter(|key| {
            let mut same = before.published.iter();
            same.any(|other| other.dnskey() == key.dnskey())
        });
        known.next().is_some()
    }
}

impl Keyring {
    /// Reads the keys of these zones from a directory; other files in it are passed over.
    ///
    /// # Errors
    /// [`KeyFileError`] for a file that can't be read or used.
    pub fn load<'a>(
        dir: &Path,
        zones: impl IntoIterator<Item = &'a WireName>,
    ) -> Result<Self, KeyFileError> {
        let mut ring = Self::default();
        let wanted: Vec<&WireName> = zones.into_iter().collect();
        for key in keyfile::read_all(dir, |zone| wanted.contains(&zone))? {
            let keys = ring.zones.entry(key.zone.as_bytes().to_vec()).or_default();
            keys.push(Arc::new(key));
        }
        for zone in wanted {
            let since = leaving::since(dir, zone)?;
            let since = since.map(|since| (zone.as_bytes().to_vec(), since));
            ring.leaving.extend(since);
        }
        Ok(ring)
    }

    /// Since when a zone is to become unsigned, Unix seconds; `None` when it is not. Whether it has keys still is another matter.
    #[must_use]
    pub fn leaving(&self, zone: &WireName) -> Option<i64> {
        self.leaving.get(zone.as_bytes()).copied()
    }

    /// Takes over the keys of these zones.
    pub(crate) fn take(&mut self, zones: &[WireName], other: &Self) {
        for zone in zones {
            let keys = other.zones.get(zone.as_bytes());
            self.zones
                .extend(keys.map(|keys| (zone.as_bytes().to_vec(), keys.clone())));
            let since = other.leaving.get(zone.as_bytes());
            self.leaving
                .extend(since.map(|since| (zone.as_bytes().to_vec(), *since)));
        }
    }

    /// The same with keys of a zone that are new or have other times.
    ///
    /// # Errors
    /// [`KeyError`].
    pub fn with(&self, zone: &WireName, changed: &[Key]) -> Result<Self, KeyError> {
        let mut ring = self.clone();
        let keys = ring.zones.entry(zone.as_bytes().to_vec()).or_default();
        keys.retain(|key| changed.iter().all(|other| other.tag() != key.tag()));
        for key in changed {
            keys.push(Arc::new(key.with_times(key.times)?));
        }
        Ok(ring)
    }

    /// All keys of a zone; none for one that is not signed.
    #[must_use]
    pub fn keys(&self, zone: &WireName) -> &[Arc<Key>] {
        self.zones.get(zone.as_bytes()).map_or(&[], Vec::as_slice)
    }

    /// The keys of a zone that count at `now`; `None` when it has none and so is not signed.
    ///
    /// Every algorithm that has an active key signs everything (RFC 4035, 2.2): with its zone-signing keys, or, where it has none,
    /// with its entry points ("combined" keys).
    ///
    /// # Errors
    /// [`KeyringError::NoneActive`].
    pub fn current(&self, zone: &WireName, now: i64) -> Result<Option<Current>, KeyringError> {
        let all = self.keys(zone);
        if all.is_empty() {
            return Ok(None);
        }
        let published: Vec<Arc<Key>> = all
            .iter()
            .filter(|key| {
                matches!(
                    key.times.phase(now),
                    Phase::Published | Phase::Active | Phase::Retired
                )
            })
            .cloned()
            .collect();
        let mut current = Current {
            for_parent: published
                .iter()
                .filter(|key| key.is_entry_point() && key.times.is_for_parent(now))
                .cloned()
                .collect(),
            published,
            key_signing: Vec::new(),
            zone_signing: Vec::new(),
            leaving: self.leaving(zone).is_some(),
        };
        for algorithm in algorithms(all, now) {
            let active = |entry_point: bool| -> Vec<Arc<Key>> {
                let mine = all.iter().filter(|key| {
                    key.algorithm() == algorithm
                        && key.is_entry_point() == entry_point
                        && key.times.phase(now) == Phase::Active
                });
                mine.cloned().collect()
            };
            let (entry_points, mut others) = (active(true), active(false));
            let missing = |missing| KeyringError::NoneActive {
                zone: format!("{zone:?}"),
                missing,
                algorithm: algorithm.name(),
            };
            if entry_points.is_empty() {
                return Err(missing("key-signing key"));
            }
            // A zone whose zone-signing keys have all gone was not meant to be signed by the other.
            let has_others = all.iter().any(|key| {
                key.algorithm() == algorithm
                    && !key.is_entry_point()
                    && key.times.phase(now) == Phase::Retired
            });
            if others.is_empty() && has_others {
                return Err(missing("zone-signing key"));
            }
            if others.is_empty() {
                others.clone_from(&entry_points);
            }
            current.key_signing.extend(entry_points);
            current.zone_signing.extend(others);
        }
        Ok(Some(current))
    }
}

/// The algorithms that a zone is signed with at `now`. When no key is active, those of all keys, so that something is missing.
fn algorithms(keys: &[Arc<Key>], now: i64) -> Vec<Algorithm> {
    let of = |active: bool| -> Vec<Algorithm> {
        let some = keys
            .iter()
            .filter(|key| !active || key.times.phase(now) == Phase::Active);
        let mut found: Vec<Algorithm> = some.map(|key| key.algorithm()).collect();
        found.sort_unstable();
        found.dedup();
        found
    };
    let active = of(true);
    if active.is_empty() { of(false) } else { active }
}

#[cfg(test)]
mod tests;
