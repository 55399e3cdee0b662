"""Survey: where every tile is between the source and the output tree, and what it lacks here.

It reads stamps and the record of runs, and looks at each archive with one `stat`: no network, no archive is read. Most
tiles of thousands are whole, and for these the lines of one stamp are enough; only the others are looked at closely.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from operator import add
from typing import NamedTuple

from retrieve import decisions
from retrieve.archives import Line, LocalFile, is_tar
from retrieve.decisions import REASONS, Lack, lack_of, md5_may_be_old
from retrieve.host.disk import local_file
from retrieve.settings import Settings
from retrieve.stamps import inventory
from retrieve.stamps.lines import read_stamp
from retrieve.stamps.members import read_members, without_file
from retrieve.stamps.runs import Run, read_runs
from retrieve.stamps.stamps import AVAILABLE, DOWNLOADED, EXTRACTED, UNFINISHED, Stamps
from retrieve.stamps.stamps import INCOMPLETE as INCOMPLETE_STAMP
from retrieve.standing.history import Failure, last_failures, written_at

#: Where a tile may stand.
STATES = UNPACKED, HERE, AT_SOURCE, NEWER, DAMAGED, FAILED, INCOMPLETE, UNSEEN = (
    "unpacked",
    "here",
    "at the source",
    "newer there",
    "damaged",
    "failed",
    "incomplete there",
    "not seen there",
)
#: States of the stamps that are asked for their mtimes only.
_DATED = (AVAILABLE, INCOMPLETE_STAMP, UNFINISHED, EXTRACTED)
#: What the gravest lack of a tile makes of it.
_STATE_OF = {
    decisions.NOT_LISTED: UNSEEN,
    decisions.NOT_AT_SOURCE: INCOMPLETE,
    decisions.EMPTY: INCOMPLETE,
    decisions.DAMAGED: DAMAGED,
    decisions.NEWER: NEWER,
    decisions.NOT_FETCHED: AT_SOURCE,
    decisions.WITHOUT_FILE: FAILED,
}


class Standing(NamedTuple):
    """Where one tile stands.

    Attributes
    ----------
    tile
        Tile number.
    state
        One of `STATES`.
    why
        What holds it up, in a line: its failure if that is the last that is known of it, otherwise what it lacks; empty
        if nothing does.
    bytes
        Of its archives at the source; 0 if unknown.
    date
        Newest date of its archives at the source, as the source writes it; empty if unknown.
    lacks
        What it lacks here, the gravest first.
    """

    tile: str
    state: str
    why: str = ""
    bytes: int = 0
    date: str = ""
    lacks: tuple[Lack, ...] = ()


class ArchiveStanding(NamedTuple):
    """Where one archive of a tile stands.

    Attributes
    ----------
    there
        Its line in the stamp of the source; None if it is not there.
    before
        Its line in the record of what was verified here; None if it was not.
    held
        The file here; None without one.
    freed
        Whether it was deleted after it was unpacked.
    lack
        Why it is missing here, one of `REASONS`; None if it does not.
    state
        One of `STATES`.
    """

    product: str
    name: str
    there: Line | None
    before: Line | None
    held: LocalFile | None
    freed: bool
    lack: str | None
    state: str


@dataclass(frozen=True)
class ProductStanding:
    """Where the archives of one product stand.

    Attributes
    ----------
    counts
        How many there are in each state.
    bytes, held
        Bytes at the source, and of the files here.
    """

    product: str
    counts: dict[str, int]
    bytes: int
    held: int


@dataclass(frozen=True)
class Survey:
    """Where everything stands.

    Attributes
    ----------
    tiles
        Those that a run would be about, sorted.
    products
        The same by product.
    runs
        The record of runs, the oldest first.
    """

    tiles: tuple[Standing, ...]
    products: tuple[ProductStanding, ...]
    runs: list[Run]

    def counts(self) -> dict[str, int]:
        """Count the tiles in each state."""
        found = Counter(one.state for one in self.tiles)
        return {state: found[state] for state in STATES}


def survey(settings: Settings, stamps: Stamps) -> Survey:
    """Look where every tile of a run stands."""
    runs = read_runs(stamps)
    mtimes = [stamps.tiles(state) for state in _DATED]
    surveyor = _Surveyor(settings, stamps, inventory.held_archives(settings), mtimes, last_failures(runs))
    tiles = tuple(map(surveyor.count, inventory.listed_tiles(settings, stamps)))
    return Survey(tiles, surveyor.products(), runs)


def stand(tile: str, settings: Settings, stamps: Stamps, runs: Iterable[Run]) -> tuple[Standing, list[ArchiveStanding]]:
    """Look where one tile stands, and each of its archives."""
    names = [product.archive(tile) for product in settings.product_set()]
    held = {name: found for name in names if (found := local_file(settings.archives / name))}
    mtimes = [{tile: ns} if (ns := stamps.mtime_ns(state, tile)) is not None else {} for state in _DATED]
    return _Surveyor(settings, stamps, held, mtimes, last_failures(runs)).look(tile)


def goal(settings: Settings) -> str:
    """State in which nothing is left to be done for a tile; files that are no archives are not unpacked."""
    return UNPACKED if any(is_tar(one.pattern) for one in settings.product_set()) else HERE


class _Found(NamedTuple):
    """A stamp as it was read: the source, lines by name, and its mtime; empty without one."""

    source: str
    lines: dict[str, Line]
    mtime_ns: int | None


class _Surveyor:
    """Looks at tiles one by one, and adds up their archives by product.

    Parameters
    ----------
    mtimes
        Of the stamps in each of the states `_DATED`, by tile.
    """

    def __init__(
        self,
        settings: Settings,
        stamps: Stamps,
        held: dict[str, LocalFile],
        mtimes: list[dict[str, int]],
        failures: dict[str, Failure],
    ) -> None:
        self._products = tuple(settings.product_set())
        self._partial = settings.partial
        self._only = settings.only
        self._stamps = stamps
        self._held = held
        self._available, self._incomplete, self._unfinished, self._extracted = mtimes
        self._failures = failures
        self._whole: Counter[str] = Counter()
        self._counts: Counter[tuple[int, str]] = Counter()
        self._bytes = self._bytes_held = self._bytes_whole = [0] * len(self._products)

    def products(self) -> tuple[ProductStanding, ...]:
        """Say where the archives of each product stand, of the tiles that were looked at."""
        return tuple(
            ProductStanding(
                one.name,
                {state: self._counts[place, state] + self._whole[state] for state in STATES},
                self._bytes[place] + self._bytes_whole[place],
                self._bytes_held[place] + self._bytes_whole[place],
            )
            for place, one in enumerate(self._products)
        )

    def look(self, tile: str) -> tuple[Standing, list[ArchiveStanding]]:
        """Say where a tile stands, and each of its archives; none of them if one of its stamps is damaged."""
        try:
            return self._closely(tile, self._read(DOWNLOADED, tile))
        except ValueError:
            return self._damaged(tile), []

    def count(self, tile: str) -> Standing:
        """Say where a tile stands, and count its archives."""
        try:
            record = self._read(DOWNLOADED, tile)
            whole = self._whole_tile(tile, record)
            if whole:
                return whole
            standing, archives = self._closely(tile, record)
        except ValueError:
            return self._damaged(tile)
        self._counts.update(enumerate([one.state for one in archives]))
        self._bytes = list(map(add, self._bytes, [one.there.bytes if one.there else 0 for one in archives]))
        self._bytes_held = list(map(add, self._bytes_held, [one.held.bytes if one.held else 0 for one in archives]))
        return standing

    def _read(self, state: str, tile: str) -> _Found:
        found = self._stamps.read(state, tile)
        return _Found(*read_stamp(found[0]), found[1]) if found else _Found("", {}, None)

    def _damaged(self, tile: str) -> Standing:
        why = f"a stamp of it is damaged; remove '{self._stamps.directory}/*/{tile}' and run 'make sync'"
        return Standing(tile, DAMAGED, why, lacks=(Lack(decisions.DAMAGED, (), why),))

    def _whole_tile(self, tile: str, record: _Found) -> Standing | None:
        """Tell of a tile that did not fail and lacks nothing, from its record alone; None if it is not known to be one.

        The record repeats the stamp of the source that it answers, which has the same mtime.
        """
        lines = record.lines
        if tile in self._failures or self._listed_ns(tile) != record.mtime_ns or len(lines) != len(self._products):
            return None
        if not inventory.is_here(lines, self._held):
            return None
        sizes = [line.bytes for line in lines.values()]
        self._bytes_whole = list(map(add, self._bytes_whole, sizes))
        state = self._final(tile, record)
        self._whole[state] += 1
        return Standing(tile, state, "", sum(sizes), max([line.date for line in lines.values()]))

    def _closely(self, tile: str, record: _Found) -> tuple[Standing, list[ArchiveStanding]]:
        final = self._final(tile, record)
        archives = list(self._archives(tile, record, final))
        lacks, there = _lacks(archives), [one.there for one in archives if one.there]
        state, why = _STATE_OF[lacks[0].reason] if lacks else final, "; ".join(map(str, lacks))
        if lacks and not there and not any(one.held or one.freed or one.lack == decisions.EMPTY for one in archives):
            state = UNSEEN
        failure = self._failure(tile, state)
        if failure:
            verb, why = failure.run.verb, str(failure)
            state = DAMAGED if verb == "verify" else FAILED
            archives = [one._replace(state=state) if one.name in why else one for one in archives]
            lacks = tuple([_tried(lack, failure.problem) for lack in lacks]) if verb == "download" else lacks
        date = max([one.date for one in there], default="")
        return Standing(tile, state, why, sum([one.bytes for one in there]), date, lacks), archives

    def _archives(self, tile: str, record: _Found, final: str) -> Iterator[ArchiveStanding]:
        listed_ns, names = self._listed_ns(tile), [product.archive(tile) for product in self._products]
        source, there = record.source, record.lines
        if tile not in self._available or listed_ns != record.mtime_ns:
            source, there, _ = self._read(AVAILABLE if tile in self._available else INCOMPLETE_STAMP, tile)
        freeable = tile in self._extracted and not all(name in self._held for name in names)
        unpacked = self._read(EXTRACTED, tile).lines if freeable else {}
        verified_since = self._stamps.lines(UNFINISHED, tile)[1] if tile in self._unfinished else {}
        lines, here = inventory.held_or_freed(record.lines | verified_since, unpacked, self._held)
        hollow = self._hollow(tile)
        for product, name in zip(self._products, names, strict=True):
            wanted, verified, held, as_held = there.get(name), lines.get(name), self._held.get(name), here.get(name)
            lack = decisions.NOT_LISTED
            if listed_ns is not None:
                may_be_old = md5_may_be_old(product.container or source)
                lack = lack_of(wanted, verified, as_held, md5_may_be_old=may_be_old)
            if lack is None and verified and hollow.get(name) == verified.own_md5:
                lack = decisions.WITHOUT_FILE
            state = _STATE_OF[lack] if lack else final
            at_source, freed = wanted if wanted and wanted.bytes else None, held is None and as_held is not None
            yield ArchiveStanding(product.name, name, at_source, verified, held, freed, lack, state)

    def _hollow(self, tile: str) -> dict[str, str]:
        """MD5s of archives that were unpacked and did not hold their file, for which `untar` fails each time."""
        if tile not in self._failures or self._stamps.extracted(tile).only:
            return {}
        members = read_members(self._stamps, tile)
        return {name: members[name].md5 for name in without_file(members, tile)}

    def _listed_ns(self, tile: str) -> int | None:
        """Mtime of the stamp of what is at the source of a tile; None if it is not listed."""
        return self._available.get(tile, self._incomplete.get(tile))

    def _final(self, tile: str, record: _Found) -> str:
        """State of a tile that lacks nothing."""
        done = self._extracted.get(tile, -1) >= (record.mtime_ns or 0)
        some = self._only and inventory.selected_are_unpacked(self._stamps, tile, self._only)
        return UNPACKED if done or some else HERE

    def _failure(self, tile: str, state: str) -> Failure | None:
        """Give the failure of the step that is due for a tile, if that was its last try and nothing came since.

        What `verify` found holds until the tile was fetched or unpacked again.
        """
        failure = self._failures.get(tile)
        if failure is None or state in (UNPACKED, UNSEEN):
            return None
        verb = failure.run.verb
        due = "untar" if state == HERE else "download" if state != INCOMPLETE or self._partial else None
        if verb not in ("verify", due):
            return None
        answers = (DOWNLOADED,) if verb == "download" else (DOWNLOADED, EXTRACTED)
        since = [written for one in answers if (written := written_at(self._stamps.path(one, tile)))]
        return None if since and max(since) > failure.run.end else failure


def _lacks(archives: list[ArchiveStanding]) -> tuple[Lack, ...]:
    """Gather what is missing by reason, the gravest first."""
    names: dict[str, list[str]] = {}
    for one in archives:
        if one.lack:
            names.setdefault(one.lack, []).append(one.name)
    if decisions.NOT_LISTED in names:
        return (Lack(decisions.NOT_LISTED, (), f"{decisions.NOT_LISTED}; run 'make avail'"),)
    return tuple([Lack(reason, tuple(names[reason])) for reason in REASONS if reason in names])


def _tried(lack: Lack, problem: str) -> Lack:
    """Say of what was to be fetched what the last try met."""
    if lack.reason not in (decisions.NOT_FETCHED, decisions.NEWER, decisions.DAMAGED):
        return lack
    return replace(lack, text=problem if lack.names[1:] else problem.removeprefix(f"cannot fetch '{lack.names[0]}': "))
