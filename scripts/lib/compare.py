#!/usr/bin/env python3
"""compare.py LOG NAME TRANSCRIPT…: checks that each transcript has NAME say the lines of LOG.

Every line must be there, once and in order. Prints a line for each transcript. Exit status 1 if
one differs.
"""
import re
import sys

# `2026-11-21T10:31:04.123Z #general bob~k7mq: Hey there!`
STAMP = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z #general "
# Lines that peers joined or left, which are no chat lines.
EVENT = re.compile(STAMP + r"\* \S+ (joined|left)$")
# What a transcript shows instead of control characters. TAB stays.
SHOWN = {code: 0x2400 + code for code in range(0x20) if code != 0x09}
UNSHOWN = [*range(0x7F, 0xA0), 0x2028, 0x2029, *range(0x202A, 0x202F), *range(0x2066, 0x206A)]
SHOWN.update({code: 0xFFFD for code in UNSHOWN})


def read_lines(path):
    """The lines of a file, ended by LF only; other line ends of Python are content."""
    with open(path, "rb") as file:
        return file.read().decode("utf-8", errors="replace").split("\n")[:-1]


def find_difference(said, transcript, name):
    """The first difference, as a sentence; None if there is none."""
    chat = re.compile(STAMP + re.escape(name) + r"~[a-z2-7]{4}: ")
    next_line = 0
    for number, text in enumerate(transcript, 1):
        if EVENT.match(text):
            continue
        head = chat.match(text)
        if not head:
            return f"line {number} is neither chat of {name} nor joined nor left: {text[:120]!r}"
        if next_line == len(said):
            return f"line {number} comes after the last line of the log: {text[:120]!r}"
        if text[head.end():] != said[next_line]:
            return (f"line {number} should be line {next_line + 1} of the log, "
                    f"{said[next_line][:120]!r}, but is {text[:120]!r}")
        next_line += 1
    if next_line < len(said):
        return f"it ends after {next_line} of {len(said)} lines"
    return None


def main():
    log, name, *transcripts = sys.argv[1:]
    said = [text.removesuffix("\r").translate(SHOWN) for text in read_lines(log)]
    status = 0
    for path in transcripts:
        difference = find_difference(said, read_lines(path), name)
        verdict = difference or f"all {len(said)} lines, each once, in order"
        print(f"{path.rsplit('/', 1)[-1]}: {verdict}")
        status = status or bool(difference)
    return status


if __name__ == "__main__":
    sys.exit(main())
