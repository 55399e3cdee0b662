"""Standing: where every tile is between the source and the output tree, told from stamps, records and one `stat` each.

Neither the network nor the content of an archive is needed. Thousands of stamps are read: as lines, of which objects
are only made where it takes a decision.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from retrieve import decisions
from retrieve.archives import Archive, Held, Verified, nanoseconds
from retrieve.decisions import Lack, decide, md5_may_be_old
from retrieve.formats.kinds import is_tar
from retrieve.host.disk import hold
from retrieve.settings import Settings
from retrieve.stamps import inventory
from retrieve.stamps.members import members_path, read_members, without_file
from retrieve.stamps.runs import Run, read_runs
from retrieve.stamps.stamps import AVAILABLE, DOWNLOADED, EXTRACTED, Stamps, rows_of
from retrieve.stamps.stamps import INCOMPLETE as INCOMPLETE_STAMP

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
        What holds it up, in a line; empty if nothing does.
    bytes
        Of its archives at the source; 0 if unknown.
    date_ns
        Newest date of its archives at the source, in nanoseconds since 1970; 0 if unknown.
    """

    tile: str
    state: str
    why: str
    bytes: int
    date_ns: int


class ArchiveStanding(NamedTuple):
    """Where one archive of a tile stands.

    Attributes
    ----------
    there, bytes
        Fields of its line in the stamp of the source, and its bytes; None and 0 if it is not there.
    before
        Fields of its line in the record of what was verified here; None if it was not.
    held
        The file here; None without one.
    freed
        Whether it was deleted after it was unpacked.
    lack
        Why it lacks here, one of `REASONS`; None if it does not.
    state
        One of `STATES`.
    """

    product: str
    name: str
    there: list[str] | None
    bytes: int
    before: list[str] | None
    held: Held | None
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


class Failure(NamedTuple):
    """The last failure of a tile: the run in which it was, and the problem."""

    run: Run
    problem: str

    def __str__(self) -> str:
        return f"{self.run.verb}: {self.problem}"


def survey(settings: Settings, stamps: Stamps) -> Survey:
    """Look where every tile of a run stands."""
    runs = read_runs(stamps)
    mtimes = {state: stamps.tiles(state) for state in (AVAILABLE, INCOMPLETE_STAMP, DOWNLOADED, EXTRACTED)}
    look = _Look(settings, stamps, inventory.held_archives(settings), mtimes, last_failures(runs))
    tiles = tuple(map(look.stand, inventory.listed_tiles(settings, stamps)))
    return Survey(tiles, look.products(), runs)


def stand(tile: str, settings: Settings, stamps: Stamps, runs: Iterable[Run]) -> tuple[Standing, list[ArchiveStanding]]:
    """Look where one tile stands, and each of its archives."""
    names = [product.archive(tile) for product in settings.product_set()]
    held = {name: found for name in names if (found := hold(settings.archives / name))}
    states = (AVAILABLE, INCOMPLETE_STAMP, DOWNLOADED, EXTRACTED)
    mtimes = {state: {tile: ns} for state in states if (ns := stamps.mtime_ns(state, tile)) is not None}
    look = _Look(settings, stamps, held, {state: {} for state in states} | mtimes, last_failures(runs))
    return look.closely(tile, stamps.text(DOWNLOADED, tile))


def goal(settings: Settings) -> str:
    """State in which nothing is left to be done for a tile; files that are no archives are not unpacked."""
    return UNPACKED if any(is_tar(one.pattern) for one in settings.product_set()) else HERE


def last_failures(runs: Iterable[Run]) -> dict[str, Failure]:
    """Give the last failure of each tile that ever failed."""
    return {tile: Failure(run, problem) for run in runs for tile, problem in run.failed.items()}


