//! UPnP: a search by multicast, and then SOAP over HTTP. The library bounds what it reads and goes only where the answer to the
//! search came from; the time that it may take is bounded here.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::time::Duration;

use igd_next::aio::tokio::{Tokio, search_gateway, search_ipv6_firewall_gateway};
use igd_next::aio::{Gateway, Ipv6FirewallGateway};
use igd_next::{AddPortError, PortMappingProtocol, SearchOptions};
use tokio::time::timeout;

use super::{LEASE, Mapping, MappingError, MappingProtocol};

/// How long a gateway may take to be found. Devices answer within three seconds, as they are told to.
const SEARCH: Duration = Duration::from_secs(4);

/// How long a gateway may take to do one thing. UPnP gives devices 30 s, in which all else here would wait; one that is a hop away
/// and has not answered in a tenth of that will not.
const REQUEST: Duration = Duration::from_secs(3);

/// Ports tried where others have ours: among sixty thousand a free one is found at once.
const PORTS_TRIED: usize = 5;

/// From where other ports are drawn: above those that people give to services of their own.
const OTHER_PORTS: std::ops::RangeInclusive<u16> = 10_000..=65_535;

/// What a gateway's own list of mappings says.
const DESCRIPTION: &str = "QuantumCoin node";

/// What is needed to renew and remove a mapping.
#[derive(Debug)]
pub(super) struct Lease {
    gateway: Gateway<Tokio>,
    internal: SocketAddrV4,
    port: u16,
    seconds: u32,
}

/// Looks for a gateway from this address.
pub(super) async fn search(from: Ipv4Addr) -> Result<Gateway<Tokio>, MappingError> {
    let mut options = SearchOptions::default();
    options.bind_addr = SocketAddr::new(from.into(), 0);
    options.timeout = Some(SEARCH);
    Ok(search_gateway(options).await?)
}

/// What the gateway says that its address is.
pub(super) async fn external(gateway: &Gateway<Tokio>) -> Option<IpAddr> {
    within(gateway.get_external_ip()).await.ok()
}

/// Maps a port: the same as ours, or any other where somebody has that.
pub(super) async fn open(
    gateway: Gateway<Tokio>,
    internal: SocketAddrV4,
    external: Option<IpAddr>,
) -> Result<(Mapping, Lease), MappingError> {
    let mut lease = Lease {
        gateway,
        internal,
        port: internal.port(),
        seconds: LEASE,
    };
    for _ in 0..PORTS_TRIED {
        match lease.add().await {
            Ok(()) => return Ok((lease.describe(external), lease)),
            // 718: another host has the port.
            Err(AddError::InUse) => lease.port = rand::random_range(OTHER_PORTS),
            Err(AddError::Other(error)) => return Err(error),
        }
    }
    Err(MappingError::Taken)
}

enum AddError {
    InUse,
    Other(MappingError),
}

impl Lease {
    async fn add(&mut self) -> Result<(), AddError> {
        let to = SocketAddr::V4(self.internal);
        loop {
            let add = self.gateway.add_port(
                PortMappingProtocol::TCP,
                self.port,
                to,
                self.seconds,
                DESCRIPTION,
            );
            let added = timeout(REQUEST, add).await;
            match added.map_err(|_| AddError::Other(MappingError::Late))? {
                Ok(()) => return Ok(()),
                Err(AddPortError::PortInUse) => return Err(AddError::InUse),
                // 725: what a node leaves behind that was killed stays; so it is with all that such a gateway maps.
                Err(AddPortError::OnlyPermanentLeasesSupported) if self.seconds != 0 => {
                    self.seconds = 0;
                }
                Err(error) => return Err(AddError::Other(MappingError::Upnp(error.to_string()))),
            }
        }
    }

    pub(super) async fn renew(&mut self) -> Result<Mapping, MappingError> {
        self.add().await.map_err(|error| match error {
            AddError::InUse => MappingError::Taken,
            AddError::Other(error) => error,
        })?;
        let external = external(&self.gateway).await;
        Ok(self.describe(external))
    }

    pub(super) async fn remove(&self) -> Result<(), MappingError> {
        let tcp = PortMappingProtocol::TCP;
        within(self.gateway.remove_port(tcp, self.port)).await
    }

    /// The external address is unspecified where the gateway does not tell it.
    fn describe(&self, external: Option<IpAddr>) -> Mapping {
        let ip = external.unwrap_or(Ipv4Addr::UNSPECIFIED.into());
        Mapping {
            protocol: MappingProtocol::Upnp,
            external: SocketAddr::new(ip.to_canonical(), self.port),
            internal: self.internal.into(),
            gateway: self.gateway.addr.ip(),
            lifetime_seconds: self.seconds,
        }
    }
}

/// A hole in a firewall, and what is needed to keep it open and to close it.
#[derive(Debug)]
pub(in crate::network::nat) struct Pinhole {
    pub(in crate::network::nat) mapping: Mapping,
    gateway: Ipv6FirewallGateway<Tokio>,
    id: u16,
}

/// Looks for the firewall on the interface, from the address for which the hole is: gateways open holes only for whoever asks.
pub(super) async fn open_pinhole(
    internal: SocketAddrV6,
    interface: u32,
) -> Result<Pinhole, MappingError> {
    let mut options = SearchOptions::ipv6(interface);
    options.bind_addr = SocketAddr::new(IpAddr::V6(*internal.ip()), 0);
    options.timeout = Some(SEARCH);
    let gateway = search_ipv6_firewall_gateway(options).await?;
    let id = within(gateway.add_pinhole(PortMappingProtocol::TCP, internal, LEASE)).await?;
    let mapping = Mapping {
        protocol: MappingProtocol::Upnp,
        external: internal.into(),
        internal: internal.into(),
        gateway: gateway.addr.ip(),
        lifetime_seconds: LEASE,
    };
    Ok(Pinhole {
        mapping,
        gateway,
        id,
    })
}

impl Pinhole {
    pub(in crate::network::nat) async fn renew(&self) -> Result<(), MappingError> {
        within(self.gateway.update_pinhole(self.id, LEASE)).await
    }

    pub(in crate::network::nat) async fn remove(&self) -> Result<(), MappingError> {
        within(self.gateway.remove_pinhole(self.id)).await
    }
}

async fn within<T, E: std::fmt::Display>(
    request: impl Future<Output = Result<T, E>>,
) -> Result<T, MappingError> {
    let done = timeout(REQUEST, request).await;
    let done = done.map_err(|_| MappingError::Late)?;
    done.map_err(|error| MappingError::Upnp(error.to_string()))
}
