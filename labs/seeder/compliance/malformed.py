"""What is no proper query: broken packets, good ones cut off, and random bytes."""

import struct

import dns.name

from .lab import ZONE, rng
from .verdict import check
from .wire import (
    COOKIE, DO, FORMERR, NOERROR, NOTAUTH, NOTIMP, NSID, NXDOMAIN, QR, REFUSED,
    ask, exchange, flags_of, header, number, opt, option, padding, parse, query, question, responses_to,
)  # fmt: skip

GOOD = query("x9.seed1.network.", edns=opt(COOKIE + NSID))
NAME = dns.name.from_text(ZONE).to_wire()
SOA_RECORD = NAME + struct.pack("!HHIH", 6, 1, 60, 22) + bytes(22)
# A transfer as secondaries ask for it.
IXFR = header(counts=(1, 0, 1, 0)) + question(ZONE, "IXFR") + SOA_RECORD
# A key of the root's name: algorithm of the same, time and fudge, no MAC, original id, no error, no other data (RFC 8945, 4.2).
TSIG = b"\0" + struct.pack("!HHIH", 250, 255, 0, 17) + bytes(17)
SILENCE = None


def counting(*counts):
    """A query with these counts of questions and records in its header."""
    return header(counts=counts) + question()


def asking(name, rest=b"\0\1\0\1"):
    """A question with this name in wire form."""
    return header() + name + rest


def long_name(size):
    """A name below the zone of so many bytes."""
    last = size - 3 * 64 - len(NAME) - 1
    return (b"\x3f" + b"q" * 63) * 3 + bytes([last]) + b"q" * last + NAME


# packet: code, or silence. A code of FORMERR or NOTIMP comes as a header alone unless the question could be read.
SHAPES = [
    ("header alone, no counts",            header(counts=(0, 0, 0, 0)), FORMERR),
    ("header alone, a question counted",   header(), FORMERR),
    ("QDCOUNT 0 with a question",          counting(0, 0, 0, 0), FORMERR),
    ("QDCOUNT 0 with OPT",                 header(counts=(0, 0, 0, 1)) + opt(), FORMERR),
    ("QDCOUNT 0 with a cookie",            header(counts=(0, 0, 0, 1)) + opt(COOKIE), NOERROR),
    ("QDCOUNT 2",                          counting(2, 0, 0, 0) + question(), FORMERR),
    ("QDCOUNT 2, one there",               counting(2, 0, 0, 0), FORMERR),
    ("QDCOUNT 65535",                      counting(65535, 0, 0, 0), FORMERR),
    ("ANCOUNT 1, none there",              counting(1, 1, 0, 0), FORMERR),
    ("ANCOUNT 1",                          counting(1, 1, 0, 0) + SOA_RECORD, FORMERR),
    ("NSCOUNT 1, none there",              counting(1, 0, 1, 0), FORMERR),
    ("ARCOUNT 65535",                      counting(1, 0, 0, 65535), FORMERR),
    ("a byte left over",                   query() + b"\0", FORMERR),
    ("bytes left over behind OPT",         query(edns=opt()) + bytes(100), FORMERR),
    ("QR set",                             query(flags=0x8000), SILENCE),
    ("QR set, FORMERR",                    query(flags=0x8001), SILENCE),
    ("QR set, another opcode",             query(flags=0xA000), SILENCE),
    ("QR set, header alone",               header(flags=0x8000), SILENCE),
    ("name: pointer to itself",            asking(b"\xc0\x0c"), FORMERR),
    ("name: pointer forward",              asking(b"\xc0\x20") + bytes(40), FORMERR),
    ("name: pointer to the header",        asking(b"\xc0\x00"), FORMERR),
    ("name: label, pointer to it",         asking(b"\1a\xc0\x0c"), FORMERR),
    ("name: two pointers in a loop",       asking(b"\1a\xc0\x10\1b\xc0\x0c"), FORMERR),
    ("name: pointer cut off",              asking(b"\xc0", b""), FORMERR),
    ("name: label of kind 01",             asking(b"\x41\1" + b"a" * 64 + b"\0"), FORMERR),
    ("name: label of kind 10",             asking(b"\x80" + b"a" * 64 + b"\0"), FORMERR),
    ("name: label longer than the packet", asking(b"\x3fabc", b""), FORMERR),
    ("name of 255 bytes",                  asking(long_name(255)), NXDOMAIN),
    ("name of 256 bytes",                  asking(long_name(256)), FORMERR),
    ("name of 300 labels",                 asking(b"\1a" * 300 + b"\0"), FORMERR),
    ("name of 127 labels",                 asking(b"\1a" * 127 + b"\0"), REFUSED),
    ("no end of the name",                 asking(b"\1a" * 100, b""), FORMERR),
    ("a name of zero and control bytes",   asking(b"\4\0\1\2\xff" + NAME), NXDOMAIN),
    ("a label with a dot in it",           asking(b"\3x.9" + NAME), NXDOMAIN),
    ("two OPT",                            counting(1, 0, 0, 2) + opt() * 2, FORMERR),
    ("OPT in the answer section",          counting(1, 1, 0, 0) + opt(), FORMERR),
    ("OPT in the authority section",       counting(1, 0, 1, 0) + opt(), FORMERR),
    ("OPT with an owner",                  counting(1, 0, 0, 1) + b"\1a" + opt(), FORMERR),
    ("OPT with a pointer as owner",        counting(1, 0, 0, 1) + b"\xc0\x0c" + opt()[1:], FORMERR),
    ("OPT longer than the packet",         query(edns=opt()[:-2] + b"\0\4"), FORMERR),
    ("option longer than OPT",             query(edns=opt(b"\0\x64\0\5abcd")), FORMERR),
    ("option cut in its length",           query(edns=opt(b"\0\x64\0")), FORMERR),
    ("TSIG, key unknown",                  counting(1, 0, 0, 1) + TSIG, NOTAUTH),
    ("TSIG before OPT",                    counting(1, 0, 0, 2) + TSIG + opt(), FORMERR),
    ("IXFR with its SOA",                  IXFR, REFUSED),
    ("1500 bytes of padding",              query(kind="SOA", edns=opt(padding(1500))), NOERROR),
    ("more than fits any query",           query(kind="SOA", edns=opt(padding(3000))), FORMERR),
    ("empty datagram",                     b"", SILENCE),
]  # fmt: skip

