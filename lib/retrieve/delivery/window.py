"""Window: how many transfers are made at once, found from how fast they are and from what the service refuses."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

from retrieve.stamps.runs import Run

#: Transfers at once to begin with, and by how many more it is tried at least.
BEGIN = 4
#: What an archive costs besides its bytes, in bytes: of small ones the number counts, of large ones the size.
_EACH = 1 << 20
#: By how much a round must be faster than the best before it, to be worth more transfers.
_FASTER = 1.1
#: Seconds after which a round ends although archives are under way since its begin: they are large.
_LONGEST = 2.0
#: Rounds in a row without a gain, after which no more are tried.
_ENOUGH = 2
#: Rounds without a refusal, after which one more than was refused is tried.
_HOLD = 32


class Found(NamedTuple):
    """What a run found out about a service, for the next one to begin with.

    Attributes
    ----------
    number
        Transfers at once that went well.
    refused
        More of them were refused; otherwise more were no faster, or not allowed.
    """

    number: int
    refused: bool

    @classmethod
    def parse(cls, values: Any) -> Found | None:  # noqa: ANN401 - as read from JSON
        """Read it from a record; None if it is not understood."""
        match values:
            case [int(number), bool(refused)] if number > 0:
                return cls(number, refused)
        return None

    @classmethod
    def in_runs(cls, runs: Iterable[Run]) -> dict[str, Found]:
        """By service, what the latest run that found out recorded."""
        found = {}
        for run in runs:
            known = run.result.get("at_once")
            for service, values in known.items() if isinstance(known, dict) else ():
                if one := cls.parse(values):
                    found[service] = one
        return found

    def share(self, count: int) -> Found:
        """What each of so many runs, all at the same time, may begin with."""
        return Found(max(self.number // count, 1), self.refused)


class Window:
    """Finds the number: it is told what came and what was refused, and when; it knows no thread and no clock.

    It judges by rounds, each as long as it takes as many archives to come as may be under way::

        what happened                              the next round has
        faster than any before, by a tenth         half as many more, at least as many as in the beginning
        not faster                                 as many again, or after the second time what the fastest had
        something was refused                      half as many
        nothing, since a refusal                   more by half of what lacks to the number that was not refused
        nothing, for 32 rounds                     one more than that; later 16, 8 … rounds are enough

    Parameters
    ----------
    most
        The largest number that it may give.
    found
        What an earlier run found.
    begin
        The number to begin with, if nothing was found.
    fixed
        The number is `most`, whatever happens.
    """

    def __init__(self, most: int, found: Found | None = None, *, begin: int = BEGIN, fixed: bool = False) -> None:
        self.number = most if fixed else min(found.number if found else begin, most)
        #: Tells what was begun before the last refusal from what was begun after it.
        self._epoch = 0
        self._most = most
        self._step = begin
        self._fixed = fixed
        self._refused = bool(found and found.refused)
        self._ceiling = self.number if self._refused else most
        self._grows = not self._refused
        self._best, self._best_number = 0.0, self.number
        self._flat = self._calm = 0
        self._hold = _HOLD
        self._begun = None
        self._work = self._archives = 0

    def began(self, now: float) -> int:
        """Count a transfer that begins at that time, in seconds; return what `refused` is to be told of it."""
        if self._begun is None:
            self._begun = now
        return self._epoch

    def moved(self, now: float, size: int = 0, archives: int = 0) -> None:
        """Count bytes that came, and archives that came to their end."""
        if self._fixed:
            return
        self._work += size + archives * _EACH
        self._archives += archives
        if self._archives >= self.number or now - self._begun >= _LONGEST:
            self._judge(self._work / max(now - self._begun, 1e-6))
            self._begin_round(now)

    def refused(self, now: float, epoch: int, under_way: int) -> None:
        """Count a transfer that was refused.

        Parameters
        ----------
        epoch
            What `began` returned: what was under way together is refused together, and halves it once.
        under_way
            How many there were, this one included.
        """
        if self._fixed:
            return
        if epoch == self._epoch:
            self._epoch += 1
            self.number = max(self.number // 2, 1)
            self._grows, self._refused, self._calm, self._hold = False, True, 0, _HOLD
            self._begin_round(now)
        self._ceiling = max(self.number, min(self._ceiling, under_way - 1))

    def found(self) -> Found | None:
        """What the next run may begin with; None if that is not known yet."""
        if self._fixed or (self._grows and self.number < self._most):
            return None
        return Found(self._ceiling if self._refused else self._best_number, self._refused)

    def _begin_round(self, now: float) -> None:
        self._begun, self._work, self._archives = now, 0, 0

    def _judge(self, rate: float) -> None:
        if self._grows:
            self._grow(rate)
            return
        self._calm += 1
        if self.number < self._ceiling:
            self.number += max((self._ceiling - self.number) // 2, 1)
        elif self._calm >= self._hold and self.number < self._most:
            self._calm, self._hold = 0, max(self._hold // 2, 1)
            self._try_more(rate)

    def _grow(self, rate: float) -> None:
        if rate > _FASTER * self._best:
            self._best, self._best_number, self._flat = rate, self.number, 0
            self.number = min(self.number + max(self.number // 2, self._step), self._ceiling)
        elif (flat := self._flat + 1) < _ENOUGH:
            self._flat = flat
        else:
            self.number = self._ceiling = self._best_number
            self._grows, self._calm, self._hold = False, 0, _HOLD

    def _try_more(self, rate: float) -> None:
        if self._refused:
            self._ceiling += 1
            self.number += 1
        else:
            self._ceiling, self._grows, self._flat, self._best = self._most, True, 0, 0.0
            self._grow(rate)
