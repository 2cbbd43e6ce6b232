"""EDNS as ISC's genreport tests it, flag for flag, and the options that the seeder knows: cookies, NSID, keepalive."""

import struct
import time

from .lab import SIGNED
from .verdict import check
from .wire import (
    AA, AD, BADVERS, CD, COOKIE, DO, ECS, EXPIRE, KEEPALIVE, NOERROR, NSID, RA, RD, SOA, TC, UNKNOWN, Z,
    answers_in, ask, count, flag_words, flood, has_do, header, opt, option, padding, parse, query, room, source, tcp,
    udp,
)  # fmt: skip

# genreport's tests with its names. "comes back" are the flags of the response, "OPT" whether it has such a record; a
# "key" is an answer in signed zones.
GENREPORT = [
    # name          type       EDNS                               flags    over  rcode    comes back  section   OPT
    ("dns",         "SOA",     None,                              0,       udp,  NOERROR, "qr aa",    "answer", False),
    ("aa",          "SOA",     None,                              AA,      udp,  NOERROR, "qr aa",    "answer", False),
    ("ad",          "SOA",     None,                              AD,      udp,  NOERROR, "qr aa",    "answer", False),
    ("cd",          "SOA",     None,                              CD,      udp,  NOERROR, "qr aa cd", "answer", False),
    ("ra",          "SOA",     None,                              RA,      udp,  NOERROR, "qr aa",    "answer", False),
    ("rd",          "SOA",     None,                              RD,      udp,  NOERROR, "qr aa rd", "answer", False),
    ("tc",          "SOA",     None,                              TC,      udp,  NOERROR, "qr aa",    "answer", False),
    ("zflag",       "SOA",     None,                              Z,       udp,  NOERROR, "qr aa",    "answer", False),
    ("type666",     "TYPE666", None,                              0,       udp,  NOERROR, "qr aa",    "denial", False),
    ("tcp",         "SOA",     None,                              0,       tcp,  NOERROR, "qr aa",    "answer", False),
    ("edns",        "SOA",     opt(size=4096),                    0,       udp,  NOERROR, "qr aa",    "answer", True),
    ("edns1",       "SOA",     opt(version=1),                    0,       udp,  BADVERS, "qr",       "none",   True),
    ("edns@512",    "DNSKEY",  opt(size=512, flags=0x8000),       0,       udp,  NOERROR, "qr aa",    "key",    True),
    ("ednsopt",     "SOA",     opt(UNKNOWN),                      0,       udp,  NOERROR, "qr aa",    "answer", True),
    ("edns1opt",    "SOA",     opt(UNKNOWN, version=1),           0,       udp,  BADVERS, "qr",       "none",   True),
    ("do",          "SOA",     DO,                                0,       udp,  NOERROR, "qr aa",    "answer", True),
    ("docd",        "SOA",     DO,                                CD,      udp,  NOERROR, "qr aa cd", "answer", True),
    ("edns1do",     "SOA",     opt(version=1, flags=0x8000),      0,       udp,  BADVERS, "qr",       "none",   True),
    ("ednsflags",   "SOA",     opt(flags=0x0080),                 0,       udp,  NOERROR, "qr aa",    "answer", True),
    ("ednsflags15", "SOA",     opt(flags=0x7FFF),                 0,       udp,  NOERROR, "qr aa",    "answer", True),
    ("optlist",     "SOA",     opt(NSID + ECS + EXPIRE + COOKIE), 0,       udp,  NOERROR, "qr aa",    "answer", True),
    ("ednsnsid",    "SOA",     opt(NSID),                         0,       udp,  NOERROR, "qr aa",    "answer", True),
    ("ednscookie",  "SOA",     opt(COOKIE),                       0,       udp,  NOERROR, "qr aa",    "answer", True),
    ("ednsexpire",  "SOA",     opt(EXPIRE),                       0,       udp,  NOERROR, "qr aa",    "answer", True),
    ("ednssubnet",  "SOA",     opt(ECS),                          0,       udp,  NOERROR, "qr aa",    "answer", True),
    ("edns1nsid",   "SOA",     opt(NSID, version=1),              0,       udp,  BADVERS, "qr",       "none",   True),
    ("edns1cookie", "SOA",     opt(COOKIE, version=1),            0,       udp,  BADVERS, "qr",       "none",   True),
    ("edns1expire", "SOA",     opt(EXPIRE, version=1),            0,       udp,  BADVERS, "qr",       "none",   True),
    ("edns1subnet", "SOA",     opt(ECS, version=1),               0,       udp,  BADVERS, "qr",       "none",   True),
    ("edns255",     "SOA",     opt(version=255),                  0,       udp,  BADVERS, "qr",       "none",   True),
    ("ednstcp",     "DNSKEY",  opt(size=512, flags=0x8000),       0,       tcp,  NOERROR, "qr aa",    "key",    True),
    ("signed",      "A",       DO,                                0,       udp,  NOERROR, "qr aa",    "answer", True),
    ("bind11",      "SOA",     opt(COOKIE, 4096, 0, 0x8000),      0,       udp,  NOERROR, "qr aa",    "answer", True),
    ("dig11",       "SOA",     opt(COOKIE, 4096),                 RD | AD, udp,  NOERROR, "qr aa rd", "answer", True),
    ("keepalive",   "SOA",     opt(KEEPALIVE),                    0,       tcp,  NOERROR, "qr aa",    "answer", True),
    ("padding",     "SOA",     opt(padding(300)),                 0,       udp,  NOERROR, "qr aa",    "answer", True),
]  # fmt: skip


