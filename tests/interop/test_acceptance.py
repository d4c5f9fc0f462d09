"""Both implementations accept the same batches: a peer that forwards another one loses its link."""

import json

from batch import Batch
from stream import BATCH
from test_links import ROOM, Case
from wire import Violation, base64url, compact, domain_hash, u64

ELSEWHERE = "@rkeohxlubhyzl7ks3mwtzos5olfgocn7dwkbeg7toseadnapn5oa"
SALT = "0011223344556677"

# Edits of the header's text behind the last field, or of its fields, or of the content.
ACCEPTED = {
    "reversed": lambda h: compact(dict(reversed(json.loads(h + "}").items())))[:-1],
    "white space": lambda h: json.dumps(json.loads(h + "}"))[:-1] + " \t\r",
    "unknown": lambda h: h + ',"x":{"content":[1.5,-2,null,1e999,"\\ud800"]}',
    "unknown twice": lambda h: h + ',"x":1,"x":2',
    "unknown and deep": lambda h: h + ',"x":' + "[" * 500 + "]" * 500,
    "unknown and long": lambda h: h + ',"x":' + "9" * 5000,
    "escaped name of a field": lambda h: h.replace('"uptime"', '"\\u0075ptime"'),
    "escaped username": lambda h: h.replace('"bob"', '"\\u0062ob"'),
    "escaped target": lambda h: h.replace("#general", "\\u0023general"),
    "republishes": lambda h: h + f',"republishes":{republishes()}',
    "name by no rule": {"username": "b o b"},
    "count 1": {"count": 1},
    "action": {"action": False},
    "highest lamport": {"lamport": 2**53 - 1 - 4096},
    "first time": {"timestamp": "0000-01-01T00:00:00.000Z"},
    "last time": {"timestamp": "9999-12-31T23:59:59.999Z"},
    "leap day": {"timestamp": "0000-02-29T00:00:00.000Z"},
}
REFUSED = {
    "null": lambda h: h + ',"action":null',
    "known twice": lambda h: h + ',"uptime":1',
    "line feed": lambda h: h.replace(",", ",\n", 1),
    "no JSON": lambda h: h + ',"x":NaN',
    "surrogate in a name": lambda h: h + ',"\\ud800":1',
    "surrogate in username": lambda h: h.replace('"bob"', '"\\ud800"'),
    "escaped type": lambda h: h.replace('"chat"', '"\\u0063hat"'),
    "escaped time": lambda h: h.replace('Z"', '\\u005a"'),
    "fraction": lambda h: h.replace('"sequence":1', '"sequence":1.0'),
    "exponent": lambda h: h.replace('"sequence":1', '"sequence":1e0'),
    "minus zero": lambda h: h[: h.index('"uptime"')] + '"uptime":-0',
    "received": {"received": "2026-11-28T05:00:00.000Z"},
    "late": {"late": True},
    "republishes": {"republishes": 1},
    "no run": {"run": None},
    "no timestamp": {"timestamp": None},
    "other type": {"type": "line"},
    "upper-case run": {"run": "ABCDEF0123456789"},
    "upper-case room": {"target": "#General"},
    "no target": {"target": "general"},
    "sequence 0": {"sequence": 0},
    "lamport 0": {"lamport": 0},
    "too high lamport": {"lamport": 2**53 - 4096},
    "previous at line 1": {"previous": "ab" * 32},
    "no previous at line 2": {"sequence": 2},
    "count 0": {"count": 0},
    "action 1": {"action": 1},
    "time without zone": {"timestamp": "2026-11-28T05:00:00.000"},
    "time with offset": {"timestamp": "2026-11-28T05:00:00.000+00:00"},
    "time without decimals": {"timestamp": "2026-11-28T05:00:00Z"},
    "time with two decimals": {"timestamp": "2026-11-28T05:00:00.00Z"},
    "time with four decimals": {"timestamp": "2026-11-28T05:00:00.0000Z"},
    "time with t": {"timestamp": "2026-11-28t05:00:00.000Z"},
    "time with z": {"timestamp": "2026-11-28T05:00:00.000z"},
    "time with space": {"timestamp": "2026-11-28 05:00:00.000Z"},
    "year of five digits": {"timestamp": "10000-01-01T00:00:00.000Z"},
    "second 60": {"timestamp": "2026-12-31T23:59:60.000Z"},
    "minute 60": {"timestamp": "2026-11-28T05:60:00.000Z"},
    "hour 24": {"timestamp": "2026-11-28T24:00:00.000Z"},
    "no day": {"timestamp": "2026-02-29T05:00:00.000Z"},
}
# Content, count, target, and whether it is accepted.
CONTENTS = [
    ('""', 1, ROOM, True),
    ('["one"]', 1, ROOM, True),
    ('["a", "\\u0041\\u0000\\r"]', 2, ROOM, True),
    (compact("x" * 16384), 1, ROOM, True),
    (compact("x" * 16385), 1, ROOM, False),
    (compact(["x"] * 4096), 4096, ROOM, True),
    (compact(["x"] * 4097), 4097, ROOM, False),
    ('["one"]', 2, ROOM, False),
    ('"one"', 2, ROOM, False),
    ("5", 1, ROOM, False),
    ('"a\\nb"', 1, ROOM, False),
    ('"\\ud800"', 1, ROOM, False),
    ('"not base64"', 4096, ELSEWHERE, True),
    ('["one"]', 2, ELSEWHERE, True),
    ('["one","two"]', 2, ELSEWHERE, False),
    (compact("x" * 87381), 1, ELSEWHERE, True),
    (compact("x" * 87382), 1, ELSEWHERE, False),
]


