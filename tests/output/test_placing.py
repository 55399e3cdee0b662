"""Placing, a step at a time: what happens to tiles and lists between the steps of a run, also beside other shards."""

from __future__ import annotations

import pickle
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from retrieve.archives import Archive, Verified, date_of
from retrieve.output.placing import free
from retrieve.selection import Selection
from retrieve.shards import Shard
from retrieve.stamps.stamps import DOWNLOADED, EXTRACTED
from support.site import HERE, Site
from support.steps import fetch, jobs, listed, place, placing, stamped, stamps_of, unpacked, untar
from support.tar_making import MTIME

SHARED = "output/all/x"


def content(here: Site) -> bytes:
    return (here.directory / SHARED).read_bytes()


def test_what_another_shard_placed_meanwhile_counts(here: Site) -> None:
    for tile, date in (("100.300", 9), ("101.300", 5), ("102.300", 1), ("103.300", 0)):
        fetch(here, f"logs_{tile}.tgz", {SHARED: tile[:3].encode() * date}, date)
    one = placing(here, "100.300", shard=Shard(1, 2))
    two = placing(here, "101.300", "102.300", "103.300", shard=Shard(2, 2))
    place(two, unpacked(here, "102.300"))
    place(two, unpacked(here, "103.300"))  # which looks at all lists, for the first time
    place(one, unpacked(here, "100.300"))
    place(two, unpacked(here, "101.300"))
    assert content(here) == b"100" * 9
    assert listed(here, "101.300") == {"logs_101.300.tgz": {SHARED: None}}
    assert one.to_redo == two.to_redo == set()
    assert len(stamped(here)) == 4
    # What shards tell one another ends with the first run of all tiles.
    told = here.directory / "stamps/mccd/placed"
    placing(here, shard=Shard(1, 2))
    assert told.exists()
    placing(here)
    assert not told.exists()


def test_a_shard_does_not_stamp_a_tile_whose_file_another_one_had_come_back(here: Site) -> None:
    fetch(here, "logs_101.300.tgz", {SHARED: b"older"})
    fetch(here, "logs_100.300.tgz", {SHARED: b"newer file"}, 1)
    assert untar(here, "100.300", "101.300") == set()
    fetch(here, "logs_100.300.tgz", {"output/own/y": b"y"}, 2)
    fetch(here, "setools_stat_101.300.tgz", {"output/own/z": b"z"}, 2)
    fetch(here, "logs_102.300.tgz", {"output/own/w": b"w"})
    tiles = ("100.300", "101.300", "102.300")
    one, two, three = (placing(here, tile, shard=Shard(i, 3)) for i, tile in enumerate(tiles, 1))
    before = unpacked(here, "101.300")
    place(one, unpacked(here, "100.300"))
    place(two, before)
    place(three, unpacked(here, "102.300"))
    assert stamped(here) == {"100.300", "102.300"}
    assert (one.to_redo, two.to_redo, three.to_redo) == ({"101.300"}, {"101.300"}, set())
    place(two, unpacked(here, "101.300"))
    assert two.to_redo == set()
    assert "101.300" in stamped(here)
    assert content(here) == b"older"


def test_a_tile_is_not_stamped_with_a_file_that_has_to_come_back(here: Site) -> None:
    fetch(here, "logs_101.300.tgz", {SHARED: b"older"})
    fetch(here, "logs_100.300.tgz", {SHARED: b"newer file"}, 1)
    untar(here, "100.300", "101.300")
    fetch(here, "logs_100.300.tgz", {"output/own/y": b"y"}, 2)
    fetch(here, "setools_stat_101.300.tgz", {"output/own/z": b"z"}, 2)
    assert untar(here, "100.300", "101.300") == {"101.300"}
    assert stamped(here) == {"100.300"}
    assert untar(here, "101.300") == set()
    assert stamped(here) == {"100.300", "101.300"}
    assert content(here) == b"older"


