"""The record of the last listing: which archives there were, and which stamps say so."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from retrieve.availability.contents import Availability, Contents, names_of
from retrieve.host.disk import write_whole
from retrieve.products import ProductSet
from retrieve.source.container import Listing


class Listed(NamedTuple):
    """A line of the record: digest and mtime of a tile's stamp, and which archives were there."""

    digest: str
    mtime_ns: int
    there: int


class ListingRecord:
    """The record of the last listing: with it no stamp need be read, and it tells which archives vanished.

    Its first line names the sources, the second one the patterns of the products, the third one says of each source how
    many nodes it held when it was last listed whole, and how many seconds each of them took. Then a line per tile: its
    number, a digest and the mtime of its stamp, and which products were there, as the bits of a hexadecimal number: the
    lowest are those of the first source.
    """

    def __init__(self, path: Path, products: ProductSet) -> None:
        self.path = path
        self._products = products
        self._patterns = [f"{one.container}/{one.pattern}" if one.container else one.pattern for one in products]
        self._sources: list[str] = []
        self._known: dict[str, tuple[int, float]] = {}
        self.tiles = dict(self._read())

    def _read(self) -> Iterator[tuple[str, Listed]]:
        try:
            sources, patterns, *lines = self.path.read_text(encoding="utf-8").splitlines()
            names = sources.split("\t")[1:]
            # Older records do not have this line.
            if lines and lines[0].startswith("#"):
                for name, known in zip(names, lines.pop(0).split("\t")[1:], strict=True):
                    nodes, seconds = known.split()
                    self._known[name] = int(nodes), float(seconds)
            # A record of other products says nothing about these.
            if patterns.split("\t")[1:] == self._patterns:
                self._sources = names
            for line in lines:
                tile, digest, mtime_ns, there = line.split("\t")
                yield tile, Listed(digest, int(mtime_ns), int(there, 16))
        except (FileNotFoundError, ValueError):
            return

    def known(self, source: str) -> tuple[int, float]:
        """Nodes in a container, and seconds that each took, when it was last listed whole; 0 if it never was."""
        return self._known.get(source, (0, 0.0))

    def vanished(self, contents: Contents, tiles: Iterable[str]) -> list[str]:
        """Names of archives that a source had at the last listing and has not any more.

        After a listing in parts, only those of the tiles that were asked for.
        """
        return [
            name
            for tile in (self.tiles if contents.whole else tiles)
            if (gone := self._there(tile, contents.source) & contents.full & ~contents.there.get(tile, 0))
            for name in names_of(self._products, tile, gone)
        ]

    def _there(self, tile: str, source: str) -> int:
        """Which products of a tile a source had at the last listing, as bits."""
        if tile not in self.tiles or source not in self._sources:
            return 0
        return self.tiles[tile].there >> self._sources.index(source) * len(self._products)

    def write(self, now: Availability, listings: Iterable[Listing], tiles: Iterable[str]) -> None:
        """Replace the record; of tiles that were not asked for, the old lines still hold."""
        size, looked_at = len(self._products), set(tiles)
        known = {
            contents.source: (one.nodes, one.seconds or 0.0) if contents.whole else self.known(contents.source)
            for contents, one in zip(now.contents, listings, strict=True)
        }
        lines = [
            "\t".join(["#", *known]),
            "\t".join(["#", *self._patterns]),
            "\t".join(["#", *(f"{nodes} {seconds:.3g}" for nodes, seconds in known.values())]),
        ]
        for tile, one in self.tiles.items():
            there = 0
            for place, contents in enumerate(now.contents):
                if contents.whole or tile in looked_at:
                    there |= contents.there.get(tile, 0) << size * place
                else:
                    there |= (self._there(tile, contents.source) & (1 << size) - 1) << size * place
            lines.append(f"{tile}\t{one.digest}\t{one.mtime_ns}\t{there:x}")
        write_whole(self.path, "\n".join(lines) + "\n")
