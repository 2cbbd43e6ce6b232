//! Reloading a running seeder.

use std::{net::SocketAddr, sync::Arc};

use tokio::sync::{mpsc, oneshot};

use super::{SeederError, counters::Counters};
use crate::{
    config::SeederConfig,
    dnssec::keyring::KeyringError,
    follow::{Reload, unix_now},
    respond::{Shared, StateError},
    setup::{Setup, follow_options},
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
}

impl Control {
    /// Takes up a configuration and the keys on disk, and ends when answers come from them. Meanwhile answers go on from the old ones. What sockets are
    /// made of stays as it is, and is told in the log when it differs.
    ///
    /// # Errors
    /// [`SeederError`], and the old configuration stays. A zone that was signed may not lose its keys.
    pub async fn reload(&self, config: &SeederConfig) -> Result<(), SeederError> {
        let same = config.listen == self.listen
            && config.http == self.http
            && config.workers() == self.workers;
        if !same {
            tracing::warn!("addresses and threads change at a restart only");
        }
        let previous = self.shared.load_full();
        let setup = Setup::new(config, &self.counters, Some(&previous.setup))?;
        let signed = previous.setup.engine.zones().iter().zip(&previous.provers);
        for (zone, prover) in signed {
            let stays = setup
                .engine
                .zones()
                .iter()
                .any(|other| other.apex() == zone.apex());
            let has_keys = !setup.keyring.keys(zone.apex_wire()).is_empty();
            if prover.is_some() && stays && !has_keys {
                return Err(lost(KeyringError::Lost(zone.apex().to_string())));
            }
        }
        for zone in setup.engine.zones() {
            setup
                .keyring
                .current(zone.apex_wire(), unix_now())
                .map_err(lost)?;
        }
        let (done, taken_up) = oneshot::channel();
        let reload = Reload {
            setup: Arc::new(setup),
            options: follow_options(config),
            done,
        };
        // Both fail when the seeder is stopping, and then nothing is left to do.
        if self.reloads.send(reload).await.is_ok() {
            let _ = taken_up.await;
        }
        Ok(())
    }
}

fn lost(error: KeyringError) -> SeederError {
    StateError::from(error).into()
}
