//! Everything that answers come from at a moment, swapped as a whole.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use arc_swap::ArcSwap;

use crate::{
    dnssec::{
        keyring::{Current, Keyring, KeyringError},
        prove::Prover,
        sign::Signer,
    },
    setup::Setup,
    snapshot::Snapshot,
    table::{Table, TableError},
    wire::name::WireName,
    zone::Zone,
};

/// How far ahead it is looked for keys that end, in seconds: time enough to make others and have caches learn them.
const KEYS_AHEAD: i64 = 7 * 86_400;

/// The state that answers come from, shared between the follower and the servers.
pub type Shared = Arc<ArcSwap<State>>;

/// What answers come from.
#[derive(Debug)]
pub struct State {
    /// What the configuration says.
    pub setup: Arc<Setup>,
    /// The good peers.
    pub snapshot: Arc<Snapshot>,
    /// What the engine says about the peers, written ahead.
    pub table: Table,
    /// Of each zone of the engine; `None` for one that is not signed.
    pub provers: Vec<Option<Prover>>,
    /// The keys that these sign with.
    keys: Keys,
    /// Whether something that must not happen has happened.
    complained: AtomicBool,
}

/// The keys of the engine's zones that count at a moment.
#[derive(Debug, Clone, Default)]
struct Keys {
    ring: Arc<Keyring>,
    current: Vec<Option<Current>>,
    /// Where the keys on disk could not be followed, and those of the state before go on signing.
    complaints: Vec<String>,
}

