"""Checks signed answers and denials as a validator does, and remembers what the NSEC records deny for anybody."""

import bisect
import time

import dns.dnssec
import dns.exception
import dns.name
import dns.rdatatype

from .verdict import check
from .wire import DO, NOERROR, NSEC, NXDOMAIN, RRSIG, ask, is_truncated, parse, query, tcp, udp, unsigned

# Seconds between two denials. Each may take three signatures, of which the server makes 1,000 a second on demand; the
# rest is for others that ask at the same time.
PACE = 0.005
# Behind each name in the order of order().
BEHIND_ALL = (b"\xff" * 64,)


def order(name):
    """Sorts names in canonical order (RFC 4034, 6.1)."""
    return tuple(label.lower() for label in reversed(name.labels))


def kinds_of(nsec):
    """The types in the bitmap."""
    bits = ((window, at, bit) for window, bitmap in nsec.windows for at in range(len(bitmap)) for bit in range(8)
            if bitmap[at] & 0x80 >> bit)  # fmt: skip
    return frozenset(window * 256 + at * 8 + bit for window, at, bit in bits)


def common(one, other):
    """The closest name that both are below."""
    return one.split(one.fullcompare(other)[2])[1]


class Proofs:
    """The proofs of one zone."""

    def __init__(self, server, zone):
        self.server, self.zone, self.apex = server, zone, dns.name.from_text(zone)
        keys = ask(server, zone, "DNSKEY", DO, tcp)
        self.keys = {self.apex: next(r for r in keys.answer if r.rdtype == dns.rdatatype.DNSKEY)}
        # (owner, next name) of NSEC records: bitmaps.
        self.intervals = {}
        self.verified, self.next = set(), 0
        self.positive(keys, "DNSKEY")

    def verify(self, what, section):
        """Each set of the section is signed once, validly, for about a week."""
        signatures = {(r.name, r.covers): r for r in section if r.rdtype == RRSIG}
        for rrset in unsigned(section):
            of_set = signatures.get((rrset.name, rrset.rdtype))
            words = f"{what}: {rrset.name}"
            if not check(f"{words} {dns.rdatatype.to_text(rrset.rdtype)} is signed", of_set):
                continue
            # The same sets come again and again. As bytes, since dnspython takes its time to compare records.
            both = (rrset.name.to_wire(), rrset.rdtype, *sorted(r.to_wire() for r in [*rrset, *of_set]))
            if both in self.verified:
                continue
            self.verified.add(both)
            error = self.error_of(rrset, of_set)
            check(f"{words} validates", error is None, repr(error))
            for signature in of_set:
                check(f"{what}: window", in_window(signature), f"{signature}")
                right = of_set.ttl == rrset.ttl <= signature.original_ttl
                check(f"{what}: signature's TTL", right, f"{signature}")

    def error_of(self, rrset, signatures):
        try:
            dns.dnssec.validate(rrset, signatures, self.keys)
        except dns.exception.DNSException as error:
            return error

    def positive(self, message, kind):
        what = f"{message.question[0].name} {kind} signed @{self.server}"
        self.verify(what, message.answer)

    def negative(self, name, kind="A", rcode=NXDOMAIN, over=udp):
        what = f"{name} {kind} denied @{self.server}"
        time.sleep(max(0, self.next - time.monotonic()))
        self.next = time.monotonic() + PACE
        message = parse(over(self.server, query(name.to_wire(), kind, edns=DO)))
        if not check(f"{what}: code", message.rcode() == rcode and not is_truncated(message), message):
            return
        self.verify(what, message.authority)
        found = [(r.name, r[0].next, kinds_of(r[0])) for r in message.authority if r.rdtype == NSEC]
        for owner, after, kinds in found:
            self.intervals.setdefault((owner, after), set()).add(kinds)
            # In canonical order, or the last of the zone: validators take nothing else.
            check(f"{what}: order of {owner} and {after}", order(owner) < order(after) or after == self.apex)
            inside = owner.is_subdomain(self.apex) and after.is_subdomain(self.apex)
            check(f"{what}: within the zone", inside)
        if rcode == NOERROR:
            matching = [kinds for owner, _, kinds in found if owner == name]
            right = len(matching) == 1 and dns.rdatatype.from_text(kind) not in matching[0]
            check(f"{what}: NODATA is proven", right, message)
        else:
            self.nobody(what, name, [(owner, after) for owner, after, _ in found], message)

    def nobody(self, what, name, found, message):
        """Neither the name exists, nor one below it, nor a wildcard that would stand for it."""
        covering = [pair for pair in found if self.covers(*pair, name)]
        right = covering and not any(after.is_subdomain(name) for _, after in covering)
        if check(f"{what}: covered", right, message):
            closest = max((common(name, one) for one in covering[0]), key=len)
            wildcard = dns.name.Name((b"*", *closest.labels))
            check(f"{what}: no wildcard", any(self.covers(*pair, wildcard) for pair in found), message)

    def covers(self, owner, after, name):
        return order(owner) < order(name) and (order(name) < order(after) or after == self.apex)

    def contradictions(self, there):
        """Which of the names `there` (with types that they have) are denied by a record that was seen, and by which."""
        spans = sorted((order(o), order(n) if n != self.apex else BEHIND_ALL, o, n) for o, n in self.intervals)
        # Of the first records in order, the one that reaches furthest.
        furthest, reach = [], ((), None)
        for _, end, owner, after in spans:
            reach = max(reach, (end, f"{owner} NSEC {after}"), key=lambda r: r[0])
            furthest.append(reach)
        bitmaps = {}
        for (owner, _), kinds in self.intervals.items():
            bitmaps.setdefault(owner, set()).update(kinds)
        for name, kinds in there.items():
            before = bisect.bisect_left(spans, (order(name),))
            if before and furthest[before - 1][0] > order(name):
                yield name, furthest[before - 1][1]
            for bitmap in bitmaps.get(name, ()):
                if not kinds <= bitmap:
                    yield name, f"its NSEC lacks one of {set(kinds)}"


def in_window(signature):
    """Whether it is valid since about an hour, for a week."""
    now, day = time.time(), 86400
    return now - 7300 <= signature.inception <= now - 3000 \
        and now + 6.5 * day <= signature.expiration <= now + 8 * day  # fmt: skip
