#!/usr/bin/env python3
"""compare.py LOG NAME TRANSCRIPT…: does each transcript hold every line of LOG, as NAME said it, once and in order?

Prints a line for each transcript; ends with 1 when one does not.
"""
import re
import sys

# `2026-11-21T10:31:04.123Z #general bob~k7mq: Hey there!`
STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z #general "
# Lines about the coming and going of peers, which are not what was said.
EVENT = re.compile(STAMP + r"\* \S+ (joined|left)$")
# What a transcript shows in the place of control characters; TAB stays.
SHOWN = {code: 0x2400 + code for code in range(0x20) if code != 0x09}
SHOWN.update({code: 0xFFFD for code in [*range(0x7F, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]})


def read_lines(path):
    """Lines end at LF alone; other characters that Python takes for line ends may stand within them."""
    with open(path, "rb") as file:
        return file.read().decode("utf-8", errors="replace").split("\n")[:-1]


def fault(said, transcript, name):
    """What is wrong first, in words; None when nothing is."""
    chat = re.compile(STAMP + re.escape(name) + r"~[a-z2-7]{4}: ")
    next_line = 0
    for number, text in enumerate(transcript, 1):
        if EVENT.match(text):
            continue
        head = chat.match(text)
        if not head:
            return f"line {number} of the transcript is neither said nor joined nor left: {text[:120]!r}"
        if next_line == len(said):
            return f"line {number} of the transcript is one more than was said: {text[:120]!r}"
        if text[head.end():] != said[next_line]:
            return f"line {number} of the transcript should be line {next_line + 1} of the log, {said[next_line][:120]!r}, but is {text[:120]!r}"
        next_line += 1
    if next_line < len(said):
        return f"it ends after {next_line} of {len(said)} lines"
    return None


def main():
    log, name, *transcripts = sys.argv[1:]
    said = [text.removesuffix("\r").translate(SHOWN) for text in read_lines(log)]
    status = 0
    for path in transcripts:
        wrong = fault(said, read_lines(path), name)
        print(f"{path.rsplit('/', 1)[-1]}: " + (wrong or f"all {len(said)} lines, each once, in order"))
        status = status or bool(wrong)
    return status


if __name__ == "__main__":
    sys.exit(main())