/// A state that can't be made.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// See [`KeyringError`].
    #[error(transparent)]
    Keyring(#[from] KeyringError),
    /// See [`TableError`].
    #[error(transparent)]
    Table(#[from] TableError),
}

impl State {
    /// Reads the keys on disk, and writes and signs the table for a snapshot with those that count at `now`, Unix seconds.
    ///
    /// Keys are read each time, so that one that was made in time is published in time. A zone that is signed in `previous` stays so:
    /// when its keys are gone or none may sign, the ones before go on signing, and [`State::complaints`] says why.
    ///
    /// # Errors
    /// [`StateError`].
    pub fn new(
        setup: Arc<Setup>,
        snapshot: Arc<Snapshot>,
        now: i64,
        previous: Option<&Self>,
    ) -> Result<Self, StateError> {
        let keys = Keys::read(&setup, now, previous)?;
        let zones = setup.engine.zones();
        let provers: Vec<Option<Prover>> = zones
            .iter()
            .zip(&keys.current)
            .map(|(zone, keys)| {
                let keys = keys.clone()?;
                let signer = Signer::new(*zone.apex_wire(), keys, now, rand::random());
                Some(Prover::new(signer, zone))
            })
            .collect();
        let bytes = previous.map_or(0, |previous| previous.table.bytes());
        let table = Table::build(&setup.engine, &snapshot, &provers, bytes)?;
        for prover in provers.iter().flatten() {
            prover.forget();
        }
        Ok(Self {
            setup,
            snapshot,
            table,
            provers,
            keys,
            complained: AtomicBool::new(false),
        })
    }

    /// Whether nothing has been complained of yet while this state serves; from now on something has.
    #[must_use]
    pub fn first_complaint(&self) -> bool {
        !self.complained.swap(true, Ordering::Relaxed)
    }

    /// Why the keys on disk are not all followed; empty when they are.
    #[must_use]
    pub fn complaints(&self) -> &[String] {
        &self.keys.complaints
    }

    /// Whether a running seeder can take up a setup: what [`State::new`] would only complain of is an error here.
    ///
    /// # Errors
    /// [`KeyringError`].
    pub fn check_keys(&self, setup: &Setup, now: i64) -> Result<(), KeyringError> {
        let keys = Keys::read(setup, now, Some(self))?;
        match keys.complaints.into_iter().next() {
            None => Ok(()),
            Some(complaint) => Err(KeyringError::Complaint(complaint)),
        }
    }

    /// The keys that the zone of that index is signed with; `None` for one that is not signed.
    #[must_use]
    pub fn keys_of(&self, zone: usize) -> Option<&Current> {
        self.keys.current.get(zone)?.as_ref()
    }

    /// Why zones that are signed at `now`, Unix seconds, will have no keys to sign with a week later, if nobody changes those on disk.
    #[must_use]
    pub fn ending(&self, now: i64) -> Vec<KeyringError> {
        let then = now.saturating_add(KEYS_AHEAD);
        let zones = self.setup.engine.zones().iter().zip(&self.keys.current);
        zones
            .filter(|(_, keys)| keys.is_some())
            .filter_map(|(zone, _)| self.keys.ring.current(zone.apex_wire(), then).err())
            .collect()
    }

    fn current(&self, apex: &WireName) -> Option<&Current> {
        let zones = self.setup.engine.zones().iter().zip(&self.keys.current);
        zones
            .filter(|(zone, _)| zone.apex_wire() == apex)
            .find_map(|(_, keys)| keys.as_ref())
    }
}

impl Keys {
    fn read(setup: &Setup, now: i64, previous: Option<&State>) -> Result<Self, KeyringError> {
        let mut complaints = Vec::new();
        let mut ring = Keyring::default();
        for (apexes, loaded) in setup.load_keyrings() {
            match (loaded, previous) {
                (Ok(loaded), _) => ring.take(&apexes, &loaded),
                (Err(error), None) => return Err(error.into()),
                // What can't be read holds up no other directory.
                (Err(error), Some(previous)) => {
                    complaints.push(error.to_string());
                    ring.take(&apexes, &previous.keys.ring);
                }
            }
        }
        let ring = Arc::new(ring);
        let zones = setup.engine.zones();
        let mut current = Vec::with_capacity(zones.len());
        for zone in zones {
            let apex = zone.apex_wire();
            let before = previous.and_then(|previous| previous.current(apex));
            let found = match ring.current(apex, now) {
                Ok(None) if before.is_some() => Err(KeyringError::Lost(zone.apex().to_string())),
                Ok(Some(found)) if before.is_some_and(|before| !found.continues(before)) => {
                    Err(KeyringError::Strangers(zone.apex().to_string()))
                }
                found => found,
            };
            match (found, before) {
                (Ok(found), _) => current.push(found),
                (Err(error), None) => return Err(error),
                (Err(error), Some(before)) => {
                    complaints.push(error.to_string());
                    current.push(Some(before.clone()));
                }
            }
        }
        for (zone, _) in zones
            .iter()
            .zip(&current)
            .filter(|(_, keys)| keys.is_some())
        {
            refuse_inner(zone, zones)?;
        }
        Ok(Self {
            ring,
            current,
            complaints,
        })
    }
}

/// A signed zone would have to delegate the zones within it, which ours do not.
pub(crate) fn refuse_inner(zone: &Zone, zones: &[Zone]) -> Result<(), KeyringError> {
    let inner = zones.iter().find(|other| {
        let above = other.apex_wire().below(zone.apex_wire());
        above.is_some_and(|above| above > 0)
    });
    match inner {
        None => Ok(()),
        Some(inner) => Err(KeyringError::Inner {
            zone: zone.apex().to_string(),
            inner: inner.apex().to_string(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use quantumcoin::{chain_spec::ChainSpec, service::metrics::Metrics};

    use super::*;
    use crate::{
        SeederConfig,
        config::ZoneSettings,
        dnssec::{
            key::{Algorithm, Key, Role},
            keyfile,
            times::Times,
        },
        server::counters::Counters,
    };

    fn add_key(dir: &Path, apex: &str) -> u16 {
        let apex = WireName::of(&hickory_proto::rr::Name::from_ascii(apex).unwrap());
        let times = Times::from_now(1);
        let key = Key::generate(apex, Algorithm::EcdsaP256, Role::KeySigning, times).unwrap();
        keyfile::write(dir, &key).unwrap();
        key.tag()
    }

    fn tags(state: &State, zone: usize) -> Vec<u16> {
        let current = state.keys.current[zone].as_ref().unwrap();
        let mut tags: Vec<u16> = current.published.iter().map(|key| key.tag()).collect();
        tags.sort_unstable();
        tags
    }

    #[test]
    fn a_zone_whose_only_key_ends_within_a_week_is_told_in_time() {
        let dir = tempfile::tempdir().unwrap();
        let apex = WireName::of(&hickory_proto::rr::Name::from_ascii("a.test.").unwrap());
        let end = 10 * 86_400;
        let times = Times {
            inactive: Some(end),
            ..Times::from_now(1)
        };
        let key = Key::generate(apex, Algorithm::EcdsaP256, Role::KeySigning, times).unwrap();
        keyfile::write(dir.path(), &key).unwrap();
        let config = SeederConfig {
            zones: vec!["a.test".to_owned()],
            keys: Some(dir.path().to_owned()),
            ..SeederConfig::new(ChainSpec::devnet())
        };
        let counters = Counters::new(&Metrics::new("test")).unwrap();
        let setup = Arc::new(Setup::new(&config, &counters, None).unwrap());
        let policy = config.policy(&config.build_zones().unwrap());
        let snapshot = Arc::new(Snapshot::empty(&policy, 100));
        let state = State::new(setup, snapshot, 100, None).unwrap();
        assert!(state.ending(end - KEYS_AHEAD - 1).is_empty());
        let ending = state.ending(end - KEYS_AHEAD);
        assert!(ending[0].to_string().contains("a.test"), "{ending:?}");
    }

    #[test]
    fn a_directory_that_is_damaged_holds_up_no_other_and_strangers_do_not_sign() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let first = add_key(one.path(), "a.test.");
        let other = add_key(two.path(), "b.test.");
        let config = SeederConfig {
            zones: vec!["a.test".to_owned(), "b.test".to_owned()],
            keys: Some(one.path().to_owned()),
            zone_settings: vec![ZoneSettings {
                name: "b.test".to_owned(),
                keys: Some(two.path().to_owned()),
                ..ZoneSettings::default()
            }],
            ..SeederConfig::new(ChainSpec::devnet())
        };
        let counters = Counters::new(&Metrics::new("test")).unwrap();
        let setup = Arc::new(Setup::new(&config, &counters, None).unwrap());
        let policy = config.policy(&config.build_zones().unwrap());
        let snapshot = Arc::new(Snapshot::empty(&policy, 100));
        let next = |previous: Option<&State>| {
            State::new(Arc::clone(&setup), Arc::clone(&snapshot), 100, previous).unwrap()
        };
        let state = next(None);
        assert_eq!(
            (tags(&state, 0), tags(&state, 1)),
            (vec![first], vec![other])
        );
        assert!(state.complaints().is_empty());

        // One directory is damaged, and in the other a key comes.
        let file = std::fs::read_dir(two.path())
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path();
        std::fs::write(&file, "junk").unwrap();
        let second = add_key(one.path(), "a.test.");
        let state = next(Some(&state));
        let mut both = vec![first, second];
        both.sort_unstable();
        assert_eq!(
            (tags(&state, 0), tags(&state, 1)),
            (both.clone(), vec![other])
        );
        assert_eq!(state.complaints().len(), 1, "{:?}", state.complaints());

        // All keys of a zone are others at once.
        for entry in std::fs::read_dir(one.path()).unwrap() {
            std::fs::remove_file(entry.unwrap().path()).unwrap();
        }
        add_key(one.path(), "a.test.");
        let state = next(Some(&state));
        assert_eq!(tags(&state, 0), both, "those of before go on signing");
        assert!(
            state
                .complaints()
                .iter()
                .any(|words| words.contains("keys roll")),
            "{:?}",
            state.complaints()
        );
    }
}
