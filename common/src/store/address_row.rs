//! Rows of `addresses` and of the ring of recent probes.

use sqlx::{QueryBuilder, Sqlite, SqliteConnection};

use super::StoreError;
use super::batch::{PROBES_KEPT, ROWS};
use super::codec::{AddressColumns, to_columns};
use super::model::{ProbeRecord, Sighting};

/// Sightings of one address, added up.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) first: Sighting,
    pub(super) last_at: i64,
    pub(super) times: i64,
    pub(super) told_by: u32,
}

/// Row id of an address and how often it was visited, this batch included.
#[derive(Debug, Clone, Copy)]
pub(super) struct AddressId {
    pub(super) id: i64,
    pub(super) visits: i64,
}

/// One row to insert or add to.
pub(super) struct AddressRow {
    pub(super) columns: AddressColumns,
    pub(super) first_seen: i64,
    pub(super) last_seen: i64,
    pub(super) source: String,
    pub(super) sources: i64,
    pub(super) next_due: i64,
    pub(super) failures: i64,
    pub(super) visits: i64,
    pub(super) told_by: u32,
}

impl AddressRow {
    pub(super) fn told(told: &Told) -> Self {
        Self {
            columns: to_columns(told.first.address.key()),
            first_seen: told.first.at,
            last_seen: told.last_at,
            source: told.first.source.clone(),
            sources: told.times,
            next_due: told.first.next_due,
            failures: 0,
            visits: 0,
            told_by: told.told_by,
        }
    }

    pub(super) fn probed(probe: &ProbeRecord) -> Self {
        Self {
            columns: to_columns(probe.addr),
            first_seen: probe.at,
            last_seen: probe.at,
            source: "probe".to_owned(),
            sources: 0,
            next_due: probe.next_due,
            failures: 0,
            visits: 0,
            told_by: 0,
        }
    }

    pub(super) fn visit(&mut self, probe: &ProbeRecord) {
        self.visits += 1;
        self.next_due = probe.next_due;
        self.failures = i64::from(probe.failures);
        let heard = probe.heard;
        if heard.times > 0 {
            // Until now it was the time of the visit, at which nobody told of it.
            if self.sources == 0 {
                self.last_seen = heard.at;
            }
            self.sources += i64::from(heard.times);
            self.told_by |= heard.told_by;
            self.last_seen = self.last_seen.max(heard.at);
        }
    }
}

/// Puts the probes into their addresses' rings.
pub(super) async fn write_ring(
    tx: &mut SqliteConnection,
    chunk: &[(AddressId, Vec<&ProbeRecord>)],
) -> Result<(), StoreError> {
    let kept = i64::from(PROBES_KEPT);
    let mut rows: Vec<(i64, i64, &ProbeRecord)> = Vec::new();
    for (id, probes) in chunk {
        let newest = probes
            .iter()
            .rev()
            .zip((0..kept).map(|back| id.visits - 1 - back));
        rows.extend(newest.map(|(probe, number)| (id.id, number.rem_euclid(kept), *probe)));
    }
    for chunk in rows.chunks(ROWS) {
        let mut sql = QueryBuilder::<Sqlite>::new(
            "INSERT INTO probes (address_id, slot, at, outcome, stage, duration_ms) ",
        );
        sql.push_values(chunk, |mut row, (id, slot, probe)| {
            row.push_bind(*id)
                .push_bind(*slot)
                .push_bind(probe.at)
                .push_bind(probe.outcome.as_str())
                .push_bind(probe.stage.as_str())
                .push_bind(probe.duration_ms);
        });
        sql.push(
            " ON CONFLICT (address_id, slot) DO UPDATE SET at = excluded.at, outcome = excluded.outcome, \
             stage = excluded.stage, duration_ms = excluded.duration_ms",
        );
        sql.build().execute(&mut *tx).await?;
    }
    Ok(())
}