class _Look:
    """Looks at tiles one by one, and adds up their archives by product."""

    def __init__(
        self,
        settings: Settings,
        stamps: Stamps,
        held: dict[str, Held],
        mtimes: dict[str, dict[str, int]],
        failures: dict[str, Failure],
    ) -> None:
        self._products = tuple(settings.product_set())
        self._partial = settings.partial
        self._stamps = stamps
        self._held = held
        self._available, self._incomplete, self._downloaded, self._extracted = mtimes.values()
        self._failures = failures
        self._whole: Counter[str] = Counter()
        self._counts: Counter[tuple[int, str]] = Counter()
        self._bytes = [0] * len(self._products)
        self._bytes_held = [0] * len(self._products)

    def products(self) -> tuple[ProductStanding, ...]:
        return tuple(
            ProductStanding(
                one.name,
                {state: self._counts[place, state] + self._whole[state] for state in STATES},
                self._bytes[place],
                self._bytes_held[place],
            )
            for place, one in enumerate(self._products)
        )

    def stand(self, tile: str) -> Standing:
        """Say where a tile stands, and count its archives."""
        record = self._stamps.text(DOWNLOADED, tile) if tile in self._downloaded else ""
        settled = self._settled(tile, record)
        if settled:
            return settled
        standing, archives = self.closely(tile, record)
        self._counts.update(enumerate([one.state for one in archives]))
        for place, one in enumerate(archives):
            self._bytes[place] += one.bytes
            if one.held:
                self._bytes_held[place] += one.held.bytes
        return standing

    def _settled(self, tile: str, record: str) -> Standing | None:
        """Tell of a tile of which nothing lacks."""
        if tile in self._failures or not self._is_answered(tile):
            return None
        rows = inventory.untouched(record, self._held)
        if len(rows) != len(self._products):
            return None
        total = 0
        for place, row in enumerate(rows):
            size = int(row[1])
            self._bytes[place] += size
            self._bytes_held[place] += size
            total += size
        state = UNPACKED if self._is_extracted(tile) else HERE
        self._whole[state] += 1
        return Standing(tile, state, "", total, nanoseconds(max(row[3] for row in rows)))

    def closely(self, tile: str, record: str) -> tuple[Standing, list[ArchiveStanding]]:
        """Look at each archive of a tile, of which the text of the record is given."""
        try:
            archives = list(self._archives(tile, record))
            dates = [one.there[3] for one in archives if one.there]
            date_ns = nanoseconds(max(dates)) if dates else 0
        except (ValueError, IndexError):
            why = f"a stamp of it is damaged; remove '{self._stamps.directory}/*/{tile}' and run 'make sync'"
            return Standing(tile, DAMAGED, why, 0, 0), []
        state, why = self._judge(tile, archives)
        failure = self._failure(tile, state)
        if failure:
            state, why = DAMAGED if failure.run.verb == "verify" else FAILED, str(failure)
            archives = [one._replace(state=state) if one.name in why else one for one in archives]
        return Standing(tile, state, why, sum(one.bytes for one in archives), date_ns), archives

    def _archives(self, tile: str, record: str) -> Iterator[ArchiveStanding]:
        listed = AVAILABLE if tile in self._available else INCOMPLETE_STAMP if tile in self._incomplete else None
        source, before = _rows(record)
        if not listed:
            there = {}
        elif listed == AVAILABLE and self._is_answered(tile):
            there = before
        else:
            source, there = _rows(self._stamps.text(listed, tile))
        done = self._is_extracted(tile)
        names = [product.archive(tile) for product in self._products]
        freed = {}
        if tile in self._extracted and not all(name in self._held for name in names):
            unpacked = _rows(self._stamps.text(EXTRACTED, tile))[1]
            freed = {name: row for name, row in unpacked.items() if row[4] == "0"}
        hollow = self._hollow(tile)
        for product, name in zip(self._products, names, strict=True):
            wanted, verified, held = there.get(name), before.get(name), self._held.get(name)
            as_held, gone = held, False
            if held is None and name in freed:
                verified = verified or freed[name]
                gone = md5_of_row(verified) == md5_of_row(freed[name])
                as_held = Held(int(verified[1]), int(verified[4])) if gone else None
            absent = decisions.NOT_AT_SOURCE
            if wanted is not None and wanted[1] in ("-", "0"):
                absent = decisions.EMPTY if wanted[1] == "0" else absent
                wanted = None
            if not listed:
                lack = decisions.NOT_LISTED
            elif wanted is None:
                lack = absent if as_held is None else None
            else:
                lack = _lack(wanted, verified, as_held, source)
            if lack is None and verified and hollow.get(name) == md5_of_row(verified):
                lack = decisions.WITHOUT_FILE
            state = _STATE_OF[lack] if lack else UNPACKED if done else HERE
            size = int(wanted[1]) if wanted else 0
            yield ArchiveStanding(product.name, name, wanted, size, verified, held, gone, lack, state)

    def _hollow(self, tile: str) -> dict[str, str]:
        """MD5s of archives that were unpacked and did not hold their file, for which `untar` fails each time."""
        if tile not in self._failures:
            return {}
        members = read_members(self._stamps, tile)
        return {name: members[name].md5 for name in without_file(members, tile)}

    def _is_answered(self, tile: str) -> bool:
        """Whether the record of a tile repeats the stamp of its source, which has the same mtime then."""
        listed_ns = self._available.get(tile, self._incomplete.get(tile))
        return listed_ns is not None and listed_ns == self._downloaded.get(tile)

    def _is_extracted(self, tile: str) -> bool:
        return self._extracted.get(tile, -1) >= self._downloaded.get(tile, 0)

    def _judge(self, tile: str, archives: list[ArchiveStanding]) -> tuple[str, str]:
        """Say where a tile stands and why, from what its archives lack: the gravest counts."""
        if tile not in self._available and tile not in self._incomplete:
            return UNSEEN, str(Lack(decisions.NOT_LISTED, ()))
        names: dict[str, list[str]] = {}
        for one in archives:
            if one.lack:
                names.setdefault(one.lack, []).append(one.name)
        if not names:
            return UNPACKED if self._is_extracted(tile) else HERE, ""
        lacking = [Lack(reason, tuple(names[reason])) for reason in decisions.REASONS if reason in names]
        nowhere = not any(one.there or one.held or one.freed or one.lack == decisions.EMPTY for one in archives)
        return UNSEEN if nowhere else _STATE_OF[lacking[0].reason], "; ".join(map(str, lacking))

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


