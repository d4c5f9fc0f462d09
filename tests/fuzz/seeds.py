#!/usr/bin/env python3
"""Writes the seeds of a fuzz target into a directory: `seeds.py TARGET DIRECTORY`.

The seeds are the bytes that tests/vectors pins, in the form that the target reads.
"""

import pathlib
import sys

ID = "rkeohxlubhyzl7ks3mwtzos5olfgocn7dwkbeg7toseadnapn5oa"
VECTORS = pathlib.Path(__file__).resolve().parent.parent / "vectors"


def fields(*prefixes):
    """The values of the fields whose names begin so, in all files of vectors."""
    for file in sorted(VECTORS.glob("*.txt")):
        for line in file.read_text().splitlines():
            name, separator, value = line.partition(" = ")
            if separator and not line.startswith("#") and name.startswith(prefixes or ""):
                yield value.encode()


def files(*names):
    """The content of the files of these names, in the pinned state directories."""
    for directory in ("state", "earlier_state", "damaged_state"):
        for name in names:
            for file in sorted((VECTORS / directory).rglob(name)):
                yield file.read_bytes()


def session(direction):
    """The lines that one side sends in the pinned session on control.sock."""
    for line in (VECTORS / "control_session").read_text().splitlines():
        if line.startswith(direction):
            # The tests put letters in the place of what differs from run to run.
            yield line[2:].replace('"ID"', f'"{ID}"').replace('"I"', '"0123456789abcdef"').encode()


def with_modes(modes, seeds):
    """Each seed behind each of the bytes that choose what the target does."""
    for seed in seeds:
        for mode in modes:
            yield bytes([mode]) + seed


def from_hex(seeds):
    return (bytes.fromhex(seed.decode()) for seed in seeds)


def heads(*prefixes):
    """Heads of HTTP, whose line ends the files show as arrows."""
    return (head.replace("↵".encode(), b"\r\n") for head in fields(*prefixes))


def masked(text):
    """A text as a client of WebSocket sends it."""
    length = bytes([0x80 | 126]) + len(text).to_bytes(2) if len(text) > 125 else bytes([0x80 | len(text)])
    return b"\x81" + length + bytes(4) + text


def streams(files="noise_*", *sides):
    """What each side of each pinned stream sends, as one piece."""
    for file in sorted(VECTORS.glob(f"{files}.txt")):
        for side in sides or (b"dialer_sends_", b"acceptor_sends_"):
            lines = file.read_bytes().splitlines()
            sent = (line.split(b" = ")[1] for line in lines if line.startswith(side))
            yield b"".join(from_hex(sent))


def batch_lines():
    for segment in files("*.ndjson"):
        yield from segment.splitlines()


OPTIONS = b"""# what a user may write
-r ops
--room=#general
--username "a name"
--peer 192.0.2.1:9999
--secret-file ~/lan.key
-q
"""

SEEDS = {
    "batch": lambda: [*fields("json"), *batch_lines()],
    "beacon": lambda: fields("datagram"),
    "code": lambda: [*fields("code"), b"@" + ID.encode(), b"[fe80::1%eth0]:9999", b"box.example:1", b"192.0.2.1"],
    "control_request": lambda: [*session(">"), *session("<")],
    "dht": lambda: [*fields("value"), b"%s@10.0.0.7:9999,[2001:db8::7]:1" % ID.encode()],
    "frame": lambda: with_modes((1, 7, 255), from_hex(fields("frame"))),
    "gateway": lambda: from_hex(
        fields("pcp_answer", "pcp_refusal", "nat_pmp_a", "nat_pmp_refusal")
    ),
    "handshake": lambda: with_modes((0, 1, 2, 3, 252, 253, 254, 255), streams()),
    "invite": lambda: [
        *with_modes((0, 1, 254, 255), streams("invite", b"newcomer_sends_", b"inviter_sends_")),
        *with_modes((0,), [*fields("newcomer_message", "inviter_message", "announcement")]),
        b"\0007-lusab-babad@10.0.0.7:9999",
    ],
    "grenache": lambda: fields("announced", "found", "refused", "no_nodes"),
    "json_stdin": lambda: session(">"),
    "known_peers": lambda: files("known_peers"),
    "lsnp": lambda: (seed.replace(b"|", b"\n") + b"\n\n" for seed in fields() if b"TYPE:" in seed),
    "mdns": lambda: [field.partition(b"=")[2] for field in fields("open_property", "closed_property")],
    "message": lambda: fields("json"),
    "options": lambda: [OPTIONS],
    "sealed": lambda: with_modes((0, 1), [b"one", b"one\ntwo", *from_hex(fields("plaintext"))]),
    "segment": lambda: files("*.ndjson"),
    "upnp": lambda: [
        *(text.replace("↵".encode(), b"\r\n") for text in fields("search_answer")),
        *fields("description", "address_answer", "refusal"),
    ],
    "websocket": lambda: [
        *with_modes((0, 1, 252, 253), heads("websocket_ws_request", "websocket_answer")),
        *with_modes((2, 254), from_hex(fields("frame_hello", "frame_ping", "frame_pong"))),
        *with_modes((254,), map(masked, fields("rpc_"))),
    ],
}


def main():
    target, directory = sys.argv[1], pathlib.Path(sys.argv[2])
    directory.mkdir(parents=True)
    seeds = list(SEEDS[target]())
    assert seeds, target
    for number, seed in enumerate(seeds):
        (directory / f"{number:04}").write_bytes(seed)


main()
