"""Patience: trying again what may pass, a bounded number of times, and not being faster than allowed."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TypeVar

from retrieve.errors import Transient
from retrieve.wording import span

_First = TypeVar("_First")

#: Seconds before the first further try, and how many times as long each one after it waits, up to `LONGEST`: what
#: passes at once costs nothing, and five tries outlast the restart of a server.
SHORTEST, GROWTH, LONGEST = 0.25, 4.0, 64.0
#: The longest that a server may make us wait, in seconds.
PATIENCE = 3600.0
#: Pauses that are worth a line, in seconds.
LONG = 10.0
#: For how long a share of the bandwidth that was not used may still be used, in seconds.
SAVED = 0.5


def delay(attempt: int, retry_after: float | None) -> float:
    """Seconds to wait after a failed attempt, counted from 0.

    What the server asks for with Retry-After holds; otherwise they grow, and up to a half is added at random, so that
    threads that failed together do not come back together.
    """
    if retry_after is not None:
        return max(retry_after, 0.0)
    shortest = min(SHORTEST * GROWTH ** min(attempt, 16), LONGEST)
    return shortest * random.uniform(1, 1.5)  # noqa: S311 - spreads load, guards nothing


def patiently(action: Callable[[int], _First], retries: int, wait: Callable[[float, str], object]) -> _First:
    """Call `action` with the attempt's number until it does not raise `Transient`, at most ``1 + retries`` times.

    Parameters
    ----------
    wait
        Called with the seconds to wait between attempts, and the reason.

    Raises
    ------
    Transient
        That of the last attempt, or of one after which the server asks to wait longer than `PATIENCE`.
    """
    for attempt in range(retries + 1):
        try:
            return action(attempt)
        except Transient as error:
            reason, semicolon, advice = str(error).partition("; ")
            seconds = delay(attempt, error.retry_after)
            if seconds > PATIENCE:
                then = datetime.now(UTC) + timedelta(seconds=seconds)
                text = f"{reason} and asks to wait for {span(seconds)}; try again after {then:%F %R} UTC"
                raise Transient(text) from error
            if attempt == retries:
                times = f", {retries + 1} times" if retries else ""
                raise Transient(f"{reason}{times}{semicolon}{advice}") from error
            wait(seconds, "the source is busy" if error.retry_after else reason)
    raise AssertionError("there is at least one attempt")


class Pauses:
    """Says that there is a long pause, once for all threads that pause at the same time.

    Parameters
    ----------
    say
        Called with the line.
    """

    def __init__(self, say: Callable[[str], object]) -> None:
        self._say = say
        self._guard = threading.Lock()
        self._told_until = 0.0

    def tell(self, seconds: float, reason: str) -> None:
        """Say so of a pause of that many seconds, if it is long."""
        with self._guard:
            now = time.monotonic()
            if seconds < LONG or now < self._told_until:
                return
            self._told_until = now + seconds
        self._say(f"{reason}; trying again in {span(seconds)}")


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
