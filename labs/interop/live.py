"""Speaks the transport with a real node over TCP, as the dialling or as the dialled side.

`dial` connects several times: by XXhfs, by XKhfs with the key learnt, with a wrong key, and then
for a longer connection with decoys, rekeys and at last a damaged record. `listen` is dialled by a
node.
Each thing shown is one line on the standard output; the first that fails is one line on the
standard error and exit code 1.
"""

import argparse
import base64
import hashlib
import itertools
import os
import socket
import struct
import sys
import time

import transport
import vectors
from transport import INITIATOR, RESPONDER, TransportError

TIMEOUT = 10.0
PROTOCOL_VERSION = 70015
USER_AGENT = b"/interop:1/"
NOISE_BIT = 1 << 24
# A receiver bears 64; a ping stands between two runs of so many.
DECOYS_IN_A_ROW = 60
# So many blocks are asked for at once; three such requests take a direction past its first rekey.
BLOCKS_AT_ONCE = 400
BLOCK_REQUESTS = 3


class Failed(Exception):
    """Something that was to be shown did not hold."""


class Closed(Exception):
    """The peer has ended the connection."""


class Channel:
    """A connection after its handshake: messages in, messages out."""

    def __init__(self, sock, args, role, identity, pattern=None, remote_static=None):
        self._sock = sock
        self._magic = args.magic
        self._handshake(args, role, identity, pattern, remote_static)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self._sock.close()

    # Handshake

    def _handshake(self, args, role, identity, pattern, remote_static):
        if role == RESPONDER:
            first = self._read(2)
            pattern = transport.pattern_of(int.from_bytes(first, "big"))
        self.pattern = pattern
        noise = transport.Handshake(pattern, role, transport.prologue(args.magic, args.network),
                                    identity.static, remote_static=remote_static)
        if role == RESPONDER:
            noise.read(self._read(noise.expected()))
            self._sock.sendall(noise.write())
            noise.read(self._read_frame(noise))
        else:
            self._sock.sendall(noise.write())
            noise.read(self._read_frame(noise))
        last = noise.write() if role == INITIATOR else b""

        by_initiator, by_responder = noise.split()
        ours, theirs = (by_initiator, by_responder)[::1 if role == INITIATOR else -1]
        self.sealer = transport.Sealer(ours)
        self.opener = transport.Opener(theirs)
        self.static = noise.remote_static

        # The initiator shows itself with message 3; the responder only to whom it has verified.
        h = noise.handshake_hash
        if role == INITIATOR:
            self._sock.sendall(last + self._identity_record(identity, role, h))
        peer = transport.peer_of(role)
        self.id = transport.verify_identity(self._next_message(), peer, h, self.static)
        if role == RESPONDER:
            self._sock.sendall(self._identity_record(identity, role, h))

    def _identity_record(self, identity, role, h):
        return self.sealer.message(identity.payload(role, h), transport.IDENTITY)

    def _read_frame(self, noise):
        length = int.from_bytes(self._read(2), "big")
        if length != noise.expected():
            raise Failed(f"a handshake message of {length} bytes, not {noise.expected()}")
        return self._read(length)

    # Bytes and messages

    def _read(self, size, may_end=False):
        out = b""
        while len(out) < size:
            try:
                piece = self._sock.recv(size - len(out))
            except ConnectionError:
                piece = b""
            if not piece and may_end and not out:
                raise Closed("the peer has closed the connection")
            if not piece:
                raise Closed(f"the peer has cut off the connection where {size - len(out)} more "
                             "bytes were due")
            out += piece
        return out

    def _next_message(self):
        while True:
            length = self.opener.length(self._read(2, self.opener.between_messages))
            message = self.opener.receive(self._read(length))
            if message is not None:
                return message

    def receive(self):
        """The next message's command and payload."""
        message = self._next_message()
        magic, command, length, checksum = struct.unpack("<4s12sI4s", message[:24])
        payload = message[24:]
        if magic != self._magic or length != len(payload) or checksum != sha256d(payload)[:4]:
            raise Failed("a message with a wrong envelope")
        return command.rstrip(b"\0").decode("ascii"), payload

    def send(self, command, payload=b""):
        self._sock.sendall(self.sealer.message(self._envelope(command, payload)))

    def _envelope(self, command, payload):
        return (self._magic + command.encode().ljust(12, b"\0") + struct.pack("<I", len(payload))
                + sha256d(payload)[:4] + payload)

    def send_record(self, plaintext):
        """Sends data, padding and trailer as they are, as one record."""
        try:
            self._sock.sendall(self.sealer.seal_plaintext(plaintext))
        except ConnectionError:
            pass  # The reader learns of it.

    def send_decoys(self, count):
        for i in range(count):
            self._sock.sendall(self.sealer.seal(transport.decoy(i)))

    def send_damaged(self):
        """Sends a ping with one bit of its ciphertext changed."""
        damaged = bytearray(self.sealer.message(self._envelope("ping", bytes(8))))
        damaged[10] ^= 0x20
        self._sock.sendall(damaged)

    def wait_for(self, wanted, count=1):
        """Reads until `count` messages with this command have come; pings are answered."""
        deadline = time.monotonic() + TIMEOUT
        seen = []
        while len(seen) < count:
            if time.monotonic() > deadline:
                raise Failed(f"{count - len(seen)} of {count} `{wanted}` have not come")
            command, payload = self.receive()
            if command == "ping":
                self.send("pong", payload)
            if command == wanted:
                seen.append(payload)
        return seen

    def ping(self):
        """Sends a ping and waits until its pong has come."""
        nonce = os.urandom(8)
        self.send("ping", nonce)
        while self.wait_for("pong")[0] != nonce:
            pass

    def wait_for_close(self):
        """Reads until the peer has ended the connection."""
        deadline = time.monotonic() + TIMEOUT
        try:
            while time.monotonic() < deadline:
                self.receive()
        except Closed:
            return
        raise Failed("the peer has not closed the connection")

    def versions(self, speaks_first):
        """The `version` and `verack` of both sides."""
        if speaks_first:
            self.send("version", version_payload())
            theirs = self.wait_for("version")[0]
            self.send("verack")
            self.wait_for("verack")
        else:
            theirs = self.wait_for("version")[0]
            self.send("version", version_payload())
            self.send("verack")
            self.wait_for("verack")
        return theirs


