"""The formats of p2pchat's protocol, written from src/wire/PROTOCOL.md alone.

The numbers of sections refer to that page.
"""

import base64
import hashlib
import json
import os
import re
import struct
import time
from datetime import datetime, timezone

from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_decrypt as open_sealed,
)
from nacl.bindings import (
    crypto_aead_xchacha20poly1305_ietf_encrypt as seal,
)
from nacl.signing import SigningKey, VerifyKey
from noise.connection import Keypair, NoiseConnection

VERSION = 2


class Violation(Exception):
    """The other side broke the protocol."""


# --- Section 1: conventions


def u64(number):
    return struct.pack(">Q", number)


def random_u64():
    return int.from_bytes(os.urandom(8), "big")


def base64url(data):
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


def from_base64url(text):
    data = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
    if base64url(data) != text:  # unused bits that are not zero, or a foreign character
        raise Violation("base64url")
    return data


def hex64(number):
    return f"{number:016x}"


def timestamp(wall_ms):
    seconds, ms = divmod(wall_ms, 1000)
    return (
        datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%S") + f".{ms:03}Z"
    )


def wall_ms():
    return time.time_ns() // 1_000_000


def compact(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def domain_hash(purpose, *parts):
    """Section 16: SHA-256 with a domain prefix."""
    prefix = f"p2pchat {purpose} {VERSION}\0".encode()
    return hashlib.sha256(prefix + b"".join(parts)).digest()


# --- Sections 2 and 3: identities and networks


def id_of(public_key):
    return base64.b32encode(public_key).decode().lower().rstrip("=")


def public_key_of(peer_id):
    if not re.fullmatch("[a-z2-7]{52}", peer_id):
        raise Violation("id")
    public_key = base64.b32decode(peer_id.upper() + "====")
    if id_of(public_key) != peer_id:
        raise Violation("id with unused bits")
    return public_key


def x25519_of(peer_id):
    """The Noise static key of a peer; libsodium refuses points of small order."""
    return bytes(VerifyKey(public_key_of(peer_id)).to_curve25519_public_key())


class Identity:
    def __init__(self, seed):
        self.key = SigningKey(seed)
        self.public_key = bytes(self.key.verify_key)
        self.id = id_of(self.public_key)
        self.x25519_secret = bytes(self.key.to_curve25519_private_key())

    def sign(self, message):
        return self.key.sign(message).signature


class Network:
    """The open network, or with a secret a closed one."""

    def __init__(self, secret=None):
        self.is_closed = secret is not None
        self.tag = domain_hash("network tag", secret) if secret else bytes(32)
        self.psk = domain_hash("handshake key", secret) if secret else None
        self.beacon_key = domain_hash("beacon key", secret) if secret else None


# --- Section 6: beacons


def beacon(network, fields):
    fields = {**fields, "network": network.tag.hex()}
    inner = compact(fields).encode()
    if not network.is_closed:
        return inner
    nonce = os.urandom(24)
    sealed = nonce + seal(inner, None, nonce, network.beacon_key)
    outer = {"type": "sealed", "network": network.tag.hex(), "sealed": base64url(sealed)}
    return compact(outer).encode()


def parse_beacon(network, datagram):
    fields = json.loads(datagram)
    if network.is_closed:
        sealed = from_base64url(fields["sealed"])
        fields = json.loads(open_sealed(sealed[24:], None, sealed[:24], network.beacon_key))
    if fields["network"] != network.tag.hex():
        raise Violation("another network")
    return fields


# --- Section 10: batches


def member_offsets(text):
    """Returns the members of the JSON object: name, value, and where the member and value begin.

    A member begins at the comma before it.
    """
    decode, at, members = json.JSONDecoder().raw_decode, 0, []
    while text[at] == ("," if members else "{"):
        name, colon = decode(text, at + 1)
        if not isinstance(name, str) or text[colon] != ":":
            raise Violation("batch: layout")
        value, end = decode(text, colon + 1)
        members.append((name, value, at, colon + 1, end))
        at = end
    if text[at:] != "}":
        raise Violation("batch: layout")
    return members


class Batch:
    """Lines of one log under one signature: the exact bytes, and what they say."""

    def __init__(self, data):
        self.data = data
        try:
            text = data.decode()
            members = member_offsets(text)
            fields = {name: value for name, value, *_ in members}
            if len(fields) != len(members) or "\n" in text:
                raise Violation("batch: layout")
            self.author, self.target = fields["sender"], fields["target"]
            self.incarnation = fields["incarnation"]
            self.first, self.count = fields["sequence"], fields.get("count", 1)
            self.lamport, self.previous = fields["lamport"], fields.get("previous")
            self.content, self.signature = fields.get("content"), fields["signature"]
        except (ValueError, KeyError, IndexError) as error:
            raise Violation(f"batch: {error!r}") from None
        self.last = self.first + self.count - 1
        if (self.previous is None) != (self.first == 1):
            raise Violation("batch: previous")
        # The tail has one layout, so it is built anew from the values and compared.
        name, _, at, value_at, end = next(m for m in members if m[0] in ("content", "content_hash"))
        content, self.header = text[value_at:end].encode(), text[:at].encode()
        if name == "content":
            tail = f',"content":{content.decode()},"salt":"{fields.get("salt")}"'
            salt = int(fields["salt"], 16)
            self.content_hash = domain_hash("content", u64(salt), content)
        else:
            tail = f',"content_hash":"{fields[name]}"'
            self.content_hash = bytes.fromhex(fields[name])
        if text[at:] != f'{tail},"signature":"{self.signature}"}}':
            raise Violation("batch: layout")
        if self.count != len(self.lines()) and name == "content" and self.target[0] == "#":
            raise Violation("batch: count")

    def lines(self):
        return self.content if isinstance(self.content, list) else [self.content]

    def hash(self, network):
        return domain_hash("batch", network.tag, self.header, self.content_hash)

    def verify(self, network):
        """Raises BadSignatureError, unless the author signed this batch for this network."""
        key = VerifyKey(public_key_of(self.author))
        key.verify(self.hash(network), from_base64url(self.signature))

    def withhold(self):
        """The bytes of this batch without its content: hash and signature stay valid."""
        tail = f',"content_hash":"{self.content_hash.hex()}","signature":"{self.signature}"}}'
        return self.header + tail.encode()


def sign_batch(identity, network, header_fields, content, salt=None):
    """The header's fields, and the content as a JSON value, in the one layout of a batch."""
    header, content = compact(header_fields)[:-1].encode(), compact(content).encode()
    salt = random_u64() if salt is None else salt
    content_hash = domain_hash("content", u64(salt), content)
    batch_hash = domain_hash("batch", network.tag, header, content_hash)
    signature = base64url(identity.sign(batch_hash))
    tail = f',"salt":"{hex64(salt)}","signature":"{signature}"}}'
    return Batch(header + b',"content":' + content + tail.encode())


# --- Section 12: direct messages


def sealing_prologue(network, author, incarnation, sequence, recipient):
    place = public_key_of(author) + bytes.fromhex(incarnation) + u64(sequence)
    return b"p2pchat sealed 2\0" + network.tag + place + public_key_of(recipient)


def seal_lines(lines, prologue, recipient):
    noise = NoiseConnection.from_name(b"Noise_N_25519_ChaChaPoly_BLAKE2s")
    noise.set_as_initiator()
    noise.set_prologue(prologue)
    noise.set_keypair_from_public_bytes(Keypair.REMOTE_STATIC, x25519_of(recipient))
    noise.start_handshake()
    return base64url(bytes(noise.write_message("".join(f"{line}\n" for line in lines).encode())))


def open_lines(content, prologue, identity):
    noise = NoiseConnection.from_name(b"Noise_N_25519_ChaChaPoly_BLAKE2s")
    noise.set_as_responder()
    noise.set_prologue(prologue)
    noise.set_keypair_from_private_bytes(Keypair.STATIC, identity.x25519_secret)
    noise.start_handshake()
    return bytes(noise.read_message(from_base64url(content))).decode().splitlines()
