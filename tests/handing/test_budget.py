"""`BUDGET` and `AFTER`: a disk that is smaller than the campaign, and tiles that are handed on, each once."""

from __future__ import annotations

import fcntl
import os
import random
import re
import shutil
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from retrieve.handing.after import Handing
from retrieve.settings import Settings
from retrieve.stamps.members import read_members
from retrieve.stamps.stamps import DONE, DOWNLOADED, EXTRACTED, Stamps
from support.site import TILES, Site, names
from vospace_demo.faults import Fault
from vospace_demo.results import make_archives, make_many
from vospace_demo.server import VOSpace

#: Takes a tile whole or not at all, and a second time not at all: what a user's command should do.
TAKE = """#!/bin/sh
set -eu
echo "$TILE $REPEATED" >>calls
[ ! -d "taken/$TILE" ] || exit 0
mkdir -p "taken/.$TILE.$$"
tar -c -C "$DEST" -T - | tar -x -C "taken/.$TILE.$$"
mv "taken/.$TILE.$$" "taken/$TILE"
"""
AFTER = "AFTER=./take"
#: Eight of the tiles of the campaign, archives and output at the same time, have room in it.
BUDGET = 1_000_000


@pytest.fixture
def run(site: Site) -> Site:
    """A run directory with a command that takes tiles."""
    (site.directory / "take").write_text(TAKE)
    (site.directory / "take").chmod(0o755)
    return site


def calls(site: Site) -> list[str]:
    """The calls of the command: tile, and whether it was told that this is a repetition."""
    path = site.directory / "calls"
    return path.read_text().splitlines() if path.exists() else []


def check_taken(site: Site, tiles: tuple[str, ...], container: Path) -> None:
    """All of the tiles are there, whole, and nothing of them is here; each was taken by the first call that could."""
    for tile in tiles:
        wanted = set()
        for name in names(tile):
            listed = subprocess.run(["tar", "tzf", str(container / name)], capture_output=True, text=True, check=True)
            wanted |= {f"output/{path.removeprefix('./')}" for path in listed.stdout.split() if not path.endswith("/")}
        place = site.directory / "taken" / tile
        found = {str(path.relative_to(place)) for path in place.rglob("*") if path.is_file()}
        assert {path.rpartition("/")[2] for path in found} == {path.rpartition("/")[2] for path in wanted}
    first = Counter(line.split()[0] for line in calls(site) if line.endswith(" no"))
    assert first == Counter(tiles)
    assert not list(site.directory.glob("**/archives/*"))


@contextmanager
def disk(place: Path, size: int) -> Iterator[list[int]]:
    """Mount a disk of that size in memory, and give the most that was ever taken up of it, in a list."""
    if os.geteuid() != 0:
        pytest.skip("needs root: a file system is mounted")
    place.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(place)], check=False).returncode:
        pytest.skip("needs a container with CAP_SYS_ADMIN: a file system is mounted")
    peak, ended = [0], threading.Event()

    def sample() -> None:
        while not ended.wait(0.005):
            now = os.statvfs(place)
            peak[0] = max(peak[0], (now.f_blocks - now.f_bfree) * now.f_frsize)

    sampler = threading.Thread(target=sample)
    sampler.start()
    try:
        yield peak
    finally:
        ended.set()
        sampler.join()
        subprocess.run(["umount", "-l", str(place)], check=True)


def check_nothing_is_lost(site: Site) -> None:
    """What was unpacked and not handed on is here; what was handed on is there."""
    stamps = Stamps(site.directory / "stamps", "mccd")
    for tile in stamps.tiles(EXTRACTED):
        if stamps.handed_on(tile):
            assert (site.directory / "taken" / tile).is_dir(), tile
        else:
            paths = [path for one in read_members(stamps, tile).values() for path in one.files]
            assert paths
            assert all((site.directory / "disk" / path).is_file() for path in paths), tile
    for tile in stamps.tiles(DOWNLOADED).keys() - stamps.tiles(EXTRACTED).keys():
        assert all((site.directory / "disk/archives" / name).is_file() for name in names(tile)), tile


