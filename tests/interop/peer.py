"""A minimal p2pchat peer, written from src/wire/PROTOCOL.md alone.

It shows a second implementer one way through that page; the numbers of sections refer to it. The
peer keeps all logs in memory, each in one unbroken range. It has neither gaps nor routes, forwards
nothing, and carries nothing for others.
"""

import json
import os
import socket
import time

from nacl.signing import VerifyKey

from batch import Batch, sign_batch
from stream import BATCH, MESSAGE, Closed, Stream
from wire import (
    Identity,
    Network,
    Violation,
    base64url,
    compact,
    domain_hash,
    from_base64url,
    hex64,
    open_lines,
    public_key_of,
    random_u64,
    seal_lines,
    sealing_prologue,
    timestamp,
    u64,
    wall_ms,
    x25519_of,
)


def receipt_hash(network, log, entry):
    target, author, incarnation = log
    lines = u64(entry.get("complete_from", 1)) + u64(entry["high"])
    parts = public_key_of(author), bytes.fromhex(incarnation), lines, bytes.fromhex(entry["hash"])
    return domain_hash("receipt", network.tag, *parts, target.encode())


class Peer:
    """An identity with its rooms and logs, for one run."""

    def __init__(self, name, network=None, rooms=("#general",), seed=None):
        self.name, self.network, self.rooms = name, network or Network(), list(rooms)
        self.identity = Identity(seed or os.urandom(32))
        self.id = self.identity.id
        self.run = random_u64()
        self.incarnation = hex64(random_u64())
        self.started = time.monotonic()
        self.clock = 0  # the hybrid logical clock
        self.acknowledges = True  # tests can change that
        self.logs = {}  # (target, author, incarnation) -> batches without holes

    def age_ms(self):
        return int((time.monotonic() - self.started) * 1000)

    def store(self, batch):
        log = self.logs.setdefault((batch.target, batch.author, batch.incarnation), [])
        log.append(batch)
        bound = max(self.clock, 2**52) + 2**20
        self.clock = max(self.clock, min(batch.lamport + batch.count - 1, bound))

    def publish(self, target, lines):
        """Signs and stores the next batch of the own log. Links send it when served."""
        log = self.logs.get((target, self.id, self.incarnation), [])
        sequence = log[-1].last + 1 if log else 1
        content = lines[0] if len(lines) == 1 else lines
        if target[0] == "@":
            place = (self.id, self.incarnation, sequence, target[1:])
            content = seal_lines(lines, sealing_prologue(self.network, *place), target[1:])
        fields = {"type": "chat", "sender": self.id, "username": self.name, "target": target}
        fields |= {"incarnation": self.incarnation, "sequence": sequence}
        if len(lines) > 1:
            fields["count"] = len(lines)
        now = wall_ms()
        fields |= {"lamport": max(self.clock + 1, now * 1000), "timestamp": timestamp(now)}
        fields |= {"run": hex64(self.run), "uptime": self.age_ms()}
        if log:
            fields["previous"] = log[-1].hash(self.network).hex()
        batch = sign_batch(self.identity, self.network, fields, content)
        self.store(batch)
        return batch

    def replace(self, batch, other):
        log = self.logs[batch.target, batch.author, batch.incarnation]
        log[log.index(batch)] = other

    def text(self, target):
        """All stored lines of others to a target, opened if they are sealed."""
        lines = []
        for (log_target, author, incarnation), log in self.logs.items():
            for batch in log if log_target == target and author != self.id else []:
                if target[0] == "#":
                    lines += batch.lines()
                    continue
                prologue = sealing_prologue(self.network, author, incarnation, batch.first, self.id)
                lines += open_lines(batch.content, prologue, self.identity)
        return lines

    def entry(self, log):
        target, author, incarnation = log
        batches = self.logs[log]
        entry = {"sender": author, "incarnation": incarnation}
        entry |= {"low": batches[0].first, "high": batches[-1].last}
        if batches[0].first > 1:
            entry["complete_from"] = batches[0].first
        return entry | {"hash": batches[-1].hash(self.network).hex()}

    def receipt(self, log):
        """The entry with our signature, for an author who is not linked with us."""
        entry = self.entry(log)
        signature = self.identity.sign(receipt_hash(self.network, log, entry))
        return entry | {"signature": base64url(signature)}

    def dial(self, port, timeout=10, **options):
        deadline = time.monotonic() + timeout
        sock = socket.create_connection(("127.0.0.1", port), timeout)
        return self.link(sock, True, deadline, **options)

    def accept(self, listener, timeout=10, **options):
        deadline = time.monotonic() + timeout
        listener.settimeout(timeout)
        return self.link(listener.accept()[0], False, deadline, **options)

    def link(self, sock, is_dialer, deadline, **options):
        try:
            stream = Stream(sock, is_dialer, self.identity, self.network, deadline, **options)
            return Link(self, stream, deadline)
        except BaseException:
            sock.close()
            raise


