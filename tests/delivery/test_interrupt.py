"""A download that is ended from outside, and the one after it."""

from __future__ import annotations

import os
import re
import shutil
import signal
from pathlib import Path

import pytest

from support.endings import DEADLINE, archives, check_whole, stalled_download
from support.site import TILES, Site
from vospace_demo.server import VOSpace


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
