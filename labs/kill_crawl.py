#!/usr/bin/env python3
"""Kills a crawler 50 times while it crawls. After each kill the store must be whole, and hold every probe of every batch
that the crawler has told of as committed. Needs the release build and Python's own library; neither root nor the
internet."""

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
# Probes of a batch at most (docs/architecture.md), and those that may wait behind it.
BATCH, QUEUE = 5_000, 8_192

os.chdir(pathlib.Path(__file__).parent.parent)
BIN = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", "target")) / "release"
SEED = int(os.environ.get("SEED", random.randrange(1 << 30)))
random.seed(SEED)


def fail(what):
    sys.exit(f"kill_crawl (SEED={SEED}): {what}")


def told(log):
    """Probes that ended, and those of them that were committed, by what the crawler told."""
    ended = committed = 0
    for line in open(log, encoding="utf-8"):
        try:
            entry = json.loads(line)
        except ValueError:
            continue  # Cut off by the kill.
        fields = entry.get("fields", entry)
        ended += fields.get("message") == "visited"
        committed += int(fields["probes"]) if fields.get("message") == "committed" else 0
    return ended, committed


def stored(path):
    """Probes that the store has counted, after a look whether it is whole."""
    db = sqlite3.connect(path)
    for check in ("PRAGMA integrity_check", "PRAGMA foreign_key_check"):
        found = db.execute(check).fetchall()
        if found not in ([], [("ok",)]):
            fail(f"{check}: {found[:3]}")
    (probes,) = db.execute("SELECT COALESCE(SUM(probes), 0) FROM hourly_outcomes").fetchone()
    db.close()
    return probes


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
        "--seed-addr", seed, "--http", "127.0.0.1:0", "--config", settings, "--log", "quantumcoin_crawler=debug,quantumcoin::store=debug",
        "--log-format", "json",
    ]
    store, have, most_lost = work / "crawl.sqlite", 0, 0
    for number in range(1, KILLS + 1):
        log = work / "log"
        with open(log, "w", encoding="utf-8") as out:
            crawler = subprocess.Popen(command, stderr=out, stdout=out)
            # The moment of the kill: nothing waits for it.
            time.sleep(random.uniform(0.1, 4.0))
            if crawler.poll() is not None:
                fail(f"the crawler ended by itself: {log.read_text()[-500:]}")
            crawler.send_signal(signal.SIGKILL)
            crawler.wait()
        if not store.exists():
            continue  # Killed before it had made its file.
        ended, committed = told(log)
        before, have = have, stored(store)
        if have < before + committed:
            fail(f"after kill {number}: {have} probes, {before} before and {committed} committed since")
        lost = before + ended - have
        most_lost = max(most_lost, lost)
        if lost > BATCH + QUEUE:
            fail(f"after kill {number}: {lost} probes lost")
    internet.stdin.close()
    internet.wait()
    if have < 1_000:
        fail(f"only {have} probes were checked")
    print(f"kill_crawl: {KILLS} kills, every check clean, {have} probes in the store, {most_lost} lost at most at a kill (SEED={SEED})")


main()
