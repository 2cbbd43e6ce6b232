//! What settings come to, and what is refused.

use quantumcoin::service::config::{Environment, Inputs, Loaded, Mistakes, NODE};

use quantumcoin::service::config::flags::Flags;
use quantumcoin::service::config::template;
use toml::Table;

use super::keys::OfRun;
use super::*;

fn settings(dir: &Path) -> Settings {
    Settings {
        network: Some("devnet".to_owned()),
        data_dir: Some(dir.to_owned()),
        ..Settings::default()
    }
}

fn loaded(file: &Path, flags: &[&str], variables: &[(&str, &str)]) -> Result<Loaded, Mistakes> {
    let line = std::iter::once("x").chain(flags.iter().copied());
    let command = <Flags<OfRun> as clap::Args>::augment_args(clap::Command::new("x"));
    let matches = command.try_get_matches_from(line).unwrap();
    let flags = <Flags<OfRun> as clap::FromArgMatches>::from_arg_matches(&matches).unwrap();
    let variables = variables
        .iter()
        .map(|(name, value)| (name.into(), value.into()));
    let inputs = Inputs {
        file: Some(file),
        environment: &Environment::of(variables),
        known_variables: &[],
        flags: flags.given(),
    };
    Loaded::read(&keys::PROGRAM, &inputs)
}

#[tokio::test]
async fn flags_win_over_variables_and_those_over_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("node.toml");
    let text = format!(
        "network = \"devnet\"\nlisten = \"127.0.0.1:1\"\nhttp = \"127.0.0.1:2\"\noutbound = 4\ndata_dir = {:?}\n",
        dir.path()
    );
    std::fs::write(&file, text).unwrap();
    let variables = [
        ("QTC_NODE_LISTEN", "127.0.0.1:4"),
        ("QTC_NODE_HTTP", "127.0.0.1:5"),
    ];
    let loaded = loaded(&file, &["--listen", "127.0.0.1:3"], &variables).unwrap();
    let config = NodeConfig::resolve(loaded.to(Table::new()).unwrap())
        .await
        .unwrap();
    assert_eq!(config.network.listen_addr.port(), 3);
    assert_eq!(config.http.port(), 5);
    assert_eq!(config.network.outbound_target, 4);
}

#[test]
fn the_description_and_the_settings_have_the_same_keys() {
    let value = serde_json::to_value(Settings::default()).unwrap();
    let mut fields: Vec<&str> = value
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect();
    let keys: Vec<&str> = keys::PROGRAM.keys().map(|(_, key)| key.name).collect();
    assert_eq!(
        keys, NODE,
        "quantumcoin::service::config::NODE lists them for the other programs"
    );
    let mut sorted = keys.clone();
    sorted.sort_unstable();
    fields.sort_unstable();
    assert_eq!(sorted, fields);
}

#[tokio::test]
async fn the_template_has_every_key_with_its_default() {
    let template = template::text(&keys::PROGRAM);
    let lines = template.lines().filter_map(|line| line.strip_prefix('#'));
    let set: String = lines
        .filter(|line| !line.starts_with(' '))
        .map(|line| format!("{line}\n"))
        .collect();
    let settings: Settings = toml::from_str(&set).unwrap();
    let value = serde_json::to_value(&settings).unwrap();
    for (name, value) in value.as_object().unwrap() {
        assert!(
            !value.is_null() && value != &serde_json::json!([]),
            "{name}: {value}"
        );
    }
    let spec = ChainSpec::mainnet();
    let default = NetworkConfig::new(([0, 0, 0, 0], spec.network_protocol.default_port).into());
    assert_eq!(settings.network.as_deref(), Some("mainnet"));
    assert_eq!(
        settings.http.map(|addr| addr.to_string()).as_deref(),
        Some(DEFAULT_HTTP)
    );
    assert_eq!(settings.dnssec, Some(DnssecChoice::default()));
    assert_eq!(settings.transports, Some(TransportChoice::default()));
    assert_eq!(settings.outbound, Some(default.outbound_target));
    assert_eq!(settings.log_format, Some(LogFormat::default()));
    let half_life = settings.penalty_half_life.map(Duration::from_secs);
    assert_eq!(half_life, Some(default.penalty_half_life));
    let nat = nat::settings(&[], &settings.port_mapping, settings.nat).unwrap();
    assert_eq!(
        (nat.mode, nat.protocols),
        (default.nat.mode, default.nat.protocols)
    );
}

