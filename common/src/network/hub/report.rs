//! What the hub says of itself: status, and the address at which others see us.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::Ordering;

use super::{Hub, Peer, lock};
use crate::network::peer::session::unix_now;
use crate::network::protocol::version::Direction;
use crate::network::status::{BanStatus, NetworkStatus, PeerStatus, SecurityStatus};
use crate::transport::NoisePattern;

/// Votes kept, the latest; one for each peer that we dialled.
const MAX_VOTES: usize = 64;

/// At which of our addresses outbound peers see us; one vote an address.
#[derive(Debug, Default)]
pub(super) struct ExternalVotes {
    /// Voter and what it saw, the oldest first.
    votes: VecDeque<(IpAddr, IpAddr)>,
}

impl ExternalVotes {
    pub(super) fn vote(&mut self, voter: SocketAddr, seen: IpAddr) {
        self.votes.retain(|(of, _)| *of != voter.ip());
        if self.votes.len() >= MAX_VOTES {
            self.votes.pop_front();
        }
        self.votes.push_back((voter.ip(), seen.to_canonical()));
    }

    /// A voter is gone: what it saw may be no more.
    pub(super) fn forget(&mut self, voter: SocketAddr) {
        self.votes.retain(|(of, _)| *of != voter.ip());
    }

    /// The IPv4 or IPv6 address with most votes.
    pub(super) fn winner(&self, v4: bool) -> Option<IpAddr> {
        let mut counts: HashMap<IpAddr, usize> = HashMap::new();
        for (_, seen) in self.votes.iter().filter(|(_, seen)| seen.is_ipv4() == v4) {
            *counts.entry(*seen).or_default() += 1;
        }
        let most = counts.into_iter().max_by_key(|(ip, votes)| (*votes, *ip));
        most.map(|(ip, _)| ip)
    }

    /// Voters that see us there.
    pub(super) fn votes_for(&self, ip: IpAddr) -> usize {
        self.votes.iter().filter(|(_, seen)| *seen == ip).count()
    }
}

impl Hub {
    fn bans(&self) -> Vec<BanStatus> {
        let bans = lock(&self.standing).bans(unix_now());
        bans.into_iter().map(BanStatus::from).collect()
    }

    pub(super) fn status(&self) -> NetworkStatus {
        let (known, tried) = self.connections.book().counts();
        let mut peers: Vec<_> = self.peers.values().map(|p| self.peer_status(p)).collect();
        peers.sort_by_key(|p| p.id);
        NetworkStatus {
            network: self.local.spec.network.clone(),
            node_id: self.local.endpoint.identity().node_id().to_string(),
            listen_addr: self.local.listen_addr,
            external: self.external_addresses().first().copied(),
            nat: self.nat_status(),
            outbound: self.count(Direction::Outbound),
            inbound: self.count(Direction::Inbound),
            peers,
            sync: self.sync_progress(),
            known_addresses: known,
            tried_addresses: tried,
            seeds: self.seeds.clone(),
            security: SecurityStatus {
                refused: self.refusals.counts(),
                failed_handshakes: self.failed_handshakes.clone(),
                offences: self.offences.clone(),
                bans: self.bans(),
                operator_bans: lock(&self.standing).operator_bans(unix_now()),
                detections: self.security.counts(),
                events: self.security.latest(),
                clock_slow_by: self.clock_slow_by(),
            },
        }
    }

    fn peer_status(&self, peer: &Peer) -> PeerStatus {
        let handle = &peer.handle;
        let ping = handle.stats.ping_us.load(Ordering::Relaxed);
        PeerStatus {
            id: handle.id,
            addr: handle.addr,
            direction: handle.direction.as_str(),
            purpose: peer.purpose,
            node_id: handle.remote.node_id.to_string(),
            transport: handle.remote.transport.as_str(),
            pattern: handle.remote.pattern.map(NoisePattern::as_str),
            user_agent: handle.version.user_agent.clone(),
            protocol_version: handle.version.protocol_version,
            services: handle.version.services,
            netgroup: self.config.netgroups.of(handle.addr.ip()).to_string(),
            kept: peer.purpose.is_some() && self.connections.is_manual(handle.addr),
            height: peer.height,
            connected_seconds: handle.since.elapsed().as_secs(),
            ping_us: (ping > 0).then_some(ping),
            bytes_in: handle.stats.bytes_in.load(Ordering::Relaxed),
            bytes_out: handle.stats.bytes_out.load(Ordering::Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_majority_tells_our_address_and_a_voter_votes_once() {
        let mut votes = ExternalVotes::default();
        let voter = |n: u8| SocketAddr::new([9, 9, 9, n].into(), 8333);
        for _ in 0..10 {
            votes.vote(voter(1), [6, 6, 6, 6].into());
        }
        votes.vote(voter(2), [7, 7, 7, 7].into());
        votes.vote(voter(3), [7, 7, 7, 7].into());
        assert_eq!(votes.winner(true), Some([7, 7, 7, 7].into()));
        assert_eq!(votes.votes_for([7, 7, 7, 7].into()), 2);
        assert_eq!(votes.winner(false), None);
    }

    #[test]
    fn votes_are_bounded_and_new_ones_count() {
        let mut votes = ExternalVotes::default();
        for n in 0..1_000_u32 {
            let voter = IpAddr::V4((0x0900_0000 + n).into());
            votes.vote(SocketAddr::new(voter, 1), [7, 7, 7, 7].into());
        }
        assert_eq!(votes.votes.len(), MAX_VOTES);
        // We moved: later peers see another address.
        for n in 0..MAX_VOTES as u32 {
            let voter = IpAddr::V4((0x0a00_0000 + n).into());
            votes.vote(SocketAddr::new(voter, 1), [6, 6, 6, 6].into());
        }
        assert_eq!(votes.votes_for([6, 6, 6, 6].into()), MAX_VOTES);
        assert_eq!(votes.winner(true), Some([6, 6, 6, 6].into()));
    }
}
