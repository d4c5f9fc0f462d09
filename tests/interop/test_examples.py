"""Checks wire.py with the examples of src/wire/PROTOCOL.md."""

import json
import os
import re
import unittest

from nacl.exceptions import BadSignatureError

from batch import Batch, sign_batch
from wire import Identity, Network, Violation, domain_hash, hex64, id_of, u64

PAGE = os.path.join(os.path.dirname(__file__), "../../src/wire/PROTOCOL.md")
ALICE, BOB = Identity(b"\1" * 32), Identity(b"\2" * 32)
RUN = 0x0123456789ABCDEF


def examples(kind):
    """All JSON examples of this type. Their line breaks are not on the wire."""
    with open(PAGE, encoding="utf-8") as page:
        blocks = re.findall(r"```json\n(.*?)```", page.read(), re.DOTALL)
    texts = [re.sub(r"\n +", "", block.strip()) for block in blocks]
    return [text for text in texts if text.startswith(f'{{"type":"{kind}"')]


class Examples(unittest.TestCase):
    def test_identities(self):
        self.assertEqual(ALICE.id, "rkeohxlubhyzl7ks3mwtzos5olfgocn7dwkbeg7toseadnapn5oa")
        self.assertEqual(BOB.id, "qe4xodvipulv6vvdkrtmgtd6ztfy3curwtxdpis56yhvxd6jwoka")
        x25519 = ALICE.key.to_curve25519_private_key().public_key
        self.assertTrue(bytes(x25519).hex().startswith("1b1b58dd50ea14b60da17b790cd02754"))
        fingerprint = domain_hash("fingerprint", ALICE.public_key)
        self.assertTrue(fingerprint.hex().startswith("995445ce57a9817d3b1a040b8364"))

    def test_network_keys(self):
        network = Network(b"correct horse battery staple")
        keys = [network.tag, network.psk, network.beacon_key]
        heads = ["65a74151c13e175b", "94d2dcffb4714d88", "9426e7c3957a9826"]
        self.assertEqual([key[:8].hex() for key in keys], heads)

    def test_room_hashes(self):
        beacon, hello = json.loads(examples("discover")[0]), json.loads(examples("hello")[0])
        in_beacon = domain_hash("beacon room", Network().tag, u64(RUN), b"#general")
        self.assertEqual(beacon["rooms"], in_beacon[:4].hex())
        on_link = domain_hash("room", bytes(range(32)), b"#general")
        self.assertEqual(hello["rooms"], [on_link[:16].hex()])

    def test_batches(self):
        first, second = [Batch(text.encode()) for text in examples("chat")]
        self.assertEqual(second.previous, first.hash(Network()).hex())
        have = next(have for have in examples("have"))
        self.assertEqual(json.loads(have)["logs"][0]["hash"], second.hash(Network()).hex())
        for batch in [first, second]:
            batch.verify(Network())
            with self.assertRaises(BadSignatureError):
                batch.verify(Network(b"of another network"))
            fields = json.loads(batch.header + b"}")
            salt = int(json.loads(batch.data)["salt"], 16)
            again = sign_batch(ALICE, Network(), fields, batch.content, salt)
            self.assertEqual(again.data, batch.data)

    def test_withheld_content_keeps_hash_and_signature(self):
        for text in examples("chat"):
            batch = Batch(text.encode())
            withheld = Batch(batch.withhold())
            self.assertEqual(withheld.hash(Network()), batch.hash(Network()))
            withheld.verify(Network())

    def test_changed_batches_are_refused(self):
        text = examples("chat")[0]
        changes = [
            ("good day", "good dax"),
            ('"salt":"1', '"salt":"2'),
            ('"uptime":5', '"uptime":6'),
        ]
        for old, new in changes:
            with self.assertRaises(BadSignatureError):
                Batch(text.replace(old, new).encode()).verify(Network())
        for old, new in [(',"salt"', ', "salt"'), ('"sequence":1', '"sequence":2'), ('"}', '" }')]:
            with self.assertRaises(Violation):
                Batch(text.replace(old, new).encode())

    def test_empty_digest(self):
        have = json.loads(examples("have")[0])
        self.assertEqual(have["digest"], domain_hash("heads")[:16].hex())
        self.assertEqual(hex64(RUN), "0123456789abcdef")
        self.assertEqual(id_of(ALICE.public_key), have["logs"][0]["sender"])
