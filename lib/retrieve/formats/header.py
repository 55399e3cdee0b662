"""Headers of a tar stream: what a block says of the member after it.

The formats are those of POSIX.1-2017 (ustar and pax) and GNU tar's manual, "Basic Tar Format".
"""

from __future__ import annotations

import re
from struct import Struct
from typing import NamedTuple
from zlib import adler32

BLOCK = 512
ZEROS = bytes(BLOCK)
REGULAR, DIRECTORY, HARD_LINK, SYMBOLIC_LINK = "file", "directory", "hard link", "symbolic link"
_KINDS = {
    b"0": REGULAR, b"\0": REGULAR, b"7": REGULAR, b"S": REGULAR, b"1": HARD_LINK, b"2": SYMBOLIC_LINK,
    b"3": "character device", b"4": "block device", b"5": DIRECTORY, b"D": DIRECTORY, b"6": "named pipe",
    b"M": "part of a file that begins on another volume",
}  # fmt: skip
#: name, size, mtime, type, target, magic, prefix
_HEADER = Struct("100s24x12s12s8xc100s6s82x155s12x")
#: A pax header with a path alone, as most are.
_ONLY_PATH = re.compile(rb"([1-9]\d{0,6}) path=([^\n]+)\n\Z").match
#: The records of a pax header that matter here; the others may hold anything.
_RECORDS = re.compile(
    rb"path|linkpath|size|mtime|GNU\.sparse\.(major|size|realsize|name|map|offset|numbytes)"
).fullmatch


class TarError(Exception):
    """The stream is not a whole, regular tar archive; says where and why."""


class Member(NamedTuple):
    """A member of an archive as its headers describe it; nothing in it is to be trusted.

    Attributes
    ----------
    name, target
        Path, and where a link points to; bytes that are not UTF-8 are escaped as surrogates (PEP 383).
    kind
        `REGULAR`, `DIRECTORY`, `HARD_LINK`, `SYMBOLIC_LINK`, or the name of another kind.
    bytes
        Length of its content; of a sparse file with its holes.
    mtime_ns
        Modification time in nanoseconds since 1970.
    """

    name: str
    target: str
    kind: str
    bytes: int
    mtime_ns: int


def is_header(block: bytes) -> bool:
    """Whether a block is the header of a member, by its checksum."""
    try:
        if len(block) == BLOCK and block != ZEROS:
            check_sum(block, block[148:156])
            return True
    except TarError:
        pass
    return False


def sum_of(header: bytes) -> int:
    """Sum of a header's bytes, with spaces for its checksum.

    The lower half of Adler-32 is 1 plus the sum of the bytes modulo 65521 (RFC 1950), which 256 bytes cannot reach: so
    it counts the sum exactly, and ten times faster than `sum`.
    """
    halves = (adler32(header[:256]) & 0xFFFF) + (adler32(header[256:]) & 0xFFFF)
    return halves - (adler32(header[148:156]) & 0xFFFF) - 1 + 8 * 32


def check_sum(header: bytes, field: bytes) -> None:
    """Compare the header's checksum, counted with unsigned bytes or, as some old writers do, signed ones."""
    expected = number(field, "checksum")
    unsigned = sum_of(header)
    if expected != unsigned and expected != unsigned - 256 * sum(byte > 127 for byte in header[:148] + header[156:]):
        raise TarError("a header whose checksum is wrong")


def number(field: bytes, what: str) -> int:
    """Read an octal number, or GNU's base 256 for large ones."""
    if field[0] & 0x80:
        value = int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
        if field[0] & 0x40:
            value -= 1 << (8 * len(field) - 1)
    else:
        digits = field.partition(b"\0")[0].strip(b" ")
        if digits.strip(b"01234567"):
            raise TarError(f"a header whose {what} is no number")
        value = int(digits or b"0", 8)
    if value < 0 and what == "size":
        raise TarError("a member of negative size")
    return value


def records(text: bytes) -> dict[str, str]:
    """Read the records of a pax header, each ``LENGTH KEY=VALUE`` and a line feed; give those that matter here."""
    found = {}
    spans = []
    at = 0
    only_path = _ONLY_PATH(text)
    if only_path and int(only_path[1]) == len(text):
        return {"path": text_of(only_path[2])}
    while at < len(text):
        space = text.find(b" ", at, at + 10)
        digits = text[at:space]
        if space < 0 or not digits.isdigit():
            raise TarError("a pax header that is malformed")
        end = at + int(digits)
        key, equals, value = text[space + 1 : end].partition(b"=")
        if end > len(text) or not equals or not key or not value.endswith(b"\n"):
            raise TarError("a pax header that is malformed")
        if key in (b"GNU.sparse.offset", b"GNU.sparse.numbytes"):  # the only ones that come several times
            spans.append(text_of(value[:-1]))
        elif _RECORDS(key):
            found[text_of(key)] = text_of(value[:-1])
        at = end
    return found | {"GNU.sparse.map": ",".join(spans)} if spans else found


def describe(header: bytes, pax: dict[str, str], long_name: str | None, long_target: str | None) -> Member:
    """Put a member together from its header, its pax records, and the long names that came before it."""
    raw_name, raw_size, date, kind_byte, raw_target, magic, raw_prefix = _HEADER.unpack(header)
    size = number(raw_size, "size")
    name = long_name or text_of(raw_name.partition(b"\0")[0])
    if magic == b"ustar\0" and raw_prefix[0] and not long_name:
        name = text_of(raw_prefix.partition(b"\0")[0]) + "/" + name
    target = long_target or (text_of(raw_target.partition(b"\0")[0]) if raw_target[0] else "")
    # A record without a value stands for the header's own.
    name = pax.get("GNU.sparse.name") or pax.get("path") or name
    target = pax.get("linkpath") or target
    size = decimal(pax["size"]) if pax.get("size") else size
    mtime_ns = _decimal_ns(pax["mtime"]) if pax.get("mtime") else number(date, "date") * 1_000_000_000
    if not -(1 << 63) <= mtime_ns // 1_000_000_000 < 1 << 63:
        raise TarError(f"'{name}' has an impossible date")
    kind = _KINDS.get(kind_byte, "member of an unknown kind")
    if kind == REGULAR and name.endswith("/"):
        kind = DIRECTORY  # as writers did before there was a type for it
    return Member(name, target, kind, size, mtime_ns)


def decimal(text: str) -> int:
    """Read a number of a pax header."""
    if not text.isascii() or not text.isdigit() or len(text) > 20:
        raise TarError("a pax header with a bad number")
    return int(text)


def _decimal_ns(text: str) -> int:
    digits = text.removeprefix("-")
    whole, _, fraction = digits.partition(".")
    value = decimal(whole) * 1_000_000_000 + decimal(f"{fraction:0<9.9}")
    return -value if text.startswith("-") else value


def text_of(name: bytes) -> str:
    """Read a name, whose bytes may be anything."""
    return name.decode("utf-8", "surrogateescape")
