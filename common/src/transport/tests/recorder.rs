//! What somebody learns who recorded a connection and can break X25519 later: he knows the private key to every X25519
//! key that he saw or that anybody else knows.

use std::sync::{Arc, Mutex};

use snow::params::{BaseChoice, CipherChoice, DHChoice, HashChoice, NoiseParams};
use snow::types::Kem;
use snow::{Builder, Error, HandshakeState};

use super::kem::TestKem;
use crate::transport::cipher::DirectionCipher;
use crate::transport::crypto::{KEM_CIPHERTEXT_LEN, MlKem768, Primitives, x25519_public};
use crate::transport::noise::NoisePattern;
use crate::transport::record::{Kind, fragments, seal_record};

const PROLOGUE: &[u8] = b"recorded";
const ROOM: usize = 2_048;

/// X25519 private keys: all that the attacker computes from what he recorded.
const INITIATOR: [u8; 32] = [1; 32];
const RESPONDER: [u8; 32] = [2; 32];
const INITIATOR_EPHEMERAL: [u8; 32] = [3; 32];
const RESPONDER_EPHEMERAL: [u8; 32] = [4; 32];

const TEXT: &[u8] = b"which blocks does this node ask for?";

/// Which handshake is recorded.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Protocol {
    /// Without a KEM, for comparison.
    Classical,
    Hybrid(NoisePattern),
}

impl Protocol {
    fn builder<'a>(self, kem: TestKem) -> Builder<'a> {
        let params = match self {
            Self::Hybrid(pattern) => pattern.params(),
            Self::Classical => "XX".parse().map(|pattern| {
                NoiseParams::new(
                    "Noise_XX_25519_ChaChaPoly_BLAKE2s".to_owned(),
                    BaseChoice::Noise,
                    pattern,
                    DHChoice::Curve25519,
                    None,
                    CipherChoice::ChaChaPoly,
                    HashChoice::Blake2s,
                )
            }),
        };
        let builder = Builder::with_resolver(params.unwrap(), Box::new(kem));
        builder.prologue(PROLOGUE).unwrap()
    }

    fn initiator(self, kem: TestKem) -> HandshakeState {
        let known = x25519_public(&RESPONDER).unwrap();
        let mut builder = self.builder(kem).local_private_key(&INITIATOR).unwrap();
        if self == Self::Hybrid(NoisePattern::Xk) {
            builder = builder.remote_public_key(&known).unwrap();
        }
        builder
            .fixed_ephemeral_key_for_testing_only(&INITIATOR_EPHEMERAL)
            .build_initiator()
            .unwrap()
    }
}

/// All that went over the wire, and what the attacker can't know.
struct Recording {
    messages: [Vec<u8>; 3],
    record: Vec<u8>,
    kem_public: Vec<u8>,
    kem_secret: [u8; 32],
}

fn write(state: &mut HandshakeState) -> Vec<u8> {
    let mut message = vec![0; ROOM];
    let length = state.write_message(&[], &mut message).unwrap();
    message.truncate(length);
    message
}

fn read(state: &mut HandshakeState, message: &[u8]) -> Result<(), Error> {
    state.read_message(message, &mut [0; ROOM]).map(drop)
}

/// The real KEM, of which `told` learns the secret that only the two ends know.
fn tapped(told: &Arc<Mutex<[u8; 32]>>) -> TestKem {
    let mut real = MlKem768::default();
    real.generate(&mut *snow::resolvers::CryptoResolver::resolve_rng(&Primitives).unwrap());
    let told = Arc::clone(told);
    TestKem::of(real.pubkey().to_vec())
        .encapsulating(move |public| {
            let (mut secret, mut ciphertext) = ([0; 32], vec![0; KEM_CIPHERTEXT_LEN]);
            MlKem768::default().encapsulate(public, &mut secret, &mut ciphertext)?;
            *told.lock().unwrap() = secret;
            Ok((ciphertext, secret))
        })
        .decapsulating(move |ciphertext| {
            let mut secret = [0; 32];
            real.decapsulate(ciphertext, &mut secret)?;
            Ok(secret)
        })
}

