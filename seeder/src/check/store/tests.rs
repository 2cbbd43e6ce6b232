use quantumcoin::chain_spec::ChainSpec;

use super::*;

fn settings(store: Option<PathBuf>) -> SeederConfig {
    SeederConfig {
        store,
        ..SeederConfig::new(ChainSpec::by_name("testnet").unwrap())
    }
}

fn worst(findings: &[Finding]) -> &Finding {
    findings.iter().max_by_key(|found| found.level).unwrap()
}

fn wanted(bootstrap: usize) -> Wanted {
    Wanted {
        path: Some("/crawl.sqlite".into()),
        network: "testnet".to_owned(),
        bootstrap,
    }
}

fn of_store(state: &StoreState, bootstrap: usize) -> Finding {
    let findings = judge(state, &wanted(bootstrap), false, 10_000);
    worst(&findings).clone()
}

#[test]
fn without_a_store_there_is_nobody_to_serve() {
    let missing = || {
        StoreState::Failed(StoreError::Missing {
            path: "/crawl.sqlite".into(),
        })
    };
    let told = of_store(&missing(), 0);
    assert!(
        told.level == Level::Error && told.found.contains("is not there"),
        "{told:?}"
    );
    assert!(
        told.mend
            .unwrap()
            .contains("/var/lib/quantumcoin-crawler/testnet/crawl.sqlite")
    );
    let told = of_store(&missing(), 3);
    assert!(
        told.level == Level::Warning && told.found.contains("3 bootstrap nodes"),
        "{told:?}"
    );

    let denied = StoreState::Failed(StoreError::Open {
        path: "/crawl.sqlite".into(),
        reason: "unable to open database file".to_owned(),
    });
    let told = of_store(&denied, 0);
    assert!(told.found.starts_with("cannot open the store"), "{told:?}");
    assert!(told.mend.unwrap().contains("sudo -u quantumcoin"));
    for state in [
        StoreState::Nowhere,
        StoreState::Hangs,
        StoreState::Failed(StoreError::Closed),
    ] {
        assert_eq!(of_store(&state, 0).level, Level::Error, "{state:?}");
    }
}

#[test]
fn a_store_that_this_user_may_not_read_says_nothing() {
    for (at_work, level) in [(true, Level::Note), (false, Level::Warning)] {
        let told = judge(&StoreState::Denied, &wanted(0), at_work, 100).remove(0);
        assert_eq!(told.level, level);
        assert!(told.mend.unwrap().contains("sudo -u quantumcoin"));
    }
}

#[test]
fn a_store_of_another_network_is_an_error_whatever_else() {
    let told = of_store(&StoreState::OtherNetwork("mainnet".to_owned()), 3);
    assert_eq!(told.level, Level::Error);
    assert!(told.found.contains("crawl of mainnet") && told.found.contains("testnet"));
}

#[test]
fn a_crawl_is_judged_by_its_peers_and_their_age() {
    let good = Crawl {
        v4: 100,
        v6: 50,
        others: 3,
        newest: Some(9_990),
        stale: false,
    };
    let told = |crawl: Crawl| of_store(&StoreState::Read(crawl), 0);
    assert_eq!(told(good).level, Level::Ok);
    let stale = told(Crawl {
        stale: true,
        newest: Some(100),
        ..good
    });
    assert!(
        stale.level == Level::Warning && stale.found.contains("2 hours old"),
        "{stale:?}"
    );
    assert!(
        stale
            .mend
            .unwrap()
            .contains("systemctl status quantumcoin-crawler")
    );
    let no_v6 = told(Crawl { v6: 0, ..good });
    assert!(
        no_v6.level == Level::Note && no_v6.found.contains("AAAA"),
        "{no_v6:?}"
    );
    let nobody = told(Crawl {
        stale: true,
        ..Crawl::default()
    });
    assert!(
        nobody.level == Level::Error && nobody.found.contains("no good peer"),
        "{nobody:?}"
    );
}

#[tokio::test]
async fn no_file_is_told_from_a_damaged_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("crawl.sqlite");
    let config = settings(Some(path.clone()));
    let state = look(&config, 0).await;
    assert!(
        matches!(state, StoreState::Failed(StoreError::Missing { .. })),
        "{state:?}"
    );
    std::fs::write(&path, "no database").unwrap();
    let state = look(&config, 0).await;
    assert!(
        matches!(state, StoreState::Failed(StoreError::Corrupt { .. })),
        "{state:?}"
    );
    assert_eq!(state.newest_probe(), None);
    let nowhere = look(&settings(None), 0).await;
    assert!(matches!(nowhere, StoreState::Nowhere));
}
