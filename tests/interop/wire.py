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
    nonce = domain_hash("beacon nonce", os.urandom(24), inner)[:24]
    sealed = nonce + seal(inner, None, nonce, network.beacon_key)
    outer = {"type": "sealed", "sealed": base64url(sealed)}
    return compact(outer).encode()


def parse_beacon(network, datagram):
    fields = json.loads(datagram)
    if network.is_closed:
        sealed = from_base64url(fields["sealed"])
        fields = json.loads(open_sealed(sealed[24:], None, sealed[:24], network.beacon_key))
    if fields["network"] != network.tag.hex():
        raise Violation("another network")
    return fields


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
