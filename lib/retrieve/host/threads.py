"""Threads that work on many things at once, and that a signal ends at once."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

from retrieve.host.program import HEARING

#: Seconds that threads are given to end after a stop: what one is in the middle of, a write or a rename.
_GRACE = 1.0

_Job = TypeVar("_Job")
_Answer = TypeVar("_Answer")


def in_threads(
    act: Callable[[_Job], _Answer], jobs: Iterable[_Job], count: int, stop: threading.Event | None = None
) -> Iterator[tuple[_Job, _Answer]]:
    """Call `act` on each of some jobs in a number of threads; yield job and answer as they come.

    Close the iterator to end the threads before their time. It waits for them, but not long: one that waits for the
    network may do so for a minute. They are daemons, so that such a one does not keep the process from ending; see
    `retrieve.host.program.run`.

    Parameters
    ----------
    jobs
        Taken in order, as threads become free.
    stop
        Set it to have no further job taken.

    Raises
    ------
    BaseException
        What `act` raises: then no further job is taken, either.
    """
    stop = stop or threading.Event()
    todo = iter(jobs)
    guard = threading.Lock()
    answers: queue.SimpleQueue[tuple[_Job, _Answer] | BaseException | None] = queue.SimpleQueue()

    def work() -> None:
        try:
            while not stop.is_set():
                with guard:
                    job = next(todo, _END)
                if job is _END:
                    break
                answers.put((job, act(job)))
        except BaseException as error:
            answers.put(error)
        finally:
            answers.put(None)

    threads = [threading.Thread(target=work, daemon=True) for _ in range(count)]
    try:
        for thread in threads:
            thread.start()
        running = count
        while running:
            try:
                answer = answers.get(timeout=HEARING)
            except queue.Empty:
                continue
            if answer is None:
                running -= 1
            elif isinstance(answer, BaseException):
                raise answer
            else:
                yield answer
    finally:
        stop.set()
        end = time.monotonic() + _GRACE
        for thread in threads:
            if thread.ident is not None:
                thread.join(max(end - time.monotonic(), 0))


_END = object()
