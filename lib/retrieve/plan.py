"""What is to be done: which archives of which tiles, decided from stamps and one look at the directory."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from retrieve.archives import Archive, Decision, Held, Verified, decide, md5_may_be_old, scan
from retrieve.result import some
from retrieve.settings import Settings
from retrieve.stamps import AVAILABLE, DOWNLOADED, INCOMPLETE, Record, Stamp, Stamps
from retrieve.tiles import read_lists, union


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


def listed_tiles(settings: Settings, stamps: Stamps) -> list[str]:
    """Tiles that a run is about, sorted: those of the lists, or with ``TILES=all`` every tile that was ever seen.

    Of these its share, if it has one.
    """
    lists = read_lists(settings.tiles)
    if lists is not None:
        tiles = set(union(lists))
    else:
        tiles = {tile for state in (AVAILABLE, INCOMPLETE, DOWNLOADED) for tile in stamps.tiles(state)}
    return sorted(filter(settings.shard.owns, tiles) if settings.shard else tiles)


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


def held_archives(settings: Settings) -> dict[str, Held]:
    """Archives of the products of a run that are here, and of its tiles if it has but a share of them."""
    match, shard = settings.product_set().matcher().fullmatch, settings.shard

    def owned(name: str) -> bool:
        found = match(name)
        return bool(found and shard and shard.owns(found[found.lastindex or 0]))

    return scan(settings.archives, owned if shard else match)


def held_or_freed(stamps: Stamps, tile: str, held: dict[str, Held]) -> tuple[Record, dict[str, Held]]:
    """Give the record of a tile, and what is held; with archives that were freed as if they were still here.

    =====================================  ===================================  =================================
    on disk                                unpacked and freed (``KEEP=no``)     counts as
    =====================================  ===================================  =================================
    yes                                    anything                             what it is
    no                                     no, or as other content than         not here
                                           was recorded last
    no                                     yes                                  held as it was recorded
    =====================================  ===================================  =================================
    """
    record = stamps.downloaded(tile)
    if is_here(record, held):
        return record, held
    freed = {
        name: one for name, one in stamps.extracted(tile).verified.items() if one.mtime_ns == 0 and name not in held
    }
    if not freed:
        return record, held
    verified = freed | record.verified
    here = {name: held[name] for name in verified if name in held}
    for name, one in freed.items():
        if verified[name].md5 == one.md5:
            here[name] = Held(verified[name].archive.bytes, verified[name].mtime_ns)
    return Record(record.source, verified), here


def untouched(text: str, held: dict[str, Held]) -> list[list[str]]:
    """Give the fields of the record that a stamp's text is, by line, if `is_here` holds for it; else nothing.

    Without making objects of thousands of stamps.
    """
    rows = [line.split("\t") for line in text.split("\n")[1:-1]]
    try:
        for row in rows:
            if held[row[0]] != (int(row[1]), int(row[4])):
                return []
    except (LookupError, ValueError):
        return []
    return rows


def is_here(record: Record, held: dict[str, Held]) -> bool:
    """Whether all archives of a record look as they did when they were verified."""
    return bool(record.verified) and all(
        held.get(name) == Held(one.archive.bytes, one.mtime_ns) for name, one in record.verified.items()
    )


@dataclass(frozen=True)
class Lack:
    """What a tile lacks here.

    Attributes
    ----------
    reason
        One of `REASONS`.
    names
        The archives that it is about.
    """

    reason: str
    names: tuple[str, ...]

    def __str__(self) -> str:
        if not self.names:
            return f"{self.reason}; run 'make avail'"
        return f"{self.reason}: {', '.join(self.names) if len(self.names) < 3 else some(len(self.names), 'archive')}"


#: Why archives of a tile may lack here, the gravest first: a tile is counted under the first that holds.
REASONS = NOT_LISTED, NOT_AT_SOURCE, DAMAGED, NEWER, NOT_FETCHED = (
    "not listed yet",
    "not at the source",
    "damaged",
    "newer at the source",
    "not fetched",
)


def lacks(plan: TilePlan, held: dict[str, Held]) -> list[Lack]:
    """Say what a tile lacks here and why, without reading any archive.

    ===================================  =======================================  ===================
    at the source                        here                                     reason
    ===================================  =======================================  ===================
    no, or 0 bytes                       nothing                                  not at the source
    yes                                  verified and unchanged                   (does not lack)
    with other content than recorded     verified as what it was                  newer at the source
    yes                                  cut or altered since it was verified     damaged
    yes                                  nothing, or what was never verified      not fetched
    ===================================  =======================================  ===================
    """
    found: dict[str, list[str]] = {reason: [] for reason in REASONS}
    for name in plan.stamp.lacking:
        if name not in held:
            found[NOT_AT_SOURCE].append(name)
    for archive in plan.stamp.archives:
        name = archive.name
        reason = lack_of(archive, plan.record.verified.get(name), held.get(name), plan.decisions[name])
        if reason:
            found[reason].append(name)
    return [Lack(reason, tuple(names)) for reason, names in found.items() if names]


def lack_of(archive: Archive, verified: Verified | None, held: Held | None, decision: Decision) -> str | None:
    """Say why an archive that is at the source lacks here; None if it does not. See `lacks`."""
    if decision is Decision.KEEP:
        return None
    if verified is None or held is None:
        return NOT_FETCHED
    return DAMAGED if verified.archive.same_content(archive) else NEWER
