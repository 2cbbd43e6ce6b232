//! A peer's row: how a probe changes it, and how rows are loaded and written many at a time.

use std::collections::HashMap;

use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};

use super::StoreError;
use super::model::ProbeRecord;
use crate::reachability::{Outcome, Reliability, Window};

/// A row of `peers` together with its row of `reliability`.
#[derive(Debug, Default)]
pub(super) struct PeerRow {
    last_probe_at: Option<i64>,
    last_outcome: &'static str,
    last_stage: &'static str,
    last_ok_at: Option<i64>,
    first_ok_at: Option<i64>,
    services: Option<i64>,
    protocol_version: Option<i64>,
    user_agent: Option<String>,
    start_height: Option<i64>,
    proved_height: Option<i64>,
    relay: Option<i64>,
    clock_offset: Option<i64>,
    transports: Option<i64>,
    pub(super) node_id: Option<Vec<u8>>,
    connect_ms: Option<i64>,
    secure_ms: Option<i64>,
    ping_ms: Option<i64>,
    told_addresses_at: Option<i64>,
    country: Option<String>,
    system: Option<i64>,
    reliability: Reliability,
}

impl PeerRow {
    /// Takes in one probe; returns whether it counted.
    pub(super) fn absorb(&mut self, probe: &ProbeRecord) -> bool {
        if !probe.outcome.counts() {
            return false;
        }
        let age = self
            .last_probe_at
            .map(|at| probe.at.saturating_sub(at) as f64);
        self.reliability.update(age, probe.outcome.is_success());
        self.last_probe_at = Some(probe.at);
        self.last_outcome = probe.outcome.as_str();
        self.last_stage = probe.stage.as_str();
        if probe.outcome.is_success() {
            self.last_ok_at = Some(probe.at);
            self.first_ok_at.get_or_insert(probe.at);
        }
        let o = &probe.observed;
        renew(&mut self.services, o.services.map(u64::cast_signed));
        renew(
            &mut self.protocol_version,
            o.protocol_version.map(i64::from),
        );
        renew(&mut self.user_agent, o.user_agent.clone());
        renew(&mut self.start_height, o.start_height.map(i64::from));
        renew(&mut self.proved_height, o.proved_height.map(i64::from));
        renew(&mut self.relay, o.relay.map(i64::from));
        renew(&mut self.clock_offset, o.clock_offset_secs);
        renew(
            &mut self.transports,
            o.transports.map(|t| i64::from(t.bits())),
        );
        renew(&mut self.node_id, o.node_id.map(Vec::from));
        renew(&mut self.connect_ms, o.connect_ms.map(i64::from));
        renew(&mut self.secure_ms, o.secure_ms.map(i64::from));
        renew(&mut self.ping_ms, o.ping_ms.map(i64::from));
        let told = o.told_addresses.filter(|told| *told > 0);
        renew(&mut self.told_addresses_at, told.map(|_| probe.at));
        if let Some(place) = o.place {
            self.country = place.country.map(|code| code.to_string());
            self.system = place.system.map(i64::from);
        }
        if probe.outcome == Outcome::WrongChain {
            self.proved_height = None;
        }
        true
    }
}

fn renew<T>(old: &mut Option<T>, new: Option<T>) {
    if new.is_some() {
        *old = new;
    }
}

/// Loads the rows of these addresses; an address that was never probed has none.
pub(super) async fn load_peers(
    tx: &mut SqliteConnection,
    ids: impl Iterator<Item = i64>,
) -> Result<HashMap<i64, PeerRow>, StoreError> {
    let mut sql = QueryBuilder::<Sqlite>::new(
        "SELECT p.address_id, p.last_probe_at, p.last_ok_at, p.first_ok_at, p.services, p.protocol_version, \
         p.user_agent, p.start_height, p.proved_height, p.relay, p.clock_offset, p.transports, p.node_id, \
         p.connect_ms, p.secure_ms, p.ping_ms, p.told_addresses_at, p.country, p.system, r.* \
         FROM peers p JOIN reliability r ON r.address_id = p.address_id WHERE p.address_id IN (",
    );
    let mut list = sql.separated(", ");
    for id in ids {
        list.push_bind(id);
    }
    sql.push(")");
    let mut peers = HashMap::new();
    for row in sql.build().fetch_all(tx).await? {
        let peer = PeerRow {
            last_probe_at: row.try_get(1)?,
            last_outcome: "",
            last_stage: "",
            last_ok_at: row.try_get(2)?,
            first_ok_at: row.try_get(3)?,
            services: row.try_get(4)?,
            protocol_version: row.try_get(5)?,
            user_agent: row.try_get(6)?,
            start_height: row.try_get(7)?,
            proved_height: row.try_get(8)?,
            relay: row.try_get(9)?,
            clock_offset: row.try_get(10)?,
            transports: row.try_get(11)?,
            node_id: row.try_get(12)?,
            connect_ms: row.try_get(13)?,
            secure_ms: row.try_get(14)?,
            ping_ms: row.try_get(15)?,
            told_addresses_at: row.try_get(16)?,
            country: row.try_get(17)?,
            system: row.try_get(18)?,
            reliability: read_reliability(&row)?,
        };
        peers.insert(row.try_get(0)?, peer);
    }
    Ok(peers)
}

