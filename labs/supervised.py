#!/usr/bin/env python3
"""What the three programs tell a service manager: ready once their sockets are taken, alive, how they are, stopping.

Needs the release build, and neither root nor the internet."""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time

BIN = os.path.join(os.environ.get("CARGO_TARGET_DIR", "target"), "release")
# The watchdog's limit; it is to be fed each half of it.
WATCHDOG_US = 2_000_000
PATIENCE_S = 30


def messages(sock, until):
    """Fields that arrive until `until` (a predicate over all of them) holds, with their times."""
    seen = []
    end = time.monotonic() + PATIENCE_S
    while not until([field for field, _ in seen]):
        sock.settimeout(max(0.01, end - time.monotonic()))
        try:
            text = sock.recv(4096).decode()
        except TimeoutError:
            sys.exit(f"supervised: after {PATIENCE_S} s there is only {seen}")
        seen += [(field, time.monotonic()) for field in text.splitlines()]
    return seen


def check(name, args, port):
    with tempfile.TemporaryDirectory() as work:
        path = os.path.join(work, "notify")
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sock.bind(path)
        command = [a.replace("WORK", work) for a in args]
        # Without WATCHDOG_PID, whoever reads the limit is meant.
        env = {**os.environ, "NOTIFY_SOCKET": path, "WATCHDOG_USEC": str(WATCHDOG_US)}
        with subprocess.Popen([os.path.join(BIN, name), *command], env=env, stderr=subprocess.PIPE) as process:
            try:
                first = messages(sock, lambda fields: "READY=1" in fields)
                socket.create_connection(("127.0.0.1", port), 5).close()
                fed = messages(sock, lambda fields: fields.count("WATCHDOG=1") >= 3)
                fields = [f for f, _ in first + fed]
                status = [f for f in fields if f.startswith("STATUS=")]
                beats = [at for f, at in fed if f == "WATCHDOG=1"]
                longest = max(b - a for a, b in zip(beats, beats[1:]))
                assert longest < WATCHDOG_US / 1e6, f"{name}: the watchdog waited {longest:.2f} s"
                assert status, f"{name} tells no status: {fields}"
                process.send_signal(signal.SIGTERM)
                messages(sock, lambda fields: "STOPPING=1" in fields)
                code = process.wait(PATIENCE_S)
                assert code == 0, f"{name} ended with {code}: {process.stderr.read().decode()}"
            finally:
                process.kill()
        print(f"{name}: ready, fed each {longest:.2f} s of {WATCHDOG_US / 1e6:.0f}, {status[-1]!r}, stopping")


def main():
    check("quantumcoin-node", ["run", "--network", "devnet", "--data-dir", "WORK/n", "--listen", "127.0.0.1:18711",
                               "--http", "127.0.0.1:18712", "--dns-seed", "seed.invalid", "--resolver", "127.0.0.1:9",
                               "--nat", "off"], 18712)
    check("quantumcoin-crawler", ["run", "--network", "devnet", "--data-dir", "WORK/c", "--no-dns", "--no-bootstrap",
                                  "--http", "127.0.0.1:18713"], 18713)
    check("quantumcoin-seeder", ["run", "--network", "devnet", "--zone", "seed.test", "--store", "WORK/none.sqlite",
                                 "--listen", "127.0.0.1:18714", "--http", "127.0.0.1:18715"], 18715)


main()
