-- Readers that follow a crawl ask for what has changed, and pages are shown without sorting all peers.

-- Number of the committed batch (meta.generation) that wrote the row last.
ALTER TABLE peers ADD COLUMN changed INTEGER NOT NULL DEFAULT 0;
CREATE INDEX peers_changed ON peers (changed);

-- The order of the peers' table: those that passed first, the latest first.
DROP INDEX peers_ok;
CREATE INDEX peers_shown ON peers ((last_outcome = 'ok') DESC, last_ok_at DESC, address_id);

-- With the outcome, so that counting needs no row.
DROP INDEX peers_recent;
CREATE INDEX peers_recent ON peers (last_probe_at, last_outcome);
