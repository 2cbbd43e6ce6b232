#!/usr/bin/env python3
"""Kills a crawler 50 times while it crawls. After each kill the store must be whole, and hold every visit that ended more
than two seconds before: a batch is committed after a second at most. Needs the release build and Python's own library;
neither root nor the internet."""

import datetime
import json
import os
import pathlib
import random
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time

KILLS = 50
ADDRESSES = 3_000
# A commit comes after a second; the rest is what a busy machine needs for it.
SLACK = 2.0

os.chdir(pathlib.Path(__file__).parent.parent)
BIN = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", "target")) / "release"
SEED = int(os.environ.get("SEED", random.randrange(1 << 30)))
random.seed(SEED)


def fail(what):
    sys.exit(f"kill_crawl (SEED={SEED}): {what}")


def visited(log):
    """When each visit ended that the crawler told of, and where it was."""
    for line in open(log, encoding="utf-8"):
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # Cut off by the kill.
        fields = entry.get("fields", entry)
        if fields.get("message") == "visited":
            at = datetime.datetime.fromisoformat(entry["timestamp"].replace("Z", "+00:00"))
            yield at.timestamp(), fields["addr"]


def stored(path):
    """Visits of each address that the store holds, after a look whether it is whole."""
    db = sqlite3.connect(path)
    for check in ("PRAGMA integrity_check", "PRAGMA foreign_key_check"):
        found = db.execute(check).fetchall()
        if found not in ([], [("ok",)]):
            fail(f"{check}: {found[:3]}")
    rows = db.execute("SELECT address, port, visits FROM addresses WHERE net = 4").fetchall()
    db.close()
    return {f"{'.'.join(map(str, ip))}:{port}": visits for ip, port, visits in rows}


def main():
    work = pathlib.Path(tempfile.mkdtemp())
    internet = subprocess.Popen(
        [BIN / "labs", "internet", "--addresses", str(ADDRESSES)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )
    seed = None
    while seed is None:
        match = re.search(r"--seed-addr (\S+)", internet.stdout.readline() or fail("no internet"))
        seed = match and match.group(1)
    settings = work / "settings.toml"
    settings.write_text(
        "[schedule]\ngood_min_secs = 1\ngood_max_secs = 2\nbackoff_first_secs = 1\nbackoff_cap_secs = 5\n"
        "[pace]\ndials_per_second = 2000\ndials_per_subnet_minute = 0\n"
    )
    command = [
        BIN / "quantumcoin-crawler", "run", "--network", "devnet", "--data-dir", work, "--no-dns", "--no-bootstrap",
        "--seed-addr", seed, "--http", "127.0.0.1:0", "--config", settings, "--log", "quantumcoin_crawler=debug",
        "--log-format", "json",
    ]
    store, due, checked = work / "crawl.sqlite", {}, 0
    for number in range(1, KILLS + 1):
        log = work / "log"
        with open(log, "w", encoding="utf-8") as out:
            crawler = subprocess.Popen(command, stderr=out, stdout=out)
            # The moment of the kill: nothing waits for it.
            time.sleep(random.uniform(0.1, 4.0))
            killed = time.time()
            if crawler.poll() is not None:
                fail(f"the crawler ended by itself: {log.read_text()[-500:]}")
            crawler.send_signal(signal.SIGKILL)
            crawler.wait()
        if not store.exists():
            continue  # Killed before it had made its file.
        for at, addr in visited(log):
            if at < killed - SLACK:
                due[addr] = due.get(addr, 0) + 1
        have = stored(store)
        lost = {addr: n for addr, n in due.items() if have.get(addr, 0) < n}
        if lost:
            fail(f"lost after kill {number}: {list(lost.items())[:3]}, of {len(lost)}")
        checked = sum(due.values())
        # What the store has beyond that was in a later batch.
        due = have
    internet.stdin.close()
    internet.wait()
    if checked < 1_000:
        fail(f"only {checked} visits were checked")
    print(f"kill_crawl: {KILLS} kills, every check clean, {sum(due.values())} visits in the store (SEED={SEED})")


main()
