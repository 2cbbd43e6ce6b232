//! The sending task of a connection.

use std::sync::Arc;
use std::time::Duration;

use tokio::net::tcp::OwnedWriteHalf;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use super::PeerStats;
use super::outbox::{Inbox, Outgoing, Queued};
use crate::network::channel::{ChannelError, MessageWriter};

/// Longest that one batch may take to leave; a peer that reads slower holds our memory for nothing.
pub(super) const WRITE_TIMEOUT: Duration = Duration::from_secs(60);

/// What waits is sent at once, in one write, until it has so many bytes: a burst of small messages then costs one
/// system call and not one each, and no ping waits behind more than this and one block.
const BATCH: usize = 64 * 1024;

/// Writes until the connection ends; gives whether it was the peer that took too long.
pub(super) async fn write_loop(
    mut writer: MessageWriter<OwnedWriteHalf>,
    mut inbox: Inbox,
    stats: Arc<PeerStats>,
    ended: CancellationToken,
) -> bool {
    loop {
        let next = tokio::select! {
            biased;
            () = ended.cancelled() => return false,
            next = inbox.next() => next,
        };
        let Some(first) = next else { return false };
        let write = write_batch(&mut writer, first, &mut inbox);
        let written = tokio::select! {
            biased;
            // The connection is over: a peer that does not read must not hold us up.
            () = ended.cancelled() => return false,
            written = tokio::time::timeout(WRITE_TIMEOUT, write) => written,
        };
        match written {
            Ok(Ok(bytes)) => PeerStats::add(&stats.bytes_out, bytes),
            Ok(Err(error)) => {
                debug!(%error, "write failed");
                ended.cancel();
                return false;
            }
            Err(_) => {
                ended.cancel();
                return true;
            }
        }
    }
}

/// Writes `first` and what else waits; returns how many bytes of messages that were. Answers keep their places until
/// they have left.
async fn write_batch(
    writer: &mut MessageWriter<OwnedWriteHalf>,
    first: Queued,
    inbox: &mut Inbox,
) -> Result<usize, ChannelError> {
    let (mut places, mut encoded, mut bytes) = (Vec::new(), Vec::new(), 0);
    let mut next = Some(first);
    while let Some(queued) = next {
        let message = match &queued.what {
            Outgoing::Message(message) => writer.encode(message)?,
            Outgoing::StoredBlock(block) => writer.encode_block(block)?,
        };
        bytes += message.len();
        encoded.push(message);
        places.push(queued.into_place());
        next = if bytes < BATCH {
            inbox.try_next()
        } else {
            None
        };
    }
    if bytes >= BATCH {
        inbox.end_of_round();
    }
    writer.write_encoded(&encoded).await?;
    Ok(bytes)
}
