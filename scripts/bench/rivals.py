"""The programs that are compared, each as the commands of its receivers and its sender."""
from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass, replace
from typing import Callable


@dataclass
class Rival:
    name: str
    receiver: Callable[[int], list[str]]    # the command of receiver number i, counted from 1
    sender: Callable[[int], list[str]]      # the command that sends stdin to n receivers
    service: list[str] | None = None        # a program that must run first
    service_ready: str = ""                 # what it prints when it accepts clients
    sender_first: bool = False
    sender_ready: str = ""                  # what the sender prints when it is linked
    ready_per_peer: bool = False            # whether it prints that once per receiver
    first: list[str] | None = None          # startup: the program that runs already
    second: list[str] | None = None         # startup: the program whose exec is timed
    met: str = ""                           # what each of both prints when it is linked
    oneshot: list[str] | None = None        # sends one line of stdin, and ends


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


def attached_sender():
    """p2pchat, whose sender acts through a program that runs already."""
    direct = p2pchat()
    sender = direct.sender(1)
    at = sender[sender.index("--dir"):]
    program = sender[0]
    return Rival(
        name="attached_sender",
        receiver=direct.receiver,
        service=[program, "listen", "-u", "s", "--no-echo", *at], service_ready="ready as",
        sender=lambda _: [program, "send", "-W", "60", *at],
        oneshot=[program, "send", *at])


def attached_receiver():
    """p2pchat, whose receiver acts through a program that runs already."""
    direct = p2pchat()
    return Rival(
        name="attached_receiver",
        service=direct.receiver(1), service_ready="ready as",
        receiver=direct.receiver, sender=direct.sender,
        sender_ready=direct.sender_ready, ready_per_peer=True)


def mosquitto():
    at = ["-h", "127.0.0.1", "-p", "18830", "-t", "x", "-q", "0"]
    return Rival(
        name="mosquitto",
        # Without a configuration file it listens on loopback only, and accepts everyone.
        service=["mosquitto", "-p", "18830"], service_ready="running",
        receiver=lambda _: ["mosquitto_sub", *at],
        sender=lambda _: ["mosquitto_pub", "-l", *at],
        second=["stdbuf", "-oL", "mosquitto_sub", "-d", *at], met="SUBACK",
        oneshot=["mosquitto_pub", "-s", *at])


def mosquitto_tls(session=()):
    """As p2pchat does it: encrypted, and each line acknowledged."""
    folder = os.environ["BENCH_STATE"]
    key, certificate = os.path.join(folder, "broker.key"), os.path.join(folder, "broker.crt")
    settings = os.path.join(folder, "broker.conf")
    if not os.path.exists(settings):
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
             "-subj", "/CN=broker", "-addext", "subjectAltName=IP:127.0.0.1", "-days", "2",
             "-keyout", key, "-out", certificate], check=True, capture_output=True)
        with open(settings, "w") as file:
            # The folder is root's, and the broker would give up root before it reads the key.
            file.write(f"user root\nlistener 18831 127.0.0.1\nallow_anonymous true\nmax_queued_messages 0\n"
                       f"certfile {certificate}\nkeyfile {key}\n")
    at = ["-h", "127.0.0.1", "-p", "18831", "-t", "x", "-q", "1", "--cafile", certificate]
    return Rival(
        name="mosquitto_tls",
        service=["mosquitto", "-c", settings, "-v"], service_ready="running",
        receiver=lambda number: ["mosquitto_sub", *at, *(["-i", f"r{number}", *session] if session else [])],
        sender=lambda _: ["mosquitto_pub", "-l", *at])


def mosquitto_session():
    """The same, and what a receiver misses waits for it at the broker."""
    return replace(mosquitto_tls(session=["-c"]), name="mosquitto_session")


def yard():
    """p2pchat's work for a line as blocking code."""
    program, state, address = os.environ["YARD"], os.environ["BENCH_STATE"], "127.0.0.1:17002"
    return Rival(
        name="yard",
        receiver=lambda _: [program, "recv", address, os.path.join(state, "yard-receiver")],
        sender=lambda _: [program, "send", address, os.path.join(state, "yard-sender")],
        sender_first=True, sender_ready="^ready")


def raw():
    program, address = os.environ["RAWPIPE"], "127.0.0.1:17001"
    return Rival(
        name="raw",
        receiver=lambda _: [program, "recv", address],
        sender=lambda receivers: [program, "send", address, str(receivers)],
        sender_first=True, sender_ready="^ready",
        first=[program, "send", address, "1"], second=[program, "recv", address], met="^ready")


ALL = {make.__name__: make for make in (
    p2pchat, attached_sender, attached_receiver, mosquitto, mosquitto_tls, mosquitto_session, yard, raw)}
