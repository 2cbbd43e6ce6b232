//! Processor time of handshakes, each side by itself.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use anyhow::Context as _;
use quantumcoin::chain_spec::ChainSpec;
use quantumcoin::transport::{DialBy, Endpoint, Identity, Primitives};
use snow::params::{BaseChoice, CipherChoice, DHChoice, HashChoice, KemChoice, NoiseParams};
use snow::resolvers::{BoxedCryptoResolver, DefaultResolver};
use snow::{Builder, HandshakeState};

use super::classical::Classical;
use super::{Measurements, pipe};

/// Room for any message of these handshakes.
pub(super) const ROOM: usize = 4_096;

/// A pattern that is measured.
struct Pattern {
    name: &'static str,
    tokens: &'static str,
    hybrid: bool,
    /// The initiator knows the responder's static key.
    known: bool,
    ours: bool,
    initiator: &'static str,
    responder: &'static str,
}

const PATTERNS: [Pattern; 4] = [
    Pattern {
        name: "Noise_XXhfs_25519+MLKEM768_ChaChaPoly_BLAKE2s",
        tokens: "XXhfs",
        hybrid: true,
        known: false,
        ours: true,
        initiator: "xxhfs_initiator_us",
        responder: "xxhfs_responder_us",
    },
    Pattern {
        name: "Noise_XX_25519_ChaChaPoly_BLAKE2s",
        tokens: "XX",
        hybrid: false,
        known: false,
        ours: true,
        initiator: "xx_initiator_us",
        responder: "xx_responder_us",
    },
    Pattern {
        name: "Noise_XX_25519_ChaChaPoly_BLAKE2s",
        tokens: "XX",
        hybrid: false,
        known: false,
        ours: false,
        initiator: "xx_default_initiator_us",
        responder: "xx_default_responder_us",
    },
    Pattern {
        name: "Noise_XKhfs_25519+MLKEM768_ChaChaPoly_BLAKE2s",
        tokens: "XKhfs",
        hybrid: true,
        known: true,
        ours: true,
        initiator: "xkhfs_initiator_us",
        responder: "xkhfs_responder_us",
    },
];

/// Static keys of both sides, private and public.
struct Keys {
    initiator: [u8; 32],
    responder: [u8; 32],
    responder_public: [u8; 32],
}

/// So many handshakes of each kind in turns.
pub(super) fn round(figures: &mut Measurements, count: u32) -> anyhow::Result<()> {
    let keys = keys()?;
    let mut times = [[Duration::ZERO; 2]; PATTERNS.len()];
    for _ in 0..count {
        for (pattern, spent) in PATTERNS.iter().zip(&mut times) {
            let [initiator, responder] = pattern.once(&keys)?;
            let [a, b] = spent;
            *a += initiator;
            *b += responder;
        }
    }
    for (pattern, spent) in PATTERNS.iter().zip(times) {
        add(
            figures,
            [pattern.initiator, pattern.responder],
            spent,
            count,
        );
    }
    let [hybrid, classical, ..] = times.map(|[a, b]| (a + b).as_secs_f64());
    figures.add("ratio_hybrid_to_classical", hybrid / classical);
    whole(figures, count)
}

