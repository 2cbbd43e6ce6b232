use hickory_proto::rr::Name;

use super::*;
use crate::dnssec::{key::Role, times::Times};

const NOW: i64 = 1000;

fn zone() -> WireName {
    WireName::of(&Name::from_ascii("seed1.example.").unwrap())
}

fn ring(keys: &[(Algorithm, Role, [Option<i64>; 4])]) -> Keyring {
    let key = |(algorithm, role, [publish, activate, inactive, delete]): &(
        Algorithm,
        Role,
        [Option<i64>; 4],
    )| {
        let times = Times {
            publish: *publish,
            activate: *activate,
            inactive: *inactive,
            delete: *delete,
            sync_publish: *activate,
            ..Times::default()
        };
        Arc::new(Key::generate(zone(), *algorithm, *role, times).unwrap())
    };
    let keys = keys.iter().map(key).collect();
    Keyring {
        zones: [(zone().as_bytes().to_vec(), keys)].into(),
        ..Keyring::default()
    }
}

const ACTIVE: [Option<i64>; 4] = [Some(0), Some(0), None, None];
const WAITING: [Option<i64>; 4] = [Some(0), Some(2000), None, None];
const RETIRED: [Option<i64>; 4] = [Some(0), Some(0), Some(900), None];
const GONE: [Option<i64>; 4] = [Some(0), Some(0), Some(800), Some(900)];
const FUTURE: [Option<i64>; 4] = [Some(2000), Some(3000), None, None];

fn counts(ring: &Keyring) -> [usize; 4] {
    let current = ring.current(&zone(), NOW).unwrap().unwrap();
    [
        current.published.len(),
        current.key_signing.len(),
        current.zone_signing.len(),
        current.for_parent.len(),
    ]
}

#[test]
fn each_key_does_what_its_phase_and_role_say() {
    use Algorithm::{EcdsaP256, Ed25519};
    use Role::{KeySigning, ZoneSigning};
    let all = [ACTIVE, WAITING, RETIRED, GONE, FUTURE];
    let keys: Vec<_> = all
        .into_iter()
        .flat_map(|times| [KeySigning, ZoneSigning].map(|role| (Ed25519, role, times)))
        .collect();
    assert_eq!(counts(&ring(&keys)), [6, 1, 1, 2]);
    assert_eq!(
        counts(&ring(&[(EcdsaP256, KeySigning, ACTIVE)])),
        [1, 1, 1, 1],
        "a combined key"
    );
    let two = [
        (EcdsaP256, KeySigning, ACTIVE),
        (Ed25519, KeySigning, ACTIVE),
        (Ed25519, ZoneSigning, ACTIVE),
    ];
    assert_eq!(
        counts(&ring(&two)),
        [3, 2, 2, 2],
        "each algorithm signs everything"
    );
    let before = [
        (Ed25519, KeySigning, ACTIVE),
        (Ed25519, ZoneSigning, WAITING),
    ];
    assert_eq!(
        counts(&ring(&before)),
        [2, 1, 1, 1],
        "the entry point signs until the other does"
    );
    assert!(
        Keyring::default().current(&zone(), NOW).unwrap().is_none(),
        "no keys, not signed"
    );
}

#[test]
fn a_zone_with_keys_of_which_none_signs_is_an_error() {
    use Algorithm::Ed25519;
    use Role::{KeySigning, ZoneSigning};
    for (keys, missing) in [
        (vec![(Ed25519, KeySigning, FUTURE)], "key-signing"),
        (vec![(Ed25519, ZoneSigning, ACTIVE)], "key-signing"),
        (
            vec![
                (Ed25519, KeySigning, RETIRED),
                (Ed25519, ZoneSigning, ACTIVE),
            ],
            "key-signing",
        ),
        (
            vec![
                (Ed25519, KeySigning, ACTIVE),
                (Ed25519, ZoneSigning, RETIRED),
            ],
            "zone-signing",
        ),
    ] {
        let error = ring(&keys).current(&zone(), NOW).unwrap_err().to_string();
        assert!(
            error.contains(missing) && error.contains("keys generate"),
            "{error}"
        );
    }
}

#[test]
fn a_zone_that_is_to_become_unsigned_is_signed_as_before() {
    let dir = tempfile::tempdir().unwrap();
    let all = || Keyring::load(dir.path(), [&zone()]).unwrap();
    leaving::begin(dir.path(), &zone(), 900).unwrap();
    assert!(all().current(&zone(), NOW).unwrap().is_none(), "no keys");
    let times = Times::from_now(0);
    let key = Key::generate(zone(), Algorithm::Ed25519, Role::KeySigning, times).unwrap();
    keyfile::write(dir.path(), &key).unwrap();
    let ring = all();
    assert_eq!(ring.leaving(&zone()), Some(900));
    assert!(ring.current(&zone(), NOW).unwrap().unwrap().leaving);
    assert_eq!(counts(&ring), [1, 1, 1, 0]);
    let mut other = Keyring::default();
    other.take(&[zone()], &ring);
    assert_eq!(other.leaving(&zone()), Some(900));
    leaving::undo(dir.path(), &zone()).unwrap();
    assert!(!all().current(&zone(), NOW).unwrap().unwrap().leaving);
}
