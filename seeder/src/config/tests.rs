//! What settings come to, and what is refused.

use clap::{Args, FromArgMatches};
use quantumcoin::service::config::{
    Environment, Inputs, Loaded, Mistakes, SEEDER, flags::Flags, template,
};
use toml::Table;

use super::{keys::Everywhere, *};
use crate::audit::DEFAULT_AUDIT_SECONDS;

fn loaded(file: &Path, flags: &[&str]) -> Result<Loaded, Mistakes> {
    let line = std::iter::once("x").chain(flags.iter().copied());
    let command = Flags::<Everywhere>::augment_args(clap::Command::new("x"));
    let matches = command.try_get_matches_from(line).unwrap();
    let flags = Flags::<Everywhere>::from_arg_matches(&matches).unwrap();
    let inputs = Inputs {
        file: Some(file),
        environment: &Environment::default(),
        known_variables: &[],
        flags: flags.given(),
    };
    Loaded::read(&keys::PROGRAM, &inputs)
}

async fn configured(file: &Path, flags: &[&str]) -> Result<SeederConfig, Mistakes> {
    SeederConfig::of(&loaded(file, flags)?).await
}

fn written(text: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("seeder.toml");
    std::fs::write(&path, text).unwrap();
    (dir, path)
}

#[tokio::test]
async fn flags_win_over_the_file_and_the_file_over_defaults() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("seeder.toml");
    std::fs::write(
        &path,
        "network = \"devnet\"\nttl = 120\nzones = [\"a.test\"]\n",
    )
    .unwrap();
    let config = configured(&path, &[]).await.unwrap();
    assert_eq!((config.ttl, config.refresh_seconds), (120, 15));
    assert_eq!(config.spec.network, "devnet");
    assert_eq!(config.zones, ["a.test"]);
    std::fs::write(
        &path,
        "network = \"devnet\"\nttl = 120\nzones = [\"a.test\"]\n\
         [[zone]]\nname = \"a.test\"\nslice = \"1/2\"\n[[zone]]\nname = \"c.test\"\n",
    )
    .unwrap();
    let config = configured(&path, &[]).await.unwrap();
    assert_eq!(config.zones, ["a.test", "c.test"]);
    let slices: Vec<String> = config
        .build_zones()
        .unwrap()
        .iter()
        .map(|zone| zone.selection().slice.to_string())
        .collect();
    assert_eq!(slices, ["1/2", "1/1"]);
    let config = configured(&path, &["--ttl", "90", "--zone", "b.test"])
        .await
        .unwrap();
    assert_eq!((config.ttl, config.zones), (90, vec!["b.test".to_owned()]));
    std::fs::write(
        &path,
        "network = \"devnet\"\nzones = [\"A.test.\"]\n[[zone]]\nname = \"a.test\"\nttl = 120\nkeys = \"/own\"\n",
    )
    .unwrap();
    let config = configured(&path, &[]).await.unwrap();
    let zones = config.build_zones().unwrap();
    assert_eq!((zones.len(), zones[0].ttl()), (1, 120));
    let config = configured(&path, &["--ttl", "90", "--keys", "/flag"])
        .await
        .unwrap();
    let zones = config.build_zones().unwrap();
    assert_eq!(zones[0].ttl(), 90, "flags come before the file");
    assert_eq!(config.keys_of(&zones[0]).unwrap(), Path::new("/flag"));
}

#[test]
fn the_specs_seeds_are_the_zones_and_ports_are_dropped() {
    assert_eq!(without_port("seed1.example:5353"), "seed1.example");
    assert_eq!(without_port("seed1.example"), "seed1.example");
}

#[tokio::test]
async fn what_is_wrong_is_told_at_its_line() {
    let text = "zones = [\"a.test\"]\nlisten = [\"192.0.2.1:53\"]\n[tls]\ncertificate = \"/no/cert\"\nkey = \"/no/key\"\n\
                [[zone]]\nname = \"b.test\"\nkeys = \"/no/keys\"\n";
    let (_dir, path) = written(text);
    let loaded = loaded(&path, &[]).unwrap();
    let config = SeederConfig::of(&loaded).await.unwrap();
    let told: Vec<String> = config
        .examine()
        .into_iter()
        .map(|fault| loaded.locate(fault).to_string())
        .collect();
    let lines: Vec<&str> = told
        .iter()
        .map(|words| words.split(':').nth(1).unwrap())
        .collect();
    assert_eq!(lines, ["8", "4", "2"], "{told:#?}");
}

#[tokio::test]
async fn tls_without_its_files_is_refused() {
    for (text, line) in [
        ("[tls]\n", "1:2"),
        ("ttl = 60\n[tls]\nkey = \"/k\"\n", "2:2"),
    ] {
        let (_dir, path) = written(text);
        let words = configured(&path, &[]).await.unwrap_err().to_string();
        assert!(
            words.contains(&format!("seeder.toml:{line}: [tls] needs")),
            "{words}"
        );
    }
}

#[test]
fn the_description_and_the_layers_have_the_same_keys() {
    let keys: Vec<String> = keys::PROGRAM
        .keys()
        .map(|(section, key)| section.path(key))
        .collect();
    assert_eq!(
        keys, SEEDER,
        "quantumcoin::service::config::SEEDER lists them for the other programs"
    );
}

#[test]
fn the_template_has_every_key_with_its_default() {
    let template = template::text(&keys::PROGRAM);
    let lines = template.lines().filter_map(|line| line.strip_prefix('#'));
    let set: String = lines
        .filter(|line| !line.starts_with(' '))
        .map(|line| format!("{line}\n"))
        .collect();
    // The type refuses keys that it does not have.
    let layers: Layers = toml::from_str(&set).unwrap();
    let defaults = SeederConfig::new(ChainSpec::mainnet());
    assert_eq!(layers.listen, Some(defaults.listen));
    assert_eq!(layers.http, Some(DEFAULT_HTTP));
    assert_eq!(layers.refresh_seconds, Some(DEFAULT_REFRESH_SECONDS));
    assert_eq!(layers.rate_limit, Some(DEFAULT_LIMIT));
    assert_eq!(layers.udp_workers, Some(defaults.udp_workers));
    assert_eq!(layers.audit_seconds, Some(DEFAULT_AUDIT_SECONDS));
    assert_eq!(layers.ttl, Some(crate::zone::MIN_TTL));
    assert!(layers.tls.is_some() && layers.zone.len() == 1);
    // An address without a name is of all name servers.
    let told = format!("{layers:?}").replace("server: None", "");
    assert!(!told.contains("None"), "{told}");
    let (_dir, path) = written(&set);
    let layers: Layers = loaded(&path, &[]).unwrap().to(Table::new()).unwrap();
    assert_eq!(layers.zone[0].ttl, Some(120));
}
