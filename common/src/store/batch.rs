//! One batch of writes: collected in memory, applied as a few multi-row statements in one transaction.
//!
//! Applying never changes the batch, so it can be tried again after a failure.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::SocketAddr;

use ipnet::IpNet;
use sqlx::{Connection, QueryBuilder, Row, Sqlite, SqliteConnection};

use super::address_row::{AddressId, AddressRow, Told, write_ring};
use super::bans::{self, Ban};
use super::codec::{from_columns, to_columns};
use super::model::{
    Census, CrawlRun, Event, NetworkSample, ProbeRecord, Sighting, USER_AGENT_CHARS, Write,
};
use super::names;
use super::peer_row::{PeerRow, load_peers, signed, write_peers, write_reliability};
use super::roll_up::{add_outcomes, day_of, hour_of, put_census, put_churn, put_size};
use super::schema::{set_meta, set_policy};
use super::{Churn, StoreError};
use crate::reachability::GoodPolicy;
use crate::reachability::exclusions::unmapped;
use crate::reachability::netgroup::canonical_socket;
use crate::reachability::overlay::OverlayName;

/// Probes after which a batch is committed at once; with one commit a second otherwise, this is what a kill
/// can lose at most.
pub const BATCH_PROBES: usize = 5_000;

/// Probes that are kept for each address. At 30 minutes a visit this is a working day of history.
pub const PROBES_KEPT: u32 = 24;

/// Events that are kept; the oldest go first.
const EVENTS_KEPT: i64 = 10_000;

/// Rows in one statement. SQLite takes 32,766 variables in a statement; the widest rows here have 20.
pub(super) const ROWS: usize = 500;

/// Most items that a batch holds while the disk refuses them. A probe is under 1 KiB, so 50 MB at most.
pub(super) const HELD: usize = 50_000;

/// Writes that wait for one transaction.
#[derive(Debug, Default)]
pub(super) struct Batch {
    probes: Vec<ProbeRecord>,
    sightings: HashMap<SocketAddr, Told>,
    /// Addresses to forget, with the number of probes that came before: those are counted but not kept.
    forgets: HashMap<SocketAddr, usize>,
    /// Requests made (at a time) or taken up (`None`); the last word counts.
    requests: HashMap<SocketAddr, Option<i64>>,
    /// Bans, and those that are lifted (`None`); the last word counts.
    bans: HashMap<IpNet, Option<Ban>>,
    network: BTreeMap<i64, NetworkSample>,
    /// By the day.
    censuses: BTreeMap<i64, Census>,
    /// By the day.
    churn: BTreeMap<i64, Churn>,
    systems: BTreeMap<u32, String>,
    names: BTreeSet<OverlayName>,
    events: Vec<Event>,
    frozen: Option<Option<i64>>,
    policy: Option<GoodPolicy>,
    crawls: BTreeMap<i64, CrawlRun>,
}

impl Batch {
    /// Items in it.
    pub(super) fn len(&self) -> usize {
        self.probes.len()
            + self.sightings.len()
            + self.forgets.len()
            + self.requests.len()
            + self.bans.len()
            + self.network.len()
            + self.censuses.len()
            + self.churn.len()
            + self.systems.len()
            + self.names.len()
            + self.events.len()
            + self.crawls.len()
            + usize::from(self.frozen.is_some())
            + usize::from(self.policy.is_some())
    }

    /// The latest time of a probe in it, Unix seconds.
    pub(super) fn latest(&self) -> Option<i64> {
        self.probes.iter().map(|probe| probe.at).max()
    }

    /// Probes in it.
    pub(super) fn probes(&self) -> usize {
        self.probes.len()
    }

    pub(super) fn is_full(&self) -> bool {
        self.probes.len() >= BATCH_PROBES || self.len() >= HELD
    }

