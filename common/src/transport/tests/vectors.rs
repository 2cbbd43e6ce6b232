//! The vectors of `docs/vectors`, which an implementation in another language made from `docs/transport.md`
//! (`labs/interop`): ours says and understands the same bytes.

use aws_lc_rs::digest::{SHA256, digest};
use aws_lc_rs::signature::{KeyPair, ML_DSA_44_SIGNING, PqdsaKeyPair};
use data_encoding::HEXLOWER;
use serde_json::Value;
use snow::types::Kem;
use snow::{Builder, HandshakeState};

use super::kem::TestKem;
use crate::transport::ALL_TRANSPORTS;
use crate::transport::cipher::DirectionCipher;
use crate::transport::crypto::{MlKem768, x25519_public};
use crate::transport::error::RecordError;
use crate::transport::identity::{IDENTITY_PAYLOAD, NodeId, Role, signed_message, verify_identity};
use crate::transport::noise::{NoisePattern, prologue};
use crate::transport::record::{
    Assembler, Kind, MAX_RECORD_DATA, Progress, REKEY_INTERVAL, Trailer, seal_record,
};

const VECTORS: &str = include_str!("../../../../docs/vectors/transport-v1.json");

const ROLES: [(&str, Role); 2] = [
    ("initiator", Role::Initiator),
    ("responder", Role::Responder),
];

/// An object of the file.
#[derive(Clone, Copy)]
struct Vector<'a>(&'a Value);

impl<'a> Vector<'a> {
    fn at(self, key: &str) -> Self {
        Vector(self.0.get(key).unwrap_or_else(|| panic!("no {key}")))
    }

    fn list(self) -> impl Iterator<Item = Vector<'a>> {
        self.0.as_array().expect("a list").iter().map(Vector)
    }

    fn text(self, key: &str) -> &'a str {
        self.at(key).0.as_str().expect("a text")
    }

    fn number(self, key: &str) -> u64 {
        self.at(key).0.as_u64().expect("a number")
    }

    /// Bytes, in hexadecimal or as a repeated pattern of some length.
    fn bytes(self, key: &str) -> Vec<u8> {
        let value = self.at(key);
        if let Some(text) = value.0.as_str() {
            return HEXLOWER.decode(text.as_bytes()).unwrap();
        }
        let length = value.number("length") as usize;
        let pattern = value.bytes("repeat");
        pattern.into_iter().cycle().take(length).collect()
    }

    fn key(self, key: &str) -> [u8; 32] {
        self.bytes(key).try_into().unwrap()
    }

    /// Whether `bytes` are what stands there, in hexadecimal or as length and digest.
    fn is(self, key: &str, bytes: &[u8]) -> bool {
        let value = self.at(key);
        if value.0.is_string() {
            return self.bytes(key) == bytes;
        }
        value.number("length") as usize == bytes.len()
            && value.bytes("sha256") == digest(&SHA256, bytes).as_ref()
    }

    fn trailer(self) -> Trailer {
        Trailer {
            flags: self.number("flags") as u8,
            kind: self.number("kind") as u8,
            padding: self.number("padding") as u16,
            total: self.number("total") as u32,
        }
    }
}

