-- Who told of an address, and what a peer told.

-- Bits: one for each 32nd of all netgroups that somebody who told it belongs to. Many tellers set many bits, one owner of
-- one netgroup a single one. (sources, beside it, counts how many times it was told.)
ALTER TABLE addresses ADD COLUMN told_by INTEGER NOT NULL DEFAULT 0;

-- Seconds: when it last answered getaddr.
ALTER TABLE peers ADD COLUMN told_addresses_at INTEGER;

-- Networks that the operator has banned: neither visited nor good. net and address as in addresses; bits of the prefix.
CREATE TABLE bans (
    net     INTEGER NOT NULL CHECK (net IN (4, 6)),
    address BLOB    NOT NULL CHECK (length(address) = CASE net WHEN 4 THEN 4 ELSE 16 END),
    bits    INTEGER NOT NULL CHECK (bits BETWEEN 0 AND CASE net WHEN 4 THEN 32 ELSE 128 END),
    at      INTEGER NOT NULL,               -- seconds: since when
    until   INTEGER,                        -- seconds; null for ever
    reason  TEXT    NOT NULL,               -- the operator's words
    PRIMARY KEY (net, address, bits)
) WITHOUT ROWID;
