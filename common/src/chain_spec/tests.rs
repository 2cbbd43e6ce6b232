//! What a spec file may say, what it must not, and what the person who wrote it is told.

use std::io::Write as _;

use super::*;

fn fault(text: &str) -> SpecFault {
    match ChainSpec::from_toml(text, "my.toml") {
        Err(ChainSpecError::Invalid(fault)) => *fault,
        other => panic!("expected a fault, got {other:?}"),
    }
}

/// The line that `needle` stands on.
fn line_of(text: &str, needle: &str) -> usize {
    1 + text
        .lines()
        .position(|line| line.contains(needle))
        .expect("needle is in the text")
}

/// A built-in text with one piece replaced.
fn changed(text: &str, from: &str, to: &str) -> String {
    assert!(text.contains(from), "{from:?} is not in the text");
    text.replacen(from, to, 1)
}

/// The fault that a devnet with one changed piece has; checks that its line is the changed one.
fn devnet_fault(from: &str, to: &str) -> SpecFault {
    let text = changed(DEVNET_TOML, from, to);
    let fault = fault(&text);
    assert_eq!(
        fault.line,
        line_of(&text, to.lines().next().unwrap_or(to)),
        "{fault}"
    );
    fault
}

#[test]
fn built_in_specs_hold() {
    for (text, name) in [
        (MAINNET_TOML, "mainnet"),
        (TESTNET_TOML, "testnet"),
        (DEVNET_TOML, "devnet"),
    ] {
        let spec = parse::parse_built_in(text, name).unwrap();
        assert_eq!(spec.network, name);
        assert_eq!(ChainSpec::by_name(name), Some(spec.clone()));
        assert_eq!(ChainSpec::from_toml(text, name).unwrap(), spec);
        assert_eq!(spec.genesis_hash().to_string(), spec.genesis.hash);
    }
    assert_eq!(ChainSpec::by_name("regtest"), None);
}

#[test]
fn mainnet_is_as_published() {
    let spec = ChainSpec::mainnet();
    assert_eq!(spec.magic().to_bytes(), *b"QTCM");
    assert_eq!(spec.network_protocol.protocol_version, 70015);
    assert_eq!(spec.network_protocol.default_port, 8333);
    assert_eq!(spec.network_protocol.max_connections, 125);
    assert_eq!(spec.network_protocol.connection_timeout, 5);
    let seeds: Vec<String> = (1..=4)
        .map(|n| format!("seed{n}.quantumcoin.network:8333"))
        .collect();
    assert_eq!(spec.discovery.dns_seeds, seeds);
    let genesis = spec.genesis_block();
    assert_eq!(genesis.txdata[0].output[0].value, bitcoin::Amount::ZERO);
    assert!(
        genesis
            .header
            .validate_pow(bitcoin::Target::MAX_ATTAINABLE_MAINNET)
            .is_ok(),
        "the library agrees that the proof of work holds at difficulty 1"
    );
}

#[test]
fn mainnet_text_is_complete() {
    // Defaults come from this text, so it must not need them: every key of a full rendering is in it.
    let value: toml::Table = MAINNET_TOML.parse().unwrap();
    let rendered: toml::Table = ChainSpec::mainnet().to_toml().parse().unwrap();
    assert_eq!(value, rendered);
}

#[test]
fn toml_round_trips() {
    for spec in [
        ChainSpec::mainnet(),
        ChainSpec::testnet(),
        ChainSpec::devnet(),
    ] {
        let text = spec.to_toml();
        assert_eq!(ChainSpec::from_toml(&text, "rendered").unwrap(), spec);
    }
    assert!(
        ChainSpec::mainnet()
            .to_toml()
            .contains("magic_bytes = [0x51, 0x54, 0x43, 0x4D]")
    );
    assert!(
        ChainSpec::mainnet()
            .to_toml()
            .contains("pow_limit_bits = 0x1d00ffff")
    );
    let mut odd = ChainSpec::devnet();
    odd.name = "quote \" backslash \\ ünïcode".into();
    assert_eq!(ChainSpec::from_toml(&odd.to_toml(), "odd").unwrap(), odd);
}

#[test]
fn the_five_published_keys_are_enough() {
    let text = "[network_protocol]\nmagic_bytes = [0x51, 0x54, 0x43, 0x4D]  # \"QTCM\"\nprotocol_version = 70015\ndefault_port = 8333  \nmax_connections = 125\nconnection_timeout = 5\n";
    assert_eq!(
        ChainSpec::from_toml(text, "five").unwrap(),
        ChainSpec::mainnet()
    );
    assert_eq!(
        ChainSpec::from_toml("", "empty").unwrap(),
        ChainSpec::mainnet()
    );
}

