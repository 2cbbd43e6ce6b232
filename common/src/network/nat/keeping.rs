//! What is held at the gateway: asking for it, renewing it, giving it back. See [`super`].

use std::net::{IpAddr, SocketAddrV4, SocketAddrV6};
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};
use tracing::{debug, info, warn};

use super::mapping::{self, Attempt, Held, MappingError, MappingProtocol, Opened, Pinhole};
use super::service::NatService;
use super::stun::NatKind;
use super::stun::probe::Probe;
use super::{NatReport, gateway};
use crate::reachability::netgroup::is_routable;

/// How often a gateway that gave no port is asked again: it may have been changed or restarted.
const TRY_AGAIN: Duration = Duration::from_secs(600);

/// The same after it has lost a port that it gave: a restart takes a minute or two.
const TRY_SOON: Duration = Duration::from_secs(60);

/// How long giving back mappings may take at the end; a node has 4 s to stop.
const LEAVING: Duration = Duration::from_secs(2);

/// The mapping. While it is asked for, renewed or given back it stays in here, so that nothing is lost when we stop.
#[derive(Debug, Default)]
pub(super) struct KeptMapping {
    pub(super) held: Option<Held>,
    /// One that is being asked for, in a task of its own, which goes on when we stop: what it brings is given back.
    opening: Option<JoinHandle<Opened>>,
    /// What could not be had, and when it is asked for again.
    refused: Option<(SocketAddrV4, Instant)>,
}

/// All of it.
#[derive(Debug, Default)]
pub(super) struct Kept {
    pub(super) mapping: KeptMapping,
    pub(super) pinhole: Option<Pinhole>,
}

impl Kept {
    /// When something that could not be had is asked for again.
    pub(super) fn try_at(&self) -> Option<Instant> {
        self.mapping.refused.map(|(_, at)| at)
    }

    /// How often it has to be renewed.
    pub(super) fn renew_every(&self) -> Duration {
        let held = self.mapping.held.as_ref().map(|held| &held.mapping);
        let hole = self.pinhole.as_ref().map(|hole| &hole.mapping);
        let each = held.into_iter().chain(hole).map(mapping::renew_every);
        each.min().unwrap_or(mapping::RENEW)
    }

    /// Puts it into the report.
    pub(super) fn show(&self, report: &mut NatReport) {
        report.mapping = self.mapping.held.as_ref().map(|held| held.mapping.clone());
        report.pinhole = self.pinhole.as_ref().map(|hole| hole.mapping.clone());
        if let Some(mapping) = &report.mapping {
            report.gateway_external = Some(mapping.external.ip());
        }
    }
}

/// What came of asking a gateway.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) attempts: Vec<Attempt>,
    /// What it says that its address is.
    pub(super) external: Option<IpAddr>,
}

/// What came of renewing a mapping.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Renewed {
    Done,
    /// Another host has the port, so that it is not ours to give back.
    Taken,
    Failed,
}

impl NatService {
    /// Has a mapping where one is of use: renews it, or asks for one.
    ///
    /// `None` when nothing was asked for: it is held, of no use, or was refused a short time ago.
    pub(super) async fn keep_mapping(
        &self,
        kept: &mut KeptMapping,
        local: Option<IpAddr>,
    ) -> Option<Asked> {
        let mut pause = TRY_AGAIN;
        let wanted = match local {
            // A public address is no one's to translate.
            Some(IpAddr::V4(ip)) if !is_routable(ip.into(), false) && !ip.is_loopback() => {
                Some(SocketAddrV4::new(ip, self.listen.port()))
            }
            _ => None,
        };
        if let Some(held) = &mut kept.held {
            let same = wanted.is_some_and(|wanted| held.mapping.internal == wanted.into());
            let renewed = match same {
                true => self.renewed(held).await,
                false => Renewed::Failed,
            };
            match renewed {
                Renewed::Done => return None,
                // It is somebody else's now.
                Renewed::Taken => {}
                // Whoever has given it may be out of reach by now.
                Renewed::Failed => {
                    let _ = timeout(LEAVING, held.remove()).await;
                }
            }
            kept.held = None;
            pause = TRY_SOON;
        }
        let wanted = wanted.filter(|_| !self.settings.protocols.is_empty())?;
        let waits = |(of, until): (_, Instant)| of == wanted && Instant::now() < until;
        if kept.refused.is_some_and(waits) {
            return None;
        }
        let asked = self.open(kept, wanted).await;
        kept.refused = match &kept.held {
            Some(_) => None,
            None => Some((wanted, Instant::now() + pause)),
        };
        Some(asked)
    }

