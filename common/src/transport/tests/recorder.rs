//! What somebody learns who recorded a connection and can break X25519 later: he knows the private key to every X25519
//! key that he saw or that anybody else knows.

use std::sync::{Arc, Mutex};

use snow::params::{BaseChoice, CipherChoice, DHChoice, HashChoice, KemChoice, NoiseParams};
use snow::resolvers::CryptoResolver;
use snow::types::{Cipher, Dh, Hash, Kem, Random};
use snow::{Builder, Error, HandshakeState};

use crate::transport::cipher::DirectionCipher;
use crate::transport::crypto::{
    KEM_CIPHERTEXT_LEN, KEM_PUBLIC_LEN, MlKem768, Primitives, X25519_LEN, x25519_public,
};
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

/// Our primitives with another KEM.
struct WithKem<K>(K);

impl<K: Kem + Clone + Sync + 'static> CryptoResolver for WithKem<K> {
    fn resolve_rng(&self) -> Option<Box<dyn Random>> {
        Primitives.resolve_rng()
    }

    fn resolve_dh(&self, choice: &DHChoice) -> Option<Box<dyn Dh>> {
        Primitives.resolve_dh(choice)
    }

    fn resolve_hash(&self, choice: &HashChoice) -> Option<Box<dyn Hash>> {
        Primitives.resolve_hash(choice)
    }

    fn resolve_cipher(&self, choice: &CipherChoice) -> Option<Box<dyn Cipher>> {
        Primitives.resolve_cipher(choice)
    }

    fn resolve_kem(&self, _choice: &KemChoice) -> Option<Box<dyn Kem>> {
        Some(Box::new(self.0.clone()))
    }
}

/// What only the two ends know: the KEM's secret, told to the test.
type Told = Arc<Mutex<[u8; 32]>>;

/// The victim's KEM: the real one, whose secret the test learns.
struct Tapped {
    real: MlKem768,
    told: Told,
}

impl Clone for Tapped {
    fn clone(&self) -> Self {
        Self {
            real: MlKem768::default(),
            told: Arc::clone(&self.told),
        }
    }
}

/// The attacker's KEM: the recorded public key, and a guess at the secret.
#[derive(Clone)]
struct Guess {
    public: Vec<u8>,
    secret: [u8; 32],
}

impl Kem for Tapped {
    fn name(&self) -> &'static str {
        self.real.name()
    }
    fn pub_len(&self) -> usize {
        self.real.pub_len()
    }
    fn ciphertext_len(&self) -> usize {
        self.real.ciphertext_len()
    }
    fn shared_secret_len(&self) -> usize {
        self.real.shared_secret_len()
    }
    fn generate(&mut self, rng: &mut dyn Random) {
        self.real.generate(rng);
    }
    fn pubkey(&self) -> &[u8] {
        self.real.pubkey()
    }
    fn encapsulate(
        &self,
        public: &[u8],
        secret: &mut [u8],
        ciphertext: &mut [u8],
    ) -> Result<(usize, usize), Error> {
        let lengths = self.real.encapsulate(public, secret, ciphertext)?;
        self.told.lock().unwrap().copy_from_slice(secret);
        Ok(lengths)
    }
    fn decapsulate(&self, ciphertext: &[u8], secret: &mut [u8]) -> Result<usize, Error> {
        self.real.decapsulate(ciphertext, secret)
    }
}

impl Kem for Guess {
    fn name(&self) -> &'static str {
        "guess"
    }
    fn pub_len(&self) -> usize {
        KEM_PUBLIC_LEN
    }
    fn ciphertext_len(&self) -> usize {
        KEM_CIPHERTEXT_LEN
    }
    fn shared_secret_len(&self) -> usize {
        32
    }
    fn generate(&mut self, _rng: &mut dyn Random) {}
    fn pubkey(&self) -> &[u8] {
        &self.public
    }
    fn encapsulate(&self, _: &[u8], _: &mut [u8], _: &mut [u8]) -> Result<(usize, usize), Error> {
        Err(Error::Kem)
    }
    fn decapsulate(&self, _ciphertext: &[u8], secret: &mut [u8]) -> Result<usize, Error> {
        secret.copy_from_slice(&self.secret);
        Ok(32)
    }
}

/// Which handshake is recorded.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Protocol {
    /// Without a KEM, for comparison.
    Classical,
    Hybrid(NoisePattern),
}

impl Protocol {
    fn builder<'a, K: Kem + Clone + Sync + 'static>(self, kem: K) -> Builder<'a> {
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
        let builder = Builder::with_resolver(params.unwrap(), Box::new(WithKem(kem)));
        builder.prologue(PROLOGUE).unwrap()
    }

    fn initiator<K: Kem + Clone + Sync + 'static>(self, kem: K) -> HandshakeState {
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

/// An honest connection over which the initiator sends [`TEXT`].
fn record(protocol: Protocol) -> Recording {
    let told = Told::default();
    let tapped = Tapped {
        real: MlKem768::default(),
        told: Arc::clone(&told),
    };
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
    let kem_public = match protocol {
        Protocol::Classical => Vec::new(),
        Protocol::Hybrid(_) => kem_public(&first, protocol),
    };
    let kem_secret = *told.lock().unwrap();
    Recording {
        messages: [first, second, third],
        record: sealed,
        kem_public,
        kem_secret,
    }
}

/// The encapsulation key in message 1: plain in XX. In XK it is encrypted under `es`, which the attacker computes by
/// being the responder whose static key he broke.
fn kem_public(first: &[u8], protocol: Protocol) -> Vec<u8> {
    if protocol == Protocol::Hybrid(NoisePattern::Xx) {
        return first[X25519_LEN..X25519_LEN + KEM_PUBLIC_LEN].to_vec();
    }
    let seen = Arc::new(Mutex::new(Vec::new()));
    let builder = protocol.builder(Seeing(Arc::clone(&seen)));
    let builder = builder.local_private_key(&RESPONDER).unwrap();
    let mut responder = builder.build_responder().unwrap();
    read(&mut responder, first).unwrap();
    // It asks the KEM to encapsulate to the key that it decrypted.
    responder.write_message(&[], &mut [0; ROOM]).unwrap_err();
    let seen = seen.lock().unwrap();
    seen.clone()
}

/// Notes the key to which it is to encapsulate.
#[derive(Clone)]
struct Seeing(Arc<Mutex<Vec<u8>>>);

impl Kem for Seeing {
    fn name(&self) -> &'static str {
        "seeing"
    }
    fn pub_len(&self) -> usize {
        KEM_PUBLIC_LEN
    }
    fn ciphertext_len(&self) -> usize {
        KEM_CIPHERTEXT_LEN
    }
    fn shared_secret_len(&self) -> usize {
        32
    }
    fn generate(&mut self, _rng: &mut dyn Random) {}
    fn pubkey(&self) -> &[u8] {
        &[]
    }
    fn encapsulate(
        &self,
        public: &[u8],
        _: &mut [u8],
        _: &mut [u8],
    ) -> Result<(usize, usize), Error> {
        *self.0.lock().unwrap() = public[..KEM_PUBLIC_LEN].to_vec();
        Err(Error::Kem)
    }
    fn decapsulate(&self, _: &[u8], _: &mut [u8]) -> Result<usize, Error> {
        Err(Error::Kem)
    }
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
    let guess = Guess {
        public: recording.kem_public.clone(),
        secret: guess,
    };
    let mut state = protocol.initiator(guess);
    let [first, second, third] = &recording.messages;
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
