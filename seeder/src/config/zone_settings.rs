//! What is different for one zone.

use std::{collections::BTreeSet, path::PathBuf};

use serde::Deserialize;

use crate::{
    snapshot::{NoSlice, Selection},
    zone::{ServerAddress, label},
};

/// Most filters of a zone that are written ahead: four times the customary ones; each takes up to half a megabyte.
const MAX_FILTERS: usize = 64;

/// Settings of a zone that can't be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// Its slice.
    #[error(transparent)]
    Slice(#[from] NoSlice),
    /// Its services, or one of its filters.
    #[error("{0:?} is no filter; write service bits as in the names, for instance x1 or x409")]
    Filter(String),
    /// So many filters.
    #[error(
        "{0} filters are to be written ahead, at most {MAX_FILTERS} can be; the others are answered all the same"
    )]
    Filters(usize),
}

/// A `[[zone]]` of the TOML file: what is left out is as for all zones.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ZoneSettings {
    /// The zone's name.
    pub name: String,
    /// See [`super::SeederConfig::name_servers`].
    pub name_servers: Option<Vec<String>>,
    /// See [`super::SeederConfig::name_server_addresses`].
    pub name_server_addresses: Option<Vec<ServerAddress>>,
    /// See [`super::SeederConfig::contact`].
    pub contact: Option<String>,
    /// See [`super::SeederConfig::ttl`].
    pub ttl: Option<u32>,
    /// See [`super::SeederConfig::keys`].
    pub keys: Option<PathBuf>,
    /// Which share of the peers it serves, as in `1/4`.
    pub slice: Option<String>,
    /// Service bits that all of its peers have, as in `x1`.
    pub services: Option<String>,
    /// Filters that are written ahead, as in `["x1", "x9"]`.
    pub filters: Option<Vec<String>>,
}

impl ZoneSettings {
    /// Which peers the zone serves.
    ///
    /// # Errors
    /// [`SettingsError`].
    pub fn selection(&self) -> Result<Selection, SettingsError> {
        let filter = |text: &String| {
            label::filter(text.as_bytes()).ok_or_else(|| SettingsError::Filter(text.clone()))
        };
        let mut selection = Selection::default();
        if let Some(slice) = &self.slice {
            selection.slice = slice.parse()?;
        }
        if let Some(services) = &self.services {
            selection.services = filter(services)?;
        }
        if let Some(filters) = &self.filters {
            let filters: Result<BTreeSet<u64>, _> = filters.iter().map(filter).collect();
            selection.filters = filters?.into_iter().collect();
        }
        if selection.filters.len() > MAX_FILTERS {
            return Err(SettingsError::Filters(selection.filters.len()));
        }
        Ok(selection)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use quantumcoin::chain_spec::ChainSpec;

    use super::*;
    use crate::{
        config::{ConfigError, Layers, SeederConfig},
        zone::Zone,
    };

    fn zones_of(text: &str) -> Result<Vec<Zone>, ConfigError> {
        let file: Layers = toml::from_str(text).unwrap();
        let config = SeederConfig {
            zones: file.zone.iter().map(|zone| zone.name.clone()).collect(),
            zone_settings: file.zone,
            ttl: file.ttl.unwrap_or(0),
            keys: file.keys,
            ..SeederConfig::new(ChainSpec::devnet())
        };
        config.build_zones()
    }

    #[test]
    fn a_zone_may_differ_from_the_others() {
        let text = r#"
            ttl = 90
            [[zone]]
            name = "A.test"
            ttl = 120
            slice = "1/2"
            services = "x1"
            filters = ["x9", "X1", "x9"]
            name_servers = ["ns.b.test"]
            [[zone]]
            name = "b.test"
        "#;
        let zones = zones_of(text).unwrap();
        let [own, other] = zones.as_slice() else {
            panic!("{zones:?}")
        };
        assert_eq!((own.ttl(), other.ttl()), (120, 90));
        assert_eq!(own.selection().filters, [1, 9]);
        assert_eq!(own.selection().services, 1);
        assert_eq!(own.selection().slice.to_string(), "1/2");
        assert_eq!(*other.selection(), Selection::default());
        assert_eq!((own.own_servers().len(), other.own_servers().len()), (0, 1));
    }

    #[test]
    fn what_is_wrong_with_a_zone_is_told_with_its_name() {
        let many: Vec<String> = (1..=65).map(|n| format!("\"x{n:x}\"")).collect();
        let cases = [
            ("slice = \"3/2\"".to_owned(), "as in 2/4"),
            ("services = \"9\"".to_owned(), "for instance x1"),
            ("filters = [\"x0\"]".to_owned(), "\"x0\" is no filter"),
            (format!("filters = [{}]", many.join(", ")), "65 filters"),
            ("ttl = 5".to_owned(), "out of range"),
            ("[[zone]]\nname = \"A.test.\"".to_owned(), "twice"),
        ];
        for (line, expected) in cases {
            let words = zones_of(&format!("[[zone]]\nname = \"a.test\"\n{line}"));
            let words = words.unwrap_err().to_string();
            assert!(words.contains(expected), "{line}: {words}");
        }
    }

    #[test]
    fn an_address_of_nobody_is_told() {
        let mut config = SeederConfig::new(ChainSpec::devnet());
        config.zones = vec!["a.test".to_owned()];
        config.name_server_addresses = vec!["ns1.a.test=192.0.2.1".parse().unwrap()];
        assert_eq!(
            config.build_zones().unwrap()[0]
                .name_server_addresses()
                .len(),
            1
        );
        config.name_server_addresses = vec!["ns2.a.test=192.0.2.1".parse().unwrap()];
        let words = config.build_zones().unwrap_err().to_string();
        assert!(words.contains("ns2.a.test. has an address"), "{words}");
        // Of a zone that is not served here.
        config.name_server_addresses = vec!["ns1.b.test=192.0.2.1".parse().unwrap()];
        assert!(
            config.build_zones().unwrap()[0]
                .name_server_addresses()
                .is_empty()
        );
        config.zone_settings = vec![ZoneSettings {
            name: "b.test".to_owned(),
            name_server_addresses: Some(vec!["ns1.a.test=192.0.2.1".parse().unwrap()]),
            ..ZoneSettings::default()
        }];
        config.build_zones().unwrap();
        config.zones.push("b.test".to_owned());
        let words = config.build_zones().unwrap_err().to_string();
        assert!(
            words.contains("no name server inside the zone b.test"),
            "{words}"
        );
    }

    #[test]
    fn each_zone_has_its_keys() {
        let mut config = SeederConfig::new(ChainSpec::devnet());
        config.keys = Some("/all".into());
        config.zones = vec!["a.test".to_owned(), "b.test.".to_owned()];
        config.zone_settings = vec![ZoneSettings {
            name: "B.test".to_owned(),
            keys: Some("/own".into()),
            ..ZoneSettings::default()
        }];
        let zones = config.build_zones().unwrap();
        let keys: Vec<_> = zones.iter().map(|zone| config.keys_of(zone)).collect();
        assert_eq!(keys, [Some(Path::new("/all")), Some(Path::new("/own"))]);
        // All select alike.
        assert_eq!(config.policy(&zones).selections.len(), 1);
    }
}
