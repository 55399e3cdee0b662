"""What the source holds of each tile, and the stamps that say so."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from retrieve.archives import Archive
from retrieve.errors import ListingError
from retrieve.products import ProductSet
from retrieve.stamps import AVAILABLE, DOWNLOADED, INCOMPLETE, Stamp, Stamps, newest, write_whole

if TYPE_CHECKING:
    from retrieve.container import Container

#: How many of the archives that a listing does not show are asked for by name.
SAMPLE = 20


@dataclass(frozen=True)
class Availability:
    """What a complete listing showed.

    Attributes
    ----------
    source
        URI of the container.
    products
        The products that were looked for.
    archives
        By tile number: an archive per product in the order of `products`, None where there is none.
    """

    source: str
    products: ProductSet
    archives: dict[str, list[Archive | None]]

    def stamp(self, tile: str) -> Stamp:
        """Stamp of a tile. An archive of 0 bytes is what a failed upload leaves, and counts as lacking."""
        row = self.archives.get(tile, [None] * len(self.products))
        there = tuple(one for one in row if one is not None and one.bytes)
        lacking = tuple(
            product.archive(tile) for product, one in zip(self.products, row, strict=True) if not (one and one.bytes)
        )
        return Stamp(self.source, there, lacking)

    def is_complete(self, tile: str) -> bool:
        """Whether the archives of all products of a tile are there."""
        return all(one is not None and one.bytes for one in self.archives.get(tile, [None]))

    def counts(self, tiles: Iterable[str]) -> dict[str, int]:
        """Number of tiles, among some, for which there is an archive of each product."""
        rows = [self.archives[tile] for tile in tiles if tile in self.archives]
        return {
            product.name: sum(1 for row in rows if (one := row[place]) is not None and one.bytes)
            for place, product in enumerate(self.products)
        }


def by_tile(source: str, archives: Iterable[Archive], products: ProductSet) -> Availability:
    """Sort the archives of a listing by tile and product."""
    match = products.matcher().fullmatch
    rows: dict[str, list[Archive | None]] = {}
    for archive in archives:
        found = match(archive.name)
        if found is None or found.lastindex is None:
            continue
        row = rows.setdefault(found[found.lastindex], [None] * len(products))
        row[found.lastindex - 1] = archive
    return Availability(source, products, rows)


@dataclass(frozen=True)
class _Listed:
    """What the record of the last listing says of a tile: its stamp's digest and mtime, which archives were there."""

    digest: str
    mtime_ns: int
    there: int


class ListingRecord:
    """The record of the last listing: spares reading every stamp, and tells what vanished since.

    First line: the source and the patterns of the products. Then a line per tile: its number, a digest and the mtime of
    its stamp, and which products were there as the bits of a hexadecimal number.
    """

    def __init__(self, path: Path, source: str, products: ProductSet) -> None:
        self.path = path
        self.products = products
        self._head = "\t".join([f"# {source}", *(product.pattern for product in products)])
        self.tiles = dict(self._read())

    def _read(self) -> Iterator[tuple[str, _Listed]]:
        try:
            head, *lines = self.path.read_text(encoding="utf-8").splitlines()
        except (FileNotFoundError, ValueError):
            return
        if head != self._head:
            return
        for line in lines:
            tile, digest, mtime_ns, there = line.split("\t")
            yield tile, _Listed(digest, int(mtime_ns), int(there, 16))

    def vanished(self, now: Availability, tiles: Iterable[str]) -> list[str]:
        """Names of archives of some tiles that were there at the last listing and are not any more."""
        return [
            name
            for tile in tiles
            if tile in self.tiles
            for name in now.stamp(tile).lacking
            if self.tiles[tile].there & self._bits([name], tile)
        ]

    def set(self, tile: str, stamp: Stamp, digest: str, mtime_ns: int) -> None:
        """Record the stamp of a tile."""
        self.tiles[tile] = _Listed(digest, mtime_ns, self._bits([one.name for one in stamp.archives], tile))

    def write(self) -> None:
        """Write the record in place of the old one."""
        lines = (f"{tile}\t{one.digest}\t{one.mtime_ns}\t{one.there:x}" for tile, one in self.tiles.items())
        write_whole(self.path, "\n".join([self._head, *lines]) + "\n")

    def _bits(self, names: Iterable[str], tile: str) -> int:
        places = {product.archive(tile): place for place, product in enumerate(self.products)}
        return sum(1 << places[name] for name in names)


def check_absent(container: Container, now: Availability, tiles: Iterable[str], vanished: list[str], jobs: int) -> None:
    """Ask by name for what a listing says is not there: what vanished, and a sample of the rest.

    A service may swallow an error in the middle of a listing and end the document as if it were whole; nothing in the
    document tells.

    Raises
    ------
    ListingError
        If one of them is there after all.
    """
    absent = [name for tile in tiles for name in now.stamp(tile).lacking]
    present = {one.name for row in now.archives.values() for one in row if one is not None}
    sample = random.sample(absent, min(SAMPLE, len(absent)))
    names = [name for name in dict.fromkeys(vanished + sample) if name not in present]
    with ThreadPoolExecutor(jobs) as pool:
        for name, found in zip(names, pool.map(container.look_up, names), strict=True):
            if found is not None:
                pool.shutdown(cancel_futures=True)
                raise ListingError(
                    f"cannot list '{container.uri}': the listing was short, '{name}' is there but was not shown; "
                    "try again later"
                )


def write_stamps(now: Availability, tiles: Iterable[str], stamps: Stamps, record: ListingRecord) -> int:
    """Bring the stamps of some tiles up to date with a listing, and its record; return how many changed.

    A stamp that is as the record says is neither read nor written. One whose content changed gets a strictly newer
    mtime, also where the date at the source went backwards.
    """
    on_disk = {state: stamps.tiles(state) for state in (AVAILABLE, INCOMPLETE)}
    changed = 0
    for tile in tiles:
        stamp = now.stamp(tile)
        state, other = (INCOMPLETE, AVAILABLE) if stamp.lacking else (AVAILABLE, INCOMPLETE)
        text = stamp.text()
        digest = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
        listed = record.tiles.get(tile)
        mtime_ns = on_disk[state].get(tile)
        unchanged = mtime_ns is not None and (
            (listed is not None and (listed.digest, listed.mtime_ns) == (digest, mtime_ns))
            or stamps.read(state, tile) == (text, mtime_ns)
        )
        if not unchanged:
            above = newest([mtime_ns, on_disk[other].get(tile), stamps.mtime_ns(DOWNLOADED, tile)])
            mtime_ns = stamps.write(state, tile, text, stamp.date_ns, above)
            changed += 1
        if tile in on_disk[other]:
            stamps.remove(other, tile)
        record.set(tile, stamp, digest, mtime_ns)
    return changed
