//! Where the nodes of a lab stand, and the rules of their network.

use std::net::Ipv4Addr;

use quantumcoin::chain_spec::ChainSpec;

/// The devnet's chain, whose blocks cost two hashes, under mainnet's limits. Loopback addresses are peers, since there are
/// no others here; that is all that is loosened, and it makes each address a netgroup of its own.
pub(super) fn spec() -> ChainSpec {
    let mut spec = ChainSpec::devnet();
    let mainnet = ChainSpec::mainnet().network_protocol;
    let magic_bytes = spec.network_protocol.magic_bytes;
    spec.network_protocol = mainnet;
    spec.network_protocol.magic_bytes = magic_bytes;
    spec.network_protocol.allow_private_addresses = true;
    spec
}

/// Address of node `number` of a lab whose nodes stand in 127.`first`.0.0 and the /16s behind it: each in a /16 of its own
/// as long as there are 64 of them, and always in a /24 of its own, so that no limit of a subnet counts two together.
pub(super) fn host(first: u8, number: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, first.wrapping_add(number % 64), number, 1)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use quantumcoin::network::security::limits::subnet_key;

    use super::*;

    #[test]
    fn every_node_has_a_subnet_of_its_own() {
        let subnets: HashSet<_> = (0..=u8::MAX)
            .map(|number| subnet_key(host(10, number).into()))
            .collect();
        assert_eq!(subnets.len(), 256);
    }

    #[test]
    fn the_limits_are_mainnets() {
        let (ours, mainnet) = (
            spec().network_protocol,
            ChainSpec::mainnet().network_protocol,
        );
        assert_eq!(ours.max_connections, mainnet.max_connections);
        assert_eq!(ours.max_connections_per_ip, mainnet.max_connections_per_ip);
        assert_eq!(
            ours.max_connections_per_subnet,
            mainnet.max_connections_per_subnet
        );
        assert_eq!(
            ours.max_messages_per_minute,
            mainnet.max_messages_per_minute
        );
        assert_eq!(ours.max_bytes_per_minute, mainnet.max_bytes_per_minute);
        assert_eq!(ours.connection_timeout, mainnet.connection_timeout);
    }
}
