"""Power cuts: at whatever moment, and whatever of the unsynced writes is on disk then, every promise holds.

The states are those that `support.power` builds from the record of a run. With SEED=…, other ones.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest

from retrieve.host.disk import sync_file_system
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


def vouching(files: Files) -> set[str]:
    """Stamps that vouch for what is here."""
    return {path for path in files if re.match(r"stamps/mccd/(downloaded|extracted)/2", path)}


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
            # What a run has told is so.
            told = vouching(disk.now()) ^ vouching(files) if moment == "the end" else ()
            for problem in trial.broken(files) | {f"'{path}' is torn" for path in torn} | {f"'{one}'?" for one in told}:
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
    "name", ["avail", "download", "mend", "untar", "free", "free-later", "replace", "taken", "given-back", "verify"]
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


def tool(*command: str, fine: tuple[int, ...] = (0,)) -> None:
    """Run a tool of the system; the test is skipped where it is not there, or not allowed."""
    path = shutil.which(command[0], path=f"{os.environ['PATH']}:/usr/sbin:/sbin")
    if not path:
        pytest.skip(f"needs {command[0]}: apt-get install e2fsprogs")
    result = subprocess.run([path, *command[1:]], capture_output=True, text=True)
    if result.returncode not in fine:
        pytest.skip(f"needs root, and loop mounts: {result.stderr.strip()}")


@contextmanager
def mounted(image: Path, place: Path) -> Iterator[None]:
    """Mount an image meanwhile."""
    place.mkdir(exist_ok=True)
    tool("mount", "-o", "loop", str(image), str(place))
    try:
        yield
    finally:
        subprocess.run(["umount", str(place)], check=True)
        image.unlink()  # the kernel may keep what it knows of a file of that name for a while


def cut(image: Path, copy: Path, running: subprocess.Popen[str], root: Path, chance: random.Random) -> None:
    """Take an image as it is on disk; before that, the kernel may have written back this or that, as it does."""
    os.killpg(running.pid, signal.SIGSTOP)
    for path in chance.sample(sorted(root.rglob("*")), chance.randrange(3)) if chance.random() < 0.7 else ():
        with suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
            os.fsync(descriptor)
            os.close(descriptor)
    before = b""
    while before != (before := image.read_bytes()):
        pass
    copy.write_bytes(before)
    os.killpg(running.pid, signal.SIGCONT)


def check_disk(
    name: str, cuts: int, runs: int, kind: str, site: Site, uri: str, space: VOSpace, container: Path
) -> None:
    """Cut the power of a disk again and again while a verb runs on it."""
    trial, chance = Trial(name, site, uri, space, container), random.Random(f"{SEED} {name} {uri} {kind}")
    place = site.directory.with_name("disk")
    done = tries = 0
    while done < cuts:
        tries += 1
        image = site.directory.with_name(f"image{tries}")
        with image.open("wb") as file:
            file.truncate(24 << 20)
        tool("mkfs.ext4", "-q", "-O", "^has_journal" if kind == "no journal" else "has_journal", str(image))
        left: list[tuple[str, Files]] = []
        with mounted(image, place):
            again = replace(site, directory=place / "run")
            shutil.copytree(site.directory, again.directory, symlinks=True)
            sync_file_system(place)
            running = again.start(*trial.case.words)
            try:
                while True:
                    with suppress(subprocess.TimeoutExpired):
                        running.communicate(timeout=chance.uniform(0.0, trial.undisturbed[0] / 3))
                        break
                    copy = image.with_name(f"{image.name}.{len(left)}")
                    cut(image, copy, running, again.directory, chance)
                    if kind == "no journal":
                        tool("e2fsck", "-fy", str(copy), fine=(0, 1))
                    with mounted(copy, place.with_name("cut")):
                        left.append(
                            (f"SEED={SEED}, {name}, {kind}, try {tries}", files_of(place.with_name("cut") / "run"))
                        )
            finally:
                with suppress(ProcessLookupError):
                    os.killpg(running.pid, signal.SIGKILL)
                running.communicate()
        done += len(left)
        for about, files in left:
            assert not trial.broken(files), about
        for about, files in chance.sample(left, min(runs, len(left))):
            trial.complete(trial.fresh(files), about)


@pytest.mark.soak
@pytest.mark.parametrize("kind", ["journal", "no journal"])
@pytest.mark.parametrize(
    ("name", "cuts"), [("download", 50), ("untar", 25), ("free", 25), ("avail", 25), ("verify", 25)]
)
def test_a_disk_whose_power_is_cut_keeps_every_promise(
    name: str, cuts: int, kind: str, site: Site, vault: str, space: VOSpace, container: Path
) -> None:
    check_disk(name, int(os.environ.get("DISKS", cuts)), 2, kind, site, vault, space, container)
