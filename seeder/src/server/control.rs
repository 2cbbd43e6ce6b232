//! Reloading a running seeder.

use std::{net::SocketAddr, sync::Arc};

use tokio::sync::{mpsc, oneshot};

use super::{
    SeederError,
    counters::Counters,
    tls::{self, Tls},
};
use crate::{
    config::SeederConfig,
    follow::{Reload, unix_now},
    setup::{Setup, follow_options},
    state::{Shared, StateError},
};

/// Gives a running seeder another configuration.
#[derive(Debug, Clone)]
pub struct Control {
    pub(super) shared: Shared,
    pub(super) counters: Counters,
    pub(super) reloads: mpsc::Sender<Reload>,
    pub(super) listen: Vec<SocketAddr>,
    pub(super) http: Option<SocketAddr>,
    pub(super) workers: usize,
    pub(super) tls: Option<Arc<Tls>>,
}

impl Control {
    /// Takes up a configuration, and keys and certificate on disk, and ends when answers come from them; meanwhile they
    /// come from the old ones. What sockets are made of stays as it is, and is told in the log when it differs.
    ///
    /// # Errors
    /// [`SeederError`], and the old configuration stays. A zone that was signed may not lose its keys.
    pub async fn reload(&self, config: &SeederConfig) -> Result<(), SeederError> {
        // Also of a table that is new: the next start, which would fail of it, may come at night.
        if let Some(options) = &config.tls {
            tls::check(options).await?;
        }
        let tls_same = match (&self.tls, &config.tls) {
            (Some(tls), Some(options)) => tls.listens_as(options),
            (own, other) => own.is_none() && other.is_none(),
        };
        let same = config.listen == self.listen
            && config.http == self.http
            && config.workers() == self.workers
            && tls_same;
        if !same {
            tracing::warn!("addresses and threads change at a restart only");
        }
        let previous = self.shared.load_full();
        let setup = Setup::new(config, &self.counters, Some(&previous.setup))?;
        let keys = previous.check_keys(&setup, unix_now());
        keys.map_err(StateError::from)?;
        let (done, taken_up) = oneshot::channel();
        let reload = Reload {
            setup: Arc::new(setup),
            options: follow_options(config)?,
            done,
        };
        // Both fail when the seeder is stopping, and then nothing is left to do.
        if self.reloads.send(reload).await.is_err() {
            return Ok(());
        }
        taken_up
            .await
            .unwrap_or(Ok(()))
            .map_err(SeederError::Follow)?;
        // Read again: a renewal may have come meanwhile.
        if let (Some(tls), Some(options)) = (&self.tls, &config.tls) {
            tls.take_up(config, options).await;
        }
        Ok(())
    }
}
