//! What the fuzz targets in `fuzz/` need of the inside: built with the feature `fuzzing` only.
//!
//! Random bytes never get past an AEAD. So that a fuzzer sees what an authenticated but hostile peer can
//! do, these functions seal its bytes with the right keys.

use std::sync::{Arc, LazyLock};

use tokio::io::{AsyncWriteExt, DuplexStream, duplex};

use crate::chain_spec::ChainSpec;

use super::cipher::DirectionCipher;
use super::endpoint::ALL_TRANSPORTS;
use super::error::{HandshakeError, HandshakeStep};
use super::identity::IDENTITY_PAYLOAD;
use super::noise::{FRAME_HEADER, Noise, NoisePattern, prologue};
use super::record::{Assembler, MAX_MESSAGE, MAX_RECORD_DATA, Progress, Trailer, seal_record};
use super::{Endpoint, Identity};

const KEY: [u8; 32] = [9; 32];

/// Feeds an assembler with records whose trailers and sizes come from `script`, nine bytes each: flags,
/// kind, padding (2), total (3), data length (2). The bytes after the last whole step go in unsealed.
pub fn records(script: &[u8]) {
    let mut sealing = DirectionCipher::new(&KEY);
    let mut records = Assembler::before_identity(DirectionCipher::new(&KEY), 0);
    records.authenticated();
    let mut held = 0;
    let (steps, rest) = script.as_chunks::<9>();
    for [flags, kind, p0, p1, t0, t1, t2, d0, d1] in steps {
        let data_len = usize::from(u16::from_be_bytes([*d0, *d1])).min(MAX_RECORD_DATA);
        let trailer = Trailer {
            flags: *flags,
            kind: *kind,
            padding: u16::from_be_bytes([*p0, *p1]),
            total: u32::from_be_bytes([0, *t0, *t1, *t2]),
        };
        let mut record = Vec::new();
        if seal_record(&mut sealing, &vec![*d1; data_len], trailer, &mut record).is_err() {
            return;
        }
        match records.take(&record) {
            Ok(Progress::NeedMore) => panic!("a whole record is not enough"),
            Ok(Progress::Consumed(count)) => {
                assert_eq!(count, record.len());
                held += data_len;
                assert!(held <= MAX_MESSAGE || *kind == 0);
            }
            Ok(Progress::Message(count, message)) => {
                assert_eq!(count, record.len());
                assert!(message.len() <= MAX_MESSAGE);
                held = 0;
            }
            Err(_) => return,
        }
    }
    let _ = records.take(rest);
}

/// Dials a responder. The first byte of `script` says by which pattern, and how far the dialler is honest; the rest is
/// junk.
///
/// # Panics
/// If the responder accepts the junk.
pub fn responder(script: &[u8]) {
    static RUNTIME: LazyLock<tokio::runtime::Runtime> = LazyLock::new(|| {
        tokio::runtime::Builder::new_current_thread()
            .build()
            .unwrap()
    });
    static ENDPOINT: LazyLock<Endpoint> = LazyLock::new(|| {
        Endpoint::new(
            &ChainSpec::devnet(),
            Arc::new(Identity::generate().unwrap()),
        )
    });
    let Some((honest, junk)) = script.split_first() else {
        return;
    };
    let known = ENDPOINT.identity().static_public_key();
    RUNTIME.block_on(async {
        let (near, far) = duplex(256 * 1024);
        let (_, accepted) = tokio::join!(dial(near, *honest, &known, junk), ENDPOINT.accept(far));
        assert!(accepted.is_err(), "the responder took junk for a peer");
    });
}

/// Junk at once; after a valid length; in place of message 3; or in place of the identity.
async fn dial(
    mut io: DuplexStream,
    how: u8,
    known: &[u8; 32],
    junk: &[u8],
) -> Result<(), HandshakeError> {
    use tokio::io::AsyncReadExt;

    let honest = how % 4;
    let pattern = NoisePattern::ALL[usize::from(how / 4 % 2)];
    if honest == 0 {
        return Ok(io.write_all(junk).await?);
    }
    if honest == 1 {
        let length = pattern.message_length(HandshakeStep::Message1) as u16;
        io.write_all(&length.to_be_bytes()).await?;
        return Ok(io.write_all(junk).await?);
    }
    let spec = ChainSpec::devnet();
    let prologue = prologue(
        spec.network_protocol.magic_bytes,
        &spec.network,
        &ALL_TRANSPORTS,
    );
    let known = (pattern == NoisePattern::Xk).then_some(known);
    let mut noise = Noise::initiator(&KEY, known, &prologue)?;
    io.write_all(&noise.write(HandshakeStep::Message1)?).await?;
    let mut second = vec![0; FRAME_HEADER + pattern.message_length(HandshakeStep::Message2)];
    io.read_exact(&mut second).await?;
    if honest == 2 {
        return Ok(io.write_all(junk).await?);
    }
    noise.read(HandshakeStep::Message2, &second[FRAME_HEADER..])?;
    let mut out = noise.write(HandshakeStep::Message3)?;
    let mut cipher = DirectionCipher::new(&noise.finish()?.initiator_key);
    let mut payload = junk.to_vec();
    payload.resize(IDENTITY_PAYLOAD, 0);
    let total = u32::try_from(payload.len()).unwrap_or(0);
    let trailer = Trailer {
        flags: 3,
        kind: 2,
        padding: 0,
        total,
    };
    seal_record(&mut cipher, &payload, trailer, &mut out)
        .map_err(HandshakeError::IdentityRecord)?;
    Ok(io.write_all(&out).await?)
}
