"""Power cuts: at whatever moment, and whatever of the unsynced writes is on disk then, every promise holds.

The states are those that `support.power` builds from the record of a run. With SEED=…, other ones.
"""

from __future__ import annotations

import os
import random
import re
import shutil
from pathlib import Path

import pytest

from support.cases import SEED, Trial
from support.power import NOW, Disk, recorded
from support.promises import Files, files_of
from support.site import HERE, Site
from vospace_demo.server import VOSpace

#: Nothing depends on them, so they may be torn: a list that was read before it got its name; and what was verified of a
#: tile that is not whole, which is hashed again.
UNIMPORTANT = re.compile(r"stamps/mccd/(stale-|unfinished/)")

pytestmark = pytest.mark.skipif(not shutil.which("strace"), reason="needs strace: apt-get install strace")


def record(trial: Trial, site: Site, log: Path) -> Disk:
    """Run the verb of a case, write down what it does to files, and return what was there before."""
    before = Disk(site.directory)
    result = site.run(*recorded(log), "make", "-f", str(HERE / "Makefile"), *trial.case.words)
    assert result.returncode in (0, trial.case.status), result.stderr
    return before


def check_cuts(name: str, most: int, runs: int, site: Site, uri: str, space: VOSpace, container: Path) -> None:
    """Cut the power at each moment that matters of a run; go on from some of the states that this leaves."""
    trial, chance = Trial(name, site, uri, space, container), random.Random(f"{SEED} {name} {uri}")
    again, log = trial.fresh(), site.directory.with_name("record")
    disk = record(trial, again, log)
    after = files_of(again.directory)
    left: list[tuple[str, Files]] = []
    problems: dict[str, str] = {}
    for moment in disk.play(log):
        for what, files in disk.cuts(chance, most):
            left.append((f"{moment}: {what}", files))
            torn = {path for path, whole in disk.named.items() if path in files and files[path][0] not in whole}
            torn = {path for path in torn if not UNIMPORTANT.match(path)}
            for problem in trial.broken(files) | {f"'{path}' is torn" for path in torn}:
                problems.setdefault(problem, left[-1][0])
    assert not problems, f"SEED={SEED}"
    now = disk.now()
    assert {path: one[0] for path, one in now.items()} == {path: one[0] for path, one in after.items()}
    assert not [path for path, (_, mtime_ns) in now.items() if mtime_ns not in (NOW, after[path][1])]
    for moment, files in chance.sample(left, min(runs, len(left))):
        trial.complete(trial.fresh(files), f"SEED={SEED}, {name}, {moment}")


@pytest.mark.parametrize(("name", "runs"), [("avail", 0), ("download", 1), ("free", 1)])
def test_a_power_cut_breaks_no_promise(
    name: str, runs: int, site: Site, vault: str, space: VOSpace, container: Path
) -> None:
    check_cuts(name, 3, runs, site, vault, space, container)


@pytest.mark.soak
@pytest.mark.parametrize(
    "name", ["avail", "download", "mend", "untar", "free", "replace", "taken", "given-back", "verify"]
)
def test_no_power_cut_at_all_breaks_a_promise(name: str, site: Site, at: str, space: VOSpace, container: Path) -> None:
    check_cuts(name, int(os.environ.get("CUTS", "100")), int(os.environ.get("RUNS", "25")), site, at, space, container)


def test_what_a_killed_run_left_unsynced_is_on_disk_before_an_archive_is_deleted(
    site: Site, vault: str, space: VOSpace, container: Path
) -> None:
    """The first run is killed between the names of its stamps and their sync; the next one has only to delete."""
    trial, chance = Trial("free", site, vault, space, container), random.Random(SEED)
    again, logs = trial.fresh(), [site.directory.with_name(name) for name in ("first", "second")]
    make = ["make", "-f", str(HERE / "Makefile"), *trial.case.words]
    disk = Disk(again.directory)
    begin = [word for word in recorded(logs[0]) if word != "--seccomp-bpf"]  # which would inject nothing
    kill = ["-e", "inject=fsync:signal=SIGKILL:when=5"]
    assert again.run(*begin, *kill, *make).returncode
    assert len(list((again.directory / "stamps/mccd/extracted").iterdir())) == 10
    assert again.run(*recorded(logs[1]), *make).returncode == 0
    assert not list((again.directory / "archives").iterdir())
    assert list(disk.play(logs[0]))
    problems = {
        problem: f"{moment}: {what}"
        for moment in disk.play(logs[1])
        for what, files in disk.cuts(chance, 3)
        for problem in trial.broken(files)
    }
    assert not problems, f"SEED={SEED}"
