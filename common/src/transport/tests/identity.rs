//! The identity file and what the identity signs.

use std::fs;

use proptest::prelude::*;

use crate::transport::error::HandshakeError;
use crate::transport::identity::{IDENTITY_PAYLOAD, Role, verify_identity};
use crate::transport::{Identity, IdentityError, NodeId};

#[test]
fn the_file_is_made_once_and_keeps_the_identity() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("identity.key");
    let made = Identity::load_or_create(&path).unwrap();
    let loaded = Identity::load_or_create(&path).unwrap();
    assert_eq!(made.node_id(), loaded.node_id());
    assert_eq!(made.static_public_key(), loaded.static_public_key());
    assert_eq!(fs::read(&path).unwrap().len(), 108);
    let names: Vec<_> = fs::read_dir(dir.path())
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(names, ["identity.key"], "no temporary file stays");
    assert_ne!(made.node_id(), Identity::generate().unwrap().node_id());
}

#[test]
fn a_temporary_file_left_by_a_crash_is_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("identity.key");
    fs::write(dir.path().join("identity.key.new"), b"half").unwrap();
    let made = Identity::load_or_create(&path).unwrap();
    assert_eq!(
        made.node_id(),
        Identity::load_or_create(&path).unwrap().node_id()
    );
}

#[cfg(unix)]
#[test]
fn a_file_open_to_others_is_refused_with_the_remedy() {
    use std::os::unix::fs::PermissionsExt;

    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("identity.key");
    Identity::load_or_create(&path).unwrap();
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    for mode in [0o640, 0o604, 0o620, 0o644] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let error = Identity::load_or_create(&path).unwrap_err();
        assert!(
            matches!(error, IdentityError::OpenToOthers { .. }),
            "{error}"
        );
        assert!(
            error
                .to_string()
                .contains(&format!("chmod 600 {}", path.display())),
            "{error}"
        );
    }
    fs::set_permissions(&path, fs::Permissions::from_mode(0o400)).unwrap();
    Identity::load_or_create(&path).unwrap();
}

#[test]
fn every_damaged_byte_and_every_truncation_is_noticed_and_nothing_is_overwritten() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("identity.key");
    Identity::load_or_create(&path).unwrap();
    let good = fs::read(&path).unwrap();
    let mut damaged: Vec<Vec<u8>> = (0..good.len()).map(|n| good[..n].to_vec()).collect();
    damaged.push([good.as_slice(), &[0]].concat());
    for at in 0..good.len() {
        let mut bytes = good.clone();
        bytes[at] ^= 0x80;
        damaged.push(bytes);
    }
    for bytes in damaged {
        fs::write(&path, &bytes).unwrap();
        let error = Identity::load_or_create(&path).unwrap_err();
        assert!(
            matches!(
                error,
                IdentityError::Damaged { .. } | IdentityError::NewerVersion { .. }
            ),
            "{error}"
        );
        assert_eq!(fs::read(&path).unwrap(), bytes);
    }
}

#[test]
fn a_missing_directory_and_a_directory_in_place_of_the_file_are_io_errors() {
    let dir = tempfile::tempdir().unwrap();
    for path in [dir.path().join("none/identity.key"), dir.path().to_owned()] {
        let error = Identity::load_or_create(&path).unwrap_err();
        assert!(
            matches!(
                error,
                IdentityError::Io { .. } | IdentityError::OpenToOthers { .. }
            ),
            "{error}"
        );
    }
}

#[test]
fn a_proof_holds_for_its_role_hash_and_key_only() {
    let identity = Identity::generate().unwrap();
    let (hash, key) = ([3; 32], identity.static_public_key());
    let proof = identity.prove(Role::Initiator, &hash).unwrap();
    assert_eq!(proof.len(), IDENTITY_PAYLOAD);
    let verify = |proof: &[u8], role, hash, key| verify_identity(proof, role, hash, key);
    assert_eq!(
        verify(&proof, Role::Initiator, &hash, &key).unwrap(),
        identity.node_id()
    );

    let mut other_key_holder = proof.clone();
    other_key_holder[..1_312].copy_from_slice(Identity::generate().unwrap().public_key());
    let refused = [
        verify(&proof, Role::Responder, &hash, &key),
        verify(&proof, Role::Initiator, &[4; 32], &key),
        verify(&proof, Role::Initiator, &hash, &[5; 32]),
        verify(&other_key_holder, Role::Initiator, &hash, &key),
        verify(&proof[1..], Role::Initiator, &hash, &key),
        verify(&proof[..proof.len() - 1], Role::Initiator, &hash, &key),
        verify(&[], Role::Initiator, &hash, &key),
    ];
    for result in refused {
        assert!(
            matches!(result, Err(HandshakeError::IdentityForged)),
            "{result:?}"
        );
    }
}

#[test]
fn a_node_id_reads_what_it_writes() {
    let id = Identity::generate().unwrap().node_id();
    let text = id.to_string();
    assert_eq!(text.len(), 43);
    assert_eq!(text.parse::<NodeId>().unwrap(), id);
    for wrong in [
        "",
        "AAAA",
        &text[1..],
        &format!("{text}="),
        &format!("{text}A"),
    ] {
        assert!(wrong.parse::<NodeId>().is_err(), "{wrong:?}");
    }
}

proptest! {
    #[test]
    fn node_ids_round_trip(bytes: [u8; 32]) {
        let id = NodeId::from_bytes(bytes);
        prop_assert_eq!(id.to_string().parse::<NodeId>().unwrap(), id);
        prop_assert_eq!(id.to_bytes(), bytes);
    }

    #[test]
    fn no_text_makes_the_parser_panic(text: String) {
        if let Ok(id) = text.parse::<NodeId>() {
            prop_assert_eq!(id.to_string(), text);
        }
    }
}
