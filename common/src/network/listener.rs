//! The listener: admits connections within the limits and hands them to their handshakes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::{debug, warn};

use crate::network::hub::event::HubEvent;
use crate::network::metrics::NetworkMetrics;
use crate::network::peer::session::unix_now;
use crate::network::peer::session::{Local, establish};
use crate::network::protocol::version::Direction;
use crate::network::security::events::{Detector, Response, SecurityLog};
use crate::network::security::limits::{Admission, Refusal, Slot};
use crate::network::security::standing::Standing;
use crate::network::session::How;
use crate::reachability::netgroup::canonical_socket;

/// Pause after a failed `accept`: out of descriptors is a passing state, not a reason to stop.
const ACCEPT_BACKOFF: Duration = Duration::from_millis(100);

/// Accepts connections until stopped.
pub(crate) struct Listener {
    pub(crate) local: Arc<Local>,
    pub(crate) admission: Admission,
    pub(crate) standing: Arc<Mutex<Standing>>,
    pub(crate) refusals: Refusals,
    pub(crate) events: mpsc::Sender<HubEvent>,
    pub(crate) tasks: TaskTracker,
    pub(crate) stop: CancellationToken,
}

/// Counts those who were turned away.
#[derive(Debug, Clone)]
pub(crate) struct Refusals {
    pub(crate) counts: Arc<Mutex<BTreeMap<&'static str, u64>>>,
    pub(crate) metrics: NetworkMetrics,
    pub(crate) security: SecurityLog,
}

impl Refusals {
    pub(crate) fn note(&self, addr: SocketAddr, refusal: Refusal) {
        debug!(%addr, %refusal, "connection refused");
        self.metrics.refused(refusal);
        *self.lock().entry(refusal.as_str()).or_default() += 1;
        let detector = match refusal {
            Refusal::PerIp | Refusal::Rate => Detector::ConnectionFlood,
            Refusal::PerSubnet => Detector::SubnetSybil,
            Refusal::Handshakes | Refusal::Evicted => Detector::HandshakeFlood,
            // That is said already, or no attack.
            Refusal::Banned | Refusal::Full => return,
        };
        let at = (unix_now(), Instant::now());
        let detail = refusal.to_string();
        self.security
            .raise(detector, addr, Response::Refused, &detail, at);
    }

    /// A peer had to make room for another.
    pub(crate) fn note_made_room(&self) {
        self.metrics.evicted();
        *self.lock().entry("made_room").or_default() += 1;
    }

    /// How often each happened.
    pub(crate) fn counts(&self) -> BTreeMap<&'static str, u64> {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<&'static str, u64>> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listener {
    pub(crate) async fn run(self, socket: TcpListener) {
        loop {
            let accepted = tokio::select! {
                () = self.stop.cancelled() => return,
                accepted = socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, addr)) => self.admit(stream, canonical_socket(addr)),
                Err(error) => {
                    warn!(%error, "accept failed; going on");
                    tokio::time::sleep(ACCEPT_BACKOFF).await;
                }
            }
        }
    }

    fn admit(&self, stream: TcpStream, addr: SocketAddr) {
        match self.slot(addr) {
            Ok(slot) => self.shake_hands(stream, addr, slot),
            Err(refusal) => self.refusals.note(addr, refusal),
        }
    }

    fn slot(&self, addr: SocketAddr) -> Result<Slot, Refusal> {
        let standing = self.standing.lock();
        let standing = standing.unwrap_or_else(PoisonError::into_inner);
        if standing.keeps_out(addr.ip(), unix_now()) {
            return Err(Refusal::Banned);
        }
        drop(standing);
        self.admission.admit(addr.ip(), Instant::now())
    }

    fn shake_hands(&self, stream: TcpStream, addr: SocketAddr, mut slot: Slot) {
        let local = Arc::clone(&self.local);
        let events = self.events.clone();
        let stop = self.stop.clone();
        let evicted = slot.evicted();
        let refusals = self.refusals.clone();
        self.tasks.spawn(async move {
            let direction = Direction::Inbound;
            let handshake = establish(&local, stream, addr, How::Accept(slot.gate()));
            let event = tokio::select! {
                () = stop.cancelled() => return,
                () = evicted.cancelled() => {
                    refusals.note(addr, Refusal::Evicted);
                    return;
                }
                result = handshake => match result {
                    Ok((session, claim)) => {
                        if let Err(refusal) = slot.handshake_done() {
                            refusals.note(addr, refusal);
                            return;
                        }
                        let session = Box::new(session);
                        HubEvent::Established { addr, direction, session, slot: Some(slot), claim }
                    }
                    Err(error) => HubEvent::Failed { addr, direction, error },
                },
            };
            // The hub is gone only when the node stops.
            let _ = events.send(event).await;
        });
    }
}
