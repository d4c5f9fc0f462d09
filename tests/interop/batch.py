"""Section 10 of src/wire/PROTOCOL.md: batches, and what makes one valid.

All receivers must accept the same ones, so each rule of the page is here.
"""

import json
import re
import unicodedata
from datetime import datetime

from nacl.signing import VerifyKey

from wire import (
    Violation,
    base64url,
    compact,
    domain_hash,
    from_base64url,
    hex64,
    public_key_of,
    random_u64,
    u64,
)

MAX_SAFE_INTEGER = 2**53 - 1
BATCH_LINES_MAX = 4096
LINE_MAX_BYTES = 16384
SEALED_MAX_BYTES = 87381
BATCH_MAX_BYTES, DIRECT_BATCH_MAX_BYTES = 524288, 102400
TIME = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})T([0-9]{2}):([0-9]{2}):([0-9]{2})\.[0-9]{3}Z")
INVISIBLE = re.compile(
    "[\u00ad\u034f\u061c\u115f-\u1160\u17b4-\u17b5\u180b-\u180f\u200b-\u200f\u202a-\u202e"
    "\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\U0001bca0-\U0001bca3"
    "\U0001d173-\U0001d17a\U000e0000-\U000e0fff]"
)


def is_name(text, max_chars):
    """Section 4."""
    is_printable = all(not c.isspace() and unicodedata.category(c) != "Cc" for c in text)
    is_plain = is_printable and not INVISIBLE.search(text) and not re.search("[~@#:/*]", text)
    return is_plain and 1 <= len(text) <= max_chars and text[0] != "-"


def is_target(text):
    if text[:1] == "@":
        return bool(public_key_of(text[1:]))
    return text[:1] == "#" and is_name(text[1:], 50) and text == text.lower()


def is_time(text):
    match = TIME.fullmatch(text)
    if not match:
        return False
    year, month, day, hour, minute, second = map(int, match.groups())
    try:
        # Python has no year 0, which has as many days as the year 2000.
        return bool(datetime(year or 2000, month, day, hour, minute, second))
    except ValueError:
        return False


def number(least, most):
    return lambda value: type(value) is int and least <= value <= most


def text(check):
    return lambda value: isinstance(value, str) and "\n" not in value and bool(check(value))


def hex_digits(count):
    return text(lambda value: re.fullmatch(f"[0-9a-f]{{{count}}}", value))


def is_republishes(value):
    fields = {"incarnation": hex_digits(16), "sequence": CHECKS["sequence"], "hash": hex_digits(64)}
    return isinstance(value, dict) and all(fields[f](value.get(f)) for f in fields)


CHECKS = {
    "type": lambda value: value == "chat",
    "sender": text(public_key_of),
    "username": lambda value: isinstance(value, str),
    "target": text(is_target),
    "incarnation": hex_digits(16),
    "sequence": number(1, MAX_SAFE_INTEGER - BATCH_LINES_MAX),
    "lamport": number(1, MAX_SAFE_INTEGER - BATCH_LINES_MAX),
    "timestamp": text(is_time),
    "run": hex_digits(16),
    "uptime": number(0, MAX_SAFE_INTEGER),
    "signature": text(lambda value: len(from_base64url(value)) == 64),
}
OPTIONAL_CHECKS = {
    "count": number(1, BATCH_LINES_MAX),
    "previous": hex_digits(64),
    "action": lambda value: isinstance(value, bool),
    "republishes": is_republishes,
    "content": lambda value: isinstance(value, (str, list)),
    "salt": hex_digits(16),
    "content_hash": hex_digits(64),
}
MAY_HAVE_ESCAPES = {"username", "target", "content"}
OF_STORES = {"received", "late", "before", "backfill", "plain"}


def refuse_constant(name):
    raise ValueError(name)  # NaN and Infinity are no JSON


def parse_int(digits):
    # Numbers of unknown fields may be longer than Python's int() takes; -0 is no number here.
    return int(digits) if len(digits) <= 17 and digits != "-0" else float(digits)


def is_scalar(value):
    """Whether no lone surrogate is in the text."""
    return not any("\ud800" <= character <= "\udfff" for character in value)


DECODER = json.JSONDecoder(parse_int=parse_int, parse_constant=refuse_constant)
SPACE = re.compile(r"[ \t\r]*")


