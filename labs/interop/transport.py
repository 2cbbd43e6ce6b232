"""QuantumCoin's transport, version 1, written from docs/transport.md alone.

The handshake (XXhfs and XKhfs, both roles), the identities proven after it and the record layer.
Nothing here touches a socket. Keys that are usually fresh can be given instead, so that a handshake
can be repeated byte by byte.
"""

import base64
import hashlib
import hmac
from dataclasses import dataclass

from cryptography.exceptions import InvalidSignature, InvalidTag
from cryptography.hazmat.primitives.asymmetric.mldsa import MLDSA44PrivateKey, MLDSA44PublicKey
from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey, MLKEM768PublicKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers import Cipher
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.ciphers.algorithms import ChaCha20

VERSION = 1
TRANSPORTS = (1, 2)

INITIATOR = "initiator"
RESPONDER = "responder"
ROLES = (INITIATOR, RESPONDER)

TAG_SIZE = 16
X25519_SIZE = 32
KEM_KEY_SIZE = 1184
KEM_CIPHERTEXT_SIZE = 1088


class TransportError(Exception):
    """What ends a connection. `reason` is a short name for it, stable enough to be compared."""

    def __init__(self, reason, text):
        super().__init__(text)
        self.reason = reason


def prologue(magic, network, transports=TRANSPORTS):
    """What both sides must agree on before the first message."""
    name = network.encode()
    return (magic + len(name).to_bytes(8, "big") + name + VERSION.to_bytes(2, "big")
            + bytes([len(transports)]) + bytes(transports))


def peer_of(role):
    """The other role."""
    return RESPONDER if role == INITIATOR else INITIATOR


# Symmetric part of Noise

def _nonce(n):
    return bytes(4) + n.to_bytes(8, "little")


def _hash(data):
    return hashlib.blake2s(data).digest()


def _hkdf2(chaining_key, material):
    """Noise's HKDF with two outputs."""
    def mac(key, data):
        return hmac.new(key, data, hashlib.blake2s).digest()

    temp = mac(chaining_key, material)
    first = mac(temp, b"\x01")
    return first, mac(temp, first + b"\x02")


class SymmetricState:
    """Noise revision 34, section 5.2, with the CipherState of 5.1 folded in."""

    def __init__(self, protocol_name):
        name = protocol_name.encode()
        self.h = name.ljust(32, b"\0") if len(name) <= 32 else _hash(name)
        self.ck = self.h
        self.k = None
        self.n = 0

    def mix_hash(self, data):
        self.h = _hash(self.h + data)

    def mix_key(self, material):
        self.ck, self.k = _hkdf2(self.ck, material)
        self.n = 0

    def encrypt_and_hash(self, plaintext):
        out = plaintext
        if self.k is not None:
            out = ChaCha20Poly1305(self.k).encrypt(_nonce(self.n), plaintext, self.h)
            self.n += 1
        self.mix_hash(out)
        return out

    def decrypt_and_hash(self, data):
        plaintext = data
        if self.k is not None:
            try:
                plaintext = ChaCha20Poly1305(self.k).decrypt(_nonce(self.n), data, self.h)
            except InvalidTag:
                raise TransportError("handshake", "a handshake message does not decrypt") from None
            self.n += 1
        self.mix_hash(data)
        return plaintext

    def split(self):
        return _hkdf2(self.ck, b"")


# Handshake

@dataclass(frozen=True)
class Pattern:
    """A handshake pattern: its tokens by message and what each message weighs."""

    name: str
    knows_responder: bool
    messages: tuple
    sizes: tuple

    @property
    def protocol_name(self):
        return f"Noise_{self.name}_25519+MLKEM768_ChaChaPoly_BLAKE2s"


XX = Pattern("XXhfs", False,
             (("e", "e1"), ("e", "ee", "ekem1", "s", "es"), ("s", "se")), (1216, 1200, 64))
