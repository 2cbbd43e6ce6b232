//! What is told to somebody who keeps all peers in memory, and who came and went.

use super::*;

async fn told(reader: &StoreReader, after: u64) -> Vec<PeerSummary> {
    let mut told = Vec::new();
    let summaries = reader.summaries(after, |summary| told.push(summary));
    summaries.await.unwrap();
    told.sort_by_key(|summary| summary.addr);
    told
}

#[tokio::test]
async fn first_all_are_told_and_then_what_has_changed() {
    let (_dir, path) = scratch();
    let store = Store::open(&path, options()).await.unwrap();
    store.write(probe(1, T0, Outcome::Ok)).await.unwrap();
    store.write(probe(2, T0, Outcome::Refused)).await.unwrap();
    store.flush().await.unwrap();
    let reader = StoreReader::open(&path).await.unwrap();
    let first = reader.generation().await.unwrap();
    let all = told(&reader, 0).await;
    assert_eq!(all.len(), 2);
    assert_eq!((all[0].addr, all[0].last_outcome), (addr(1), Outcome::Ok));
    assert_eq!(
        (all[0].last_ok_at, all[0].first_ok_at),
        (Some(T0), Some(T0))
    );
    assert_eq!((all[0].uptime, all[1].uptime), (Some(1.0), Some(0.0)));
    assert!(all[0].user_agent.is_some() && all[1].user_agent.is_none());
    assert!(told(&reader, first).await.is_empty());

    let again = T0 + 1_500;
    store.write(probe(2, again, Outcome::Ok)).await.unwrap();
    store.write(Write::Forget(addr(1))).await.unwrap();
    store.flush().await.unwrap();
    let news = told(&reader, first).await;
    assert_eq!(news.len(), 1);
    assert_eq!((news[0].addr, news[0].last_ok_at), (addr(2), Some(again)));
    assert!(
        news[0]
            .uptime
            .is_some_and(|share| (0.0..1.0).contains(&share))
    );
    assert_eq!(reader.probed().await.unwrap(), 1);
    assert_eq!(reader.probed_ids().await.unwrap(), [news[0].id]);
    store.close().await.unwrap();
}

#[tokio::test]
async fn what_is_said_of_a_day_s_churn_may_be_said_again() {
    let (_dir, path) = scratch();
    let store = Store::open(&path, options()).await.unwrap();
    let day = T0 - T0.rem_euclid(86_400);
    let churn = |day, came, gone| Churn { day, came, gone };
    for said in [
        churn(day, 1, 0),
        churn(day - 86_400, 5, 4),
        churn(day + 7, 3, 2),
    ] {
        store.write(Write::Churn(said)).await.unwrap();
        store.flush().await.unwrap();
    }
    let reader = StoreReader::open(&path).await.unwrap();
    let days = reader.churn(0).await.unwrap();
    assert_eq!(days, [churn(day - 86_400, 5, 4), churn(day, 3, 2)]);
    assert_eq!(reader.churn(day).await.unwrap().len(), 1);
    store.close().await.unwrap();
}
