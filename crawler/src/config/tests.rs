//! What settings come to.

use quantumcoin::service::config::{CRAWLER, Environment, Inputs, Loaded, Mistakes, template};
use serde_json::json;
use toml::Table;

use super::*;

fn loaded(text: &str, variables: &[(&str, &str)]) -> Result<Loaded, Mistakes> {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("crawler.toml");
    std::fs::write(&file, text).unwrap();
    let variables = variables
        .iter()
        .map(|(name, value)| (name.into(), value.into()));
    let inputs = Inputs {
        file: Some(&file),
        environment: &Environment::of(variables),
        known_variables: &[],
        flags: &[],
    };
    Loaded::read(&keys::PROGRAM, &inputs)
}

async fn resolved(text: &str, variables: &[(&str, &str)]) -> Result<CrawlerConfig, Mistakes> {
    let dir = tempfile::tempdir().unwrap();
    let text = format!("data_dir = {:?}\n{text}", dir.path());
    CrawlerConfig::resolve(&loaded(&text, variables)?).await
}

#[tokio::test]
async fn a_file_may_set_a_part_and_variables_go_before_it() {
    let text = "[schedule]\ngood_min_secs = 2\ngood_max_secs = 3\n[pace]\ndials_per_second = 5\n";
    let variables = [
        ("QTC_CRAWLER_PACE_DIALS_PER_SECOND", "7"),
        ("QTC_CRAWLER_GEO_COUNTRIES", ""),
        ("QTC_CRAWLER_TRUSTED_PROXIES", "127.0.0.1/32, ::1/128"),
        ("QTC_CRAWLER_DNS", "false"),
    ];
    let config = resolved(text, &variables).await.unwrap();
    assert_eq!(config.settings.schedule.good_max_secs, 3);
    assert_eq!(config.settings.schedule.backoff_cap_secs, 86_400);
    assert_eq!(config.settings.pace.dials_per_second, 7);
    assert_eq!(config.settings.trusted_proxies.len(), 2);
    assert!(config.resolvers.is_empty());
}

#[tokio::test]
async fn what_a_file_leaves_out_is_as_the_network_has_it() {
    let text = "network = \"devnet\"\n[good]\nmax_age_secs = 60\n[pace]\nmax_in_flight = 9\n";
    let config = resolved(text, &[]).await.unwrap();
    let policy = config.good_policy();
    assert_eq!(
        (policy.max_age_secs, policy.max_netgroup_percent),
        (60, 100)
    );
    assert!(policy.allow_private_addresses);
    assert_eq!(config.settings.pace.dials_per_subnet_minute, 0);
    assert_eq!(config.settings.schedule.good_max_secs, 15);
}

#[tokio::test]
async fn what_is_out_of_order_or_absent_is_told_by_key() {
    let text = "do_not_probe = \"/no/such/list\"\ndns = false\nresolver = [\"9.9.9.9\"]\n\
                [schedule]\ngood_min_secs = 3600\n[geo]\ncountries = \"/no/such/db\"\nsystems = \"/nor/this\"\n";
    let faults = CrawlerConfig::examine(&loaded(text, &[]).unwrap())
        .await
        .unwrap();
    let keys: Vec<&str> = faults.iter().map(|fault| fault.key.as_str()).collect();
    let expected = [
        "do_not_probe",
        "geo.countries",
        "geo.systems",
        "resolver",
        "schedule.good_max_secs",
    ];
    assert_eq!(keys, expected, "{faults:?}");
}

#[test]
fn the_description_and_the_types_have_the_same_keys() {
    let keys: Vec<String> = keys::PROGRAM
        .keys()
        .map(|(section, key)| section.path(key))
        .collect();
    assert_eq!(
        keys, CRAWLER,
        "quantumcoin::service::config::CRAWLER lists them for the other programs"
    );
    let start: Start = toml::from_str(
        "http = \"[::1]:1\"\nresolver = []\ndns = true\nbootstrap = true\nlog = \"\"",
    )
    .unwrap();
    let settings = Settings {
        good: Some(GoodPolicy::default()),
        ..Settings::default()
    };
    let mut fields = Vec::new();
    for value in [
        serde_json::to_value(start).unwrap(),
        serde_json::to_value(settings).unwrap(),
    ] {
        for (name, value) in value.as_object().unwrap() {
            match value.as_object() {
                Some(section) => fields.extend(section.keys().map(|key| format!("{name}.{key}"))),
                None => fields.push(name.clone()),
            }
        }
    }
    let mut keys = keys;
    keys.sort_unstable();
    fields.sort_unstable();
    assert_eq!(keys, fields);
}

#[test]
fn the_template_has_every_key_with_its_default() {
    let template = template::text(&keys::PROGRAM);
    let set: String = template
        .lines()
        .map(|line| line.strip_prefix('#').unwrap_or(line))
        .filter(|line| !line.starts_with(' '))
        .map(|line| format!("{line}\n"))
        .collect();
    let settings: Settings = toml::from_str(&set).unwrap();
    let start: Start = toml::from_str(&set).unwrap();
    assert_eq!(
        (start.dns, start.bootstrap, start.resolver),
        (true, true, vec!["system".to_owned()])
    );
    assert_eq!(start.http.to_string(), DEFAULT_HTTP);
    let mut read = serde_json::to_value(&settings).unwrap();
    // What is an example there and has no value by itself.
    for (section, keys) in [
        ("", &["contact", "do_not_probe", "seeders"][..]),
        ("limits", &["connect_ms", "secure_ms"]),
        ("geo", &["countries", "systems"]),
        ("proxies", &["onion", "i2p"]),
    ] {
        let table = if section.is_empty() {
            &mut read
        } else {
            &mut read[section]
        };
        for key in keys {
            assert!(!table[key].is_null(), "{section}.{key}");
            table[key] = json!(null);
        }
    }
    let mut default = serde_json::to_value(Settings::default()).unwrap();
    default["good"] = serde_json::to_value(GoodPolicy::default()).unwrap();
    assert_eq!(read, default);
    let loaded = loaded(&set.replace("/usr/share", "/nowhere"), &[]).unwrap();
    assert_eq!(
        loaded.to::<Settings>(Table::new()).unwrap().limits,
        settings.limits
    );
}

#[test]
fn the_chain_spec_gives_the_devnet_switch_and_the_minimum_version() {
    let spec = Arc::new(ChainSpec::devnet());
    let config = CrawlerConfig::new(spec, Path::new("/tmp"));
    assert!(config.good_policy().allow_private_addresses);
    let mainnet = CrawlerConfig::new(Arc::new(ChainSpec::mainnet()), Path::new("/tmp"));
    assert!(!mainnet.good_policy().allow_private_addresses);
}
