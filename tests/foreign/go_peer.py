#!/usr/bin/env python3
"""A p2pchat in Go, as it was seen to speak: `go_peer.py NAME PEER_ID`.

$PEER_HOST is its address, else it is on loopback.
It announces itself on the group of p2pchat, dials programs with larger ids, and accepts the others.
It prints what it receives, one message a line, as `TYPE KEY=VALUE …`. Each line of its stdin is said;
/nick NAME changes its name, and the end of stdin ends it.
"""

import json
import os
import select
import socket
import struct
import sys
import time

GROUP = ("224.0.0.1", 9999)
HOST = os.environ.get("PEER_HOST", "127.0.0.1")


def now():
    return time.strftime("%Y-%m-%dT%H:%M:%S.123456789+00:00", time.gmtime())


class Peer:
    def __init__(self, name, peer_id):
        self.name, self.id, self.sequence = name, peer_id, 0
        self.streams, self.buffers, self.dialed = {}, {}, set()
        self.listener = socket.create_server(("", 0))
        self.port = self.listener.getsockname()[1]
        self.beacons = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.beacons.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.beacons.bind(GROUP)
        member = struct.pack("4s4s", socket.inet_aton(GROUP[0]), socket.inet_aton(HOST))
        self.beacons.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, member)
        self.sender = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.sender.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(HOST))

    def announce(self, kind="announce"):
        beacon = {"type": kind, "peer_id": self.id, "username": self.name}
        beacon |= {"address": f"0.0.0.0:{self.port}", "port": self.port, "timestamp": now()}
        self.sender.sendto(json.dumps(beacon | {"sequence": 0}).encode(), GROUP)

    def send(self, stream, kind, content=""):
        self.sequence += 1
        message = {"id": os.urandom(8).hex(), "type": kind, "sender_id": self.id}
        message |= {"username": self.name, "content": content, "timestamp": now()}
        message |= {"sequence": self.sequence, "room_id": "general"}
        stream.sendall(json.dumps(message).encode() + b"\n")

    def handle_beacon(self, data, source):
        beacon = json.loads(data)
        if "peer_id" not in beacon or "address" not in beacon or beacon["peer_id"] == self.id:
            return
        print("BEACON", *(f"{key}={value}" for key, value in beacon.items()), flush=True)
        if beacon["type"] == "leave" or self.id > beacon["peer_id"]:
            return
        if beacon["peer_id"] not in self.dialed:
            self.dialed.add(beacon["peer_id"])
            stream = socket.create_connection((source[0], beacon["port"]))
            self.buffers[stream] = b""
            self.send(stream, "join")
            self.send(stream, "join")

    def read(self, stream):
        data = stream.recv(65536)
        if not data:
            del self.buffers[stream]
            return
        *lines, self.buffers[stream] = (self.buffers[stream] + data).split(b"\n")
        for line in lines:
            message = json.loads(line)
            words = (f"{key}={value}" for key, value in message.items())
            print("MESSAGE", *words, flush=True)

    def handle_line(self, line):
        if line.startswith("/nick "):
            self.name = line[6:]
        elif line == "/announce":
            self.announce()
        else:
            for stream in self.buffers:
                self.send(stream, "chat", line)

    def run(self):
        self.announce()
        print("READY", self.port, flush=True)
        announced, typed = time.monotonic(), ""
        while True:
            sources = [self.listener, self.beacons, sys.stdin, *self.buffers]
            for source in select.select(sources, [], [], 1)[0]:
                if source is self.listener:
                    self.buffers[self.listener.accept()[0]] = b""
                elif source is self.beacons:
                    self.handle_beacon(*self.beacons.recvfrom(65536))
                elif source is sys.stdin:
                    read = os.read(sys.stdin.fileno(), 65536)
                    typed += read.decode()
                    *lines, typed = typed.split("\n")
                    if not read:
                        for stream in self.buffers:
                            self.send(stream, "leave")
                        return self.announce("leave")
                    for line in lines:
                        self.handle_line(line)
                elif source in self.buffers:
                    self.read(source)
            if time.monotonic() - announced > 5:
                announced = time.monotonic()
                self.announce()


Peer(*sys.argv[1:]).run()
