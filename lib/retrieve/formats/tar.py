"""A strict reader of tar streams: what is not certainly a member, or certainly the end, is an error.

`tarfile` takes a damaged header in the middle of an archive for its end, so that members would vanish without a word.
Here each header's checksum counts, sizes are what the stream holds, and after the end come only zeros.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from retrieve.formats.header import (
    BLOCK,
    DIRECTORY,
    REGULAR,
    ZEROS,
    Member,
    TarError,
    check_sum,
    decimal,
    describe,
    number,
    records,
    sum_of,
    text_of,
)

#: Extended headers and long names that are longer than this are no honest ones, in bytes.
_LONGEST_NAME = 1 << 20
#: A sparse file of more pieces than this is no honest one: their places are held in memory.
_MOST_SPANS = 1 << 18
#: A member up to this size comes in one piece, in bytes.
WHOLE = 4 << 20

#: Kinds of headers that are followed by blocks of content, besides files.
_WITH_CONTENT = (b"D", b"V")
#: A header as most are, of a file, a directory or a long name, without a prefix: size, mtime, checksum, type.
_USUAL = re.compile(rb"(?s)[^\0].{123}([0-7]{11})[\0 ]([0-7]{11})[\0 ]([0-7]{6})\0 ([05xL])\0.{187}\0").match
_SPARSE_SIZES = ("GNU.sparse.realsize", "GNU.sparse.size")


class TarStream:
    """Iterate over the members of a tar stream; `content` gives that of the member that came last.

    Parameters
    ----------
    pieces
        The stream, cut anywhere.

    Attributes
    ----------
    half_ended
        Whether the end mark is one block of zeros rather than two, once the stream was read.
    """

    def __init__(self, pieces: Iterable[bytes]) -> None:
        self._pieces = iter(pieces)
        self._buffer = b""
        self._at = 0
        self._left = 0
        self._padding = 0
        #: Place and length of the pieces of a sparse file.
        self._spans: list[tuple[int, int]] | None = None
        self.half_ended = False

    def __iter__(self) -> Iterator[Member]:
        """Yield each member; afterwards the stream was read, and found well-formed, to its very end."""
        pax_always: dict[str, str] = {}
        pax: dict[str, str] = {}
        long_name = long_target = None
        while True:
            if self._left or self._padding:
                self._pass_over()
            header = self._read(BLOCK)
            usual = _USUAL(header)
            if usual:
                size, date, checksum, kind = usual.groups()
                if int(checksum, 8) != sum_of(header):
                    check_sum(header, header[148:156])
            elif header == ZEROS:
                if pax or long_name or long_target:
                    raise TarError("an extended header without a member")
                self._read_end()
                return
            else:
                check_sum(header, header[148:156])
                size, kind = header[124:136], header[156:157]
            if kind in b"xXgLK":
                text = self._extended(int(size, 8) if usual else number(size, "size"))
                if kind in b"xX":
                    pax = records(text)
                elif kind == b"g":
                    pax_always |= records(text)
                elif kind == b"L":
                    long_name = text_of(text.rstrip(b"\0"))
                else:
                    long_target = text_of(text.rstrip(b"\0"))
                continue
            if usual and not (pax_always or long_target or pax.keys() - {"path"}):
                name = pax.get("path") or long_name or text_of(header[:100].partition(b"\0")[0])
                kind_ = DIRECTORY if kind == b"5" or name.endswith("/") else REGULAR
                member = Member(name, "", kind_, int(size, 8), int(date, 8) * 1_000_000_000)
            else:
                member = describe(header, {**pax_always, **pax}, long_name, long_target)
            # Only what has content is followed by blocks of it; some writers give links and directories a size.
            self._left = member.bytes if member.kind == REGULAR or kind in _WITH_CONTENT else 0
            self._padding = -self._left % BLOCK
            self._spans = None
            if kind == b"S" or (pax and not pax.keys().isdisjoint(_SPARSE_SIZES)):
                member = self._sparse(member, header, pax)
            pax, long_name, long_target = {}, None, None
            if kind != b"V":  # the name of the archive
                yield member

    def whole(self) -> bytes | None:
        """Content of the present member; None if it is longer than `WHOLE`, or sparse."""
        size = self._left
        if size > WHOLE or self._spans is not None:
            return None
        self._left = 0
        whole = self._read(size, "it ends within a member") if size else b""
        if self._padding:
            self._read(self._padding)
            self._padding = 0
        return whole

    def content(self) -> Iterator[tuple[int, bytes]]:
        """Yield the content of the present member in pieces, each with its place; zeros are between them."""
        for place, size in self._spans or ((0, self._left),):
            end = place + size
            while place < end:
                piece = self._some(end - place)
                if not piece:
                    raise TarError("it ends within a member")
                self._left -= len(piece)
                yield place, piece
                place += len(piece)
        self._pass_over()

    def begins_with(self, start: bytes) -> bool:
        """Whether the content of the present member begins so; nothing of it is taken."""
        while len(self._buffer) - self._at < len(start) and (piece := next(self._pieces, None)) is not None:
            self._buffer, self._at = self._buffer[self._at :] + piece, 0
        return self._left >= len(start) and self._buffer.startswith(start, self._at)

    def _pass_over(self) -> None:
        """Read what is left of the present member, and what fills up its last block."""
        while self._left:
            piece = self._some(self._left)
            if not piece:
                raise TarError("it ends within a member")
            self._left -= len(piece)
        if self._padding:
            self._read(self._padding)
            self._padding = 0

    def _sparse(self, member: Member, header: bytes, pax: dict[str, str]) -> Member:
        """Read where the pieces of a sparse file belong; give the member with its whole length.

        There are GNU tar's old format and its formats 0.0, 0.1 and 1.0 for pax, in which bsdtar writes, too.
        """
        if header[156:157] == b"S":
            size = number(header[483:495], "size")
            numbers = self._old_map(header)
        else:
            size = decimal(next(pax[key] for key in _SPARSE_SIZES if key in pax))
            if pax.get("GNU.sparse.major", "0") == "0":
                numbers = [decimal(text) for text in pax.get("GNU.sparse.map", "").split(",") if text]
            else:
                numbers = self._new_map()
        spans = list(zip(numbers[::2], numbers[1::2], strict=False))
        end = 0
        for place, length in spans:
            if place < end:
                raise TarError(f"'{member.name}' is a sparse file whose pieces overlap")
            end = place + length
        if end > size or len(numbers) % 2 or sum(numbers[1::2]) != self._left:
            raise TarError(f"'{member.name}' is a sparse file whose pieces are not as long as it says")
        self._spans = spans
        return member._replace(bytes=size)

    def _old_map(self, header: bytes) -> list[int]:
        fields, more = bytearray(header[386:482]), header[482]
        while more:
            block = self._read(BLOCK)
            fields += block[:504]
            more = block[504]
            if len(fields) > 24 * _MOST_SPANS:
                raise TarError("a sparse file of too many pieces")
        numbers = [number(fields[at : at + 12], "size") for at in range(0, len(fields), 12)]
        # Unused entries are zeros.
        return [number for pair in zip(numbers[::2], numbers[1::2], strict=True) if pair[1] for number in pair]

    def _new_map(self) -> list[int]:
        """Read the map at the beginning of the content: the number of pieces, then place and length of each."""
        numbers: list[int] = []
        rest = b""
        wanted = 1
        while len(numbers) < wanted:
            if self._left < BLOCK or len(rest) > 20:
                raise TarError("a sparse file whose map is malformed")
            *lines, rest = (rest + self._read(BLOCK)).split(b"\n")
            self._left -= BLOCK
            numbers += [decimal(text_of(line)) for line in lines]
            wanted = 1 + 2 * numbers[0] if numbers else wanted
            if wanted > 2 * _MOST_SPANS:
                raise TarError("a sparse file of too many pieces")
        return numbers[1:wanted]

    def _extended(self, size: int) -> bytes:
        if size > _LONGEST_NAME:
            raise TarError(f"an extended header of {size} bytes")
        text = self._read(size)
        self._read(-size % BLOCK)
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
                raise TarError(problem if parts or size != BLOCK else "it ends without an end mark")
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
        """Read what follows the first block of zeros: another one, as a rule, and padding of zeros."""
        count = 0
        while rest := self._some(WHOLE):
            count += len(rest)
            if rest.count(0) != len(rest):
                raise TarError("something follows its end mark")
        if count % BLOCK:
            raise TarError("it ends within a block")
        self.half_ended = not count