XK = Pattern("XKhfs", True,
             (("e", "es", "e1"), ("e", "ee", "ekem1"), ("s", "se")), (1248, 1152, 64))
PATTERNS = {pattern.name: pattern for pattern in (XX, XK)}


def pattern_of(length):
    """The pattern that a first message of this length belongs to."""
    for pattern in PATTERNS.values():
        if pattern.sizes[0] == length:
            return pattern
    raise TransportError("handshake", f"no handshake begins with a message of {length} bytes")


def _x25519(private, public):
    try:
        return private.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        raise TransportError("handshake", "an X25519 result is all zero") from None


def _public(private):
    return private.public_key().public_bytes_raw()


def encapsulate_to(key):
    """Fresh encapsulation to an ML-KEM-768 key: (ciphertext, shared secret)."""
    try:
        secret, ciphertext = MLKEM768PublicKey.from_public_bytes(key).encapsulate()
    except ValueError:
        raise TransportError("handshake", "not an ML-KEM-768 encapsulation key") from None
    return ciphertext, secret


class Handshake:
    """One side of a handshake: `write` and `read` in turn until `done`, then `split`.

    `ephemeral`, `kem` (the initiator's private key) and `encapsulate` (the responder's way to a
    ciphertext) are fresh unless given. `states` has the symmetric state after each message.
    """

    def __init__(self, pattern, role, prologue_bytes, static, *, remote_static=None,
                 ephemeral=None, kem=None, encapsulate=encapsulate_to):
        self.pattern = pattern
        self.role = role
        self.static = static
        self.remote_static = remote_static
        self.ephemeral = ephemeral or X25519PrivateKey.generate()
        self.kem = kem
        if role == INITIATOR and kem is None:
            self.kem = MLKEM768PrivateKey.generate()
        self.remote_ephemeral = None
        self.remote_kem_key = None
        self._encapsulate = encapsulate
        self._index = 0

        self.symmetric = SymmetricState(pattern.protocol_name)
        self.symmetric.mix_hash(prologue_bytes)
        if pattern.knows_responder:
            if role == INITIATOR and remote_static is None:
                raise ValueError(f"{pattern.name} needs the responder's static key")
            self.symmetric.mix_hash(remote_static if role == INITIATOR else _public(static))
        self.states = [self._state()]

    @property
    def done(self):
        return self._index == len(self.pattern.messages)

    @property
    def handshake_hash(self):
        return self.symmetric.h

    def expected(self):
        """How many bytes the next message has, its length prefix aside."""
        return self.pattern.sizes[self._index]

    def write(self):
        """The next message, with its length in front."""
        self._turn(writes=True)
        out = b""
        for token in self.pattern.messages[self._index]:
            out += self._write_token(token)
        out += self.symmetric.encrypt_and_hash(b"")
        assert len(out) == self.expected()
        self._next()
        return len(out).to_bytes(2, "big") + out

    def read(self, message):
        """Takes the next message, its length prefix removed."""
        self._turn(writes=False)
        if len(message) != self.expected():
            raise TransportError("handshake",
                                 f"message {self._index + 1} of {self.pattern.name} has "
                                 f"{self.expected()} bytes, not {len(message)}")
        rest = message
        for token in self.pattern.messages[self._index]:
            rest = rest[self._read_token(token, rest):]
        self.symmetric.decrypt_and_hash(rest)
        self._next()

    def split(self):
        """The key of what the initiator sends and of what the responder sends."""
        assert self.done
        return self.symmetric.split()

    def _state(self):
        s = self.symmetric
        return {"ck": s.ck, "h": s.h, "k": s.k, "n": s.n}

    def _next(self):
        self._index += 1
        self.states.append(self._state())

    def _turn(self, writes):
        ours = (self._index % 2 == 0) == (self.role == INITIATOR)
        if self.done or ours != writes:
            raise ValueError("not this side's turn in the handshake")

    def _dh(self, token):
        """The secret of a token: its letters are the initiator's key and the responder's."""
        own, other = token if self.role == INITIATOR else reversed(token)
        private = self.ephemeral if own == "e" else self.static
        return _x25519(private, self.remote_ephemeral if other == "e" else self.remote_static)

    def _write_token(self, token):
        s = self.symmetric
        if token == "e":
            s.mix_hash(_public(self.ephemeral))
            return _public(self.ephemeral)
        if token == "s":
            return s.encrypt_and_hash(_public(self.static))
        if token == "e1":
            return s.encrypt_and_hash(_public(self.kem))
        if token == "ekem1":
            ciphertext, secret = self._encapsulate(self.remote_kem_key)
            out = s.encrypt_and_hash(ciphertext)
            s.mix_key(secret)
            return out
        s.mix_key(self._dh(token))
        return b""

    def _read_token(self, token, data):
        """Takes a token from the front of `data` and says how many bytes it had."""
        s = self.symmetric
        if token == "e":
            self.remote_ephemeral = data[:X25519_SIZE]
            s.mix_hash(self.remote_ephemeral)
            return X25519_SIZE
        tag = TAG_SIZE if s.k is not None else 0
        if token == "s":
            self.remote_static = s.decrypt_and_hash(data[:X25519_SIZE + tag])
            return X25519_SIZE + tag
        if token == "e1":
            self.remote_kem_key = s.decrypt_and_hash(data[:KEM_KEY_SIZE + tag])
            return KEM_KEY_SIZE + tag
        if token == "ekem1":
            ciphertext = s.decrypt_and_hash(data[:KEM_CIPHERTEXT_SIZE + tag])
            s.mix_key(self.kem.decapsulate(ciphertext))
            return KEM_CIPHERTEXT_SIZE + tag
        s.mix_key(self._dh(token))
        return 0