#[test]
fn unknown_key_names_the_nearest() {
    let text = changed(MAINNET_TOML, "default_port", "defualt_port");
    let fault = fault(&text);
    assert_eq!(fault.key, "network_protocol.defualt_port");
    assert_eq!(fault.line, line_of(&text, "defualt_port"));
    assert_eq!(fault.column, 1);
    assert!(fault.remedy.contains("`default_port`"), "{fault}");
    assert!(
        fault
            .to_string()
            .starts_with(&format!("my.toml:{}:1: ", fault.line))
    );
}

#[test]
fn misplaced_key_names_its_table() {
    let fault = fault("default_port = 8333\n");
    assert_eq!((fault.line, fault.key.as_str()), (1, "default_port"));
    assert!(fault.remedy.contains("[network_protocol]"), "{fault}");
}

#[test]
fn hopeless_key_lists_the_known() {
    assert!(fault("xyzzy = 1\n").remedy.contains("network_protocol"));
}

#[test]
fn missing_key_is_named_at_its_table() {
    let text = changed(MAINNET_TOML, "default_port = 8333", "");
    let fault = fault(&text);
    assert_eq!(fault.key, "network_protocol.default_port");
    assert_eq!(fault.line, line_of(&text, "magic_bytes =") - 1);
}

#[test]
fn wrong_type_is_placed() {
    let fault = devnet_fault("default_port = 8333", "default_port = \"8333\"");
    assert_eq!(fault.key, "network_protocol.default_port");
    assert_eq!(fault.column, 16);
    assert!(fault.remedy.contains("without quotes"), "{fault}");
    assert_eq!(
        devnet_fault("default_port = 8333", "default_port = 70000").key,
        "network_protocol.default_port"
    );
    assert_eq!(
        devnet_fault("bootstrap_nodes = []", "bootstrap_nodes = [\"192.0.2.1\"]").key,
        "discovery.bootstrap_nodes[0]"
    );
    let magic = devnet_fault("[0x51, 0x54, 0x43, 0x44]", "[0x51, 0x54, 0x43, 0x100]");
    assert_eq!(magic.key, "network_protocol.magic_bytes[3]");
    assert_eq!(
        devnet_fault("[0x51, 0x54, 0x43, 0x44]", "[0x51, 0x54]").key,
        "network_protocol.magic_bytes"
    );
}

#[test]
fn syntax_error_is_placed() {
    let text = changed(DEVNET_TOML, "default_port = 8333", "default_port = = 8333");
    let fault = fault(&text);
    assert_eq!(fault.line, line_of(&text, "= = 8333"));
    assert!(fault.problem.starts_with("not valid TOML"), "{fault}");
}

