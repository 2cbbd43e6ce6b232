-- Names of peers that have no address: onion services and I2P destinations. In every other table they are the IPv6 address
-- that stands for their name.
CREATE TABLE overlay_names (
    address BLOB PRIMARY KEY NOT NULL CHECK (length(address) = 16), -- the stand-in, in fd6b:88c0:8724::/48
    name    TEXT             NOT NULL                               -- NAME.onion or NAME.b32.i2p
) WITHOUT ROWID;