    /// Adds one write.
    pub(super) fn add(&mut self, write: Write) {
        match write {
            Write::Probe(mut probe) => {
                probe.addr = canonical_socket(probe.addr);
                if let Some(agent) = &mut probe.observed.user_agent
                    && let Some((cut, _)) = agent.char_indices().nth(USER_AGENT_CHARS)
                {
                    agent.truncate(cut);
                }
                self.probes.push(*probe);
            }
            Write::Sighting(sighting) => self.add_sighting(sighting),
            Write::Forget(addr) => {
                let addr = canonical_socket(addr);
                self.sightings.remove(&addr);
                self.forgets.insert(addr, self.probes.len());
            }
            Write::RequestVisit(addr, at) => {
                self.requests.insert(canonical_socket(addr), Some(at));
            }
            Write::VisitTaken(addr) => {
                self.requests.insert(canonical_socket(addr), None);
            }
            Write::Ban(ban) => {
                self.bans.insert(unmapped(ban.net), Some(ban));
            }
            Write::Unban(net) => {
                self.bans.insert(unmapped(net), None);
            }
            Write::Network(sample) => {
                self.network.insert(hour_of(sample.at), sample);
            }
            Write::Census(census) => {
                self.censuses.insert(day_of(census.at), *census);
            }
            Write::Churn(churn) => {
                self.churn.insert(day_of(churn.day), churn);
            }
            Write::System(number, name) => {
                self.systems.insert(number, name);
            }
            Write::Event(event) => self.events.push(event),
            Write::Crawl(run) => {
                self.crawls.insert(run.started_at, run);
            }
            Write::Frozen(since) => self.frozen = Some(since),
            Write::Policy(policy) => self.policy = Some(policy),
        }
    }

    fn add_sighting(&mut self, sighting: Sighting) {
        let addr = sighting.address.key();
        if addr.port() == 0 {
            return;
        }
        self.names.extend(sighting.address.name());
        if let Some(told) = self.sightings.get_mut(&addr) {
            told.last_at = told.last_at.max(sighting.at);
            told.times += i64::from(sighting.times);
            told.told_by |= sighting.told_by;
        } else {
            let told = Told {
                last_at: sighting.at,
                times: i64::from(sighting.times),
                told_by: sighting.told_by,
                first: sighting,
            };
            self.sightings.insert(addr, told);
        }
    }

    /// Writes everything in one transaction.
    pub(super) async fn apply(&self, connection: &mut SqliteConnection) -> Result<(), StoreError> {
        // A transaction that begins by reading can't wait for another writer once it wants to write.
        let mut tx = connection.begin_with("BEGIN IMMEDIATE").await?;
        self.apply_forgets(&mut tx).await?;
        let ids = self.upsert_addresses(&mut tx).await?;
        let generation = next_generation(&mut tx).await?;
        self.apply_probes(&mut tx, &ids, generation).await?;
        self.apply_requests(&mut tx).await?;
        for name in &self.names {
            names::put(&mut tx, name).await?;
        }
        for (net, ban) in &self.bans {
            bans::apply(&mut tx, *net, ban.as_ref()).await?;
        }
        self.apply_roll_ups(&mut tx).await?;
        self.apply_crawls(&mut tx).await?;
        self.apply_events(&mut tx).await?;
        self.apply_meta(&mut tx, generation).await?;
        tx.commit().await?;
        Ok(())
    }

    /// Probes that are kept: all but those of addresses that were forgotten after them.
    fn kept_probes(&self) -> impl Iterator<Item = &ProbeRecord> {
        self.probes.iter().enumerate().filter_map(|(index, probe)| {
            let forgotten = self
                .forgets
                .get(&probe.addr)
                .is_some_and(|&before| index < before);
            (!forgotten && probe.addr.port() != 0).then_some(probe)
        })
    }

    async fn apply_forgets(&self, tx: &mut SqliteConnection) -> Result<(), StoreError> {
        for addr in self.forgets.keys() {
            let c = to_columns(*addr);
            sqlx::query("DELETE FROM addresses WHERE net = $1 AND address = $2 AND port = $3")
                .bind(c.net)
                .bind(c.address)
                .bind(c.port)
                .execute(&mut *tx)
                .await?;
        }
        Ok(())
    }

