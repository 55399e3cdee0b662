"""The sky map: what is drawn is where the survey says its tiles are."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from astropy import units
from astropy.coordinates import SkyCoord
from matplotlib.figure import Figure

from retrieve.report.drawing import style, svg
from retrieve.report.map import page_map
from retrieve.report.sky import PIXEL, corners, is_on_sky, view
from retrieve.standing.survey import STATES, UNPACKED

#: Tiles that lie together, some on both sides of 0h, and some from all over the survey and near the pole.
FIELD = ("240.290", "243.290", "240.292", "243.292")
AT_0H = ("000.238", "001.238", "002.239", "629.238", "628.238", "625.240")
SURVEY = (*FIELD, *AT_0H, "170.238", "470.238", "100.320", "132.321", "719.180", "360.179", "010.358")


def formula(tile: str) -> SkyCoord:
    """Give the centre of a tile as the survey defines it."""
    dec = int(tile[4:]) / 2 - 90
    return SkyCoord(int(tile[:3]) / 2 / math.cos(math.radians(dec)) * units.deg, dec * units.deg)


def draw(tiles: tuple[str, ...]) -> tuple[Figure, str]:
    """Draw the page's map: the figure, and its SVG."""
    with style(9):
        figure = page_map({state: list(tiles) if state == UNPACKED else [] for state in STATES})
        return figure, svg(figure, "map")


def drawn(tiles: tuple[str, ...]) -> SkyCoord:
    """Corners of the outlines that the map has, taken from its SVG back through its projection."""
    figure, element = draw(tiles)
    path = re.search(r'<g id="tiles-0">\s*<path d="([^"]*)"', element)[1]
    assert path.count("z") == len(tiles)
    outlines = np.array([float(number) for number in re.findall(r"[\d.]+", path)]).reshape(len(tiles), 4, 2)
    assert outlines.min() > 0, "within the picture"
    figure.dpi = 72  # a unit of the SVG is a point
    axes, height = figure.axes[0], figure.get_figheight() * 72
    pixels = axes.transData.inverted().transform((outlines * (1, -1) + (0, height)).reshape(-1, 2))
    return axes.wcs.pixel_to_world(*pixels.T).reshape(len(tiles), 4)


@pytest.mark.parametrize("tiles", [FIELD, AT_0H, SURVEY], ids=["field", "at 0h", "survey"])
def test_tiles_are_drawn_where_the_formula_says(tiles: tuple[str, ...]) -> None:
    found = drawn(tiles)
    # A hundredth of a point is what the page keeps; at the survey's scale that is a fiftieth of a degree at most.
    precision = (0.004 if tiles != SURVEY else 0.02) * units.deg
    for tile, outline in zip(tiles, found, strict=True):
        centre = SkyCoord(outline.cartesian.mean(), representation_type="unitspherical")
        assert centre.separation(formula(tile)) < precision, tile


def test_a_tile_is_half_a_degree_square() -> None:
    for tile, (north_east, north_west, south_west, south_east) in zip(SURVEY, corners(SURVEY), strict=True):
        centre = formula(tile)
        for one, other in ((north_east, north_west), (south_east, south_west)):
            assert one.separation(other).deg == pytest.approx(0.5, rel=1e-4)
        for one, other in ((north_east, south_east), (north_west, south_west)):
            assert one.separation(other).deg == pytest.approx(0.5, rel=1e-4)
        if abs(centre.dec.deg) < 75:
            assert (north_east.dec - south_east.dec).deg == pytest.approx(0.5, rel=0.002)
            width = (north_east.ra - north_west.ra).wrap_at(180 * units.deg).deg
            assert width == pytest.approx(0.5 / math.cos(centre.dec.rad), rel=0.03), "east is where RA grows"


@pytest.mark.parametrize("tiles", [FIELD, AT_0H, SURVEY], ids=["field", "at 0h", "survey"])
def test_tiles_have_equal_areas_on_the_map_and_none_is_torn(tiles: tuple[str, ...]) -> None:
    x, y = np.moveaxis(view(tiles).polygons(tiles), -1, 0)
    area = 0.5 * np.sum(x * np.roll(y, -1, axis=1) - y * np.roll(x, -1, axis=1), axis=1)
    assert -area * PIXEL**2 == pytest.approx(0.25, rel=0.0001), "square degrees; the corners go round with the clock"


def test_0h_is_nothing_special() -> None:
    shown = view(AT_0H)
    left, right, lower, upper = shown.extent
    assert not shown.whole
    assert (right - left) * PIXEL < 7 and (upper - lower) * PIXEL < 4, "degrees: as large as the tiles need"
    x, _ = shown.wcs.world_to_pixel(SkyCoord([359.5, 0, 0.5], [29] * 3, unit="deg"))
    assert x[0] > x[1] > x[2], "RA grows to the left"
    whole = view(SURVEY)
    x, y = whole.wcs.world_to_pixel(SkyCoord([0, 90, 180, 270], [30] * 4, unit="deg"))
    assert whole.whole
    assert (x / abs(x).max()).round(2).tolist() == [0, 1, 0, -1], "0h at the top"
    assert (y / abs(y).max()).round(2).tolist() == [1, 0, -1, 0]


def test_each_meridian_and_each_circle_is_labelled_once() -> None:
    labels = re.findall(r">([+\d]+)°<", draw(SURVEY)[1])
    assert sorted(labels) == sorted([*map(str, range(0, 360, 30)), "0", "+15", "+30", "+45", "+60", "+75"])
    assert re.findall(r">(RA|Dec) \(degrees\)<", draw(FIELD)[1]) == ["RA", "Dec"]


def test_a_single_tile_and_the_poles_can_be_drawn() -> None:
    for tiles in (("182.308",), ("000.360",), ("000.000", "000.360")):
        assert np.isfinite(view(tiles).extent).all()
    assert [is_on_sky(tile) for tile in ("182.308", "000.360", "000.361", "999.999")] == [True, True, False, False]
