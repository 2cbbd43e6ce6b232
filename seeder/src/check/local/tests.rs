use quantumcoin::chain_spec::ChainSpec;

use super::*;
use crate::dnssec::{
    key::{Algorithm, Key, Role},
    times::Times,
};

fn settings(change: impl FnOnce(&mut SeederConfig)) -> SeederConfig {
    let mut config = SeederConfig::new(ChainSpec::by_name("testnet").unwrap());
    config.zones = vec!["seed.test".to_owned()];
    config.name_server_addresses = vec!["1.2.3.4".parse().unwrap()];
    change(&mut config);
    config
}

fn judged(settings: &SeederConfig) -> Vec<Finding> {
    config(settings, &settings.build_zones())
}

fn worst(findings: &[Finding]) -> &Finding {
    findings.iter().max_by_key(|found| found.level).unwrap()
}

#[test]
fn good_settings_are_good() {
    let findings = judged(&settings(|_| {}));
    assert_eq!(worst(&findings).level, Level::Ok, "{findings:?}");
    assert!(findings[0].found.contains("ns1.seed.test."), "{findings:?}");
}

#[test]
fn settings_that_can_not_work_are_told() {
    let error = |change: fn(&mut SeederConfig)| {
        let findings = judged(&settings(change));
        let worst = worst(&findings);
        (
            worst.level,
            worst.found.clone(),
            worst.mend.clone().unwrap_or_default(),
        )
    };
    let (level, found, _) = error(|config| config.ttl = 5);
    assert!(
        level == Level::Error && found.contains("TTL of 5"),
        "{found}"
    );
    let (level, found, mend) = error(|config| config.name_server_addresses.clear());
    assert!(
        level == Level::Error && found.contains("no address"),
        "{found}"
    );
    assert!(mend.contains("--ns-address"), "{mend}");
    let (level, found, _) =
        error(|config| config.name_server_addresses = vec!["10.0.0.1".parse().unwrap()]);
    assert!(
        level == Level::Warning && found.contains("10.0.0.1"),
        "{found}"
    );
    let (level, found, _) = error(|config| config.listen.clear());
    assert!(
        level == Level::Error && found.contains("no address to listen"),
        "{found}"
    );
    let (level, found, mend) = error(|config| config.listen = vec![([0, 0, 0, 0], 5353).into()]);
    assert!(
        level == Level::Note && found.contains("at port 53"),
        "{found}"
    );
    assert!(mend.contains("port 53"), "{mend}");
    // Name servers elsewhere need no addresses of ours.
    let findings = judged(&settings(|config| {
        config.name_servers = vec!["ns1.other.test".to_owned()];
        config.name_server_addresses.clear();
    }));
    assert_eq!(worst(&findings).level, Level::Ok);
}

fn directory(zones: &[Zone], ring: Result<Keyring, KeyFileError>) -> KeyDirectory {
    KeyDirectory {
        path: "/keys".into(),
        zones: zones.to_vec(),
        ring,
    }
}

/// Keys of seed.test with these times, and what is said of them at 100.
fn of_keys(all: &[(Role, Times)]) -> Finding {
    let zones = settings(|_| {}).build_zones().unwrap();
    let apex = *zones[0].apex_wire();
    let make = |(role, times): &(Role, Times)| {
        Key::generate(apex, Algorithm::Ed25519, *role, *times).unwrap()
    };
    let made: Vec<Key> = all.iter().map(make).collect();
    let ring = Keyring::default().with(&apex, &made).unwrap();
    let mut findings = keys(&directory(&zones, Ok(ring)), &zones, false, 100);
    assert_eq!(findings.len(), 1);
    findings.remove(0)
}

#[test]
fn keys_are_told_with_what_they_do_and_until_when() {
    let none = no_keys();
    assert!(none.level == Level::Note && none.found.contains("no zone is signed"));

    let unsigned = of_keys(&[]);
    assert!(
        unsigned.level == Level::Note && unsigned.found.contains("holds no key"),
        "{unsigned:?}"
    );
    assert!(
        unsigned
            .mend
            .unwrap()
            .contains("--zone seed.test. --keys /keys")
    );

    let good = of_keys(&[(Role::KeySigning, Times::from_now(0))]);
    assert!(
        good.level == Level::Ok && good.found.contains("ED25519"),
        "{good:?}"
    );
    assert!(good.found.contains("no change of keys"), "{good:?}");

    let ends = Times {
        inactive: Some(951_782_400),
        ..Times::from_now(0)
    };
    let soon = of_keys(&[(Role::KeySigning, ends)]);
    assert_eq!(soon.level, Level::Warning, "{soon:?}");
    assert!(
        soon.found.contains("from 2000-02-29 00:00 UTC on"),
        "{soon:?}"
    );
    assert!(soon.mend.unwrap().contains("keys roll"));
    let replaced = of_keys(&[
        (Role::KeySigning, ends),
        (Role::KeySigning, Times::from_now(50)),
    ]);
    assert_eq!(replaced.level, Level::Ok, "{replaced:?}");
    assert!(
        replaced
            .found
            .contains("the next change of keys is at 2000-02-29 00:00 UTC")
    );

    let late = of_keys(&[(Role::ZoneSigning, Times::from_now(0))]);
    assert!(
        late.level == Level::Error && late.found.contains("key-signing key"),
        "{late:?}"
    );
}

#[test]
fn key_files_that_can_not_be_used_are_told_with_what_to_do() {
    let zones = settings(|_| {}).build_zones().unwrap();
    let dir = tempfile::tempdir().unwrap();
    let told = |dir: &Path| {
        let ring = Keyring::load(dir, zones.iter().map(Zone::apex_wire));
        keys(&directory(&zones, ring), &zones, true, 100).remove(0)
    };
    let missing = told(&dir.path().join("none"));
    assert!(missing.level == Level::Error, "{missing:?}");
    assert!(missing.mend.unwrap().contains("keys generate --keys"));
    std::fs::write(dir.path().join("Kseed.test.+015+00001.private"), "x").unwrap();
    let public = "seed.test. IN DNSKEY 257 3 15 AAAA\n";
    std::fs::write(dir.path().join("Kseed.test.+015+00001.key"), public).unwrap();
    let damaged = told(dir.path());
    assert!(
        damaged.level == Level::Error && damaged.found.contains("00001"),
        "{damaged:?}"
    );

    for (at_work, level) in [(true, Level::Note), (false, Level::Warning)] {
        let denied = KeyFileError {
            path: "/keys".into(),
            fault: Fault::Io(io::ErrorKind::PermissionDenied.into()),
        };
        let denied = keys(&directory(&zones, Err(denied)), &zones, at_work, 100).remove(0);
        assert_eq!(denied.level, level);
        assert!(denied.mend.unwrap().contains("sudo -u quantumcoin"));
    }
}

#[test]
fn a_signed_zone_around_another_is_an_error() {
    let zones = settings(|config| config.zones.push("a.seed.test".to_owned()));
    let zones = zones.build_zones().unwrap();
    let apex = *zones[0].apex_wire();
    let key = Key::generate(
        apex,
        Algorithm::Ed25519,
        Role::KeySigning,
        Times::from_now(0),
    );
    let ring = Keyring::default().with(&apex, &[key.unwrap()]).unwrap();
    let findings = keys(&directory(&zones, Ok(ring)), &zones, false, 100);
    assert_eq!(findings[0].level, Level::Error);
    assert!(findings[0].mend.is_some());
    assert!(
        findings[0].found.contains("a.seed.test. lies within it"),
        "{findings:?}"
    );
}
