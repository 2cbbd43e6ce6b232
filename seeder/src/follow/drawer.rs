//! The thread that draws snapshots and writes tables.
//!
//! A large set with signed zones takes some hundred milliseconds, which must not be taken from answers: the thread has a lower
//! priority than those that serve. It is always the same one, so that its memory is used again.

use std::{io, net::SocketAddr, sync::Arc};

use quantumcoin::store::GoodSet;
use rand::{SeedableRng, rngs::StdRng};
use tokio::sync::oneshot;

use super::FollowError;
use crate::{
    setup::Setup,
    snapshot::{Policy, Snapshot},
    state::State,
};

/// The priority ("nice") of the thread: one that serves gets nine times as much of a core that both want (the kernel's weights of
/// 0 and 10 are 1024 and 110).
#[cfg(target_os = "linux")]
const NICE: i32 = 10;

/// Who shall be served.
#[derive(Debug)]
pub(super) enum Peers {
    /// These of the crawl.
    Crawled(GoodSet),
    /// Those of the state before.
    Kept,
    /// The chain spec's.
    Bootstrap(Vec<SocketAddr>),
}

/// What to make a state of.
#[derive(Debug)]
pub(super) struct Draft {
    pub(super) peers: Peers,
    pub(super) setup: Arc<Setup>,
    pub(super) policy: Policy,
    pub(super) previous: Arc<State>,
    pub(super) now: i64,
}

type Drawn = oneshot::Sender<Result<State, FollowError>>;

/// Hands drafts to the thread, which ends with it.
#[derive(Debug)]
pub(super) struct Drawer(std::sync::mpsc::Sender<(Draft, Drawn)>);

impl Drawer {
    pub(super) fn start() -> io::Result<Self> {
        let (sender, drafts) = std::sync::mpsc::channel::<(Draft, Drawn)>();
        std::thread::Builder::new()
            .name("dns-draw".to_owned())
            .spawn(move || {
                yield_to_others();
                for (draft, drawn) in drafts {
                    // Nobody may wait for it any more.
                    let _ = drawn.send(draft.draw());
                }
            })?;
        Ok(Self(sender))
    }

    /// Has a state made.
    pub(super) async fn draw(&self, draft: Draft) -> Result<State, FollowError> {
        let (sender, drawn) = oneshot::channel();
        self.0
            .send((draft, sender))
            .map_err(|_| FollowError::Interrupted)?;
        drawn.await.map_err(|_| FollowError::Interrupted)?
    }
}

/// On Linux a priority is a thread's own.
fn yield_to_others() {
    #[cfg(target_os = "linux")]
    if let Err(error) = rustix::process::setpriority_process(None, NICE) {
        tracing::debug!(%error, "the drawing thread keeps its priority");
    }
}

impl Draft {
    fn draw(self) -> Result<State, FollowError> {
        let Self {
            peers,
            setup,
            policy,
            previous,
            now,
        } = self;
        let before = &previous.snapshot;
        let mut rng = StdRng::from_os_rng();
        let snapshot = match peers {
            Peers::Crawled(set) => Snapshot::build(set, &policy, Some(before), now, &mut rng),
            Peers::Bootstrap(nodes) => {
                Snapshot::bootstrap(&nodes, &policy, Some(before), now, &mut rng)
            }
            Peers::Kept => {
                let mut kept = Snapshot::clone(before);
                kept.keep(&policy, now, &mut rng);
                kept
            }
        };
        // Also when nobody has changed: signatures grow old, and keys come and go.
        Ok(State::new(setup, Arc::new(snapshot), now, Some(&previous))?)
    }
}