@pytest.mark.soak
@pytest.mark.parametrize(
    ("count", "kills", "budget"),
    [pytest.param(12, 2, 400_000, marks=pytest.mark.short), (60, 30, BUDGET)],
    ids=["few-tiles", "many-tiles"],
)
def test_a_campaign_larger_than_its_disk_is_handed_on_once_whatever_is_killed(
    count: int, kills: int, budget: int, run: Site, tmp_path: Path
) -> None:
    tiles = tuple(f"{column}.{row}" for row in (290, 291, 292) for column in range(240, 260))[:count]
    container = tmp_path / "source"
    make_many(container, tiles, "mccd")
    run.list_tiles(*tiles)
    words = [f"BUDGET={budget}", AFTER, "ARCHIVES=disk/archives", "DEST=disk", f"INPUT_PATH={container}"]
    chance = random.Random(20)
    with disk(run.directory / "disk", budget) as peak:
        run.done("avail", *words)
        for _ in range(kills):
            with run.start("sync", *words) as process:
                time.sleep(chance.uniform(0.2, 3))
                os.killpg(process.pid, signal.SIGKILL)
            check_nothing_is_lost(run)
        result = run.make("sync", *words)
        assert result.returncode == 0, result.stderr
        assert "no space left" not in result.stderr
        # Small files take up much less than is reckoned with, but more than one tile does.
        assert 0.25 * budget < peak[0] <= budget
        check_taken(run, tiles, container)
        assert not [path for path in (run.directory / "disk").rglob("*") if path.is_file()]
        # It is known to be done, and stays so.
        before = calls(run)
        assert "nothing to fetch" in run.done("sync", *words)
        assert calls(run) == before


def test_what_was_handed_on_comes_again_only_when_it_is_another_at_the_source(
    run: Site, vault: str, container: Path, space: VOSpace, tmp_path: Path
) -> None:
    run.list_tiles(*TILES[:2])
    run.done("sync", f"INPUT_PATH={vault}", AFTER)
    check_taken(run, TILES[:2], container)
    # The same bytes with another date: nothing is fetched, nothing handed on.
    for name in names(TILES[0]):
        os.utime(container / name)
    space.forget()
    assert "nothing to fetch" not in run.done("sync", AFTER)
    assert not space.requests().bytes
    assert "nothing to fetch" in run.done("sync")
    assert len(calls(run)) == 2
    # One archive is another: the whole tile is handed on again, and that is no repetition.
    make_archives(tmp_path / "other", TILES[0], "mccd", exposures=2)
    mask = f"setools_mask_{TILES[0]}.tgz"
    assert (container / mask).read_bytes() != (tmp_path / "other" / mask).read_bytes()
    shutil.copy(tmp_path / "other" / mask, container)
    space.forget()
    run.done("sync", AFTER)
    assert set(space.requests().bytes) == set(names(TILES[0]))
    assert calls(run)[2:] == [f"{TILES[0]} no"]


@pytest.mark.soak
@pytest.mark.short
def test_every_command_knows_what_was_handed_on(run: Site, vault: str) -> None:
    run.begin("listed", vault)
    run.done("download")
    out = run.done("untar", AFTER, f"TILES={TILES[0]} {TILES[1]}")
    assert "2 tiles handed on, and removed here\n" in out
    run.done("untar")
    assert run.done("verify").startswith("10 tiles verified: 0 of 56 archives bad, 0 of ")
    status = run.json("status")
    assert (status["states"]["unpacked"], status["handed_on"]) == (10, 2)
    assert "2 tiles handed on, and not here any more\n" in run.done("status")
    assert "handed on: 20" in run.done("status", f"TILES={TILES[0]}")
    assert run.done("missing").startswith("missing.txt: 0 tiles missing\n")
    assert run.done("link").startswith("8 links in ")
    assert run.done("manifest").startswith("manifest.ecsv: 70 archives of 10 tiles")
    assert "10 unpacked" in run.done("report")
    for verb in "download", "untar":
        assert run.done(verb).startswith("nothing to ")
        assert run.done(verb, "DRYRUN=yes").startswith("nothing to ")
    result = run.make("untar", "ONLY=final_cat-*", AFTER)
    assert "AFTER would delete what ONLY leaves in the archives" in result.stderr


