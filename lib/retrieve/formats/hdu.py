"""An HDU of a FITS file: its header, what the cards say, and the length of its data unit."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

#: Headers and data come in blocks of this many bytes (FITS standard 4.0, section 3.1).
BLOCK = 2880
CARD = 80
#: Longer than this, in blocks, it cannot be a header: 36,000 cards.
_LONGEST = 1000
_END = re.compile(rb"(?s)(?:.{80})*?END {5}")
_SIZES = re.compile(rb"(BITPIX|NAXIS\d*|PCOUNT|GCOUNT) *=([^/]*)")
_TEXT = re.compile(rb"= *'([^']*)'")
_INTEGER = re.compile(rb"= *([-+]?\d+)")

#: Gives some bytes of a file, from a position on.
Read = Callable[[int, int], bytes]


@dataclass
class Hdu:
    """A header and its data unit.

    Attributes
    ----------
    start
        Where it begins in the file.
    header
        Its header, in whole blocks.
    bytes
        Length of its data unit, before that is filled up to whole blocks.
    """

    start: int
    header: bytes
    bytes: int

    @property
    def data_start(self) -> int:
        """Where its data unit begins."""
        return self.start + len(self.header)

    @property
    def end(self) -> int:
        """Where the next one begins."""
        return self.data_start + self.bytes + -self.bytes % BLOCK

    @cached_property
    def _cards(self) -> dict[bytes, int]:
        """Where the first card of each keyword with a value is; the keyword with blanks up to the equals sign."""
        header = self.header
        return {header[at : at + 9]: at for at in range(len(header) - CARD, -1, -CARD)}

    def has(self, keyword: bytes) -> bool:
        """Whether there is a card with this keyword and a value."""
        return b"%-8b=" % keyword in self._cards

    def text(self, keyword: bytes) -> bytes:
        """Text that a card has as its value; nothing if there is no such card, or none whose value is a text."""
        match = self._value(_TEXT, keyword)
        return match[1].strip() if match else b""

    def integer(self, keyword: bytes, default: int = 0) -> int:
        """Number that a card has as its value."""
        match = self._value(_INTEGER, keyword)
        return int(match[1]) if match else default

    def _value(self, pattern: re.Pattern[bytes], keyword: bytes) -> re.Match[bytes] | None:
        at = self._cards.get(b"%-8b=" % keyword)
        return None if at is None else pattern.match(self.header, at + 8, at + CARD)

    def without_values(self) -> bytes:
        """Header without what makes no difference to whether it can be read."""
        header = self.header
        for keyword in (b"NAXIS2", b"CHECKSUM", b"DATASUM"):
            if keyword == b"NAXIS2" or self.text(keyword):
                at = self._cards.get(b"%-8b=" % keyword)
                if at is not None:
                    header = header[: at + 8] + bytes(CARD - 8) + header[at + CARD :]
        return header


def read_header(read: Read, start: int) -> bytes:
    """Read the header that begins at a place, in whole blocks.

    Raises
    ------
    ValueError
        If the header is absent, or does not end.
    """
    header = read(start, BLOCK)
    if not header.startswith((b"SIMPLE  =", b"XTENSION=")):
        raise ValueError("something that is no header")
    searched = 0
    while len(header) == searched + BLOCK and searched < _LONGEST * BLOCK:
        if _END.match(header, searched):
            return header
        searched += BLOCK
        header += read(start + searched, BLOCK)
    raise ValueError("a header that is cut" if len(header) % BLOCK else "a header without its end")


def data_bytes(header: bytes) -> int:
    """Length of the data unit that a header announces, before it is filled up.

    It is ``|BITPIX| / 8 * GCOUNT * (PCOUNT + NAXIS1 * … * NAXISm)`` bytes (FITS standard 4.0, sections 4.4.1.1 and
    7.1.2); for random groups, which have NAXIS1 = 0, that axis does not count.

    Raises
    ------
    ValueError
        If it announces none, or a negative one.
    """
    try:
        bits, axes, parameters, groups = _mandatory(header[: 10 * CARD])
    except ValueError:
        bits, axes, parameters, groups = _scattered(header)
    if not axes:
        return 0
    elements = 1
    for length in axes:
        elements *= length
    size = abs(bits) // 8 * groups * (parameters + elements)
    if size < 0 or min(axes) < 0:
        raise ValueError("a header with a negative size")
    return size


@lru_cache(maxsize=4096)
def _mandatory(header: bytes) -> tuple[int, list[int], int, int]:
    """Read the cards that give sizes where the standard wants them (section 4.4.1), which is quick.

    Raises
    ------
    ValueError
        If they are not there.
    """
    bits = _card(header, 1, b"BITPIX  = ")
    count = _card(header, 2, b"NAXIS   = ")
    axes = [_card(header, 2 + axis, b"%-8b= " % (b"NAXIS%d" % axis)) for axis in range(1, count + 1)]
    if header.startswith(b"X"):
        return bits, axes, _card(header, 3 + count, b"PCOUNT  = "), _card(header, 4 + count, b"GCOUNT  = ")
    if axes and axes[0] == 0:
        raise ValueError("perhaps random groups")
    return bits, axes, 0, 1


def _card(header: bytes, number: int, keyword: bytes) -> int:
    start = number * CARD
    if header[start : start + 10] != keyword:
        raise ValueError("another card")
    return int(header[start + 10 : start + 30])


def _scattered(header: bytes) -> tuple[int, list[int], int, int]:
    """Read the cards that give sizes wherever they are."""
    values: dict[bytes, int] = {}
    for start in range(0, len(header), CARD):
        card = header[start : start + CARD]
        match = _SIZES.match(card)
        if match:
            values.setdefault(match[1], _whole_number(*match.groups()))
        elif card.startswith(b"GROUPS  =") and card[10:30].strip() == b"T":
            values[b"GROUPS"] = 1
    try:
        axes = [values[b"NAXIS%d" % axis] for axis in range(1, values[b"NAXIS"] + 1)]
        bits = values[b"BITPIX"]
    except KeyError as error:
        raise ValueError(f"a header without {error.args[0].decode()}") from error
    if values.get(b"GROUPS") and axes and axes[0] == 0:
        axes = axes[1:] or [1]
    return bits, axes, values.get(b"PCOUNT", 0), values.get(b"GCOUNT", 1)


def _whole_number(keyword: bytes, value: bytes) -> int:
    try:
        return int(value)
    except ValueError as error:
        raise ValueError(f"a header whose {keyword.decode()} is no integer") from error