    /// Makes sure that every address mentioned has its row, and gives their ids.
    async fn upsert_addresses(
        &self,
        tx: &mut SqliteConnection,
    ) -> Result<HashMap<SocketAddr, AddressId>, StoreError> {
        let rows = self.address_rows();
        let mut ids = HashMap::with_capacity(rows.len());
        for chunk in rows.chunks(ROWS) {
            let mut sql = QueryBuilder::<Sqlite>::new(
                "INSERT INTO addresses \
                 (net, address, port, first_seen, last_seen, source, sources, next_due, failures, visits, \
                 told_by) ",
            );
            sql.push_values(chunk, |mut row, a| {
                row.push_bind(a.columns.net)
                    .push_bind(a.columns.address.clone())
                    .push_bind(a.columns.port)
                    .push_bind(a.first_seen)
                    .push_bind(a.last_seen)
                    .push_bind(a.source.clone())
                    .push_bind(a.sources)
                    .push_bind(a.next_due)
                    .push_bind(a.failures)
                    .push_bind(a.visits)
                    .push_bind(a.told_by);
            });
            sql.push(
                " ON CONFLICT (net, address, port) DO UPDATE SET \
                 last_seen = CASE WHEN excluded.sources > 0 AND excluded.last_seen > addresses.last_seen \
                             THEN excluded.last_seen ELSE addresses.last_seen END, \
                 sources = addresses.sources + excluded.sources, \
                 next_due = CASE WHEN excluded.visits > 0 THEN excluded.next_due ELSE addresses.next_due END, \
                 failures = CASE WHEN excluded.visits > 0 THEN excluded.failures ELSE addresses.failures END, \
                 visits = addresses.visits + excluded.visits, \
                 told_by = addresses.told_by | excluded.told_by \
                 RETURNING id, net, address, port, visits",
            );
            for row in sql.build().fetch_all(&mut *tx).await? {
                let addr = from_columns(row.try_get(1)?, row.try_get(2)?, row.try_get(3)?)?;
                ids.insert(
                    addr,
                    AddressId {
                        id: row.try_get(0)?,
                        visits: row.try_get(4)?,
                    },
                );
            }
        }
        Ok(ids)
    }

    fn address_rows(&self) -> Vec<AddressRow> {
        let mut rows: HashMap<SocketAddr, AddressRow> = self
            .sightings
            .iter()
            .map(|(addr, told)| (*addr, AddressRow::told(told)))
            .collect();
        for probe in self.kept_probes() {
            rows.entry(probe.addr)
                .or_insert_with(|| AddressRow::probed(probe))
                .visit(probe);
        }
        let mut rows: Vec<AddressRow> = rows.into_values().collect();
        // In the order of the index, so that each of its pages is touched once.
        rows.sort_by(|a, b| a.columns.cmp(&b.columns));
        rows
    }

    async fn apply_probes(
        &self,
        tx: &mut SqliteConnection,
        ids: &HashMap<SocketAddr, AddressId>,
        generation: i64,
    ) -> Result<(), StoreError> {
        let mut of_address: HashMap<SocketAddr, Vec<&ProbeRecord>> = HashMap::new();
        for probe in self.kept_probes() {
            of_address.entry(probe.addr).or_default().push(probe);
        }
        let all = of_address.into_iter();
        let all = all.filter_map(|(addr, probes)| Some((*ids.get(&addr)?, probes)));
        let mut all: Vec<(AddressId, Vec<&ProbeRecord>)> = all.collect();
        // In the order of the tables.
        all.sort_by_key(|(id, _)| id.id);
        for chunk in all.chunks(ROWS) {
            write_ring(tx, chunk).await?;
            let mut peers = load_peers(tx, chunk.iter().map(|(id, _)| id.id)).await?;
            let mut changed = Vec::with_capacity(chunk.len());
            for (id, probes) in chunk {
                let mut peer = peers.remove(&id.id).unwrap_or_default();
                let before = peer.node_id.clone();
                if probes.iter().filter(|p| peer.absorb(p)).count() > 0 {
                    record_identity_change(tx, &before, &peer, probes).await?;
                    changed.push((id.id, peer));
                }
            }
            if !changed.is_empty() {
                write_peers(tx, &changed, generation).await?;
                write_reliability(tx, &changed).await?;
            }
        }
        Ok(())
    }

    async fn apply_requests(&self, tx: &mut SqliteConnection) -> Result<(), StoreError> {
        for (addr, at) in &self.requests {
            let c = to_columns(*addr);
            let sql = match at {
                Some(_) => {
                    "INSERT INTO visit_requests (net, address, port, at) VALUES ($1, $2, $3, $4) \
                     ON CONFLICT (net, address, port) DO UPDATE SET at = excluded.at"
                }
                None => "DELETE FROM visit_requests WHERE net = $1 AND address = $2 AND port = $3",
            };
            let mut query = sqlx::query(sql).bind(c.net).bind(c.address).bind(c.port);
            if let Some(at) = at {
                query = query.bind(at);
            }
            query.execute(&mut *tx).await?;
        }
        Ok(())
    }

