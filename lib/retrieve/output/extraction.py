"""Extraction: whole tiles are unpacked, several at once, placed some at a time, and counted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field

from retrieve.errors import RetrieveError, remedy
from retrieve.host.processes import Workers
from retrieve.host.progress import Progress
from retrieve.output.forecast import check_room, need
from retrieve.output.staging import TileJob, TileOutcome, unpack_tile
from retrieve.output.tree import OUTPUT
from retrieve.settings import Settings

#: Tiles are placed together, since each time syncs the file system twice: so many, or after so many seconds.
_TILES, _SECONDS = 64, 10.0
#: Of a short run so many, and an eighth of it: the disk works while the rest is unpacked, rather than at the end.
_FEW = 8
#: Tiles that a full disk kept from being unpacked, after which the others are not tried.
_HOPELESS = 10


def extract(
    workers: Workers, jobs: list[TileJob], place: Callable[[list[TileOutcome]], Iterable[TileOutcome]]
) -> Iterator[TileOutcome]:
    """Unpack tiles with as many processes as there are cores, and place them some at a time.

    Parameters
    ----------
    place
        Gives unpacked tiles their places and stamps, and says what became of them.

    Yields
    ------
    TileOutcome
        For each tile; not for all if the disk is full.
    """
    waiting: list[TileOutcome] = []
    together = min(_TILES, max(_FEW, len(jobs) // _FEW))
    hopeless = 0
    due = time.monotonic() + _SECONDS
    with closing(workers.map(unpack_tile, jobs)) as outcomes:
        for outcome in outcomes:
            if outcome.problem:
                yield outcome
                hopeless += outcome.full
            else:
                waiting.append(outcome)
            if len(waiting) >= together or hopeless >= _HOPELESS or time.monotonic() > due:
                yield from place(waiting)
                waiting = []
                due = time.monotonic() + _SECONDS
            if hopeless >= _HOPELESS:
                return
    yield from place(waiting)


@dataclass
class Tally:
    """What came of a run: counts, and the problem of each tile that failed."""

    done: int = 0
    archives: int = 0
    files: int = 0
    outdone: int = 0
    left_out: int = 0
    half_ended: int = 0
    lacking: int = 0
    freed: int = 0
    freed_bytes: int = 0
    failed: dict[str, str] = field(default_factory=dict)


def prepare(jobs: list[TileJob], settings: Settings) -> None:
    """Make the output directory, and make sure that what is to be unpacked fits."""
    if not jobs:
        return
    output = settings.dest / OUTPUT
    if output.is_symlink() and not output.exists():
        raise RetrieveError(f"'{output}' is a link to '{output.readlink()}', which is not there; make that directory")
    try:
        output.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise RetrieveError(f"cannot make '{output}': {remedy(error)}; DEST says where") from error
    if not settings.force:
        check_room(need(jobs), output)


def unpack_tiles(outcomes: Iterable[TileOutcome], tally: Tally, progress: Progress) -> None:
    """Unpack and place tiles, count what comes of them, and say what goes wrong."""
    for outcome in outcomes:
        progress.advance(1)
        for line in _lines(outcome):
            progress.say(line)
        if outcome.problem:
            tally.failed[outcome.tile] = outcome.problem
            continue
        if outcome.refused or outcome.lacking:
            tally.failed[outcome.tile] = "; ".join(outcome.refused + outcome.lacking)
        else:
            tally.done += 1
        tally.archives += len(outcome.fresh)
        tally.files += outcome.files
        tally.outdone += len(outcome.outdone)
        tally.left_out += outcome.left_out
        tally.half_ended += outcome.half_ended
        tally.lacking += len(outcome.lacking) + len(outcome.empty)


def _lines(outcome: TileOutcome) -> Iterable[str]:
    if outcome.problem:
        yield outcome.problem
    yield from outcome.refused
    yield from outcome.lacking
    yield from outcome.empty