# Identity

IDENTITY_LABEL = b"QuantumCoin transport identity v1\0"
IDENTITY_KEY_SIZE = 1312
IDENTITY_SIZE = IDENTITY_KEY_SIZE + 2420
_SIGNER = {INITIATOR: 1, RESPONDER: 2}


def node_id(public_key):
    """A node's id: SHA-256 of its ML-DSA-44 public key as base64url without padding."""
    return base64.urlsafe_b64encode(hashlib.sha256(public_key).digest()).rstrip(b"=").decode()


def signed_message(role, handshake_hash, static):
    """What a side signs to show that its identity holds this end of this connection."""
    return IDENTITY_LABEL + bytes([_SIGNER[role]]) + handshake_hash + static


class Identity:
    """A node's two key pairs."""

    def __init__(self, seed, static):
        self.seed = seed
        self._signer = MLDSA44PrivateKey.from_seed_bytes(seed)
        self.public_key = self._signer.public_key().public_bytes_raw()
        self.static = X25519PrivateKey.from_private_bytes(static)
        self.static_public = _public(self.static)

    @classmethod
    def from_label(cls, label):
        """An identity that the same label always gives; for tests."""
        return cls(hashlib.sha256(f"{label}: ML-DSA-44 seed".encode()).digest(),
                   hashlib.sha256(f"{label}: X25519 private key".encode()).digest())

    @property
    def id(self):
        return node_id(self.public_key)

    def sign(self, role, handshake_hash):
        return self._signer.sign(signed_message(role, handshake_hash, self.static_public))

    def payload(self, role, handshake_hash):
        """The data of this side's identity record."""
        return self.public_key + self.sign(role, handshake_hash)


def verify_identity(payload, role, handshake_hash, static):
    """Verifies the identity that the side with this role has sent; gives its id."""
    if len(payload) != IDENTITY_SIZE:
        raise TransportError("identity",
                             f"an identity has {IDENTITY_SIZE} bytes, not {len(payload)}")
    key, signature = payload[:IDENTITY_KEY_SIZE], payload[IDENTITY_KEY_SIZE:]
    try:
        MLDSA44PublicKey.from_public_bytes(key).verify(
            signature, signed_message(role, handshake_hash, static))
    except (InvalidSignature, ValueError):
        raise TransportError("identity", f"the {role}'s identity signature is wrong") from None
    return node_id(key)


