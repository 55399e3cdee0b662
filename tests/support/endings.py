"""Downloads that are stopped, halted or killed at a moment that is known."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from support.site import TILES, Site
from vospace_demo.faults import Fault
from vospace_demo.server import VOSpace

#: Seconds after which a test gives up waiting for what a process should have done by then.
DEADLINE = 120.0
#: The tile that does not come, the sixth of the ten in the order in which they are fetched.
STALLED = sorted(TILES)[5]


def wait_until(happened: Callable[[], bool], process: subprocess.Popen[str]) -> None:
    """Look until something happened; it is an error if the process ends before."""
    end = time.monotonic() + DEADLINE
    while not happened():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.01)


def halt(process: subprocess.Popen[str]) -> None:
    """Stop a process group for a while; a thread that waits for the disk does so later than the others."""

    def running() -> Iterator[str]:
        for path in Path("/proc").glob("[0-9]*/task/*/stat"):
            with suppress(OSError):
                state, _, group, *_ = path.read_text().rpartition(")")[2].split()
                if int(group) == process.pid and state not in "TZ":
                    yield state

    os.killpg(process.pid, signal.SIGSTOP)
    wait_until(lambda: not list(running()), process)


@contextmanager
def stalled_download(
    site: Site, space: VOSpace, *words: str, step: str = "download", seconds: float = DEADLINE
) -> Iterator[subprocess.Popen[str]]:
    """Start a download of ten tiles, of which the sixth comes late or never, and wait until four are here.

    Whatever comes of the test, nothing is left running.
    """
    space.fault(Fault("stall", node=f"*_{STALLED}.tgz", count=-1, at=50, seconds=seconds))
    with site.start(step, "JOBS=4", *words) as process:
        try:
            wait_until(lambda: len(list((site.directory / "stamps/mccd/downloaded").glob("2*"))) >= 4, process)
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
