"""Test vectors of the transport: makes the file, or computes everything in one anew and compares.

What is secret or free to choose (seeds, private keys, the ciphertext, signatures, what is in the
records) is taken from the file; all else is derived from that, and the file must say the same.
"""

import argparse
import hashlib
import json
import sys
from dataclasses import dataclass

from cryptography.hazmat.primitives.asymmetric.mlkem import MLKEM768PrivateKey
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

import mlkem_expand
import transport
from transport import (DECOY, FIRST, INITIATOR, LAST, MAX_DATA, MAX_MESSAGE, MESSAGE, REKEY_EVERY,
                       RESPONDER, ROLES, Record, TransportError)

MAGIC = bytes.fromhex("51544344")
NETWORK = "devnet"
# What is longer than this stands in the file as length and hash.
LONGEST_HEX = 8192

COMMENT = (
    "Test vectors of docs/transport.md, made by labs/interop, an implementation of its own. "
    "Secrets are SHA-256 of labels; kem_ciphertext and the signatures are random and recorded. "
    "In `messages`, `frame` has the length in front; ck, h, k and n are the symmetric state "
    "after the message. `initiator_key` is for what the initiator sends. `identity.*.record` is "
    "record 0 of that direction. `records` is one direction whose identity is left out, from n "
    "= 0; a record has its masked length in front. Where there is too much of it, data is a "
    "pattern that is repeated to a length, and a record is given by length and hash. Each of "
    "`bad_records` is the only one under `records.key`, at n = 0, where a message is expected: "
    "`body` is data and padding; `reason` is a short name of this implementation's.")


class Different(Exception):
    """The file says something else than what follows from its secrets."""


# What is in the vectors

