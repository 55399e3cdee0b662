"""FITS files for the tests, made by astropy: of each kind, damaged where wanted, and mutated as a number decides."""

from __future__ import annotations

import gzip
import io
import re
import struct
from collections.abc import Callable, Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from random import Random

import numpy as np
from astropy.io import fits

ALGORITHMS = ("RICE_1", "GZIP_1", "GZIP_2", "HCOMPRESS_1", "PLIO_1")
#: Cards whose values say where something is, or what.
_PLACES = re.compile(
    rb"(Z?NAXIS|Z?BITPIX|ZTILE|ZVAL|ZCMPTYPE|TFORM|TFIELDS|TDIM|TBCOL|TNULL|TSCAL|BZERO|PCOUNT|GCOUNT|THEAP)\d* *= "
)


def packed(*hdus: fits.hdu.base.ExtensionHDU, checksum: bool = False) -> bytes:
    """Give the bytes of a file with these extensions."""
    made = io.BytesIO()
    fits.HDUList([fits.PrimaryHDU(), *hdus]).writeto(made, checksum=checksum)
    return made.getvalue()


def table(rows: int, kind: type[fits.BinTableHDU | fits.TableHDU] = fits.BinTableHDU) -> fits.BinTableHDU:
    """A table of two columns, binary or of text."""
    wanted = ("D", "J") if kind is fits.BinTableHDU else ("F12.3", "I10")
    return kind.from_columns(
        [fits.Column(name, form, array=np.arange(rows)) for name, form in zip("AB", wanted, strict=True)]
    )


def of_variable_length(form: str = "PJ()") -> bytes:
    """A table with a column of variable length: rows of 0 to 6 elements."""
    return packed(
        fits.BinTableHDU.from_columns(
            [
                fits.Column("A", "J", array=np.arange(9)),
                fits.Column("V", form, array=np.array([np.arange(n % 7) for n in range(9)], dtype=object)),
            ]
        )
    )


@cache
def compressed(algorithm: str, kind: str = "i2", *, checksum: bool = False) -> bytes:
    """An image of 50 by 60 pixels in compressed tiles."""
    pixels = np.random.default_rng(1).normal(100, 10, (50, 60)).astype(kind)
    shape = (25, 20) if algorithm == "HCOMPRESS_1" else None
    return packed(fits.CompImageHDU(pixels, compression_type=algorithm, tile_shape=shape), checksum=checksum)


def with_replaced(content: bytes, old: bytes, new: bytes) -> bytes:
    """Replace the first of some bytes by as many others."""
    assert old in content
    assert len(old) == len(new)
    return content.replace(old, new, 1)


def rice_damaged() -> bytes:
    """Compressed pixels that do not decode: what follows the 50 descriptors is not theirs."""
    content = compressed("RICE_1")
    with fits.open(io.BytesIO(content), disable_image_compression=True) as hdus:
        heap = hdus[1].fileinfo()["datLoc"] + hdus[1].header["NAXIS1"] * hdus[1].header["NAXIS2"]
    return content[:heap] + b"\xff" * 400 + content[heap + 400 :]


def crashing() -> bytes:
    """Compressed pixels over which the C code divides by zero: a tile of 20 columns says that it has none."""
    size = struct.pack(">HII", 0xDD99, 25, 20)
    return with_replaced(compressed("HCOMPRESS_1"), size, size[:6] + bytes(4))


def leading_out_of_the_heap() -> bytes:
    """A table whose column of variable length says for its last row that it has more than there is."""
    content = of_variable_length()
    return with_replaced(content, struct.pack(">3i", 8, 1, 84), struct.pack(">3i", 8, 9, 84))


def shipped(package: str) -> dict[str, bytes]:
    """FITS files that come with a package, gunzipped, by their path in it; none if it is not installed."""
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        return {}
    directory = Path(spec.origin).parent
    found = {}
    for path in sorted(directory.rglob("*.fits*")):
        if path.name.endswith((".fits", ".fits.fz")):
            found[str(path.relative_to(directory))] = path.read_bytes()
        elif path.name.endswith(".fits.gz"):
            found[str(path.relative_to(directory))] = gzip.decompress(path.read_bytes())
    return found


@cache
def _seeds() -> list[bytes]:
    """Files to mutate, without checksums: these would find most damage before anything was decoded."""
    made = [compressed(algorithm) for algorithm in ALGORITHMS]
    made += [compressed(algorithm, "f4") for algorithm in ALGORITHMS if algorithm != "PLIO_1"]
    made += [packed(table(50, kind)) for kind in (fits.BinTableHDU, fits.TableHDU)]
    made += [of_variable_length(form) for form in ("PJ()", "QD()", "PE()")]
    others = [content for content in shipped("astropy").values() if 2880 <= len(content) < 40_000]
    # As often one of the first, most of whose data are in a code, as one of the others.
    made = made * (len(others) // len(made)) + others
    for keyword in (b"CHECKSUM= ", b"DATASUM = ", b"ZHECKSUM= ", b"ZDATASUM= "):
        made = [content.replace(keyword, b"COMMENT   ") for content in made]
    return made


def _digit(content: bytearray, random: Random) -> None:
    places = [match.start() for match in _PLACES.finditer(bytes(content))]
    if places:
        content[random.choice(places) + random.randrange(10, 31)] = random.choice(b"0123456789-PQBIJ' T")


def _card(content: bytearray, random: Random) -> None:
    content[random.randrange(len(content) // 80) * 80 + random.randrange(30)] = random.choice(b"019-PTF' =END")


def _bit(content: bytearray, random: Random) -> None:
    content[random.randrange(len(content))] ^= 1 << random.randrange(8)


def _noise(content: bytearray, random: Random) -> None:
    start = random.randrange(len(content))
    end = min(start + random.randrange(1, 200), len(content))
    content[start:end] = random.randbytes(end - start)


def _length(content: bytearray, random: Random) -> None:
    at = random.randrange(2880, len(content) + 1)
    if random.random() < 0.5:
        del content[at:]
    else:
        content[at:at] = bytes(random.choice((random.randrange(1, 3000), 2880)))


_MUTATIONS: list[Callable[[bytearray, Random], None]] = [_digit, _card, _bit, _bit, _noise]


def mutated(numbers: range) -> Iterator[bytes]:
    """Files with one to sixteen mutations, each decided by its number."""
    for number in numbers:
        random = Random(number)
        content = bytearray(random.choice(_seeds()))
        for _ in range(random.choice((1, 1, 2, 4, 16))):
            random.choice(_MUTATIONS)(content, random)
        if random.random() < 0.1:
            _length(content, random)
        yield bytes(content)
