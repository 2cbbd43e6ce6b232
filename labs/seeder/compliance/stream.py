"""TCP: how queries may lie in segments, when a connection ends, and how long it may be idle."""

import contextlib
import socket
import time

from .lab import rng
from .malformed import SHAPES, SILENCE, judge
from .verdict import check
from .wire import DO, NOERROR, QR, connect, ended, framed, parse, query, read_framed, tcp


def asked(ident, name="seed1.network.", kind="SOA"):
    return framed(query(name, kind, ident=ident, edns=DO))


def pipelined():
    zones = ["seed1.network.", "x9.seed2.network.", "nosuchname.plain.network."]
    return b"".join(asked(ident, rng.choice(zones), "AAAA") for ident in range(500))


ONE, TWO = asked(0), asked(1)
RESPONSE = framed(query(flags=QR))
GOES_ON, CLOSES, HALF_CLOSE = "goes on", "closes", "half-close"

# What is sent, with pauses; how many answers come; what is then. HALF_CLOSE: the client ends its side, and the server
# answers before it ends its own.
CONVERSATIONS = [
    ("one query", [ONE], 1, GOES_ON),
    ("two in one segment", [ONE + TWO], 2, GOES_ON),
    ("two, one after the other", [ONE, 0.05, TWO], 2, GOES_ON),
    ("one and a half, then the rest", [ONE + TWO[:9], 0.05, TWO[9:]], 2, GOES_ON),
    ("the length split in two", [ONE[:1], 0.05, ONE[1:]], 1, GOES_ON),
    ("byte by byte", [x for n in range(len(ONE)) for x in (ONE[n : n + 1], 0.002)], 1, GOES_ON),
    ("half-close", [ONE + TWO], 2, HALF_CLOSE),
    ("length zero", [b"\0\0" + ONE], 0, CLOSES),
    ("a length of 65535", [b"\xff\xff" + bytes(1000)], 0, CLOSES),
    ("a response", [RESPONSE], 0, CLOSES),
    ("a query, then a response", [ONE + RESPONSE], 1, CLOSES),
    ("a header cut off", [framed(b"abcdefgh")], 0, CLOSES),
    ("cut off within a query", [ONE[:20]], 0, HALF_CLOSE),
]


def streams(server):
    for what, pieces, wanted, then in [*CONVERSATIONS, ("500 pipelined", [pipelined()], 500, GOES_ON)]:
        conversation(server, what, pieces, wanted, then)
    for what, packet, rcode in SHAPES:
        if rcode is SILENCE:
            continue
        response = tcp(server, packet)
        # 3,000 bytes are too many for a datagram only.
        rcode = NOERROR if what == "more than fits any query" else rcode
        judge(f"TCP {what} @{server}", packet, [] if response is None else [response], rcode)


def conversation(server, what, pieces, wanted, then):
    with connect(server, socket.SOCK_STREAM) as one:
        one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for piece in pieces:
            if isinstance(piece, float):
                time.sleep(piece)
            else:
                one.sendall(piece)
        if then == HALF_CLOSE:
            one.shutdown(socket.SHUT_WR)
        found = sorted(parse(m).id for m in read_framed(one, wanted))
        check(f"TCP {what} @{server}", found == list(range(wanted)), f"{found}")
        if then == GOES_ON:
            one.sendall(asked(999))
            check(f"TCP {what}: goes on @{server}", [parse(m).id for m in read_framed(one)] == [999])
        else:
            check(f"TCP {what}: closed @{server}", ended(one))


@contextlib.contextmanager
def idle(server, seconds=12):
    """A connection without a query, which ends of itself while other things are done."""
    began = time.monotonic()
    with connect(server, socket.SOCK_STREAM) as one:
        yield
        time.sleep(max(0, seconds - (time.monotonic() - began)))
        check(f"an idle connection is closed @{server}", ended(one))
