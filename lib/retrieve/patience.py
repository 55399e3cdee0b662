"""Trying again what may pass, a bounded number of times."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import TypeVar

from retrieve.errors import Transient

_First = TypeVar("_First")

#: Seconds before the first further try; doubled for each one after it, up to `LONGEST`.
SHORTEST, LONGEST = 0.25, 30.0
#: The longest that a server may make us wait, in seconds.
PATIENCE = 300.0


def delay(attempt: int, retry_after: float | None) -> float:
    """Seconds to wait after a failed attempt, counted from 0.

    What the server asks for with Retry-After holds, up to `PATIENCE`; else an exponential back-off, less up to a half
    of it at random, so that threads that failed together do not come back together.
    """
    if retry_after is not None:
        return min(retry_after, PATIENCE)
    longest = min(SHORTEST * 2**attempt, LONGEST)
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