#[tokio::test]
async fn an_examination_finds_everything_and_makes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let settings = Settings {
        data_dir: Some(dir.path().join("new")),
        listen: Some("192.0.2.1:8333".parse().unwrap()),
        http: Some("127.0.0.1:8332".parse().unwrap()),
        as_map: Some("/no/such/map".into()),
        trust_anchor: Some("/no/such/anchor".into()),
        outbound: Some(5_000),
        ..Settings::default()
    };
    let faults = NodeConfig::examine(settings).await;
    let keys: Vec<&str> = faults.iter().map(|fault| fault.key.as_str()).collect();
    assert_eq!(
        keys,
        ["trust_anchor", "outbound", "as_map", "listen"],
        "{faults:?}"
    );
    assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn what_does_not_belong_together_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut outside = settings(dir.path());
    outside.http = Some("0.0.0.0:8332".parse().unwrap());
    let error = NodeConfig::resolve(outside).await.unwrap_err().to_string();
    assert!(
        error.contains("loopback") && error.contains("--http-public"),
        "{error}"
    );
    let mut outside = settings(dir.path());
    outside.http = Some("0.0.0.0:8332".parse().unwrap());
    outside.http_public = Some(true);
    let config = NodeConfig::resolve(outside).await.unwrap();
    assert!(config.http.ip().is_unspecified());

    let mut miner = settings(dir.path());
    miner.network = Some("mainnet".to_owned());
    miner.mine_every = Some(1.0);
    let error = NodeConfig::resolve(miner).await.unwrap_err().to_string();
    assert!(error.contains("devnets"), "{error}");
}

#[tokio::test]
async fn more_outbound_connections_than_places_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let mut many = settings(dir.path());
    many.outbound = Some(123);
    let error = NodeConfig::resolve(many.clone()).await.unwrap_err();
    let error = error.to_string();
    assert!(
        error.contains("126") && error.contains("--outbound"),
        "{error}"
    );
    many.outbound = Some(122);
    NodeConfig::resolve(many).await.unwrap();
}

#[tokio::test]
async fn a_map_and_a_half_life_are_checked() {
    let dir = tempfile::tempdir().unwrap();
    let map = dir.path().join("as.dat");
    let resolve = |map: Option<&Path>, half_life| {
        let mut settings = settings(dir.path());
        settings.as_map = map.map(Path::to_owned);
        settings.penalty_half_life = half_life;
        NodeConfig::resolve(settings)
    };
    let error = resolve(Some(&map), None).await.unwrap_err().to_string();
    assert!(error.contains("as.dat"), "{error}");
    std::fs::write(&map, [0xff; 10]).unwrap();
    let error = resolve(Some(&map), None).await.unwrap_err().to_string();
    assert!(error.contains("as.dat"), "{error}");
    // All of the internet is AS 5.
    std::fs::write(&map, [0, 0x40, 0]).unwrap();
    let config = resolve(Some(&map), Some(60)).await.unwrap();
    let group = config.network.netgroups.of([8, 8, 8, 8].into());
    assert_eq!(group.to_string(), "AS5");
    assert_eq!(config.network.penalty_half_life, Duration::from_secs(60));
    let file = dir.path().join("node.toml");
    std::fs::write(&file, "penalty_half_life = 59\n").unwrap();
    let error = loaded(&file, &[], &[]).unwrap_err().to_string();
    assert!(
        error.contains("59") && error.contains("from 60 to"),
        "{error}"
    );
}

#[tokio::test]
async fn what_is_asked_of_dns_comes_from_the_file() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("node.toml");
    let anchor = dir.path().join("anchor");
    let key =
        "mdsswUyr3DPW132mOi8V9xESWE8jTo0dxCjjnopKl+GqJxpVXckHAeF+KkxLbxILfDLUT0rAK9iUzy1L53eKGQ==";
    std::fs::write(&anchor, format!("test. IN DNSKEY 257 3 13 {key}\n")).unwrap();
    let text = format!(
        "resolver = [\"system\", \"tls://9.9.9.9#dns.quad9.net\"]\ndnssec = \"require\"\n\
         trust_anchor = {anchor:?}\n"
    );
    std::fs::write(&file, text).unwrap();
    let data_dir = dir.path().to_str().unwrap();
    let flags = ["--network", "devnet", "--data-dir", data_dir];
    let merged = loaded(&file, &flags, &[]).unwrap();
    let config = NodeConfig::resolve(merged.to(Table::new()).unwrap())
        .await
        .unwrap();
    assert_eq!(config.network.dns_trust.dnssec, Dnssec::Require);
    let providers: Vec<_> = config
        .network
        .providers
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(providers, ["system", "tls://9.9.9.9:853#dns.quad9.net"]);

    let mut wrong = settings(dir.path());
    wrong.trust_anchor = Some(anchor);
    wrong.dnssec = Some(DnssecChoice::Off);
    let error = NodeConfig::resolve(wrong).await.unwrap_err().to_string();
    assert!(error.contains("dnssec is off"), "{error}");

    let mut missing = settings(dir.path());
    missing.resolver_ca = Some(dir.path().join("none.pem"));
    let error = NodeConfig::resolve(missing).await.unwrap_err().to_string();
    assert!(error.contains("none.pem"), "{error}");

    let mut unknown = settings(dir.path());
    unknown.resolver = vec!["tls://dns.quad9.net".to_owned()];
    let error = NodeConfig::resolve(unknown).await.unwrap_err().to_string();
    assert!(error.contains("resolver"), "{error}");
}

#[test]
fn resolvers_may_leave_the_port_out() {
    assert_eq!(
        provider("9.9.9.9").unwrap(),
        Provider::Server("9.9.9.9:53".parse().unwrap())
    );
    assert_eq!(
        provider("[::1]:5353").unwrap(),
        Provider::Server("[::1]:5353".parse().unwrap())
    );
    assert!(provider("nonsense").is_err());
}
