//! A file on its way to the disk, beside the hub, which waits for nothing.

use tokio::task::{JoinHandle, spawn_blocking};

/// Saves one file, one saving at a time.
#[derive(Debug, Default)]
pub(super) struct Saving(Option<JoinHandle<()>>);

impl Saving {
    /// Takes a snapshot and saves it on a thread that may block, unless the last saving still waits for the disk: then the
    /// next one, or that at the end, saves what has come since.
    pub(super) fn save<F: FnOnce() + Send + 'static>(&mut self, snapshot: impl FnOnce() -> F) {
        if self.0.as_ref().is_none_or(JoinHandle::is_finished) {
            self.0 = Some(spawn_blocking(snapshot()));
        }
    }

    /// Waits for the last saving.
    pub(super) async fn done(&mut self) {
        if let Some(last) = self.0.take() {
            // A panic in it was reported.
            let _ = last.await;
        }
    }
}
