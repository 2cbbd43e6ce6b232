//! Distributions over all probed peers. Pure: one pass over the roster.

use std::net::SocketAddr;

use quantumcoin::reachability::Transports;
use quantumcoin::store::Churn;

use super::{Line, Roster};
use crate::weather::Road;

/// Seconds.
const DAY: i64 = 86_400;

/// Days whose churn is told anew: today's, and those of which one did not know yet who had gone.
const CHURN_DAYS: i64 = 3;

/// Upper ends of the classes of lag, blocks; above the last is one more.
pub const LAGS: [u32; 5] = [0, 1, 5, 20, 100];

/// Upper ends of the classes of connect times, milliseconds; above the last is one more.
pub const CONNECT_MS: [u32; 8] = [10, 25, 50, 100, 200, 400, 800, 1_600];

/// Lower ends of the classes of uptime, percent.
pub const UPTIMES: [u8; 7] = [0, 10, 50, 80, 90, 95, 99];

/// Which of the classes of lag or connect time a value is in.
fn class_below(ends: &[u32], value: u32) -> usize {
    ends.iter()
        .position(|end| value <= *end)
        .unwrap_or(ends.len())
}

/// How good peers of one address family can be talked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ByTransport {
    /// By Noise alone.
    pub noise: u64,
    /// By TLS alone.
    pub tls: u64,
    /// By both.
    pub both: u64,
    /// Neither was noted.
    pub unknown: u64,
}

impl ByTransport {
    fn count(&mut self, transports: Transports) {
        let by = |transport| transports.contains(transport);
        *match (by(Transports::NOISE), by(Transports::TLS)) {
            (true, true) => &mut self.both,
            (true, false) => &mut self.noise,
            (false, true) => &mut self.tls,
            (false, false) => &mut self.unknown,
        } += 1;
    }

    /// All together.
    pub const fn total(&self) -> u64 {
        self.noise + self.tls + self.both + self.unknown
    }
}

/// What all probed peers are like.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Figures {
    /// Good peers by the road to them and their transports, in the order of [`Road::ALL`].
    pub families: [ByTransport; 4],
    /// The greatest height of a good peer.
    pub best_height: Option<u32>,
    /// Good peers by how many blocks they were behind the best at their last visit ([`LAGS`]).
    pub lags: [u64; LAGS.len() + 1],
    /// Good peers by how long a connection takes ([`CONNECT_MS`]).
    pub connects: [u64; CONNECT_MS.len() + 1],
    /// Peers that ever passed, by the share of last week's probes that passed ([`UPTIMES`]).
    pub uptimes: [u64; UPTIMES.len()],
    /// Half of the good peers have a clock that is this much or less ahead of ours, seconds.
    pub clock_offset: Option<i64>,
    /// Good peers whose clocks that is made of.
    pub clocks: usize,
    /// The probe that lies back furthest, of addresses that are still visited, Unix seconds.
    pub oldest_probe_at: Option<i64>,
    /// Who came and went in the last days, oldest first.
    pub churn: Vec<Churn>,
}

impl Figures {
    /// Counts; `as_of` is the time that freshness is measured against, Unix seconds.
    pub fn of(roster: &Roster, as_of: i64) -> Self {
        let good = || roster.lines().filter(|line| line.is_good);
        let mut figures = Self {
            best_height: good().filter_map(|line| line.peer.height).max(),
            churn: churn(roster, as_of),
            ..Self::default()
        };
        let mut clocks = Vec::new();
        for line in good() {
            figures.count_good(line);
            clocks.extend(line.peer.clock_offset_secs);
        }
        for line in roster.lines() {
            figures.count_any(line);
        }
        clocks.sort_unstable();
        figures.clocks = clocks.len();
        figures.clock_offset = clocks.get(clocks.len() / 2).copied();
        figures
    }

    fn count_good(&mut self, line: &Line) {
        let peer = &line.peer;
        if let Some(family) = self.families.get_mut(family_of(peer.addr)) {
            family.count(peer.transports);
        }
        if let (Some(best), Some(height)) = (self.best_height, peer.height)
            && let Some(n) = self
                .lags
                .get_mut(class_below(&LAGS, best.saturating_sub(height)))
        {
            *n += 1;
        }
        if let Some(ms) = peer.connect_ms
            && let Some(n) = self.connects.get_mut(class_below(&CONNECT_MS, ms))
        {
            *n += 1;
        }
    }

    fn count_any(&mut self, line: &Line) {
        let peer = &line.peer;
        let oldest = self.oldest_probe_at.get_or_insert(peer.last_probe_at);
        *oldest = peer.last_probe_at.min(*oldest);
        let Some(share) = peer.uptime.filter(|_| peer.last_ok_at.is_some()) else {
            return;
        };
        let class = UPTIMES
            .iter()
            .rposition(|percent| share * 100.0 >= f32::from(*percent));
        if let Some(n) = class.and_then(|class| self.uptimes.get_mut(class)) {
            *n += 1;
        }
    }
}

