"""A download that is ended from outside, and the one after it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from conftest import TILES, Site, names
from vospace_demo.faults import Fault
from vospace_demo.server import VOSpace

#: Seconds after which a test gives up waiting for what a process should have done by then.
DEADLINE = 30.0
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


def archives(site: Site) -> list[Path]:
    """Archives under their final names."""
    return sorted((site.directory / "archives").glob("*.tgz"))


@contextmanager
def stalled_download(
    site: Site, space: VOSpace, step: str = "download", seconds: float = DEADLINE
) -> Iterator[subprocess.Popen[str]]:
    """Start a download of ten tiles, of which the sixth comes late or never, and wait until four are here.

    Whatever comes of the test, nothing is left running.
    """
    space.fault(Fault("stall", node=f"*_{STALLED}.tgz", count=-1, at=50, seconds=seconds))
    with site.start(step, "JOBS=4") as process:
        try:
            wait_until(lambda: len(list((site.directory / "stamps/mccd/downloaded").glob("2*"))) >= 4, process)
            yield process
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def check_whole(site: Site, container: Path) -> None:
    """What has a final name is as at the source, and a stamp stands for all archives of a tile."""
    assert all(path.read_bytes() == (container / path.name).read_bytes() for path in archives(site))
    stamped = {path.partition("/")[2] for path in site.stamps() if path.startswith("downloaded/2")}
    assert {name for tile in stamped for name in names(tile)} <= {path.name for path in archives(site)}
    assert STALLED not in stamped


def copy(site: Site, name: str) -> Site:
    """Copy a run directory."""
    return Site(Path(shutil.copytree(site.directory, site.directory.with_name(name))), site.environment)


def test_an_ended_download_is_gone_on_with_as_if_it_had_never_been_ended(
    site: Site, at: str, space: VOSpace, container: Path
) -> None:
    site.list_tiles(*TILES)
    site.done("avail", f"INPUT_PATH={at}")
    undisturbed = copy(site, "undisturbed")
    undisturbed.done("download")
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGKILL):
        ended = copy(site, number.name)
        with stalled_download(ended, space) as process:
            os.killpg(process.pid, number)
            stdout, stderr = process.communicate(timeout=DEADLINE / 3)
        # Make ends by the signal itself; a shell shows that as 128 and its number.
        assert process.returncode == -number
        if number != signal.SIGKILL:
            assert re.search(
                r"^stopped after \d+ archives fetched .*; run 'make download' again to go on$", stderr, re.M
            )
            assert "Traceback" not in stderr
        assert "brought up to date" not in stdout
        check_whole(ended, container)

        here = {path.name for path in archives(ended)}
        space.clear_faults()
        space.forget()
        ended.done("download")
        assert not here & space.requests().bytes.keys()
        assert ended.files("archives") == undisturbed.files("archives")
        assert ended.stamps() == undisturbed.stamps()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_sync_does_not_take_the_next_step(
    number: signal.Signals, site: Site, vault: str, space: VOSpace, container: Path
) -> None:
    site.list_tiles(*TILES)
    site.done("avail", f"INPUT_PATH={vault}")
    with stalled_download(site, space, "sync") as process:
        os.killpg(process.pid, number)
        _, stderr = process.communicate(timeout=DEADLINE / 3)
    assert process.returncode == -number
    assert "stopped after" in stderr
    assert not (site.directory / "output").exists()
    assert not (site.directory / "missing.txt").exists()
    check_whole(site, container)


def test_a_sync_whose_make_alone_is_told_to_end_leaves_nothing_running(
    site: Site, vault: str, space: VOSpace, container: Path
) -> None:
    """As a batch system does it: the signal is for one process, not for its group."""
    site.list_tiles(*TILES)
    site.done("avail", f"INPUT_PATH={vault}")
    with stalled_download(site, space, "sync") as process:
        process.terminate()
        _, stderr = process.communicate(timeout=DEADLINE / 3)
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)
    assert process.returncode == -signal.SIGTERM
    assert "stopped after" in stderr
    check_whole(site, container)
