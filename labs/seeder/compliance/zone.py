"""Which names exist in a zone, with which types, codes and TTLs, whatever the case of their letters."""

import itertools
import time

import dns.name
import dns.rdatatype

from .lab import A4, A6, PLAIN, SERVERS, SIGNED, ZONE, ZONES, rng, within
from .verdict import check
from .wire import (
    DO, NOERROR, NSEC, NXDOMAIN, RRSIG, SOA,
    ask, count, flag_words, is_truncated, opt, parse, query, question, tcp, udp,
)  # fmt: skip

TYPES = """
    A NS MD MF CNAME SOA MB MG MR NULL WKS PTR HINFO MINFO MX TXT RP AFSDB X25 ISDN RT NSAP NSAP-PTR SIG KEY PX GPOS
    AAAA LOC NXT SRV NAPTR KX CERT A6 DNAME APL DS SSHFP IPSECKEY RRSIG NSEC DNSKEY DHCID NSEC3 NSEC3PARAM TLSA SMIMEA
    HIP CDS CDNSKEY OPENPGPKEY SPF NID L32 L64 LP EUI48 EUI64 URI CAA AVC DLV SVCB HTTPS ZONEMD CSYNC TYPE1000
    TYPE65280 TYPE65535
""".split()
AT_APEX = {"A", "NS", "SOA", "TXT", "AAAA"}
IN_SIGNED = {"RRSIG", "NSEC", "DNSKEY", "CDS", "CDNSKEY"}

# name below the zone, type: code, and whether there are records; the SOA of the zone itself denies.
NAMES = [
    ("", "A", NOERROR, True),
    ("", "MX", NOERROR, False),
    ("x9", "A", NOERROR, True),
    ("X9", "AAAA", NOERROR, True),
    ("x409", "TXT", NOERROR, True),
    ("x408", "A", NOERROR, True),            # pruned nodes: filters without NODE_NETWORK
    ("x1", "A", NOERROR, True),
    ("x8000000000000000", "A", NOERROR, True),
    ("X800000000000000A", "A", NOERROR, False),
    ("x8000000000000000", "AAAA", NOERROR, False),
    ("x2000000000000000", "A", NOERROR, False),
    ("xffffffffffffffff", "TXT", NOERROR, False),
    ("x0", "A", NXDOMAIN, False),
    ("x", "A", NXDOMAIN, False),
    ("x09", "A", NXDOMAIN, False),
    ("x+9", "A", NXDOMAIN, False),
    ("xg", "A", NXDOMAIN, False),
    ("x10000000000000000", "A", NXDOMAIN, False),
    ("x9", "SRV", NOERROR, False),
    ("_tcp", "A", NOERROR, False),           # exist because names below them do
    ("_tcp.x9", "SRV", NOERROR, False),
    ("n", "A", NOERROR, False),
    ("_qtc._tcp", "SRV", NOERROR, True),
    ("_QTC._Tcp.X9", "SRV", NOERROR, True),
    ("_qtc._tcp.x2000000000000000", "SRV", NOERROR, False),
    ("_qtc._tcp", "A", NOERROR, False),
    ("_qtc._udp", "SRV", NXDOMAIN, False),
    ("_udp", "SRV", NXDOMAIN, False),
    ("_qtc._tcp.x0", "SRV", NXDOMAIN, False),
    (A4, "A", NOERROR, True),
    (A4.upper(), "A", NOERROR, True),
    (A4, "AAAA", NOERROR, False),
    (A6, "AAAA", NOERROR, True),
    (A6, "A", NOERROR, False),
    ("cqaqcaj.n", "A", NXDOMAIN, False),     # unused bits set: another spelling of the same address
    ("aaaaaaa.n", "A", NXDOMAIN, False),
    ("yaaaeai.n", "A", NXDOMAIN, False),
    ("below." + A4, "A", NXDOMAIN, False),
    ("nosuchname", "A", NXDOMAIN, False),
    ("a.b.c.d.e.f", "A", NXDOMAIN, False),
    ("*", "A", NXDOMAIN, False),
    ("www", "A", NXDOMAIN, False),
    ("_dmarc", "TXT", NXDOMAIN, False),
]  # fmt: skip


def types(server, zone):
    for kind in TYPES:
        # Without EDNS some sets are too large for UDP.
        message = ask(server, zone, kind)
        message = ask(server, zone, kind, over=tcp) if is_truncated(message) else message
        has = kind in AT_APEX or zone in SIGNED and kind in IN_SIGNED
        right = count(message.answer, kind) > 0 if has else count(message.authority, "SOA") == 1 and not message.answer
        found = (message.rcode(), flag_words(message), right)
        check(f"type {kind} {zone} @{server}", found == (NOERROR, "qr aa", True), message)