def genreport(server, zone):
    for name, kind, edns, flags, over, rcode, back, section, has_opt in GENREPORT:
        what = f"{name} {zone} @{server}"
        response = over(server, query(zone, kind, edns=edns, flags=flags))
        if not check(f"{what} is answered", response is not None):
            continue
        message = parse(response)
        found = (message.rcode(), flag_words(message), message.edns >= 0)
        check(f"{what}: code, flags, OPT", found == (rcode, back, has_opt), f"{found}, not {(rcode, back, has_opt)}")
        if has_opt:
            opt_record(what, message, edns, over)
        if over is udp:
            check(f"{what}: size", len(response) <= room(edns), f"{len(response)} > {room(edns)}")
        sections(what, message, zone, kind, section, has_do(edns))


def opt_record(what, message, edns, over):
    """Version 0, no flag but DO, and no option that was not asked for or is unknown."""
    found = (message.edns, message.ednsflags & 0xFFFF)
    check(f"{what}: EDNS", found == (0, 0x8000 if has_do(edns) else 0), f"version and flags {found}")
    answered = {3: NSID, 10: COOKIE, 11: KEEPALIVE} if over is tcp else {3: NSID, 10: COOKIE}
    known = {code for code, asked in answered.items() if asked in edns and message.rcode() == NOERROR}
    options = {int(o.otype) for o in message.options}
    check(f"{what}: options", options == known, f"{options}, not {known}")


def sections(what, message, zone, kind, section, do):
    signed = zone in SIGNED
    if section == "key":
        section = "answer" if signed else "denial"
    found = (count(message.answer, kind) > 0, any(rrset.rdtype == SOA for rrset in message.authority))
    wanted = {"answer": (True, False), "denial": (False, True), "none": (False, False)}[section]
    check(f"{what}: sections", found == wanted, message)
    if section == "answer":
        signatures = count(message.answer, "RRSIG")
        check(f"{what}: signed", (signatures > 0) == (do and signed), f"{signatures} signatures")


def options_of(message, code):
    return [bytes(o.to_wire()) for o in message.options if int(o.otype) == code]


def cookie_of(message):
    found = options_of(message, 10)
    return found[0] if len(found) == 1 else b""


def cookies(server, other):
    """Cookies by RFC 7873 in the form of RFC 9018; `other` is a server with the same secret, if there is one."""
    client, mine = source(server), b"labcooki"

    def with_options(options):
        return ask(server, kind="SOA", edns=opt(options), client=client)

    full = cookie_of(with_options(option(10, mine)))
    check(f"a server cookie @{server}", len(full) == 24 and full[:8] == mine and full[8:12] == b"\1\0\0\0", full.hex())
    check(f"its time @{server}", abs(struct.unpack("!I", full[12:16])[0] - time.time()) < 60, full.hex())
    message = with_options(option(10, full))
    again = cookie_of(message)
    right = message.rcode() == NOERROR and again[:8] == mine and len(again) == 24
    check(f"the server cookie brought back @{server}", right, message)
    message = with_options(option(10, mine + b"w" * 16))
    check(f"a wrong server cookie @{server}", message.rcode() == NOERROR and len(cookie_of(message)) == 24, message)
    message = with_options(option(10, full) + option(10, b"x"))
    check(f"a second cookie is passed over @{server}", message.rcode() == NOERROR, message)
    message = parse(udp(server, header(counts=(0, 0, 0, 1)) + opt(option(10, mine)), client))
    right = message.rcode() == NOERROR and len(cookie_of(message)) == 24 and not message.question
    check(f"a cookie without a question @{server}", right, message)
    check(f"no cookie unasked @{server}", not cookie_of(with_options(b"")))
    # Whoever brings it back is not limited.
    for limited in [other, server] if other else [server]:
        flood(limited, client, 1500)
        left = sum(answers_in(r) > 0 for r in flood(limited, client, 300, option(10, full)))
        check(f"with a cookie of {server} nobody is limited @{limited}", left == 300, f"{left} of 300")


def nsid(server, ident):
    for edns, wanted in [(opt(NSID), [ident.encode()]), (opt(), []), (opt(NSID, version=1), [])]:
        found = options_of(ask(server, kind="SOA", edns=edns), 3)
        check(f"NSID @{server}", found == wanted, f"{found}, not {wanted}")


def keepalive(server):
    """How long a connection may be idle, in tenths of a second (RFC 7828): only over TCP, and only servers say it."""
    ten_seconds = struct.pack("!H", 100)
    for over, sent, wanted in [(tcp, KEEPALIVE, [ten_seconds]), (tcp, option(11, ten_seconds), []), (tcp, b"", []),
                               (udp, KEEPALIVE, [])]:  # fmt: skip
        found = options_of(ask(server, kind="SOA", edns=opt(sent), over=over), 11)
        check(f"keepalive {sent.hex()} over {over.__name__} @{server}", found == wanted, f"{found}, not {wanted}")
