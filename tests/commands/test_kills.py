"""`kill -9` of any verb, its workers, or Make, at any moment: nothing is lost, and the same verb again completes it.

Each time from a run directory as it was before the verb. With SEED=…, other victims at other moments.
"""

from __future__ import annotations

import os
import random
import re
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import pytest

from support.making import make_newer
from support.promises import Known, broken, files_of, md5
from support.site import PROGRESS, RESULTS, TILES, Site, names
from vospace_demo.server import VOSpace

#: Seconds after which a test gives up waiting for what a process should have done by then.
DEADLINE = 300.0
SEED = int(os.environ.get("SEED", "1"))
#: What may differ between two runs, each by when it was: of these, only that they are here.
OF_THEIR_TIME = ("runs", "listing", "stale-", "report.html", "manifest.ecsv", "map.", "placed")
#: What a Make that was killed leaves; the next run but one removes it, after an hour.
LEFT = ".stale-"


def newer_at_the_source(site: Site, container: Path) -> None:
    """An archive is newer at the source, and another one gone."""
    make_newer(container, TILES[1])
    (container / names(TILES[2])[3]).unlink()


def newer_here(site: Site, container: Path) -> None:
    """An archive is newer than what was unpacked."""
    make_newer(container, TILES[1])
    site.done("avail")
    site.done("download")


def to_mend(site: Site, container: Path) -> None:
    """One archive is newer at the source, one damaged here, one not here, and one has lost its stamp."""
    make_newer(container, TILES[1])
    site.done("avail")
    archives = site.directory / "archives"
    os.truncate(archives / names(TILES[3])[0], 100)
    (archives / names(TILES[4])[1]).unlink()
    (site.directory / "stamps/mccd/downloaded" / TILES[5]).unlink()


def damaged(site: Site, container: Path) -> None:
    """An archive and an unpacked file are damaged."""
    with (site.directory / "archives" / names(TILES[3])[0]).open("r+b") as file:
        file.write(b"?")
    next((site.directory / "output").rglob("*.fits")).write_bytes(b"?")


def as_it_was(site: Site, container: Path) -> None:
    """Nothing happened since."""


class Case(NamedTuple):
    """A verb that is killed, again and again from the same state.

    Attributes
    ----------
    state
        Where it begins; see `Site.begin`.
    words
        What make is given; of each shard, if there are several.
    kills
        How many in the soak test, of each service.
    before
        What happens to the source, or here, between the two.
    status
        What make ends with when nobody kills it.
    after
        What make is given afterwards, so that all is well.
    """

    state: str
    words: tuple[str, ...]
    kills: int
    before: Callable[[Site, Path], None] = as_it_was
    shards: int = 0
    status: int = 0
    after: tuple[str, ...] = ()


CASES = {
    "avail": Case("listed", ("avail",), 50, newer_at_the_source),
    "download": Case("listed", ("download", "JOBS=4"), 70),
    "shards-download": Case("listed", ("download",), 30, shards=2),
    "mend": Case("downloaded", ("download",), 50, to_mend),
    "untar": Case("downloaded", ("untar",), 60),
    "shards-untar": Case("downloaded", ("untar",), 30, shards=2),
    "free": Case("downloaded", ("untar", "KEEP=no"), 50),
    "replace": Case("unpacked", ("untar",), 40, newer_here),
    "verify": Case("unpacked", ("verify",), 30, damaged, status=2, after=("download", "untar")),
    "missing": Case("listed", ("missing",), 15),
    "sync": Case("", ("sync",), 30),
    "watch": Case("", ("watch", "EVERY=1s"), 15),
    "link": Case("unpacked", ("link",), 10),
    "status": Case("unpacked", ("status",), 5),
    "report": Case("unpacked", ("report",), 5),
    "map": Case("unpacked", ("map",), 5),
    "manifest": Case("unpacked", ("manifest",), 5),
    "doctor": Case("unpacked", ("doctor",), 5),
}


class Ended(NamedTuple):
    """What came of the processes of a case: seconds, whether one was killed before its end, and what was said."""

    seconds: float
    killed: bool
    status: int
    said: str


