//! Whether a seeder with these settings serves status and metrics: the one port whose user DNS does not show.

use std::net::SocketAddr;

use quantumcoin::service::client;
use serde::Deserialize;

use crate::{ask::reachable, config::SeederConfig, zone::Zone};

/// What of a seeder's status tells it from others.
#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Status {
    network: String,
    zones: Vec<Served>,
}

#[derive(Debug, PartialEq, Eq, Deserialize)]
struct Served {
    name: String,
}

/// The address of status, if a seeder of this network with one of these zones answers there.
pub(super) async fn look(config: &SeederConfig, zones: &[Zone]) -> Option<SocketAddr> {
    let addr = config.http.filter(|addr| addr.port() != 0)?;
    let answer = client::get(reachable(addr), "/api/v1/status").await.ok()?;
    let status = serde_json::from_value(answer).ok()?;
    is_ours(&status, &config.spec.network, zones).then_some(addr)
}

fn is_ours(status: &Status, network: &str, zones: &[Zone]) -> bool {
    let mut served = status.zones.iter();
    status.network == network
        && served.any(|own| zones.iter().any(|zone| zone.apex().to_string() == own.name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::zone::ZoneOptions;

    #[test]
    fn a_status_is_told_from_those_of_others() {
        let ours = serde_json::json!({"network": "testnet", "zones": [{"name": "seed.test."}], "serial": 7});
        let status = serde_json::from_value(ours).unwrap();
        let zones = ["seed.test", "other.test"]
            .map(|name| Zone::new(name, &ZoneOptions::default()).unwrap());
        assert!(is_ours(&status, "testnet", &zones));
        assert!(!is_ours(&status, "mainnet", &zones));
        assert!(!is_ours(&status, "testnet", &zones[1..]));
        let crawlers = serde_json::json!({"network": "testnet", "good": 3});
        assert!(serde_json::from_value::<Status>(crawlers).is_err());
    }
}
