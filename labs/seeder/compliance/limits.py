"""What a response may take: its size over UDP, and the rate limit of a client's network."""

import itertools
import socket
import time

from .lab import ZONES, within
from .verdict import check
from .wire import (
    TC, answers_in, ask, connect, flags_of, flood, ident_of, is_truncated, number, opt, parse, query, room, source, tcp,
    udp, unsigned,
)  # fmt: skip

SIZED = [
    ("", "A"), ("", "AAAA"), ("", "TXT"), ("x9", "AAAA"), ("_qtc._tcp", "SRV"), ("", "DNSKEY"), ("", "NS"),
    ("nosuchname", "A"), ("aaaaaaa.n", "A"), ("x2000000000000000", "A"),
]  # fmt: skip
SIZES = [0, 100, 511, 512, 513, 700, 900, 1100, 1200, 1231, 1232, 1233, 4096, 65535]


def sizes(server):
    """Over UDP whole sets or TC and nothing; never more than the client takes, never more than 1232."""
    for zone, (label, kind), flags in itertools.product(ZONES, SIZED, (0, 0x8000)):
        name = within(label, zone)
        whole = ask(server, name, kind, opt(flags=flags), tcp)
        for size in SIZES if flags else [None, *SIZES]:
            edns = None if size is None else opt(size=size, flags=flags)
            what = f"{name} {kind} in {size} {'DO' if flags else ''} @{server}"
            fits(what, udp(server, query(name, kind, edns=edns)), room(edns), whole, kind)


def lengths(section):
    return {(rrset.name, rrset.rdtype, rrset.covers): len(rrset) for rrset in section}


def fits(what, response, limit, whole, kind):
    """Whether a response keeps to the limit; `whole` is the answer over TCP."""
    message = parse(response)
    check(f"{what}: size", len(response) <= limit, f"{len(response)} > {limit}")
    found, wanted = (lengths(m.answer + m.authority) for m in (message, whole))
    if is_truncated(message):
        check(f"{what}: TC is empty", not found and not message.additional, message)
        # About: the next draw's texts and names may be longer.
        slack, size = 250 if kind in ("TXT", "SRV") else 60, len(whole.to_wire())
        check(f"{what}: TC only when it must", limit < size + slack, f"{size}")
    else:
        check(f"{what}: whole sets", found == wanted, f"{found}, not {wanted}")
        # Of the additional section whole sets as well: all have one record.
        extra = lengths(unsigned(message.additional))
        check(f"{what}: additional", set(extra.values()) <= {1}, f"{extra}")


def pairs(server):
    """A stub resolver sends A and AAAA at once from one socket; here two hundred of them behind one address."""
    client, complete = source(server), 0
    for start in range(0, 400, 50):
        idents, sockets = range(start, start + 50, 2), []
        for ident in idents:
            one = connect(server, socket.SOCK_DGRAM, client)
            one.send(query(ident=ident))
            one.send(query(kind="AAAA", ident=ident + 1, edns=opt()))
            sockets.append(one)
        for ident, one in zip(idents, sockets):
            with one:
                complete += complete_ids(one) == {ident, ident + 1}
    check(f"200 pairs of A and AAAA from one address @{server}", complete == 200, f"{complete}")


def complete_ids(one):
    """Of which of two queries the answers come with records."""
    found = set()
    try:
        for _ in range(2):
            response = one.recv(65535)
            if answers_in(response):
                found.add(ident_of(response))
    except TimeoutError:
        pass
    return found


def rate(server):
    """Beyond the limit: answers, TC alone, or nothing; and TCP goes on."""
    client, began, amount = source(server), time.monotonic(), 3000
    responses = flood(server, client, amount)
    seconds = time.monotonic() - began
    whole = sum(answers_in(r) > 0 for r in responses)
    truncated = [r for r in responses if flags_of(r) & TC]
    asked = len(query(edns=opt()))
    at_most = 402 + 200 * seconds
    check(f"a flood gets what the limit says @{server}", 400 <= whole <= at_most, f"{whole} in {seconds:.1f} s")
    share = len(truncated) / (amount - whole)
    check(f"some of the rest gets TC @{server}", 0.4 <= share <= 0.6, f"{len(truncated)}")
    check(f"TC is no larger than the question @{server}", all(len(r) <= asked for r in truncated))
    check(f"TC is empty @{server}", all((number(r, 4), number(r, 6)) == (1, 0) for r in truncated))
    message = ask(server, over=tcp, client=client)
    check(f"TCP is not limited @{server}", len(message.answer) == 1, message)
