//! A pipe in memory without the limits of a socket: what is written is kept until it is read, or thrown away.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, Waker};

use tokio::io::{AsyncRead, AsyncWrite, Join, ReadBuf};

#[derive(Default)]
struct Buffer {
    bytes: Vec<u8>,
    read: usize,
    discard: bool,
    waker: Option<Waker>,
}

/// One direction; cloning shares it.
#[derive(Clone, Default)]
pub(super) struct Pipe(Arc<Mutex<Buffer>>);

/// Both ends of a connection.
pub(super) type End = Join<Pipe, Pipe>;

/// Two connected ends, and the pipe from the first to the second.
pub(super) fn ends() -> (End, End, Pipe) {
    let (there, back) = (Pipe::default(), Pipe::default());
    let near = tokio::io::join(back.clone(), there.clone());
    let far = tokio::io::join(there.clone(), back);
    (near, far, there)
}

impl Pipe {
    fn lock(&self) -> MutexGuard<'_, Buffer> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Throws away what is written from here on.
    pub(super) fn discard(&self) {
        self.lock().discard = true;
    }
}

impl AsyncWrite for Pipe {
    fn poll_write(
        self: Pin<&mut Self>,
        _: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut buffer = self.lock();
        if !buffer.discard {
            buffer.bytes.extend_from_slice(bytes);
            if let Some(waker) = buffer.waker.take() {
                waker.wake();
            }
        }
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Pipe {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let mut buffer = self.lock();
        let waiting = buffer.bytes.get(buffer.read..).unwrap_or_default();
        if waiting.is_empty() {
            buffer.bytes.clear();
            buffer.read = 0;
            buffer.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        let count = waiting.len().min(into.remaining());
        into.put_slice(waiting.get(..count).unwrap_or_default());
        buffer.read += count;
        Poll::Ready(Ok(()))
    }
}
