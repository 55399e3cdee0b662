"""Stamping: each tile of a listing is stamped as complete or incomplete; only stamps that changed are written."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import NamedTuple

from retrieve.availability.contents import Availability
from retrieve.availability.record import Listed, ListingRecord
from retrieve.host.disk import sync_file_system
from retrieve.stamps.stamps import AVAILABLE, DOWNLOADED, INCOMPLETE, Stamps, newest


class _Wanted(NamedTuple):
    """The stamp that a tile should have: with its date, or with the mtime of the one on disk if that says the same."""

    tile: str
    state: str
    text: str
    digest: str
    date_ns: int
    mtime_ns: int | None


def count_changes(now: Availability, tiles: Iterable[str], stamps: Stamps, record: ListingRecord) -> int:
    """Count the stamps that `write_stamps` would write."""
    return sum(one.mtime_ns is None for one in _wanted(now, tiles, stamps, record, _on_disk(stamps)))


def write_stamps(now: Availability, tiles: Iterable[str], stamps: Stamps, record: ListingRecord) -> int:
    """Bring the stamps of some tiles up to date with a listing, and its record; return how many changed.

    A stamp that agrees with the record is neither read nor written. One whose content changed gets a strictly newer
    mtime, also where the date at the source went backwards. All are on disk before the first gets its name: the record
    spares reading a stamp again, so one that a power cut had torn would stay so.
    """
    on_disk = _on_disk(stamps)
    downloaded: dict[str, int] | None = None
    changed: list[tuple[str, str]] = []
    outdated: list[tuple[str, str]] = []
    for tile, state, text, digest, date_ns, found_ns in _wanted(now, tiles, stamps, record, on_disk):
        other, mtime_ns = INCOMPLETE if state == AVAILABLE else AVAILABLE, found_ns
        if mtime_ns is None:
            downloaded = stamps.tiles(DOWNLOADED) if downloaded is None else downloaded
            above = newest([on_disk[state].get(tile), on_disk[other].get(tile), downloaded.get(tile)])
            mtime_ns = stamps.prepare(state, tile, text, date_ns, above)
            changed.append((state, tile))
        if tile in on_disk[other]:
            outdated.append((other, tile))
        record.tiles[tile] = Listed(digest, mtime_ns, 0)
    if changed:
        sync_file_system(stamps.directory)
    for one in changed:
        stamps.publish(*one)
    if outdated:
        stamps.sync(AVAILABLE, INCOMPLETE)  # or a tile could be left without either
    for one in outdated:
        stamps.remove(*one)
    return len(changed)


def _on_disk(stamps: Stamps) -> dict[str, dict[str, int]]:
    return {state: stamps.tiles(state) for state in (AVAILABLE, INCOMPLETE)}


def _wanted(
    now: Availability, tiles: Iterable[str], stamps: Stamps, record: ListingRecord, on_disk: dict[str, dict[str, int]]
) -> Iterator[_Wanted]:
    for tile in tiles:
        stamp = now.stamp(tile)
        state, text = stamp.state, stamp.text()
        digest = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
        listed = record.tiles.get(tile)
        mtime_ns = on_disk[state].get(tile)
        unchanged = mtime_ns is not None and (
            (listed is not None and (listed.digest, listed.mtime_ns) == (digest, mtime_ns))
            or stamps.read(state, tile) == (text, mtime_ns)
        )
        # The dates of stamps that stay are not asked for: to compare texts of 88,000 archives takes a while.
        yield _Wanted(tile, state, text, digest, *((0, mtime_ns) if unchanged else (stamp.date_ns, None)))
