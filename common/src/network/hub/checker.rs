//! The header checker: one thread that takes headers into the chain, so that the hub, which serves all
//! peers, waits neither for the chain's locks nor for a disk.
//!
//! Each connection has one message of headers on its way at a time: its *turn* travels with the message and
//! comes back when the hub has heard the result. Until then the connection's reader holds back the next one.

use std::sync::Arc;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};

use bitcoin::block::Header;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tracing::error;

use crate::chain::{Blockchain, HeaderError, HeadersAccepted};
use crate::network::peer::Origin;
use crate::network::peer::session::unix_now;

/// Messages that may wait: twice the connections of a node, so that it is full only when connections come,
/// tell headers and go faster than a disk that hangs. A message is at most 160 kB: 40 MB in all.
const QUEUE: usize = 256;

/// Headers of one message.
pub(crate) struct Told {
    pub(crate) from: Origin,
    pub(crate) headers: Vec<Header>,
    /// Given back when this is dropped.
    pub(crate) turn: OwnedSemaphorePermit,
}

/// What became of them.
pub(crate) struct Checked {
    pub(crate) from: Origin,
    /// Headers of the message.
    pub(crate) count: usize,
    pub(crate) result: Result<HeadersAccepted, HeaderError>,
    /// Given back when this is dropped.
    pub(crate) _turn: OwnedSemaphorePermit,
}

/// The hub's end.
pub(crate) struct HeaderChecker {
    queue: SyncSender<Told>,
}

impl HeaderChecker {
    /// Starts the thread. It ends when the hub's end is dropped.
    ///
    /// # Errors
    /// When the operating system gives no thread.
    pub(crate) fn spawn(
        chain: Arc<Blockchain>,
    ) -> std::io::Result<(Self, mpsc::Receiver<Checked>, std::thread::JoinHandle<()>)> {
        let (queue, told) = sync_channel(QUEUE);
        let (results, checked) = mpsc::channel(QUEUE);
        let thread = std::thread::Builder::new()
            .name("header-checker".to_owned())
            .spawn(move || run(&chain, &told, &results))?;
        Ok((Self { queue }, checked, thread))
    }

    /// Hands headers over without waiting. False when there is no room: they are dropped.
    pub(crate) fn submit(&self, told: Told) -> bool {
        self.queue.try_send(told).is_ok()
    }
}

fn run(chain: &Blockchain, queue: &Receiver<Told>, results: &mpsc::Sender<Checked>) {
    while let Ok(told) = queue.recv() {
        let checked = Checked {
            from: told.from,
            count: told.headers.len(),
            result: chain.accept_headers(&told.headers, unix_now() as u32),
            _turn: told.turn,
        };
        if results.blocking_send(checked).is_err() {
            break;
        }
    }
    // The chain writer may have made its last flush before the last headers were accepted.
    if let Err(error) = chain.flush() {
        error!(%error, "the last headers may have to be downloaded again");
    }
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use bitcoin::ScriptBuf;
    use tokio::sync::Semaphore;

    use super::*;
    use crate::chain::miner::mine_block;
    use crate::chain_spec::ChainSpec;

    fn told(headers: Vec<Header>, turns: &Arc<Semaphore>) -> Told {
        let addr = SocketAddr::from(([9, 9, 9, 9], 1));
        Told {
            from: Origin { id: 7, addr },
            headers,
            turn: Arc::clone(turns).try_acquire_owned().unwrap(),
        }
    }

    /// A chain that knows the genesis block only, and some headers that follow it.
    fn headers(count: u32) -> (Arc<Blockchain>, Vec<Header>) {
        let spec = Arc::new(ChainSpec::devnet());
        let source = Blockchain::in_memory(Arc::clone(&spec));
        let payout = ScriptBuf::from_bytes([&[0x53, 0x20][..], &[0; 32]].concat());
        let start = unix_now() as u32 - count;
        let mine = |n| mine_block(&source, payout.clone(), start + n).unwrap();
        let headers = (0..count).map(|n| mine(n).header).collect();
        (Arc::new(Blockchain::in_memory(spec)), headers)
    }

    #[test]
    fn the_turn_comes_back_when_the_result_was_heard() {
        let (chain, headers) = headers(3);
        let (checker, mut results, thread) = HeaderChecker::spawn(Arc::clone(&chain)).unwrap();
        let turns = Arc::new(Semaphore::new(1));
        for (n, header) in headers.iter().enumerate() {
            assert!(checker.submit(told(vec![*header], &turns)));
            let checked = results.blocking_recv().unwrap();
            assert_eq!(turns.available_permits(), 0, "not before");
            assert_eq!((checked.from.id, checked.count), (7, 1));
            let accepted = checked.result.as_ref().unwrap();
            assert_eq!(accepted.last.height as usize, n + 1);
            drop(checked);
            assert_eq!(turns.available_permits(), 1);
        }
        drop(checker);
        thread.join().unwrap();
        assert_eq!(chain.best_header().height, 3);
    }

    #[test]
    fn what_waits_is_bounded() {
        let (chain, headers) = headers(1);
        let (checker, results, thread) = HeaderChecker::spawn(chain).unwrap();
        let turns = Arc::new(Semaphore::new(4 * QUEUE));
        // Nobody hears the results.
        let taken = (0..4 * QUEUE)
            .filter(|_| checker.submit(told(headers.clone(), &turns)))
            .count();
        // In the queue, in the thread's hands, and results.
        assert!((QUEUE..=2 * QUEUE + 1).contains(&taken), "{taken}");
        drop(results);
        drop(checker);
        thread.join().unwrap();
        assert_eq!(turns.available_permits(), 4 * QUEUE, "every turn came back");
    }
}
