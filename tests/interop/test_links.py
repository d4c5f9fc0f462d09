"""Links of the peer in peer.py with a running p2pchat, in both directions."""

import json
import os
import socket
import struct
import subprocess
import unittest

from batch import Batch, sign_batch
from peer import Peer
from program import TIMEOUT, Directory
from stream import Closed
from wire import Network, beacon, domain_hash, hex64, parse_beacon, wall_ms

ROOM = "#general"
SECRET = b"correct horse battery staple"
GROUP, PORT = "224.0.0.1", 9999


class Case(unittest.TestCase):
    secret = None

    def directory(self):
        return Directory(self, self.secret)

    def peer(self, name="bob"):
        return Peer(name, Network(self.secret))

    def dial(self, peer, port):
        link = peer.dial(port)
        self.addCleanup(link.close)
        return link

    def listener(self):
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        return listener, "127.0.0.1:%d" % listener.getsockname()[1]

    def accept(self, peer, listener, **options):
        link = peer.accept(listener, **options)
        self.addCleanup(link.close)
        return link


class OpenNetwork(Case):
    def test_a_said_line_is_shown_and_acknowledged(self):
        alice, bob = self.directory().listen(), self.peer()
        link = self.dial(bob, alice.port)
        alice.event("join", sender=bob.id, username="bob")
        bob.publish(ROOM, ["hello alice"])
        link.serve(lambda: link.acknowledged_up_to(ROOM) == 1)
        alice.event("chat", sender=bob.id, content="hello alice", sequence=1)
        bob.publish(ROOM, ["two", "lines"])
        link.serve(lambda: link.acknowledged_up_to(ROOM) == 3)
        alice.event("chat", content="two", sequence=2)
        alice.event("chat", content="lines", sequence=3)

    def test_send_ends_well_when_its_line_is_acknowledged(self):
        bob = self.peer()
        listener, address = self.listener()
        send = self.directory().start("send", "--peer", address, "hello bob")
        link = self.accept(bob, listener)
        self.assertTrue(link.hello["passing"])
        link.serve(lambda: link.bye)
        self.assertEqual(link.bye, "leave")
        self.assertEqual(bob.text(ROOM), ["hello bob"])
        self.assertEqual(send.status(), 0, send.errors())

    def test_send_fails_when_its_line_is_not_acknowledged(self):
        bob = self.peer()
        bob.acknowledges = False
        listener, address = self.listener()
        send = self.directory().start("send", "-W", "1", "--peer", address, "hello bob")
        link = self.accept(bob, listener)
        link.serve(lambda: link.bye)
        self.assertEqual(bob.text(ROOM), ["hello bob"])
        self.assertEqual(send.status(), 75, send.errors())

    def test_older_lines_are_fetched(self):
        directory, lines = self.directory(), [f"line {n}" for n in range(1, 6)]
        for line in lines:
            send = directory.start("send", "-W", "0", line)
            self.assertEqual(send.status(), 69, send.errors())
        alice, bob = directory.listen(), self.peer()
        link = self.dial(bob, alice.port)
        link.serve(lambda: len(bob.text(ROOM)) == 5)
        self.assertEqual(bob.text(ROOM), lines)

        # A part of them, as for a gap.
        log = next(log for log in bob.logs)
        del bob.logs[log]
        link.request(log, 2, 3)
        link.serve(lambda: len(bob.text(ROOM)) == 2)
        self.assertEqual(bob.text(ROOM), lines[1:3])

    def test_a_line_said_while_unlinked_follows(self):
        alice, bob = self.directory().listen(), self.peer()
        bob.publish(ROOM, ["one"])
        link = self.dial(bob, alice.port)
        link.serve(lambda: link.acknowledged_up_to(ROOM) == 1)
        link.close()
        bob.publish(ROOM, ["two"])
        link = self.dial(bob, alice.port)
        link.serve(lambda: link.acknowledged_up_to(ROOM) == 2)
        alice.event("chat", content="two", sender=bob.id)

    def test_logs_of_others_are_offered_and_compared_by_digest(self):
        alice, bob, carol = self.directory().listen(), self.peer(), self.peer("carol")
        bob.publish(ROOM, ["from bob"])
        first = self.dial(bob, alice.port)
        first.serve(lambda: first.acknowledged_up_to(ROOM) == 1)
        first.close()
        link = self.dial(carol, alice.port)
        link.serve(lambda: carol.text(ROOM) == ["from bob"])
        link.close()
        # Now both hold the same, so nothing is listed.
        link = self.dial(carol, alice.port)
        link.serve(lambda: link.haves(ROOM))
        have = link.haves(ROOM)[0]
        self.assertEqual((have["logs"], have["digest"]), ([], link.digest(list(carol.logs))))

    def test_withheld_content_is_passed_over(self):
        alice, bob = self.directory().listen(), self.peer()
        batch = bob.publish(ROOM, ["regretted"])
        bob.replace(batch, Batch(batch.withhold()))
        bob.publish(ROOM, ["after it"])
        link = self.dial(bob, alice.port)
        link.serve(lambda: link.acknowledged_up_to(ROOM) == 2)
        alice.event("chat", content="after it")
        # The line without content counts as one that we lack.
        self.assertEqual(link.haves(ROOM)[-1]["logs"][0]["low"], 2)

    def test_lines_are_ordered_by_time_and_by_cause(self):
        directory, bob = self.directory(), self.peer()
        alice = directory.listen()
        link = self.dial(bob, alice.port)
        before = wall_ms() * 1000
        directory.attach("send", "first")
        first = alice.event("chat", content="first")["lamport"]
        self.assertLessEqual(before, first)
        self.assertLess(first, (wall_ms() + 1) * 1000)
        # bob's clock goes an hour ahead, so alice's next line has the number behind his.
        bob.clock = first + 3600 * 1_000_000
        bob.publish(ROOM, ["second"])
        link.serve(lambda: link.acknowledged_up_to(ROOM) == 1)
        directory.attach("send", "third")
        third = alice.event("chat", content="third")["lamport"]
        self.assertEqual(third, bob.clock + 1)

    def test_direct_messages(self):
        directory, bob = self.directory(), self.peer()
        alice = directory.listen()
        link = self.dial(bob, alice.port)
        bob.publish("@" + link.other, ["for alice", "alone"])
        link.serve(lambda: link.acknowledged_up_to("@" + link.other) == 2)
        alice.event("chat", target="@" + link.other, content="for alice")
        alice.event("chat", target="@" + link.other, content="alone")
        send = directory.attach("send", "-t", "@" + bob.id, "for bob")
        link.serve(lambda: bob.text("@" + bob.id))
        self.assertEqual(bob.text("@" + bob.id), ["for bob"])
        self.assertEqual(send.status(), 0, send.errors())

    def test_a_direct_message_waits_for_its_recipient(self):
        directory, bob = self.directory(), self.peer()
        send = directory.start("send", "-W", "0", "-t", "@" + bob.id, "for bob")
        self.assertEqual(send.status(), 69, send.errors())
        link = self.dial(bob, directory.listen().port)
        link.serve(lambda: bob.text("@" + bob.id))
        self.assertEqual(bob.text("@" + bob.id), ["for bob"])

    def test_a_receipt_comes_back_through_the_program(self):
        alice, bob, carol = self.directory().listen(), self.peer(), self.peer("carol")
        to_bob, to_carol = self.dial(bob, alice.port), self.dial(carol, alice.port)
        bob.publish(ROOM, ["for all"])
        to_bob.serve(lambda: to_bob.acknowledged_up_to(ROOM) == 1)
        to_carol.serve(lambda: carol.text(ROOM) == ["for all"])
        clock = next(m for m in to_carol.messages if m["type"] == "clock")
        self.assertEqual((clock["peer"], clock["run"]), (bob.id, hex64(bob.run)))
        to_bob.serve(lambda: to_bob.holders)
        self.assertEqual(to_bob.holders, {carol.id})

    def test_a_receipt_counts_as_delivery(self):
        """bob stands between alice and carol."""
        bob, carol = self.peer(), self.peer("carol")
        listener, address = self.listener()
        send = self.directory().start("send", "--need", "2", "--peer", address, "hello both")
        link = self.accept(bob, listener)
        route = {"peer": carol.id, "username": "carol", "run": hex64(carol.run), "hops": 1}
        link.send({"type": "members", "target": ROOM, "here": [route]})
        link.serve(lambda: bob.text(ROOM))
        log = (ROOM, link.other, next(iter(bob.logs))[2])
        carol.logs[log] = bob.logs[log]
        entry = carol.receipt(log) | {"holder": carol.id}
        link.send({"type": "have", "target": ROOM, "logs": [entry]})
        link.serve(lambda: link.bye)
        self.assertEqual(send.status(), 0, send.errors())

    def test_a_relay_that_drops_lines_does_not_deliver_them(self):
        """bob stands between alice and carol, and first drops two of three lines."""
        directory, bob = self.directory(), self.peer()
        alice, carol = directory.listen(), self.directory().listen()
        to_alice = self.dial(bob, alice.port)
        send = directory.attach("send", "--need", "2", stdin=subprocess.PIPE)
        for line in ["one", "two", "three"]:
            send.say(line)
            alice.event("chat", content=line)
        send.process.stdin.close()
        to_alice.serve(lambda: bob.text(ROOM) == ["one", "two", "three"])
        (log,) = bob.logs
        to_carol = self.dial(bob, carol.port)
        route = {"peer": to_carol.other, "username": "carol", "run": to_carol.hello["run"]}
        to_alice.send({"type": "members", "target": ROOM, "here": [route | {"hops": 1}]})

        def forward(low):
            """Offers the lines from `low` on, and forwards carol's receipt."""
            to_carol.messages.clear()
            entry = bob.entry(log) | {"low": low}
            to_carol.send({"type": "have", "target": ROOM, "logs": [entry]})
            entries = lambda: [e for m in to_carol.haves(ROOM) for e in m["logs"]]
            to_carol.serve(lambda: any("signature" in entry for entry in entries()))
            receipt = entries()[-1] | {"holder": to_carol.other}
            to_alice.send({"type": "have", "target": ROOM, "logs": [receipt]})
            return receipt.get("complete_from", 1)

        self.assertEqual(forward(3), 3)
        gap = carol.event("gap", sender=to_alice.other)
        self.assertEqual((gap["from"], gap["to"]), (1, 2))
        to_alice.send({"type": "ping", "nonce": 4711})
        to_alice.serve(lambda: {"type": "pong", "nonce": 4711} in to_alice.messages)
        self.assertIsNone(send.process.poll())
        while forward(1) > 1:
            pass
        self.assertEqual(send.status(), 0, send.errors())

    def test_pings_are_answered(self):
        directory, bob = self.directory(), self.peer()
        alice = directory.listen()
        link = self.dial(bob, alice.port)
        link.serve(lambda: any(message["type"] == "ping" for message in link.messages))
        link.send({"type": "ping", "nonce": 4711})
        link.serve(lambda: {"type": "pong", "nonce": 4711} in link.messages)
        # The answer came behind ours, so the program knows the round-trip time by now.
        peer = directory.attach("peers", "--json").event("peer", sender=bob.id)
        self.assertIsNotNone(peer["rtt_ms"])