# Records

FIRST = 1
LAST = 2
DECOY = 0
MESSAGE = 1
IDENTITY = 2

TRAILER_SIZE = 8
OVERHEAD = TRAILER_SIZE + TAG_SIZE
MAX_LENGTH = 0xFFFF
MAX_DATA = MAX_LENGTH - OVERHEAD
MAX_MESSAGE = 4 << 20
PADDED_TO = 64
MAX_DECOYS = 64
REKEY_EVERY = 1024
MAX_RECORDS = 1 << 48


class Direction:
    """The key of one direction, its record number and what follows from both."""

    def __init__(self, key):
        self.n = 0
        self._take(key)

    def _take(self, key):
        self.key = key
        self.mask_key = ChaCha20Poly1305(key).encrypt(_nonce(2**64 - 2), bytes(32), None)[:32]

    def mask(self):
        """What the length of the record with number `n` is XORed with."""
        # The library's nonce is the block counter (4, little-endian) and then RFC 8439's nonce.
        cipher = Cipher(ChaCha20(self.mask_key, bytes(4) + _nonce(self.n)), mode=None)
        return cipher.encryptor().update(bytes(2))

    def masked(self, length):
        """Masks a length, or unmasks one: the same operation."""
        return bytes(a ^ b for a, b in zip(length, self.mask()))

    def encrypt(self, plaintext):
        self._not_exhausted()
        out = ChaCha20Poly1305(self.key).encrypt(_nonce(self.n), plaintext, None)
        self._advance()
        return out

    def decrypt(self, ciphertext):
        self._not_exhausted()
        try:
            plaintext = ChaCha20Poly1305(self.key).decrypt(_nonce(self.n), ciphertext, None)
        except InvalidTag:
            raise TransportError("decrypt", f"record {self.n} does not decrypt") from None
        self._advance()
        return plaintext

    def _not_exhausted(self):
        if self.n == MAX_RECORDS:
            raise TransportError("exhausted", "a direction ends after 2^48 records")

    def _advance(self):
        self.n += 1
        if self.n % REKEY_EVERY == 0:
            self._take(ChaCha20Poly1305(self.key).encrypt(_nonce(2**64 - 1), bytes(32), None)[:32])


@dataclass(frozen=True)
class Record:
    """A record's content."""

    kind: int
    flags: int
    total: int
    data: bytes
    padding: int = 0

    def plaintext(self):
        return (self.data + bytes(self.padding) + bytes([self.flags, self.kind])
                + self.padding.to_bytes(2, "big") + self.total.to_bytes(4, "big"))


def records_of(data, kind=MESSAGE):
    """The records that carry a message, as few as possible, a small one padded."""
    if len(data) > MAX_MESSAGE:
        raise ValueError(f"a message has at most {MAX_MESSAGE} bytes")
    pieces = [data[at:at + MAX_DATA] for at in range(0, len(data), MAX_DATA)] or [b""]
    out = []
    for i, piece in enumerate(pieces):
        flags = (FIRST if i == 0 else 0) | (LAST if i == len(pieces) - 1 else 0)
        out.append(Record(kind, flags, len(data), piece, max(0, PADDED_TO - len(piece))))
    return out


def decoy(size):
    """A decoy with so many zero bytes, in the form of a message that is complete in one record."""
    return Record(DECOY, FIRST | LAST, size, bytes(size), max(0, PADDED_TO - size))


