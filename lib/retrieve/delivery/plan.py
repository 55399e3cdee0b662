"""Plan: which archives of which tiles are to be fetched or proved."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from retrieve.archives import Archive, LocalFile, Verified, same_content
from retrieve.decisions import Decision, decide, md5_may_be_old
from retrieve.products import ProductSet
from retrieve.settings import Settings
from retrieve.stamps.inventory import held_archives, held_or_freed, is_here, listed_tiles
from retrieve.stamps.stamps import AVAILABLE, DOWNLOADED, EXTRACTED, INCOMPLETE, UNFINISHED, Record, Stamp, Stamps


@dataclass(frozen=True)
class TilePlan:
    """What to do about one tile.

    Attributes
    ----------
    tile
        Tile number.
    stamp, stamp_ns
        The stamp of what is at the source, and its mtime.
    record
        The record of what was verified here before.
    decisions
        By archive name, in the order of the stamp.
    """

    tile: str
    stamp: Stamp
    stamp_ns: int
    record: Record
    decisions: dict[str, Decision]

    def kept(self) -> Iterator[Verified]:
        """Archives that are kept, as the source lists them now: the same bytes may have a newer date."""
        for archive in self.stamp.archives:
            if self.decisions[archive.name] is Decision.KEEP:
                yield replace(self.record.verified[archive.name], archive=archive)

    def todo(self) -> Iterator[tuple[str, Archive]]:
        """Tile and archive of each that is fetched or looked into, the largest first."""
        wanted = (one for one in self.stamp.archives if self.decisions[one.name] is not Decision.KEEP)
        return ((self.tile, archive) for archive in sorted(wanted, key=lambda one: one.bytes, reverse=True))

    def largest(self) -> int:
        """Bytes of the largest of them."""
        return next((archive.bytes for _, archive in self.todo()), 0)


def plan_download(settings: Settings, stamps: Stamps, stale: set[str]) -> list[TilePlan]:
    """Plan the tiles that are stale, and those whose archives are not as their stamp recorded them.

    Of the others only the record is read: it repeats what is at the source.
    """
    at_source = stamps.tiles(AVAILABLE).keys()
    if settings.partial:
        at_source |= stamps.tiles(INCOMPLETE).keys()
    unfinished, held, products = stamps.tiles(UNFINISHED), held_archives(settings), settings.product_set()
    plans = []
    for tile in listed_tiles(settings, stamps):
        if tile not in at_source:
            continue
        source, lines = stamps.lines(DOWNLOADED, tile)
        if tile not in stale and is_here(lines, held):
            continue
        if tile in unfinished:
            lines = lines | stamps.lines(UNFINISHED, tile)[1]
        lines, here = held_or_freed(lines, stamps.lines(EXTRACTED, tile)[1], held)
        if tile not in stale and tile not in unfinished and is_here(lines, here):
            continue
        found = stamps.source(tile)
        if found is not None and found[0].archives:
            if stamps.handed_on(tile) and not _is_as_before(found[0], stamps.extracted(tile), products):
                here = held  # the whole tile is to be handed on again
            record = Record(source, {name: one.verified() for name, one in lines.items() if one.mtime_ns is not None})
            plans.append(TilePlan(tile, *found, record, _decisions_for(found[0], record, here, products)))
    return plans


def _is_as_before(stamp: Stamp, before: Record, products: ProductSet) -> bool:
    """Whether all that is at the source of a tile is what was unpacked of it."""
    return all(
        one.name in before.verified
        and same_content(
            before.verified[one.name].archive,
            one,
            md5_may_be_old=md5_may_be_old(products.source(one.name, stamp.source)),
        )
        for one in stamp.archives
    )


def _decisions_for(
    stamp: Stamp, record: Record, held: Mapping[str, LocalFile], products: ProductSet
) -> dict[str, Decision]:
    """Decide about each archive of a tile."""
    return {
        one.name: decide(
            one,
            record.verified.get(one.name),
            held.get(one.name),
            md5_may_be_old=md5_may_be_old(products.source(one.name, stamp.source)),
        )
        for one in stamp.archives
    }
