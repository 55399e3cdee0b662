"""Extraction: which tiles are unpacked, when they get their places, and what is told of them."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator

import pytest

from retrieve.errors import RetrieveError
from retrieve.output.extraction import Extraction, Tally
from retrieve.output.staging import TileJob, TileOutcome
from retrieve.selection import Selection
from retrieve.settings import Settings
from support.site import Site
from support.steps import fetch, stamped, stamps_of, untar
from support.tar_making import downloaded

SHARED = "output/all/x"


class InTurn:
    """Works on jobs in this process, one after the other; a test may look before each of them."""

    def __init__(self, look: Callable[[], object] = bool, full: Iterable[str] = ()) -> None:
        self.look = look
        self.full = full

    def map(self, unpack: Callable[[TileJob], TileOutcome], jobs: list[TileJob]) -> Iterator[TileOutcome]:
        """Unpack tiles, except those for which the disk is full."""
        for job in jobs:
            self.look()
            yield (
                TileOutcome(job.tile, problem=f"{job.tile}: full", full=True) if job.tile in self.full else unpack(job)
            )


def extraction(here: Site, *tiles: str, **settings: object) -> Extraction:
    """Of some tiles, all of which are stale."""
    place = here.directory
    places = {"archives": place / "archives", "dest": place, "stamps": place / "stamps"}
    return Extraction(list(tiles), set(tiles), Settings(**places, check="none", v=None, **settings), stamps_of(here))


def fetched(here: Site, count: int) -> list[str]:
    """Some tiles with an archive each."""
    tiles = [f"{100 + number}.300" for number in range(count)]
    for tile in tiles:
        fetch(here, f"logs_{tile}.tgz", {f"output/{tile}/x": b"x"})
    return tiles


def test_tiles_get_their_places_some_at_a_time(here: Site) -> None:
    tiles, seen = fetched(here, 17), []
    extraction(here, *tiles).run(InTurn(lambda: seen.append(len(stamped(here)))))
    assert seen == [0] * 8 + [8] * 8 + [16]
    assert len(stamped(here)) == 17


def test_tiles_that_take_long_get_their_places_after_ten_seconds(here: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    tiles, seen, now = fetched(here, 7), [], [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])

    def look() -> None:
        seen.append(len(stamped(here)))
        now[0] += 5

    extraction(here, *tiles).run(InTurn(look))
    assert seen == [0, 0, 0, 3, 3, 3, 6]


def test_ten_tiles_after_which_the_disk_is_full_end_the_run(here: Site, capsys: pytest.CaptureFixture[str]) -> None:
    tiles, asked = fetched(here, 12), []
    run = extraction(here, *tiles)
    run.run(InTurn(lambda: asked.append(1), full=tiles[1:]))
    assert (len(asked), run.tally.done, run.tally.untried) == (11, 1, 1)
    assert stamped(here) == {tiles[0]}
    assert capsys.readouterr().err.splitlines() == [f"{tile}: full" for tile in tiles[1:11]]
    assert list(run.tally.problems()) == ["10 of 12 tiles failed, and 1 was not tried; see above"]
    run = extraction(here, *tiles)
    run.run(InTurn(full=tiles[1:10]))
    assert (run.tally.done, run.tally.untried) == (3, 0)


def test_what_is_left_to_a_later_run_is_not_unpacked(here: Site) -> None:
    one, other = fetched(here, 2)
    run = extraction(here, one, other)
    run.leave_out({other})
    assert set(run.most_on_disk()) == {one}
    run.run(InTurn())
    assert (run.tally.tiles, run.tally.untried, stamped(here)) == (1, 0, {one})


def test_a_tile_is_told_as_unpacked_if_all_of_it_is_and_stays(here: Site, capsys: pytest.CaptureFixture[str]) -> None:
    fetch(here, "logs_101.300.tgz", {SHARED: b"older"})
    fetch(here, "logs_100.300.tgz", {SHARED: b"newer file"}, 1)
    untar(here, "100.300", "101.300")
    fetch(here, "logs_100.300.tgz", {"output/100/x": b"x"}, 2)  # its file in the place of the other tile's goes
    fetch(here, "setools_stat_101.300.tgz", {"output/101/x": b"x"}, 2)
    fetch(here, "logs_102.300.tgz", {"output/102/x": b"x"})
    downloaded(here, {"setools_stat_102.300.tgz": b"no archive"})
    fetch(here, "final_cat_103.300.tgz", {"output/103/x": b"x"})
    told: list[str] = []
    run = extraction(here, "100.300", "101.300", "102.300", "103.300", partial=True)
    run.run(InTurn(), told.append)
    assert told == ["100.300"]
    assert (run.tally.done, run.tally.archives, run.tally.to_redo) == (2, 4, {"101.300"})
    assert run.tally.failed.keys() == {"102.300", "103.300"}
    lines = capsys.readouterr().err.splitlines()
    assert ["setools_stat_102.300.tgz" in lines[0], "final_cat_103.300.tgz" in lines[1]] == [True, True]
    assert list(run.tally.problems()) == [
        "1 tile to be unpacked again; run 'make untar' again", "2 of 4 tiles failed; see above"
    ]  # fmt: skip


def test_a_program_is_told_all_counts() -> None:
    data = Tally(tiles=3, failed={"100.300": "bad"}, kept_back={"101.300": "no room"}, to_redo={"9", "10"}).data()
    counts = {"tiles", "done", "archives", "files", "superseded", "left_out", "half_ended", "loose_ends", "lacking"}
    counts |= {"freed", "handed_on", "ratio", "untried"}
    assert data.keys() == counts | {"to_redo", "failed"}
    assert (data["untried"], data["to_redo"]) == (2, ["10", "9"])
    assert data["failed"] == {"100.300": "bad", "101.300": "no room"}


def test_the_output_directory_is_made_where_there_is_something_to_unpack(here: Site) -> None:
    output = here.directory / "output"
    output.rmdir()
    run = extraction(here)
    run.run(InTurn())
    assert list(run.tally.lines(here.directory)) == ["nothing to unpack"]
    assert not output.exists()
    (tile,) = fetched(here, 1)
    run = extraction(here, tile)
    run.run(InTurn())
    assert list(run.tally.lines(here.directory)) == [f"1 archive unpacked; 1 tile with 1 file in '{output}'"]
    assert here.files("output") == {f"{tile}/x": b"x"}


def test_what_is_in_the_place_of_the_output_directory_is_told(here: Site) -> None:
    output, (tile,) = here.directory / "output", fetched(here, 1)
    output.rmdir()
    output.write_bytes(b"")
    with pytest.raises(RetrieveError, match=r"^cannot make '.*/output': .*; DEST says where$"):
        extraction(here, tile).run(InTurn())
    output.unlink()
    output.symlink_to("elsewhere")
    with pytest.raises(RetrieveError, match=r"/output' is a link to 'elsewhere', which is not there; make that dir"):
        extraction(here, tile).run(InTurn())
    (here.directory / "elsewhere").mkdir()
    extraction(here, tile).run(InTurn())
    assert here.files("elsewhere") == {f"{tile}/x": b"x"}


def test_what_cannot_fit_is_refused_unless_forced(here: Site) -> None:
    (tile,) = fetched(here, 1)
    path = here.directory / "archives" / f"logs_{tile}.tgz"
    path.write_bytes(b"no archive")
    os.truncate(path, 15 * 10**12)  # as large as a file can be on most disks, and all of it a hole
    with pytest.raises(RetrieveError, match=r"not enough space in '.*/output': about"):
        extraction(here, tile).run(InTurn())
    forced = extraction(here, tile, force=True)
    forced.run(InTurn())
    assert "is not what was downloaded" in forced.tally.failed[tile]


def test_only_what_is_unpacked_and_not_the_source_itself_is_deleted(
    here: Site, capsys: pytest.CaptureFixture[str]
) -> None:
    tile, other = fetched(here, 2)
    archives = here.directory / "archives"
    extraction(here, tile).run(InTurn())
    assert len(list(archives.iterdir())) == 2
    extraction(here, tile, keep=False, input_path=str(archives)).run(InTurn())
    assert "holds the source itself; leave out KEEP=no, BUDGET and AFTER" in capsys.readouterr().err
    assert len(list(archives.iterdir())) == 2
    run = extraction(here, tile, keep=False)
    run.run(InTurn())
    assert [path.name for path in archives.iterdir()] == [f"logs_{other}.tgz"]
    assert (run.tally.freed, capsys.readouterr().err) == (1, "")


def test_a_tile_whose_selected_files_are_unpacked_is_done(here: Site) -> None:
    tile, other = fetched(here, 2)
    some, more = Selection(("x",)), Selection(("x", "y"))
    extraction(here, tile, only=some).run(InTurn())
    assert [extraction(here, tile, other, only=only).tally.tiles for only in (some, more)] == [1, 2]
    assert extraction(here, tile, other).tally.tiles == 2
