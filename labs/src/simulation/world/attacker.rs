//! Somebody who is no node: what he does in the world.

use std::net::SocketAddr;

use rand::seq::IteratorRandom;

use super::{ATTACKER, End, Event, World};
use crate::simulation::chain::BlockId;
use crate::simulation::node::{LinkId, Message, NodeId, gossip};

/// Addresses that he tells in an answer: as many as one may hold.
const ANSWER: usize = 1_000;

/// He takes every connection, and tells of himself.
#[derive(Debug, Default)]
pub(in crate::simulation) struct Attacker {
    pub(in crate::simulation) addresses: Vec<SocketAddr>,
}

impl Attacker {
    pub(in crate::simulation) fn owns(&self, addr: SocketAddr) -> bool {
        self.addresses.binary_search(&addr).is_ok()
    }
}

impl World {
    /// The attacker hears of every block at once, and tells all whom he is connected to: nobody is of more use.
    pub(super) fn attacker_tells(&mut self, block: BlockId) {
        let his = self.links.iter().filter_map(|(id, link)| {
            let ends = [End::Dialler, End::Listener].into_iter();
            let mut ends = ends.filter(|end| link.at(end.other()) == ATTACKER);
            Some((*id, ends.next()?))
        });
        for (link, end) in his.collect::<Vec<_>>() {
            self.after(1, Event::Said(link, end, Message::Tip(block)));
        }
    }

    /// Somebody who is no node dials one, and tells it of these addresses.
    pub(in crate::simulation) fn intrude(
        &mut self,
        from: SocketAddr,
        id: NodeId,
        tells: Vec<SocketAddr>,
    ) {
        let Some(link) = self.arrives_inbound(from, id) else {
            return;
        };
        let now = self.moment();
        let list = tells.into_iter().map(|addr| gossip(addr, now.unix));
        let message = Message::Addresses {
            list: list.collect(),
            solicited: false,
        };
        self.deliver(id, link, message);
    }

    /// He is asked for addresses, and answers with his own.
    pub(super) fn attacker_hears(&mut self, link: LinkId, end: End, message: &Message) {
        let Message::GetAddr = message else { return };
        let now = self.moment();
        let his = self.attacker.addresses.iter().copied();
        let told = his.choose_multiple(&mut self.rng, ANSWER).into_iter();
        let answer = Message::Addresses {
            list: told.map(|addr| gossip(addr, now.unix)).collect(),
            solicited: true,
        };
        if let Some(asks) = self.links.get(&link).map(|entry| entry.at(end.other())) {
            self.deliver(asks, link, answer);
        }
    }
}
