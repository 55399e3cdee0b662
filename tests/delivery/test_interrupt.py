"""A download that is ended from outside, and the one after it."""

from __future__ import annotations

import os
import re
import shutil
import signal
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from support.endings import DEADLINE, STALLED, stalled_download
from support.site import HERE, RESULTS, TILES, Site, names
from vospace_demo.server import VOSpace

#: A download to which a signal comes when it is just about to stamp a tile.
ENDED = """
import os, signal
from retrieve.__main__ import main
from retrieve.delivery import delivery
from retrieve.host.program import run
delivery.sync_directory = lambda _: os.kill(os.getpid(), signal.SIGTERM)
run("download", lambda: main(["download", "INSECURE=yes"]))
"""


def archives(site: Site) -> list[Path]:
    """Archives under their final names."""
    return sorted((site.directory / "archives").glob("*.tgz"))


def check_whole(site: Site, container: Path) -> None:
    """What has a final name is as at the source, and a stamp stands for all archives of a tile."""
    assert all(path.read_bytes() == (container / path.name).read_bytes() for path in archives(site))
    stamped = {path.partition("/")[2] for path in site.stamps() if path.startswith("downloaded/2")}
    assert {name for tile in stamped for name in names(tile)} <= {path.name for path in archives(site)}
    assert STALLED not in stamped


def copy(site: Site, name: str) -> Site:
    """Copy a run directory."""
    return replace(site, directory=Path(shutil.copytree(site.directory, site.directory.with_name(name))))


@pytest.mark.parametrize(("service", "number"), [("vos", signal.SIGINT), ("arc", signal.SIGTERM)])
def test_an_ended_download_is_gone_on_with_as_if_it_had_never_been_ended(
    service: str, number: signal.Signals, site: Site, space: VOSpace, container: Path
) -> None:
    site.environment |= space.environment() | {"INSECURE": "yes"}
    undisturbed = copy(site, "undisturbed")
    undisturbed.begin("downloaded", f"{service}:{RESULTS}")
    site.begin("listed", f"{service}:{RESULTS}")
    with stalled_download(site, space) as process:
        os.killpg(process.pid, number)
        stdout, stderr = process.communicate(timeout=DEADLINE)
    # Make ends by the signal itself; a shell shows that as 128 and its number.
    assert process.returncode == -number
    assert re.search(r"^stopped after \d+ archives fetched .*; run 'make download' again to go on$", stderr, re.M)
    assert "Traceback" not in stderr
    assert "brought up to date" not in stdout
    check_whole(site, container)

    here = {path.name for path in archives(site)}
    space.clear_faults()
    space.forget()
    assert "found right on disk" not in site.done("download"), "what was verified was hashed again"
    assert not here & space.requests().bytes.keys()
    assert site.files("archives") == undisturbed.files("archives")
    assert site.stamps() == undisturbed.stamps()


def test_a_signal_that_comes_while_a_tile_is_stamped_costs_nothing(site: Site, vault: str) -> None:
    site.list_tiles(TILES[0])
    site.done("avail", f"INPUT_PATH={vault}")
    result = site.run("env", f"PYTHONPATH={HERE / 'lib'}", sys.executable, "-c", ENDED)
    assert (result.returncode, result.stdout) == (128 + signal.SIGTERM, ""), result.stderr
    assert result.stderr.endswith("; run 'make download' again to go on\n")
    assert site.done("download") == "nothing to fetch\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupted_sync_does_not_take_the_next_step_and_leaves_nothing_running(
    number: signal.Signals, site: Site, vault: str, space: VOSpace, container: Path
) -> None:
    """Ctrl-C, which all of a group get; and a batch system's signal, for Make alone."""
    site.begin("listed", vault)
    with stalled_download(site, space, step="sync") as process:
        os.killpg(process.pid, number) if number is signal.SIGINT else process.terminate()
        _, stderr = process.communicate(timeout=DEADLINE)
        with pytest.raises(ProcessLookupError):
            os.killpg(process.pid, 0)
    assert process.returncode == -number
    assert "stopped after" in stderr
    assert not (site.directory / "output").exists()
    assert not (site.directory / "missing.txt").exists()
    check_whole(site, container)
