"""What the sources hold of each tile, and the stamps that say so."""

from __future__ import annotations

import hashlib
import random
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from retrieve.archives import Archive
from retrieve.errors import ListingError
from retrieve.listing import Listing
from retrieve.processes import in_threads
from retrieve.products import ProductSet
from retrieve.progress import Progress
from retrieve.settings import Settings
from retrieve.source import Container
from retrieve.stamps import AVAILABLE, DOWNLOADED, INCOMPLETE, Stamp, Stamps, newest, write_whole

#: Archives asked for by name that are worth another connection.
_QUESTIONS = 10


@dataclass(frozen=True)
class Holding:
    """What one container holds of each tile.

    Attributes
    ----------
    source
        URI of the container.
    rows
        By tile number: an archive per product, None where there is none.
    there
        By tile number: which products are there, as bits, the first product the lowest. An archive of 0 bytes is what
        a failed upload leaves, and counts as lacking.
    """

    source: str
    rows: dict[str, list[Archive | None]] = field(default_factory=dict)
    there: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, source: str, listing: Listing, products: ProductSet) -> Holding:
        """Sort the archives of a listing by tile and product."""
        holding = cls(source)
        match = products.matcher().fullmatch
        for name, archive in listing.archives.items():
            found = match(name)
            if found is None or found.lastindex is None:
                continue
            tile, place = found[found.lastindex].replace("-", "."), found.lastindex - 1
            holding.rows.setdefault(tile, [None] * len(products))[place] = archive
            holding.there[tile] = holding.there.get(tile, 0) | (archive.bytes > 0) << place
        return holding

    def date_ns(self, tile: str) -> int:
        """Newest date among the archives of a tile, in nanoseconds since 1970."""
        return max(one.date_ns for one in self.rows[tile] if one)


@dataclass(frozen=True)
class Availability:
    """What complete listings showed.

    Attributes
    ----------
    products
        The products that were looked for.
    holdings
        What each container holds, in the order of ``INPUT_PATH``.
    """

    products: ProductSet
    holdings: Sequence[Holding]
    _chosen: dict[str, Holding] = field(default_factory=dict, init=False, repr=False)

    @property
    def full(self) -> int:
        """The bits of a complete tile."""
        return (1 << len(self.products)) - 1

    def tiles(self) -> set[str]:
        """Tiles of which there is anything anywhere."""
        return {tile for one in self.holdings for tile in one.rows}

    def chosen(self, tile: str) -> Holding:
        """Container that a tile is to come from; see `_choose`."""
        if len(self.holdings) == 1:
            return self.holdings[0]
        if tile not in self._chosen:
            self._chosen[tile] = self._choose(tile)
        return self._chosen[tile]

    def _choose(self, tile: str) -> Holding:
        """Choose the container that a tile comes from, as a whole: archives of two runs of ShapePipe do not mix.

        ==========================  ===================================
        complete in                 chosen
        ==========================  ===================================
        one or more containers      that with the newest archive
        none                        that with the most archives
        ==========================  ===================================

        Among equals it is the first in the order of ``INPUT_PATH``.
        """
        complete = [one for one in self.holdings if one.there.get(tile) == self.full]
        if complete:
            return complete[0] if len(complete) == 1 else max(complete, key=lambda one: one.date_ns(tile))
        return max(self.holdings, key=lambda one: one.there.get(tile, 0).bit_count())

    def there(self, tile: str) -> int:
        """Which products are there of a tile where it is to come from, as bits."""
        return self.chosen(tile).there.get(tile, 0)

    def is_complete(self, tile: str) -> bool:
        """Whether the archives of all products of a tile are there."""
        return self.there(tile) == self.full

    def stamp(self, tile: str) -> Stamp:
        """Stamp of a tile."""
        holding = self.chosen(tile)
        row = holding.rows.get(tile, ())
        there = tuple([one for one in row if one is not None and one.bytes])
        lacking = _names(self.products, tile, self.full & ~holding.there.get(tile, 0))
        return Stamp(holding.source, there, lacking)

    def counts(self, tiles: Iterable[str]) -> dict[str, int]:
        """Number of tiles, among some, for which there is an archive of each product."""
        there = [self.there(tile) for tile in tiles]
        return {product.name: sum(bits >> place & 1 for bits in there) for place, product in enumerate(self.products)}


class _Listed(NamedTuple):
    """What the record of the last listing says of a tile: its stamp's digest and mtime, which archives were there."""

    digest: str
    mtime_ns: int
    there: int


