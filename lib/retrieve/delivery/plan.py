"""Plan: which archives of which tiles are to be fetched or proved, and what a tile lacks here."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from retrieve.archives import Archive, Held, Verified
from retrieve.decisions import EMPTY, NOT_AT_SOURCE, REASONS, Decision, Lack, decide, lack_of, md5_may_be_old
from retrieve.settings import Settings
from retrieve.stamps.inventory import held_archives, held_or_freed, is_here, listed_tiles, untouched
from retrieve.stamps.stamps import AVAILABLE, DOWNLOADED, INCOMPLETE, Record, Stamp, Stamps


@dataclass(frozen=True)
class TilePlan:
    """What is to be done about one tile.

    Attributes
    ----------
    tile
        Tile number.
    stamp, stamp_ns
        What is at the source, and the mtime of that stamp.
    record
        What was verified here before.
    decisions
        By archive name, in the order of the stamp.
    """

    tile: str
    stamp: Stamp
    stamp_ns: int
    record: Record
    decisions: dict[str, Decision]

    def kept(self) -> Iterator[Verified]:
        """What is simply kept, as it is at the source now: its date may be newer than that of the same bytes before."""
        for archive in self.stamp.archives:
            if self.decisions[archive.name] is Decision.KEEP:
                yield replace(self.record.verified[archive.name], archive=archive)

    def todo(self) -> Iterator[tuple[str, Archive]]:
        """Tile and archive of whatever is not simply kept."""
        return (
            (self.tile, archive) for archive in self.stamp.archives if self.decisions[archive.name] is not Decision.KEEP
        )


def plan_tile(tile: str, stamp: Stamp, stamp_ns: int, record: Record, held: dict[str, Held]) -> TilePlan:
    """Decide about each archive of a tile; see `decide`."""
    may_be_old = md5_may_be_old(stamp.source)
    return TilePlan(
        tile,
        stamp,
        stamp_ns,
        record,
        {
            one.name: decide(one, record.verified.get(one.name), held.get(one.name), md5_may_be_old=may_be_old)
            for one in stamp.archives
        },
    )


def plan_download(settings: Settings, stamps: Stamps, stale: set[str]) -> list[TilePlan]:
    """Plan the tiles that are stale, and those whose archives are not as their stamp recorded them.

    Of the others only the record is read: it repeats what is at the source.
    """
    at_source = stamps.tiles(AVAILABLE).keys()
    if settings.partial:
        at_source |= stamps.tiles(INCOMPLETE).keys()
    held = held_archives(settings)
    plans = []
    for tile in listed_tiles(settings, stamps):
        if tile not in at_source:
            continue
        if tile not in stale and untouched(stamps.text(DOWNLOADED, tile), held):
            continue
        record, here = held_or_freed(stamps, tile, held)
        if tile not in stale and is_here(record, here):
            continue
        found = stamps.source(tile)
        if found is not None and found[0].archives:
            plans.append(plan_tile(tile, *found, record, here))
    return plans


def settled(stamps: Stamps, held: dict[str, Held]) -> Iterator[str]:
    """Give the complete tiles of which nothing lacks here.

    Only their record is read: it repeats the stamp that it answers, which has the same mtime.
    """
    at_source, downloaded = stamps.tiles(AVAILABLE), stamps.tiles(DOWNLOADED)
    return (
        tile
        for tile, mtime_ns in at_source.items()
        if downloaded.get(tile) == mtime_ns and untouched(stamps.text(DOWNLOADED, tile), held)
    )


def lacks(plan: TilePlan, held: dict[str, Held]) -> list[Lack]:
    """Say what a tile lacks here and why, without reading any archive.

    ===================================  =======================================  ===================
    at the source                        here                                     reason
    ===================================  =======================================  ===================
    no                                   nothing                                  not at the source
    0 bytes                              nothing                                  there, but empty
    yes                                  verified and unchanged                   (does not lack)
    with other content than recorded     verified as what it was                  newer at the source
    yes                                  cut or altered since it was verified     damaged
    yes                                  nothing, or what was never verified      not fetched
    ===================================  =======================================  ===================
    """
    found: dict[str, list[str]] = {reason: [] for reason in REASONS}
    for name in plan.stamp.lacking:
        if name not in held:
            found[EMPTY if name in plan.stamp.empty else NOT_AT_SOURCE].append(name)
    for archive in plan.stamp.archives:
        name = archive.name
        reason = lack_of(archive, plan.record.verified.get(name), held.get(name), plan.decisions[name])
        if reason:
            found[reason].append(name)
    return [Lack(reason, tuple(names)) for reason, names in found.items() if names]
