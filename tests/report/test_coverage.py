"""The coverage: what other programs read of it is where the tiles are that are unpacked."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections.abc import Sequence
from contextlib import chdir
from pathlib import Path

import numpy as np
import pytest
from astropy import units
from mocpy import MOC
from regions import RectangleSkyRegion, Regions

from retrieve.commands import report
from retrieve.report import coverage
from retrieve.report.sky import centres, corners
from retrieve.settings import Settings
from support.making import tree
from support.site import RESULTS, TILES, Site

FILES = ("coverage.moc.fits", "coverage.reg")
#: Square degrees of a tile.
AREA = 0.25
#: Side of a cell of the map, in degrees.
CELL = 51.5 / 3600


def read(directory: Path) -> tuple[MOC, list[RectangleSkyRegion]]:
    """Read both files as others do."""
    return MOC.load(directory / FILES[0], format="fits"), list(Regions.read(directory / FILES[1], format="ds9"))


def area(moc: MOC) -> float:
    """Square degrees of a map."""
    return moc.sky_fraction * (4 * 180**2 / math.pi)


def around(tiles: Sequence[str], side: float) -> MOC:
    """Map the squares of that many degrees around the centres of some tiles, four times as fine."""
    where = centres(tiles)
    size = {"a": side / 2 * units.deg, "b": side / 2 * units.deg, "angle": 0 * units.deg}
    order, how = coverage.ORDER + 2, {"n_threads": 1, "union_strategy": "large_boxes"}
    return MOC.from_boxes(lon=where.ra, lat=where.dec, max_depth=order, **size, **how)


@pytest.mark.parametrize(
    "tiles",
    [
        ["182.308"],
        [f"{nnn}.{mmm}" for mmm in (290, 291) for nnn in range(240, 250)],
        ["000.238", "001.238", "628.238"],
        ["000.358", "002.355", "005.350"],
        ["000.360"],
    ],
    ids=["one", "field", "0h", "near the pole", "pole"],
)
def test_both_files_cover_what_the_tiles_do(tiles: list[str], tmp_path: Path) -> None:
    with chdir(tmp_path):
        coverage.write([coverage.MOC, coverage.REGIONS], tiles)
    moc, regions = read(tmp_path)
    assert moc.max_order == coverage.ORDER
    # Each cell that a tile touches is in it whole.
    assert len(tiles) * AREA < area(moc) < len(tiles) * (0.5 + 2 * CELL) ** 2
    assert moc.difference(around(tiles, 0.5 + 4 * CELL)).empty()
    # It is a square that is not turned: just inside of each corner it covers, and just outside not.
    where = corners(tiles)
    middle = centres(tiles)[:, np.newaxis]
    bearing, distance = middle.position_angle(where), middle.separation(where)
    assert moc.contains_skycoords(middle.directional_offset_by(bearing, distance * 0.999).ravel()).all()
    if len(tiles) == 1:
        assert not moc.contains_skycoords(middle.directional_offset_by(bearing, distance * 1.1).ravel()).any()
    assert [region.meta["text"] for region in regions] == [f"tile {tile}" for tile in tiles]
    for region, centre in zip(regions, centres(tiles), strict=True):
        assert region.center.separation(centre).deg < 1e-5
        assert (region.width, region.height, region.angle) == (0.5 * units.deg, 0.5 * units.deg, 0 * units.deg)


def test_the_report_covers_the_tiles_that_are_unpacked_and_no_other(
    site: Site, capfd: pytest.CaptureFixture[str]
) -> None:
    site.begin("unpacked", f"vos:{RESULTS}")
    some, rest = TILES[:3], sorted(TILES[3:])
    extracted = site.directory / "stamps/mccd/extracted"
    for tile in some:
        (extracted / tile).unlink()
    before = tree(site.directory)
    told = "coverage.moc.fits, coverage.reg{}: 7 tiles unpacked\n"
    with chdir(site.directory):
        report.foretell(Settings())
    assert capfd.readouterr().out.endswith(told.format(", to be written"))
    assert tree(site.directory) == before
    assert site.done("report").endswith(told.format(""))
    moc, regions = read(site.directory)
    assert sorted(region.meta["text"] for region in regions) == [f"tile {tile}" for tile in rest]
    assert area(moc) == pytest.approx(7 * AREA, rel=0.06)
    assert moc.difference(around(rest, 0.5 + 4 * CELL)).empty()
    # Nothing is left of what was covered once.
    for tile in rest:
        (extracted / tile).unlink()
    with chdir(site.directory):
        report.main(Settings.parse(["FORMAT=json"]))
    assert json.loads(capfd.readouterr().out)["coverage"] == [*FILES]
    moc, regions = read(site.directory)
    assert (moc.empty(), regions) == (True, [])


def test_without_its_package_the_report_is_written_and_how_to_install_it_is_told(
    site: Site, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    site.begin("unpacked", f"vos:{RESULTS}")
    monkeypatch.setitem(sys.modules, "mocpy", None)
    with chdir(site.directory):
        assert report.main(Settings()) == 0
        assert {"report.html", *FILES} - {path.name for path in Path().iterdir()} == {FILES[0]}
        shown = capfd.readouterr()
        report.foretell(Settings.parse(["V=quiet"]))
    assert shown.out.splitlines()[1] == "coverage.reg: 10 tiles unpacked"
    told = r"no 'coverage.moc.fits' without the package 'mocpy'; '(.*) install mocpy' installs it\n"
    command = re.fullmatch(told, shown.err)[1]
    version = subprocess.run([*command.split(), "--version"], capture_output=True, check=True, text=True).stdout
    assert version.startswith("pip ")
    assert capfd.readouterr().err == ""
