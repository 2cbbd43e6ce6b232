//! Connections beyond the targets: one more full one while no new block comes, and from time to time one more block-only one,
//! to learn whether there is a better chain elsewhere. Afterwards the one that is worth least goes, which may be another than
//! the newcomer, and there is at most one such connection at a time: so a node that was cut off, or surrounded, finds the rest of the network again. Rules and numbers are Bitcoin
//! Core's.

use std::cmp::Reverse;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::Rng;

use super::{Connections, Outbound, Purpose, Settings, View};

/// How often it is looked whether a new block is overdue.
const LOOK_FOR_STALE: Duration = Duration::from_secs(600);

/// How long a connection stands at least before it is judged: time enough to tell its headers.
const JUDGED_AFTER: Duration = Duration::from_secs(30);

/// The longest pause between two looks around, in means.
const LONGEST_PAUSE: f64 = 5.0;

/// A wish that could not be granted lapses: nobody is there to be dialled, and feelers are to find somebody.
const WISH_LAPSES: Duration = Duration::from_secs(120);

/// What is wanted beyond the targets, and since when.
#[derive(Debug)]
pub(super) struct Extras {
    tip_moved: Instant,
    stale_after: Duration,
    stale_look: Instant,
    full: Option<Instant>,
    /// `None` where no block-only connections are kept.
    look_around_every: Option<Duration>,
    look_around: Option<Instant>,
    block_only: Option<Instant>,
    synced: bool,
}

impl Extras {
    pub(super) fn new(now: Instant, settings: &Settings) -> Self {
        Self {
            tip_moved: now,
            stale_after: settings.stale_after,
            stale_look: now + LOOK_FOR_STALE,
            full: None,
            look_around_every: (settings.block_only > 0).then_some(settings.look_around_every),
            look_around: None,
            block_only: None,
            synced: false,
        }
    }

    pub(super) fn poll<R: Rng>(&mut self, now: Instant, rng: &mut R) {
        for wish in [&mut self.full, &mut self.block_only] {
            *wish = wish.filter(|since| now.saturating_duration_since(*since) < WISH_LAPSES);
        }
        if now >= self.stale_look {
            self.stale_look = now + LOOK_FOR_STALE;
            let stale = now.saturating_duration_since(self.tip_moved) >= self.stale_after;
            if stale && !self.wants_any() {
                self.full = Some(now);
            }
        }
        let Some(every) = self.look_around_every.filter(|_| self.synced) else {
            return;
        };
        let due = *self
            .look_around
            .get_or_insert_with(|| now + pause(every, rng));
        if now >= due {
            self.look_around = None;
            if !self.wants_any() {
                self.block_only = Some(now);
            }
        }
    }

    pub(super) fn tip_moved(&mut self, now: Instant) {
        self.tip_moved = now;
    }

    pub(super) fn set_synced(&mut self, synced: bool) {
        self.synced = synced;
    }

    pub(super) fn wants_full(&self) -> bool {
        self.full.is_some()
    }

    pub(super) fn wants_block_only(&self) -> bool {
        self.block_only.is_some()
    }

    /// Whether the one place beyond the targets is spoken for.
    pub(super) fn wants_any(&self) -> bool {
        self.full.is_some() || self.block_only.is_some()
    }

    /// One of this purpose was ended as the one too many.
    pub(super) fn was_settled(&mut self, purpose: Purpose) {
        match purpose {
            Purpose::Full => self.full = None,
            Purpose::BlockOnly => self.block_only = None,
            Purpose::Feeler => {}
        }
    }
}

/// Exponentially distributed, so that nobody can tell when.
fn pause<R: Rng>(mean: Duration, rng: &mut R) -> Duration {
    let means = (-(1.0 - rng.random::<f64>()).ln()).min(LONGEST_PAUSE);
    mean.mul_f64(means)
}

impl Connections {
    /// Who is to go, there being more connections of a purpose than are kept.
    pub(super) fn surplus(
        &self,
        purpose: Purpose,
        now: Instant,
        view: View<'_>,
    ) -> Option<(SocketAddr, &'static str)> {
        let kept = match purpose {
            Purpose::Full => self.settings.full,
            Purpose::BlockOnly => self.settings.block_only,
            Purpose::Feeler => return None,
        };
        let standing = self.outbound.iter().filter(|(_, o)| o.purpose == purpose);
        let (manual, ours): (Vec<_>, Vec<_>) =
            standing.partition(|(addr, _)| self.is_manual(**addr));
        if ours.len() <= kept.saturating_sub(manual.len()) {
            return None;
        }
        // One goes at a time.
        if ours.iter().any(|(_, o)| o.leaving) {
            return None;
        }
        let (addr, worst) = match purpose {
            Purpose::BlockOnly => less_useful_of_the_youngest(ours)?,
            _ => ours.into_iter().min_by_key(|(_, o)| worth(o))?,
        };
        let judged = now.saturating_duration_since(worst.since) >= JUDGED_AFTER;
        (judged && !(view.busy)(*addr)).then_some((*addr, "others are of more use"))
    }
}

/// Who was longer not first to give a block is worth less, and of equals who stands shorter.
fn worth(outbound: &Outbound) -> (Option<Instant>, Reverse<Instant>) {
    (outbound.last_block, Reverse(outbound.since))
}

/// Block-only connections that have stood long are to stand on: they are the anchors.
fn less_useful_of_the_youngest<'a>(
    mut ours: Vec<(&'a SocketAddr, &'a Outbound)>,
) -> Option<(&'a SocketAddr, &'a Outbound)> {
    ours.sort_by_key(|(_, o)| Reverse(o.since));
    ours.into_iter().take(2).min_by_key(|(_, o)| worth(o))
}
