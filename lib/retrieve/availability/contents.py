"""Contents: what each container holds of each tile, and which container a tile comes from."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from retrieve.archives import Archive
from retrieve.products import ProductSet
from retrieve.source.container import Listing, Way
from retrieve.stamps.stamps import Stamp
from retrieve.tiles import JOIN, settle


@dataclass(frozen=True)
class Contents:
    """What one container holds of each tile.

    Attributes
    ----------
    source
        URI of the container.
    full
        The products that it should have, as bits; the first product is the lowest bit.
    whole
        Whether the container was listed whole, so that nothing it holds is missing here.
    rows
        By tile number: an archive per product, None where it is absent.
    there
        By tile number: which products are there, as bits. An archive of 0 bytes is what a failed upload leaves, and
        counts as lacking.
    """

    source: str
    full: int
    whole: bool = True
    rows: dict[str, list[Archive | None]] = field(default_factory=dict)
    there: dict[str, int] = field(default_factory=dict)

    @classmethod
    def of(cls, source: str, listing: Listing, own: ProductSet, products: ProductSet) -> Contents:
        """Sort the archives of a listing by tile and product.

        Parameters
        ----------
        own
            The products that the container should have.
        """
        places = [place for place, product in enumerate(products) if product in own]
        contents = cls(source, sum(1 << place for place in places), listing.way is Way.WHOLE)
        match, number, width = own.matcher().fullmatch, own.number, len(products)
        rows, there = contents.rows, contents.there
        for name, archive in listing.archives.items():
            found = match(name)
            if found is None or found.lastindex is None:
                continue
            tile, place = number(found), places[found.lastindex - 1]
            if tile not in rows:
                rows[tile], there[tile] = [None] * width, 0
            rows[tile][place] = archive
            there[tile] |= (archive.bytes > 0) << place
        return contents

    def date_ns(self, tile: str) -> int:
        """Newest date among the archives of a tile, in nanoseconds since 1970."""
        return max(one.date_ns for one in self.rows[tile] if one)

    def with_others(self, others: Sequence[Contents]) -> Contents:
        """Combine these contents with those of containers that have products of their own."""
        both = Contents(self.source, self.full | sum(one.full for one in others))
        for contents in (self, *others):
            for tile, row in contents.rows.items():
                known = both.rows.get(tile, [None] * len(row))
                both.rows[tile] = [one or other for one, other in zip(known, row, strict=True)]
                both.there[tile] = both.there.get(tile, 0) | contents.there[tile]
        return both


@dataclass(frozen=True)
class Availability:
    """What complete listings showed.

    Attributes
    ----------
    products
        The products that were looked for.
    contents
        Contents of each container in the order of ``INPUT_PATH``, then of those of single products.
    """

    products: ProductSet
    contents: Sequence[Contents]
    _chosen: dict[str, Contents] = field(default_factory=dict, init=False, repr=False)
    _choice: tuple[Contents, ...] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        """Combine each container that can be chosen with those that every tile needs."""
        first = self.contents[0].full
        choice = [one for one in self.contents if one.full == first]
        others = [one for one in self.contents if one.full != first]
        object.__setattr__(self, "_choice", tuple(one.with_others(others) if others else one for one in choice))

    def choice(self) -> set[str]:
        """URIs of the containers from which one is chosen for each tile."""
        return {one.source for one in self._choice}

    @property
    def full(self) -> int:
        """The bits of a complete tile."""
        return (1 << len(self.products)) - 1

    def jobs(self) -> list[str]:
        """Jobs of several tiles of which any container holds an archive."""
        return [one for one in self.tiles() if JOIN in one]

    def settled(self, entries: Collection[str]) -> tuple[str, ...]:
        """The tiles, each replaced by the job of several tiles that brings it, if there is one."""

        def newest(tile: str) -> int | None:
            return self.chosen(tile).date_ns(tile) if self.is_complete(tile) else None

        return settle(entries, self.jobs(), newest)

    def tiles(self) -> set[str]:
        """Tiles of which any container holds an archive."""
        return {tile for one in self.contents for tile in one.rows}

    def chosen(self, tile: str) -> Contents:
        """Container that a tile is to come from; see `_choose`."""
        if len(self._choice) == 1:
            return self._choice[0]
        if tile not in self._chosen:
            self._chosen[tile] = self._choose(tile)
        return self._chosen[tile]

    def _choose(self, tile: str) -> Contents:
        """Choose the container that a tile comes from, as a whole: archives of two runs of ShapePipe do not mix.

        ==========================  ===================================
        complete in                 chosen
        ==========================  ===================================
        one or more containers      that with the newest archive
        none                        that with the most archives
        ==========================  ===================================

        Among equals it is the first in the order of ``INPUT_PATH``.
        """
        complete = [one for one in self._choice if one.there.get(tile) == self.full]
        if complete:
            return complete[0] if len(complete) == 1 else max(complete, key=lambda one: one.date_ns(tile))
        return max(self._choice, key=lambda one: one.there.get(tile, 0).bit_count())

    def there(self, tile: str) -> int:
        """Which products the chosen container has of a tile, as bits."""
        return self.chosen(tile).there.get(tile, 0)

    def is_complete(self, tile: str) -> bool:
        """Whether the archives of all products of a tile are there."""
        return self.there(tile) == self.full

    def stamp(self, tile: str) -> Stamp:
        """Stamp of a tile."""
        contents = self.chosen(tile)
        row = contents.rows.get(tile, ())
        there = tuple([one for one in row if one is not None and one.bytes])
        lacking = names_of(self.products, tile, self.full & ~contents.there.get(tile, 0))
        empty = tuple([one.name for one in row if one is not None and not one.bytes])
        return Stamp(contents.source, there, lacking, empty)

    def counts(self, tiles: Iterable[str]) -> dict[str, int]:
        """Number of tiles, among some, for which there is an archive of each product."""
        there = [self.there(tile) for tile in tiles]
        return {product.name: sum(bits >> place & 1 for bits in there) for place, product in enumerate(self.products)}


def names_of(products: ProductSet, tile: str, bits: int) -> tuple[str, ...]:
    """Names of the archives of those products of a tile that the bits stand for."""
    if not bits:
        return ()
    return tuple(product.archive(tile) for place, product in enumerate(products) if bits >> place & 1)