# Messages

def sha256d(data):
    return hashlib.sha256(hashlib.sha256(data).digest()).digest()


def version_payload():
    address = struct.pack("<Q16sH", 0, bytes(10) + b"\xff\xff" + bytes(4), 0)
    return (struct.pack("<iQq", PROTOCOL_VERSION, 0, int(time.time())) + address + address
            + os.urandom(8) + bytes([len(USER_AGENT)]) + USER_AGENT + struct.pack("<i?", 0, True))


def user_agent(version):
    """The user agent in a `version`; its length is taken to be below 0xfd."""
    length = version[80]
    return version[81:81 + length].decode("utf-8", "replace")


def noise_is_spoken(version):
    """Whether the service bits of a `version` say that the node speaks Noise."""
    return bool(struct.unpack_from("<Q", version, 4)[0] & NOISE_BIT)


def getdata(block, count):
    """Asks `count` times for the same block."""
    item = struct.pack("<I", 2) + block[::-1]
    return b"\xfd" + struct.pack("<H", count) + item * count


# Dialling

def show(text):
    print(f"  {text}", flush=True)


_hosts = itertools.count(1)


def connect(args):
    """Connects; on loopback from another host each time, since one may open only a few in a row."""
    source = (f"127.1.0.{next(_hosts)}", 0) if args.host.startswith("127.") else None
    return socket.create_connection((args.host, args.port), timeout=TIMEOUT, source_address=source)


def dial_channel(args, identity, pattern, remote_static=None):
    sock = connect(args)
    try:
        return Channel(sock, args, INITIATOR, identity, pattern, remote_static)
    except BaseException:
        sock.close()
        raise


def established(args, identity, key):
    """A connection by XKhfs after `version` and `verack`."""
    channel = dial_channel(args, identity, transport.XK, key)
    channel.versions(speaks_first=True)
    return channel


def learn(args, identity):
    """The first connection: what the node's static key and id are."""
    with dial_channel(args, identity, transport.XX) as channel:
        show(f"XXhfs: the node proves the id {channel.id}")
        if args.key is not None and args.key != channel.static:
            raise Failed(f"the node's static key is {channel.static.hex()}, not {args.key.hex()}")
        return channel.static, channel.id


def dial_known(args, identity, key, node):
    with dial_channel(args, identity, transport.XK, key) as channel:
        if channel.id != node:
            raise Failed(f"by XKhfs the node proves the id {channel.id}")
    show("XKhfs with the key learnt: the same id")


def dial_wrong_key(args, identity):
    """Message 1 for another static key is not answered."""
    other = transport.Identity.from_label("somebody else").static_public
    noise = transport.Handshake(transport.XK, INITIATOR,
                                transport.prologue(args.magic, args.network), identity.static,
                                remote_static=other)
    with connect(args) as sock:
        sock.sendall(noise.write())
        try:
            answer = sock.recv(1)
        except ConnectionError:
            answer = b""
        if answer:
            raise Failed("the node answers a message 1 for another key")
    show("XKhfs with a wrong key: closed without an answer")


def dial_other_network(args, identity):
    """With another magic in the prologue message 2 comes, but does not decrypt."""
    other = argparse.Namespace(**{**vars(args), "magic": bytes(b ^ 0xFF for b in args.magic)})
    try:
        dial_channel(other, identity, transport.XX).close()
    except TransportError as error:
        if error.reason != "handshake":
            raise
    else:
        raise Failed("the node shakes hands although the magic is another one")
    show("XXhfs with another magic: message 2 does not decrypt")


def pass_rekeys(channel):
    """Decoys until two rekeys of the sending direction lie behind."""
    direction = channel.sealer.direction
    for rekeys in (1, 2):
        limit = rekeys * transport.REKEY_EVERY
        while direction.n <= limit:
            channel.send_decoys(min(DECOYS_IN_A_ROW, limit + 1 - direction.n))
            channel.ping()
        channel.ping()
        show(f"decoys and pings to record {direction.n - 1}: pongs still come after record {limit}")


