//! The attacker's end of a TCP connection: counts what goes out, and can let it out a byte a second.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::AsyncWrite;
use tokio::net::tcp::OwnedWriteHalf;
use tokio::time::{Interval, MissedTickBehavior, interval};

/// Between two bytes of a line that drips.
const DRIP: Duration = Duration::from_secs(1);

/// Writes to a socket.
pub(super) struct Line {
    io: OwnedWriteHalf,
    sent: Arc<AtomicU64>,
    drips: Arc<AtomicBool>,
    next: Interval,
}

impl Line {
    /// Adds to `sent` what it writes; drips as soon as `drips` is set.
    pub(super) fn new(io: OwnedWriteHalf, sent: Arc<AtomicU64>, drips: Arc<AtomicBool>) -> Self {
        let mut next = interval(DRIP);
        next.set_missed_tick_behavior(MissedTickBehavior::Delay);
        Self {
            io,
            sent,
            drips,
            next,
        }
    }
}

impl AsyncWrite for Line {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let mut most = bytes.len();
        if self.drips.load(Ordering::Relaxed) {
            ready!(self.next.poll_tick(context));
            most = most.min(1);
        }
        let some = bytes.get(..most).unwrap_or_default();
        let written = ready!(Pin::new(&mut self.io).poll_write(context, some))?;
        self.sent.fetch_add(written as u64, Ordering::Relaxed);
        Poll::Ready(Ok(written))
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn a_line_counts_and_drips_when_it_is_told_to() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap());
        let near = near.await.unwrap();
        let (mut far, _) = listener.accept().await.unwrap();
        let (sent, drips) = (
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let (_reading, writing) = near.into_split();
        let mut line = Line::new(writing, Arc::clone(&sent), Arc::clone(&drips));
        line.write_all(&[7; 1_000]).await.unwrap();
        assert_eq!(sent.load(Ordering::Relaxed), 1_000);
        drips.store(true, Ordering::Relaxed);
        // The first byte leaves at once, and then each a second after the one before.
        let slow = timeout(3 * DRIP / 2, line.write_all(&[7; 1_000])).await;
        assert!(slow.is_err(), "it takes a quarter of an hour");
        let dripped = sent.load(Ordering::Relaxed) - 1_000;
        assert!((1..=2).contains(&dripped), "{dripped}");
        let mut heard = vec![0; 1_000];
        far.read_exact(&mut heard).await.unwrap();
        assert_eq!(heard, [7; 1_000]);
    }
}
