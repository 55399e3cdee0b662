"""Inventory: the tiles of a run, and which of their archives are here as they were when they were verified."""

from __future__ import annotations

from retrieve.archives import Held
from retrieve.host.disk import scan
from retrieve.settings import Settings
from retrieve.stamps.stamps import AVAILABLE, DOWNLOADED, INCOMPLETE, Record, Stamps
from retrieve.tiles import read_lists, union


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
