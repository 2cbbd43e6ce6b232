"""Packets made by hand, and ways to send them to a server and to read what comes back.

Each case asks from a network of its own, lest one case use up another's allowance of responses.
"""

import select
import socket
import struct

import dns.flags
import dns.message
import dns.name
import dns.rdatatype

from .lab import ZONE
from .verdict import check

NOERROR, FORMERR, SERVFAIL, NXDOMAIN, NOTIMP, REFUSED, NOTAUTH, BADVERS = 0, 1, 2, 3, 4, 5, 9, 16
QR, AA, TC, RD, RA, Z, AD, CD = 0x8000, 0x0400, 0x0200, 0x0100, 0x0080, 0x0040, 0x0020, 0x0010
RRSIG, NSEC, SOA = dns.rdatatype.RRSIG, dns.rdatatype.NSEC, dns.rdatatype.SOA

# --- packets ---------------------------------------------------------------------------------------------------------


def header(ident=0x4242, flags=0, counts=(1, 0, 0, 0)):
    return struct.pack("!HHHHHH", ident, flags, *counts)


def question(name=ZONE, kind="A", cls=1):
    name = name if isinstance(name, bytes) else dns.name.from_text(name).to_wire()
    kind = kind if isinstance(kind, int) else dns.rdatatype.from_text(kind)
    return name + struct.pack("!HH", kind, cls)


def opt(options=b"", size=1232, version=0, flags=0):
    return struct.pack("!BHHBBHH", 0, 41, size, 0, version, flags, len(options)) + options


def option(code, data=b""):
    return struct.pack("!HH", code, len(data)) + data


def query(name=ZONE, kind="A", cls=1, ident=0x4242, flags=0, edns=None):
    return header(ident, flags, (1, 0, 0, 1 if edns else 0)) + question(name, kind, cls) + (edns or b"")


DO = opt(flags=0x8000)
# Options by name; the cookie is a client's alone.
NSID, ECS, EXPIRE, COOKIE = option(3), option(8, b"\0\1\0\0"), option(9), option(10, bytes(range(1, 9)))
KEEPALIVE, UNKNOWN = option(11), option(100)


def padding(size):
    return option(12, bytes(size))


def has_do(edns):
    """Whether an OPT record made by opt() asks for signatures."""
    return bool(edns) and bool(edns[7] & 0x80)


def room(edns):
    """How large a response over UDP may be."""
    return max(512, min(1232, number(edns, 3))) if edns else 512


def number(packet, at):
    """Two bytes of a packet as a number."""
    return struct.unpack_from("!H", packet, at)[0]


def ident_of(packet):
    return number(packet, 0)


def flags_of(packet):
    return number(packet, 2)


def answers_in(packet):
    return number(packet, 6)


# --- asking ----------------------------------------------------------------------------------------------------------

# Parts of the run go on at once, so each has networks of its own.
NETWORKS = 20_000
networks = iter(range(NETWORKS))


def begin(part):
    """Takes the networks of this part, counted from 0."""
    global networks
    networks = iter(range(part * NETWORKS, (part + 1) * NETWORKS))


def source(server):
    """An address in a network (/24, /56) that nobody has had before."""
    n = next(networks)
    return f"10.{n >> 8}.{n & 255}.9" if ":" not in server else f"fd00:{n >> 8:x}:{n & 255:x}::9"


def connect(server, kind, client=None):
    one = socket.socket(socket.AF_INET6 if ":" in server else socket.AF_INET, kind)
    if kind == socket.SOCK_DGRAM:
        # Room for what comes while this process waits for a core; twice the usual is the most that can be had.
        one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 212_992)
    one.bind((client or source(server), 0))
    one.settimeout(3)
    one.connect((server, 53))
    return one


def exchange(server, packets, client=None):
    """The responses to packets over UDP, by number of packet. A query behind each shows that it has got no answer."""
    found = {}
    with connect(server, socket.SOCK_DGRAM, client) as one:
        for at, packet in enumerate(packets):
            last = ident_of(packet + b"\0\0") ^ 0xFFFF
            one.send(packet)
            one.send(query(kind="SOA", ident=last))
            while True:
                try:
                    response = one.recv(65535)
                except TimeoutError:
                    check(f"{server} still answers", False, f"after {packet[:80].hex()}")
                    break
                if ident_of(response) == last:
                    break
                found.setdefault(at, []).append(response)
    return found


def responses_to(server, packet):
    """All that is answered to one packet over UDP."""
    return exchange(server, [packet]).get(0, [])


def udp(server, packet, client=None):
    """The response to one packet, or None."""
    responses = exchange(server, [packet], client).get(0, [])
    return responses[0] if len(responses) == 1 else None


def framed(packet):
    return struct.pack("!H", len(packet)) + packet


def read_framed(one, count=1):
    """So many messages; fewer when the connection ends or nothing more comes for the socket's time-out."""
    buffer, messages = b"", []
    while len(messages) < count:
        try:
            piece = one.recv(65535)
        except (TimeoutError, ConnectionResetError):
            break
        if not piece:
            break
        buffer += piece
        while len(buffer) >= 2 and len(buffer) >= 2 + number(buffer, 0):
            size = 2 + number(buffer, 0)
            messages.append(buffer[2:size])
            buffer = buffer[size:]
    return messages


def tcp(server, packet, client=None):
    """The response to one packet over TCP, or None."""
    with connect(server, socket.SOCK_STREAM, client) as one:
        one.sendall(framed(packet))
        messages = read_framed(one)
    return messages[0] if messages else None


def ended(one):
    """Whether the server has closed the connection, without a byte more."""
    try:
        return one.recv(1) == b""
    except ConnectionResetError:
        return True
    except TimeoutError:
        return False


def flood(server, client, amount, options=b""):
    """Sends so many queries from one socket, in batches that no buffer loses, and gathers what comes back."""
    responses = []
    with connect(server, socket.SOCK_DGRAM, client) as one:
        for start in range(0, amount, 50):
            end = min(start + 50, amount)
            for ident in range(start, end):
                one.send(query(ident=ident, edns=opt(options)))
            # At the end there is no later batch to pick up what comes late.
            while len(responses) < end and select.select([one], [], [], 0.02 if end < amount else 0.5)[0]:
                responses.append(one.recv(65535))
    return responses


# --- reading ---------------------------------------------------------------------------------------------------------


def parse(response):
    """A response read by dnspython; refuses what is not exactly one message."""
    return dns.message.from_wire(response)


def ask(server, name=ZONE, kind="A", edns=None, over=udp, client=None, cls=1):
    return parse(over(server, query(name, kind, cls, edns=edns), client))


def flag_words(message):
    return dns.flags.to_text(message.flags).lower()


def is_truncated(message):
    return bool(message.flags & TC)


def count(section, kind):
    """How many records of a type are in a section."""
    kind = dns.rdatatype.from_text(kind)
    return sum(len(rrset) for rrset in section if rrset.rdtype == kind)


def unsigned(section):
    """The sets of a section that are not signatures."""
    return [rrset for rrset in section if rrset.rdtype != RRSIG]
