"""A survey of any size, as stamps and archives of a few bytes that are written directly."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from retrieve.archives import Archive, Verified, date_of
from retrieve.stamps.stamps import AVAILABLE, DOWNLOADED, EXTRACTED, Record, Stamp, Stamps
from support.site import names

#: Of the r band and of the u band.
R, U = 12_621, 27_291
DATE_NS = 1_628_162_732_123_000_000


def numbers(count: int) -> list[str]:
    """Tile numbers of a survey of that size."""
    return [f"{index // 300 + 100:03}.{index % 300 + 200:03}" for index in range(count)]


def make_tiny(directory: Path, tiles: Iterable[str]) -> None:
    """Write seven archives a tile of a few bytes each: only to be listed."""
    directory.mkdir(parents=True)
    for index, tile in enumerate(tiles):
        for name in names(tile):
            path = f"{directory}/{name}"
            with open(path, "wb") as file:
                file.write(name.encode())
            os.utime(path, ns=(DATE_NS + index * 10**9,) * 2)


def make_done(run: Path, tiles: Iterable[str]) -> None:
    """Write the stamps and the archives of tiles that were downloaded and unpacked."""
    stamps = Stamps(run / "stamps", "mccd")
    make_tiny(run / "archives", tiles := list(tiles))
    for index, tile in enumerate(tiles):
        mtime_ns = DATE_NS + index * 10**9
        archives = [
            Archive(name, len(name), hashlib.md5(name.encode()).hexdigest(), date_of(mtime_ns)) for name in names(tile)
        ]
        stamp = Stamp("vos:nowhere", tuple(archives))
        record = Record(stamp.source, {one.name: Verified(one, str(one.md5), mtime_ns) for one in archives})
        for state, text in ((AVAILABLE, stamp.text()), (DOWNLOADED, record.text()), (EXTRACTED, record.text())):
            stamps.write(state, tile, text, mtime_ns)
    stamps.listing.write_text("")
