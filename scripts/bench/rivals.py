"""The programs that are compared, each as the commands of its receivers and its sender. All run in one namespace."""
from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Callable


@dataclass
class Rival:
    name: str
    receiver: Callable[[int], list[str]]    # the command of receiver number i, counted from 1
    sender: Callable[[int], list[str]]      # the command of a sender to n receivers: it says what it reads on stdin
    service: list[str] | None = None        # what has to run beside them
    service_ready: str = ""                 # what that prints when it does
    sender_first: bool = False
    sender_ready: str = ""                  # what the sender prints when it knows the receivers
    ready_per_peer: bool = False            # once for each of them
    first: list[str] | None = None          # start-up: the one that is there already
    second: list[str] | None = None         # and the one whose exec is timed
    met: str = ""                           # what each of them prints when it knows the other
    oneshot: list[str] | None = None        # says one line from stdin, and ends


def p2pchat():
    program, state = os.environ["P2PCHAT"], os.environ["BENCH_STATE"]

    def directory(name):
        return ["--dir", os.path.join(state, name)]

    def receiver(number):
        return [program, "listen", "-u", f"r{number}", *directory(f"r{number}")]

    def sender(_):
        return [program, "-u", "s", "--no-echo", "-W", "60", *directory("s")]

    return Rival(
        name="p2pchat",
        receiver=receiver, sender=sender,
        sender_ready=r" \* r\d+~\w+ joined$", ready_per_peer=True,
        first=receiver(1), second=sender(1), met=r" \* \S+ joined$",
        oneshot=[program, "send", "-u", "once", *directory("once")])


def mosquitto():
    at = ["-h", "127.0.0.1", "-p", "18830", "-t", "x", "-q", "0"]
    return Rival(
        name="mosquitto",
        # Without a configuration file it listens on loopback only, and lets everyone in.
        service=["mosquitto", "-p", "18830"], service_ready="running",
        receiver=lambda _: ["mosquitto_sub", *at],
        sender=lambda _: ["mosquitto_pub", "-l", *at],
        second=["stdbuf", "-oL", "mosquitto_sub", "-d", *at], met="SUBACK",
        oneshot=["mosquitto_pub", "-s", *at])


def raw():
    program, address = os.environ["RAWPIPE"], "127.0.0.1:17001"
    return Rival(
        name="raw",
        receiver=lambda _: [program, "recv", address],
        sender=lambda receivers: [program, "send", address, str(receivers)],
        sender_first=True, sender_ready="^ready",
        first=[program, "send", address, "1"], second=[program, "recv", address], met="^ready")


ALL = {make.__name__: make for make in (p2pchat, mosquitto, raw)}
