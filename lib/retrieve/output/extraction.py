"""Extraction: whole tiles are unpacked, several at once, placed some at a time, and counted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from retrieve.errors import RetrieveError, remedy
from retrieve.host.processes import Workers
from retrieve.host.progress import Progress
from retrieve.host.room import check_room
from retrieve.output.forecast import Need, most_on_disk, need
from retrieve.output.placing import Placing, free
from retrieve.output.staging import TileJob, TileOutcome, clear, unpack_tile
from retrieve.output.tree import OUTPUT
from retrieve.output.unpack import UNLIMITED, Limits
from retrieve.settings import Settings
from retrieve.stamps.inventory import frees, holds_source, selected_are_unpacked
from retrieve.stamps.stamps import EXTRACTED, Stamps
from retrieve.wording import size, some

#: Tiles are placed together, since each time syncs the file system twice: so many, or after so many seconds.
_TILES, _SECONDS = 64, 10.0
#: In a short run, place an eighth of the tiles at a time (at least 8), so that the disk is busy during the rest.
_FEW = 8
#: Tiles that a full disk kept from being unpacked, after which the others are not tried.
_HOPELESS = 10


@dataclass
class Tally:
    """The result of a run: counts, and the problem of each tile that failed.

    Attributes
    ----------
    tiles
        Number of tiles that were to be unpacked.
    ratio
        The most that the files of a tile take up for each byte of its archives; 0 if it was not asked for.
    kept_back
        By tile: why it was not unpacked for want of room in BUDGET, or not taken by AFTER.
    to_redo
        Tiles to unpack again: one of their files had been replaced by another tile's, which has now been removed.
    """

    tiles: int = 0
    done: int = 0
    archives: int = 0
    files: int = 0
    superseded: int = 0
    left_out: int = 0
    half_ended: int = 0
    loose_ends: int = 0
    lacking: int = 0
    freed: int = 0
    handed_on: int = 0
    ratio: float = 0.0
    freed_bytes: int = 0
    to_redo: set[str] = field(default_factory=set)
    failed: dict[str, str] = field(default_factory=dict)
    kept_back: dict[str, str] = field(default_factory=dict)

    @property
    def untried(self) -> int:
        """Number of tiles that were not tried, since the disk was full."""
        return self.tiles - self.done - len(self.failed)

    def count(self, outcome: TileOutcome) -> bool:
        """Count the outcome of a tile, and say whether it is unpacked as it shall be."""
        if outcome.problem:
            self.failed[outcome.tile] = outcome.problem
            return False
        if outcome.refused or outcome.lacking:
            self.failed[outcome.tile] = "; ".join(outcome.refused + outcome.lacking)
        else:
            self.done += 1
        self.archives += len(outcome.fresh)
        self.files += outcome.files
        self.superseded += len(outcome.superseded)
        self.left_out += outcome.left_out
        self.half_ended += outcome.half_ended
        self.loose_ends += outcome.loose_ends
        self.lacking += len(outcome.lacking) + len(outcome.empty)
        return outcome.tile not in self.failed

    def lines(self, destination: Path) -> Iterator[str]:
        """Write it for people."""
        tiles = f"{some(self.done, 'tile')} with {some(self.files, 'file')}"
        unpacked = f"{some(self.archives, 'archive')} unpacked; {tiles} in '{destination / OUTPUT}'"
        yield unpacked if self.tiles else "nothing to unpack"
        for count, noun, text in (
            (self.superseded, "file", "came from two archives with different content; the newer is there"),
            (self.left_out, "link", "left out, to what is no file of the same archive"),
            (self.half_ended, "archive", "with half an end mark; all that is before it is unpacked"),
            (
                self.loose_ends,
                "FITS file",
                "whose last block is not filled up, or with zeros at the end; all data are there",
            ),
            (self.lacking, "archive", "without the file that it should hold; see above"),
            (self.freed, "archive", f"deleted, {size(self.freed_bytes)} freed"),
            (self.handed_on, "tile", "handed on, and removed here"),
        ):
            if count:
                yield f"{some(count, noun)} {text}"

    def problems(self) -> Iterator[str]:
        """Say what is left to be done."""
        if self.to_redo:
            yield f"{some(len(self.to_redo), 'tile')} to be unpacked again; run 'make untar' again"
        if self.failed:
            more = f", and {self.untried} {'was' if self.untried == 1 else 'were'} not tried" if self.untried else ""
            yield f"{len(self.failed)} of {some(self.tiles, 'tile')} failed{more}; see above"
        if self.kept_back:
            yield f"{some(len(self.kept_back), 'tile')} kept back; see above"

    def data(self) -> dict[str, object]:
        """Write it for programs."""
        counts = {name: value for name, value in vars(self).items() if name not in ("freed_bytes", "kept_back")}
        failed = self.failed | self.kept_back
        return counts | {"untried": self.untried, "to_redo": sorted(self.to_redo), "failed": failed}


class Extraction:
    """Unpacks tiles with as many processes as there are cores, and places them some at a time.

    Parameters
    ----------
    tiles
        All tiles of the run. Remains of a killed run are removed; with ``KEEP=no`` also archives that are unpacked.
    stale
        Those to unpack.
    """

    def __init__(self, tiles: list[str], stale: set[str], settings: Settings, stamps: Stamps) -> None:
        only = settings.only
        limits = UNLIMITED if settings.force else Limits()
        self._jobs = [
            TileJob(tile, stamps, settings.archives, settings.dest, settings.check, limits, settings.partial, only)
            for tile in tiles
            if tile in stale and not (only and selected_are_unpacked(stamps, tile, only))
        ]
        self._tiles = tiles
        self._settings = settings
        self._stamps = stamps
        self._keep = not frees(settings) or holds_source(settings)
        self.tally = Tally(len(self._jobs))

    def most_on_disk(self) -> dict[str, int]:
        """Bytes that each tile takes up at most once it is unpacked."""
        return most_on_disk(self._jobs)

    def leave_out(self, tiles: set[str]) -> None:
        """Leave some tiles to a later run."""
        self._jobs = [job for job in self._jobs if job.tile not in tiles]
        self.tally.tiles = len(self._jobs)
        clear(self._settings.dest, self._stamps, self._tiles)

    def need(self) -> Need:
        """Estimate the files and bytes to be unpacked."""
        return need(self._jobs)

    def run(self, workers: Workers, unpacked: Callable[[str], None] = lambda _: None) -> None:
        """Unpack the tiles; what fails is in the tally, and said at once.

        Raises
        ------
        RetrieveError
            If the output directory cannot be made, or there is no room for the files.
        """
        if self._jobs:
            self._prepare()
        progress = Progress("untar", unit="tiles", total=len(self._jobs), quiet=self._settings.quiet)
        try:
            with progress, closing(self._outcomes(workers)) as outcomes:
                for outcome in outcomes:
                    progress.advance(1)
                    for line in filter(None, (outcome.problem, *outcome.refused, *outcome.lacking, *outcome.empty)):
                        progress.say(line)
                    if self.tally.count(outcome) and outcome.tile not in self.tally.to_redo:
                        unpacked(outcome.tile)
            if not self._keep:
                self._free()
            elif frees(self._settings):
                progress.say(
                    f"nothing is deleted: '{self._settings.archives}' holds the source itself; leave out KEEP=no, "
                    "BUDGET and AFTER"
                )
        finally:
            clear(self._settings.dest, self._stamps, self._tiles)

    def _prepare(self) -> None:
        """Make the output directory, and check that the files will fit."""
        output = self._settings.dest / OUTPUT
        if output.is_symlink() and not output.exists():
            raise RetrieveError(
                f"'{output}' is a link to '{output.readlink()}', which is not there; make that directory"
            )
        try:
            output.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RetrieveError(f"cannot make '{output}': {remedy(error)}; DEST says where") from error
        if not self._settings.force:
            needed = self.need()
            check_room(needed.bytes_on_disk, needed.files, output, "DEST", "about ")

    def _outcomes(self, workers: Workers) -> Iterator[TileOutcome]:
        """Report each tile that failed; on a full disk, only the first ones."""
        settings = self._settings
        placing = Placing(self._jobs, self._stamps, settings.dest, keep=self._keep, shard=settings.shard)
        self.tally.to_redo = placing.to_redo
        waiting: list[TileOutcome] = []
        together = min(_TILES, max(_FEW, len(self._jobs) // _FEW))
        hopeless = 0
        due = time.monotonic() + _SECONDS
        with closing(workers.map(unpack_tile, self._jobs)) as outcomes:
            for outcome in outcomes:
                if outcome.problem:
                    yield outcome
                    hopeless += outcome.full
                else:
                    waiting.append(outcome)
                if len(waiting) >= together or hopeless >= _HOPELESS or time.monotonic() > due:
                    yield from placing.place(waiting)
                    waiting = []
                    due = time.monotonic() + _SECONDS
                if hopeless >= _HOPELESS:
                    return
        yield from placing.place(waiting)

    def _free(self) -> None:
        # A run that was killed may have left stamps that are not on disk yet.
        self._stamps.sync(EXTRACTED)
        for tile in self._stamps.tiles(EXTRACTED).keys() & self._tiles - self.tally.failed.keys():
            count, bytes_ = free(tile, self._stamps, self._settings.archives)
            self.tally.freed += count
            self.tally.freed_bytes += bytes_