class Link:
    """A stream between two peers after both hellos."""

    def __init__(self, peer, stream, deadline):
        self.peer, self.stream, self.network = peer, stream, peer.network
        self.messages = []  # all that arrived, for tests
        self.requested = {}  # log -> the first line that we requested
        self.sent = {}  # log -> the last line sent, while the other side subscribes
        self.acknowledged = {}  # own log -> the highest line that the other side holds
        self.holders = set()  # whose receipts for own lines were forwarded to us
        self.bye = None
        hashes = {self.room_hash(room): room for room in peer.rooms}
        hello = {"type": "hello", "sender": peer.id, "username": peer.name, "run": hex64(peer.run)}
        hello |= {"age": peer.age_ms(), "wall": wall_ms(), "rooms": list(hashes), "port": 0}
        self.send(hello)
        kind, payload = stream.read_frame(deadline)
        self.hello = json.loads(payload)
        if self.hello["type"] == "bye":
            raise Closed(self.hello["reason"])
        if kind != MESSAGE or self.hello["type"] != "hello":
            raise Violation("first frame")
        self.other = self.hello["sender"]
        if x25519_of(self.other) != stream.peer_x25519:
            raise Violation("hello of another key")
        self.rooms = [hashes[h] for h in self.hello["rooms"] if h in hashes]
        for target in self.rooms + ["@" + peer.id, "@" + self.other]:
            self.send_have(target)
            self.subscribe(target)

    def room_hash(self, room):
        return domain_hash("room", self.stream.h, room.encode())[:16].hex()

    def acknowledged_up_to(self, target):
        return self.acknowledged.get((target, self.peer.id, self.peer.incarnation), 0)

    def haves(self, target):
        return [m for m in self.messages if m["type"] == "have" and m["target"] == target]

    def send(self, message):
        self.stream.write_frame(MESSAGE, compact(message).encode())

    def close(self):
        self.stream.sock.close()

    def send_have(self, target):
        """What we store that either side wrote, and a digest of the rest."""
        logs = [log for log in self.peer.logs if log[0] == target]
        listed = [log for log in logs if log[1] in (self.peer.id, self.other)]
        have = {"type": "have", "target": target, "logs": [self.peer.entry(log) for log in listed]}
        if target[0] == "#":
            have["digest"] = self.digest([log for log in logs if log not in listed])
        if listed or target[0] == "#":
            self.send(have)

    def digest(self, logs):
        heads = []
        for log in sorted(logs, key=lambda log: (public_key_of(log[1]), log[2])):
            head = self.peer.logs[log][-1]
            place = public_key_of(log[1]) + bytes.fromhex(log[2]) + u64(head.last)
            heads.append(place + head.hash(self.network))
        return domain_hash("heads", *heads)[:16].hex()

    def subscribe(self, target):
        """An author sends the first batch of a log without a request."""
        if target != "@" + self.peer.id:
            self.sent.setdefault((target, self.peer.id, self.peer.incarnation), 0)

    def request(self, log, first, last=None):
        self.requested[log] = first
        entry = {"sender": log[1], "incarnation": log[2], "from": first}
        entry |= {"to": last} if last else {}
        self.send({"type": "want", "target": log[0], "logs": [entry]})

    def serve(self, condition, timeout=10):
        """Receives and answers until the condition holds. Raises TimeoutError."""
        deadline = time.monotonic() + timeout
        self.send_batches()
        while not condition():
            self.receive(deadline)
            self.send_batches()

    def receive(self, deadline):
        kind, payload = self.stream.read_frame(deadline)
        if kind == BATCH:
            self.receive_batch(Batch(payload))
        elif kind == MESSAGE:
            message = json.loads(payload)
            self.messages.append(message)
            handler = getattr(self, "receive_" + message["type"], None)
            if handler:
                handler(message)

    def receive_ping(self, ping):
        self.send({"type": "pong", "nonce": ping["nonce"]})

    def receive_bye(self, bye):
        self.bye = bye["reason"]

    def receive_have(self, have):
        for entry in have["logs"]:
            log = (have["target"], entry["sender"], entry["incarnation"])
            batches = self.peer.logs.get(log, [])
            if "holder" in entry:
                self.receive_receipt(log, entry)
            elif log[1:] == (self.peer.id, self.peer.incarnation):
                if self.is_hash_of_ours(batches, entry):
                    self.acknowledged[log] = entry["high"]
            else:
                self.request(log, max(entry["low"], batches[-1].last + 1 if batches else 1))

    def is_hash_of_ours(self, batches, entry):
        heads = [(batch.last, batch.hash(self.network).hex()) for batch in batches]
        return (entry["high"], entry["hash"]) in heads

    def receive_receipt(self, log, entry):
        """Raises BadSignatureError if the holder did not sign."""
        if self.is_hash_of_ours(self.peer.logs.get(log, []), entry):
            key = VerifyKey(public_key_of(entry["holder"]))
            key.verify(receipt_hash(self.network, log, entry), from_base64url(entry["signature"]))
            self.holders.add(entry["holder"])

    def receive_want(self, want):
        for entry in want["logs"]:
            log = (want["target"], entry["sender"], entry["incarnation"])
            batches = self.peer.logs.get(log)
            if not batches or entry["from"] == 0:
                self.sent.pop(log, None)
            elif "to" in entry:
                self.send_range(batches, entry["from"], entry["to"])
            else:
                self.sent[log] = min(entry["from"] - 1, batches[-1].last)

    def send_range(self, batches, first, last):
        for batch in batches:
            if batch.last >= first and batch.first <= last:
                self.stream.write_frame(BATCH, batch.data)

    def send_batches(self):
        for log, sent in self.sent.items():
            batches = self.peer.logs.get(log)
            if batches and batches[-1].last > sent:
                self.send_range(batches, sent + 1, batches[-1].last)
                self.sent[log] = batches[-1].last

    def receive_batch(self, batch):
        log = (batch.target, batch.author, batch.incarnation)
        is_shared = batch.target in self.rooms or batch.target == "@" + self.peer.id
        if not is_shared or not (log in self.requested or batch.author == self.other):
            return
        batches = self.peer.logs.get(log)
        if batches and batch.last <= batches[-1].last:
            self.acknowledge(log)  # a duplicate
            return
        if batches:
            head = batches[-1].hash(self.network).hex()
            is_next = batch.first == batches[-1].last + 1
        else:
            head = batch.previous
            is_next = batch.first == 1 or batch.first <= self.requested.get(log, 0) <= batch.last
        if not is_next:
            return  # sent before our request arrived
        batch.verify(self.network)
        if batch.previous != head:
            raise Violation("fork")
        self.peer.store(batch)
        self.acknowledge(log)

    def acknowledge(self, log):
        if self.peer.acknowledges:
            is_author = log[1] == self.other
            entry = self.peer.entry(log) if is_author else self.peer.receipt(log)
            self.send({"type": "have", "target": log[0], "logs": [entry]})
