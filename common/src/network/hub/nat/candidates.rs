//! Which addresses may be ours, and which of them are told to others. Pure.

use std::net::{IpAddr, SocketAddr};

use super::super::report::ExternalVotes;
use crate::network::nat::service::listens;
use crate::network::nat::{NatKind, NatMode, NatReport, Reachability};
use crate::reachability::netgroup::is_dialable;

/// Voices that must agree on our address before we believe it: one alone may lie.
const VOICES_NEEDED: usize = 2;

/// An address that may be ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Candidate {
    pub(super) addr: SocketAddr,
    /// Voices that see us there.
    pub(super) votes: usize,
    /// It is an address of this machine.
    pub(super) direct: bool,
    /// Nothing is known to be in the way, so that it is told before anybody has dialled it.
    promising: bool,
    /// Peers' dial-backs can't make it wrong, and are not asked for.
    pub(super) certain: bool,
}

impl Candidate {
    /// Whether others are to hear of it, when dial-backs have shown this.
    pub(super) fn is_told(&self, shown: Reachability) -> bool {
        self.certain
            || match shown {
                Reachability::Reachable => true,
                Reachability::Unreachable => false,
                Reachability::Unknown => self.promising,
            }
    }
}

/// All that is known.
#[derive(Debug, Clone, Copy)]
pub(super) struct Facts<'a> {
    pub(super) mode: NatMode,
    pub(super) report: &'a NatReport,
    pub(super) votes: &'a ExternalVotes,
    pub(super) listen: SocketAddr,
    /// What the operator says that our address is.
    pub(super) set: Option<SocketAddr>,
    /// Whether our own address of each family is none that the world knows, or can't be told.
    pub(super) translated: [bool; 2],
    pub(super) allow_private: bool,
}