/// Adds what each side took for one of `count` handshakes, in microseconds.
fn add(figures: &mut Measurements, keys: [&'static str; 2], spent: [Duration; 2], count: u32) {
    for (key, spent) in keys.into_iter().zip(spent) {
        figures.add(key, spent.as_secs_f64() * 1e6 / f64::from(count));
    }
}

/// Handshakes with identity: ours, and those of others.
fn whole(figures: &mut Measurements, count: u32) -> anyhow::Result<()> {
    let endpoints = [endpoint()?, endpoint()?];
    let known = endpoints[1].identity().static_public_key();
    let classical = Classical::new()?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let ours = |by| runtime.block_on(handshake(&endpoints, by));
    type Once<'a> = Box<dyn Fn() -> anyhow::Result<[Duration; 2]> + 'a>;
    let kinds: [([&'static str; 2], Once<'_>); 5] = [
        (
            ["noise_initiator_us", "noise_responder_us"],
            Box::new(|| ours(DialBy::Noise)),
        ),
        (
            ["noise_known_initiator_us", "noise_known_responder_us"],
            Box::new(|| ours(DialBy::NoiseKnowing(known))),
        ),
        (
            ["tls_initiator_us", "tls_responder_us"],
            Box::new(|| ours(DialBy::Tls)),
        ),
        (
            ["libp2p_xx_initiator_us", "libp2p_xx_responder_us"],
            Box::new(|| classical.libp2p()),
        ),
        (
            [
                "rustls_classical_initiator_us",
                "rustls_classical_responder_us",
            ],
            Box::new(|| classical.rustls()),
        ),
    ];
    let mut times = [[Duration::ZERO; 2]; 5];
    for _ in 0..count {
        for ((_, once), [initiating, responding]) in kinds.iter().zip(&mut times) {
            let [initiator, responder] = once()?;
            *initiating += initiator;
            *responding += responder;
        }
    }
    for ((keys, _), spent) in kinds.into_iter().zip(times) {
        add(figures, keys, spent, count);
    }
    Ok(())
}

fn keys() -> anyhow::Result<Keys> {
    let pair = || -> anyhow::Result<([u8; 32], [u8; 32])> {
        let pair = Builder::new("Noise_XX_25519_ChaChaPoly_BLAKE2s".parse()?).generate_keypair()?;
        let array = |key: Vec<u8>| key.try_into().ok().context("a key of 32 bytes");
        Ok((array(pair.private)?, array(pair.public)?))
    };
    let ((initiator, _), (responder, responder_public)) = (pair()?, pair()?);
    Ok(Keys {
        initiator,
        responder,
        responder_public,
    })
}

impl Pattern {
    fn params(&self) -> anyhow::Result<NoiseParams> {
        // snow has no name for ML-KEM-768: the choice is a placeholder (see the library's `transport::noise`).
        Ok(NoiseParams::new(
            self.name.to_owned(),
            BaseChoice::Noise,
            self.tokens.parse()?,
            DHChoice::Curve25519,
            self.hybrid.then_some(KemChoice::Kyber1024),
            CipherChoice::ChaChaPoly,
            HashChoice::Blake2s,
        ))
    }

    fn builder<'a>(&self, key: &'a [u8; 32]) -> anyhow::Result<Builder<'a>> {
        let resolver: BoxedCryptoResolver = if self.ours {
            Box::new(Primitives)
        } else {
            Box::new(DefaultResolver)
        };
        let builder = Builder::with_resolver(self.params()?, resolver);
        Ok(builder.local_private_key(key)?.prologue(b"bench")?)
    }

    /// One handshake; what each side took, its setting up included.
    fn once(&self, keys: &Keys) -> anyhow::Result<[Duration; 2]> {
        let mut times = [Duration::ZERO; 2];
        let [initiating, responding] = &mut times;
        let mut initiator = timed(initiating, || {
            let mut builder = self.builder(&keys.initiator)?;
            if self.known {
                builder = builder.remote_public_key(&keys.responder_public)?;
            }
            Ok(builder.build_initiator()?)
        })?;
        let mut responder = timed(responding, || {
            Ok(self.builder(&keys.responder)?.build_responder()?)
        })?;
        let first = timed(initiating, || write(&mut initiator))?;
        timed(responding, || read(&mut responder, &first))?;
        let second = timed(responding, || write(&mut responder))?;
        timed(initiating, || read(&mut initiator, &second))?;
        let third = timed(initiating, || write(&mut initiator))?;
        timed(responding, || read(&mut responder, &third))?;
        anyhow::ensure!(responder.is_handshake_finished(), "three messages suffice");
        Ok(times)
    }
}

pub(super) fn timed<T>(
    spent: &mut Duration,
    work: impl FnOnce() -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let start = Instant::now();
    let done = work();
    *spent += start.elapsed();
    done
}

fn write(state: &mut HandshakeState) -> anyhow::Result<Vec<u8>> {
    let mut message = vec![0; ROOM];
    let length = state.write_message(&[], &mut message)?;
    message.truncate(length);
    Ok(message)
}

fn read(state: &mut HandshakeState, message: &[u8]) -> anyhow::Result<()> {
    state.read_message(message, &mut [0; ROOM])?;
    Ok(())
}

pub(super) fn endpoint() -> anyhow::Result<Endpoint> {
    Ok(Endpoint::new(
        &ChainSpec::devnet(),
        Arc::new(Identity::generate()?),
    ))
}

/// A whole handshake through memory; what each side took.
async fn handshake(endpoints: &[Endpoint; 2], by: DialBy) -> anyhow::Result<[Duration; 2]> {
    let [dials, accepts] = endpoints;
    let (near, far, _pipe) = pipe::ends();
    let mut times = [Duration::ZERO; 2];
    let [initiating, responding] = &mut times;
    let near = Timed(pin!(dials.connect_by(by, near)), initiating);
    let far = Timed(pin!(accepts.accept(far)), responding);
    let (near, far) = tokio::join!(near, far);
    near?;
    far?;
    Ok(times)
}

/// Adds up the time for which a future is polled.
struct Timed<'a, F>(Pin<&'a mut F>, &'a mut Duration);

impl<F: Future> Future for Timed<'_, F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let start = Instant::now();
        let polled = self.0.as_mut().poll(context);
        *self.1 += start.elapsed();
        polled
    }
}
