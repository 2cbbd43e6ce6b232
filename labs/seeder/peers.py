#!/usr/bin/env python3
"""Writes what the seeders of the lab read: a store as the crawler leaves it, and a chain spec with bootstrap nodes.

    peers.py store MIGRATIONS FILE SPEC     a store of good peers, in the schema of migrations/sqlite
    peers.py spec MAINNET FILE              mainnet's spec with bootstrap nodes

No crawler is needed, and the schema is read as another program would have to: from its SQL.
"""

import ipaddress
import pathlib
import re
import sqlite3
import sys
import time

PORT = 8333
# Service bits: a whole node, a pruned one ("pruned-only filters" must find somebody), one with few bits, one with the
# topmost of the 64 bits.
WHOLE, PRUNED, PLAIN, TOP = 0x409, 0x408, 0x1, 0x8000_0000_0000_0009
# "QTCs": PRAGMA application_id of a store.
APPLICATION_ID = int.from_bytes(b"QTCs", "big")
OVERLAY = ipaddress.ip_network("fd6b:88c0:8724::/48")


def four(n):
    return ipaddress.ip_address(bytes([20 + 2 * n, 7 * n % 250 + 1, 11 * n % 250 + 1, n + 1]))


def six(n):
    return ipaddress.ip_address(bytes([0x2A, n + 1, n, 1]) + bytes(11) + bytes([n + 1]))


def addresses():
    """(address, port): each in a /16 or /32 of its own, and some on ports that only SRV and TXT can tell."""
    yield from ((four(n), PORT) for n in range(32))
    yield from ((six(n), PORT) for n in range(24))
    yield from ((four(n), 18333 + n) for n in range(32, 36))
    yield from ((six(n), 18333 + n) for n in range(24, 28))


def never():
    """(address, port, column of peers, value): peers that are not good, each for one reason; no answer may tell of them."""
    now = int(time.time())
    yield four(40), PORT, "last_ok_at", now - 21 * 86400
    yield four(41), PORT, "last_outcome", "refused"
    yield four(42), PORT, "proved_height", 900
    yield four(43), PORT, "protocol_version", 60000
    yield ipaddress.ip_address("10.1.2.3"), PORT, None, None
    yield ipaddress.ip_address("fd00::1"), PORT, None, None
    yield OVERLAY[0x1000], PORT, None, None
    yield OVERLAY[0x1001], PORT, None, None


def services(n):
    return TOP if n == 3 else PRUNED if n % 3 == 0 else PLAIN if n % 7 == 1 else WHOLE


def write_store(migrations, path, spec):
    text = pathlib.Path(spec).read_text()
    genesis = re.search(r'^hash = "([0-9a-f]{64})"', text, re.M).group(1)
    network = re.search(r'^network = "(\w+)"', text, re.M).group(1)
    now = int(time.time())
    store = sqlite3.connect(path)
    store.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    files = sorted(pathlib.Path(migrations).glob("*.sql"))
    for file in files:
        store.executescript(file.read_text())
    store.execute("CREATE TABLE _sqlx_migrations (version BIGINT PRIMARY KEY, description TEXT, success BOOLEAN)")
    for file in files:
        number, words = file.stem.split("_", 1)
        store.execute("INSERT INTO _sqlx_migrations VALUES (?, ?, 1)", (int(number), words))
    facts = {"network": network, "genesis": genesis, "generation": 1, "newest_ok_at": now}
    store.executemany("INSERT INTO meta VALUES (?, ?)", [(key, str(value)) for key, value in facts.items()])

    def add(ip, port, bits, n, column=None, value=None):
        row = store.execute(
            "INSERT INTO addresses (net, address, port, first_seen, last_seen, source, sources, next_due)"
            " VALUES (?, ?, ?, ?, ?, 'manual', 1, ?)",
            (ip.version, ip.packed, port, now - 86400, now, now + 1500),
        ).lastrowid
        store.execute(
            "INSERT INTO peers (address_id, last_probe_at, last_outcome, last_stage, last_ok_at, first_ok_at, services,"
            " protocol_version, user_agent, start_height, proved_height, transports, node_id, changed)"
            " VALUES (?, ?, 'ok', 'done', ?, ?, ?, 70015, '/lab/', 1000, 1000, 1, ?, 1)",
            (row, now, now, now - 86400, bits - (1 << 64) if bits >> 63 else bits, bytes([n]) * 32),
        )
        columns = "(address_id, probes, successes," + ",".join(
            f"r_{w}, c_{w}, w_{w}" for w in ("2h", "8h", "1d", "7d", "30d")
        )
        store.execute(
            f"INSERT INTO reliability {columns}) VALUES (?, 50, 50{', 1, 40, 1' * 5})",
            (row,),
        )
        if column:
            store.execute(f"UPDATE peers SET {column} = ? WHERE address_id = ?", (value, row))

    for n, (ip, port) in enumerate(addresses()):
        add(ip, port, services(n), n)
    for n, (ip, port, column, value) in enumerate(never()):
        add(ip, port, WHOLE, 100 + n, column, value)
    # The last two have a name and no address: the one that stands for it is nobody's.
    for ip, name in [(OVERLAY[0x1000], "a" * 55 + "d.onion"), (OVERLAY[0x1001], "b" * 52 + ".b32.i2p")]:
        store.execute("INSERT INTO overlay_names VALUES (?, ?)", (ip.packed, name))
    store.commit()
    store.close()


def write_spec(mainnet, path):
    text = pathlib.Path(mainnet).read_text()
    nodes = [f"[{ip}]:{port}" if ip.version == 6 else f"{ip}:{port}" for ip, port in addresses()]
    filled = ", ".join(f'"{node}"' for node in nodes)
    changed = text.replace("bootstrap_nodes = []", f"bootstrap_nodes = [{filled}]")
    assert changed != text, "the spec has no empty list of bootstrap nodes any more"
    pathlib.Path(path).write_text(changed)


if __name__ == "__main__":
    what, *arguments = sys.argv[1:]
    {"store": write_store, "spec": write_spec}[what](*arguments)
