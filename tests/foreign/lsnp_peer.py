#!/usr/bin/env python3
"""A user of LSNP, as programs of several versions speak it: `lsnp_peer.py NAME KIND`.

KIND is `deaf` (the first version: it never binds the port of discovery), `echoing` (it answers every
discovery with one, also an answer) or `token` (it adds tokens, and revokes them when it leaves).

$PEER_HOST is its address on a network of 256, else it is on loopback.

It prints what it receives, one message a line, as `TYPE KEY=VALUE …`. Its stdin takes POST TEXT,
DM USER TEXT, PROFILE NAME STATUS, LIST, ANNOUNCE, and QUIT.
"""

import base64
import json
import os
import random
import select
import socket
import sys
import time

DISCOVERY_PORT = 50999
HOST = os.environ.get("PEER_HOST", "127.0.0.1")
NETWORK = "127.255.255" if HOST == "127.0.0.1" else HOST.rpartition(".")[0]
BROADCAST = (f"{NETWORK}.255", DISCOVERY_PORT)


def parse(data):
    """The fields of a message. An empty line ends it."""
    fields = {}
    for line in data.decode("utf-8", "replace").split("\n"):
        if not line:
            break
        key, _, value = line.partition(":")
        fields[key] = value
    return fields


class Peer:
    def __init__(self, name, kind):
        self.kind, self.user = kind, f"{name}@{HOST}"
        self.peers = {}
        self.socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        while True:
            try:
                self.port = random.randint(8000, 9999)
                self.socket.bind(("", self.port))
                break
            except OSError:
                continue
        self.sockets = [self.socket]
        if kind != "deaf":
            shared = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            shared.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            shared.bind(("", DISCOVERY_PORT))
            self.sockets.append(shared)

    def send(self, to, kind, sender, fields, scope=None):
        fields = {"TYPE": kind, sender: self.user, **fields}
        fields["TIMESTAMP"] = str(int(time.time()))
        fields["MESSAGE_ID"] = os.urandom(8).hex()
        if scope and self.kind == "token":
            fields["TOKEN"] = f"{self.user}|{int(time.time()) + 3600}|{scope}"
        text = "".join(f"{key}:{value}\n" for key, value in fields.items()) + "\n"
        self.socket.sendto(text.encode(), to)

    def announce(self, to=BROADCAST):
        self.send(to, "PEER_DISCOVERY", "USER_ID", {"PORT": self.port})

    def handle_message(self, data, source):
        fields = parse(data)
        kind = fields.get("TYPE")
        if fields.get("USER_ID") == self.user:
            return
        print(kind, *(f"{key}={value}" for key, value in fields.items()), flush=True)
        if kind == "PEER_DISCOVERY":
            address = (source[0], int(fields["PORT"]))
            is_new = fields["USER_ID"] not in self.peers
            self.peers[fields["USER_ID"]] = address
            if self.kind == "echoing" or is_new and self.kind == "token":
                self.announce(address)
        elif kind == "REVOKE" and self.kind == "token":
            self.peers.pop(fields["USER_ID"], None)
        elif kind == "PEER_LIST_REQUEST":
            names = json.dumps(["bob@10.0.0.3", *self.peers])
            self.send(source, "PEER_LIST_RESPONSE", "FROM", {"PEERS": names, "COUNT": 1})

    def handle_command(self, line):
        word, _, rest = line.partition(" ")
        everybody = list(self.peers.values())
        if word == "POST":
            for to in everybody:
                self.send(to, "POST", "USER_ID", {"CONTENT": rest}, "broadcast")
        elif word == "DM":
            user, _, text = rest.partition(" ")
            to = self.peers[user]
            self.send(to, "DM", "FROM", {"TO": user, "CONTENT": text}, "chat")
        elif word == "PROFILE":
            name, _, status = rest.partition(" ")
            profile = {"DISPLAY_NAME": name, "STATUS": status, "AVATAR_TYPE": "image/png"}
            profile["AVATAR_ENCODING"] = "base64"
            profile["AVATAR_DATA"] = base64.b64encode(b"a picture").decode()
            for to in everybody:
                self.send(to, "PROFILE", "USER_ID", profile)
        elif word == "LIST":
            for to in everybody:
                self.send(to, "PEER_LIST_REQUEST", "FROM", {})
        elif word == "ANNOUNCE":
            self.announce()
        elif word == "QUIT":
            if self.kind == "token":
                for to in everybody:
                    self.send(to, "REVOKE", "USER_ID", {}, "broadcast")
            return False
        return True

    def run(self):
        self.announce()
        print("READY", self.port, flush=True)
        typed = ""
        while True:
            readable, _, _ = select.select([*self.sockets, sys.stdin], [], [])
            for source in readable:
                if source is sys.stdin:
                    # A buffered reader would hide lines from `select`.
                    read = os.read(sys.stdin.fileno(), 65536)
                    typed += read.decode()
                    *lines, typed = typed.split("\n")
                    if not read or not all(map(self.handle_command, lines)):
                        return
                else:
                    self.handle_message(*source.recvfrom(65535))


Peer(*sys.argv[1:]).run()
