"""A strict reader of tar streams: what is not certainly a member, or certainly the end, is an error.

`tarfile` takes a damaged header in the middle of an archive for its end, so that members would vanish without a word.
Here each header's checksum counts, sizes are what the stream holds, and after the end come only zeros.

The formats are those of POSIX.1-2017 (ustar and pax) and GNU tar's manual, "Basic Tar Format".
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from struct import Struct
from typing import NamedTuple
from zlib import adler32

_BLOCK = 512
_ZEROS = bytes(_BLOCK)
#: Extended headers and long names that are longer than this are no honest ones, in bytes.
_LONGEST_NAME = 1 << 20
#: A member up to this size comes in one piece, in bytes.
WHOLE = 4 << 20

REGULAR, DIRECTORY, HARD_LINK, SYMBOLIC_LINK = "file", "directory", "hard link", "symbolic link"
_SPARSE = "sparse file"
_KINDS = {
    b"0": REGULAR, b"\0": REGULAR, b"7": REGULAR, b"1": HARD_LINK, b"2": SYMBOLIC_LINK, b"3": "character device",
    b"4": "block device", b"5": DIRECTORY, b"6": "named pipe", b"S": _SPARSE,
}  # fmt: skip
#: name, size, mtime, type, target, magic, prefix
_HEADER = Struct("100s24x12s12s8xc100s6s82x155s12x")
#: A header as most are, of a file, a directory or a long name, without a prefix: size, mtime, checksum, type.
_USUAL = re.compile(rb"(?s)[^\0].{123}([0-7]{11})[\0 ]([0-7]{11})[\0 ]([0-7]{6})\0 ([05xL])\0.{187}\0").match


_ONLY_PATH = re.compile(rb"([1-9]\d{0,6}) path=([^\n]+)\n\Z").match


class TarError(Exception):
    """The stream is not a whole, regular tar archive; says where and why."""


class Member(NamedTuple):
    """A member of an archive as its headers describe it; nothing in it is to be trusted.

    Attributes
    ----------
    name, target
        Path, and where a link points to.
    kind
        `REGULAR`, `DIRECTORY`, `HARD_LINK`, `SYMBOLIC_LINK`, or the name of another kind.
    bytes
        Length of its content.
    mtime_ns
        Modification time in nanoseconds since 1970.
    """

    name: str
    target: str
    kind: str
    bytes: int
    mtime_ns: int


class TarStream:
    """Iterate over the members of a tar stream; `content` gives that of the member that came last.

    Parameters
    ----------
    pieces
        The stream, cut anywhere.
    """

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._buffer = b""
        self._at = 0
        self._left = 0
        self._padding = 0

    def __iter__(self) -> Iterator[Member]:
        """Yield each member; afterwards the stream was read, and found well-formed, to its very end."""
        pax_always: dict[str, str] = {}
        pax: dict[str, str] = {}
        long_name = long_target = None
        while True:
            if self._left or self._padding:
                for _ in self.content():
                    pass
            header = self._read(_BLOCK)
            usual = _USUAL(header)
            if usual:
                size, date, checksum, kind = usual.groups()
                if int(checksum, 8) != _sum(header):
                    _check_sum(header, header[148:156])
            elif header == _ZEROS:
                if pax or long_name or long_target:
                    raise TarError("an extended header without a member")
                self._read_end()
                return
            else:
                _check_sum(header, header[148:156])
                size, kind = header[124:136], header[156:157]
            if kind in b"xgLK":
                text = self._extended(int(size, 8) if usual else _number(size, "size"))
                if kind == b"x":
                    pax = _pax(text)
                elif kind == b"g":
                    pax_always |= _pax(text)
                elif kind == b"L":
                    long_name = _text(text.rstrip(b"\0"))
                else:
                    long_target = _text(text.rstrip(b"\0"))
                continue
            if usual and not (pax_always or long_target or pax.keys() - {"path"}):
                name = pax.get("path") or long_name or _text(header[:100].partition(b"\0")[0])
                kind_ = DIRECTORY if kind == b"5" or name.endswith("/") else REGULAR
                member = Member(name, "", kind_, int(size, 8), int(date, 8) * 1_000_000_000)
            else:
                member = _member(header, {**pax_always, **pax}, long_name, long_target)
            pax, long_name, long_target = {}, None, None
            # Only what has content is followed by blocks of it; some writers give links and directories a size.
            self._left = member.bytes if member.kind in (REGULAR, _SPARSE) else 0
            self._padding = -self._left % _BLOCK
            yield member

    def whole(self) -> bytes | None:
        """Content of the present member; None if it is longer than `WHOLE`."""
        size = self._left
        if size > WHOLE:
            return None
        self._left = 0
        whole = self._read(size, "it ends within a member") if size else b""
        if self._padding:
            self._read(self._padding)
            self._padding = 0
        return whole

    def content(self) -> Iterator[bytes]:
        """Yield the content of the present member in pieces."""
        while self._left:
            piece = self._some(self._left)
            if not piece:
                raise TarError("it ends within a member")
            self._left -= len(piece)
            yield piece
        if self._padding:
            self._read(self._padding)
            self._padding = 0

    def _extended(self, size: int) -> bytes:
        if size > _LONGEST_NAME:
            raise TarError(f"an extended header of {size} bytes")
        text = self._read(size)
        self._read(-size % _BLOCK)
        return text

    def _read(self, size: int, problem: str = "it ends within a block") -> bytes:
        start = self._at
        end = start + size
        if end <= len(self._buffer):
            self._at = end
            return self._buffer[start:end]
        parts = []
        left = size
        while left:
            part = self._some(left)
            if not part:
                raise TarError(problem if parts or size != _BLOCK else "it ends without an end mark")
            parts.append(part)
            left -= len(part)
        return b"".join(parts)

    def _some(self, most: int) -> bytes:
        """Read what there is, up to `most` bytes; nothing at the end of the stream only."""
        while self._at == len(self._buffer):
            self._buffer, self._at = next(self._pieces, None), 0
            if self._buffer is None:
                self._buffer = b""
                return b""
        start = self._at
        self._at = min(start + most, len(self._buffer))
        return self._buffer[start : self._at]

    def _read_end(self) -> None:
        """Read what follows the first block of zeros: another one, and padding of zeros."""
        count = 0
        while rest := self._some(WHOLE):
            count += len(rest)
            if rest.count(0) != len(rest):
                raise TarError("something follows its end mark")
        if count < _BLOCK:
            raise TarError("its end mark is cut")
        if count % _BLOCK:
            raise TarError("it ends within a block")


def _sum(header: bytes) -> int:
    """Sum of a header's bytes, with spaces for its checksum.

    The lower half of Adler-32 is 1 plus the sum of the bytes modulo 65521 (RFC 1950), which 256 bytes cannot reach: so
    it counts the sum exactly, and ten times faster than `sum`.
    """
    halves = (adler32(header[:256]) & 0xFFFF) + (adler32(header[256:]) & 0xFFFF)
    return halves - (adler32(header[148:156]) & 0xFFFF) - 1 + 8 * 32


def _check_sum(header: bytes, field: bytes) -> None:
    """Compare the header's checksum, counted with unsigned bytes or, as some old writers do, signed ones."""
    expected = _number(field, "checksum")
    unsigned = _sum(header)
    if expected != unsigned and expected != unsigned - 256 * sum(byte > 127 for byte in header[:148] + header[156:]):
        raise TarError("a header whose checksum is wrong")


