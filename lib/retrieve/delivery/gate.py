"""Gate: lets as many transfers of a service be under way at once as its window says."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from retrieve.delivery.pool import Stopped
from retrieve.delivery.window import Found, Window
from retrieve.errors import Transient

#: Seconds after which one that waits looks whether the run is told to stop.
_LOOK = 0.2


class Gate:
    """Where the threads of a pool wait until one more transfer may begin, and tell what came of it.

    A transfer that pauses before it is tried again is not under way meanwhile: its place is another one's.

    Parameters
    ----------
    stop
        Set to let none begin any more.
    """

    def __init__(self, window: Window, stop: threading.Event) -> None:
        self._window = window
        self._stop = stop
        self._under_way = 0
        self._changed = threading.Condition()

    @property
    def number(self) -> int:
        """How many may be under way at once."""
        return self._window.number

    def found(self) -> Found | None:
        """What the next run may begin with."""
        return self._window.found()

    @contextmanager
    def passed(self) -> Iterator[None]:
        """Wait for a place, and hold it for one request and what is sent in answer to it.

        Raises
        ------
        Stopped
            If the run is told to stop before there is one.
        """
        with self._changed:
            while not self._stop.is_set() and self._under_way >= self._window.number:
                self._changed.wait(_LOOK)
            if self._stop.is_set():
                raise Stopped
            self._under_way += 1
            epoch = self._window.began(time.monotonic())
        came = crowded = False
        try:
            yield
            came = True
        except Transient as error:
            crowded = error.crowded
            raise
        finally:
            with self._changed:
                if crowded:
                    self._window.refused(time.monotonic(), epoch, self._under_way)
                else:
                    self._window.moved(time.monotonic(), archives=int(came))
                self._under_way -= 1
                self._changed.notify(max(self._window.number - self._under_way, 0))

    def moved(self, size: int) -> None:
        """Count bytes that came."""
        with self._changed:
            before = self._window.number
            self._window.moved(time.monotonic(), size)
            self._changed.notify(max(self._window.number - before, 0))