fn family_of(addr: SocketAddr) -> usize {
    let road = Road::to(addr.ip());
    Road::ALL.iter().position(|r| *r == road).unwrap_or(0)
}

/// Who came and went on each of the last days. Somebody has gone on the day of his last passed probe, once he has not passed for a
/// day; whether he has is measured against the newest passed probe, so that nobody has gone because the crawler was off.
fn churn(roster: &Roster, as_of: i64) -> Vec<Churn> {
    let today = as_of - as_of.rem_euclid(DAY);
    let days = (0..CHURN_DAYS).rev().map(|back| today - back * DAY);
    let mut days: Vec<Churn> = days
        .map(|day| Churn {
            day,
            ..Churn::default()
        })
        .collect();
    let Some(start) = days.first().map(|first| first.day) else {
        return days;
    };
    let place = |at: i64| usize::try_from((at - start).div_euclid(DAY)).ok();
    for line in roster.lines() {
        let came = line.peer.first_ok_at.and_then(place);
        if let Some(day) = came.and_then(|place| days.get_mut(place)) {
            day.came += 1;
        }
        let gone = line
            .peer
            .last_ok_at
            .filter(|at| as_of.saturating_sub(*at) > DAY);
        if let Some(day) = gone.and_then(place).and_then(|place| days.get_mut(place)) {
            day.gone += 1;
        }
    }
    days
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use quantumcoin::store::PeerSummary;

    use super::super::tests::peer;
    use super::*;

    fn roster(peers: Vec<PeerSummary>) -> Roster {
        let good: HashSet<SocketAddr> = peers.iter().map(|p| p.addr).collect();
        let mut roster = Roster::default();
        peers.into_iter().for_each(|peer| roster.put(peer));
        roster.mark_good(&good);
        roster
    }

    #[test]
    fn good_peers_are_counted_by_family_transport_lag_and_latency() {
        let mut second = peer(2, "[2001:db8::1]:8333");
        second.transports = Transports::NOISE.union(Transports::TLS);
        second.height = Some(94);
        second.connect_ms = Some(9_999);
        second.clock_offset_secs = Some(40);
        second.uptime = Some(0.949);
        let figures = Figures::of(&roster(vec![peer(1, "1.2.3.4:1"), second]), 1_000);
        let [v4, v6, ..] = figures.families;
        assert_eq!((v4.noise, v4.total()), (1, 1));
        assert_eq!((v6.both, v6.total()), (1, 1));
        assert_eq!(figures.best_height, Some(100));
        assert_eq!(figures.lags, [1, 0, 0, 1, 0, 0]);
        assert_eq!(figures.connects, [0, 1, 0, 0, 0, 0, 0, 0, 1]);
        assert_eq!(figures.uptimes, [0, 0, 0, 0, 1, 0, 1]);
        assert_eq!((figures.clock_offset, figures.clocks), (Some(40), 2));
        assert_eq!(figures.oldest_probe_at, Some(1_000));
    }

    #[test]
    fn somebody_has_gone_when_he_has_not_passed_for_a_day() {
        let as_of = 10 * DAY + 3_600;
        let of = |id, first: i64, last: i64| PeerSummary {
            first_ok_at: Some(first),
            last_ok_at: Some(last),
            ..peer(id, &format!("10.0.0.{id}:1"))
        };
        let peers = vec![
            of(1, DAY, as_of),           // long there
            of(2, 10 * DAY + 1, as_of),  // came today
            of(3, 8 * DAY, 8 * DAY + 5), // came and went
            of(4, DAY, 9 * DAY + 3_000), // went yesterday
            of(5, DAY, 9 * DAY + 4_000), // may come back
            of(6, DAY, 2 * DAY),         // went long ago
        ];
        let churn = Figures::of(&roster(peers), as_of).churn;
        let told: Vec<_> = churn
            .iter()
            .map(|c| (c.day / DAY, c.came, c.gone))
            .collect();
        assert_eq!(told, [(8, 1, 1), (9, 0, 1), (10, 1, 0)]);
    }

    #[test]
    fn classes_ascend_and_hold_everything() {
        assert!(LAGS.is_sorted() && CONNECT_MS.is_sorted() && UPTIMES.is_sorted());
        assert_eq!(class_below(&LAGS, 0), 0);
        assert_eq!(class_below(&LAGS, u32::MAX), LAGS.len());
        assert_eq!(UPTIMES[0], 0, "nobody is below the first");
    }
}
