"""History: the last failure of a tile, and when what is here of it was verified and unpacked."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from retrieve.stamps.members import members_path
from retrieve.stamps.runs import Run
from retrieve.stamps.stamps import EXTRACTED, Stamps


class Failure(NamedTuple):
    """The last failure of a tile: the run in which it was, and the problem."""

    run: Run
    problem: str

    def __str__(self) -> str:
        return f"{self.run.verb}: {self.problem}"


def last_failures(runs: Iterable[Run]) -> dict[str, Failure]:
    """Give the last failure of each tile that ever failed."""
    return {tile: Failure(run, problem) for run in runs for tile, problem in run.failed.items()}


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
