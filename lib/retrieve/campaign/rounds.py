"""Rounds of `sync` by Make, each after a check that the source answers; pauses grow while it is in trouble."""

from __future__ import annotations

import math
import os
import re
import subprocess
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import NamedTuple

from retrieve.campaign.make import make_command
from retrieve.errors import AccessError, RetrieveError, Transient
from retrieve.host.events import Events
from retrieve.host.messages import complain, remark
from retrieve.host.program import Interrupt, sleep
from retrieve.settings import UNFINISHED, Settings
from retrieve.source.credentials import find
from retrieve.source.opening import open_containers
from retrieve.stamps.stamps import AVAILABLE, Stamps
from retrieve.standing.survey import INCOMPLETE, UNPACKED, UNSEEN, goal, survey

#: Every so many seconds a round asks for all tiles, also for those that are here, to find changes.
ALL = 3600.0
#: The longest pause while the source gives no listing, as a multiple of the usual one.
LONGEST = 6
#: Seconds between two checks of a certificate that must be renewed.
_LOOK = 10.0
#: Of many tiles, so many are named.
_NAMED = 5
#: Make's own line about a failed recipe, which has already said why it failed.
_OF_MAKE = re.compile(r"\S*make(\[\d+\])?: ")


class Round(NamedTuple):
    """The result of a round.

    Attributes
    ----------
    tiles, complete, done
        Number of tiles on the list, complete at the source, and finished here.
    new
        How many were finished in this round.
    fetched, bytes
        Number of archives that were fetched, and their bytes.
    trouble
        Why the source gave no listing; empty if it did.
    """

    tiles: int = 0
    complete: int = 0
    done: int = 0
    new: int = 0
    fetched: int = 0
    bytes: int = 0
    trouble: str = ""

    @property
    def all_done(self) -> bool:
        """Whether nothing is left to wait for: each tile is here as listed just now."""
        return not self.trouble and self.done == self.tiles


