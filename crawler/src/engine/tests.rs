use std::path::Path;

use quantumcoin::chain_spec::ChainSpec;
use quantumcoin::service::health::Health;
use quantumcoin::transport::Identity;
use tempfile::TempDir;

use super::*;
use crate::weather::SUSPECTS;

async fn engine(dir: &Path) -> Engine {
    let spec = Arc::new(ChainSpec::devnet());
    let config = CrawlerConfig::new(Arc::clone(&spec), dir);
    let options = config.store_options();
    let store = Store::open(&config.store_path(), options).await.unwrap();
    let identity = Arc::new(Identity::generate().unwrap());
    let parts = Parts {
        reader: StoreReader::open(&config.store_path()).await.unwrap(),
        store: Arc::new(store),
        prober: Arc::new(Prober::new(&config, identity, 1)),
        metrics: CrawlMetrics::new().unwrap(),
        check: Health::new().check("crawl"),
        reloads: None,
        rules: watch::channel(Rules::of(&config)).0,
        progress: watch::channel(Progress::default()).0,
        config,
    };
    Engine::new(parts, Mode::Run)
}

fn addr(n: u8) -> SocketAddr {
    SocketAddr::from(([127, 0, 9, n], 8333))
}

fn finished(outcome: Outcome) -> Finished {
    Finished {
        addr: addr(1),
        entry: Entry::new(0),
        probe: Probe {
            outcome,
            stage: quantumcoin::reachability::Stage::Done,
            duration: Duration::ZERO,
            observed: quantumcoin::store::Observation::default(),
            tip: None,
            told: Vec::new(),
            detail: String::new(),
        },
        at: unix_now(),
    }
}

#[tokio::test]
async fn a_store_that_can_not_be_read_does_not_end_the_crawl() {
    let dir = TempDir::new().unwrap();
    let mut engine = engine(dir.path()).await;
    engine.reader.close().await;
    assert!(engine.reader.visit_requests(1).await.is_err());
    engine.tick().await.unwrap();
}

#[tokio::test]
async fn a_request_that_the_disk_keeps_is_taken_once() {
    let dir = TempDir::new().unwrap();
    let mut engine = engine(dir.path()).await;
    let request = Write::RequestVisit(addr(1), 1);
    engine.store.write(request).await.unwrap();
    engine.store.flush().await.unwrap();
    engine.tick().await.unwrap();
    let (visited, entry) = engine.frontier.pop_due(unix_now()).unwrap();
    assert_eq!(visited, addr(1));
    let later = Entry {
        due: NEVER,
        ..entry
    };
    engine.frontier.finish(visited, later);
    // The writer commits within a second; until then the request is still there.
    if !engine.reader.visit_requests(1).await.unwrap().is_empty() {
        engine.tick().await.unwrap();
        assert_eq!(engine.frontier.pop_due(unix_now()), None);
    }
}

#[tokio::test]
async fn failures_that_wait_have_other_good_peers_visited_at_once() {
    let dir = TempDir::new().unwrap();
    let mut engine = engine(dir.path()).await;
    let now = unix_now();
    for n in 1..=3 {
        let entry = Entry {
            class: crate::frontier::Class::Good,
            ..Entry::new(now + 1_000)
        };
        engine.frontier.add(addr(n), entry);
    }
    let lost = finished(Outcome::TimeoutConnect);
    let before = now - crate::weather::CANARIES_AFTER_SECS;
    engine
        .weather
        .observe(Road::V4, lost, Outcome::TimeoutConnect, true, before);
    assert!(engine.frontier.next_due().unwrap() > now);
    engine.tick().await.unwrap();
    for n in 1..=3 {
        assert_eq!(engine.frontier.pop_due(unix_now()).unwrap().0, addr(n));
    }
    // All of them fail as well, so it is us.
    for _ in 1..=3 {
        let lost = finished(Outcome::TimeoutConnect);
        engine
            .weather
            .observe(Road::V4, lost, Outcome::TimeoutConnect, true, now);
    }
    assert!(engine.weather.is_down(Road::V4));
}

