"""Listings that stop at the same node every time, since Cavern cannot name the next one."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from support.site import TILES, Site


def make_pipe(directory: Path, name: str) -> Path:
    os.mkfifo(directory / name)
    return directory / name


def make_latin1(directory: Path, name: str) -> Path:
    path = directory / os.fsdecode(f"{name}é".encode("latin-1"))
    path.touch()
    return path


@pytest.mark.parametrize("make", [make_pipe, make_latin1])
def test_a_name_at_which_cavern_stops_every_time_is_told_as_that(
    make: Callable[[Path, str], Path], site: Site, at: str, container: Path
) -> None:
    # The order is that of the disk, and something must come after the odd one.
    for number in range(100):
        odd = make(container, f"odd-{number}")
        before, after = " ".join(os.listdir(container)).split(odd.name)
        if "mccd_fit" in after:
            break
        odd.unlink()
    site.list_tiles(*TILES)
    result = site.make("avail", f"INPUT_PATH={at}")
    if at.startswith("arc"):
        end = f"after '{before.split()[-1]}'" if before else "before the first node"
        problem = rf"cannot list '{at}': the listing ends {end} every time, but '\S+_24\d\.29[01]\.tgz' is there; "
        assert re.match(problem, result.stderr)
        assert "run 'ls -Ub' in that directory, and rename or remove what comes next" in result.stderr
        assert (result.returncode, site.stamps()) == (2, {})
        odd.unlink()
    assert "10/10" in site.done("avail", f"INPUT_PATH={at}")