def _number(field: bytes, what: str) -> int:
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


def _pax(text: bytes) -> dict[str, str]:
    """Read the records of a pax header, each ``LENGTH KEY=VALUE`` and a line feed."""
    records = {}
    at = 0
    only_path = _ONLY_PATH(text)
    if only_path and int(only_path[1]) == len(text):
        return {"path": _text(only_path[2])}
    while at < len(text):
        space = text.find(b" ", at, at + 10)
        digits = text[at:space]
        if space < 0 or not digits.isdigit():
            raise TarError("a pax header that is malformed")
        end = at + int(digits)
        key, equals, value = text[space + 1 : end].partition(b"=")
        if end > len(text) or not equals or not key or not value.endswith(b"\n"):
            raise TarError("a pax header that is malformed")
        records[_text(key)] = _text(value[:-1])
        at = end
    return records


def _member(header: bytes, pax: dict[str, str], long_name: str | None, long_target: str | None) -> Member:
    raw_name, raw_size, date, kind_byte, raw_target, magic, raw_prefix = _HEADER.unpack(header)
    size = _number(raw_size, "size")
    name = long_name or _text(raw_name.partition(b"\0")[0])
    if magic == b"ustar\0" and raw_prefix[0] and not long_name:
        name = _text(raw_prefix.partition(b"\0")[0]) + "/" + name
    target = long_target or (_text(raw_target.partition(b"\0")[0]) if raw_target[0] else "")
    if pax:
        if any(key.startswith("GNU.sparse") for key in pax):
            raise TarError(f"'{name}' is a {_SPARSE}")
        name, target = pax.get("path") or name, pax.get("linkpath") or target
        size = _decimal(pax["size"]) if "size" in pax else size
        mtime_ns = _decimal_ns(pax["mtime"]) if "mtime" in pax else _number(date, "date") * 1_000_000_000
    else:
        mtime_ns = _number(date, "date") * 1_000_000_000
    if not -(1 << 63) < mtime_ns < 1 << 63:
        raise TarError(f"'{name}' has an impossible date")
    kind = _KINDS.get(kind_byte, "unknown kind of member")
    if kind == REGULAR and name.endswith("/"):
        kind = DIRECTORY  # as writers did before there was a type for it
    return Member(name, target, kind, size, mtime_ns)


def _decimal(text: str) -> int:
    if not text.isascii() or not text.isdigit() or len(text) > 20:
        raise TarError("a pax header with a bad number")
    return int(text)


def _decimal_ns(text: str) -> int:
    digits = text.removeprefix("-")
    whole, _, fraction = digits.partition(".")
    value = _decimal(whole) * 1_000_000_000 + _decimal(f"{fraction:0<9.9}")
    return -value if text.startswith("-") else value


def _text(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError as error:
        raise TarError(f"a name that is not UTF-8: {name[:60]!r}") from error
