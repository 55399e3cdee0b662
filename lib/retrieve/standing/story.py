"""Story: all that is known here of one tile, from its dates at the source to its unpacked files."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from retrieve.archives import date_of
from retrieve.decisions import EMPTY
from retrieve.errors import RetrieveError
from retrieve.settings import Settings
from retrieve.stamps.members import read_members
from retrieve.stamps.runs import read_runs
from retrieve.stamps.stamps import DONE, DOWNLOADED, Stamps
from retrieve.standing.history import Failure, last_failures, unpacked_at, written_at
from retrieve.standing.survey import UNSEEN, ArchiveStanding, Standing, stand
from retrieve.wording import size, some, table


@dataclass(frozen=True)
class Story:
    """What there is to tell of a tile.

    Attributes
    ----------
    source
        URI of the container; empty if the tile was not listed yet.
    verified, unpacked
        When its archives were last verified as a whole, and unpacked.
    files, left_out
        Number of files that were unpacked, and of links that were not.
    handed_on
        When AFTER took it, if it did and nothing was unpacked since.
    failure
        Its last try, successful or not.
    """

    standing: Standing
    source: str
    archives: list[ArchiveStanding]
    verified: datetime | None
    unpacked: datetime | None
    files: int
    left_out: int
    handed_on: datetime | None
    failure: Failure | None

    def lines(self) -> list[str]:
        """Write it for people."""
        one = self.standing
        text = [f"{one.tile}: {one.state}" + (f" ({one.why})" if one.why else "")]
        there = [archive for archive in self.archives if archive.there]
        if self.source:
            newest = f", newest of {_of_source(one.date)}" if there else ""
            text.append(
                f"at '{self.source}': {len(there)} of {some(len(self.archives), 'archive')}, {size(one.bytes)}{newest}"
            )
            rows = [("", "there", "date there", "here", "state"), *map(_row, self.archives)]
            text += [line.rstrip() for line in table(rows)]
        if self.verified:
            text.append(f"verified: {self.verified:%F %TZ}")
        if self.unpacked:
            left_out = f", {some(self.left_out, 'link')} left out" if self.left_out else ""
            text.append(f"unpacked: {self.unpacked:%F %TZ}, {some(self.files, 'file')}{left_out}")
        if self.handed_on:
            text.append(f"handed on: {self.handed_on:%F %TZ}")
        if self.failure:
            run, problem = self.failure
            since = "" if self.stands else "; put right since, or to be tried again"
            text.append(f"last failure: {run.begin:%F %TZ}, {run.verb}: {problem}{since}")
        return text

    @property
    def stands(self) -> bool:
        """Whether the last failure is what holds the tile up."""
        return self.failure is not None and self.standing.why == str(self.failure)

    def data(self) -> dict[str, Any]:
        """Write it for programs, as `status.schema.json` says."""
        one, failure = self.standing, self.failure
        return {
            "tile": one.tile,
            "state": one.state,
            "why": one.why,
            "source": self.source,
            "bytes": one.bytes,
            "archives": [_archive_data(archive) for archive in self.archives],
            "verified": _iso(self.verified),
            "unpacked": _iso(self.unpacked),
            "files": self.files,
            "left_out": self.left_out,
            "handed_on": _iso(self.handed_on),
            "failure": failure
            and {
                "verb": failure.run.verb,
                "begin": _iso(failure.run.begin),
                "problem": failure.problem,
                "stands": self.stands,
            },
        }


def tell(tile: str, settings: Settings, stamps: Stamps) -> Story:
    """Find out all about a tile.

    Raises
    ------
    RetrieveError
        If nothing is known of it.
    """
    runs = read_runs(stamps)
    standing, archives = stand(tile, settings, stamps, runs)
    found = stamps.source(tile)
    if not found and standing.state == UNSEEN and not any(one.held or one.before for one in archives):
        raise RetrieveError(f"nothing is known of tile '{tile}'; add it to your list of tiles and run 'make avail'")
    members = read_members(stamps, tile)
    done = stamps.extracted(tile).verified
    return Story(
        standing,
        " ".join(dict.fromkeys(one.container or found[0].source for one in settings.product_set())) if found else "",
        archives,
        written_at(stamps.path(DOWNLOADED, tile)),
        unpacked_at(stamps, tile),
        len({path for name in done if name in members for path in members[name].files}),
        sum(len(members[name].left_out) for name in done if name in members),
        written_at(stamps.path(DONE, tile)) if stamps.handed_on(tile) else None,
        last_failures(runs).get(tile),
    )


def _row(one: ArchiveStanding) -> tuple[str, ...]:
    here = size(one.held.bytes) if one.held else "freed" if one.freed else "-"
    if not one.there:
        absent = "empty there" if one.lack == EMPTY else "not there"
        return one.name, "-", "-", here, absent if one.lack else one.state
    return one.name, size(one.there.bytes), _of_source(one.there.date), here, one.state


def _archive_data(one: ArchiveStanding) -> dict[str, Any]:
    there, before, held = one.there, one.before, one.held
    return {
        "product": one.product,
        "name": one.name,
        "state": one.state,
        "there": there and {"bytes": there.bytes, "md5": there.md5, "date": there.date},
        "here": held and {"bytes": held.bytes, "date": date_of(held.mtime_ns)},
        "verified": before and {"bytes": before.bytes, "md5": before.own_md5, "date": before.date},
        "freed": one.freed,
    }


def _of_source(date: str) -> str:
    """Write a date of the source as times are written here, to the second."""
    return f"{date[:19].replace('T', ' ')}Z"


def _iso(time: datetime | None) -> str | None:
    return time and time.isoformat(timespec="milliseconds")
