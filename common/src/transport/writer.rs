//! The sending half of a connection.

use tokio::io::{AsyncWrite, AsyncWriteExt};

use super::cipher::DirectionCipher;
use super::error::RecordError;
use super::record::{Kind, MAX_MESSAGE, fragments, seal_decoy, seal_record};
use super::tls::TlsWriting;

/// Sealed bytes after which the buffer is written out: four full records at a time keep it inside the
/// processor's second-level cache, and a small batch goes out in one write.
const BATCH: usize = 256 * 1024;

/// Capacity in bytes above which an idle buffer is given back.
const KEEP: usize = 16 * 1024;

/// How messages become bytes to send.
enum Sealing {
    Records(Box<DirectionCipher>),
    Tls(TlsWriting),
}

/// Writes messages to the sending half of an authenticated connection.
///
/// Writing is not cancel-safe: a write that is dropped before it has finished may have sent half a
/// record, so this half is then closed and later calls give [`RecordError::Failed`].
pub struct RecordWriter<W> {
    io: W,
    sealing: Sealing,
    /// Sealed bytes that wait to be written.
    out: Vec<u8>,
    failed: bool,
}

impl<W: AsyncWrite + Unpin> RecordWriter<W> {
    /// A writer that sends `prefix` (the last handshake frame, or nothing) before its first record.
    pub(crate) fn new(io: W, key: &[u8; 32], prefix: Vec<u8>) -> Self {
        Self {
            io,
            sealing: Sealing::Records(Box::new(DirectionCipher::new(key))),
            out: prefix,
            failed: false,
        }
    }

    /// A writer into a TLS connection.
    pub(super) fn tls(io: W, writing: TlsWriting) -> Self {
        Self {
            io,
            sealing: Sealing::Tls(writing),
            out: Vec::new(),
            failed: false,
        }
    }

    /// Writes one message of at most [`MAX_MESSAGE`] bytes.
    ///
    /// # Errors
    /// [`RecordError::MessageTooLong`] (nothing is sent, the connection stays usable);
    /// [`RecordError::Io`] and [`RecordError::Failed`] mean that the connection is gone.
    pub async fn write_message(&mut self, bytes: &[u8]) -> Result<(), RecordError> {
        self.write_messages(&[bytes]).await
    }

    /// Writes several messages, small ones in one write to the socket.
    ///
    /// # Errors
    /// As [`Self::write_message`]; one message that is too long keeps all of them from being sent.
    pub async fn write_messages<B: AsRef<[u8]>>(
        &mut self,
        messages: &[B],
    ) -> Result<(), RecordError> {
        self.write_kind(Kind::Message, messages).await
    }

    /// Writes a record that means nothing and that the peer ignores, of `size` bytes between 64 and
    /// [`super::MAX_RECORD_DATA`] (other sizes are moved to the nearer end). TLS has no such records: nothing is sent.
    ///
    /// # Errors
    /// [`RecordError::Io`] and [`RecordError::Failed`].
    pub async fn write_decoy(&mut self, size: usize) -> Result<(), RecordError> {
        self.begin()?;
        if let Sealing::Records(cipher) = &mut self.sealing {
            seal_decoy(cipher, size, &mut self.out)?;
        }
        self.finish().await
    }

    /// Closes this direction; the peer's reader gives [`RecordError::Closed`].
    ///
    /// # Errors
    /// [`RecordError::Io`].
    pub async fn shutdown(&mut self) -> Result<(), RecordError> {
        self.begin()?;
        if let Sealing::Tls(tls) = &mut self.sealing {
            tls.close(&mut self.out)?;
            self.io.write_all(&self.out).await?;
        }
        Ok(self.io.shutdown().await?)
    }

    /// Sends our identity payload; must be the first record.
    pub(crate) async fn write_identity(&mut self, payload: &[u8]) -> Result<(), RecordError> {
        self.write_kind(Kind::Identity, &[payload]).await
    }

    async fn write_kind<B: AsRef<[u8]>>(
        &mut self,
        kind: Kind,
        messages: &[B],
    ) -> Result<(), RecordError> {
        if let Some(message) = messages
            .iter()
            .find(|message| message.as_ref().len() > MAX_MESSAGE)
        {
            let length = message.as_ref().len();
            return Err(RecordError::MessageTooLong {
                length,
                max: MAX_MESSAGE,
                received: false,
            });
        }
        self.begin()?;
        for message in messages {
            let message = message.as_ref();
            match &mut self.sealing {
                Sealing::Records(cipher) => {
                    for (data, trailer) in fragments(kind, message)? {
                        seal_record(cipher, data, trailer, &mut self.out)?;
                        write_full(&mut self.io, &mut self.out).await?;
                    }
                }
                Sealing::Tls(tls) => {
                    let mut rest = message;
                    while !rest.is_empty() {
                        let sealed = tls.seal(rest, &mut self.out)?;
                        rest = rest.get(sealed..).unwrap_or_default();
                        write_full(&mut self.io, &mut self.out).await?;
                    }
                }
            }
        }
        self.finish().await
    }

    /// Marks the half as closed until [`Self::finish`] has written everything.
    fn begin(&mut self) -> Result<(), RecordError> {
        if self.failed {
            return Err(RecordError::Failed);
        }
        self.failed = true;
        Ok(())
    }

    async fn finish(&mut self) -> Result<(), RecordError> {
        self.io.write_all(&self.out).await?;
        self.io.flush().await?;
        self.out.clear();
        self.out.shrink_to(KEEP);
        self.failed = false;
        Ok(())
    }
}

/// Writes the buffer out when it is full.
async fn write_full(
    io: &mut (impl AsyncWrite + Unpin),
    out: &mut Vec<u8>,
) -> Result<(), RecordError> {
    if out.len() >= BATCH {
        io.write_all(out).await?;
        out.clear();
    }
    Ok(())
}

impl<W> std::fmt::Debug for RecordWriter<W> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordWriter")
            .field("failed", &self.failed)
            .finish_non_exhaustive()
    }
}
