"""Staging: what is unpacked of a tile, given what was unpacked before; and what is said of an archive."""

from __future__ import annotations

import os
from dataclasses import replace

import pytest

from retrieve.selection import Selection
from retrieve.stamps.members import OBSOLETE, Unpacked, members_path, pack, read_members
from retrieve.stamps.stamps import DOWNLOADED, EXTRACTED
from support.site import Site
from support.steps import fetch, jobs, listed, place, placing, stamped, stamps_of, unpacked, untar
from support.tar_making import MTIME, downloaded, fits

TILE = "100.300"
LOGS, STAT = f"logs_{TILE}.tgz", f"setools_stat_{TILE}.tgz"
FITS = Selection(("*.fits",))


@pytest.fixture
def two(here: Site) -> Site:
    """A tile with two archives, of which nothing is unpacked."""
    fetch(here, LOGS, {"output/l/x": b"x", "output/l/y.fits": b"y"})
    fetch(here, STAT, {"output/s/x": b"x", "output/s/y.fits": b"y"})
    return here


def md5s(here: Site, state: str) -> dict[str, str]:
    stamps = stamps_of(here)
    record = stamps.extracted(TILE) if state == EXTRACTED else stamps.downloaded(TILE)
    return {name: one.md5 for name, one in record.verified.items()}


def test_an_archive_that_is_unpacked_is_not_read_again_and_a_newer_one_is(two: Site) -> None:
    untar(two, TILE)
    (outcome,) = unpacked(two, TILE)
    assert outcome.fresh == ()
    fetch(two, STAT, {"output/s/z": b"z"}, 1)
    (outcome,) = place(placing(two, TILE), unpacked(two, TILE))
    assert (outcome.fresh, outcome.files) == ((STAT,), 3)
    assert md5s(two, EXTRACTED) == md5s(two, DOWNLOADED)
    assert set(two.files("output")) == {"l/x", "l/y.fits", "s/z"}


@pytest.mark.parametrize("left", [None, b"damaged"])
def test_without_its_list_all_of_a_tile_is_unpacked_again(left: bytes | None, two: Site) -> None:
    untar(two, TILE)
    whole = listed(two, TILE)
    members_path(stamps_of(two), TILE).unlink()
    if left:
        members_path(stamps_of(two), TILE).write_bytes(left)
    assert place(placing(two, TILE), unpacked(two, TILE))[0].fresh == (LOGS, STAT)
    assert listed(two, TILE) == whole


def test_an_archive_that_is_not_asked_for_now_stays_on_record_as_long_as_it_is_on_the_list(two: Site) -> None:
    untar(two, TILE)
    before = md5s(two, EXTRACTED)
    stamps_of(two).remove(DOWNLOADED, TILE)
    fetch(two, LOGS, {"output/l/z": b"z"}, 1)
    untar(two, TILE)
    assert md5s(two, EXTRACTED) == before | md5s(two, DOWNLOADED)
    assert listed(two, TILE) == {LOGS: {"output/l/z": 1}, STAT: {"output/s/x": 1, "output/s/y.fits": 1}}
    members_path(stamps_of(two), TILE).unlink()
    untar(two, TILE)
    assert md5s(two, EXTRACTED) == md5s(two, DOWNLOADED)


def test_what_a_killed_run_was_about_to_remove_is_removed_by_the_next_one(two: Site) -> None:
    untar(two, TILE)
    members = read_members(stamps_of(two), TILE)
    old = two.directory / "output/old/x"
    old.parent.mkdir()
    old.write_bytes(b"of an earlier version")
    gone = {OBSOLETE: Unpacked(OBSOLETE, OBSOLETE, {"output/old/x": 0})}
    members_path(stamps_of(two), TILE).write_bytes(pack(members | gone))
    (outcome,) = place(placing(two, TILE), unpacked(two, TILE))
    assert outcome.files == 4
    assert not old.parent.exists()
    assert read_members(stamps_of(two), TILE) == members