def republishes():
    return compact({"incarnation": "fedcba9876543210", "sequence": 2, "hash": "ab" * 32})


def sign_raw(peer, header, content, salt=SALT):
    """A batch of these bytes, valid or not."""
    header, content = header.encode(), content.encode()
    content_hash = domain_hash("content", u64(int(salt, 16)), content)
    batch_hash = domain_hash("batch", peer.network.tag, header, content_hash)
    tail = f',"salt":"{salt}","signature":"{base64url(peer.identity.sign(batch_hash))}"}}'
    return header + b',"content":' + content + tail.encode()


class Acceptance(Case):
    def setUp(self):
        self.alice = self.directory().listen()

    def check(self, is_accepted, edit=lambda header: header, content='"x"'):
        bob = self.peer()
        fields = json.loads(bob.publish(ROOM, ["x"]).header + b"}")
        bob.logs.clear()
        if isinstance(edit, dict):
            fields = {name: value for name, value in (fields | edit).items() if value is not None}
            header = compact(fields)[:-1]
        else:
            header = edit(compact(fields)[:-1])
        data = sign_raw(bob, header, content)
        if is_accepted:
            Batch(data).verify(bob.network)
        else:
            with self.assertRaises(Violation):
                Batch(data)
        self.assertEqual(self.is_accepted(bob, data), is_accepted)

    def is_accepted(self, bob, data):
        """Whether the program still answers a ping behind this batch."""
        link = self.dial(bob, self.alice.port)
        link.receive_have = link.receive_batch = lambda message: None
        link.stream.write_frame(BATCH, data)
        link.send({"type": "ping", "nonce": 4711})
        link.serve(lambda: link.bye or {"type": "pong", "nonce": 4711} in link.messages)
        link.close()
        return not link.bye

    def test_accepted_headers(self):
        for name, edit in ACCEPTED.items():
            with self.subTest(name):
                self.check(True, edit)

    def test_refused_headers(self):
        for name, edit in REFUSED.items():
            with self.subTest(name):
                self.check(False, edit)

    def test_contents(self):
        for content, count, target, is_accepted in CONTENTS:
            with self.subTest(content[:20], count=count, target=target):
                edit = {"count": count if count > 1 else None, "target": target}
                self.check(is_accepted, edit, content)
