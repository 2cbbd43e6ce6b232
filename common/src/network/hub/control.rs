//! The hub's half of what an operator wants: [`crate::network::control`].

use std::net::SocketAddr;
use std::time::Instant;

use tokio::sync::oneshot;
use tracing::info;

use super::{Hub, PeerId, lock};
use crate::network::address_book::BookStats;
use crate::network::control::{
    Banned, ControlError, Dropped, MAX_KEPT_PEERS, PeerRef, Stay, is_one_machine,
};
use crate::network::peer::session::unix_now;
use crate::network::security::operator::{Network, OperatorBan};
use crate::reachability::netgroup::canonical_socket;

/// Who hears what came of a wish.
pub(crate) type Reply<T> = oneshot::Sender<Result<T, ControlError>>;

/// A wish of the operator.
pub(crate) enum Command {
    AddPeer {
        addr: SocketAddr,
        stay: Stay,
        reply: Reply<()>,
    },
    DropPeer {
        who: PeerRef,
        reply: Reply<Dropped>,
    },
    Ban {
        ban: OperatorBan,
        reply: Reply<Banned>,
    },
    Unban {
        network: Network,
        reply: Reply<()>,
    },
    LookAtNat {
        reply: Reply<()>,
    },
    Book {
        reply: Reply<BookStats>,
    },
}

impl Hub {
    /// Does it. Whoever wanted it may be gone; then nobody hears what came of it.
    pub(super) fn on_command(&mut self, command: Command) {
        match command {
            Command::AddPeer { addr, stay, reply } => {
                let _ = reply.send(self.add_peer(canonical_socket(addr), stay));
            }
            Command::DropPeer { who, reply } => {
                let _ = reply.send(self.drop_peer(who));
            }
            Command::Ban { ban, reply } => {
                let _ = reply.send(self.ban(ban));
            }
            Command::Unban { network, reply } => {
                let _ = reply.send(self.unban(network));
            }
            Command::LookAtNat { reply } => {
                let looks = self.nat.look_again();
                let _ = reply.send(looks.then_some(()).ok_or(ControlError::NatOff));
            }
            Command::Book { reply } => {
                let _ = reply.send(Ok(self.book_stats()));
            }
        }
    }

    fn add_peer(&mut self, addr: SocketAddr, stay: Stay) -> Result<(), ControlError> {
        if !is_one_machine(addr) {
            return Err(ControlError::NotDialable(addr));
        }
        if self.connections.is_own(addr) {
            return Err(ControlError::Ours(addr));
        }
        self.check_not_banned(addr, stay)?;
        match stay {
            Stay::Once => {
                let dial = self.connections.dial_once(addr, Instant::now());
                let dial = dial.ok_or(ControlError::AlreadyThere(addr))?;
                self.act(dial);
            }
            Stay::Kept if self.connections.is_manual(addr) => {
                return Err(ControlError::AlreadyThere(addr));
            }
            Stay::Kept => {
                if self.connections.manual_count() >= MAX_KEPT_PEERS {
                    return Err(ControlError::TooManyKept);
                }
                self.connections.add_manual(addr, Instant::now());
                self.dial_more();
            }
        }
        info!(%addr, ?stay, "the operator added a peer");
        Ok(())
    }

    /// What a kept peer has done is forgiven it, but not what the operator said before.
    fn check_not_banned(&self, addr: SocketAddr, stay: Stay) -> Result<(), ControlError> {
        let (standing, now) = (lock(&self.standing), unix_now());
        let by = match standing.banned_by_operator(addr.ip(), now) {
            Some(ban) => Some(format!("the operator's ban of {}", ban.network)),
            None if stay == Stay::Kept => None,
            None => standing
                .banned(addr.ip(), now)
                .map(|ban| format!("what it did ({})", ban.offence.as_str())),
        };
        by.map_or(Ok(()), |by| Err(ControlError::Banned { addr, by }))
    }

    fn drop_peer(&mut self, who: PeerRef) -> Result<Dropped, ControlError> {
        let addr = match who {
            PeerRef::Id(id) => self.peers.get(&id).map(|peer| peer.handle.addr),
            PeerRef::Addr(addr) => Some(canonical_socket(addr)),
        };
        let addr = addr.ok_or(ControlError::NoSuchPeer(who))?;
        let was_kept = self.connections.leave(addr, unix_now());
        let connections = self.hang_up_where(|at| at == addr, "the operator dropped it");
        if connections == 0 && !was_kept {
            return Err(ControlError::NoSuchPeer(who));
        }
        info!(%addr, connections, "the operator dropped a peer");
        Ok(Dropped {
            addr,
            was_kept,
            connections,
        })
    }

    fn ban(&mut self, ban: OperatorBan) -> Result<Banned, ControlError> {
        lock(&self.standing).ban_by_operator(ban.clone(), unix_now())?;
        let network = ban.network;
        self.connections.forget_manual(network);
        let connections =
            self.hang_up_where(|addr| network.contains(addr.ip()), "the operator banned it");
        self.save_standing();
        info!(
            target: "security", event = "operator_ban", %network, until = ban.until, connections,
            "{}", ban.reason
        );
        Ok(Banned { ban, connections })
    }

    fn unban(&mut self, network: Network) -> Result<(), ControlError> {
        if !lock(&self.standing).lift(network) {
            return Err(ControlError::NotBanned(network));
        }
        self.save_standing();
        info!(target: "security", event = "operator_unban", %network, "let in again");
        Ok(())
    }

    /// Ends all connections at such addresses; gives how many there were.
    fn hang_up_where(
        &mut self,
        is_meant: impl Fn(SocketAddr) -> bool,
        reason: &'static str,
    ) -> usize {
        let peers = self.peers.iter();
        let meant = peers.filter(|(_, peer)| is_meant(peer.handle.addr));
        let meant: Vec<PeerId> = meant.map(|(id, _)| *id).collect();
        for id in &meant {
            self.hang_up(*id, reason);
        }
        meant.len()
    }
}
