"""The window: how many transfers at once, found from what came and what was refused, on a clock that is told."""

from __future__ import annotations

import heapq
import itertools
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pytest

from retrieve.delivery.window import Found, Window
from retrieve.settings import MOST_JOBS
from retrieve.stamps.runs import Run


def rounds(window: Window, seconds: list[float]) -> list[int]:
    """Numbers after rounds in which all that may be under way came, each after so many seconds."""
    now, numbers = 0.0, []
    for one in seconds:
        count = window.number
        for _ in range(count):
            window.began(now)
        now += one
        for _ in range(count):
            window.moved(now, archives=1)
        numbers.append(window.number)
    return numbers


@pytest.mark.parametrize(
    ("seconds", "numbers"),
    [
        pytest.param([1, 1, 1, 1, 1, 1], [8, 12, 18, 27, 32, 32], id="latency alone: to the most"),
        pytest.param([1, 2, 2, 2], [8, 8, 4, 4], id="the line is full at once: back to the first"),
        pytest.param([1, 1, 1.5, 1.5, 1], [8, 12, 12, 8, 8], id="full at eight"),
        pytest.param([1, 2, 1, 1], [8, 8, 12, 18], id="one slow round is forgiven"),
    ],
)
def test_there_are_more_as_long_as_it_becomes_faster(seconds: list[float], numbers: list[int]) -> None:
    assert rounds(Window(MOST_JOBS), seconds) == numbers


def test_what_was_refused_together_halves_it_once_and_the_rest_is_known_from_it() -> None:
    window = Window(MOST_JOBS, Found(16, refused=False))
    epochs = [window.began(0.0) for _ in range(16)]
    for under_way in range(16, 12, -1):
        window.refused(1.0, epochs.pop(), under_way)
    assert window.number == 8
    assert rounds(window, [1] * 5) == [10, 11, 12, 12, 12]
    assert window.found() == Found(12, refused=True)
    window.refused(9.0, window.began(9.0), 12)
    assert window.number == 6


def test_one_more_than_was_refused_is_tried_after_a_long_time() -> None:
    window = Window(MOST_JOBS, Found(5, refused=True))
    numbers = rounds(window, [1] * 100)
    assert [numbers.index(number) + 1 for number in (6, 7, 8, 9)] == [32, 48, 56, 60]


def test_runs_at_the_same_time_divide_what_was_found() -> None:
    assert Found(20, refused=True).share(16) == Found(1, refused=True)
    assert Found(5, refused=False).share(16) == Found(1, refused=False)
    assert rounds(Window(2, Found(32, refused=False).share(16), begin=1), [1, 1]) == [2, 2]
    assert rounds(Window(8, begin=1), [1] * 5) == [2, 3, 4, 6, 8]


def test_it_is_one_at_least_and_never_more_than_allowed() -> None:
    window = Window(6)
    assert rounds(window, [1] * 5) == [6] * 5
    for now in range(5):
        window.refused(now, window.began(now), 1)
    assert window.number == 1
    assert Window(3).number == Window(3, Found(20, refused=False)).number == 3
    assert max(rounds(Window(6, Found(5, refused=True)), [1] * 200)) == 6


def test_what_was_not_refused_is_the_begin_of_more_and_told_once_no_more_are_faster() -> None:
    found = Found(8, refused=False)
    for seconds, numbers, then in (([1, 1.5], [12, 12], None), ([1, 1.5, 1.5], [12, 12, 8], found)):
        window = Window(MOST_JOBS, found)
        assert rounds(window, seconds) == numbers
        assert window.found() == then


def test_there_are_no_more_while_nothing_comes() -> None:
    window = Window(MOST_JOBS)
    window.began(0.0)
    window.moved(60.0)
    assert window.number == 4


def test_a_number_that_was_given_stays() -> None:
    window = Window(7, Found(2, refused=True), fixed=True)
    window.refused(1.0, window.began(0.0), 7)
    assert rounds(window, [1, 5, 1]) == [7] * 3
    assert window.found() is None


def test_large_archives_are_judged_while_they_come() -> None:
    window = Window(MOST_JOBS)
    window.began(0.0)
    for second in range(1, 7):
        window.moved(second, window.number * 50_000_000)
    assert window.number == 18


@pytest.mark.parametrize("values", [None, 5, [5], [0, False], ["5", True], {"number": 5}])
def test_what_the_latest_run_found_out_counts_and_a_record_that_is_none_is_passed_over(values: object) -> None:
    results = [{"at_once": {"a": [7, False], "b": [9, True]}}, {"at_once": {"a": [5, True]}}, {"tiles": 3}]
    others = [{"at_once": {"a": values}}, {"at_once": values}]
    runs = [Run("download", datetime.now(UTC), 1.0, 0, result=result) for result in results + others]
    assert Found.in_runs(runs) == {"a": Found(5, refused=True), "b": Found(9, refused=True)}


@dataclass
class Service:
    """A service that takes time for each of the two requests of a transfer, and refuses those beyond its limit.

    Attributes
    ----------
    latency, each
        Seconds that a request takes, and that it keeps the one line busy.
    """

    limit: int
    latency: float
    each: float = 0.002
    requests: int = 0
    refused: int = 0
    now: float = 0.0
    serving: int = 0
    free_at: float = 0.0
    under_way: int = 0
    events: list[tuple[float, int, str, int, int]] = field(default_factory=list)

    def deliver(self, archives: int, window: Window) -> None:
        """Let that many archives be fetched."""
        order, waiting = itertools.count(), archives
        while archives:
            while waiting and self.under_way < window.number:
                waiting, self.under_way = waiting - 1, self.under_way + 1
                heapq.heappush(self.events, (self.now, next(order), "asked", window.began(self.now), 2))
            self.now, _, what, epoch, left = heapq.heappop(self.events)
            if what == "asked":
                self.requests += 1
                self.serving += 1
                self.free_at = max(self.free_at, self.now + self.latency) + self.each
                served = self.serving <= self.limit
                then = (self.free_at, "answered") if served else (self.now, "refused")
                heapq.heappush(self.events, (then[0], next(order), then[1], epoch, left - 1))
            elif what == "answered":
                self.serving -= 1
                if left:
                    heapq.heappush(self.events, (self.now, next(order), "asked", epoch, left))
                else:
                    window.moved(self.now, 5000, 1)
                    archives, self.under_way = archives - 1, self.under_way - 1
            elif what == "refused":
                self.refused, self.serving = self.refused + 1, self.serving - 1
                window.refused(self.now, epoch, self.under_way)
                self.under_way -= 1
                heapq.heappush(self.events, (self.now + 0.3, next(order), "waited", 0, 0))
            else:
                waiting += 1


@pytest.mark.parametrize("latency", [0.0, 0.05, 0.15])
@pytest.mark.parametrize("limit", [5, 20, 50])
@pytest.mark.parametrize("archives", [140, 1400])
def test_few_requests_are_refused_and_the_next_run_is_as_fast_as_the_best_number(
    archives: int, limit: int, latency: float
) -> None:
    found = None
    for first in (True, False):
        service, window = Service(limit, latency), Window(MOST_JOBS, found)
        service.deliver(archives, window)
        found = window.found() or found
        assert service.refused <= 0.05 * service.requests
        best = max(2 * archives * service.each, 2 * archives * (latency + service.each) / min(limit, MOST_JOBS))
        if archives > 140 or not first:
            assert best >= 0.84 * service.now, (best / service.now, found)