COOKIES = [(size, NOERROR if size == 8 or 16 <= size <= 40 else FORMERR) for size in [*range(0, 42), 100]]


def is_header(response, sent, rcode):
    """A header with this code and nothing else, of the query that was sent."""
    # Opcode and RD come back.
    same = flags_of(sent) & 0x7900
    return response[:2] == sent[:2] and flags_of(response) & 0xFF0F == QR | same | rcode and response[4:] == bytes(8)


def judge(what, packet, responses, rcode):
    """One response with this code, or silence."""
    if rcode is SILENCE:
        check(what, not responses, f"answered by {[r.hex() for r in responses]}")
    elif check(f"{what} is answered once", len(responses) == 1, f"{len(responses)} responses"):
        [response] = responses
        if rcode in (FORMERR, NOTIMP):
            check(what, is_header(response, packet, rcode), response.hex())
        else:
            check(what, flags_of(response) & 0x800F == QR | rcode and response[:2] == packet[:2], response.hex())


def judge_all(server, cases):
    found = exchange(server, [packet for _, packet, _ in cases])
    for at, (what, packet, rcode) in enumerate(cases):
        judge(f"{what} @{server}", packet, found.get(at, []), rcode)


def shapes(server):
    judge_all(server, SHAPES)
    for size, rcode in COOKIES:
        packet = query(kind="SOA", edns=opt(option(10, b"c" * size)))
        judge(f"cookie of {size} bytes @{server}", packet, responses_to(server, packet), rcode)
    # Cut at each length: silence below a header, FORMERR above.
    sizes = range(len(GOOD))
    judge_all(server, [(f"{n} of {len(GOOD)} bytes", GOOD[:n], SILENCE if n < 12 else FORMERR) for n in sizes])


TEMPLATES = [
    GOOD,
    query("_qtc._tcp.x9.seed1.network.", "SRV", edns=DO),
    query("nosuchname.seed1.network.", edns=DO),
    query("plain.network.", "TXT"),
    query("version.bind.", "TXT", 3),
    query("cqaqcai.n.seed2.network.", edns=DO),
]


def random_packets():
    """Random bytes, and proper queries with some bytes changed."""
    for _ in range(1500):
        yield rng.randbytes(rng.choice([0, 5, 12, 17, 40, 100, 511, 1000]))
    for _ in range(2500):
        changed = bytearray(rng.choice(TEMPLATES))
        for _ in range(rng.randint(1, 4)):
            changed[rng.randrange(len(changed))] = rng.choice([0, 0xFF, 0xC0, 0x0C, rng.randrange(256)])
        if rng.random() < 0.3:
            changed = changed[: rng.randrange(len(changed))]
        yield bytes(changed)


def is_proper(response, packet):
    """Whether it is a response to the packet; what it says of the question is what was asked, or nothing."""
    if response[:2] != packet[:2] or not flags_of(response) & QR or len(response) > 1232:
        return False
    try:
        parse(response)
    except Exception as error:
        # A type or class that dnspython can't read is no fault of the server.
        unknown = "Unknown" in type(error).__name__ + str(error)
        return unknown and number(response, 4) == 1 and len(response) <= 12 + 259 + 60
    return True


def junk(server):
    packets = list(random_packets())
    for start in range(0, len(packets), 100):
        part = packets[start : start + 100]
        for at, responses in exchange(server, part).items():
            packet = part[at]
            # A query: no shorter than a header, and no response itself.
            right = len(responses) == 1 and len(packet) >= 12 and not flags_of(packet) & QR
            right = right and all(is_proper(response, packet) for response in responses)
            check(f"junk @{server}: {packet.hex()}", right, f"{[r.hex() for r in responses]}")
    check(f"junk @{server}: still answers", ask(server, kind="SOA").rcode() == NOERROR)
