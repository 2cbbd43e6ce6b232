use super::*;
use crate::dnssec::key::Role;

fn zone(name: &str) -> WireName {
    WireName::of(&Name::from_ascii(name).unwrap())
}

fn made(dir: &Path, algorithm: Algorithm) -> Key {
    let times = Times {
        inactive: Some(1_900_000_000),
        ..Times::from_now(1_800_000_000)
    };
    let key = Key::generate(zone("seed1.example."), algorithm, Role::KeySigning, times).unwrap();
    write(dir, &key).unwrap();
    key
}

#[test]
fn keys_come_back_from_their_files() {
    let dir = tempfile::tempdir().unwrap();
    let keys =
        [Algorithm::EcdsaP256, Algorithm::Ed25519].map(|algorithm| made(dir.path(), algorithm));
    fs::write(dir.path().join("README"), "not a key").unwrap();
    fs::write(
        dir.path().join("Kother.+013+00001.key"),
        "a key without its private part",
    )
    .unwrap();
    let read = read_all(dir.path(), |name| *name == zone("seed1.example.")).unwrap();
    assert_eq!(read.len(), 2);
    for key in keys {
        let same = read.iter().find(|other| other.tag() == key.tag()).unwrap();
        assert_eq!(same.dnskey(), key.dnskey());
        assert_eq!((same.secret(), same.times), (key.secret(), key.times));
        let again = write(dir.path(), &key).unwrap_err();
        assert!(matches!(again.fault, Fault::Exists));
    }
    assert!(read_all(dir.path(), |_| false).unwrap().is_empty());
}

#[cfg(unix)]
#[test]
fn a_private_key_is_private() {
    use std::os::unix::fs::PermissionsExt;
    let dir = tempfile::tempdir().unwrap();
    let key = made(dir.path(), Algorithm::Ed25519);
    let path = dir.path().join(format!("{}.private", stem(&key)));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&path), 0o600);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
    let error = read(&path).unwrap_err().to_string();
    assert!(
        error.contains("644") && error.contains("chmod 600"),
        "{error}"
    );
    // A daemon's group may read it, and goes on to when its times are changed.
    fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
    rewrite(dir.path(), &key).unwrap();
    assert_eq!(mode(&path), 0o640);
    assert_eq!(read(&path).unwrap().tag(), key.tag());
}

#[test]
fn damaged_files_are_told_by_their_line() {
    let dir = tempfile::tempdir().unwrap();
    let key = made(dir.path(), Algorithm::Ed25519);
    let other = made(dir.path(), Algorithm::Ed25519);
    let path = dir.path().join(format!("{}.private", stem(&key)));
    let public = path.with_extension("key");
    let (private_text, public_text) = (
        fs::read_to_string(&path).unwrap(),
        fs::read_to_string(&public).unwrap(),
    );
    let with = |path: &Path, text: &str, from: &str, to: &str, words: &str| {
        assert!(text.contains(from), "{from}");
        let was = fs::read_to_string(path).unwrap();
        fs::write(path, text.replace(from, to)).unwrap();
        let error = read(&dir.path().join(format!("{}.private", stem(&key))))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(words) && error.contains(&stem(&key)),
            "{error}"
        );
        fs::write(path, was).unwrap();
    };
    with(&path, &private_text, "v1.3", "v9.9", "Private-key-format");
    with(
        &path,
        &private_text,
        "15 (ED25519)",
        "8 (RSASHA256)",
        "algorithm 8 (RSASHA256)",
    );
    with(
        &path,
        &private_text,
        "PrivateKey: ",
        "PrivateKey: !",
        "PrivateKey",
    );
    with(&path, &private_text, "Publish: 2", "Publish: x", "Publish");
    with(
        &public,
        &public_text,
        "DNSKEY 257 3",
        "DNSKEY 257 4",
        "DNSKEY FLAGS 3",
    );
    with(
        &public,
        &public_text,
        "DNSKEY 257 3 15",
        "DNSKEY 257 3 8",
        "algorithm 8",
    );
    with(
        &public,
        &public_text,
        "DNSKEY 257",
        "DNSKEY 256",
        "rename it",
    );
    let others = fs::read_to_string(dir.path().join(format!("{}.key", stem(&other)))).unwrap();
    with(&public, &others, "DNSKEY", "DNSKEY", "no pair");
    fs::remove_file(&public).unwrap();
    assert!(read(&path).unwrap_err().to_string().contains(".key"));
}

/// What BIND's dnssec-keygen writes is read, with all that it puts in.
#[test]
fn keys_of_bind_are_read() {
    let dir = tempfile::tempdir().unwrap();
    for (algorithm, number) in [("ED25519", 15), ("ECDSAP256SHA256", 13)] {
        let made = std::process::Command::new("dnssec-keygen")
            .args(["-q", "-a", algorithm, "-f", "KSK", "-I", "+1y", "-K"])
            .arg(dir.path())
            .arg("seed1.example")
            .output();
        let Ok(made) = made else {
            eprintln!("skipped: dnssec-keygen is not installed (Debian: bind9-utils)");
            return;
        };
        assert!(made.status.success(), "{made:?}");
        let stem = String::from_utf8(made.stdout).unwrap().trim().to_owned();
        let key = read(&dir.path().join(format!("{stem}.private"))).unwrap();
        assert_eq!((key.algorithm().number(), key.flags), (number, 257));
        assert!(key.times.created.is_some() && key.times.inactive > key.times.activate);
        // And theirs reads ours.
        rewrite(dir.path(), &key).unwrap();
        let ds = std::process::Command::new("dnssec-dsfromkey")
            .arg("-2")
            .arg(dir.path().join(format!("{stem}.key")))
            .output()
            .unwrap();
        let line = String::from_utf8(ds.stdout).unwrap();
        let digest = data_encoding::HEXUPPER.encode(&key.ds()[4..]);
        assert!(
            line.trim()
                .ends_with(&format!("IN DS {} {number} 2 {digest}", key.tag())),
            "{line} {}",
            String::from_utf8_lossy(&ds.stderr)
        );
    }
}
