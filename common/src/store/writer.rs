//! [`Store`]: the one writer. A task owns the connection; a bounded channel feeds it.
//!
//! It collects writes for at most [`COMMIT_EVERY`] or [`super::BATCH_PROBES`] probes and commits them
//! together. When the disk refuses (full, locked, failing), it keeps the batch, goes on collecting up to a
//! bound, tries again with growing pauses, and reports itself unhealthy: probing goes on, nothing exits.

use std::path::Path;
use std::sync::Mutex;
use std::time::Duration;

use sqlx::{Connection, SqliteConnection};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until, timeout_at};

use super::StoreError;
use super::batch::{Batch, HELD};
use super::model::Write;
use super::roll_up::{self, hour_of};
use super::schema::{self, StoreOptions};

/// Longest time that a write waits for its commit.
pub(super) const COMMIT_EVERY: Duration = Duration::from_secs(1);

/// Writes that wait for the writer task. A full channel makes the crawler wait: that is its back-pressure.
const QUEUE: usize = 8_192;

/// First and longest pause after a failed commit.
const RETRY: (Duration, Duration) = (Duration::from_millis(500), Duration::from_secs(30));

/// Seconds.
const A_DAY: i64 = 86_400;

/// How the writer is doing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct WriterHealth {
    /// Why the last commit failed; `None` while all is well.
    pub error: Option<String>,
    /// Writes that wait in memory.
    pub held: usize,
    /// Writes that were dropped since memory for them ran out.
    pub dropped: u64,
    /// Batches committed.
    pub commits: u64,
}

/// What the writer task is told.
enum Command {
    Write(Write),
    /// Answer once everything before is committed, or with the reason why not.
    Flush(oneshot::Sender<Result<(), String>>),
    /// End after one more try to commit.
    Close,
}

/// The writing side of a store. Dropping it ends the task after a last commit; [`Store::close`] also waits.
#[derive(Debug)]
pub struct Store {
    commands: mpsc::Sender<Command>,
    health: watch::Receiver<WriterHealth>,
    /// Taken once, by `close`.
    task: Mutex<Option<JoinHandle<()>>>,
}

impl Store {
    /// Opens or creates the store and starts its writer task.
    ///
    /// # Errors
    /// A file of a newer schema, of another program or network, or a damaged one is refused and left as it
    /// is; see [`StoreError`].
    pub async fn open(path: &Path, options: StoreOptions) -> Result<Self, StoreError> {
        Ok(Self::start(schema::open_writer(path, &options).await?))
    }

    pub(super) fn start(connection: SqliteConnection) -> Self {
        let (commands, inbox) = mpsc::channel(QUEUE);
        let (report, health) = watch::channel(WriterHealth::default());
        let task = tokio::spawn(
            Writer {
                connection,
                inbox,
                report,
                batch: Batch::default(),
                closing: false,
                hour: None,
                is_pruned: true,
            }
            .run(),
        );
        Self {
            commands,
            health,
            task: Mutex::new(Some(task)),
        }
    }

    /// Hands over one write; waits while the queue is full.
    ///
    /// # Errors
    /// [`StoreError::Closed`] after the writer has ended.
    pub async fn write(&self, write: Write) -> Result<(), StoreError> {
        self.commands
            .send(Command::Write(write))
            .await
            .map_err(|_| StoreError::Closed)
    }

    /// Waits until everything that was handed over before is committed.
    ///
    /// # Errors
    /// The reason why the commit failed; the writes are kept and tried again.
    pub async fn flush(&self) -> Result<(), StoreError> {
        let (answer, done) = oneshot::channel();
        self.commands
            .send(Command::Flush(answer))
            .await
            .map_err(|_| StoreError::Closed)?;
        let result = done.await.map_err(|_| StoreError::Closed)?;
        result.map_err(|reason| StoreError::Query(sqlx::Error::Protocol(reason)))
    }

    /// How the writer is doing, as it changes.
    pub fn health(&self) -> watch::Receiver<WriterHealth> {
        self.health.clone()
    }

    /// Commits what is left, folds the write-ahead log into the file, and closes it. Later writes fail.
    ///
    /// # Errors
    /// The reason why the last commit failed.
    pub async fn close(&self) -> Result<(), StoreError> {
        let flushed = self.flush().await;
        // Fails only when the writer has ended already.
        let _ = self.commands.send(Command::Close).await;
        let task = self.task.lock().ok().and_then(|mut task| task.take());
        if let Some(task) = task
            && let Err(error) = task.await
        {
            tracing::error!(%error, "the store's writer task failed");
        }
        flushed
    }
}

