//! What is kept for years, and what is given up.

use std::collections::HashSet;

use super::*;
use crate::reachability::census::{Latencies, Quantiles, Trait};
use crate::reachability::overlay::{OverlayName, PeerAddress};
use crate::reachability::{CountryCode, Place};
use crate::store::roll_up::{DAYS_KEPT_SECS, HOURS_KEPT_SECS, PRUNED_AT_ONCE};

const DAY: i64 = 86_400;

fn sample(at: i64, good: u64) -> Write {
    Write::Network(NetworkSample {
        at,
        known: 9,
        reachable: 8,
        good,
        height: Some(7),
    })
}

fn census(at: i64, country: &str) -> Write {
    Write::Census(Box::new(Census {
        at,
        shares: vec![
            (
                Trait::Country,
                vec![(country.to_owned(), 5), ("CH".to_owned(), 6)],
            ),
            (Trait::System, vec![("64500".to_owned(), 3)]),
        ],
        latencies: Latencies {
            ping: Some(Quantiles {
                p50: 1,
                p90: 2,
                p99: 3,
            }),
            ..Latencies::default()
        },
    }))
}

#[tokio::test]
async fn the_last_word_of_a_day_stays_and_probes_add_up() {
    let (_dir, path) = scratch();
    let store = Store::open(&path, options()).await.unwrap();
    let day = T0 - T0.rem_euclid(DAY);
    for write in [
        sample(day + 10, 1),
        census(day + 20, "AT"),
        probe(1, day + 30, Outcome::Ok),
        sample(day + 7_200, 2),
        census(day + 7_300, "DE"),
        probe(2, day + 7_400, Outcome::Ok),
        probe(1, day + DAY, Outcome::Refused),
    ] {
        store.write(write).await.unwrap();
        store.flush().await.unwrap();
    }
    let reader = StoreReader::open(&path).await.unwrap();
    let days = reader.days(0).await.unwrap();
    assert_eq!(days.len(), 2);
    assert_eq!((days[0].day, days[0].good, days[0].known), (day, 2, 9));
    assert_eq!(days[0].outcomes, [(Outcome::Ok, 2)]);
    assert_eq!(days[0].height, Some(7));
    assert_eq!(days[0].latencies.ping.unwrap().p90, 2);
    assert_eq!(days[0].latencies.connect, None);
    assert_eq!(days[1].outcomes, [(Outcome::Refused, 1)]);
    let shares = reader.daily_shares(Trait::Country, 0).await.unwrap();
    let share = |value: &str, n| (value.to_owned(), n);
    assert_eq!(shares, [(day, vec![share("CH", 6), share("DE", 5)])]);
    assert!(reader.days(day + 1).await.unwrap().len() == 1);
    store.close().await.unwrap();
}

#[tokio::test]
async fn where_a_peer_is_comes_back_and_goes_when_it_is_no_longer_known() {
    let (_dir, path) = scratch();
    let store = Store::open(&path, options()).await.unwrap();
    let reader = StoreReader::open(&path).await.unwrap();
    let at = |place, at| {
        let Write::Probe(mut record) = probe(1, at, Outcome::Ok) else {
            panic!("no probe")
        };
        record.observed.place = place;
        Write::Probe(record)
    };
    let country: CountryCode = "CH".parse().unwrap();
    let place = Place {
        country: Some(country),
        system: Some(64_500),
    };
    let mut seen = Vec::new();
    for (told, time) in [(Some(place), 0), (None, 1), (Some(Place::default()), 2)] {
        store.write(at(told, T0 + time)).await.unwrap();
        store.flush().await.unwrap();
        let detail = reader.peer(addr(1), T0).await.unwrap().unwrap();
        let good = reader.good_peers(T0 + 2).await.unwrap().peers;
        assert_eq!(detail.place, good[0].place);
        seen.push(detail.place);
    }
    assert_eq!(seen, [place, place, Place::default()]);
    store
        .write(Write::System(64_500, "EXAMPLE".to_owned()))
        .await
        .unwrap();
    store.flush().await.unwrap();
    let names = reader.system_names(&[64_500, 1]).await.unwrap();
    assert_eq!(
        names.into_iter().collect::<Vec<_>>(),
        [(64_500, "EXAMPLE".to_owned())]
    );
}