def test_a_tile_that_is_not_taken_stays_and_comes_again_as_a_repetition(run: Site, vault: str) -> None:
    run.begin("downloaded", vault)
    tiles = f"TILES={TILES[0]} {TILES[1]}"
    result = run.make("untar", tiles, f"AFTER=./take && [ $$TILE = {TILES[1]} ]")
    assert result.returncode == 2
    assert result.stderr.splitlines()[:2] == [
        f"tile '{TILES[0]}' was not taken by AFTER: exit status 1; what it said is above",
        "1 tile kept back; see above",
    ]
    stamps = Stamps(run.directory / "stamps", "mccd")
    assert list(stamps.tiles(DONE)) == [TILES[1]]
    # A command that outlived its run still holds what it took over.
    with (run.directory / f"stamps/mccd/handing/{TILES[0]}").open() as intent:
        fcntl.flock(intent, fcntl.LOCK_EX)
        result = run.make("untar", tiles, AFTER)
    assert f"tile '{TILES[0]}' was not taken by AFTER: the command of an earlier run is still at it" in result.stderr
    run.done("untar", tiles, AFTER)
    assert calls(run) == [f"{TILES[0]} no", f"{TILES[1]} no", f"{TILES[0]} yes"]
    # One that is broken is not called for each of thousands.
    result = run.make("untar", "AFTER=nowhere")
    assert result.stderr.count("was not taken by AFTER: exit status 127") == 3


def test_a_run_that_dies_between_the_record_and_the_removal_is_made_up_for(run: Site, vault: str) -> None:
    run.begin("unpacked", vault)
    stamps = Stamps(run.directory / "stamps", "mccd")
    for tile in TILES[:2]:
        stamps.write(DONE, tile, stamps.extracted(tile).text(), stamps.mtime_ns(EXTRACTED, tile))
    run.done("untar", AFTER)
    assert sorted(calls(run)) == [f"{tile} no" for tile in sorted(TILES[2:])]
    assert run.files("output") == {}
    assert Handing(Settings(), stamps).waiting(TILES) == []


def test_what_cannot_fit_is_told_and_the_others_go_on(run: Site, container: Path, tmp_path: Path) -> None:
    large, broken = TILES[0], TILES[1]
    (container / names(large)[0]).write_bytes(os.urandom(2 * BUDGET))
    (container / names(broken)[0]).write_bytes(b"no archive at all")
    run.list_tiles(*TILES)
    result = run.make("sync", f"INPUT_PATH={container}", f"BUDGET={BUDGET}", AFTER)
    assert result.returncode == 2
    told = f"tile '{large}' needs 2.0 MB, more than BUDGET allows (1.0 MB); raise BUDGET"
    assert told in result.stderr.splitlines()
    assert sorted({line.split()[0] for line in calls(run)}) == sorted(TILES[2:])
    assert len(calls(run)) == len(TILES) - 2
    assert not (run.directory / "archives" / names(large)[1]).exists()


@pytest.mark.soak
@pytest.mark.short
def test_without_after_it_is_fetched_as_far_as_there_is_room(run: Site, vault: str, space: VOSpace) -> None:
    run.list_tiles(*TILES)
    result = run.make("sync", f"INPUT_PATH={vault}", "BUDGET=250k")
    assert result.returncode == 2
    stuck = re.search(r"BUDGET is taken up, and (\d+) tiles cannot be fetched; raise it, or hand tiles on with AFTER\n",
                      result.stderr)  # fmt: skip
    assert stuck, result.stderr
    stamps = Stamps(run.directory / "stamps", "mccd")
    unpacked = stamps.tiles(EXTRACTED)
    assert len(unpacked) == len(TILES) - int(stuck[1]) > 1
    assert run.files("archives") == {}
    result = run.make("-s", "watch", "BUDGET=1M", AFTER)
    assert (result.returncode, result.stderr) == (0, "")
    assert result.stdout.endswith("; all done\n")
    assert "10 of 10 tiles handed on" in result.stdout
    assert len(stamps.tiles(DONE)) == len(TILES)


@pytest.mark.parametrize(("value", "remedy"), [("2 TB", "bytes, such as 500G or 2T"), ("-1", "bytes, such as")])
def test_a_budget_that_is_none_is_refused(value: str, remedy: str, run: Site) -> None:
    result = run.make("download", f"BUDGET={value}")
    assert f"bad value BUDGET='{value}'; give {remedy}" in result.stderr


def test_make_that_only_tells_what_it_would_do_does_nothing(run: Site, vault: str, space: VOSpace) -> None:
    run.begin("listed", vault)
    space.fault(Fault("status", route="files", status=500, count=-1))
    before = run.files(".")
    assert run.make("-n", "sync", f"BUDGET={BUDGET}", AFTER).returncode == 0
    assert run.files(".") == before
    assert "BUDGET leaves 9 tiles for later\n" in run.done("download", f"BUDGET={BUDGET}", "DRYRUN=yes")
    assert run.files(".") == before