# How it is asked, with EDNS and without.
WAYS = [("UDP", None, udp), ("UDP EDNS", opt(), udp), ("UDP DO", DO, udp), ("TCP DO", DO, tcp)]


def names(server, zone):
    serials = set()
    for label, kind, rcode, has in NAMES:
        name = within(label, zone)
        for words, edns, over in WAYS:
            message = ask(server, name, kind, edns, over)
            what = f"{name} {kind} {words} @{server}"
            if is_truncated(message):
                check(f"{what}: TC is empty", not message.answer and not message.authority, message)
                continue
            soas = [rrset for rrset in message.authority if rrset.rdtype == SOA]
            found = (message.rcode(), flag_words(message), count(message.answer, kind) > 0, len(soas) == 1)
            check(what, found == (rcode, "qr aa", has, not has), f"{found}")
            for rrset in message.answer + message.authority + message.additional:
                check(f"{what}: TTL", 60 <= rrset.ttl <= 86400, f"{rrset.ttl}")
            for soa in soas:
                check(f"{what}: SOA of the apex", soa.name == dns.name.from_text(zone), f"{soa.name}")
                check(f"{what}: negative TTL", 60 <= soa[0].minimum <= 300 and 60 <= soa.ttl <= 300, f"{soa}")
                serials.add(soa[0].serial)
            if zone in SIGNED and "DO" in words:
                check(f"{what}: no additional records", not message.additional, message)
            if zone == PLAIN:
                kinds = {rrset.rdtype for rrset in message.answer + message.authority}
                check(f"{what}: no proof", not kinds & {RRSIG, NSEC}, message)
    # The time at which the peers were drawn.
    check(f"serials of {zone} @{server}", all(abs(s - time.time()) < 60 for s in serials), f"{serials}")


def additional(server, zone):
    """Addresses of name servers within the zone and of SRV's targets; in signed zones they are left out for who asks
    with DO, since unsigned ones would break RFC 4035, 3.1.1."""
    asked = [("", "NS"), ("_qtc._tcp", "SRV"), ("_qtc._tcp.x408", "SRV")]
    for (label, kind), edns in itertools.product(asked, (None, opt(), DO)):
        message = ask(server, within(label, zone), kind, edns, tcp)
        found = [(rrset.name, len(rrset)) for rrset in message.additional]
        if edns == DO and zone in SIGNED:
            wanted = []
        elif kind == "NS":
            wanted = [(dns.name.from_text(within(label, zone)), 1) for label in SERVERS[zone] for _ in ("A", "AAAA")]
        else:
            wanted = [(record.target, 1) for rrset in message.answer for record in rrset]
        what = f"{within(label, zone)} {kind} {'DO' if edns == DO else 'EDNS' if edns else ''} @{server}"
        check(f"{what}: additional records", sorted(found) == sorted(wanted), message)
        kinds = {rrset.rdtype for rrset in message.additional}
        check(f"{what}: of addresses", kinds <= {dns.rdatatype.A, dns.rdatatype.AAAA}, message)


def own_addresses(server, label):
    """A name server within the zone has the server's address, and the others have not."""
    kind = "AAAA" if ":" in server else "A"
    for other in SERVERS[ZONE]:
        name = within(other, ZONE)
        found = [record.address for rrset in ask(server, name, kind).answer for record in rrset]
        check(f"{name} {kind} @{server}", len(found) == 1 and (found == [server]) == (other == label), f"{found}")


def any_case(name):
    return "".join(c.upper() if rng.random() < 0.5 else c.lower() for c in name)


CASES = [
    ("", "A"), ("x9", "A"), ("xd", "AAAA"), ("_qtc._tcp.xc08", "SRV"), ("x8000000000000000", "TXT"), (A6, "AAAA"),
    ("nosuchname", "A"), ("_tcp.x9", "A"),
]  # fmt: skip


def casing(server):
    """The question comes back as it was written, and the answer is the same."""

    def outcome(message, kind):
        return message.rcode(), count(message.answer, kind)

    for zone in ZONES:
        for label, kind in CASES:
            lower = within(label, zone)
            plain = ask(server, lower, kind, DO, tcp)
            for over in [udp] * 12 + [tcp]:
                name = any_case(lower)
                response = over(server, query(name, kind, edns=DO))
                echoed = response[12:].startswith(question(name, kind))
                message = parse(response)
                same = is_truncated(message) or outcome(message, kind) == outcome(plain, kind)
                check(f"case of {name} {kind} @{server}", echoed and same, message)