class Sealer:
    """The sending direction."""

    def __init__(self, key):
        self.direction = Direction(key)

    def seal(self, record):
        """Seals a record as it is, right or wrong."""
        return self.seal_plaintext(record.plaintext())

    def seal_plaintext(self, plaintext):
        """Seals data, padding and trailer as they are, right or wrong."""
        length = len(plaintext) + TAG_SIZE
        if length > MAX_LENGTH:
            raise ValueError(f"a record of {length} bytes; at most {MAX_LENGTH} are possible")
        return self.direction.masked(length.to_bytes(2, "big")) + self.direction.encrypt(plaintext)

    def message(self, data, kind=MESSAGE):
        """The bytes that carry a message."""
        return b"".join(self.seal(record) for record in records_of(data, kind))


class Opener:
    """The receiving direction: opens records and puts messages together.

    With `identity_first` the first record must be an identity. An error ends the connection: after
    one, an opener is of no further use.
    """

    def __init__(self, key, identity_first=True):
        self.direction = Direction(key)
        self._identity_next = identity_first
        self._total = None
        self._message = b""
        self._decoys = 0

    @property
    def between_messages(self):
        """Whether the stream may end here."""
        return self._total is None

    def length(self, masked):
        """How many bytes follow these two."""
        length = int.from_bytes(self.direction.masked(masked), "big")
        if length < OVERHEAD:
            raise TransportError("short", f"a record of {length} bytes has no room for a trailer")
        if self._identity_next and length != IDENTITY_SIZE + OVERHEAD:
            raise TransportError("identity", f"a first record of {length} bytes is no identity")
        return length

    def open(self, ciphertext):
        """Opens the next record and checks its form."""
        plaintext = self.direction.decrypt(ciphertext)
        body, trailer = plaintext[:-TRAILER_SIZE], plaintext[-TRAILER_SIZE:]
        flags, kind = trailer[0], trailer[1]
        padding = int.from_bytes(trailer[2:4], "big")
        total = int.from_bytes(trailer[4:], "big")
        if flags & ~(FIRST | LAST):
            raise TransportError("flags", f"unknown flags {flags:#04x}")
        if kind not in (DECOY, MESSAGE, IDENTITY):
            raise TransportError("kind", f"unknown kind {kind}")
        if padding > len(body):
            raise TransportError("padding_length", f"{padding} bytes of padding in {len(body)}")
        data = body[:len(body) - padding]
        if any(body[len(data):]):
            raise TransportError("padding_not_zero", "padding is not zero")
        return Record(kind, flags, total, data, padding)

    def receive(self, ciphertext):
        """Opens the next record. Gives the identity or message that it completes, or None."""
        record = self.open(ciphertext)
        if self._identity_next:
            if record.kind != IDENTITY:
                raise TransportError("identity", "the first record is no identity")
            self._identity_next = False
        elif record.kind == IDENTITY:
            raise TransportError("kind", "an identity comes first or not at all")
        if record.kind == DECOY:
            self._decoys += 1
            if self._decoys > MAX_DECOYS:
                raise TransportError("decoys", f"more than {MAX_DECOYS} decoys in a row")
            return None
        self._decoys = 0
        return self._assemble(record)

    def _assemble(self, record):
        first = self._total is None
        if first != bool(record.flags & FIRST):
            raise TransportError("first", "FIRST stands where a message begins, and only there")
        if first:
            if record.total > MAX_MESSAGE:
                raise TransportError("message_length",
                                     f"a message of {record.total} bytes is too long")
            self._total = record.total
        if record.total != self._total:
            raise TransportError("total", "the records of a message disagree about its length")
        self._message += record.data
        if record.flags & LAST:
            if len(self._message) != self._total:
                raise TransportError("total", f"a message of {self._total} bytes ends after "
                                              f"{len(self._message)}")
            out, self._total, self._message = self._message, None, b""
            return out
        if len(record.data) != MAX_DATA:
            raise TransportError("not_full",
                                 "a record that is not the last of its message is not full")
        if len(self._message) >= self._total:
            raise TransportError("total", f"a message of {self._total} bytes goes on after that")
        return None
