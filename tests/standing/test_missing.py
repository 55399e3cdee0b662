"""What is missing, and why: the words of `make status`, of a survey that may be damaged or seen in part."""

from __future__ import annotations

from pathlib import Path

import pytest

from retrieve.settings import Settings
from retrieve.stamps.stamps import DOWNLOADED, Stamps
from retrieve.standing.survey import survey
from support.site import Site, names
from support.survey import make_done, numbers


def test_missing_says_what_status_says_also_of_a_damaged_stamp(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    unlisted, cut, gone, whole = numbers(4)
    make_done(site.directory, (cut, gone, whole))
    site.list_tiles(unlisted, cut, gone, whole)
    stamps = Stamps(site.directory / "stamps", "mccd")
    path = stamps.path(DOWNLOADED, cut)
    path.write_text(path.read_text()[:-3])
    (site.directory / "archives" / names(gone)[5]).unlink()
    why = {
        unlisted: "not listed yet; run 'make avail'",
        cut: f"a stamp of it is damaged; remove 'stamps/mccd/*/{cut}' and run 'make sync'",
        gone: f"not fetched: {names(gone)[5]}",
    }
    found = site.done("missing").splitlines()
    assert found[0] == "missing.txt: 3 tiles missing"
    assert found[-3:] == [f"{tile}: {said}" for tile, said in why.items()]
    assert (site.directory / "missing.txt").read_text() == f"{unlisted}\n{cut}\n{gone}\n"
    assert stamps.path("missing", gone).read_text() == f"{names(gone)[5]}\tnot fetched\n"
    assert stamps.path("missing", cut).read_text() == ""
    result = site.json("missing")
    assert list(result["counts"].values()) == [1, 0, 0, 1, 0, 1, 0]
    assert result["tiles"] == {
        unlisted: {"not listed yet": []}, cut: {"damaged": []}, gone: {"not fetched": [names(gone)[5]]}
    }  # fmt: skip
    monkeypatch.chdir(site.directory)
    tiles = survey(Settings.parse([]), Stamps(Path("stamps"), "mccd")).tiles
    assert {one.tile: one.why for one in tiles if one.why} == why


def test_archives_that_a_run_is_not_about_are_not_missing(site: Site) -> None:
    tile = numbers(1)[0]
    make_done(site.directory, [tile])
    site.list_tiles(tile)
    for name in names(tile)[:2]:
        (site.directory / "archives" / name).unlink()
    assert site.done("missing").endswith(f"{tile}: not fetched: {names(tile)[0]}, {names(tile)[1]}\n")
    product = names(tile)[1].removesuffix(f"_{tile}.tgz")
    assert site.done("missing", f"PRODUCTS={product}").endswith(f"{tile}: not fetched: {names(tile)[1]}\n")
