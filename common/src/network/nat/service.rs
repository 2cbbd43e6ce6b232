//! The task that looks after our address: see [`super`].

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, watch};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{debug, info};

use super::keeping::Kept;
use super::mapping::{Attempt, Nonce};
use super::stun::probe::{self, Family, Probe};
use super::{NatReport, NatSettings};
use crate::network::metrics::NetworkMetrics;
use crate::network::peer::session::unix_now;
use crate::reachability::netgroup::is_routable;

/// How often one STUN server, each in turn, is asked whether it still sees us where we were, so that a new address is noticed
/// in half a minute; each of five servers hears of us every 100 s.
const GLANCE: Duration = Duration::from_secs(20);

/// Servers asked at one glance, until one answers.
const GLANCED_AT: usize = 3;

/// Least pause between two full looks that peers bring about: what they say is no reason to burden STUN servers.
const NUDGE_PAUSE: Duration = Duration::from_secs(60);

/// The longest pause between two looks that servers bring about and that find nothing new: some see us at another address with
/// each socket, and some lie.
const LONGEST_PAUSE: Duration = Duration::from_secs(600);

/// Looks in a row without any answer after which what was known is forgotten. Fewer may be a network that is down for a moment.
const FORGET_AFTER: u32 = 3;

const FAMILIES: [Family; 2] = [Family::V4, Family::V6];

/// What the service is told and tells.
pub(crate) struct NatService {
    pub(crate) settings: NatSettings,
    pub(crate) listen: SocketAddr,
    /// For PCP: the same after a restart, so that a mapping that was left behind can be taken over.
    pub(crate) nonce: Nonce,
    pub(crate) report: watch::Sender<NatReport>,
    /// Somebody has reason to think that our address has changed.
    pub(crate) nudge: Arc<Notify>,
    pub(crate) metrics: NetworkMetrics,
    pub(crate) stop: CancellationToken,
}

/// What a round of looking and waiting remembers for the next.
#[derive(Debug, Default)]
struct Memory {
    /// Our own addresses at the last look.
    locals: [Option<IpAddr>; 2],
    /// Whose turn it is to be glanced at.
    turns: [usize; 2],
    /// Looks in a row in which nobody answered.
    silent: [u32; 2],
    /// Least time until servers may bring about another look.
    pause: Duration,
}

/// Whether our address is another than before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Moved {
    /// The machine's own is.
    Here,
    /// A server sees us elsewhere.
    ThereTheySay,
    No,
}

impl NatService {
    /// Runs until stopped, and gives back what it has of the gateway.
    pub(crate) async fn run(self) {
        let (mut kept, mut memory) = (Kept::default(), Memory::default());
        loop {
            let round = async {
                self.look(&mut kept, &mut memory).await;
                self.wait(&mut kept, &mut memory).await;
            };
            tokio::select! {
                () = self.stop.cancelled() => break,
                () = round => {}
            }
        }
        self.leave(kept).await;
    }

    /// The address of ours in this family that the world would be answered from, if we listen there.
    fn local(&self, family: Family) -> Option<IpAddr> {
        if !listens(self.listen, family == Family::V4) {
            return None;
        }
        let ip = self.listen.ip();
        if ip.is_unspecified() {
            probe::local_address(family)
        } else {
            Some(ip)
        }
    }

    /// Asks the STUN servers and the gateway, and tells what they say: first the servers, who are faster, for the hub has
    /// something to do when our address is another.
    async fn look(&self, kept: &mut Kept, memory: &mut Memory) {
        let locals = FAMILIES.map(|family| self.local(family));
        memory.locals = locals;
        let [v4, v6] = locals;
        let seeing = async {
            let (by_v4, by_v6) = tokio::join!(self.probe(v4), self.probe(v6));
            let [silent_v4, silent_v6] = &mut memory.silent;
            self.tell(|report| {
                let before = report
                    .v4
                    .as_ref()
                    .map(|probe| (probe.local, probe.external));
                keep(by_v4, &mut report.v4, silent_v4);
                if before
                    != report
                        .v4
                        .as_ref()
                        .map(|probe| (probe.local, probe.external))
                {
                    // What a gateway said is of another time, or of another gateway.
                    report.gateway_external = None;
                }
                keep(by_v6.clone(), &mut report.v6, silent_v6);
            });
            self.keep_pinhole(&mut kept.pinhole, by_v6.as_ref()).await
        };
        let before = self.report.borrow().externals();
        let (hole, asked) = tokio::join!(seeing, self.keep_mapping(&mut kept.mapping, v4));
        self.tell(|report| {
            report.looked = true;
            if let Some(asked) = asked {
                report.gateway_external = asked.external;
                report.attempts = asked.attempts;
            }
            let by_v6 = |attempt: &Attempt| hole.as_ref() == Some(attempt);
            if !report.attempts.iter().any(by_v6) {
                report.attempts.extend(hole.clone());
            }
            kept.show(report);
        });
        memory.pause = if self.report.borrow().externals() == before {
            (memory.pause * 2).clamp(NUDGE_PAUSE, LONGEST_PAUSE)
        } else {
            Duration::ZERO
        };
    }