def test_a_list_tells_what_gave_way_while_its_tile_was_unpacked(here: Site) -> None:
    kept = {"output/own/a": b"a", SHARED: b"older"}
    fetch(here, "logs_101.300.tgz", kept)
    untar(here, "101.300")
    fetch(here, "setools_stat_101.300.tgz", {"output/own/z": b"z"}, 2)
    fetch(here, "logs_100.300.tgz", {SHARED: b"newer file"}, 1)
    run = placing(here, "100.300", "101.300")
    before = unpacked(here, "101.300")
    place(run, unpacked(here, "100.300"))
    place(run, before)
    assert listed(here, "101.300") == {
        "logs_101.300.tgz": {"output/own/a": 1, SHARED: None}, "setools_stat_101.300.tgz": {"output/own/z": 1}
    }  # fmt: skip
    assert content(here) == b"newer file"
    assert stamped(here) == {"100.300", "101.300"}


@pytest.mark.parametrize(
    ("one", "other", "winner"),
    [  # content, and the dates of file and archive
        pytest.param((b"one", 0, 1), (b"two", 0, 2), (b"two", 0), id="the newer archive's, of files as old"),
        pytest.param((b"one", 1, 0), (b"two", 0, 2), (b"one", 1), id="the newer one"),
        pytest.param((b"one", 0, 2), (b"one", 1, 1), (b"one", 1), id="the newer one of the same content"),
        pytest.param((b"one", 1, 1), (b"two", 1, 1), None, id="the later one of files and archives as old"),
    ],
)
def test_of_two_files_one_has_the_place_whichever_comes_first(
    one: tuple[bytes, int, int], other: tuple[bytes, int, int], winner: tuple[bytes, int] | None, here: Site
) -> None:
    for round, pair in enumerate(((one, other), (other, one))):
        tiles = f"{round}10.300", f"{round}11.300"
        shared = f"output/{round}/x"
        for tile, (text, date, of_archive) in zip(tiles, pair, strict=True):
            fetch(here, f"logs_{tile}.tgz", {shared: text}, date, of_archive)
            untar(here, tile)
        path = here.directory / shared
        found = path.read_bytes(), int(path.stat().st_mtime) - MTIME
        assert found == (winner or pair[1][:2])
        lists = [listed(here, tile)[f"logs_{tile}.tgz"] for tile in tiles]
        same = pair[0][0] == pair[1][0]
        assert lists == [{shared: 3 if same or text == found[0] else None} for text, *_ in pair]


def test_a_file_that_no_archive_brought_gives_way_whatever_its_date(here: Site) -> None:
    """As one that was edited by hand, which is newer than any."""
    for tile in ("100.300", "101.300"):
        fetch(here, f"logs_{tile}.tgz", {SHARED: tile.encode()})
    untar(here, "100.300")
    (here.directory / SHARED).write_bytes(b"longer than it was")
    untar(here, "101.300")
    assert content(here) == b"101.300"


def test_a_tile_that_comes_again_has_the_dates_that_it_has_now_although_another_gave_way_to_it(here: Site) -> None:
    fetch(here, "logs_100.300.tgz", {SHARED: b"older"}, 0)
    fetch(here, "logs_101.300.tgz", {SHARED: b"newer file"}, 5)
    untar(here, "100.300", "101.300")
    fetch(here, "logs_101.300.tgz", {SHARED: b"newer file", "output/own/y": b"y"}, 3, 6)
    (outcome,) = place(placing(here, "101.300"), unpacked(here, "101.300"))
    assert outcome.superseded == ()
    assert (here.directory / SHARED).stat().st_mtime == MTIME + 3


def test_what_was_unpacked_of_an_archive_is_not_touched_when_the_rest_is(here: Site) -> None:
    files = {SHARED: b"text", "output/own/y.fits": b"data", "output/own/z.fits": b"data"}
    fetch(here, "logs_100.300.tgz", files)
    some = Selection(("*.fits",))
    place(placing(here, "100.300"), unpacked(here, "100.300", only=some))
    first, edited = (here.directory / f"output/own/{name}.fits" for name in "yz")
    edited.write_bytes(b"edited")
    inode = first.stat().st_ino
    untar(here, "100.300")
    assert first.stat().st_ino == inode
    assert here.files("output") == {path.removeprefix("output/"): text for path, text in files.items()}


