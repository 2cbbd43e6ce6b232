"""Which peers are told to whom: good ones, all of them in turn, and bad ones nowhere."""

import itertools
import re

import peers

from .lab import ZONE, label_of
from .verdict import check
from .wire import NOERROR, NXDOMAIN, ask, count, opt, tcp

GOOD = {(str(ip), port): peers.services(n) for n, (ip, port) in enumerate(peers.addresses())}
# Those that A and AAAA can tell of.
USUAL = {ip: bits for (ip, port), bits in GOOD.items() if port == peers.PORT}
FAMILIES = ("A", "AAAA")


def addresses_of(message):
    return [record.address for rrset in message.answer for record in rrset]


def drawn(server, name, times):
    """The addresses of many answers, first each A and then its AAAA."""
    return [addresses_of(ask(server, name, kind, opt())) for _ in range(times) for kind in FAMILIES]


def drawn_texts(server, times=60):
    """What TXT says, by address; of each peer the last."""
    texts = {}
    for _ in range(times):
        for rrset in ask(server, ZONE, "TXT", opt()).answer:
            for string in itertools.chain.from_iterable(record.strings for record in rrset):
                fields = dict(part.split("=", 1) for part in string.decode().split())
                texts[fields["a"]] = fields
    return texts


def drawn_services(server, times=60):
    """(address, port) of what SRV says."""
    found = set()
    for _ in range(times):
        message = ask(server, f"_qtc._tcp.{ZONE}", "SRV", opt(), tcp)
        by_name = {rrset.name: rrset[0].address for rrset in message.additional}
        found |= {(by_name.get(record.target), record.port) for record in message.answer[0]}
    return found


def served(servers):
    firsts = []
    for server in servers:
        answers = drawn(server, ZONE, 150)
        for found in answers:
            check(f"distinct peers @{server}", len(set(found)) == len(found) == 24, f"{found}")
        seen = set(itertools.chain.from_iterable(answers))
        check(f"only good peers of the default port @{server}", seen <= set(USUAL), f"{seen - set(USUAL)}")
        check(f"all of them in turn @{server}", set(USUAL) <= seen, f"{set(USUAL) - seen}")
        different = len(set(map(tuple, answers)))
        check(f"not one list for every client @{server}", different > 40, f"{different} different")
        firsts.append(answers[:20])
        told = texts(server) | services(server) | seen
        never(server, told)
        filters(server)
    check("two servers draw differently", firsts[0] != firsts[1])


def texts(server):
    """Checks TXT; returns the addresses that it tells of."""
    found = drawn_texts(server)
    for fields in found.values():
        check(f"TXT {fields['a']}", fields["v"] == "qtc1" and {"s", "t", "k", "h"} <= set(fields), f"{fields}")
        # Others are names of overlay networks.
        address = re.fullmatch(r"\[?([0-9a-f.:]+?)\]?:(\d+)", fields["a"])
        if address:
            bits = GOOD.get((address[1], int(address[2])))
            check(f"TXT {fields['a']}: services", bits == int(fields["s"], 16), f"{bits} {fields}")
    return {address.rsplit(":", 1)[0].strip("[]") for address in found}


def services(server):
    """Checks SRV; returns the addresses that it tells of."""
    found = drawn_services(server)
    other = {(ip, port) for ip, port in GOOD if port != peers.PORT}
    check(f"other ports by SRV @{server}", other <= found, f"{other - found}")
    check(f"SRV tells of good peers @{server}", found <= set(GOOD), f"{found - set(GOOD)}")
    return {ip for ip, _ in found}


def never(server, told):
    bad = [ip for ip, *_ in peers.never()]
    check(f"bad peers nowhere @{server}", not told & set(map(str, bad)), f"{told & set(map(str, bad))}")
    for ip in bad:
        message = ask(server, f"{label_of(ip)}.n.{ZONE}", "A" if ip.version == 4 else "AAAA")
        check(f"bad peer {ip} has no name @{server}", message.rcode() == NXDOMAIN, message)


def filters(server):
    for bits in (0x1, 0x8, 0x9, 0x400, 0x408, 0x409, 0x8000_0000_0000_0000, 0x8000_0000_0000_0001):
        found = set(itertools.chain.from_iterable(drawn(server, f"x{bits:X}.{ZONE}", 40)))
        wanted = {ip for ip, has in USUAL.items() if has & bits == bits}
        check(f"filter x{bits:x} @{server}", found == wanted, f"too many {found - wanted}, missing {wanted - found}")


def without_crawl(cold, empty):
    """Bootstrap nodes where there are some; else a zone with nobody in it."""
    seen = set(itertools.chain.from_iterable(drawn(cold, "cold.network.", 60)))
    check("without a store: bootstrap nodes", seen == set(USUAL), f"{seen ^ set(USUAL)}")
    for name, kind in [("", "A"), ("", "AAAA"), ("", "TXT"), ("_qtc._tcp.", "SRV")]:
        message = ask(empty, f"{name}empty.network.", kind)
        denied = message.rcode() == NOERROR and not message.answer and count(message.authority, "SOA") == 1
        check(f"with nothing: NODATA {kind}", denied, message)
    for kind in ("SOA", "NS"):
        check(f"with nothing: {kind}", ask(empty, "empty.network.", kind).answer)