class ClosedNetwork(OpenNetwork):
    """All of the above in a closed network."""

    secret = SECRET

    def test_the_wrong_secret_is_refused(self):
        alice = self.directory().listen()
        with self.assertRaises(Closed):
            Peer("mallory", Network(b"incorrect horse battery staple")).dial(alice.port)
        with self.assertRaises(Closed):
            Peer("mallory", Network()).dial(alice.port)


class Violations(Case):
    def test_another_version_is_refused_without_an_answer(self):
        alice = self.directory().listen()
        with self.assertRaises(Closed):
            self.peer().dial(alice.port, version=3)

    def test_a_false_batch_breaks_the_link(self):
        """Each of these batches would be right with one byte or one word changed."""
        alice = self.directory().listen()
        for change in [self.sign_other, self.flip_signature, self.change_salt]:
            with self.subTest(change.__name__):
                bob = self.peer()
                batch = bob.publish(ROOM, ["hello"])
                bob.replace(batch, change(bob, batch))
                link = self.dial(bob, alice.port)
                link.serve(lambda: link.bye)
                self.assertEqual(link.bye, "broken")
                self.assertEqual(link.acknowledged_up_to(ROOM), 0)

    def sign_other(self, peer, batch):
        """Signs for another network."""
        header = json.loads(batch.header + b"}")
        return sign_batch(peer.identity, Network(SECRET), header, batch.content)

    def flip_signature(self, peer, batch):
        signature = batch.signature
        other = ("B" if signature[0] == "A" else "A") + signature[1:]
        return Batch(batch.data.replace(signature.encode(), other.encode()))

    def change_salt(self, peer, batch):
        salt = json.loads(batch.data)["salt"]
        return Batch(batch.data.replace(salt.encode(), hex64(int(salt, 16) ^ 1).encode()))