#[tokio::test]
async fn what_is_too_old_goes_bit_by_bit_and_the_rest_stays() {
    let (_dir, path) = scratch();
    let store = Store::open(&path, options()).await.unwrap();
    let many = PRUNED_AT_ONCE + 100;
    let (old, older) = (T0 - HOURS_KEPT_SECS, T0 - DAYS_KEPT_SECS);
    for hour in 1..=many {
        store.write(sample(old - hour * 3_600, 1)).await.unwrap();
    }
    store.write(sample(old + 2 * 3_600, 1)).await.unwrap();
    for day in 1..=3 {
        store.write(sample(older - day * DAY, 1)).await.unwrap();
        store.write(census(older - day * DAY, "AT")).await.unwrap();
    }
    store.flush().await.unwrap();
    let hours = "SELECT COUNT(*) FROM hourly_network";
    assert_eq!(count(&path, hours).await, many + 4);
    let forgotten = PeerAddress::Named(OverlayName::Onion([1; 32]), 8333);
    let kept = PeerAddress::Named(OverlayName::Onion([2; 32]), 8333);
    for address in [forgotten, kept] {
        let write = Write::Sighting(Sighting {
            address,
            at: T0,
            source: "manual".to_owned(),
            times: 1,
            told_by: 0,
            next_due: T0,
        });
        store.write(write).await.unwrap();
    }
    store.flush().await.unwrap();
    store.write(Write::Forget(forgotten.key())).await.unwrap();
    // The crawl's own time, told by its probes, decides; and a clock that jumps ahead for a while costs nothing.
    for at in [T0, T0 + 5 * 366 * DAY, T0 + 1, T0 + 2] {
        store.write(probe(1, at, Outcome::Ok)).await.unwrap();
        store.flush().await.unwrap();
    }
    assert_eq!(count(&path, hours).await, many + 4);
    for at in [T0 + 3_600, T0 + 3_601, T0 + 3_602] {
        store.write(probe(1, at, Outcome::Ok)).await.unwrap();
        store.flush().await.unwrap();
    }
    store.close().await.unwrap();
    assert_eq!(count(&path, hours).await, 1);
    let reader = StoreReader::open(&path).await.unwrap();
    assert_eq!(
        reader.overlay_names().await.unwrap(),
        [kept.name().unwrap()]
    );
    let shares = "SELECT COUNT(*) FROM daily_shares";
    assert_eq!(count(&path, shares).await, 0);
    let days = "SELECT COUNT(*) FROM daily_network WHERE day < 1700000000";
    assert_eq!(count(&path, days).await, 0);
    assert!(count(&path, "SELECT COUNT(*) FROM daily_network").await >= 26);
}

#[tokio::test]
async fn a_store_of_before_has_its_hours_added_up_by_day() {
    let (_dir, path) = scratch();
    Store::open(&path, options())
        .await
        .unwrap()
        .close()
        .await
        .unwrap();
    let day = T0 - T0.rem_euclid(DAY);
    let mut connection = raw(&path).await;
    // As the version before left it.
    for sql in [
        "DROP TABLE daily_outcomes; DROP TABLE daily_network; DROP TABLE daily_shares; DROP TABLE daily_latency; \
         DROP TABLE systems; DROP TABLE overlay_names; DROP TABLE daily_churn; ALTER TABLE peers DROP COLUMN country; ALTER TABLE peers DROP COLUMN system; \
         DELETE FROM _sqlx_migrations WHERE version > 3"
            .to_owned(),
        format!(
            "INSERT INTO hourly_outcomes VALUES ({day}, 'ok', 3, 30), ({day} + 3600, 'ok', 4, 40), \
             ({day} + 86400, 'refused', 5, 50); \
             INSERT INTO hourly_network VALUES ({day}, 1, 1, 1, 1), ({day} + 3600, 2, 2, 2, 2)"
        ),
    ] {
        sqlx::raw_sql(sqlx::AssertSqlSafe(sql)).execute(&mut connection).await.unwrap();
    }
    connection.close().await.unwrap();
    Store::open(&path, options())
        .await
        .unwrap()
        .close()
        .await
        .unwrap();
    let reader = StoreReader::open(&path).await.unwrap();
    let days = reader.days(0).await.unwrap();
    assert_eq!(days.len(), 2);
    assert_eq!((days[0].good, days[0].outcomes[0]), (2, (Outcome::Ok, 7)));
    assert_eq!(days[1].outcomes, [(Outcome::Refused, 5)]);
}

/// A row that somebody else wrote into the names keeps nobody from being shown.
#[tokio::test]
async fn a_name_that_is_none_is_no_name() {
    let (_dir, path) = scratch();
    let store = Store::open(&path, options()).await.unwrap();
    let names = [1, 2].map(|n| PeerAddress::Named(OverlayName::Onion([n; 32]), 8333));
    for address in names {
        let write = Write::Sighting(Sighting {
            address,
            at: T0,
            source: "manual".to_owned(),
            times: 1,
            told_by: 0,
            next_due: T0,
        });
        store.write(write).await.unwrap();
        for at in [T0 - 1200, T0 - 600, T0] {
            let Write::Probe(mut passed) = probe(1, at, Outcome::Ok) else {
                unreachable!("a probe")
            };
            passed.addr = address.key();
            store.write(Write::Probe(passed)).await.unwrap();
        }
    }
    store.close().await.unwrap();
    let reader = StoreReader::open(&path).await.unwrap();
    assert_eq!(reader.overlay_names().await.unwrap().len(), 2);
    let named = async || {
        let good = reader.good_peers(T0 + 10).await.unwrap();
        assert_eq!(good.peers.len(), 2);
        let known = good
            .peers
            .iter()
            .map(|peer| good.names.get(&peer.addr.ip()).copied());
        known.collect::<HashSet<_>>()
    };
    let all = names.map(|address| address.name());
    assert_eq!(named().await, HashSet::from(all));
    let mut connection = raw(&path).await;
    let junk = "UPDATE overlay_names SET name = 'junk' WHERE name = $1";
    let name = names[0].name().unwrap().to_string();
    sqlx::query(junk)
        .bind(name)
        .execute(&mut connection)
        .await
        .unwrap();
    assert_eq!(named().await, HashSet::from([None, all[1]]));
    let key = names[0].key();
    assert_eq!(reader.address(key).await.unwrap(), key.into());
    assert_eq!(reader.address(names[1].key()).await.unwrap(), names[1]);
    let named = reader
        .named(names.iter().map(PeerAddress::key))
        .await
        .unwrap();
    assert_eq!(
        named.into_iter().collect::<Vec<_>>(),
        [(names[1].key(), names[1])]
    );
    assert_eq!(
        reader.overlay_names().await.unwrap(),
        [names[1].name().unwrap()]
    );
}
