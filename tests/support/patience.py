"""A limit of time for what would otherwise wait for ever."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def within(seconds: int = 30) -> Iterator[None]:
    """Fail the test if this takes longer, which it does only if it hangs; in the main thread."""
    before = signal.signal(signal.SIGALRM, lambda *_: pytest.fail(f"it took more than {seconds} s"))
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)
