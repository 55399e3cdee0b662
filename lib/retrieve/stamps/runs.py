"""The record of runs: a line of JSON for each run of a verb, beside the stamps that it worked on."""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from types import TracebackType
from typing import Any

from retrieve import VERSION
from retrieve.errors import AccessError, Full, remedy
from retrieve.host.events import LAST, LIMIT, Events
from retrieve.host.messages import complain
from retrieve.host.program import Interrupt
from retrieve.host.room import room
from retrieve.settings import Settings
from retrieve.stamps.stamps import AVAILABLE, DOWNLOADED, EXTRACTED, INCOMPLETE, Stamps
from retrieve.tiles import EXPOSURE, TILE
from retrieve.wording import some

#: A failure is recorded with at most so many characters.
_LONGEST = 300
#: By verb: the count in a run's result, what was done, and to what; empty for tiles or exposures.
_DID = {
    "avail": ("changed", "", "new or changed there"),
    "download": ("fetched", "archive", "fetched"),
    "untar": ("archives", "archive", "unpacked"),
    "missing": ("tiles", "", "missing"),
    "verify": ("tiles", "", "verified"),
}
#: Settings that may lead to credentials, and are not recorded.
_PRIVATE = ("CERTFILE", "TOKEN", "SBATCH", "ON_EVENT", "AFTER")


@dataclass(frozen=True)
class Run:
    """A run that ended, well or not.

    Attributes
    ----------
    begin, seconds
        Start (UTC), and duration.
    status
        Its exit status; 128 and more if it was stopped by a signal.
    shard
        Its share of the tiles, such as ``3/16``; empty without.
    settings
        Those that `avail` remembers, and those that were not the defaults.
    tiles
        Number of stamps by state when it ended.
    result
        What it did, in counts; ``failed`` has the problem of each tile that failed, ``error`` what ended the run.
    version
        Of the toolkit; empty for one that did not write it down.
    """

    verb: str
    begin: datetime
    seconds: float
    status: int
    shard: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    tiles: dict[str, int] = field(default_factory=dict)
    result: dict[str, Any] = field(default_factory=dict)
    version: str = ""

    @property
    def end(self) -> datetime:
        """When it ended."""
        return self.begin + timedelta(seconds=self.seconds)

    @property
    def failed(self) -> dict[str, str]:
        """Tiles that failed, each with its problem in a line."""
        return self.result.get("failed", {})

    def outcome(self) -> str:
        """Sum it up in a line."""
        error = self.result.get("error")
        count, noun, done = _DID[self.verb]
        unit = (EXPOSURE if EXPOSURE.place in self.settings.get("PRODUCTS", "") else TILE).name
        noun = noun or unit
        text = [str(error)] if error else [f"{some(self.result[count], noun)} {done}"] if count in self.result else []
        if self.failed:
            text.append(f"{some(len(self.failed), unit)} failed")
        return "; ".join(["stopped", *text] if self.status >= 128 else text)

    def data(self) -> dict[str, Any]:
        """Write it for programs."""
        return vars(self) | {"begin": self.begin.isoformat(timespec="milliseconds")}

    def line(self) -> str:
        """Write it as a line of the record."""
        return json.dumps(self.data()) + "\n"

    @classmethod
    def parse(cls, line: str) -> Run:
        """Read what `line` wrote.

        Raises
        ------
        ValueError, TypeError, KeyError
            If it is not such a line.
        """
        values = json.loads(line)
        return cls(**values | {"begin": datetime.fromisoformat(values["begin"])})


class Recorder:
    """Records a run when it ends, and tells `ON_EVENT` so, as a context within the lock of its stamps.

    Attributes
    ----------
    status
        Exit status of the run.
    result
        What came of it, as `Run` has it; the problems of a tile may be one text or several.
    events
        Tells what else happens in the run.
    """

    def __init__(self, verb: str, settings: Settings, stamps: Stamps) -> None:
        self.status = 0
        self.result: Mapping[str, Any] = {}
        self._verb = verb
        self._settings = settings
        self._stamps = stamps
        self.events = Events(settings.on_event, stamps.directory)

    def __enter__(self) -> Recorder:
        self._begin, self._clock = datetime.now(UTC), time.monotonic()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        result = dict(self.result)
        if "failed" in result:
            result["failed"] = {tile: _bounded(problem) for tile, problem in result["failed"].items()}
        if isinstance(error, Interrupt):
            self.status = error.status
        elif error is not None:
            self.status = 2
            result["error"] = _bounded(str(error))
        run = self._run(result)
        self._append(run)
        if isinstance(error, AccessError | Full):
            self.events.need("disk" if isinstance(error, Full) else "source", str(error))
        self._look_at_disks()
        self.events.ended(run.outcome(), run.data())
        self.events.finish(LAST if isinstance(error, Interrupt) else LIMIT)

    def _look_at_disks(self) -> None:
        for name, directory in ("ARCHIVES", self._settings.archives), ("DEST", self._settings.dest):
            with suppress(OSError):  # it is not there
                if room(directory).scarce:
                    self.events.need(
                        "disk", f"the disk of '{directory}' is nearly full; make room, or give {name} another directory"
                    )

    def _run(self, result: dict[str, Any]) -> Run:
        return Run(
            self._verb,
            self._begin,
            round(time.monotonic() - self._clock, 3),
            self.status,
            str(self._settings.shard or ""),
            {name: value for name, value in self._settings.telling().items() if name not in _PRIVATE},
            {state: self._stamps.count(state) for state in (AVAILABLE, INCOMPLETE, DOWNLOADED, EXTRACTED)},
            result,
            VERSION,
        )

    def _append(self, run: Run) -> None:
        shard = self._settings.shard
        path = self._stamps.directory / f"runs{shard.suffix if shard else ''}.jsonl"
        try:
            _append_line(path, run.line().encode())
        except OSError as problem:
            # The run itself is not affected.
            complain(f"cannot record this run in '{path}': {remedy(problem)}")


def read_runs(stamps: Stamps) -> list[Run]:
    """Read the runs of all shards, the oldest first; a line that was not written to its end is passed over."""
    runs = []
    for path in stamps.directory.glob("runs*.jsonl"):
        for line in path.read_text(encoding="utf-8").splitlines():
            with suppress(ValueError, TypeError, KeyError):
                runs.append(Run.parse(line))
    return sorted(runs, key=lambda run: run.begin)


def _append_line(path: os.PathLike[str], line: bytes) -> None:
    descriptor = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o666)
    try:
        end = os.fstat(descriptor).st_size
        if end and os.pread(descriptor, 1, end - 1) != b"\n":
            # The line of a run whose disk was full: it must not take this one with it.
            line = b"\n" + line
        if os.write(descriptor, line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    finally:
        os.close(descriptor)


def _bounded(problem: str | list[str]) -> str:
    text = problem if isinstance(problem, str) else "; ".join(problem)
    # A name may hold bytes that are not UTF-8.
    text = text.encode("utf-8", "backslashreplace").decode()
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