#[test]
fn each_value_rule_bites() {
    let cases = [
        ("network = \"devnet\"", "network = \"Dev Net\"", "network"),
        ("symbol = \"dQTC\"", "symbol = \"\"", "symbol"),
        ("decimals = 8", "decimals = 19", "decimals"),
        ("= \"dqtc\"", "= \"dQTC\"", "address_prefix"),
        ("= \"dqtc\"", "= \"\"", "address_prefix"),
        ("= \"dqtc\"", "= \"1dqtc\"", "address_prefix"),
        ("= \"dqtc\"", "= \"d-qtc\"", "address_prefix"),
        (
            "[0x51, 0x54, 0x43, 0x44]",
            "[0, 0, 0, 0]",
            "network_protocol.magic_bytes",
        ),
        (
            "[0x51, 0x54, 0x43, 0x44]",
            "[0x51, 0x54, 0x43, 0x4D]",
            "network_protocol.magic_bytes",
        ),
        (
            "protocol_version = 70015",
            "protocol_version = 0",
            "network_protocol.protocol_version",
        ),
        (
            "min_protocol_version = 70010",
            "min_protocol_version = 70016",
            "network_protocol.min_protocol_version",
        ),
        (
            "default_port = 8333",
            "default_port = 0",
            "network_protocol.default_port",
        ),
        (
            "max_connections = 125",
            "max_connections = 0",
            "network_protocol.max_connections",
        ),
        (
            "connection_timeout = 5",
            "connection_timeout = 0",
            "network_protocol.connection_timeout",
        ),
        (
            "max_connections_per_subnet = 125",
            "max_connections_per_subnet = 2",
            "network_protocol.max_connections_per_subnet",
        ),
        (
            "max_connections_per_subnet = 125",
            "max_connections_per_subnet = 126",
            "network_protocol.max_connections_per_subnet",
        ),
        (
            "max_messages_per_minute = 100",
            "max_messages_per_minute = 0",
            "network_protocol.max_messages_per_minute",
        ),
        (
            "max_bytes_per_minute = 1_000_000",
            "max_bytes_per_minute = 1",
            "network_protocol.max_bytes_per_minute",
        ),
        (
            "dns_seeds = []",
            "dns_seeds = [\"192.0.2.1:8333\"]",
            "discovery.dns_seeds[0]",
        ),
        (
            "dns_seeds = []",
            "dns_seeds = [\"a.example\", \"under_score.example\"]",
            "discovery.dns_seeds[1]",
        ),
        (
            "dns_seeds = []",
            "dns_seeds = [\"a.example:0\"]",
            "discovery.dns_seeds[0]",
        ),
        (
            "dns_seeds = []",
            "dns_seeds = [\"a.example\", \"A.example\"]",
            "discovery.dns_seeds[1]",
        ),
        (
            "bootstrap_nodes = []",
            "bootstrap_nodes = [\"0.0.0.0:1\"]",
            "discovery.bootstrap_nodes[0]",
        ),
        (
            "target_spacing = 1",
            "target_spacing = 0",
            "consensus.target_spacing",
        ),
        (
            "asert_half_life = 0",
            "asert_half_life = 5_000_000_000",
            "consensus.asert_half_life",
        ),
        (
            "pow_limit_bits = 0x207fffff",
            "pow_limit_bits = 0x20ffffff",
            "consensus.pow_limit_bits",
        ),
        (
            "pow_limit_bits = 0x207fffff",
            "pow_limit_bits = 0x1d00ffff",
            "genesis.bits",
        ),
        (
            "halving_interval = 105_120",
            "halving_interval = 0",
            "consensus.halving_interval",
        ),
        (
            "max_money = 2_200_000_000_000_000",
            "max_money = 0",
            "consensus.max_money",
        ),
        (
            "max_block_bytes = 4_000_000",
            "max_block_bytes = 10",
            "consensus.max_block_bytes",
        ),
        (
            "coinbase_maturity = 100",
            "coinbase_maturity = 0",
            "consensus.coinbase_maturity",
        ),
        (
            "max_future_seconds = 7_200",
            "max_future_seconds = 0",
            "consensus.max_future_seconds",
        ),
        (
            "= \"0000000000000000000000000000000000000000000000000000000000000002\"",
            "= \"0x02\"",
            "consensus.minimum_chain_work",
        ),
        (
            "= \"0000000000000000000000000000000000000000000000000000000000000002\"",
            "= \"2000000000000000000000000000000000000000000000000000000000000000\"",
            "consensus.minimum_chain_work",
        ),
        ("version = 1\n", "version = 0\n", "genesis.version"),
        ("time = 1736899200", "time = 0", "genesis.time"),
        (
            "bits = 0x207fffff\nnonce",
            "bits = 0x2100ffff\nnonce",
            "genesis.bits",
        ),
        (
            "message = \"QuantumCoin",
            "message = \"QUantumCoin",
            "genesis.merkle_root",
        ),
        ("extra_nonce = 0", "extra_nonce = 1", "genesis.merkle_root"),
        ("hash = \"66", "hash = \"67", "genesis.hash"),
        ("hash = \"66", "hash = \"zz", "genesis.hash"),
    ];
    for (from, to, key) in cases {
        let text = changed(DEVNET_TOML, from, to);
        let fault = fault(&text);
        assert_eq!(fault.key, key, "after {from:?} -> {to:?}: {fault}");
        assert!(!fault.remedy.is_empty() && fault.line > 1, "{fault}");
        let key_name = key.rsplit('.').next().unwrap().split('[').next().unwrap();
        let line = text.lines().nth(fault.line - 1).unwrap();
        assert!(
            line.trim_start().starts_with(key_name),
            "{fault} points at {line:?}"
        );
    }
}