def members_of(text):
    """The members of the JSON object: name, value, and the offsets of comma, value and end."""

    def skip(at):
        return SPACE.match(text, at).end()

    members, at = [], 0
    while text[at] == ("," if members else "{"):
        name, colon = DECODER.raw_decode(text, skip(at + 1))
        colon = skip(colon)
        if not isinstance(name, str) or not is_scalar(name) or text[colon] != ":":
            raise Violation("batch: layout")
        start = skip(colon + 1)
        value, end = DECODER.raw_decode(text, start)
        known = name in CHECKS or name in OPTIONAL_CHECKS
        if known and name not in MAY_HAVE_ESCAPES and "\\" in text[start:end]:
            raise Violation(f"batch: {name} with escapes")
        members.append((name, value, at, start, end))
        at = skip(end)
    if text[at:] != "}":
        raise Violation("batch: layout")
    return members


class Batch:
    """Lines of one log under one signature: the exact bytes, and what they say."""

    def __init__(self, data):
        self.data = data
        try:
            self.parse(data.decode())
        except (ValueError, KeyError, IndexError, RecursionError) as error:
            raise Violation(f"batch: {error!r}") from None

    def parse(self, text):
        members = members_of(text)
        fields = {name: value for name, value, *_ in members}
        checks = CHECKS | {
            name: OPTIONAL_CHECKS[name] for name in OPTIONAL_CHECKS if name in fields
        }
        for name, check in checks.items():
            if not check(fields[name]) or [name for name, *_ in members].count(name) > 1:
                raise Violation(f"batch: {name}")
        if "\n" in text or OF_STORES & fields.keys() or not is_scalar(fields["username"]):
            raise Violation("batch: layout")
        self.author, self.target = fields["sender"], fields["target"]
        self.incarnation, self.lamport = fields["incarnation"], fields["lamport"]
        self.first, self.count = fields["sequence"], fields.get("count", 1)
        self.last = self.first + self.count - 1
        self.previous, self.signature = fields.get("previous"), fields["signature"]
        self.content = fields.get("content")
        self.is_direct = self.target[0] == "@"
        if (self.previous is None) != (self.first == 1):
            raise Violation("batch: previous")
        self.parse_tail(text, members, fields)
        if self.content is not None:
            self.check_lines()

    def parse_tail(self, text, members, fields):
        """The tail has one layout, so it is built anew from the values and compared."""
        name, _, comma, start, end = next(m for m in members if m[0] in ("content", "content_hash"))
        content, self.header = text[start:end], text[:comma].encode()
        if name == "content":
            salt = fields["salt"]
            tail = f',"content":{content},"salt":"{salt}"'
            self.content_hash = domain_hash("content", u64(int(salt, 16)), content.encode())
        else:
            tail = f',"content_hash":"{fields[name]}"'
            self.content_hash = bytes.fromhex(fields[name])
        if text[comma:] != f'{tail},"signature":"{self.signature}"}}':
            raise Violation("batch: layout")

    def check_lines(self):
        lines, most = self.lines(), SEALED_MAX_BYTES if self.is_direct else LINE_MAX_BYTES
        is_text = all(isinstance(line, str) and is_scalar(line) for line in lines)
        if not is_text or any("\n" in line or len(line.encode()) > most for line in lines):
            raise Violation("batch: a line")
        # A direct message is one string; only its recipient can count the lines.
        if len(lines) != (1 if self.is_direct else self.count):
            raise Violation("batch: count")
        if len(self.data) > (DIRECT_BATCH_MAX_BYTES if self.is_direct else BATCH_MAX_BYTES):
            raise Violation("batch: too long")

    def lines(self):
        return self.content if isinstance(self.content, list) else [self.content]

    def hash(self, network):
        return domain_hash("batch", network.tag, self.header, self.content_hash)

    def verify(self, network):
        """Raises BadSignatureError, unless the author signed this batch for this network."""
        key = VerifyKey(public_key_of(self.author))
        key.verify(self.hash(network), from_base64url(self.signature))

    def withhold(self):
        """The bytes of this batch without its content: hash and signature stay valid."""
        tail = f',"content_hash":"{self.content_hash.hex()}","signature":"{self.signature}"}}'
        return self.header + tail.encode()


def sign_batch(identity, network, header_fields, content, salt=None):
    """The header's fields, and the content as a JSON value, in the one layout of a batch."""
    header, content = compact(header_fields)[:-1].encode(), compact(content).encode()
    salt = random_u64() if salt is None else salt
    content_hash = domain_hash("content", u64(salt), content)
    batch_hash = domain_hash("batch", network.tag, header, content_hash)
    signature = base64url(identity.sign(batch_hash))
    tail = f',"salt":"{hex64(salt)}","signature":"{signature}"}}'
    return Batch(header + b',"content":' + content + tail.encode())
