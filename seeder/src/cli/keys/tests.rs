use super::*;
use crate::zone::ZoneOptions;

const NOW: i64 = 1_800_000_000;

fn zone() -> Zone {
    Zone::new("seed.test", &ZoneOptions::default()).unwrap()
}

fn key(times: Times) -> Key {
    let apex = *zone().apex_wire();
    Key::generate(apex, Algorithm::Ed25519, Role::KeySigning, times).unwrap()
}

fn shown(keys: &[Key]) -> Vec<String> {
    let ring = Keyring::default().with(zone().apex_wire(), keys).unwrap();
    let text = ds(&ring, &[zone()], NOW).unwrap();
    text.lines().map(str::to_owned).collect()
}

/// Whoever puts all lines into the parent zone, or any of those that are no comments, breaks nothing.
#[test]
fn the_ds_of_a_key_that_does_not_sign_is_a_comment() {
    let active = key(Times::from_now(NOW - 10_000));
    let waiting = key(Times {
        activate: Some(NOW + 500),
        ..Times::from_now(NOW - 100)
    });
    let line = |key: &Key| parent::ds(zone().apex(), &key.ds());
    let lines = shown(&[key_again(&waiting), key_again(&active)]);
    assert_eq!(lines.len(), 3, "{lines:#?}");
    assert_eq!(lines[0], line(&active));
    let from = format!(
        "{} does not sign yet (it will from {} on)",
        waiting.tag(),
        written(NOW + 500)
    );
    assert!(lines[1].contains(&from), "{}", lines[1]);
    assert_eq!(lines[2], format!("; {}", line(&waiting)));

    let alone = shown(&[waiting]);
    assert!(
        alone.iter().all(|line| line.starts_with("; ")),
        "{alone:#?}"
    );
}

/// As in a rollover: the DS of both keys is wanted, and the old one may not go yet.
#[test]
fn the_ds_of_a_key_that_caches_do_not_know_has_a_date() {
    let old = key(Times::from_now(NOW - 10_000));
    let new = key(Times {
        sync_publish: Some(NOW + 7200),
        ..Times::from_now(NOW)
    });
    let lines = shown(&[key_again(&old), key_again(&new)]);
    let (comments, records): (Vec<_>, Vec<_>) =
        lines.iter().partition(|line| line.starts_with("; "));
    assert_eq!((comments.len(), records.len()), (1, 2), "{lines:#?}");
    let words = format!("{} not before {}", new.tag(), written(NOW + 7200));
    assert!(comments[0].contains(&words), "{}", comments[0]);
    let retired = Times {
        inactive: Some(NOW),
        ..old.times
    };
    let left = shown(&[old.with_times(retired).unwrap()]);
    assert!(left.is_empty(), "one on its way out: {left:#?}");
}

fn key_again(key: &Key) -> Key {
    key.with_times(key.times).unwrap()
}

#[test]
fn a_zone_becomes_unsigned_in_steps_and_can_go_back() {
    let dir = tempfile::tempdir().unwrap();
    let zones = [zone()];
    let begin = || unsign::begin(dir.path(), &zones, NOW);
    let error = begin().unwrap_err().to_string();
    assert!(error.contains("is not signed"), "{error}");
    let times = Times {
        sync_publish: Some(NOW),
        ..Times::from_now(NOW)
    };
    keyfile::write(dir.path(), &key(times)).unwrap();
    assert!(
        unsign::undo(dir.path(), &zones, NOW).is_err(),
        "nothing to undo"
    );
    let said = begin().unwrap();
    assert!(
        said.contains("seed.test. ask the parent to drop its DS"),
        "{said}"
    );
    let error = begin().unwrap_err().to_string();
    assert!(error.contains("since 20270115080000 already"), "{error}");

    let ring = load(dir.path(), &zones).unwrap();
    let listed = list(&ring, &zones, NOW).unwrap();
    assert!(listed.contains("is to become unsigned"), "{listed}");
    assert!(!listed.contains("named by CDS"), "{listed}");
    let told = ds(&ring, &zones, NOW).unwrap();
    assert!(told.lines().all(|line| line.starts_with("; ")), "{told}");
    assert!(
        told.contains("no DS of it belongs into the parent"),
        "{told}"
    );
    assert!(
        parent::records(&zone(), &ring, NOW)
            .iter()
            .all(|line| !line.contains(" DS "))
    );
    let new = New {
        algorithm: AlgorithmName::Ed25519,
        role: RoleName::Csk,
    };
    let tag = ring.keys(zone().apex_wire())[0].tag();
    for refused in [
        generate(dir.path(), &zones, new, NOW),
        roll(dir.path(), &zones, new, NOW),
        retire(dir.path(), &zones, tag, false, NOW),
    ] {
        let error = refused.unwrap_err().to_string();
        assert!(error.contains("--undo"), "{error}");
    }

    unsign::undo(dir.path(), &zones, NOW).unwrap();
    let ring = load(dir.path(), &zones).unwrap();
    assert_eq!(ring.leaving(zone().apex_wire()), None);
    assert!(list(&ring, &zones, NOW).unwrap().contains("named by CDS"));
}

/// Whoever removes the keys removes the file with them; new keys must not come to one that was left.
#[test]
fn new_keys_are_refused_beside_the_file_of_those_that_went() {
    let dir = tempfile::tempdir().unwrap();
    let zones = [zone()];
    keyfile::write(dir.path(), &key(Times::from_now(NOW))).unwrap();
    unsign::begin(dir.path(), &zones, NOW).unwrap();
    for entry in fs::read_dir(dir.path()).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(name.starts_with("Kseed.test."), "{name}");
        if !name.ends_with(".unsign") {
            fs::remove_file(path).unwrap();
        }
    }
    let new = New {
        algorithm: AlgorithmName::Ed25519,
        role: RoleName::Csk,
    };
    let error = generate(dir.path(), &zones, new, NOW)
        .unwrap_err()
        .to_string();
    assert!(error.contains("--undo"), "{error}");
    let ring = load(dir.path(), &zones).unwrap();
    let listed = list(&ring, &zones, NOW).unwrap();
    assert_eq!(listed, "seed.test. is not signed: it has no keys\n");
    unsign::undo(dir.path(), &zones, NOW).unwrap();
    assert!(generate(dir.path(), &zones, new, NOW).is_ok());
}