    async fn probe(&self, local: Option<IpAddr>) -> Option<Probe> {
        let local = local.filter(|_| !self.settings.stun_servers.is_empty())?;
        let found = probe::probe(&self.settings.stun_servers, local).await;
        let noted = found.inspect_err(|error| debug!(%local, %error, "no socket for STUN"));
        noted.ok()
    }

    /// Something has happened: in the log, and in the report.
    pub(super) fn happened(&self, what: String) {
        info!(target: "quantumcoin::nat", "{what}");
        self.report
            .send_modify(|report| report.note(unix_now(), what));
    }

    /// Publishes what is known, and says so where an address has changed.
    pub(super) fn tell(&self, change: impl FnOnce(&mut NatReport)) {
        self.report.send_if_modified(|report| {
            let before = report.clone();
            change(report);
            report.double_nat = is_double(report);
            for v4 in [true, false] {
                let external = |report: &NatReport| report.probe(v4)?.external;
                if let (Some(old), Some(new)) = (external(&before), external(report))
                    && old != new
                {
                    report.changes += 1;
                    self.metrics.external_address_changed();
                    let what = format!("our address was {old} and is {new}");
                    info!(target: "quantumcoin::nat", "{what}");
                    report.note(unix_now(), what);
                }
            }
            self.metrics.nat(report);
            *report != before
        });
    }

    /// Waits for a reason to look again, and renews what is held.
    async fn wait(&self, kept: &mut Kept, memory: &mut Memory) {
        let start = Instant::now();
        let (mut glance_at, mut renew_at) = (start + GLANCE, start + kept.renew_every());
        let never = start + LONGEST_PAUSE * 1_000;
        let try_at = kept.try_at().unwrap_or(never);
        let mut look_at = never;
        loop {
            tokio::select! {
                () = self.nudge.notified() => look_at = look_at.min(start + NUDGE_PAUSE),
                () = sleep_until(look_at.min(try_at)) => return,
                () = sleep_until(renew_at) => {
                    if !self.renew(kept).await {
                        return;
                    }
                    renew_at = Instant::now() + kept.renew_every();
                }
                () = sleep_until(glance_at) => {
                    match self.has_moved(memory).await {
                        Moved::Here => return,
                        Moved::ThereTheySay => look_at = look_at.min(start + memory.pause),
                        Moved::No => {}
                    }
                    glance_at = Instant::now() + GLANCE;
                }
            }
        }
    }

    /// Whether our own address is another than before, or the world sees another.
    async fn has_moved(&self, memory: &mut Memory) -> Moved {
        let known = self.report.borrow().clone();
        for (index, family) in FAMILIES.into_iter().enumerate() {
            let local = self.local(family);
            let (Some(before), Some(turn)) =
                (memory.locals.get(index), memory.turns.get_mut(index))
            else {
                continue;
            };
            if *before != local {
                return Moved::Here;
            }
            if let Some(local) = local
                && self.is_seen_elsewhere(&known, local, turn).await
            {
                return Moved::ThereTheySay;
            }
        }
        Moved::No
    }

    /// Asks the next server in turn; one that is silent passes the question on.
    async fn is_seen_elsewhere(&self, known: &NatReport, local: IpAddr, turn: &mut usize) -> bool {
        let probe = known.probe(local.is_ipv4());
        let servers = &self.settings.stun_servers;
        let servers = servers.get(..probe::MAX_SERVERS).unwrap_or(servers);
        for _ in 0..servers.len().min(GLANCED_AT) {
            *turn = turn.wrapping_add(1);
            let Some(server) = servers.get(*turn % servers.len()) else {
                return false;
            };
            // One that has always seen something else is outvoted, and no reason to ask all again.
            let by = |probe: &Probe| {
                let mut all = probe.servers.iter();
                let own = all.find(|report| report.server == *server)?.mapped;
                own.map(|mapped| mapped.ip().to_canonical())
            };
            let before = probe.and_then(|probe| by(probe).or(probe.external));
            if let Some(seen) = probe::glance(server, local).await {
                // Where servers disagree, one that was not heard then is no news; where none was heard, it is.
                let undecided = probe.is_some_and(|probe| probe.answered > 0);
                return before.map_or(!undecided, |before| seen != before);
            }
        }
        false
    }
}