    async fn apply_roll_ups(&self, tx: &mut SqliteConnection) -> Result<(), StoreError> {
        add_outcomes(tx, &self.probes).await?;
        for sample in self.network.values() {
            put_size(tx, sample).await?;
        }
        for census in self.censuses.values() {
            put_census(tx, census).await?;
        }
        for churn in self.churn.values() {
            put_churn(tx, churn).await?;
        }
        for (number, name) in &self.systems {
            sqlx::query(
                "INSERT INTO systems (number, name) VALUES ($1, $2) \
                 ON CONFLICT (number) DO UPDATE SET name = excluded.name",
            )
            .bind(number)
            .bind(name)
            .execute(&mut *tx)
            .await?;
        }
        Ok(())
    }

    async fn apply_crawls(&self, tx: &mut SqliteConnection) -> Result<(), StoreError> {
        for run in self.crawls.values() {
            sqlx::query(
                "INSERT INTO crawls (started_at, kind, ended_at, probes, passed) \
                 VALUES ($1, $2, $3, $4, $5) ON CONFLICT (started_at) DO UPDATE SET \
                 ended_at = excluded.ended_at, probes = excluded.probes, passed = excluded.passed",
            )
            .bind(run.started_at)
            .bind(run.kind)
            .bind(run.ended_at)
            .bind(signed(run.probes))
            .bind(signed(run.passed))
            .execute(&mut *tx)
            .await?;
        }
        Ok(())
    }

    async fn apply_events(&self, tx: &mut SqliteConnection) -> Result<(), StoreError> {
        for event in &self.events {
            write_event(tx, event).await?;
        }
        if !self.events.is_empty() {
            sqlx::query("DELETE FROM events WHERE id <= (SELECT MAX(id) FROM events) - $1")
                .bind(EVENTS_KEPT)
                .execute(&mut *tx)
                .await?;
        }
        Ok(())
    }

    async fn apply_meta(
        &self,
        tx: &mut SqliteConnection,
        generation: i64,
    ) -> Result<(), StoreError> {
        if let Some(policy) = &self.policy {
            set_policy(tx, policy).await?;
        }
        match self.frozen {
            Some(Some(since)) => set_meta(tx, "frozen_since", &since.to_string()).await?,
            Some(None) => {
                sqlx::query("DELETE FROM meta WHERE key = 'frozen_since'")
                    .execute(&mut *tx)
                    .await?;
            }
            None => {}
        }
        let newest_ok = self
            .probes
            .iter()
            .filter(|p| p.outcome.is_success())
            .map(|p| p.at)
            .max();
        if let Some(at) = newest_ok {
            sqlx::query(
                "INSERT INTO meta (key, value) VALUES ('newest_ok_at', $1) ON CONFLICT (key) DO UPDATE \
                 SET value = CASE WHEN CAST(excluded.value AS BIGINT) > CAST(meta.value AS BIGINT) \
                             THEN excluded.value ELSE meta.value END",
            )
            .bind(at.to_string())
            .execute(&mut *tx)
            .await?;
        }
        Ok(set_meta(tx, "generation", &generation.to_string()).await?)
    }
}

/// The number of the change that is about to be committed.
async fn next_generation(tx: &mut SqliteConnection) -> Result<i64, StoreError> {
    let sql = "SELECT CAST(value AS BIGINT) FROM meta WHERE key = 'generation'";
    let last: Option<i64> = sqlx::query_scalar(sql).fetch_optional(tx).await?;
    Ok(last.unwrap_or(0).saturating_add(1))
}

/// A proven identity that differs from the one seen before at the same address is worth a look.
async fn record_identity_change(
    tx: &mut SqliteConnection,
    before: &Option<Vec<u8>>,
    peer: &PeerRow,
    probes: &[&ProbeRecord],
) -> Result<(), StoreError> {
    let (Some(old), Some(new), Some(probe)) = (before, &peer.node_id, probes.last()) else {
        return Ok(());
    };
    if old == new {
        return Ok(());
    }
    let name = |id: &[u8]| data_encoding::BASE64URL_NOPAD.encode(id);
    let event = Event {
        at: probe.at,
        kind: "identity_changed",
        subject: probe.addr.to_string(),
        detail: format!("from {} to {}", name(old), name(new)),
    };
    write_event(tx, &event).await
}

async fn write_event(tx: &mut SqliteConnection, event: &Event) -> Result<(), StoreError> {
    sqlx::query("INSERT INTO events (at, kind, subject, detail) VALUES ($1, $2, $3, $4)")
        .bind(event.at)
        .bind(event.kind)
        .bind(&event.subject)
        .bind(&event.detail)
        .execute(tx)
        .await?;
    Ok(())
}
