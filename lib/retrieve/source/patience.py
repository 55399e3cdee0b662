"""Patience: trying again what may pass, a bounded number of times, and not being faster than allowed."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from typing import TypeVar

from retrieve.errors import Transient

_First = TypeVar("_First")

#: Seconds before the first further try; doubled for each one after it, up to `LONGEST`.
SHORTEST, LONGEST = 0.25, 30.0
#: The longest that a server may make us wait, in seconds.
PATIENCE = 300.0
#: For how long a share of the bandwidth that was not used may still be used, in seconds.
SAVED = 0.5


def delay(attempt: int, retry_after: float | None) -> float:
    """Seconds to wait after a failed attempt, counted from 0.

    What the server asks for with Retry-After holds, up to `PATIENCE`; else an exponential back-off, less up to a half
    of it at random, so that threads that failed together do not come back together.
    """
    if retry_after is not None:
        return min(max(retry_after, 0.0), PATIENCE)
    longest = min(SHORTEST * 2 ** min(attempt, 16), LONGEST)
    return longest * random.uniform(0.5, 1)  # noqa: S311 - spreads load, guards nothing


def patiently(action: Callable[[int], _First], retries: int, wait: Callable[[float], object]) -> _First:
    """Call `action` with the attempt's number until it does not raise `Transient`, at most ``1 + retries`` times.

    Parameters
    ----------
    wait
        Called with the seconds to wait between attempts.

    Raises
    ------
    Transient
        That of the last attempt.
    """
    for attempt in range(retries):
        try:
            return action(attempt)
        except Transient as error:
            wait(delay(attempt, error.retry_after))
    try:
        return action(retries)
    except Transient as error:
        raise Transient(f"{error}, {retries + 1} times" if retries else str(error)) from error


class RateLimit:
    """Shares a bandwidth among threads.

    Parameters
    ----------
    rate
        Bytes per second of all together; 0 for no limit.
    clock
        Tells the time in seconds.
    """

    def __init__(self, rate: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate = rate
        self._clock = clock
        self._guard = threading.Lock()
        self._free_at = clock()

    def seconds_for(self, count: int) -> float:
        """Book some bytes that came, and say for how many seconds to wait before more are read.

        The time in which they came counts, but what was not used of the rate is saved up for `SAVED` only: in any time
        no more bytes come than the rate allows in that and `SAVED` more, and of each thread what it reads at once.
        """
        if not self._rate:
            return 0.0
        with self._guard:
            now = self._clock()
            self._free_at = max(self._free_at, now - SAVED) + count / self._rate
            return max(self._free_at - now, 0.0)
