"""Section 7 of src/wire/PROTOCOL.md: a TCP connection that carries frames through Noise."""

import contextlib
import socket
import struct
import time

from noise.connection import Keypair, NoiseConnection

from wire import VERSION, Violation

MESSAGE, BATCH = 1, 2  # kinds of frames
PLAINTEXT_MAX_BYTES = 65519
PAYLOAD_MAX_BYTES = 524288


class Closed(Exception):
    """The stream has ended."""


class Stream:
    """A TCP connection after its handshake: frames in both directions."""

    def __init__(self, sock, is_dialer, identity, network, deadline, version=VERSION):
        self.sock, self.encrypted, self.plain = sock, bytearray(), bytearray()
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        preface = b"P2" + bytes([version, network.is_closed])
        pattern = b"XXpsk0" if network.is_closed else b"XX"
        self.noise = NoiseConnection.from_name(b"Noise_" + pattern + b"_25519_ChaChaPoly_BLAKE2s")
        self.noise.set_prologue(preface)
        self.noise.set_keypair_from_private_bytes(Keypair.STATIC, identity.x25519_secret)
        if network.is_closed:
            self.noise.set_psks(psk=network.psk)
        if is_dialer:
            self.noise.set_as_initiator()
            self.sock.sendall(preface)
        else:
            self.noise.set_as_responder()
            if self.read(4, deadline) != preface:
                raise Violation("preface")
        self.noise.start_handshake()
        handshake = self.noise.noise_protocol.handshake_state
        for is_ours in [is_dialer, not is_dialer, is_dialer]:
            if is_ours:
                self.write_packet(bytes(self.noise.write_message()))
            else:
                self.noise.read_message(self.read_packet(deadline))
        self.h = self.noise.get_handshake_hash()
        self.peer_x25519 = handshake.rs.public_bytes

    def read(self, count, deadline):
        """Reads `count` bytes, or none of them if the deadline passes."""
        while len(self.encrypted) < count:
            self.sock.settimeout(max(deadline - time.monotonic(), 0.001))
            try:
                received = self.sock.recv(65536)
            except ConnectionResetError:
                received = b""
            if not received:
                raise Closed
            self.encrypted += received
        taken = bytes(self.encrypted[:count])
        del self.encrypted[:count]
        return taken

    def read_packet(self, deadline):
        length = self.read(2, deadline)
        try:
            return self.read(struct.unpack(">H", length)[0], deadline)
        except TimeoutError:
            self.encrypted[:0] = length
            raise

    def write_packet(self, packet):
        """Fails silently on a closed stream: what the other side sent before can still be read."""
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            self.sock.settimeout(10)
            self.sock.sendall(struct.pack(">H", len(packet)) + packet)

    def read_frame(self, deadline):
        """Returns kind and payload. Raises TimeoutError at the deadline, and loses nothing."""
        while True:
            if len(self.plain) >= 5:
                kind, length = struct.unpack(">BI", self.plain[:5])
                if length > PAYLOAD_MAX_BYTES:
                    raise Violation("frame too long")
                if len(self.plain) >= 5 + length:
                    payload = bytes(self.plain[5 : 5 + length])
                    del self.plain[: 5 + length]
                    return kind, payload
            self.plain += self.noise.decrypt(self.read_packet(deadline))

    def write_frame(self, kind, payload):
        frame = struct.pack(">BI", kind, len(payload)) + payload
        for start in range(0, len(frame), PLAINTEXT_MAX_BYTES):
            self.write_packet(self.noise.encrypt(frame[start : start + PLAINTEXT_MAX_BYTES]))
