"""Inventory: the tiles of a run, and which of their archives are here as they were when they were verified."""

from __future__ import annotations

import os
from collections import ChainMap
from collections.abc import Collection, Mapping
from contextlib import suppress
from pathlib import Path, PurePosixPath

from retrieve.archives import Line, LocalFile, is_tar
from retrieve.decisions import cavern_path
from retrieve.host.disk import look, scan
from retrieve.selection import Selection
from retrieve.settings import Settings
from retrieve.stamps.stamps import AVAILABLE, DOWNLOADED, INCOMPLETE, Stamps
from retrieve.tiles import settle, union


def listed_tiles(settings: Settings, stamps: Stamps) -> list[str]:
    """The tiles of this run, sorted: those in the tile lists, or with ``TILES=all`` every tile seen so far.

    With SHARD, only that share of them.
    """
    lists = settings.lists()
    if lists is not None:
        tiles = set(union(lists))
    else:
        tiles = {tile for state in (AVAILABLE, INCOMPLETE, DOWNLOADED) for tile in stamps.tiles(state)}
    come = settled(tiles, stamps)
    return sorted(filter(settings.shard.owns, come) if settings.shard else come)


def settled(tiles: Collection[str], stamps: Stamps) -> tuple[str, ...]:
    """Tiles, or the jobs of several tiles in which they are to come."""
    return settle(tiles, stamps.jobs(), lambda one: stamps.mtime_ns(AVAILABLE, one))


def held_archives(settings: Settings) -> dict[str, LocalFile]:
    """Archives of the run's products that are here; with SHARD, only those of its tiles."""
    products, shard = settings.product_set(), settings.shard
    match = products.matcher().fullmatch

    def owned(name: str) -> bool:
        found = match(name)
        return bool(found and shard and shard.owns(products.number(found)))

    return scan(settings.archives, owned if shard else match)


def held_or_freed(
    record: dict[str, Line], unpacked: dict[str, Line], held: Mapping[str, LocalFile]
) -> tuple[dict[str, Line], Mapping[str, LocalFile]]:
    """Give the lines of a tile's record, and its files here; freed archives count as if they were still here.

    =====================================  ===================================  =================================
    on disk                                unpacked and freed (``KEEP=no``)     counts as
    =====================================  ===================================  =================================
    yes                                    anything                             what it is
    no                                     no, or as other content than         not here
                                           was recorded last
    no                                     yes                                  held as it was recorded
    =====================================  ===================================  =================================
    """
    freed = {name: one for name, one in unpacked.items() if one.freed and name not in held}
    if not freed:
        return record, held
    lines = freed | record
    here = {
        name: LocalFile(lines[name].bytes, lines[name].mtime_ns)
        for name, one in freed.items()
        if lines[name].own_md5 == one.own_md5
    }
    return lines, ChainMap(here, held)


def is_here(record: dict[str, Line], held: Mapping[str, LocalFile]) -> bool:
    """Whether all archives of a record look as they did when they were verified."""
    return bool(record) and not any(held.get(name) != (one.bytes, one.mtime_ns) for name, one in record.items())


def selected_are_unpacked(stamps: Stamps, tile: str, only: Selection) -> bool:
    """Whether each tar archive of a tile is unpacked, at least the files that are selected now."""
    unpacked = stamps.extracted(tile)
    return (
        bool(unpacked.only)
        and unpacked.only.covers(only)
        and all(
            name in unpacked.verified and unpacked.verified[name].md5 == one.md5
            for name, one in stamps.downloaded(tile).verified.items()
            if is_tar(name)
        )
    )


def frees(settings: Settings) -> bool:
    """Whether the archives of a tile are to be deleted once it is unpacked."""
    return not settings.keep or bool(settings.budget or settings.after)


def holds_source(settings: Settings) -> bool:
    """Whether ARCHIVES is the source itself, or a part of it, so that nothing in it may be deleted or replaced.

    The same files may go by several names: through a link, a mount, or another directory that links to them. CANFAR
    mounts ``arc:PATH`` at ``/arc/PATH``, and users do so elsewhere.
    """
    ends = {("arc", *PurePosixPath(path).parts) for path in map(cavern_path, settings.sources()) if path}
    parts = settings.archives.resolve().parts
    if any(parts[-len(end) :] == end for end in ends):
        return True
    directories = [path for path in map(Path, settings.sources()) if path.is_dir()]
    ours = _files(settings.archives) if directories else set()
    return any(_files(directory) & ours for directory in directories)


def _files(directory: Path) -> set[tuple[int, int]]:
    """Device and inode of a directory and of each file that it holds or links to."""
    found = {_file(status) for _, status in look(directory, lambda _: True)}
    with suppress(FileNotFoundError):
        found.add(_file(directory.stat()))
    return found


def _file(status: os.stat_result) -> tuple[int, int]:
    return status.st_dev, status.st_ino
