"""A strict reader of tar streams: what is not certainly a member, or certainly the end, is an error.

`tarfile` takes a damaged header in the middle of an archive for its end, so that members would vanish without a word.
Here each header's checksum counts, sizes are what the stream holds, and after the end come only zeros.

The formats are those of POSIX.1-2017 (ustar and pax) and GNU tar's manual, "Basic Tar Format".
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO

_BLOCK = 512
_ZEROS = bytes(_BLOCK)
_CHUNK = 1 << 20
#: Extended headers and long names that are longer than this are no honest ones, in bytes.
_LONGEST_NAME = 1 << 20

REGULAR, DIRECTORY, HARD_LINK, SYMBOLIC_LINK = "file", "directory", "hard link", "symbolic link"
_KINDS = {
    b"0": REGULAR, b"\0": REGULAR, b"7": REGULAR, b"1": HARD_LINK, b"2": SYMBOLIC_LINK, b"3": "character device",
    b"4": "block device", b"5": DIRECTORY, b"6": "named pipe", b"S": "sparse file",
}  # fmt: skip


class TarError(Exception):
    """The stream is not a whole, regular tar archive; says where and why."""


@dataclass(frozen=True, slots=True)
class Member:
    """A member of an archive as its headers describe it; nothing in it is to be trusted.

    Attributes
    ----------
    name, target
        Path, and where a link points to.
    kind
        `REGULAR`, `DIRECTORY`, `HARD_LINK`, `SYMBOLIC_LINK`, or the name of another kind.
    bytes
        Length of its content.
    mode
        Permission bits.
    mtime_ns
        Modification time in nanoseconds since 1970.
    """

    name: str
    target: str
    kind: str
    bytes: int
    mode: int
    mtime_ns: int


class TarStream:
    """Iterate over the members of a tar stream; `content` gives that of the member that came last."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._left = 0
        self._padding = 0

    def __iter__(self) -> Iterator[Member]:
        """Yield each member; afterwards the stream was read, and found well-formed, to its very end."""
        pax_always: dict[str, str] = {}
        pax: dict[str, str] = {}
        long_name = long_target = None
        while True:
            for _ in self.content():
                pass
            header = self._read(_BLOCK)
            if header == _ZEROS:
                if pax or long_name or long_target:
                    raise TarError("an extended header without a member")
                self._read_end()
                return
            kind = header[156:157]
            size = _number(header[124:136], "size")
            _check_sum(header)
            if kind in b"xgLK":
                text = self._extended(size)
                if kind == b"x":
                    pax = _pax(text)
                elif kind == b"g":
                    pax_always |= _pax(text)
                elif kind == b"L":
                    long_name = _text(text.rstrip(b"\0"))
                else:
                    long_target = _text(text.rstrip(b"\0"))
                continue
            member = _member(header, pax_always | pax, long_name, long_target, size)
            pax, long_name, long_target = {}, None, None
            # Only what has content is followed by blocks of it; some writers give links and directories a size.
            self._left = member.bytes if member.kind in (REGULAR, "sparse file") else 0
            self._padding = -self._left % _BLOCK
            yield member

    def content(self) -> Iterator[bytes]:
        """Yield the content of the present member in pieces."""
        while self._left:
            piece = self._stream.read(min(self._left, _CHUNK))
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

    def _read(self, size: int) -> bytes:
        data = self._stream.read(size)
        if len(data) < size:
            raise TarError("it ends without an end mark" if not data else "it ends within a block")
        return data

    def _read_end(self) -> None:
        """Read what follows the first block of zeros: another one, and padding of zeros."""
        rest = self._stream.read(_CHUNK)
        if len(rest) < _BLOCK:
            raise TarError("its end mark is cut")
        while rest:
            if rest.count(0) != len(rest):
                raise TarError("something follows its end mark")
            rest = self._stream.read(_CHUNK)


def _check_sum(header: bytes) -> None:
    """Compare the header's checksum, counted with unsigned bytes or, as some old writers do, signed ones."""
    expected = _number(header[148:156], "checksum")
    fields = header[:148] + b" " * 8 + header[156:]
    unsigned = sum(fields)
    if expected not in (unsigned, unsigned - 256 * sum(byte > 127 for byte in fields)):
        raise TarError("a header whose checksum is wrong")


def _number(field: bytes, what: str) -> int:
    """Read an octal number, or GNU's base 256 for large ones."""
    if field[0] & 0x80:
        value = int.from_bytes(bytes([field[0] & 0x7F]) + field[1:], "big")
        if field[0] & 0x40:
            value -= 1 << (8 * len(field) - 1)
    else:
        digits = field.partition(b"\0")[0].strip()
        if digits.strip(b"01234567"):
            raise TarError(f"a header whose {what} is no number")
        value = int(digits or b"0", 8)
    if value < 0 and what == "size":
        raise TarError("a member of negative size")
    return value


def _pax(text: bytes) -> dict[str, str]:
    """Read the records of a pax header, each ``LENGTH KEY=VALUE`` and a line feed."""
    records = {}
    while text:
        length, space, _ = text.partition(b" ")
        if not space or not length.isdigit() or not len(length) < int(length) <= len(text):
            raise TarError("a pax header that is malformed")
        key, equals, value = text[len(length) + 1 : int(length)].partition(b"=")
        if not equals or not value.endswith(b"\n"):
            raise TarError("a pax header that is malformed")
        records[_text(key)] = _text(value[:-1])
        text = text[int(length) :]
    return records


def _member(header: bytes, pax: dict[str, str], long_name: str | None, long_target: str | None, size: int) -> Member:
    if any(key.startswith("GNU.sparse") for key in pax):
        raise TarError("a sparse file")
    name = _text(header[:100].partition(b"\0")[0])
    prefix = _text(header[345:500].partition(b"\0")[0]) if header[257:263] == b"ustar\0" else ""
    name = pax.get("path") or long_name or (f"{prefix}/{name}" if prefix else name)
    target = pax.get("linkpath") or long_target or _text(header[157:257].partition(b"\0")[0])
    try:
        if "size" in pax:
            size = int(pax["size"])
        mtime_ns = _decimal_ns(pax["mtime"]) if "mtime" in pax else _number(header[136:148], "date") * 1_000_000_000
    except ValueError as error:
        raise TarError("a pax header with a bad number") from error
    if size < 0:
        raise TarError("a member of negative size")
    kind = _KINDS.get(header[156:157], "unknown kind of member")
    if kind == REGULAR and name.endswith("/"):
        kind = DIRECTORY  # as writers did before there was a type for it
    return Member(name, target, kind, size, _number(header[100:108], "mode") & 0o777, mtime_ns)


def _decimal_ns(text: str) -> int:
    whole, _, fraction = text.partition(".")
    sign = -1 if whole.startswith("-") else 1
    return int(whole) * 1_000_000_000 + sign * int(f"{fraction:0<9.9}")


def _text(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError as error:
        raise TarError(f"a name that is not UTF-8: {name[:60]!r}") from error