fn with_vectors(check: impl FnOnce(Vector<'_>)) {
    let file: Value = serde_json::from_str(VECTORS).unwrap();
    check(Vector(&file));
}

/// The prologue of the vectors' network, computed here.
fn network(file: Vector<'_>) -> Vec<u8> {
    let network = file.at("network");
    let magic = network.bytes("magic").try_into().unwrap();
    let ours = prologue(magic, network.text("name"), &ALL_TRANSPORTS);
    assert!(network.is("prologue", &ours));
    ours
}

#[test]
fn identities_follow_from_their_seeds() {
    with_vectors(|file| {
        for (name, _) in ROLES {
            let identity = file.at("identities").at(name);
            let seed = identity.key("ml_dsa_44_seed");
            let pair = PqdsaKeyPair::from_seed(&ML_DSA_44_SIGNING, &seed).unwrap();
            let public = pair.public_key().as_ref();
            assert!(identity.is("ml_dsa_44_public_key", public), "{name}");
            assert_eq!(
                NodeId::of(public).to_string(),
                identity.text("node_id"),
                "{name}"
            );
            let public = x25519_public(&identity.key("x25519_private")).unwrap();
            assert!(identity.is("x25519_public", &public), "{name}");
        }
    });
}

/// One side with the keys of the vectors.
fn side(
    file: Vector<'_>,
    handshake: Vector<'_>,
    pattern: NoisePattern,
    role: Role,
) -> HandshakeState {
    let (ours, ephemeral, kem) = match role {
        Role::Initiator => {
            let real = MlKem768::from_decapsulation_key(&handshake.bytes("kem_decapsulation_key"));
            let kem = TestKem::of(handshake.bytes("kem_encapsulation_key"));
            let kem = kem.decapsulating(move |ciphertext| {
                let mut secret = [0; 32];
                real.decapsulate(ciphertext, &mut secret)?;
                Ok(secret)
            });
            ("initiator", "initiator_ephemeral_private", kem)
        }
        Role::Responder => {
            let key = handshake.bytes("kem_encapsulation_key");
            let answer = (
                handshake.bytes("kem_ciphertext"),
                handshake.key("kem_shared_secret"),
            );
            let kem = TestKem::of(Vec::new()).encapsulating(move |public| {
                assert_eq!(public, key);
                Ok(answer.clone())
            });
            ("responder", "responder_ephemeral_private", kem)
        }
    };
    let identities = file.at("identities");
    let private = identities.at(ours).key("x25519_private");
    let known = identities.at("responder").key("x25519_public");
    let prologue = network(file);
    let ephemeral = handshake.key(ephemeral);
    let mut builder = Builder::with_resolver(pattern.params().unwrap(), Box::new(kem))
        .local_private_key(&private)
        .and_then(|builder| builder.prologue(&prologue))
        .unwrap()
        .fixed_ephemeral_key_for_testing_only(&ephemeral);
    match role {
        Role::Initiator => {
            if pattern == NoisePattern::Xk {
                builder = builder.remote_public_key(&known).unwrap();
            }
            builder.build_initiator().unwrap()
        }
        Role::Responder => builder.build_responder().unwrap(),
    }
}

/// Both sides say what the vectors say, each hearing the other from the file.
#[test]
fn both_sides_of_both_patterns_say_the_messages_of_the_vectors() {
    with_vectors(|file| {
        let mut patterns = NoisePattern::ALL.to_vec();
        for handshake in file.at("handshakes").list() {
            let name = handshake.text("pattern");
            let at = patterns.iter().position(|known| known.as_str() == name);
            let pattern = patterns.remove(at.expect("a pattern of ours, once"));
            assert_eq!(handshake.text("protocol_name"), pattern.protocol_name());
            for (name, role) in ROLES {
                let mut state = side(file, handshake, pattern, role);
                for message in handshake.at("messages").list() {
                    let frame = message.bytes("frame");
                    let (length, body) = frame.split_first_chunk::<2>().unwrap();
                    assert_eq!(usize::from(u16::from_be_bytes(*length)), body.len());
                    if message.text("from") == name {
                        let mut ours = vec![0; 2_048];
                        let length = state.write_message(&[], &mut ours).unwrap();
                        assert_eq!(ours[..length], *body, "{name} of {pattern:?}");
                    } else {
                        state.read_message(body, &mut [0; 2_048]).unwrap();
                    }
                    assert!(message.is("h", state.get_handshake_hash()));
                }
                assert!(state.is_handshake_finished());
                assert!(handshake.is("handshake_hash", state.get_handshake_hash()));
                let (initiator_key, responder_key) = state.dangerously_get_raw_split();
                assert!(handshake.is("initiator_key", &initiator_key));
                assert!(handshake.is("responder_key", &responder_key));
            }
        }
        assert!(patterns.is_empty(), "no vectors of {patterns:?}");
    });
}

#[test]
fn the_identities_of_the_vectors_are_believed_for_their_own_handshake_only() {
    with_vectors(|file| {
        for handshake in file.at("handshakes").list() {
            let hash = handshake.key("handshake_hash");
            for (name, role) in ROLES {
                let (proof, keys) = (
                    handshake.at("identity").at(name),
                    file.at("identities").at(name),
                );
                let key = keys.key("x25519_public");
                assert!(proof.is("signed_message", &signed_message(role, &hash, &key)));
                let direction = handshake.key(&format!("{name}_key"));
                let cipher = || DirectionCipher::new(&direction);
                let record = proof.bytes("record");
                let mut records = Assembler::before_identity(cipher(), IDENTITY_PAYLOAD);
                let Ok(Progress::Message(taken, payload)) = records.take(&record) else {
                    panic!("no identity")
                };
                assert_eq!(taken, record.len());
                let id = verify_identity(&payload, role, &hash, &key).unwrap();
                assert_eq!(id.to_string(), keys.text("node_id"));
                assert!(verify_identity(&payload, role, &[0; 32], &key).is_err());

                let trailer = Trailer {
                    flags: 3,
                    kind: Kind::Identity as u8,
                    padding: 0,
                    total: IDENTITY_PAYLOAD as u32,
                };
                let mut ours = Vec::new();
                seal_record(&mut cipher(), &payload, trailer, &mut ours).unwrap();
                assert_eq!(ours, record);
            }
        }
    });
}

/// One direction, sealed and opened.
struct Direction {
    sealing: DirectionCipher,
    opening: Assembler,
    count: u64,
    sent: Vec<u8>,
}

impl Direction {
    fn new(key: &[u8; 32]) -> Self {
        let mut opening = Assembler::before_identity(DirectionCipher::new(key), 0);
        opening.authenticated();
        Self {
            sealing: DirectionCipher::new(key),
            opening,
            count: 0,
            sent: Vec::new(),
        }
    }

    /// Seals the record of a vector, compares it, and opens it.
    fn check(&mut self, vector: Vector<'_>) {
        assert_eq!(vector.number("n"), self.count);
        let mask = self.sealing.length_mask().unwrap();
        assert!(vector.is("mask", &mask), "record {}", self.count);
        let record = self.seal(&vector.bytes("data"), vector.trailer());
        assert!(vector.is("record", &record), "record {}", self.count);
    }

    fn seal(&mut self, data: &[u8], trailer: Trailer) -> Vec<u8> {
        let mut record = Vec::new();
        seal_record(&mut self.sealing, data, trailer, &mut record).unwrap();
        match self.opening.take(&record).unwrap() {
            Progress::NeedMore => panic!("a whole record"),
            Progress::Consumed(count) | Progress::Message(count, _) => {
                assert_eq!(count, record.len());
            }
        }
        self.sent.extend_from_slice(&record);
        self.count += 1;
        record
    }
}

#[test]
fn the_records_of_the_vectors_are_ours_before_and_after_the_rekey() {
    with_vectors(|file| {
        let vectors = file.at("records");
        let mut direction = Direction::new(&vectors.key("key"));
        for vector in vectors.at("records").list() {
            direction.check(vector);
        }
        let empty = vectors.at("records").list().next().unwrap();
        assert!(empty.bytes("data").is_empty());
        while direction.count < REKEY_INTERVAL {
            direction.seal(&[], empty.trailer());
        }
        let between = vectors.at("between");
        let sent = digest(&SHA256, &direction.sent);
        assert!(between.is("sha256_of_records_before_rekey", sent.as_ref()));
        let after = vectors.at("after_rekey").at("records");
        for vector in after.list() {
            direction.check(vector);
        }
        assert_eq!(direction.count, REKEY_INTERVAL + 3);
    });
}

/// What a receiver must refuse, each as the first record of a direction.
#[test]
fn bad_records_are_refused_for_what_is_bad_about_them() {
    with_vectors(|file| {
        let key = file.at("records").key("key");
        let mut seen = 0;
        for vector in file.at("bad_records").list() {
            let record = if vector.at("record").0.is_string() {
                vector.bytes("record")
            } else {
                remade(vector, &key)
            };
            let mut opening = Assembler::before_identity(DirectionCipher::new(&key), 0);
            opening.authenticated();
            let error = opening.take(&record).unwrap_err();
            let why = vector.text("why");
            match vector.text("reason") {
                "message_length" => assert!(
                    matches!(error, RecordError::MessageTooLong { .. }),
                    "{why}: {error}"
                ),
                "short" => assert!(
                    matches!(error, RecordError::BadLength { .. }),
                    "{why}: {error}"
                ),
                _ => assert!(matches!(error, RecordError::Malformed(_)), "{why}: {error}"),
            }
            seen += 1;
        }
        assert_eq!(seen, 10);
    });
}

/// A record that is too long for the file, from its parts.
fn remade(vector: Vector<'_>, key: &[u8; 32]) -> Vec<u8> {
    let body = vector.bytes("body");
    assert_eq!(body.len(), MAX_RECORD_DATA);
    let trailer = Trailer::from_bytes(vector.bytes("trailer").try_into().unwrap());
    let mut record = Vec::new();
    seal_record(&mut DirectionCipher::new(key), &body, trailer, &mut record).unwrap();
    assert!(vector.is("record", &record));
    record
}
