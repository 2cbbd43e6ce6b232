-- The crawl of one network.
--
-- Conventions: every time is Unix seconds (UTC); every duration names its unit; an address is (net, address,
-- port) with net 4 (address = 4 bytes) or 6 (address = 16 bytes, never IPv4-mapped), network byte order.
-- Statements keep to what PostgreSQL understands as well.

-- Facts about the store itself.
--   network      name of the crawled network
--   genesis      hash of its first block, 64 hex digits
--   good_policy  thresholds of a good peer as JSON, as configured in the crawler
--   generation   number of committed batches that changed what readers may see
--   newest_ok_at newest successful probe, seconds
--   frozen_since when the crawler's own network went down, seconds; absent when it is up
CREATE TABLE meta (
    key   TEXT PRIMARY KEY NOT NULL,
    value TEXT NOT NULL
);

-- Every address that we know, whether it was ever reached or not.
CREATE TABLE addresses (
    id         INTEGER PRIMARY KEY NOT NULL,
    net        INTEGER NOT NULL CHECK (net IN (4, 6)),
    address    BLOB    NOT NULL CHECK (length(address) = CASE net WHEN 4 THEN 4 ELSE 16 END),
    port       INTEGER NOT NULL CHECK (port BETWEEN 1 AND 65535),
    first_seen INTEGER NOT NULL,            -- seconds: when we first heard of it
    last_seen  INTEGER NOT NULL,            -- seconds: when we last heard of it
    source     TEXT    NOT NULL,            -- who told us first: dns:NAME, bootstrap, manual, peer:ADDR
    sources    INTEGER NOT NULL,            -- how many times it was told
    next_due   INTEGER NOT NULL,            -- seconds: next visit
    failures   INTEGER NOT NULL DEFAULT 0,  -- failed probes in a row
    visits     INTEGER NOT NULL DEFAULT 0,  -- probes ever, also those that do not count
    UNIQUE (net, address, port)
);

-- What the last probes learnt about an address that was probed at least once.
CREATE TABLE peers (
    address_id       INTEGER PRIMARY KEY NOT NULL REFERENCES addresses (id) ON DELETE CASCADE,
    last_probe_at    INTEGER NOT NULL,      -- seconds: last probe that counted
    last_outcome     TEXT    NOT NULL,      -- how it ended
    last_stage       TEXT    NOT NULL,      -- how far it came
    last_ok_at       INTEGER,               -- seconds: last probe that passed
    first_ok_at      INTEGER,               -- seconds: first probe that passed
    services         INTEGER,               -- service bits (64 bits, stored as signed)
    protocol_version INTEGER,               -- of its version message
    user_agent       TEXT,                  -- at most 256 characters, chosen by the peer
    start_height     INTEGER,               -- blocks: claimed
    proved_height    INTEGER,               -- blocks: shown by valid headers; null after a failed proof
    relay            INTEGER,               -- 0 or 1
    clock_offset     INTEGER,               -- seconds: its clock minus ours
    transports       INTEGER,               -- bits: 1 Noise, 2 TLS
    node_id          BLOB,                  -- 32 bytes: SHA-256 of its ML-DSA-44 key
    connect_ms       INTEGER,               -- milliseconds: TCP
    secure_ms        INTEGER,               -- milliseconds: secure handshake
    ping_ms          INTEGER                -- milliseconds: ping round trip
);
CREATE INDEX peers_ok ON peers (last_ok_at) WHERE last_outcome = 'ok';
CREATE INDEX peers_recent ON peers (last_probe_at);

-- Five decaying windows (2 h, 8 h, 1 d, 7 d, 30 d): reliability 0..1, count in probes, weight 0..1.
CREATE TABLE reliability (
    address_id INTEGER PRIMARY KEY NOT NULL REFERENCES addresses (id) ON DELETE CASCADE,
    probes     INTEGER NOT NULL,            -- probes that counted, ever
    successes  INTEGER NOT NULL,            -- those that passed
    r_2h  REAL NOT NULL, c_2h  REAL NOT NULL, w_2h  REAL NOT NULL,
    r_8h  REAL NOT NULL, c_8h  REAL NOT NULL, w_8h  REAL NOT NULL,
    r_1d  REAL NOT NULL, c_1d  REAL NOT NULL, w_1d  REAL NOT NULL,
    r_7d  REAL NOT NULL, c_7d  REAL NOT NULL, w_7d  REAL NOT NULL,
    r_30d REAL NOT NULL, c_30d REAL NOT NULL, w_30d REAL NOT NULL
);

-- Recent history: a ring of slots for each address, so it is bounded by its key.
CREATE TABLE probes (
    address_id  INTEGER NOT NULL REFERENCES addresses (id) ON DELETE CASCADE,
    slot        INTEGER NOT NULL,           -- number of the probe modulo the ring's size
    at          INTEGER NOT NULL,           -- seconds: when it ended
    outcome     TEXT    NOT NULL,
    stage       TEXT    NOT NULL,           -- how far it came
    duration_ms INTEGER NOT NULL,           -- milliseconds
    PRIMARY KEY (address_id, slot)
) WITHOUT ROWID;

-- Roll-up: probes of one hour by outcome.
CREATE TABLE hourly_outcomes (
    hour        INTEGER NOT NULL,           -- seconds: start of the hour
    outcome     TEXT    NOT NULL,
    probes      INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL,           -- milliseconds: sum
    PRIMARY KEY (hour, outcome)
) WITHOUT ROWID;

-- Roll-up: the network's size, last sample of each hour.
CREATE TABLE hourly_network (
    hour      INTEGER PRIMARY KEY NOT NULL, -- seconds: start of the hour
    known     INTEGER NOT NULL,             -- addresses
    reachable INTEGER NOT NULL,             -- addresses that accepted a connection within the good age
    good      INTEGER NOT NULL,             -- good peers
    height    INTEGER                       -- blocks: median of the good peers
);

-- Runs of the crawler.
CREATE TABLE crawls (
    started_at INTEGER PRIMARY KEY NOT NULL, -- seconds
    kind       TEXT    NOT NULL,            -- once or run
    ended_at   INTEGER,                     -- seconds; null while running or after a crash
    probes     INTEGER NOT NULL DEFAULT 0,
    passed     INTEGER NOT NULL DEFAULT 0
);

-- Addresses that somebody asks the crawler to visit at once; it removes what it takes up.
CREATE TABLE visit_requests (
    net     INTEGER NOT NULL,
    address BLOB    NOT NULL,
    port    INTEGER NOT NULL,
    at      INTEGER NOT NULL,               -- seconds: when it was asked
    PRIMARY KEY (net, address, port)
) WITHOUT ROWID;

-- Things worth an operator's attention; the oldest are removed.
CREATE TABLE events (
    id      INTEGER PRIMARY KEY NOT NULL,
    at      INTEGER NOT NULL,               -- seconds
    kind    TEXT    NOT NULL,               -- identity_changed, local_network_down, local_network_up, forgotten
    subject TEXT    NOT NULL,               -- an address, or empty
    detail  TEXT    NOT NULL
);
