"""Classes, types and opcodes that are not what zones are for: refused, not implemented, or answered with little."""

import itertools

import dns.rdatatype

from .lab import ZONES
from .malformed import judge
from .verdict import check
from .wire import (
    AA, AD, CD, DO, FORMERR, NOERROR, NOTIMP, NXDOMAIN, QR, RA, RD, REFUSED, TC, Z,
    ask, flags_of, header, number, opt, option, query, question, responses_to, tcp, udp, unsigned,
)  # fmt: skip

# What has nothing to do with our zones, in classes, types and opcodes.
#  name, type, class, code, with extended error 20
OUTSIDE = [
    ("network.", "A", 1, REFUSED, True),
    (".", "NS", 1, REFUSED, True),
    ("example.com.", "A", 1, REFUSED, True),
    ("xseed1.network.", "A", 1, REFUSED, True),
    ("seed1.network.example.", "A", 1, REFUSED, True),
    ("seed1.network.", "AXFR", 1, REFUSED, False),
    ("seed1.network.", "IXFR", 1, REFUSED, False),
    ("x9.seed1.network.", "AXFR", 1, REFUSED, False),
    ("example.com.", "AXFR", 1, REFUSED, True),
    ("seed1.network.", "MAILB", 1, NOTIMP, False),
    ("seed1.network.", "MAILA", 1, NOTIMP, False),
    ("seed1.network.", 0, 1, FORMERR, False),
    ("seed1.network.", "OPT", 1, FORMERR, False),
    ("seed1.network.", "TSIG", 1, FORMERR, False),
    ("seed1.network.", "TKEY", 1, FORMERR, False),
    ("seed1.network.", "A", 0, REFUSED, True),
    ("seed1.network.", "A", 2, REFUSED, True),
    ("seed1.network.", "A", 3, REFUSED, True),
    ("seed1.network.", "A", 4, REFUSED, True),
    ("seed1.network.", "A", 254, REFUSED, True),
    ("seed1.network.", "A", 255, REFUSED, True),
    ("seed1.network.", "A", 65535, REFUSED, True),
    ("authors.bind.", "TXT", 3, REFUSED, True),
    ("version.bind.", "TXT", 1, REFUSED, True),
    ("version.bind.", "A", 3, REFUSED, True),
]  # fmt: skip


def outside(server):
    for (name, kind, cls, rcode, explained), over, edns in itertools.product(OUTSIDE, (udp, tcp), (None, opt(), DO)):
        what = f"{name} {kind} class {cls} {over.__name__} {'EDNS' if edns else ''} @{server}"
        response = over(server, query(name, kind, cls, edns=edns))
        if not check(f"{what} is answered", response is not None):
            continue
        # By hand: dnspython does not read each of these questions.
        flags, counts = flags_of(response), [number(response, at) for at in (4, 6, 8, 10)]
        check(f"{what}: code and QR", (flags & QR, flags & 15) == (QR, rcode), f"{flags:#06x}")
        echoed = counts[0] == 1 and response[12:].startswith(question(name, kind, cls))
        check(f"{what}: question", echoed, response.hex())
        check(f"{what}: no records but OPT", counts[1:] == [0, 0, 1 if edns else 0], f"{counts}")
        if edns and explained:
            check(f"{what}: extended error", response.endswith(option(15, b"\0\x14")), response.hex())


def chaos(server, ident):
    texts = {"version.bind.": "lab", "version.server.": "lab", "id.server.": ident, "HOSTNAME.bind.": ident}
    for name, text in texts.items():
        message = ask(server, name, "TXT", cls=3)
        found = [rrset[0].strings for rrset in message.answer]
        check(f"CHAOS {name} @{server}", message.rcode() == NOERROR and found == [(text.encode(),)], message)


def any_type(server):
    """One small record (RFC 8482)."""
    for zone, over, edns in itertools.product(ZONES, (udp, tcp), (None, DO)):
        message = ask(server, zone, "ANY", edns, over)
        found = [rrset.rdtype for rrset in unsigned(message.answer)]
        check(f"ANY {zone} {over.__name__} @{server}", found == [dns.rdatatype.HINFO], message)
    message = ask(server, "nosuchname.seed1.network.", "ANY")
    check(f"ANY of nothing @{server}", message.rcode() == NXDOMAIN, message)


def opcodes(server):
    for opcode in range(1, 16):
        flags = opcode << 11 | RD
        packets = {
            "question": query(kind="SOA", flags=flags),
            "header": header(flags=flags, counts=(0, 0, 0, 0)),
            "EDNS": query(kind="SOA", flags=flags, edns=opt()),
        }
        for words, packet in packets.items():
            judge(f"opcode {opcode}, {words} @{server}", packet, responses_to(server, packet), NOTIMP)
    # genreport's opcodeflg
    packet = header(flags=15 << 11 | AA | TC | RD | RA | Z | AD | CD, counts=(0, 0, 0, 0))
    [response] = responses_to(server, packet) or [bytes(12)]
    check(f"opcodeflg @{server}", flags_of(response) & ~(RD | CD) == QR | 15 << 11 | NOTIMP, response.hex())
