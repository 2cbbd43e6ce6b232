//! Whom to dial for what.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use rand::Rng;
use tracing::debug;

use super::{Action, Connections, Dial, Moment, Purpose, View, fallback};

/// Dials for one purpose in progress at most; more than the open places, because some addresses are always dead.
const MAX_DIALS: usize = 16;

/// Dials in progress in all, beyond which slow ones count: with those that one look adds they are 64, a sixteenth of the files that a
/// process may open by default.
const MOST_DIALS: usize = 48;

/// A dial that takes longer is slow: TCP and both handshakes are four round trips, which across the earth take as long.
const SLOW: Duration = Duration::from_secs(1);

impl Connections {
    /// The dials of the start, to those that the last session ended with.
    pub fn first_dials(&mut self, view: View<'_>) -> Vec<Action> {
        if self.settings.full == 0 {
            return Vec::new();
        }
        let purpose = self.anchors_are();
        let anchors = self.book.anchors().to_vec();
        let dials = anchors.into_iter().filter_map(|addr| {
            let wanted = !self.is_unwanted(addr, view);
            let now = self.started;
            wanted.then(|| self.dial(addr, purpose, now)).flatten()
        });
        dials.collect()
    }

    /// Manual peers are dialled as such, and for everything.
    fn is_unwanted(&self, addr: SocketAddr, view: View<'_>) -> bool {
        self.own.contains(addr) || self.manual.contains(addr) || (view.banned)(addr)
    }

    pub(super) fn dial_manual(&mut self, now: Moment) -> Vec<Action> {
        let (dialing, outbound) = (&self.dialing, &self.outbound);
        let busy = |addr: &SocketAddr| dialing.contains_key(addr) || outbound.contains_key(addr);
        let due = self.manual.due(now.at, busy);
        // Whom the operator names is to be more than it was.
        let outbound = outbound.iter();
        let less = outbound.filter(|(addr, o)| {
            o.purpose == Purpose::BlockOnly && !o.leaving && self.manual.contains(**addr)
        });
        let less: Vec<_> = less.map(|(addr, _)| *addr).collect();
        let mut actions = Vec::new();
        for addr in due {
            actions.extend(self.dial(addr, Purpose::Full, now.at));
        }
        for addr in less {
            actions.extend(self.hang_up(addr, "it is a manual peer now"));
        }
        actions
    }

    /// Those whose netgroups are taken.
    fn taken(&self) -> HashSet<SocketAddr> {
        let taken = self.outbound.keys().chain(self.dialing.keys());
        taken.copied().collect()
    }

    /// Dials that may still come to something soon. While few peers stand, those that take long hold up no others: dead
    /// addresses, and hosts that take connections and then say nothing, must not keep a newcomer waiting for their time-outs.
    fn hopeful_dials(&self, purpose: Purpose, now: Instant) -> usize {
        let few = self.count(Purpose::Full) < fallback::FEW_PEERS;
        let patient = few && self.dialing.len() < MOST_DIALS;
        let dials = self.dialing.values().filter(|dial| dial.purpose == purpose);
        let slow = |dial: &&Dial| now.saturating_duration_since(dial.since) >= SLOW;
        dials.filter(|dial| !(patient && slow(dial))).count()
    }

    /// Dials for the open places of one purpose.
    pub(super) fn fill<R: Rng>(
        &mut self,
        purpose: Purpose,
        now: Moment,
        view: View<'_>,
        rng: &mut R,
        actions: &mut Vec<Action>,
    ) {
        let open = self.target(purpose).saturating_sub(self.count(purpose));
        let room = (open * 2).min(MAX_DIALS);
        let room = room.saturating_sub(self.hopeful_dials(purpose, now.at));
        if open == 0 || room == 0 {
            return;
        }
        let mut taken = self.taken();
        let excluded = |addr: &SocketAddr| self.is_unwanted(*addr, view);
        let mut chosen = Vec::new();
        if purpose == Purpose::Full && self.count(Purpose::Full) < fallback::FEW_PEERS {
            // The book may be full of what leads nowhere: what DNS has just told has half of the dials.
            let fresh = self.fresh.in_turn();
            chosen = self.book.choose_among(&fresh, &taken, excluded, now.unix);
            chosen.truncate(room.div_ceil(2));
            taken.extend(&chosen);
        }
        let left = room.saturating_sub(chosen.len());
        let drawn = self.book.choose(left, &taken, excluded, now.unix, rng);
        self.fresh.remove(&chosen);
        chosen.extend(drawn);
        for addr in chosen {
            actions.extend(self.dial(addr, purpose, now.at));
        }
    }

    /// Dials somebody only to see who is there, so that we know whom to dial when we need somebody, and so that those whom
    /// we know by hearsay only don't stay that for ever. With places open, who is dialled for them tells as much.
    pub(super) fn send_feeler<R: Rng>(
        &mut self,
        now: Moment,
        view: View<'_>,
        rng: &mut R,
    ) -> Option<Action> {
        let full = self.count(Purpose::Full) >= self.settings.full;
        // There is one place beyond the targets.
        let taken = self.extras.wants_any();
        if !full || taken || now.at < self.feeler_last + self.settings.feeler_every {
            return None;
        }
        self.feeler_last = now.at;
        let standing = self.taken();
        let (own, manual) = (&self.own, &self.manual);
        let excluded = |addr: &SocketAddr| {
            standing.contains(addr)
                || own.contains(*addr)
                || manual.contains(*addr)
                || (view.banned)(*addr)
        };
        let addr = self.book.feeler(excluded, now.unix, rng)?;
        debug!(%addr, "a feeler");
        self.dial(addr, Purpose::Feeler, now.at)
    }
}