/// Whether a node that listens there is reached by this family; the unspecified address of IPv6 takes IPv4 too.
pub(in crate::network) fn listens(listen: SocketAddr, v4: bool) -> bool {
    let ip = listen.ip();
    ip.is_ipv4() == v4 || (ip.is_ipv6() && ip.is_unspecified())
}

/// Silence of the servers is no news for a while, as long as our own address is the same.
fn keep(new: Option<Probe>, known: &mut Option<Probe>, silent: &mut u32) {
    let is_silent = new.as_ref().is_some_and(|probe| probe.answered == 0);
    *silent = if is_silent { *silent + 1 } else { 0 };
    let same = match (&new, &known) {
        (Some(new), Some(old)) => new.local == old.local && old.answered > 0,
        _ => false,
    };
    if !(is_silent && same && *silent < FORGET_AFTER) {
        *known = new;
    }
}

/// Our own or the gateway's address is private or shared (RFC 6598), or the world sees us at another than the gateway's.
fn is_double(report: &NatReport) -> bool {
    let is_shared = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => {
            let [a, b, ..] = ip.octets();
            a == 100 && (64..128).contains(&b)
        }
        IpAddr::V6(_) => false,
    };
    let probe = report.v4.as_ref();
    if probe.is_some_and(|probe| is_shared(probe.local)) {
        return true;
    }
    let Some(gateway) = report.gateway_external else {
        return false;
    };
    // One server alone may lie.
    let seen = probe.filter(|probe| probe.agreed >= 2);
    let seen = seen.and_then(|probe| probe.external);
    let unknown = gateway == IpAddr::V4(Ipv4Addr::UNSPECIFIED);
    !unknown && (!is_routable(gateway, false) || seen.is_some_and(|seen| seen != gateway))
}

#[cfg(test)]
mod tests {
    use super::super::stun::NatKind;
    use super::*;

    fn probe(local: [u8; 4], seen: Option<&str>, answered: usize) -> Probe {
        Probe {
            kind: NatKind::PortRestricted,
            local: local.into(),
            external: seen.map(|seen| seen.parse().unwrap()),
            agreed: answered,
            answered,
            servers: Vec::new(),
        }
    }

    #[test]
    fn a_second_translation_is_recognised() {
        let home = [192, 168, 1, 2];
        for (local, gateway, seen, answered, double) in [
            (home, Some("5.6.7.8"), Some("5.6.7.8"), 2, false),
            (home, Some("5.6.7.8"), None, 0, false),
            (home, Some("192.168.0.2"), None, 0, true),
            (home, Some("100.64.9.9"), Some("5.6.7.8"), 2, true),
            (home, Some("5.6.7.9"), Some("5.6.7.8"), 2, true),
            // One server may lie.
            (home, Some("5.6.7.9"), Some("5.6.7.8"), 1, false),
            (home, Some("0.0.0.0"), Some("5.6.7.8"), 2, false),
            (home, None, Some("5.6.7.8"), 2, false),
            ([100, 64, 1, 1], None, Some("5.6.7.8"), 2, true),
        ] {
            let report = NatReport {
                gateway_external: gateway.map(|ip| ip.parse().unwrap()),
                v4: Some(probe(local, seen, answered)),
                ..NatReport::default()
            };
            assert_eq!(is_double(&report), double, "{local:?} {gateway:?} {seen:?}");
        }
    }

    #[test]
    fn silence_is_no_news_for_a_while() {
        let (home, away) = ([192, 168, 1, 2], [10, 0, 0, 2]);
        let heard = probe(home, Some("5.6.7.8"), 2);
        let (mut known, mut silent) = (None, 0);
        keep(Some(heard.clone()), &mut known, &mut silent);
        for _ in 1..FORGET_AFTER {
            keep(Some(probe(home, None, 0)), &mut known, &mut silent);
            assert_eq!(known, Some(heard.clone()));
        }
        keep(Some(probe(home, None, 0)), &mut known, &mut silent);
        assert_eq!(known, Some(probe(home, None, 0)));
        keep(Some(heard.clone()), &mut known, &mut silent);
        // In another network nothing of it is true.
        keep(Some(probe(away, None, 0)), &mut known, &mut silent);
        assert_eq!(known, Some(probe(away, None, 0)));
    }

    #[test]
    fn the_unspecified_address_of_ipv6_takes_both() {
        let listens = |text: &str| {
            let listen = text.parse().unwrap();
            (listens(listen, true), listens(listen, false))
        };
        assert_eq!(listens("0.0.0.0:1"), (true, false));
        assert_eq!(listens("[::]:1"), (true, true));
        assert_eq!(listens("[2600::1]:1"), (false, true));
    }
}