#[test]
fn a_genesis_without_work_is_refused() {
    let text = changed(MAINNET_TOML, "nonce = 1407042245", "nonce = 1407042246");
    match parse::parse_built_in(&text, "my.toml") {
        Err(ChainSpecError::Invalid(fault)) => {
            assert_eq!(fault.key, "genesis.nonce");
            assert!(fault.remedy.contains("genesis mine"), "{fault}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn subsidies_over_the_cap_are_refused() {
    let one_more = changed(
        DEVNET_TOML,
        "initial_subsidy = 10_464_231_367",
        "initial_subsidy = 10_464_231_368",
    );
    assert_eq!(fault(&one_more).key, "consensus.initial_subsidy");
}

#[test]
fn mainnet_is_immutable() {
    for (from, to, key) in [
        (
            "target_spacing = 600",
            "target_spacing = 60",
            "consensus.target_spacing",
        ),
        (
            "coinbase_maturity = 100",
            "coinbase_maturity = 99",
            "consensus.coinbase_maturity",
        ),
        (
            "0x51, 0x54, 0x43, 0x4D",
            "0x51, 0x54, 0x43, 0x4E",
            "network_protocol.magic_bytes",
        ),
        ("= \"qtc\"", "= \"qts\"", "address_prefix"),
    ] {
        let fault = fault(&changed(MAINNET_TOML, from, to));
        assert_eq!(fault.key, key);
        assert!(fault.remedy.contains("another name"), "{fault}");
    }
    let other_genesis = changed(DEVNET_TOML, "network = \"devnet\"", "network = \"mainnet\"");
    assert_eq!(fault(&other_genesis).key, "network_protocol.magic_bytes");
    // What is not consensus may change.
    let port = changed(MAINNET_TOML, "default_port = 8333", "default_port = 9333");
    assert_eq!(
        ChainSpec::from_toml(&port, "port")
            .unwrap()
            .network_protocol
            .default_port,
        9333
    );
}

#[test]
fn another_network_needs_its_own_numbers() {
    assert_eq!(fault("network = \"mynet\"\n").key, "network");
    let mine = changed(DEVNET_TOML, "network = \"devnet\"", "network = \"mynet\"");
    assert_eq!(fault(&mine).key, "network_protocol.magic_bytes");
    let mine = changed(&mine, "0x51, 0x54, 0x43, 0x44", "0x51, 0x54, 0x43, 0x58");
    assert_eq!(
        ChainSpec::from_toml(&mine, "mine").unwrap().network,
        "mynet"
    );
}

#[test]
fn each_network_has_its_own_addresses() {
    let prefix = |spec: ChainSpec| spec.address_prefix;
    assert_eq!(prefix(ChainSpec::mainnet()), "qtc");
    assert_eq!(prefix(ChainSpec::testnet()), "tqtc");
    assert_eq!(prefix(ChainSpec::devnet()), "dqtc");
    // Left out, it is mainnet's, as with the other keys.
    let without = changed(DEVNET_TOML, "address_prefix = \"dqtc\"\n", "");
    assert_eq!(prefix(ChainSpec::from_toml(&without, "w").unwrap()), "qtc");
}

#[tokio::test]
async fn an_absent_file_falls_back_and_only_then() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("chain_spec.toml");
    assert_eq!(
        ChainSpec::load_or_default(&path).await.unwrap(),
        ChainSpec::mainnet()
    );
    assert!(matches!(
        ChainSpec::load(&path).await,
        Err(ChainSpecError::NotFound { .. })
    ));

    std::fs::write(&path, DEVNET_TOML).unwrap();
    assert_eq!(
        ChainSpec::load_or_default(&path).await.unwrap(),
        ChainSpec::devnet()
    );

    std::fs::write(&path, "nonsense").unwrap();
    let error = ChainSpec::load_or_default(&path)
        .await
        .unwrap_err()
        .to_string();
    assert!(
        error.starts_with(&format!("{}:1:", path.display())) && error.contains("help: "),
        "{error}"
    );
}

#[tokio::test]
async fn what_is_no_text_file_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    assert!(matches!(
        ChainSpec::load_or_default(dir.path()).await,
        Err(ChainSpecError::NotAFile { .. })
    ));

    let binary = dir.path().join("binary.toml");
    std::fs::write(&binary, b"name = \"x\"\n\xff\xfe").unwrap();
    let error = ChainSpec::load_or_default(&binary).await.unwrap_err();
    assert!(
        matches!(
            error,
            ChainSpecError::NotUtf8 {
                line: 2,
                offset: 11,
                ..
            }
        ),
        "{error}"
    );

    let large = dir.path().join("large.toml");
    let mut file = std::fs::File::create(&large).unwrap();
    for _ in 0..=MAX_SPEC_BYTES / 1024 {
        file.write_all(&[b'#'; 1024]).unwrap();
    }
    assert!(matches!(
        ChainSpec::load_or_default(&large).await,
        Err(ChainSpecError::TooLarge { .. })
    ));
}

proptest::proptest! {
    /// Whatever one edit does to a good text: no panic, and a fault lies within the text.
    #[test]
    fn an_edited_text_is_read_or_refused_with_a_place(at in 0_usize..2_000, remove in 0_usize..20, insert in ".{0,4}") {
        let start = DEVNET_TOML.floor_char_boundary(at % DEVNET_TOML.len());
        let end = DEVNET_TOML.floor_char_boundary((start + remove).min(DEVNET_TOML.len()));
        let text = [&DEVNET_TOML[..start], &insert, &DEVNET_TOML[end..]].concat();
        match ChainSpec::from_toml(&text, "edited") {
            Ok(_) => {}
            Err(ChainSpecError::Invalid(fault)) => {
                proptest::prop_assert!(fault.line <= text.lines().count() + 1 && !fault.remedy.is_empty());
            }
            Err(error) => proptest::prop_assert!(false, "{error}"),
        }
    }
}