/// Column names of the five windows, shortest first; see `reachability::reliability::TAUS`.
const WINDOW_COLUMNS: [[&str; 3]; 5] = [
    ["r_2h", "c_2h", "w_2h"],
    ["r_8h", "c_8h", "w_8h"],
    ["r_1d", "c_1d", "w_1d"],
    ["r_7d", "c_7d", "w_7d"],
    ["r_30d", "c_30d", "w_30d"],
];

/// Reads the reliability columns of a row that selects them by name.
pub(super) fn read_reliability(row: &sqlx::sqlite::SqliteRow) -> Result<Reliability, StoreError> {
    let mut windows = [Window::default(); 5];
    for (window, [r, c, w]) in windows.iter_mut().zip(WINDOW_COLUMNS) {
        *window = Window {
            reliability: row.try_get(r)?,
            count: row.try_get(c)?,
            weight: row.try_get(w)?,
        };
    }
    let unsigned = |n: i64| u64::try_from(n).unwrap_or(0);
    Ok(Reliability {
        windows,
        probes: unsigned(row.try_get("probes")?),
        successes: unsigned(row.try_get("successes")?),
    })
}

/// Reads the reliability of a row that selects `probes`, `successes` and the windows in their order from column `first` on;
/// by number, since looking names up costs more than reading.
pub(super) fn read_reliability_at(
    row: &sqlx::sqlite::SqliteRow,
    first: usize,
) -> Result<Reliability, StoreError> {
    let mut windows = [Window::default(); 5];
    for (window, column) in windows.iter_mut().zip((first + 2..).step_by(3)) {
        *window = Window {
            reliability: row.try_get(column)?,
            count: row.try_get(column + 1)?,
            weight: row.try_get(column + 2)?,
        };
    }
    let unsigned = |n: i64| u64::try_from(n).unwrap_or(0);
    Ok(Reliability {
        windows,
        probes: unsigned(row.try_get(first)?),
        successes: unsigned(row.try_get(first + 1)?),
    })
}

/// Writes rows of `peers`, as part of the change with this number.
pub(super) async fn write_peers(
    tx: &mut SqliteConnection,
    peers: &[(i64, PeerRow)],
    generation: i64,
) -> Result<(), StoreError> {
    let mut sql = QueryBuilder::<Sqlite>::new(
        "INSERT INTO peers (address_id, last_probe_at, last_outcome, last_stage, last_ok_at, first_ok_at, \
         services, protocol_version, user_agent, start_height, proved_height, relay, clock_offset, transports, \
         node_id, connect_ms, secure_ms, ping_ms, told_addresses_at, country, system, changed) ",
    );
    sql.push_values(peers, |mut row, (id, p)| {
        row.push_bind(*id)
            .push_bind(p.last_probe_at)
            .push_bind(p.last_outcome)
            .push_bind(p.last_stage)
            .push_bind(p.last_ok_at)
            .push_bind(p.first_ok_at)
            .push_bind(p.services)
            .push_bind(p.protocol_version)
            .push_bind(p.user_agent.clone())
            .push_bind(p.start_height)
            .push_bind(p.proved_height)
            .push_bind(p.relay)
            .push_bind(p.clock_offset)
            .push_bind(p.transports)
            .push_bind(p.node_id.clone())
            .push_bind(p.connect_ms)
            .push_bind(p.secure_ms)
            .push_bind(p.ping_ms)
            .push_bind(p.told_addresses_at)
            .push_bind(p.country.clone())
            .push_bind(p.system)
            .push_bind(generation);
    });
    sql.push(
        " ON CONFLICT (address_id) DO UPDATE SET last_probe_at = excluded.last_probe_at, \
         last_outcome = excluded.last_outcome, last_stage = excluded.last_stage, \
         last_ok_at = excluded.last_ok_at, first_ok_at = excluded.first_ok_at, services = excluded.services, \
         protocol_version = excluded.protocol_version, user_agent = excluded.user_agent, \
         start_height = excluded.start_height, proved_height = excluded.proved_height, \
         relay = excluded.relay, clock_offset = excluded.clock_offset, transports = excluded.transports, \
         node_id = excluded.node_id, connect_ms = excluded.connect_ms, secure_ms = excluded.secure_ms, \
         ping_ms = excluded.ping_ms, told_addresses_at = excluded.told_addresses_at, \
         country = excluded.country, system = excluded.system, changed = excluded.changed",
    );
    sql.build().execute(tx).await?;
    Ok(())
}

/// Writes rows of `reliability`.
pub(super) async fn write_reliability(
    tx: &mut SqliteConnection,
    peers: &[(i64, PeerRow)],
) -> Result<(), StoreError> {
    let columns: Vec<&str> = WINDOW_COLUMNS.iter().flatten().copied().collect();
    let mut sql =
        QueryBuilder::<Sqlite>::new("INSERT INTO reliability (address_id, probes, successes, ");
    sql.push(columns.join(", ")).push(") ");
    sql.push_values(peers, |mut row, (id, p)| {
        let r = &p.reliability;
        row.push_bind(*id)
            .push_bind(signed(r.probes))
            .push_bind(signed(r.successes));
        for w in r.windows {
            row.push_bind(w.reliability)
                .push_bind(w.count)
                .push_bind(w.weight);
        }
    });
    sql.push(
        " ON CONFLICT (address_id) DO UPDATE SET probes = excluded.probes, successes = excluded.successes",
    );
    for column in columns {
        sql.push(format_args!(", {column} = excluded.{column}"));
    }
    sql.build().execute(tx).await?;
    Ok(())
}

/// For columns: SQLite integers are signed. Counters never come near the limit.
pub(super) fn signed(n: u64) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}
