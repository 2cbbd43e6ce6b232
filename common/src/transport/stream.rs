//! How a byte stream comes apart into a reading and a writing half.
//!
//! `tokio::io::split` puts a lock between the halves. A socket does not need one, so [`Stream`] lets
//! each type say how it splits.

use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, Join};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// A connected byte stream that a handshake can run over and that splits into owned halves.
///
/// For any other pair of halves, `tokio::io::join(reader, writer)` is a `Stream`.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {
    /// The half that reads.
    type Reader: AsyncRead + Unpin + Send + 'static;
    /// The half that writes.
    type Writer: AsyncWrite + Unpin + Send + 'static;

    /// Takes the stream apart.
    fn into_halves(self) -> (Self::Reader, Self::Writer);
}

/// The reading half of `S`.
pub type ReadHalf<S> = <S as Stream>::Reader;

/// The writing half of `S`.
pub type WriteHalf<S> = <S as Stream>::Writer;

impl Stream for TcpStream {
    type Reader = OwnedReadHalf;
    type Writer = OwnedWriteHalf;

    fn into_halves(self) -> (OwnedReadHalf, OwnedWriteHalf) {
        self.into_split()
    }
}

impl Stream for DuplexStream {
    type Reader = tokio::io::ReadHalf<Self>;
    type Writer = tokio::io::WriteHalf<Self>;

    fn into_halves(self) -> (Self::Reader, Self::Writer) {
        tokio::io::split(self)
    }
}

impl<R, W> Stream for Join<R, W>
where
    R: AsyncRead + Unpin + Send + 'static,
    W: AsyncWrite + Unpin + Send + 'static,
{
    type Reader = R;
    type Writer = W;

    fn into_halves(self) -> (R, W) {
        self.into_inner()
    }
}
