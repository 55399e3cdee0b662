"""Structure of FITS files, from their headers alone: quick enough for every file of a survey."""

from __future__ import annotations

import re
from pathlib import Path
from typing import BinaryIO

#: Headers and data come in blocks of this many bytes (FITS standard 4.0, section 3.1).
BLOCK = 2880
_CARD = 80
#: A header longer than this is none, in blocks: 36,000 cards.
_LONGEST = 1000
_SIZES = re.compile(rb"^(BITPIX|NAXIS\d*|PCOUNT|GCOUNT) *= *([-+]?\d+)")


def problem(path: Path) -> str | None:
    """Say what is wrong with the structure of a FITS file: None if its HDUs add up to the file.

    The size of an HDU's data follows from its header (FITS standard 4.0, sections 4.4.1.1 and 7.1.2):
    ``|BITPIX| / 8 * GCOUNT * (PCOUNT + NAXIS1 * … * NAXISm)`` bytes, filled up to whole blocks; for random groups,
    which have NAXIS1 = 0, that axis does not count.
    """
    with path.open("rb") as file:
        end = file.seek(0, 2)
        file.seek(0)
        if end == 0:
            return "it is empty"
        if file.read(10) != b"SIMPLE  = ":
            return "it does not begin as FITS"
        position = 0
        while position < end:
            file.seek(position)
            try:
                header, blocks = _header(file)
                position += blocks * BLOCK + _data_bytes(header)
            except ValueError as error:
                return f"{error} at byte {position}"
        if position > end:
            return f"it ends at byte {end} rather than {position}"
    return None


def content_problem(path: Path) -> str | None:
    """Say what astropy finds wrong with a FITS file of sound structure: with its data, or its checksums."""
    import warnings

    from astropy.io import fits

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            with fits.open(path, checksum=True, memmap=False) as hdus:
                for hdu in hdus:
                    hdu.data  # noqa: B018 - reads it
        except (OSError, ValueError, TypeError, KeyError, IndexError, fits.VerifyError) as error:
            return f"astropy cannot read it ({error})"
    failed = [str(one.message) for one in caught if "verification failed" in str(one.message)]
    return failed[0].strip().lower() if failed else None


def _header(file: BinaryIO) -> tuple[dict[bytes, int], int]:
    """Read the keywords that give sizes, and the number of blocks of the header."""
    values: dict[bytes, int] = {}
    for number in range(1, _LONGEST + 1):
        block = file.read(BLOCK)
        if len(block) < BLOCK:
            raise ValueError("a header without its end")
        if number == 1 and not block.startswith((b"SIMPLE  =", b"XTENSION=")):
            raise ValueError("something that is no header")
        for start in range(0, BLOCK, _CARD):
            card = block[start : start + _CARD]
            if card.startswith(b"END     "):
                return values, number
            match = _SIZES.match(card)
            if match:
                values.setdefault(match[1], int(match[2]))
            elif card.startswith(b"GROUPS  =") and card[10:30].strip() == b"T":
                values[b"GROUPS"] = 1
    raise ValueError("a header without its end")


def _data_bytes(header: dict[bytes, int]) -> int:
    try:
        axes = [header[b"NAXIS%d" % axis] for axis in range(1, header[b"NAXIS"] + 1)]
        bits = abs(header[b"BITPIX"])
    except KeyError as error:
        raise ValueError(f"a header without {error.args[0].decode()}") from error
    if not axes:
        return 0
    if header.get(b"GROUPS") and axes[0] == 0:
        axes = axes[1:]
    elements = 1
    for length in axes:
        elements *= length
    size = bits // 8 * header.get(b"GCOUNT", 1) * (header.get(b"PCOUNT", 0) + elements)
    if size < 0:
        raise ValueError("a header with a negative size")
    return -(-size // BLOCK) * BLOCK