    async fn renewed(&self, held: &mut Held) -> Renewed {
        let protocol = held.mapping.protocol;
        let renewed = held.renew().await;
        self.metrics.nat_mapping(protocol, renewed.is_ok());
        if let Err(error) = &renewed {
            let error = error.attempt(protocol).error;
            let protocol = protocol.as_str();
            self.happened(format!(
                "the port mapping by {protocol} was not renewed: {error}"
            ));
        }
        match renewed {
            Ok(()) => Renewed::Done,
            Err(MappingError::Taken) => Renewed::Taken,
            Err(_) => Renewed::Failed,
        }
    }

    async fn open(&self, kept: &mut KeptMapping, internal: SocketAddrV4) -> Asked {
        let protocols = self.settings.protocols.clone();
        let opening = mapping::open(protocols, internal, gateway::default_v4(), self.nonce);
        let opened = kept.opening.insert(tokio::spawn(opening)).await;
        kept.opening = None;
        let opened = match opened {
            Ok(opened) => opened,
            Err(error) => {
                warn!(%error, "asking the gateway for a port failed");
                return Asked::default();
            }
        };
        for Attempt { protocol, error } in &opened.attempts {
            self.metrics.nat_mapping(*protocol, false);
            debug!(protocol = protocol.as_str(), error, "no port mapping");
        }
        if let Some(held) = &opened.held {
            let (protocol, external) = (held.mapping.protocol, held.mapping.external);
            self.metrics.nat_mapping(protocol, true);
            let protocol = protocol.as_str();
            self.happened(format!("{external} leads to {internal}, by {protocol}"));
        }
        kept.held = opened.held;
        Asked {
            attempts: opened.attempts,
            external: opened.external,
        }
    }

    /// Has a hole in the firewall where there is one. What is under way when we stop is not waited for: the hole closes by itself.
    pub(super) async fn keep_pinhole(
        &self,
        kept: &mut Option<Pinhole>,
        probe: Option<&Probe>,
    ) -> Option<Attempt> {
        if let Some(hole) = kept {
            // Whatever STUN sees of the firewall: the hole is for another port than its sockets have.
            let same = probe.is_some_and(|probe| probe.local == hole.mapping.internal.ip());
            if same && hole.renew().await.is_ok() {
                return None;
            }
            let _ = timeout(LEAVING, hole.remove()).await;
            *kept = None;
        }
        let Some(Probe {
            kind: NatKind::Firewalled,
            local: IpAddr::V6(ip),
            ..
        }) = probe
        else {
            return None;
        };
        if !self.settings.protocols.contains(&MappingProtocol::Upnp) {
            return None;
        }
        let internal = SocketAddrV6::new(*ip, self.listen.port(), 0, 0);
        match mapping::open_pinhole(internal, gateway::interface_of(*ip)).await {
            Ok(hole) => {
                self.happened(format!("the gateway's firewall lets in to {internal}"));
                *kept = Some(hole);
                None
            }
            Err(attempt) => Some(attempt),
        }
    }

    /// Whether all that is held is held still.
    pub(super) async fn renew(&self, kept: &mut Kept) -> bool {
        let mapping = match &mut kept.mapping.held {
            Some(held) => self.renewed(held).await == Renewed::Done,
            None => true,
        };
        let hole = match &kept.pinhole {
            Some(hole) => hole.renew().await.is_ok(),
            None => true,
        };
        self.tell(|report| kept.show(report));
        mapping && hole
    }

    /// Gives back all that is held.
    pub(super) async fn leave(&self, kept: Kept) {
        let mapping = async {
            let opened = match kept.mapping.opening {
                Some(opening) => opening.await.ok().and_then(|opened| opened.held),
                None => None,
            };
            for held in kept.mapping.held.into_iter().chain(opened) {
                let external = held.mapping.external;
                match held.remove().await {
                    Ok(()) => info!(%external, "port mapping given back"),
                    Err(error) => warn!(%external, %error, "the port mapping stays until its end"),
                }
            }
        };
        let hole = async {
            if let Some(hole) = kept.pinhole
                && let Err(error) = hole.remove().await
            {
                warn!(%error, "the hole in the firewall stays until its end");
            }
        };
        let all = async { tokio::join!(mapping, hole) };
        if timeout(LEAVING, all).await.is_err() {
            warn!("the gateway was not heard in time: a port mapping may stay until its end");
        }
    }
}
