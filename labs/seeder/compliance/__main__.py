"""What a name server owes to any packet: EDNS and protocol compliance in the manner of ISC's genreport, and the
seeder's own promises.

    python -m compliance --servers ADDRESS ADDRESS --names ID ID --twin ADDRESS --cold ADDRESS --empty ADDRESS

Needs the zones and peers of run.sh, and peers.py in the path. One line of summary; each deviation is a line on standard
error, and the exit code is 1.
"""

import argparse
import concurrent.futures
import sys
import time

from . import verdict, wire
from .denial import denial
from .edns import cookies, genreport, keepalive, nsid
from .lab import SERVERS, SIGNED, ZONE, ZONES, rng
from .limits import pairs, rate, sizes
from .malformed import junk, shapes
from .protocol import any_type, chaos, opcodes, outside
from .served import served, without_crawl
from .stream import idle, streams
from .verdict import check
from .wire import ask
from .zone import additional, casing, names, own_addresses, types


def serial_of(server):
    return ask(server, kind="SOA").answer[0][0].serial


def of_server(server, ident, name, other, signed):
    """All that one server owes alone: the one that has the id, is called `name` within the first zone, shares its
    secret with `other`, and proves what is not in the zone `signed`."""
    before = serial_of(server)
    with idle(server):
        for zone in ZONES:
            genreport(server, zone)
            types(server, zone)
            names(server, zone)
            additional(server, zone)
        own_addresses(server, name)
        outside(server)
        chaos(server, ident)
        any_type(server)
        shapes(server)
        opcodes(server)
        junk(server)
        casing(server)
        sizes(server)
        cookies(server, other)
        nsid(server, ident)
        keepalive(server)
        pairs(server)
        rate(server)
        streams(server)
        denial(server, signed)
    # Meanwhile there was a new draw.
    after = serial_of(server)
    check(f"the serial grows @{server}", after > before, f"{before}, {after}")


def of_peers(servers, cold, empty):
    """What the servers tell."""
    served(servers)
    without_crawl(cold, empty)


def run(part, function, *arguments):
    """One part, in a process of its own; returns how many checks there were, and how many failed."""
    wire.begin(part)
    rng.seed(f"seeder lab {part}")
    function(*arguments)
    return verdict.counted, verdict.failed


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--servers", nargs=2, required=True)
    parser.add_argument("--names", nargs=2, required=True)
    parser.add_argument("--twin", required=True, help="the second server's address in the family of the first's")
    parser.add_argument("--cold", required=True)
    parser.add_argument("--empty", required=True)
    options = parser.parse_args()
    began = time.monotonic()
    of_each = zip(options.servers, options.names, SERVERS[ZONE], (options.twin, None), SIGNED)
    parts = [(of_server, *arguments) for arguments in of_each]
    parts.append((of_peers, options.servers, options.cold, options.empty))
    with concurrent.futures.ProcessPoolExecutor(len(parts)) as processes:
        running = [processes.submit(run, number, *part) for number, part in enumerate(parts)]
        counts = [one.result() for one in running]
    counted, failed = map(sum, zip(*counts))
    print(f"   compliance: {counted} checks, {failed} deviations ({time.monotonic() - began:.0f} s)")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