@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace: apt-get install strace")
def test_such_a_list_is_on_disk_before_it_gets_its_name_and_the_stamp_when_it_is_told(
    here: Site, tmp_path: Path
) -> None:
    fetch(here, "logs_101.300.tgz", {SHARED: b"older"})
    untar(here, "101.300")
    fetch(here, "setools_stat_101.300.tgz", {"output/own/z": b"z"}, 2)
    fetch(here, "logs_100.300.tgz", {SHARED: b"newer file"}, 1)
    before = unpacked(here, "101.300")
    untar(here, "100.300")
    run = jobs(here, "101.300"), stamps_of(here), here.directory
    code = (
        "import pickle, sys; from retrieve.output.placing import Placing; "
        "*run, outcomes = pickle.load(sys.stdin.buffer); list(Placing(*run, keep=True).place(outcomes))"
    )
    trace = ["strace", "-qq", "-y", "-o", str(tmp_path / "trace"), "-e", "trace=syncfs,fsync,rename"]
    subprocess.run(
        [*trace, sys.executable, "-BP", "-c", code],
        input=pickle.dumps((*run, before)), env={"PYTHONPATH": str(HERE / "lib")}, check=True,
    )  # fmt: skip
    calls = re.findall(r'^(\w+)\(.*/(.*)[">]', (tmp_path / "trace").read_text(), re.MULTILINE)
    listing = [("syncfs", "mccd"), ("syncfs", "mccd"), ("rename", "101.300.gz"), ("fsync", "members")]
    assert calls == [*listing, ("syncfs", "mccd"), ("rename", "101.300"), ("fsync", "extracted")]
    assert listed(here, "101.300")["logs_101.300.tgz"] == {SHARED: None}


def test_only_what_was_unpacked_is_deleted(here: Site) -> None:
    """Not an archive that came after that, nor what is no tar archive, nor one of which some files are left out."""
    stamps, archives = stamps_of(here), here.directory / "archives"
    for product in ("logs", "setools_mask", "setools_plot", "setools_stat"):
        fetch(here, f"{product}_100.300.tgz", {f"output/{product}/x": b"x"})
    untar(here, "100.300")
    mtime_ns = stamps.mtime_ns(EXTRACTED, "100.300")
    # A catalogue of the tile that is no archive was fetched, too, and recorded with those that were unpacked.
    (archives / "catalogue_100.300.fits").write_bytes(b"catalogue")
    own = Verified(Archive("catalogue_100.300.fits", 9, "0" * 32, date_of(0)), "0" * 32, 1)
    for state, record in ((DOWNLOADED, stamps.downloaded("100.300")), (EXTRACTED, stamps.extracted("100.300"))):
        all_of_it = replace(record, verified={own.archive.name: own} | record.verified)
        stamps.write(state, "100.300", all_of_it.text(), mtime_ns)
    fetch(here, "logs_100.300.tgz", {SHARED: b"newer"}, 1)
    (archives / "setools_mask_100.300.tgz").unlink()
    sizes = [(archives / f"{product}_100.300.tgz").stat().st_size for product in ("setools_plot", "setools_stat")]
    whole = stamps.extracted("100.300")
    stamps.write(EXTRACTED, "100.300", replace(whole, only=Selection(("*.txt",))).text(), mtime_ns)
    assert free("100.300", stamps, archives) == (0, 0)
    stamps.write(EXTRACTED, "100.300", whole.text(), mtime_ns)
    assert free("100.300", stamps, archives) == (2, sum(sizes))
    assert set(here.files("archives")) == {"catalogue_100.300.fits", "logs_100.300.tgz"}
    assert stamps.mtime_ns(EXTRACTED, "100.300") == mtime_ns
    dates = {name: one.mtime_ns for name, one in stamps.extracted("100.300").verified.items()}
    assert {name for name, date in dates.items() if date} == {"catalogue_100.300.fits"}
    # Nor what nothing says of whether it is another one now.
    (archives / "setools_plot_100.300.tgz").write_bytes(b"put here")
    stamps.remove(DOWNLOADED, "100.300")
    assert free("100.300", stamps, archives) == free("101.300", stamps, archives) == (0, 0)
    assert "setools_plot_100.300.tgz" in here.files("archives")
