"""Sums what `nm --print-size --demangle` lists: by crate, and by module of p2pchat.

An instance of a foreign generic function for a type of ours counts as foreign. Text in constants has
no symbols, so the sums are below the size of the file.
"""
import collections
import re
import sys

LEAST = 1000    # bytes; the rest is one row
OWN = "p2pchat"
# Types whose methods are core's.
PRIMITIVE = {"bool", "char", "str", "usize", "isize", *(f"{kind}{bits}" for kind in "iu" for bits in (8, 16, 32, 64, 128))}


def part_of(name):
    """The crate of a symbol; of ours, with the layer and the module."""
    path = re.sub(r"^[<&(\[*]*(?:mut |const |dyn )*[<&(\[*]*", "", name)
    names = re.match(r"\w+(?:::\w+)*", path)
    if not names:
        return "others"
    names = names[0].split("::")
    if names[0] == OWN:
        return "::".join(names[:3] if len(names) > 3 else names[:2])
    return "core" if names[0] in PRIMITIVE else names[0]


def main():
    sums = collections.Counter()
    for text in sys.stdin:
        fields = text.split(None, 3)
        # Without a size, or zeros that the file does not have.
        if len(fields) == 4 and fields[2] not in "bB":
            sums[part_of(fields[3])] += int(fields[1], 16)
    own = sum(size for part, size in sums.items() if part.split("::")[0] == OWN)
    print(f"| {OWN} | {own} |")
    small = 0
    for part, size in sums.most_common():
        if size < LEAST:
            small += size
        else:
            print(f"| {part} | {size} |")
    print(f"| each below {LEAST} bytes | {small} |")
    print(f"| all | {sum(sums.values())} |")


if __name__ == "__main__":
    main()