impl Facts<'_> {
    /// In each family, IPv4 first: what the operator set; else the address that we listen on; else what the world sees, with
    /// the port that leads to us.
    pub(super) fn candidates(&self) -> [Option<Candidate>; 2] {
        let mut found = [None; 2];
        let may_be = |addr: &SocketAddr| is_dialable(*addr, self.allow_private);
        let listen = Some(self.listen).filter(|addr| !addr.ip().is_unspecified());
        if let Some(addr) = self.set.or(listen.filter(may_be)) {
            let place = found.get_mut(usize::from(addr.is_ipv6()));
            if let Some(place) = place.filter(|_| may_be(&addr)) {
                *place = Some(self.own(addr));
            }
            return found;
        }
        for (v4, place) in [true, false].into_iter().zip(&mut found) {
            *place = self.seen(v4).filter(|candidate| may_be(&candidate.addr));
        }
        found
    }

    fn own(&self, addr: SocketAddr) -> Candidate {
        let is_off = !self.report.enabled && self.mode != NatMode::On;
        Candidate {
            addr,
            votes: self.votes_for(addr.ip()),
            direct: addr.ip() == self.listen.ip(),
            promising: true,
            // A specific public address that we listen on may be behind a firewall; an operator knows.
            certain: self.set.is_some() || is_off,
        }
    }

    fn votes_for(&self, ip: IpAddr) -> usize {
        let stun = self.report.probe(ip.is_ipv4());
        let stun = stun.filter(|probe| probe.external == Some(ip));
        stun.map_or(0, |probe| probe.agreed) + self.votes.votes_for(ip)
    }

    /// What most STUN servers, or enough peers, see.
    fn seen(&self, v4: bool) -> Option<Candidate> {
        if !listens(self.listen, v4) {
            return None;
        }
        let probe = self.report.probe(v4);
        let by_stun = probe.and_then(|probe| probe.external);
        let mut voices = [by_stun, self.votes.winner(v4)].into_iter().flatten();
        let ip = voices.find(|ip| self.votes_for(*ip) >= VOICES_NEEDED)?;
        let (held, translated) = match (v4, self.translated) {
            (true, [translated, _]) => (&self.report.mapping, translated),
            (false, [_, translated]) => (&self.report.pinhole, translated),
        };
        let port = held.as_ref().map(|held| held.external.port());
        let is_ours = probe.is_some_and(|probe| probe.local == ip);
        let is_open = match probe.map(|probe| probe.kind) {
            // Without STUN only the addresses themselves tell: a private one of ours is translated.
            None => !translated,
            Some(NatKind::Open) => true,
            Some(NatKind::Unknown | NatKind::Blocked) => is_ours,
            Some(_) => false,
        };
        Some(Candidate {
            addr: SocketAddr::new(ip, port.unwrap_or(self.listen.port())),
            votes: self.votes_for(ip),
            direct: is_ours,
            promising: is_open || (held.is_some() && !self.report.double_nat),
            // Whoever wants nothing of all this is told as peers see him.
            certain: self.mode == NatMode::Off,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::network::nat::{Mapping, MappingProtocol, Probe};

    const WORLD: [u8; 4] = [5, 6, 7, 8];
    const HOME: [u8; 4] = [192, 168, 1, 2];

    fn report(kind: NatKind, local: [u8; 4], agreed: usize) -> NatReport {
        NatReport {
            enabled: true,
            looked: true,
            v4: Some(Probe {
                kind,
                local: local.into(),
                external: Some(WORLD.into()),
                agreed,
                answered: 3,
                servers: Vec::new(),
            }),
            ..NatReport::default()
        }
    }

    fn mapped(mut report: NatReport, port: u16) -> NatReport {
        report.mapping = Some(Mapping {
            protocol: MappingProtocol::Pcp,
            external: ([6, 6, 6, 6], port).into(),
            internal: (HOME, 8333).into(),
            gateway: [192, 168, 1, 1].into(),
            lifetime_seconds: 1_200,
        });
        report
    }

    fn votes(of: &[u8], seen: [u8; 4]) -> ExternalVotes {
        let mut votes = ExternalVotes::default();
        for n in of {
            votes.vote(([9, *n, 9, 9], 8333).into(), seen.into());
        }
        votes
    }

    /// The IPv4 candidate of a node that listens on all its addresses, and what is told of it before anybody has dialled it.
    fn v4(report: &NatReport, votes: &ExternalVotes) -> Option<(SocketAddr, bool)> {
        let facts = Facts {
            mode: NatMode::Auto,
            report,
            votes,
            listen: "0.0.0.0:8333".parse().unwrap(),
            set: None,
            translated: [true; 2],
            allow_private: false,
        };
        let [v4, v6] = facts.candidates();
        assert_eq!(v6, None, "nobody listens there");
        v4.map(|found| (found.addr, found.is_told(Reachability::Unknown)))
    }

    fn at(port: u16, told: bool) -> Option<(SocketAddr, bool)> {
        Some(((WORLD, port).into(), told))
    }

    #[test]
    fn a_mapped_port_is_told_at_the_address_that_the_world_sees() {
        let none = ExternalVotes::default();
        let translated = report(NatKind::PortRestricted, HOME, 2);
        assert_eq!(
            v4(&translated, &none),
            at(8333, false),
            "no way in is known"
        );
        let with_port = mapped(translated.clone(), 20_000);
        // The gateway's own word on its address counts for nothing.
        assert_eq!(v4(&with_port, &none), at(20_000, true));
        let mut double = with_port;
        double.double_nat = true;
        assert_eq!(v4(&double, &none), at(20_000, false));
    }

    #[test]
    fn one_voice_is_none() {
        let alone = report(NatKind::Open, WORLD, 1);
        assert_eq!(v4(&alone, &ExternalVotes::default()), None);
        assert_eq!(v4(&alone, &votes(&[1], WORLD)), at(8333, true));
        assert_eq!(v4(&alone, &votes(&[1], [6, 6, 6, 6])), None);
        // Where STUN servers disagree with peers of the past, they are the fresher.
        let moved = report(NatKind::Open, WORLD, 2);
        assert_eq!(v4(&moved, &votes(&[1, 2, 3], [6, 6, 6, 6])), at(8333, true));
    }

    #[test]
    fn a_public_address_of_our_own_is_told_unless_a_filter_is_known() {
        let none = ExternalVotes::default();
        for (kind, told) in [
            (NatKind::Open, true),
            (NatKind::Unknown, true),
            (NatKind::Firewalled, false),
        ] {
            assert_eq!(
                v4(&report(kind, WORLD, 2), &none),
                at(8333, told),
                "{kind:?}"
            );
        }
        let symmetric = report(NatKind::Symmetric, HOME, 2);
        assert_eq!(v4(&symmetric, &none), at(8333, false));
    }

    #[test]
    fn dial_backs_decide_but_for_what_an_operator_says() {
        let (report, votes) = (report(NatKind::Open, WORLD, 3), ExternalVotes::default());
        let mut facts = Facts {
            mode: NatMode::Auto,
            report: &report,
            votes: &votes,
            listen: "0.0.0.0:8333".parse().unwrap(),
            set: None,
            translated: [false; 2],
            allow_private: false,
        };
        let [Some(seen), None] = facts.candidates() else {
            panic!("one address");
        };
        assert!(seen.is_told(Reachability::Reachable) && !seen.is_told(Reachability::Unreachable));
        facts.set = Some("[2600::1]:9000".parse().unwrap());
        let [None, Some(set)] = facts.candidates() else {
            panic!("what the operator says, and nothing else");
        };
        assert!(set.certain && set.is_told(Reachability::Unreachable));
        facts.set = Some("10.0.0.1:9000".parse().unwrap());
        assert_eq!(facts.candidates(), [None, None], "nobody could dial that");
        (facts.set, facts.listen) = (None, "5.6.7.9:8333".parse().unwrap());
        let [Some(own), None] = facts.candidates() else {
            panic!("the address that it listens on");
        };
        assert!(own.direct && !own.certain && own.is_told(Reachability::Unknown));
    }

    #[test]
    fn without_stun_two_peers_tell() {
        let (report, seen) = (NatReport::default(), votes(&[1, 2], WORLD));
        for (mode, translated, told) in [
            (NatMode::Auto, true, false),
            (NatMode::Auto, false, true),
            (NatMode::Off, true, true),
        ] {
            let facts = Facts {
                mode,
                report: &report,
                votes: &seen,
                listen: "[::]:8333".parse().unwrap(),
                set: None,
                translated: [translated; 2],
                allow_private: false,
            };
            let [Some(found), None] = facts.candidates() else {
                panic!("one address");
            };
            assert_eq!(found.is_told(Reachability::Unknown), told);
        }
    }
}