class Rounds:
    """Takes rounds, and remembers what was said in one, so that it is not said again in the next.

    Attributes
    ----------
    goal
        What is to become of a tile: ``unpacked``, ``handed on`` with AFTER; ``here`` where nothing is to be unpacked.
    number
        How many rounds were begun.
    last
        Those of the last round.
    """

    def __init__(self, settings: Settings) -> None:
        self._state = goal(settings)
        self._hands_on = bool(settings.after) and self._state == UNPACKED
        self.goal = "handed on" if self._hands_on else self._state
        self.number = 0
        self._settings = settings
        self._stamps = Stamps(settings.stamps, settings.product_set().model)
        self.events = Events(settings.on_event, self._stamps.directory)
        self._answered = False
        self._without = 0
        self._problem = ""
        self._said: set[str] = set()
        self._lacking: set[str] = set()
        self._all_at = -math.inf
        self.last = Round()
        self.last = self.look()

    def take(self) -> Round:
        """Take a round.

        Raises
        ------
        RetrieveError
            If a tile list cannot be read, or the source refuses access at the very first attempt; later refusals are
            waited out.
        """
        self.number += 1
        self._settings.lists()
        begin = datetime.now(UTC)
        trouble = self._knock()
        all_at = time.monotonic()
        asks_for_all = all_at - self._all_at >= ALL
        said = set() if trouble else self._make("sync", {} if asks_for_all else {UNFINISHED: "yes"})
        self.last = self._round(begin, trouble)
        if self.last.trouble:
            # The tiles had no turn to say theirs again.
            self._said |= said
            self._without += 1
        else:
            self._said = said | self._make("report", {})
            self._without = 0
            self._all_at = all_at if asks_for_all else self._all_at
        return self.last

    def look(self) -> Round:
        """Look where the tiles stand, between two rounds or in the middle of one."""
        return self._round(datetime.now(UTC), "")

    def pause(self) -> float:
        """Seconds until the next round."""
        return pause(self._settings.every, self._without)

    def _knock(self) -> str:
        """Ask the source whether we may read it; return why not, after the problem was said where it is a new one."""
        try:
            for container in open_containers(self._settings):
                container.check()
        except RetrieveError as error:
            if isinstance(error, AccessError) and self._has_expired():
                return self._wait_for_certificate(error)
            if not (self._answered or isinstance(error, Transient)):
                raise
            self._complain(str(error))
            if isinstance(error, AccessError):
                self._call_for_help(error)
            return "the source does not answer"
        self._answered, self._problem = True, ""
        return ""

    def _wait_for_certificate(self, error: AccessError) -> str:
        """Wait until the certificate was renewed, which its file tells, then ask the source again."""
        self._complain(f"{error}; the watch goes on when that is done")
        self._call_for_help(error)
        while self._has_expired():
            sleep(min(self._settings.every, _LOOK))
        return self._knock()

    def _has_expired(self) -> bool:
        try:
            return bool(find(self._settings).problem)
        except AccessError:  # while it is being written
            return True

    def _complain(self, problem: str) -> None:
        """Say what keeps the source from us, once."""
        if problem != self._problem:
            complain(problem)
        self._problem = problem

    def _call_for_help(self, error: AccessError) -> None:
        self.events.need("source", str(error))
        self.events.finish()

    def _make(self, target: str, environment: dict[str, str]) -> set[str]:
        """Make a target in some more environment; show the new lines on its stderr, and return all of them."""
        said: set[str] = set()
        # A watch keeps the settings that it began with, even if another `make avail` is given others meanwhile.
        given = [f"{name}={value}".replace("$", "$$") for name, value in self._settings.given.items()]
        command = [*make_command(), target, *given]
        with subprocess.Popen(
            command,
            env=os.environ | environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
            errors="replace",
        ) as process:
            try:
                self._show(process.stderr, said)
            except Interrupt:
                process.terminate()
                self._show(process.stderr, said)
                raise
        return said

    def _show(self, lines: Iterable[str], said: set[str]) -> None:
        for line in lines:
            if _OF_MAKE.match(line):
                continue
            if line not in self._said | said:
                complain(line.rstrip("\n"))
            said.add(line)

    def _round(self, begin: datetime, trouble: str) -> Round:
        """Look where the tiles stand, and what the runs of a round that began then have done."""
        now = survey(self._settings, self._stamps)
        runs = [run for run in now.runs if run.begin >= begin]
        if any(run.verb == "avail" and run.status == 0 for run in runs):
            self._name_lacking({one.tile for one in now.tiles if one.state in (INCOMPLETE, UNSEEN)})
        elif not trouble:
            trouble = "the source gave no listing"
        fetched = [run.result for run in runs if run.verb == "download"]
        done = sum(one.state == self._state and self._is_gone(one.tile) for one in now.tiles)
        return Round(
            len(now.tiles),
            len(self._stamps.tiles(AVAILABLE).keys() & {one.tile for one in now.tiles}),
            done,
            done - self.last.done if self.number else 0,
            sum(one.get("fetched", 0) for one in fetched),
            sum(one.get("bytes", 0) for one in fetched),
            trouble,
        )

    def _is_gone(self, tile: str) -> bool:
        """Whether a tile is handed on, if it is to be."""
        return not self._hands_on or self._stamps.handed_on(tile)

    def _name_lacking(self, lacking: set[str]) -> None:
        """Say which tiles are not complete at the source, where that was not said before."""
        new = sorted(lacking - self._lacking)
        if new:
            more = f" and {len(new) - _NAMED} more" if len(new) > _NAMED else ""
            remark(
                self._settings,
                f"{self._settings.counted(len(new))} not complete at the source, waited for: "
                f"{', '.join(new[:_NAMED])}{more}; 'make missing' says what is missing",
            )
        self._lacking |= lacking


def pause(every: float, without: int) -> float:
    """Seconds from the end of a round to the next one.

    ==========================================  =======================
    rounds in a row without a listing            pause
    ==========================================  =======================
    0 or 1                                      `every`
    2, 3                                        twice, four times it
    4 or more                                   `LONGEST` times it
    ==========================================  =======================
    """
    return every * min(2 ** max(without - 1, 0), LONGEST)