/// Four good peers, of which one is banned, fail one after the other: nobody is left to ask, so it is us.
#[tokio::test]
async fn canaries_are_those_who_may_be_dialled_and_none_is_needed_when_all_have_failed() {
    let dir = TempDir::new().unwrap();
    let mut engine = engine(dir.path()).await;
    let now = unix_now();
    for n in 1..=4 {
        let due = if n == 4 { now + 1_000 } else { now };
        let entry = Entry {
            class: crate::frontier::Class::Good,
            ..Entry::new(due)
        };
        engine.frontier.add(addr(n), entry);
    }
    let ban = quantumcoin::store::Ban {
        net: addr(4).ip().into(),
        at: now,
        until: None,
        reason: String::new(),
    };
    engine.store.write(Write::Ban(ban)).await.unwrap();
    engine.store.flush().await.unwrap();
    engine.tick().await.unwrap();
    for n in 1..=3 {
        let (visited, entry) = engine.frontier.pop_due(now).unwrap();
        assert_eq!(visited, addr(n));
        let lost = Finished {
            addr: visited,
            entry,
            at: now - 10,
            ..finished(Outcome::TimeoutConnect)
        };
        engine.finished(lost).await.unwrap();
    }
    assert!(!engine.weather.is_down(Road::V4), "they are held back");
    engine.tick().await.unwrap();
    assert!(engine.weather.is_down(Road::V4));
    assert_eq!(engine.frontier.get(addr(4)).unwrap().due, now + 1_000);
    assert_eq!(engine.frontier.get(addr(1)).unwrap().failures, 0);
    engine.store.flush().await.unwrap();
    assert!(engine.reader.good_peers(now).await.unwrap().stale);
}

#[tokio::test]
async fn an_earlier_runs_outage_ends_with_the_first_answer() {
    let dir = TempDir::new().unwrap();
    let mut engine = engine(dir.path()).await;
    engine.store.write(Write::Frozen(Some(1))).await.unwrap();
    engine
        .finished(finished(Outcome::TimeoutConnect))
        .await
        .unwrap();
    engine.store.flush().await.unwrap();
    assert!(engine.reader.good_peers(unix_now()).await.unwrap().stale);
    engine.finished(finished(Outcome::Ok)).await.unwrap();
    engine.store.flush().await.unwrap();
    assert!(!engine.reader.good_peers(unix_now()).await.unwrap().stale);
}

#[tokio::test]
async fn a_visit_that_a_wrong_clock_put_off_for_years_comes_at_the_usual_time() {
    let dir = TempDir::new().unwrap();
    let engine = engine(dir.path()).await;
    let stored = StoredAddress {
        addr: addr(1),
        next_due: unix_now() + 10 * 365 * 86_400,
        failures: 0,
        tried: true,
        last_ok_at: Some(1),
        told_addresses_at: None,
        last_ok: true,
    };
    let schedule = engine.config.settings.schedule;
    let longest = schedule.backoff_cap_secs.max(schedule.good_max_secs);
    assert!(engine.entry_of(&stored).due <= unix_now() + i64::from(longest));
}

#[tokio::test]
async fn what_is_dialled_by_ipv4_does_not_keep_ipv6_from_coming_back() {
    let dir = TempDir::new().unwrap();
    let mut engine = engine(dir.path()).await;
    let v6: SocketAddr = "[2001:db8::1]:8333".parse().unwrap();
    for _ in 0..SUSPECTS {
        let lost = finished(Outcome::TimeoutConnect);
        engine
            .weather
            .observe(Road::V6, lost, Outcome::TimeoutConnect, true, unix_now());
    }
    assert!(engine.weather.is_down(Road::V6));
    let now = unix_now();
    let [by_v4, by_v6, ..] = &mut engine.last_dials;
    (*by_v4, *by_v6) = (Instant::now(), Instant::now() - 2 * CANARY_PAUSE);
    assert_eq!(engine.puts_off(v6, now), None, "a canary is due");
    *engine.last_dial(v6.ip()) = Instant::now();
    assert_eq!(engine.puts_off(v6, now), Some(now + CANARY_SECS));
    assert_eq!(engine.puts_off(addr(1), now), None);
}