def written_at(path: Path) -> datetime | None:
    """When a file was written or got its name (UTC), as the file system dates it; None without one.

    The mtime of a stamp or an archive is the date at the source.
    """
    try:
        return datetime.fromtimestamp(path.stat().st_ctime, UTC)
    except FileNotFoundError:
        return None


def unpacked_at(stamps: Stamps, tile: str) -> datetime | None:
    """When a tile was last unpacked (UTC); None if it is not.

    Its stamp is written anew when its archives are freed, its list of members when another tile brings one of its
    files: the earlier of both tells.
    """
    stamp = written_at(stamps.path(EXTRACTED, tile))
    return stamp and min(stamp, written_at(members_path(stamps, tile)) or stamp)


def _rows(text: str) -> tuple[str, dict[str, list[str]]]:
    """Source of a stamp, and the fields of its lines by archive; nothing of one that is not there."""
    source, rows = rows_of(text) if text else ("", [])
    return source, {row[0]: row for row in rows}


def _lack(wanted: list[str], verified: list[str] | None, held: Held | None, source: str) -> str | None:
    """Say why an archive that is at the source lacks here, from lines of stamps; None if it does not."""
    if verified is None or held is None:
        return decisions.NOT_FETCHED
    if verified[:4] == wanted[:4]:
        return None if held == (int(wanted[1]), int(verified[4])) else decisions.DAMAGED
    if wanted[2] != verified[2] and "-" not in (wanted[2], verified[2]):
        return decisions.NEWER
    archive, before = (
        Archive(row[0], int(row[1]), None if row[2] == "-" else row[2], row[3]) for row in (wanted, verified)
    )
    known = Verified(before, md5_of_row(verified), int(verified[4]))
    return decisions.lack_of(archive, known, held, decide(archive, known, held, md5_may_be_old=md5_may_be_old(source)))


def md5_of_row(row: list[str]) -> str:
    """MD5 of the bytes that a line of a record is about."""
    return row[5] if len(row) > 5 else row[2]
