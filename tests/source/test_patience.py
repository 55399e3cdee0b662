"""Patience: how long is waited before a request is made again, and how a rate is kept."""

from __future__ import annotations

import random

import pytest

from retrieve.settings import Settings
from retrieve.source.faults import seconds_to_wait
from retrieve.source.patience import SAVED, RateLimit, delay


def test_delays_grow_and_are_bounded_and_retry_after_holds() -> None:
    assert all(0.25 <= delay(0, None) <= 0.375 for _ in range(100))
    assert all(4 <= delay(2, None) <= 6 for _ in range(100))
    assert all(64 <= delay(1000, None) <= 96 for _ in range(100))
    # A server needs up to a minute to start again.
    assert all(85 <= sum(delay(attempt, None) for attempt in range(Settings().retries)) <= 128 for _ in range(100))
    assert delay(0, 7) == 7
    assert delay(9, 0) == 0
    assert seconds_to_wait("120") == 120
    assert seconds_to_wait("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert seconds_to_wait("Fri, 31 Dec 2199 23:59:59 GMT") > 1e9
    assert seconds_to_wait("soon") is None
    assert seconds_to_wait("") is None


def test_a_rate_is_kept_by_all_threads_together_and_idle_time_is_not_saved_up() -> None:
    now = [100.0]
    limit = RateLimit(1000, lambda: now[0])
    assert [limit.seconds_for(500) for _ in range(4)] == [0.5, 1.0, 1.5, 2.0]
    now[0] += 1.5
    assert limit.seconds_for(1000) == 1.5
    # The bytes took longer to come than they had to: nothing is waited for, and the rate is made use of.
    now[0] += 1.7
    assert limit.seconds_for(100) == 0
    now[0] += 60
    assert limit.seconds_for(1000) == pytest.approx(1 - SAVED)
    assert RateLimit(0).seconds_for(10**12) == 0
    # However the bytes come and whatever is waited for between them, no more than the rate gets through.
    limit, total, begin, rng = RateLimit(1000, lambda: now[0]), 0, now[0], random.Random(1)
    for _ in range(1000):
        count = rng.randrange(1, 400)
        total += count
        now[0] += rng.choice((0, 0.1, 0.4))
        now[0] += limit.seconds_for(count)
        assert total <= 1000 * (now[0] - begin + SAVED) + 1e-3