@unittest.skipUnless(os.environ.get("NAMESPACE"), "needs a network namespace")
class OpenBeacons(Case):
    """Loopback is the only interface of the namespace, so beacons go there."""

    def socket(self):
        sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.addCleanup(sock.close)
        loopback = socket.inet_aton("127.0.0.1")
        group = struct.pack(
            "=4s4si", socket.inet_aton(GROUP), loopback, socket.if_nametoindex("lo")
        )
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, loopback)
        sock.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, group)
        sock.bind((GROUP, PORT))
        return sock

    def test_a_beacon_leads_to_the_program(self):
        sock, bob = self.socket(), self.peer()
        alice = self.directory().listen(multicast=f"{GROUP}:{PORT}")
        sock.settimeout(TIMEOUT)
        fields = parse_beacon(bob.network, sock.recv(1200))
        room = domain_hash(
            "beacon room", bob.network.tag, bytes.fromhex(fields["run"]), ROOM.encode()
        )
        self.assertEqual(fields["type"], "discover")
        self.assertEqual(fields["port"], alice.port)
        self.assertEqual(fields["rooms"], room[:4].hex())
        link = self.dial(bob, fields["port"])
        self.assertEqual(link.other, fields["peer_id"])
        self.assertEqual(link.hello["run"], fields["run"])

    def test_the_program_dials_the_sender_of_a_beacon(self):
        listener, address = self.listener()
        alice = self.directory().listen(multicast=f"{GROUP}:{PORT}")
        sock, bob = self.socket(), self.peer()
        fields = {"type": "discover", "peer_id": bob.id, "username": "bob"}
        fields |= {"port": listener.getsockname()[1], "run": hex64(bob.run)}
        fields |= {"counter": 1, "interval": 5000}
        sock.sendto(beacon(bob.network, fields), (GROUP, PORT))
        self.accept(bob, listener)
        alice.event("join", sender=bob.id)


class ClosedBeacons(OpenBeacons):
    secret = SECRET


if __name__ == "__main__":
    unittest.main()
