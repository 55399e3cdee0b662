"""Processes that work on many things at once, and that a signal ends at once."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing import connection
from types import TracebackType
from typing import TypeVar

from retrieve.errors import RetrieveError
from retrieve.host.program import HEARING, STOPS

#: Seconds that processes are given to end when they are killed.
_GRACE = 1.0

_Job = TypeVar("_Job")
_Answer = TypeVar("_Answer")


class Workers:
    """Processes that work on jobs, as many as there are cores; a context.

    They are forked on entering it, which has to be before this process has a second thread. A child that is forked
    beside threads has their locks as they were at that moment: one that was held (that of stderr, say) is never
    released in the child, which then waits for ever. Two forked processes answer after 8 ms, two that start from
    nothing (``spawn``) after 90 ms, of which each has taken 100 ms of processor time.

    Parameters
    ----------
    jobs
        How many jobs there will be at the most: no more processes are started. With 0, none.

    Raises
    ------
    RetrieveError
        From `map`, if a process was killed or crashed.
    """

    def __init__(self, jobs: int) -> None:
        cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
        self._count = min(cores, jobs)

    def __enter__(self) -> Workers:
        if not self._count:
            return self
        if threading.active_count() > 1:
            raise RuntimeError("processes are to be forked before there is a second thread")
        context = multiprocessing.get_context("fork" if sys.platform == "linux" else None)
        self._pool = ProcessPoolExecutor(self._count, context, _begin, (os.getpid(),))
        # A signal to the group must not reach a process before it is prepared for it.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
        try:
            self._pool.submit(os.getpid)  # the first job has all of them started
            self._processes = multiprocessing.active_children()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._count:
            if error is not None:
                self._kill()
            self._pool.shutdown()

    def map(self, act: Callable[[_Job], _Answer], jobs: list[_Job]) -> Iterator[_Answer]:
        """Do something with each of some jobs; the results come in order.

        Close the iterator to end the processes before their time; they are gone then.
        """
        try:
            # None of them is ever cancelled: the pool's own thread would fail over one that is, when processes end.
            answers = deque(self._pool.submit(act, job) for job in jobs)
            while answers:
                while not answers[0].done():
                    wait([answers[0]], HEARING)
                yield answers.popleft().result()
        except BrokenProcessPool as error:
            self._pool.shutdown()  # waits for all of them, so that it is known how each ended
            raise RetrieveError(_ended_by({process.exitcode for process in self._processes})) from error
        except BaseException:
            self._kill()
            raise

    def _kill(self) -> None:
        for process in self._processes:
            process.kill()
        end = time.monotonic() + _GRACE
        for process in self._processes:
            connection.wait([process.sentinel], max(end - time.monotonic(), 0))


def _ended_by(codes: set[int | None]) -> str:
    """Say what ended a process; the pool ends the others by SIGTERM."""
    codes -= {0, None, -signal.SIGTERM}
    number = -min(codes, default=-signal.SIGKILL)
    if number == signal.SIGKILL:
        return "a process was killed, perhaps for want of memory; try again, or where there is more"
    name = signal.Signals(number).name if number > 0 else f"exit status {-number}"
    return f"a process crashed ({name}); try again, and if it does so again report what is above"


def _begin(parent: int) -> None:
    """Prepare a worker: it ends with its parent, and leaves signals to the parent."""
    for number in STOPS:
        signal.signal(number, signal.SIG_DFL if number == signal.SIGTERM else signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
    die_with_parent()
    if os.getppid() != parent:
        os._exit(1)
    # numpy would start a thread for each core, in each of as many processes; no algebra is done here.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def die_with_parent() -> None:
    """Have the kernel kill this process when the one that started it dies, however it does (Linux only)."""
    prctl = getattr(ctypes.CDLL(None, use_errno=True), "prctl", None)
    if prctl is not None:
        prctl(1, 9, 0, 0, 0)  # PR_SET_PDEATHSIG, SIGKILL