struct Writer {
    connection: SqliteConnection,
    inbox: mpsc::Receiver<Command>,
    report: watch::Sender<WriterHealth>,
    batch: Batch,
    closing: bool,
    /// The last hour of the crawl that was seen, and whether what was too old then has been removed.
    hour: Option<i64>,
    is_pruned: bool,
}

impl Writer {
    async fn run(mut self) {
        while !self.closing && self.collect().await {
            self.commit_until_it_holds().await;
        }
        if self.batch.len() > 0
            && let Err(error) = self.batch.apply(&mut self.connection).await
        {
            tracing::error!(%error, lost = self.batch.len(), "the last batch could not be written");
        }
        if let Err(error) = self.connection.close().await {
            tracing::warn!(%error, "closing the store failed");
        }
    }

    /// Fills the batch until it is due. Returns false when all senders are gone.
    async fn collect(&mut self) -> bool {
        let Some(first) = self.inbox.recv().await else {
            return false;
        };
        if self.take(first).await {
            return true;
        }
        let due = Instant::now() + COMMIT_EVERY;
        while !self.batch.is_full() {
            match timeout_at(due, self.inbox.recv()).await {
                Ok(Some(command)) => {
                    if self.take(command).await {
                        return true;
                    }
                }
                Ok(None) => return false,
                Err(_) => break,
            }
        }
        true
    }

    /// Takes one command; true when it was a flush, which has been tried then.
    async fn take(&mut self, command: Command) -> bool {
        match command {
            Command::Write(write) => {
                if self.batch.len() < HELD {
                    self.batch.add(write);
                } else {
                    self.report.send_modify(|h| h.dropped += 1);
                }
                false
            }
            Command::Flush(answer) => {
                let result = self.commit().await;
                // A caller that no longer waits needs no answer.
                let _ = answer.send(result.map_err(|e| e.to_string()));
                true
            }
            Command::Close => {
                self.closing = true;
                true
            }
        }
    }

    /// Commits, trying again with growing pauses. Goes on taking writes meanwhile.
    async fn commit_until_it_holds(&mut self) {
        let mut pause = RETRY.0;
        while !self.closing
            && let Err(error) = self.commit().await
        {
            tracing::error!(%error, held = self.batch.len(), retry_in = ?pause,
                "writing the crawl failed; keeping it in memory (check free disk space and other users of the file)");
            let due = Instant::now() + pause;
            while !self.closing {
                tokio::select! {
                    () = sleep_until(due) => break,
                    command = self.inbox.recv() => match command {
                        Some(command) => { self.take(command).await; }
                        None => return,
                    },
                }
            }
            pause = (pause * 2).min(RETRY.1);
        }
    }

    /// At the turn of each hour of the crawl, and with each batch until nothing is left: removes some of what is too old. The
    /// turn must be of one that went on: a clock that jumps for a while costs nothing.
    async fn prune(&mut self, latest: Option<i64>) {
        let Some(hour) = latest.map(hour_of) else {
            return;
        };
        let last = self.hour.replace(hour);
        if last != Some(hour) {
            let went_on = last.is_some_and(|last| (last..=last + A_DAY).contains(&hour));
            self.is_pruned = !went_on;
        }
        if self.is_pruned {
            return;
        }
        match roll_up::prune(&mut self.connection, hour).await {
            Ok(is_more) => self.is_pruned = !is_more,
            // The next batch tells when nothing can be written.
            Err(error) => tracing::warn!(%error, "what is too old could not be removed"),
        }
    }

    async fn commit(&mut self) -> Result<(), StoreError> {
        if self.batch.len() == 0 {
            return Ok(());
        }
        let result = self.batch.apply(&mut self.connection).await;
        if result.is_ok() {
            tracing::debug!(probes = self.batch.probes(), "committed");
            let latest = std::mem::take(&mut self.batch).latest();
            self.prune(latest).await;
        }
        let held = self.batch.len();
        self.report.send_modify(|health| {
            health.held = held;
            match &result {
                Ok(()) => {
                    health.error = None;
                    health.commits += 1;
                }
                Err(error) => health.error = Some(error.to_string()),
            }
        });
        result
    }
}