def family(pid: int) -> list[int]:
    """A process and all below it."""
    try:
        below = [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [pid, *(other for one in below for other in family(one))]


def run(site: Site, case: Case, chance: random.Random | None = None, within: float = 0.0) -> Ended:
    """Run the verb, of each shard; kill one process of it, or all of a shard, at any moment within some seconds."""
    begin, killed = time.monotonic(), False
    if not (chance or case.shards):
        end = site.make(*case.words)  # a Python stands ready for it
        return Ended(time.monotonic() - begin, killed, end.returncode, end.stderr)
    shards = [f"SHARD={number}/{case.shards}" for number in range(1, case.shards + 1)] or ["SHARD="]
    running = [site.start(*case.words, shard) for shard in shards]
    try:
        if chance:
            victim = chance.choice(running)
            with suppress(subprocess.TimeoutExpired):
                victim.wait(chance.uniform(0.0, within))
            alive = family(victim.pid)
            if killed := bool(alive) and victim.poll() is None:
                with suppress(ProcessLookupError):
                    if chance.random() < 0.4:
                        os.killpg(victim.pid, signal.SIGKILL)
                    else:
                        os.kill(chance.choice(alive), signal.SIGKILL)
        # If Make alone was killed, what it started goes on to its end.
        ends = [one.communicate(timeout=DEADLINE) for one in running]
    finally:
        for one in running:
            with suppress(ProcessLookupError):
                os.killpg(one.pid, signal.SIGKILL)
    said = "".join(stderr for _, stderr in ends)
    return Ended(time.monotonic() - begin, killed, max(abs(one.returncode) for one in running), said)


def settled(space: VOSpace) -> None:
    """Wait until the server noticed that nobody listens any more: until then it counts what it was asked for."""
    end = time.monotonic() + DEADLINE
    while any("process_request" in thread.name for thread in threading.enumerate()):
        assert time.monotonic() < end, "the server did not notice"
        time.sleep(0.001)
    space.forget()


def outcome(site: Site) -> dict[str, object]:
    """All that a run leaves behind, so that two of them can be compared."""
    found: dict[str, object] = {}
    for path, (content, mtime_ns) in files_of(site.directory).items():
        name = path.rpartition("/")[2]
        dated = re.match(r"archives/|output/run|stamps/mccd/(?!members/)", path)
        if not name.startswith(LEFT):
            found[path] = None if name.startswith(OF_THEIR_TIME) else (md5(content), mtime_ns if dated else 0)
    return found | {str(path): path.readlink() for path in site.directory.rglob("*") if path.is_symlink()}


def check_kills(name: str, kills: int, site: Site, uri: str, space: VOSpace, container: Path) -> None:
    """Kill the verb of a case so many times, and run it again each time."""
    case, known, chance = CASES[name], Known(), random.Random(f"{SEED} {name} {uri}")
    site.list_tiles(*TILES)
    site.environment |= {"INPUT_PATH": uri}
    known.learn(container)
    if case.state:
        site.begin(case.state, uri)
    case.before(site, container)
    known.learn(container)
    source = {path.name: path.read_bytes() for path in container.glob("*.tgz")}

    def fresh() -> Site:
        directory = site.directory.with_name("again")
        shutil.rmtree(directory, ignore_errors=True)
        return replace(site, directory=Path(shutil.copytree(site.directory, directory, symlinks=True)))

    undisturbed = fresh()
    usual = run(undisturbed, case)
    assert usual.status == case.status, usual.said
    if case.after:
        undisturbed.done(*case.after)
    expected, done, tries = outcome(undisturbed), 0, 0
    wrong = set(broken(files_of(site.directory), known))
    while done < kills:
        tries += 1
        about = f"SEED={SEED}, try {tries} of {name}"
        assert tries < 20 * kills + 20, f"{about}: it is over before it can be killed"
        again = fresh()
        if not run(again, case, chance, usual.seconds).killed:
            continue
        done += 1
        files = files_of(again.directory)
        assert not set(broken(files, known)) - wrong, about
        whole = {
            archive
            for archive, content in source.items()
            if files.get(f"archives/{archive}", (None,))[0] == content
        }  # fmt: skip
        settled(space)
        # Whoever held a lock is dead, which is known at once: nothing is said of it.
        end = run(again, case)
        said = [line for line in end.said.splitlines() if not (PROGRESS.match(line) or line.startswith("make"))]
        assert case.status or (end.status, said) == (0, []), f"{about}: {end.said}"
        assert not space.requests().bytes.keys() & whole, about
        if case.after:
            again.done(*case.after)
        assert not set(broken(files_of(again.directory), known)), about
        assert outcome(again) == expected, about


@pytest.mark.soak
@pytest.mark.parametrize("name", CASES)
def test_a_thousand_kills_of_any_verb_lose_nothing(
    name: str, site: Site, at: str, space: VOSpace, container: Path
) -> None:
    check_kills(name, int(os.environ.get("KILLS", CASES[name].kills)), site, at, space, container)
