-- Where peers are, and what is kept for years: one day at a time.

-- As the operator's databases said at the last visit; absent where they say nothing.
ALTER TABLE peers ADD COLUMN country TEXT;      -- ISO 3166-1 alpha-2
ALTER TABLE peers ADD COLUMN system INTEGER;    -- number of the autonomous system

-- Names of autonomous systems that were met.
CREATE TABLE systems (
    number INTEGER PRIMARY KEY NOT NULL,
    name   TEXT    NOT NULL
);

-- Roll-up: probes of one day by outcome.
CREATE TABLE daily_outcomes (
    day         INTEGER NOT NULL,           -- seconds: start of the day (UTC)
    outcome     TEXT    NOT NULL,
    probes      INTEGER NOT NULL,
    duration_ms INTEGER NOT NULL,           -- milliseconds: sum
    PRIMARY KEY (day, outcome)
) WITHOUT ROWID;

-- Roll-up: the network's size, last sample of each day.
CREATE TABLE daily_network (
    day       INTEGER PRIMARY KEY NOT NULL, -- seconds: start of the day (UTC)
    known     INTEGER NOT NULL,             -- addresses
    reachable INTEGER NOT NULL,             -- addresses that accepted a connection within the good age
    good      INTEGER NOT NULL,             -- good peers
    height    INTEGER                       -- blocks: median of the good peers
);

-- Roll-up: good peers by what they are, last sample of each day. What is beyond the most frequent values is added up in the
-- value 'other'.
CREATE TABLE daily_shares (
    day   INTEGER NOT NULL,                 -- seconds: start of the day (UTC)
    kind  TEXT    NOT NULL,                 -- user_agent, protocol_version, country, system
    value TEXT    NOT NULL,
    peers INTEGER NOT NULL,
    PRIMARY KEY (day, kind, value)
) WITHOUT ROWID;

-- Roll-up: how long good peers let one wait, last sample of each day; milliseconds that half, 9 of 10 and 99 of 100 stay within.
CREATE TABLE daily_latency (
    day    INTEGER NOT NULL,                -- seconds: start of the day (UTC)
    kind   TEXT    NOT NULL,                -- connect, secure, ping
    p50_ms INTEGER NOT NULL,
    p90_ms INTEGER NOT NULL,
    p99_ms INTEGER NOT NULL,
    PRIMARY KEY (day, kind)
) WITHOUT ROWID;

-- What the hours tell of days so far, today's among them.
INSERT INTO daily_outcomes
    SELECT hour - hour % 86400, outcome, SUM(probes), SUM(duration_ms) FROM hourly_outcomes GROUP BY 1, 2;
INSERT INTO daily_network
    SELECT hour - hour % 86400, known, reachable, good, height FROM hourly_network
    WHERE hour IN (SELECT MAX(hour) FROM hourly_network GROUP BY hour - hour % 86400);
