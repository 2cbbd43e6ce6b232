//! PCP and NAT-PMP, which share a port and a shape: one datagram there, one back.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4};
use std::num::NonZeroU16;
use std::time::Duration;

use crab_nat::{
    GatewayAddress, InternetProtocol, PortMapping, PortMappingOptions, PortMappingType,
    TimeoutConfig, natpmp, pcp,
};

use super::{LEASE, LEAST_LEASE, Mapping, MappingError, MappingProtocol};

/// Four questions in under 3 s: RFC 6886 begins with a quarter of a second as well and goes on for a minute, in which gateways
/// that know neither protocol stay silent.
const TIMES: TimeoutConfig = TimeoutConfig {
    initial_timeout: Duration::from_millis(250),
    max_retries: 3,
    max_retry_timeout: Some(Duration::from_secs(1)),
};

/// One lost packet more or less: the gateway has answered before, and we are about to end.
const LAST_TIMES: TimeoutConfig = TimeoutConfig {
    initial_timeout: Duration::from_millis(250),
    max_retries: 2,
    max_retry_timeout: Some(Duration::from_millis(500)),
};

/// What is needed to renew and remove a mapping.
#[derive(Debug)]
pub(super) struct Lease {
    protocol: MappingProtocol,
    mapping: PortMapping,
    internal: SocketAddrV4,
    gateway: Ipv4Addr,
    nonce: pcp::Nonce,
}

/// Maps a port, the same as ours if it is free. Only who knows the `nonce` can change it later (RFC 6887, 11.2).
pub(super) async fn open(
    protocol: MappingProtocol,
    internal: SocketAddrV4,
    gateway: Option<Ipv4Addr>,
    nonce: pcp::Nonce,
) -> Result<(Mapping, Lease), MappingError> {
    let gateway = gateway.ok_or(MappingError::NoGateway)?;
    let port = NonZeroU16::new(internal.port()).ok_or(MappingError::NoPort)?;
    let mapping = request(protocol, internal, gateway, nonce, port).await?;
    let lease = Lease {
        protocol,
        mapping,
        internal,
        gateway,
        nonce,
    };
    if lease.mapping.lifetime() < LEAST_LEASE {
        // Whether that works or not, it is gone in a minute.
        let _ = lease.remove().await;
        return Err(MappingError::Short(lease.mapping.lifetime()));
    }
    Ok((lease.describe().await, lease))
}

/// Always for the whole lease: a gateway that has given less once is not asked for less from then on.
async fn request(
    protocol: MappingProtocol,
    internal: SocketAddrV4,
    gateway: Ipv4Addr,
    nonce: pcp::Nonce,
    wanted: NonZeroU16,
) -> Result<PortMapping, MappingError> {
    let port = NonZeroU16::new(internal.port()).ok_or(MappingError::NoPort)?;
    let options = PortMappingOptions {
        external_port: Some(wanted),
        lifetime_seconds: Some(LEASE),
        timeout_config: Some(TIMES),
    };
    let at = GatewayAddress::IpV4(gateway);
    let tcp = InternetProtocol::Tcp;
    Ok(match protocol {
        MappingProtocol::Pcp => {
            let client = IpAddr::V4(*internal.ip());
            let request = pcp::BaseMapRequest::new(at, client, tcp, port);
            pcp::port_mapping(request, Some(nonce), None, options).await?
        }
        _ => natpmp::port_mapping(at, tcp, port, options).await?,
    })
}

impl Lease {
    pub(super) async fn renew(&mut self) -> Result<Mapping, MappingError> {
        let port = self.mapping.external_port();
        let renewed = request(self.protocol, self.internal, self.gateway, self.nonce, port);
        self.mapping = renewed.await?;
        match self.mapping.lifetime() {
            seconds if seconds < LEAST_LEASE => Err(MappingError::Short(seconds)),
            _ => Ok(self.describe().await),
        }
    }

    pub(super) async fn remove(&self) -> Result<(), MappingError> {
        let mut mapping = self.mapping.clone();
        mapping.timeout_config = LAST_TIMES;
        let removed = mapping.try_drop().await;
        removed.map_err(|(error, _)| MappingError::from(error))
    }

    /// The external address is unspecified where the gateway does not tell it.
    async fn describe(&self) -> Mapping {
        let ip = match self.mapping.mapping_type() {
            PortMappingType::Pcp { external_ip, .. } => external_ip,
            // It tells its address only when asked.
            PortMappingType::NatPmp => {
                let gateway = GatewayAddress::IpV4(self.gateway);
                let told = natpmp::external_address(gateway, Some(TIMES)).await;
                told.unwrap_or(Ipv4Addr::UNSPECIFIED).into()
            }
        };
        Mapping {
            protocol: self.protocol,
            external: SocketAddr::new(ip.to_canonical(), self.mapping.external_port().get()),
            internal: self.internal.into(),
            gateway: self.gateway.into(),
            lifetime_seconds: self.mapping.lifetime(),
        }
    }
}

impl From<crab_nat::MappingFailure> for MappingError {
    fn from(failure: crab_nat::MappingFailure) -> Self {
        match failure {
            crab_nat::MappingFailure::NatPmp(failure) => failure.into(),
            crab_nat::MappingFailure::Pcp(failure) => failure.into(),
        }
    }
}