def test_a_tile_is_stamped_as_unpacked_only_when_all_of_it_is(two: Site) -> None:
    place(placing(two, TILE), unpacked(two, TILE, only=FITS))
    assert stamped(two) == set()
    assert stamps_of(two).extracted(TILE).only == FITS
    # What the patterns cover is unpacked, and those of the run before count.
    assert unpacked(two, TILE, only=FITS)[0].fresh == ()
    untar(two, TILE)
    assert stamped(two) == {TILE}
    assert not stamps_of(two).extracted(TILE).only
    (outcome,) = place(placing(two, TILE), unpacked(two, TILE, only=FITS))
    assert outcome.fresh == ()
    assert not stamps_of(two).extracted(TILE).only
    assert len(two.files("output")) == 4


def test_a_tile_of_which_an_archive_is_refused_is_not_stamped_as_unpacked(two: Site) -> None:
    downloaded(two, {LOGS: b"no archive"}, {LOGS: MTIME + 1})
    (outcome,) = unpacked(two, TILE)
    assert outcome.problem.startswith(f"cannot unpack tile '{TILE}': '")
    assert not jobs(two, TILE)[0].staging.exists()
    (outcome,) = place(placing(two, TILE), unpacked(two, TILE, partial=True))
    assert [line.partition(": ")[0] for line in outcome.refused] == [f"cannot unpack '{two.directory}/archives/{LOGS}'"]
    assert stamped(two) == set()
    assert set(md5s(two, EXTRACTED)) == {STAT}
    assert set(two.files("output")) == {"s/x", "s/y.fits"}


def test_what_an_archive_lacks_is_told_once(here: Site) -> None:
    fetch(here, f"final_cat_{TILE}.tgz", {})
    fetch(here, LOGS, {})
    (outcome,) = unpacked(here, TILE)
    archives = here.directory / "archives"
    name = f"final_cat-{TILE.replace('.', '-')}.fits"
    assert outcome.lacking == (f"'{archives}/final_cat_{TILE}.tgz' holds no '{name}'; ask who made it",)
    assert outcome.empty == (f"'{archives}/{LOGS}' holds no file; ask who made it",)
    assert unpacked(here, TILE, only=FITS)[0].empty == ()


def test_an_archive_that_changed_since_it_was_fetched_is_not_unpacked(two: Site) -> None:
    path = two.directory / "archives" / LOGS
    os.utime(path)
    (outcome,) = unpacked(two, TILE)
    assert outcome.problem == f"cannot unpack tile '{TILE}': '{path}' is not what was downloaded; run 'make download'"
    path.unlink()
    assert unpacked(two, TILE)[0].problem == outcome.problem


def test_whether_the_source_has_the_damage_is_known_by_its_md5(here: Site) -> None:
    downloaded(here, {LOGS: b"no archive"})
    stamps, path = stamps_of(here), here.directory / "archives" / LOGS
    (outcome,) = unpacked(here, TILE)
    assert outcome.problem.endswith("; it is so at the source, and fetching it again will not help: ask who made it")
    assert outcome.problem.startswith(f"cannot unpack tile '{TILE}': '{path}': ")
    record, mtime_ns = stamps.downloaded_with_mtime(TILE)
    one = record.verified[LOGS]
    unknown = replace(record, verified={LOGS: replace(one, archive=one.archive._replace(md5=None))})
    stamps.write(DOWNLOADED, TILE, unknown.text(), mtime_ns)
    (outcome,) = unpacked(here, TILE)
    assert outcome.problem.endswith("; delete it to have it fetched again, or ask who made it")


def test_a_catalogue_that_is_there_lacks_nothing(here: Site) -> None:
    fetch(here, f"final_cat_{TILE}.tgz", {f"output/r/final_cat-{TILE.replace('.', '-')}.fits": fits()})
    (outcome,) = unpacked(here, TILE)
    assert (outcome.lacking, outcome.empty) == ((), ())
