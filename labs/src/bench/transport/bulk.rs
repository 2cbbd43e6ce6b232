//! Messages in bulk: through memory beside the bare cipher, and through TCP.

use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use aws_lc_rs::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};
use quantumcoin::transport::{DialBy, MAX_RECORD_DATA, Secured};

use super::handshakes::endpoint;
use super::tcp::TcpPairs;
use super::{Measurements, pipe};
use crate::bench::machine;

const MIB: usize = 1 << 20;

/// Bytes that wait in memory to be opened: about what a socket's buffers hold.
const KEPT: usize = 4 * MIB;

/// A small message: an `inv` with a few entries.
const SMALL: usize = 250;

/// Bytes of the Bitcoin envelope's head, and where the length stands in it: by it TLS tells messages apart.
const HEAD: usize = 24;
const LENGTH_AT: usize = 16;

/// Sends `mib` MiB in each way.
pub(super) fn round(figures: &mut Measurements, mib: usize) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_io()
        .build()?;
    for (key, size, count) in [
        ("bulk_ratio_1mib", MIB, mib),
        ("bulk_ratio_250b", SMALL, mib * 400),
    ] {
        let bare = bare(size, count)?;
        let ours = runtime.block_on(through_memory(size, count))?;
        figures.add(key, bare.as_secs_f64() / ours.as_secs_f64());
    }
    for (key, by) in [
        ("loopback_gb_per_core_s", DialBy::Noise),
        ("tls_loopback_gb_per_core_s", DialBy::Tls),
    ] {
        let before = machine::cpu_time().context("processor time is known on Linux")?;
        runtime.block_on(through_tcp(by, 4 * mib))?;
        let after = machine::cpu_time().context("processor time is known on Linux")?;
        let spent = (after - before).as_secs_f64();
        figures.add(key, (4 * mib * MIB) as f64 / 1e9 / spent);
    }
    Ok(())
}

/// A message of so many bytes with a head that tells its length.
fn message(size: usize) -> anyhow::Result<Vec<u8>> {
    let mut message = vec![7; size];
    let body = u32::try_from(size - HEAD)?;
    let length = message.get_mut(LENGTH_AT..LENGTH_AT + 4);
    length
        .context("a message with a head")?
        .copy_from_slice(&body.to_le_bytes());
    Ok(message)
}

/// The cipher alone, in pieces as large as a record's: sealed and opened in place.
fn bare(size: usize, count: usize) -> anyhow::Result<Duration> {
    let key = UnboundKey::new(&CHACHA20_POLY1305, &[3; 32]);
    let key = LessSafeKey::new(key.ok().context("a key of 32 bytes")?);
    let tag_len = CHACHA20_POLY1305.tag_len();
    let mut pieces: Vec<Vec<u8>> = vec![7; size]
        .chunks(MAX_RECORD_DATA)
        .map(|piece| [piece, &vec![0; tag_len]].concat())
        .collect();
    let nonce = || Nonce::assume_unique_for_key([1; 12]);
    let start = Instant::now();
    for _ in 0..count {
        for piece in &mut pieces {
            let body = piece.len() - tag_len;
            let (data, end) = piece.split_at_mut(body);
            let tag = key.seal_in_place_separate_tag(nonce(), Aad::empty(), data);
            end.copy_from_slice(tag.ok().context("sealing")?.as_ref());
            let opened = key.open_in_place(nonce(), Aad::empty(), piece);
            opened.ok().context("opening")?;
        }
    }
    Ok(start.elapsed())
}

/// Our records: sealed into nothing, and, on another connection, opened from memory.
async fn through_memory(size: usize, count: usize) -> anyhow::Result<Duration> {
    let message = message(size)?;
    let (mut near, _far, pipe) = connected().await?;
    pipe.discard();
    let start = Instant::now();
    for _ in 0..count {
        near.writer.write_message(&message).await?;
    }
    let sealing = start.elapsed();

    let (mut near, mut far, _pipe) = connected().await?;
    let mut opening = Duration::ZERO;
    let at_once = (KEPT / size).max(1);
    for _ in 0..count.div_ceil(at_once) {
        for _ in 0..at_once {
            near.writer.write_message(&message).await?;
        }
        let start = Instant::now();
        for _ in 0..at_once {
            let received = far.reader.read_message().await?;
            ensure!(received.len() == size, "what was sent arrives");
        }
        opening += start.elapsed();
    }
    let opened = (count.div_ceil(at_once) * at_once) as f64;
    Ok(sealing + opening.mul_f64(count as f64 / opened))
}

type Connection = Secured<pipe::End>;

async fn connected() -> anyhow::Result<(Connection, Connection, pipe::Pipe)> {
    let (near, far, pipe) = pipe::ends();
    let (dials, accepts) = (endpoint()?, endpoint()?);
    let (near, far) = tokio::join!(dials.connect(near), accepts.accept(far));
    Ok((near?, far?, pipe))
}

/// Both ends in this thread, over a socket.
async fn through_tcp(by: DialBy, mib: usize) -> anyhow::Result<()> {
    let (mut near, mut far) = TcpPairs::new().await?.connect(by).await?;
    let message = message(MIB)?;
    let send = async {
        for _ in 0..mib {
            near.writer.write_message(&message).await?;
        }
        anyhow::Ok(())
    };
    let receive = async {
        for _ in 0..mib {
            far.reader.read_message().await?;
        }
        anyhow::Ok(())
    };
    tokio::try_join!(send, receive)?;
    Ok(())
}