def secret(label, size=32):
    """A secret that anybody can make again."""
    blocks = [hashlib.sha256(f"QuantumCoin transport vectors: {label} {i}".encode()).digest()
              for i in range(size // 32)]
    return b"".join(blocks)


PATTERN_BYTES = secret("long data")


def repeated(pattern, length):
    return (pattern * (length // len(pattern) + 1))[:length]


def long_data(length):
    return repeated(PATTERN_BYTES, length)


# In order: empty; small, so padded; exactly as long as a small one is padded to; a decoy; the
# longest that one record holds; one byte more. The rest up to the rekey are empty messages.
RECORDS = [
    *transport.records_of(b""),
    *transport.records_of(b"small"),
    *transport.records_of(secret("64 bytes", 64)),
    transport.decoy(16),
    *transport.records_of(long_data(MAX_DATA)),
    *transport.records_of(long_data(MAX_DATA + 1)),
]
EMPTY = transport.records_of(b"")[0]
RECORDS_AFTER_REKEY = [
    *transport.records_of(b""),
    *transport.records_of(b"after the rekey"),
    transport.decoy(100),
]


@dataclass(frozen=True)
class BadRecord:
    """A record that decrypts, but breaks exactly what `why` says."""

    reason: str
    why: str
    body: bytes
    trailer: bytes

    @property
    def plaintext(self):
        return self.body + self.trailer


def trailer(flags=FIRST | LAST, kind=MESSAGE, padding=63, total=1):
    return Record(kind, flags, total, b"", padding).plaintext()[padding:]


_BYTE = b"\xa5" + bytes(63)
BAD_RECORDS = [
    BadRecord("flags", "flag 4 is not known", _BYTE, trailer(flags=FIRST | LAST | 4)),
    BadRecord("kind", "kind 3 is not known", _BYTE, trailer(kind=3)),
    BadRecord("padding_not_zero", "the last byte of padding is 1", _BYTE[:-1] + b"\1", trailer()),
    BadRecord("padding_length", "65 bytes of padding in 64 bytes", _BYTE, trailer(padding=65)),
    BadRecord("short", "a length of 23: no room for the trailer", b"", trailer()[1:]),
    BadRecord("total", "FIRST and LAST, but one byte of data where 2 are announced", _BYTE,
              trailer(total=2)),
    BadRecord("first", "LAST without FIRST at the beginning of a message", _BYTE,
              trailer(flags=LAST)),
    BadRecord("not_full", "a record that is not the last of its message has 64 bytes of data",
              long_data(64), trailer(flags=FIRST, padding=0, total=MAX_DATA + 64)),
    BadRecord("message_length", "a message of 4,194,305 bytes is announced (by a record that, to "
              "be short here, is not full either)", long_data(64),
              trailer(flags=FIRST, padding=0, total=MAX_MESSAGE + 1)),
    BadRecord("message_length", "a message of 4,194,305 bytes is announced, by a full record",
              long_data(MAX_DATA), trailer(flags=FIRST, padding=0, total=MAX_MESSAGE + 1)),
]


# Bytes in JSON

def data_out(data):
    """Hex, or for long data made of a pattern, the pattern and the length."""
    if len(data) <= LONGEST_HEX:
        return data.hex()
    if data != long_data(len(data)):
        raise ValueError("long data without the pattern")
    return {"repeat": PATTERN_BYTES.hex(), "length": len(data)}


def data_in(value):
    if isinstance(value, dict):
        return repeated(bytes.fromhex(value["repeat"]), value["length"])
    return bytes.fromhex(value)


def record_out(record):
    """Hex, or for a long record its length and hash."""
    if len(record) <= LONGEST_HEX:
        return record.hex()
    return {"length": len(record), "sha256": hashlib.sha256(record).hexdigest()}


def hex_or_none(value):
    return None if value is None else value.hex()


# Deriving a section from its secrets

def network_section(magic, name, transports):
    return {"magic": magic.hex(), "name": name, "transports": list(transports),
            "prologue": transport.prologue(magic, name, transports).hex()}


def identity_section(identity):
    return {"ml_dsa_44_seed": identity.seed.hex(),
            "ml_dsa_44_public_key": identity.public_key.hex(),
            "node_id": identity.id,
            "x25519_private": identity.static.private_bytes_raw().hex(),
            "x25519_public": identity.static_public.hex()}


@dataclass
class HandshakeInputs:
    """What a handshake's vectors follow from; what is None is made fresh."""

    pattern: transport.Pattern
    ephemerals: dict
    kem_seed: bytes
    ciphertext: bytes | None = None
    signatures: dict | None = None


def handshake_section(inputs, prologue, identities):
    """Runs both sides of a handshake and notes what they come to."""
    kem = MLKEM768PrivateKey.from_seed_bytes(inputs.kem_seed)
    kem_key = kem.public_key().public_bytes_raw()
    expanded_key, decapsulation_key = mlkem_expand.expand(inputs.kem_seed)
    agree("ML-KEM encapsulation keys of the library and of mlkem_expand", kem_key, expanded_key)
    ciphertext = inputs.ciphertext or transport.encapsulate_to(kem_key)[0]
    shared_secret = kem.decapsulate(ciphertext)

    known = identities[RESPONDER].static_public if inputs.pattern.knows_responder else None
    side = {
        INITIATOR: transport.Handshake(
            inputs.pattern, INITIATOR, prologue, identities[INITIATOR].static, remote_static=known,
            ephemeral=X25519PrivateKey.from_private_bytes(inputs.ephemerals[INITIATOR]), kem=kem),
        RESPONDER: transport.Handshake(
            inputs.pattern, RESPONDER, prologue, identities[RESPONDER].static,
            ephemeral=X25519PrivateKey.from_private_bytes(inputs.ephemerals[RESPONDER]),
            encapsulate=lambda _: (ciphertext, shared_secret)),
    }
    before = side[INITIATOR].states[0]
    messages = []
    for sender in (INITIATOR, RESPONDER, INITIATOR):
        frame = side[sender].write()
        side[transport.peer_of(sender)].read(frame[2:])
        state = side[sender].states[-1]
        messages.append({"from": sender, "frame": frame.hex(), "ck": state["ck"].hex(),
                         "h": state["h"].hex(), "k": hex_or_none(state["k"]), "n": state["n"]})
    agree("the states of both sides", side[INITIATOR].states, side[RESPONDER].states)
    for role in ROLES:
        agree(f"the {role}'s static key", identities[role].static_public,
              side[transport.peer_of(role)].remote_static)

    h = side[INITIATOR].handshake_hash
    keys = dict(zip(ROLES, side[INITIATOR].split()))
    return {
        "pattern": inputs.pattern.name,
        "protocol_name": inputs.pattern.protocol_name,
        "initiator_ephemeral_private": inputs.ephemerals[INITIATOR].hex(),
        "responder_ephemeral_private": inputs.ephemerals[RESPONDER].hex(),
        "kem_seed": inputs.kem_seed.hex(),
        "kem_decapsulation_key": decapsulation_key.hex(),
        "kem_encapsulation_key": kem_key.hex(),
        "kem_ciphertext": ciphertext.hex(),
        "kem_shared_secret": shared_secret.hex(),
        "h_before_message_1": before["h"].hex(),
        "ck_before_message_1": before["ck"].hex(),
        "messages": messages,
        "handshake_hash": h.hex(),
        "initiator_key": keys[INITIATOR].hex(),
        "responder_key": keys[RESPONDER].hex(),
        "identity": {role: proof_section(role, identities[role], h, keys[role],
                                         (inputs.signatures or {}).get(role))
                     for role in ROLES},
    }


def proof_section(role, identity, h, key, signature):
    """A side's identity record; it is opened and verified again."""
    signature = signature or identity.sign(role, h)
    payload = identity.public_key + signature
    sealed = transport.Sealer(key).message(payload, transport.IDENTITY)
    opened = open_all(transport.Opener(key), sealed)
    agree("an identity and what its record opens to", [payload], opened)
    node = transport.verify_identity(opened[0], role, h, identity.static_public)
    agree("a node's id and the one proven", identity.id, node)
    return {"signed_message": transport.signed_message(role, h, identity.static_public).hex(),
            "signature": signature.hex(), "record": sealed.hex()}


def records_section(key, records, after_rekey):
    """Seals the records, with empty messages up to the rekey, and opens them all again."""
    sealer = transport.Sealer(key)
    stream = bytearray()

    def seal(record):
        out = {"n": sealer.direction.n, "kind": record.kind, "flags": record.flags,
               "padding": record.padding, "total": record.total, "data": data_out(record.data),
               "mask": sealer.direction.mask().hex()}
        sealed = sealer.seal(record)
        stream.extend(sealed)
        out["record"] = record_out(sealed)
        return out

    section = {"key": key.hex(), "mask_key": sealer.direction.mask_key.hex(),
               "records": [seal(record) for record in records]}
    filler = [EMPTY] * (REKEY_EVERY - len(records))
    first = sealer.direction.n
    for record in filler:
        stream.extend(sealer.seal(record))
    section["between"] = {
        "how": f"the records from {first} to {REKEY_EVERY - 1} are empty messages, each with the "
               "fields of record 0",
        "sha256_of_records_before_rekey": hashlib.sha256(stream).hexdigest()}
    section["after_rekey"] = {"key": sealer.direction.key.hex(),
                              "mask_key": sealer.direction.mask_key.hex(),
                              "records": [seal(record) for record in after_rekey]}

    # What the receiver puts together, cut into records again, must be what was sealed.
    carriers = [record for record in records + filler + after_rekey if record.kind != DECOY]
    opened = open_all(transport.Opener(key, identity_first=False), bytes(stream))
    agree("the messages and what their records open to", carriers,
          [record for message in opened for record in transport.records_of(message)])
    return section


def bad_section(key, bad_records):
    """Seals the malformed records and sees that a receiver refuses each, for the reason given."""
    section = []
    for bad in bad_records:
        sealer = transport.Sealer(key)
        mask = sealer.direction.mask().hex()
        sealed = sealer.seal_plaintext(bad.plaintext)
        try:
            open_all(transport.Opener(key, identity_first=False), sealed)
        except TransportError as error:
            agree(f"why a record is refused ({bad.why})", bad.reason, error.reason)
        else:
            raise Different(f"a receiver takes a bad record: {bad.why}")
        section.append({"reason": bad.reason, "why": bad.why, "n": 0, "body": data_out(bad.body),
                        "trailer": bad.trailer.hex(), "mask": mask, "record": record_out(sealed)})
    return section


def open_all(opener, stream):
    """The messages in a stream of records."""
    messages = []
    at = 0
    while at < len(stream):
        end = at + 2 + opener.length(stream[at:at + 2])
        message = opener.receive(stream[at + 2:end])
        if message is not None:
            messages.append(message)
        at = end
    return messages


def agree(what, one, other):
    if one != other:
        raise Different(f"not the same: {what}")


# The whole file

@dataclass
class Inputs:
    """What all the rest follows from."""

    magic: bytes
    network: str
    transports: list
    identities: dict
    handshakes: list
    key: bytes
    records: list
    after_rekey: list
    bad_records: list


def derive(inputs):
    network = network_section(inputs.magic, inputs.network, inputs.transports)
    prologue = bytes.fromhex(network["prologue"])
    return {
        "comment": COMMENT,
        "transport_version": transport.VERSION,
        "network": network,
        "identities": {role: identity_section(inputs.identities[role]) for role in ROLES},
        "handshakes": [handshake_section(handshake, prologue, inputs.identities)
                       for handshake in inputs.handshakes],
        "records": records_section(inputs.key, inputs.records, inputs.after_rekey),
        "bad_records": bad_section(inputs.key, inputs.bad_records),
    }


def chosen():
    """The inputs of a new file."""
    identities = {role: transport.Identity(secret(f"{role} ML-DSA-44 seed"),
                                           secret(f"{role} X25519 private key")) for role in ROLES}
    handshakes = [
        HandshakeInputs(pattern, {role: secret(f"{name} {role} ephemeral") for role in ROLES},
                        secret(f"{name} ML-KEM-768 seed", 64))
        for name, pattern in transport.PATTERNS.items()]
    return Inputs(MAGIC, NETWORK, transport.TRANSPORTS, identities, handshakes,
                  secret("key of the records"), RECORDS, RECORDS_AFTER_REKEY, BAD_RECORDS)


def stated(file):
    """The inputs that a file states."""
    def identity(role):
        fields = file["identities"][role]
        return transport.Identity(bytes.fromhex(fields["ml_dsa_44_seed"]),
                                  bytes.fromhex(fields["x25519_private"]))

    def handshake(fields):
        return HandshakeInputs(
            transport.PATTERNS[fields["pattern"]],
            {role: bytes.fromhex(fields[f"{role}_ephemeral_private"]) for role in ROLES},
            bytes.fromhex(fields["kem_seed"]),
            bytes.fromhex(fields["kem_ciphertext"]),
            {role: bytes.fromhex(fields["identity"][role]["signature"]) for role in ROLES})

    def record(fields):
        return Record(fields["kind"], fields["flags"], fields["total"], data_in(fields["data"]),
                      fields["padding"])

    network, records = file["network"], file["records"]
    return Inputs(
        bytes.fromhex(network["magic"]), network["name"], network["transports"],
        {role: identity(role) for role in ROLES},
        [handshake(fields) for fields in file["handshakes"]],
        bytes.fromhex(records["key"]),
        [record(fields) for fields in records["records"]],
        [record(fields) for fields in records["after_rekey"]["records"]],
        [BadRecord(fields["reason"], fields["why"], data_in(fields["body"]),
                   bytes.fromhex(fields["trailer"])) for fields in file["bad_records"]])


def compare(expected, found, where):
    """Raises `Different` at the first place where the file is not what was derived."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in [*expected, *found]:
            if key not in expected or key not in found:
                raise Different(f"{where}.{key} is {'missing' if key in expected else 'unknown'}")
            compare(expected[key], found[key], f"{where}.{key}")
    elif isinstance(expected, list) and isinstance(found, list):
        if len(expected) != len(found):
            raise Different(f"{where} has {len(found)} entries, not {len(expected)}")
        for i, (one, other) in enumerate(zip(expected, found)):
            compare(one, other, f"{where}[{i}]")
    elif expected != found or type(expected) is not type(found):
        raise Different(f"{where} is {shortened(found)}, but {shortened(expected)} follows")


def shortened(value):
    text = json.dumps(value)
    return text if len(text) <= 80 else f"{text[:60]}... ({len(text)} characters)"


def generate(path):
    with open(path, "w", encoding="ascii") as out:
        json.dump(derive(chosen()), out, indent=2)
        out.write("\n")


def check(path):
    with open(path, encoding="ascii") as source:
        file = json.load(source)
    agree("the patterns and those of the transport", list(transport.PATTERNS),
          [fields["pattern"] for fields in file["handshakes"]])
    derived = derive(stated(file))
    compare(derived, {**file, "comment": COMMENT}, "file")
    records = derived["records"]
    print(f"{path}: {len(derived['handshakes'])} handshakes, "
          f"{REKEY_EVERY + len(records['after_rekey']['records'])} records and "
          f"{len(derived['bad_records'])} malformed ones agree")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n", maxsplit=1)[0])
    commands = parser.add_subparsers(required=True)
    for run in (generate, check):
        command = commands.add_parser(run.__name__)
        command.set_defaults(run=run)
        command.add_argument("file")
    args = parser.parse_args()
    try:
        args.run(args.file)
    except KeyError as error:
        sys.exit(f"vectors: {error} is missing in {args.file}")
    except (Different, OSError, OverflowError, TransportError, TypeError,
            ValueError) as error:
        sys.exit(f"vectors: {error}")


if __name__ == "__main__":
    main()