/// An honest connection over which the initiator sends [`TEXT`].
fn record(protocol: Protocol) -> Recording {
    let told = Arc::default();
    let tapped = tapped(&told);
    let kem_public = tapped.pubkey().to_vec();
    let mut initiator = protocol.initiator(tapped.clone());
    let builder = protocol.builder(tapped).local_private_key(&RESPONDER);
    let builder = builder.unwrap();
    let mut responder = builder
        .fixed_ephemeral_key_for_testing_only(&RESPONDER_EPHEMERAL)
        .build_responder()
        .unwrap();
    let first = write(&mut initiator);
    read(&mut responder, &first).unwrap();
    let second = write(&mut responder);
    read(&mut initiator, &second).unwrap();
    let third = write(&mut initiator);
    read(&mut responder, &third).unwrap();

    let mut sealed = Vec::new();
    let mut sealing = DirectionCipher::new(&initiator.dangerously_get_raw_split().0);
    for (data, trailer) in fragments(Kind::Message, TEXT).unwrap() {
        seal_record(&mut sealing, data, trailer, &mut sealed).unwrap();
    }
    let kem_secret = *told.lock().unwrap();
    Recording {
        messages: [first, second, third],
        record: sealed,
        kem_public,
        kem_secret,
    }
}

/// The encapsulation key in message 1, as the attacker gets it by being the responder whose static key he broke: in XK
/// it is encrypted under `es`.
fn seen_in(first: &[u8], protocol: Protocol) -> Vec<u8> {
    let seen = Arc::new(Mutex::new(Vec::new()));
    let note = Arc::clone(&seen);
    let seeing = TestKem::of(Vec::new()).encapsulating(move |public| {
        *note.lock().unwrap() = public.to_vec();
        Err(Error::Kem)
    });
    let builder = protocol.builder(seeing).local_private_key(&RESPONDER);
    let mut responder = builder.unwrap().build_responder().unwrap();
    read(&mut responder, first).unwrap();
    let answered = responder.write_message(&[], &mut [0; ROOM]);
    assert_eq!(answered.is_ok(), protocol == Protocol::Classical);
    let seen = seen.lock().unwrap();
    seen.clone()
}

/// What the attacker has read.
#[derive(Debug, PartialEq)]
struct Learnt {
    /// Message 2: in XX, who was dialled.
    second: bool,
    /// Message 3: who dialled.
    third: bool,
    text: bool,
}

const NOTHING: Learnt = Learnt {
    second: false,
    third: false,
    text: false,
};
const EVERYTHING: Learnt = Learnt {
    second: true,
    third: true,
    text: true,
};

/// Goes through a recording as the initiator whose X25519 keys he broke, with a guess at the KEM's secret.
fn attack(protocol: Protocol, recording: &Recording, guess: [u8; 32]) -> Learnt {
    let mut learnt = NOTHING;
    let [first, second, third] = &recording.messages;
    let seen = seen_in(first, protocol);
    let guess = TestKem::of(seen).decapsulating(move |_| Ok(guess));
    let mut state = protocol.initiator(guess);
    assert_eq!(write(&mut state), *first, "he computes message 1 again");
    learnt.second = read(&mut state, second).is_ok();
    if !learnt.second {
        return learnt;
    }
    learnt.third = write(&mut state) == *third;
    let mut opening = DirectionCipher::new(&state.dangerously_get_raw_split().0);
    let mut opened = Vec::new();
    let sealed = &recording.record[2..];
    learnt.text = opening.open(sealed, &mut opened).is_ok() && opened.starts_with(TEXT);
    learnt
}

#[test]
fn a_recorder_who_breaks_x25519_reads_a_classical_handshake() {
    let recording = record(Protocol::Classical);
    let learnt = attack(Protocol::Classical, &recording, [0; 32]);
    assert_eq!(learnt, EVERYTHING, "the attack works where it can");
}

#[test]
fn a_recorder_who_breaks_x25519_learns_nothing_of_ours() {
    for pattern in NoisePattern::ALL {
        let protocol = Protocol::Hybrid(pattern);
        let recording = record(protocol);
        for guess in [
            [0; 32],
            [0xff; 32],
            recording.kem_public[..32].try_into().unwrap(),
        ] {
            assert_eq!(attack(protocol, &recording, guess), NOTHING, "{pattern:?}");
        }
        let mut near = recording.kem_secret;
        near[31] ^= 1;
        assert_eq!(attack(protocol, &recording, near), NOTHING, "{pattern:?}");
        assert_eq!(
            attack(protocol, &recording, recording.kem_secret),
            EVERYTHING,
            "{pattern:?}: the KEM's secret is all that he lacks"
        );
    }
}
