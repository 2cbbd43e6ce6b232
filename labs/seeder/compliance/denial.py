"""Signed zones: answers that have to validate, and denials of all sorts of names."""

import re

import dns.name
import dns.rdatatype

import peers

from .lab import A4, A6, SERVERS, label_of, name_of, rng, within
from .proofs import Proofs
from .verdict import check
from .wire import DO, NOERROR, NXDOMAIN, ask, count, tcp, udp
from .zone import NAMES

POSITIVE = [
    ("", "A"), ("", "AAAA"), ("", "TXT"), ("", "NS"), ("", "SOA"), ("", "ANY"), ("", "CDS"), ("", "CDNSKEY"),
    ("", "NSEC"), ("x9", "A"), ("x9", "TXT"), ("x401", "A"), ("x8000000000000000", "A"), ("_qtc._tcp", "SRV"),
    ("_qtc._tcp.x408", "SRV"), (A4, "A"), (A6, "AAAA"),
]  # fmt: skip

# Places where names have an order of their own.
PLACES = [(), (b"n",), (b"x9",), (b"_tcp",), (b"_qtc", b"_tcp"), (A4.split(".")[0].encode(), b"n")]
# Besides each byte as a label.
LONG = [b"q" * 63, b"q" * 62, b"\xff" * 63, b"\0" * 63, b"z" * 62 + b"[", b"AAAAAA`"]
# Names that are there, and no filters.
EXISTING = {(b"n",), (b"_tcp",), (b"_qtc", b"_tcp"), (b"_tcp", b"x9")}


def is_filter(label):
    return bool(re.fullmatch(rb"x[1-9a-f][0-9a-f]{0,15}", label.lower()))


def denial(server, zone):
    proofs = Proofs(server, zone)
    positive(proofs)
    in_table(proofs)
    bytes_as_labels(proofs)
    at_random(proofs)
    # Resolvers use such records for other names too (RFC 8198): none may deny what is there.
    there = existing(zone)
    against = dict(proofs.contradictions(there))
    for name in there:
        check(f"{name} is denied by none @{server}", name not in against, against.get(name))


def positive(proofs):
    for label, kind in POSITIVE:
        name = within(label, proofs.zone)
        message = ask(proofs.server, name, kind, DO, tcp)
        # RFC 8482
        kind = "HINFO" if kind == "ANY" else kind
        check(f"{name} {kind} is there @{proofs.server}", count(message.answer, kind) > 0, message)
        proofs.positive(message, kind)


def in_table(proofs):
    for label, kind, rcode, has in NAMES:
        if not has:
            name = dns.name.from_text(within(label, proofs.zone))
            for over in (udp, tcp):
                proofs.negative(name, kind, rcode, over)
    proofs.negative(proofs.apex, "DS", NOERROR)


def bytes_as_labels(proofs):
    """Each byte as a label, and as the last of one where order is computed: below the zone (filters) and n (hosts)."""
    stems = {(): [b"", b"x"], (b"n",): [b"", b"aaaaaa"]}
    for place in PLACES:
        labels = [stem + bytes([byte]) for stem in stems.get(place, [b""]) for byte in range(256)]
        for label in labels + LONG:
            if (label.lower(), *place) not in EXISTING and not (place == () and is_filter(label)):
                proofs.negative(name_of(proofs.zone, label, *place))


def at_random(proofs):
    for _ in range(300):
        labels = (rng.randbytes(rng.choice([1, 2, 3, 7, 26])) for _ in range(rng.randint(1, 3)))
        proofs.negative(name_of(proofs.zone, *labels, *rng.choice(PLACES)))
    for _ in range(300):
        label = b"x" + bytes(rng.choice(b"0123456789abcdefghXF/:@`") for _ in range(rng.randint(1, 17)))
        rcode = NOERROR if is_filter(label) else NXDOMAIN
        proofs.negative(name_of(proofs.zone, label), "MX", rcode)
        proofs.negative(name_of(proofs.zone, b"_tcp", label), "MX", rcode)
        proofs.negative(name_of(proofs.zone, b"_udp", label), "MX", NXDOMAIN)


def existing(zone):
    """Names that are there, with types that they have."""
    a, txt, aaaa, srv = (dns.rdatatype.from_text(kind) for kind in ("A", "TXT", "AAAA", "SRV"))
    there = {(): {a, aaaa, txt}, (b"n",): set(), (b"_tcp",): set(), (b"_qtc", b"_tcp"): {srv}, (b"x9",): {a, aaaa, txt},
             (b"_qtc", b"_tcp", b"x9"): {srv}}  # fmt: skip
    there |= {(label_of(ip).encode(), b"n"): {a if ip.version == 4 else aaaa} for ip, _ in peers.addresses()}
    there |= {(label.encode(),): {a, aaaa} for label in SERVERS[zone]}
    for _ in range(2000):
        # Not only evenly drawn: of each number of digits.
        label = f"x{rng.getrandbits(rng.randint(1, 64)) or 1:x}".encode()
        there |= {path: set() for path in [(label,), (b"_tcp", label), (b"_qtc", b"_tcp", label)] if path not in there}
    return {name_of(zone, *labels): kinds for labels, kinds in there.items()}
