//! What belongs into the parent zone: NS, the addresses of name servers within the zone (glue), and DS when it is
//! signed.

use std::sync::Arc;

use data_encoding::HEXUPPER;
use hickory_proto::rr::Name;

use crate::{
    dnssec::{
        key::Key,
        keyring::Keyring,
        sign::KEY_TTL,
        times::{Phase, Times},
    },
    zone::{Zone, dump},
};

/// The records that the parent of `zone` needs, in master file format; without DS where the zone is to become unsigned.
pub(crate) fn records(zone: &Zone, keys: &Keyring, now: i64) -> Vec<String> {
    let mut lines = delegation(zone);
    if keys.leaving(zone.apex_wire()).is_some() {
        return lines;
    }
    let keys = entry_points(keys.keys(zone.apex_wire()), now);
    // One that does not sign yet, or that caches do not know, would make answers bogus, unless another one is named beside it.
    let keys = keys.filter(|key| {
        let Times { sync_publish, .. } = key.times;
        key.times.phase(now) == Phase::Active && sync_publish.is_none_or(|at| at <= now)
    });
    lines.extend(keys.map(|key| ds(zone.apex(), &key.ds())));
    lines
}

/// NS and glue.
pub(crate) fn delegation(zone: &Zone) -> Vec<String> {
    let mut text = String::new();
    for set in std::iter::once(zone.delegation()).chain(zone.glue()) {
        // The server's own answers are read by others the same way; hickory knows NS, A and AAAA.
        for record in set.records().unwrap_or_default() {
            dump::line(&mut text, &record);
        }
    }
    text.lines().map(str::to_owned).collect()
}

/// The keys that a DS may name: those that are there and not on their way out.
pub(crate) fn entry_points(keys: &[Arc<Key>], now: i64) -> impl Iterator<Item = &Key> {
    let keys = keys.iter().map(AsRef::as_ref);
    keys.filter(move |key: &&Key| {
        let phase = key.times.phase(now);
        key.is_entry_point() && matches!(phase, Phase::Published | Phase::Active)
    })
}

/// A DS record of `zone` by its RDATA.
pub(crate) fn ds(zone: &Name, rdata: &[u8]) -> String {
    format!("{zone} {KEY_TTL} IN DS {}", ds_data(rdata))
}

/// RDATA of DS as people write it (RFC 4034, 5.3): key tag, algorithm, kind of digest, digest.
pub(crate) fn ds_data(rdata: &[u8]) -> String {
    match rdata {
        [high, low, algorithm, kind, digest @ ..] => format!(
            "{} {algorithm} {kind} {}",
            u16::from_be_bytes([*high, *low]),
            HEXUPPER.encode(digest)
        ),
        _ => HEXUPPER.encode(rdata),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        dnssec::key::{Algorithm, Role},
        zone::ZoneOptions,
    };

    #[test]
    fn all_that_the_parent_needs_and_no_more() {
        let servers = ["ns1.seed.example", "ns.elsewhere.example"].map(str::to_owned);
        let addresses = [
            "192.0.2.53".parse().unwrap(),
            "2001:db8::53".parse().unwrap(),
        ];
        let options = ZoneOptions {
            name_servers: &servers,
            name_server_addresses: &addresses,
            ..ZoneOptions::default()
        };
        let zone = Zone::new("seed.example", &options).unwrap();
        let make = |role, times| {
            Key::generate(*zone.apex_wire(), Algorithm::EcdsaP256, role, times).unwrap()
        };
        let old = Times {
            inactive: Some(50),
            ..Times::from_now(0)
        };
        let early = Times {
            activate: Some(200),
            ..Times::from_now(0)
        };
        let fresh = Times {
            sync_publish: Some(150),
            ..Times::from_now(0)
        };
        let keys = [
            make(Role::KeySigning, Times::from_now(0)),
            make(Role::ZoneSigning, Times::from_now(0)),
            make(Role::KeySigning, old),
            make(Role::KeySigning, early),
            make(Role::KeySigning, fresh),
        ];
        let ring = Keyring::default().with(zone.apex_wire(), &keys).unwrap();
        let [.., ds] = &*records(&zone, &ring, 100) else {
            panic!("no records")
        };
        assert!(ds.starts_with("seed.example. 3600 IN DS "), "{ds}");
        assert!(ds.contains(&format!(" {} 13 2 ", keys[0].tag())), "{ds}");
        assert_eq!(
            records(&zone, &ring, 100)[..4],
            [
                "seed.example. 3600 IN NS ns1.seed.example.",
                "seed.example. 3600 IN NS ns.elsewhere.example.",
                "ns1.seed.example. 3600 IN A 192.0.2.53",
                "ns1.seed.example. 3600 IN AAAA 2001:db8::53",
            ]
        );
        assert_eq!(records(&zone, &ring, 100).len(), 5);
        assert_eq!(records(&zone, &ring, 150).len(), 6, "caches know another");
        assert_eq!(records(&zone, &Keyring::default(), 100).len(), 4);
    }
}