class ListingRecord:
    """The record of the last listing: spares reading every stamp, and tells what vanished since.

    Its first line names the sources, the second one the patterns of the products. Then a line per tile: its number, a
    digest and the mtime of its stamp, and which products were there, as the bits of a hexadecimal number: the lowest
    are those of the first source.
    """

    def __init__(self, path: Path, products: ProductSet) -> None:
        self.path = path
        self._products = products
        self._patterns = [product.pattern for product in products]
        self._sources: list[str] = []
        self.tiles = dict(self._read())

    def _read(self) -> Iterator[tuple[str, _Listed]]:
        try:
            sources, patterns, *lines = self.path.read_text(encoding="utf-8").splitlines()
            # What was there of other products says nothing about these.
            if patterns.split("\t")[1:] == self._patterns:
                self._sources = sources.split("\t")[1:]
            for line in lines:
                tile, digest, mtime_ns, there = line.split("\t")
                yield tile, _Listed(digest, int(mtime_ns), int(there, 16))
        except (FileNotFoundError, ValueError):
            return

    def vanished(self, holding: Holding) -> list[str]:
        """Names of archives that a source had at the last listing and has not any more."""
        if holding.source not in self._sources:
            return []
        shift, full = self._sources.index(holding.source) * len(self._products), (1 << len(self._products)) - 1
        return [
            name
            for tile, one in self.tiles.items()
            if (gone := one.there >> shift & full & ~holding.there.get(tile, 0))
            for name in _names(self._products, tile, gone)
        ]

    def write(self, now: Availability) -> None:
        """Write the record of this listing in place of the last one."""
        size = len(self._products)
        lines = ["\t".join(["#", *(one.source for one in now.holdings)]), "\t".join(["#", *self._patterns])]
        for tile, one in self.tiles.items():
            there = sum(holding.there.get(tile, 0) << size * place for place, holding in enumerate(now.holdings))
            lines.append(f"{tile}\t{one.digest}\t{one.mtime_ns}\t{there:x}")
        write_whole(self.path, "\n".join(lines) + "\n")


def check_absent(
    container: Container, listing: Listing, absent: Iterable[str], vanished: Iterable[str], settings: Settings
) -> None:
    """Ask by name for what a listing says is not there: what vanished since the last one, and a sample of the rest.

    A service may swallow an error in the middle of a listing and end the document as if it were whole; nothing in the
    document tells.

    Parameters
    ----------
    absent
        Names of archives that were looked for and not found.
    settings
        For `probe`, the size of the sample, and `jobs`.

    Raises
    ------
    ListingError
        If one of them is there after all.
    """
    absent = list(absent)
    sample = random.sample(absent, min(settings.probe, len(absent)))
    names = [name for name in dict.fromkeys([*vanished, *sample]) if not listing.shows(name)]
    # A thread needs a connection of its own, which costs as much as some questions.
    threads = min(settings.jobs, 1 + len(names) // _QUESTIONS)
    progress = Progress("checking", "archives", len(names), quiet=settings.quiet)
    with progress, closing(in_threads(container.look_up, names, threads)) as answers:
        for name, found in answers:
            progress.advance(1)
            if found is not None:
                raise ListingError(
                    f"cannot list '{container.uri}': the listing was short, '{name}' is there but was not shown; "
                    "try again later"
                )


def absent(holding: Holding, tiles: Iterable[str], products: ProductSet) -> Iterator[str]:
    """Give the names of the archives of some tiles that a container does not hold."""
    full = (1 << len(products)) - 1
    return (
        name
        for tile in tiles
        if (lacking := full & ~holding.there.get(tile, 0))
        for name in _names(products, tile, lacking)
    )


def write_stamps(now: Availability, tiles: Iterable[str], stamps: Stamps, record: ListingRecord) -> int:
    """Bring the stamps of some tiles up to date with a listing, and its record; return how many changed.

    A stamp that is as the record says is neither read nor written. One whose content changed gets a strictly newer
    mtime, also where the date at the source went backwards.
    """
    on_disk = {state: stamps.tiles(state) for state in (AVAILABLE, INCOMPLETE)}
    downloaded: dict[str, int] | None = None
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
            downloaded = stamps.tiles(DOWNLOADED) if downloaded is None else downloaded
            above = newest([mtime_ns, on_disk[other].get(tile), downloaded.get(tile)])
            mtime_ns = stamps.write(state, tile, text, stamp.date_ns, above)
            changed += 1
        if tile in on_disk[other]:
            stamps.remove(other, tile)
        record.tiles[tile] = _Listed(digest, mtime_ns, 0)
    return changed


def _names(products: ProductSet, tile: str, bits: int) -> tuple[str, ...]:
    """Names of the archives of those products of a tile that the bits stand for."""
    if not bits:
        return ()
    return tuple(product.archive(tile) for place, product in enumerate(products) if bits >> place & 1)
