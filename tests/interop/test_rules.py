"""Rules of sections 8 to 13 that an ordinary conversation does not meet."""

from peer import Peer
from stream import BATCH, MESSAGE, Closed
from test_links import ROOM, Case

OPS = "#ops"


class Rules(Case):
    def setUp(self):
        self.directory_of_alice = self.directory()
        self.alice = self.directory_of_alice.listen()

    def link(self, peer):
        return self.dial(peer, self.alice.port)

    def say(self, line):
        send = self.directory_of_alice.attach("send", line)
        self.alice.event("chat", content=line)
        return send

    def settle(self, link):
        """Serves until the program has seen all that we sent, and returns what it sent."""
        link.messages.clear()
        link.send({"type": "ping", "nonce": 4711})
        link.serve(lambda: {"type": "pong", "nonce": 4711} in link.messages)
        return link.messages

    def serve_to_end(self, link):
        with self.assertRaises(Closed):
            link.serve(lambda: False)
        return link.bye

    def test_the_newer_stream_of_one_run_stays(self):
        bob = self.peer()
        older = self.link(bob)
        self.settle(older)
        newer = self.link(bob)
        self.settle(newer)
        self.assertEqual(self.serve_to_end(older), "duplicate")
        self.assertIsNone(newer.bye)

    def other_run(self, bob):
        other = Peer("bob")
        other.identity, other.id = bob.identity, bob.id
        return other

    def test_a_second_run_with_one_key_is_a_twin(self):
        bob = self.peer()
        older = self.link(bob)
        self.settle(older)
        newer = self.link(self.other_run(bob))
        older.serve(lambda: older.bye)
        self.assertEqual(older.bye, "twin")
        self.assertEqual(self.serve_to_end(newer), "twin")
        self.settle(older)

    def test_a_run_that_does_not_answer_is_replaced(self):
        bob = self.peer()
        older = self.link(bob)
        self.settle(older)
        newer = self.link(self.other_run(bob))
        self.settle(newer)
        self.assertEqual(self.serve_to_end(older), "duplicate")

    def test_unknown_and_malformed_messages_are_ignored(self):
        link = self.link(self.peer())
        link.stream.write_frame(9, b"a kind to come")
        payloads = [b"{{{", b"[]", b"\xff", b'{"type":"to come"}', b'{"type":"ping"}']
        payloads += [b'{"type":"ping","nonce":1,"nonce":2}', b'{"type":"ping","nonce":3.0}']
        payloads += [b'{"type":"ping","nonce":9007199254740992}']
        for payload in payloads:
            link.stream.write_frame(MESSAGE, payload)
        link.stream.write_frame(MESSAGE, b'{ "nonce": 5, "to come": null, "type": "ping" }')
        pongs = [m["nonce"] for m in self.settle(link) if m["type"] == "pong"]
        self.assertEqual(pongs, [5, 4711])

    def test_too_long_a_frame_breaks_the_link(self):
        link = self.link(self.peer())
        self.settle(link)
        header = bytes([MESSAGE]) + (524289).to_bytes(4, "big")
        link.stream.write_packet(link.stream.noise.encrypt(header))
        self.assertEqual(self.serve_to_end(link), "broken")

    def test_batches_that_must_not_come_are_dropped(self):
        bob, carol = self.peer(), self.peer("carol")
        elsewhere, of_carol = bob.publish(OPS, ["x"]), carol.publish(ROOM, ["x"])
        first, second = bob.publish(ROOM, ["one"]), bob.publish(ROOM, ["two"])
        bob.logs = {(ROOM, bob.id, bob.incarnation): [first, second]}
        link = self.link(bob)
        link.receive_want = lambda want: None
        link.sent.clear()
        for batch in [elsewhere, of_carol, second]:
            link.stream.write_frame(BATCH, batch.data)
        # Each acknowledgement covers all batches before.
        for batch in [first, second]:
            link.stream.write_frame(BATCH, batch.data)
            link.serve(lambda last=batch.last: link.acknowledged_up_to(ROOM) == last)
        stored = [(m["target"], e) for m in link.messages if m["type"] == "have" for e in m["logs"]]
        logs = {(target, entry["sender"]) for target, entry in stored}
        self.assertEqual(logs, {(ROOM, bob.id)})
        self.assertEqual(stored[0][1]["high"], 1)

    def test_a_fork_is_reported_and_no_longer_requested(self):
        bob = self.peer()
        bob.publish(ROOM, ["one"])
        link = self.link(bob)
        link.serve(lambda: link.acknowledged_up_to(ROOM) == 1)
        bob.logs.clear()
        other = bob.publish(ROOM, ["another one"])
        link.stream.write_frame(BATCH, other.data)
        cancel = {"sender": bob.id, "incarnation": bob.incarnation, "from": 0}
        self.assertIn({"type": "want", "target": ROOM, "logs": [cancel]}, self.settle(link))

    def test_lines_below_the_stored_range_are_answered_with_the_range(self):
        bob, carol = self.peer(), self.peer("carol")
        for line in ["one", "two", "three", "four"]:
            bob.publish(ROOM, [line])
        (log,) = bob.logs
        bob.logs[log] = bob.logs[log][2:]
        to_bob = self.link(bob)
        to_bob.serve(lambda: to_bob.acknowledged_up_to(ROOM) == 4)
        to_carol = self.link(carol)
        to_carol.receive_have = lambda have: None
        to_carol.serve(lambda: any(have["logs"] for have in to_carol.haves(ROOM)))
        to_carol.request(log, 1)
        entries = [e for m in self.settle(to_carol) if m["type"] == "have" for e in m["logs"]]
        self.assertEqual([(e["low"], e["high"]) for e in entries], [(3, 4)])
        self.assertEqual(carol.text(ROOM), [])

    def test_a_claimed_higher_sequence_is_requested_and_changes_nothing(self):
        bob = self.peer()
        link = self.link(bob)
        self.say("one")
        link.serve(lambda: bob.text(ROOM) == ["one"])
        (log,) = bob.logs
        link.send({"type": "have", "target": ROOM, "logs": [bob.entry(log) | {"high": 7}]})
        want = {"sender": link.other, "incarnation": log[2], "from": 2}
        link.serve(lambda: {"type": "want", "target": ROOM, "logs": [want]} in link.messages)
        self.say("two")
        link.serve(lambda: bob.text(ROOM) == ["one", "two"])
        self.assertEqual(list(bob.logs), [log])


class Rooms(Case):
    def test_a_room_that_is_joined_later_is_shared(self):
        alice = self.directory().start("listen", "--json", "-r", ROOM, "-r", OPS)
        link = self.dial(self.peer(), alice.event("ready")["port"])
        hashes = [link.room_hash(room) for room in [ROOM, OPS]]
        self.assertEqual(link.rooms, [ROOM])
        link.send({"type": "rooms", "rooms": hashes})
        link.serve(lambda: link.haves(OPS))
        alice.event("join", target=OPS)