def pass_peer_rekey(channel, block):
    """Blocks until a rekey of the receiving direction lies behind."""
    direction = channel.opener.direction
    for _ in range(BLOCK_REQUESTS):
        channel.send("getdata", getdata(block, BLOCKS_AT_ONCE))
        channel.wait_for("block", BLOCKS_AT_ONCE)
    if direction.n <= transport.REKEY_EVERY:
        raise Failed(f"the node has sent {direction.n} records, which is too few")
    channel.ping()
    show(f"blocks from the node: its records are read up to {direction.n - 1}, past its rekey")


def refuses_bad_records(args, identity, key):
    for bad in vectors.BAD_RECORDS:
        with established(args, identity, key) as channel:
            channel.send_record(bad.plaintext)
            channel.wait_for_close()
    show(f"{len(vectors.BAD_RECORDS)} kinds of malformed records: each ends the connection")


def dial(args):
    identity = transport.Identity(os.urandom(32), os.urandom(32))
    key, node = learn(args, identity)
    dial_known(args, identity, key, node)
    dial_wrong_key(args, identity)
    dial_other_network(args, identity)
    with dial_channel(args, identity, transport.XK, key) as channel:
        version = channel.versions(speaks_first=True)
        if not noise_is_spoken(version):
            raise Failed("the node's service bits do not name Noise")
        channel.ping()
        show(f"version and verack with {user_agent(version)}")
        pass_rekeys(channel)
        if args.block is not None:
            pass_peer_rekey(channel, args.block)
        channel.send_damaged()
        channel.wait_for_close()
        show("a record with one bit changed: the node closes")
    refuses_bad_records(args, identity, key)


# Listening

def listen(args):
    if args.identity is None:
        identity = transport.Identity(os.urandom(32), os.urandom(32))
    else:
        identity = transport.Identity.from_label(args.identity)
    with socket.create_server((args.host, args.port)) as server:
        server.settimeout(TIMEOUT)
        show(f"listening on {args.host}:{args.port}")
        if args.changed:
            refuse_old_key(server, args, identity)
        sock = accept(server)
    with sock, Channel(sock, args, RESPONDER, identity) as channel:
        if args.expect not in (None, channel.pattern.name):
            raise Failed(f"the node has dialled by {channel.pattern.name}, not {args.expect}")
        show(f"dialled by {channel.pattern.name}: the node proves the id {channel.id}")
        version = channel.versions(speaks_first=False)
        # Once the pong has come, the node has read all that was sent before.
        channel.ping()
        show(f"version and verack with {user_agent(version)}")


def accept(server):
    sock = server.accept()[0]
    sock.settimeout(TIMEOUT)
    return sock


def refuse_old_key(server, args, identity):
    """The first connection, by a node that remembers another static key for this address."""
    with accept(server) as sock:
        try:
            Channel(sock, args, RESPONDER, identity)
        except TransportError as error:
            if error.reason != "handshake":
                raise
        else:
            raise Failed("the node has dialled for the key that this side really has")
    show("dialled by XKhfs for the former key: message 1 does not decrypt")


# Command line

def hex_bytes(size):
    def parse(text):
        value = bytes.fromhex(text)
        if len(value) != size:
            raise argparse.ArgumentTypeError(f"not {size} bytes in hex")
        return value
    return parse


def static_key(text):
    """An X25519 public key in hex or as base64url without padding."""
    try:
        value = bytes.fromhex(text) if len(text) == 64 else base64.urlsafe_b64decode(text + "=")
    except ValueError:
        value = b""
    if len(value) != transport.X25519_SIZE:
        raise argparse.ArgumentTypeError("not a static key in hex or base64url")
    return value


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    commands = parser.add_subparsers(required=True)
    for run in (dial, listen):
        command = commands.add_parser(run.__name__)
        command.set_defaults(run=run)
        command.add_argument("host")
        command.add_argument("port", type=int)
        command.add_argument("--network", required=True, help="name of the network")
        command.add_argument("--magic", required=True, type=hex_bytes(4), help="its magic, in hex")
        if run is dial:
            command.add_argument("--key", type=static_key,
                                 help="the static key that the node must have, hex or base64url")
            command.add_argument("--block", type=hex_bytes(32),
                                 help="hash of a block that the node has: asked for until the "
                                      "node's sending direction has changed its key")
        else:
            command.add_argument("--identity", help="the same text is the same node again")
            command.add_argument("--expect", choices=transport.PATTERNS,
                                 help="the pattern by which the node must dial")
            command.add_argument("--changed", action="store_true",
                                 help="the node knows another key for this address: it dials for "
                                      "that one first, and then again")
    return parser.parse_args()


def main():
    args = arguments()
    try:
        args.run(args)
    except TimeoutError:
        sys.exit(f"live: {args.run.__name__}: nothing has come for {TIMEOUT:.0f} s")
    except (Closed, Failed, OSError, TransportError) as error:
        sys.exit(f"live: {args.run.__name__}: {error}")


if __name__ == "__main__":
    main()
