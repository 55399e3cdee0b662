"""The sky map: tiles at their true size on a grid of right ascension and declination, in the colour of their state."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from textwrap import wrap

import numpy as np
from astropy import units
from astropy.coordinates import SkyCoord
from astropy.visualization.wcsaxes import WCSAxes
from astropy.visualization.wcsaxes.frame import EllipticalFrame, RectangularFrame
from matplotlib.figure import Figure
from matplotlib.patches import Patch, PathPatch
from matplotlib.path import Path as Outline

from retrieve.report.drawing import INK, MUTED, OF_STATE, RULE, SURFACE
from retrieve.report.sky import PIXEL, SIDE, View, view, widest_gap

#: Tiles by state.
Groups = Mapping[str, Sequence[str]]
#: The space that is as wide as a digit, and the one that is as wide as a comma.
WIDTHS = str.maketrans("0123456789,", "\u2007" * 10 + "\u2008")


def page_map(groups: Groups) -> Figure:
    """Draw the map alone, as the page has it: as high as its tiles need.

    Each state is one path, which has a closed outline per tile in the order given.
    """
    shown = view([tile for tiles in groups.values() for tile in tiles])
    left, right, lower, upper = shown.extent
    width = 7.0
    sides = (0.4, 0.4, 0.35, 0.35) if shown.whole else (0.75, 0.1, 0.55, 0.1)
    inside = width - sides[0] - sides[1]
    height = inside * (upper - lower) / (right - left) + sides[2] + sides[3]
    figure = Figure((width, height))
    box = sides[0] / width, sides[2] / height, inside / width, 1 - (sides[2] + sides[3]) / height
    _draw(figure, box, shown, groups)
    return figure


def slide(groups: Groups, title: str, subtitle: str) -> Figure:
    """Draw the map for a slide: 13.33 by 7.5 inches, with a title and a legend that counts."""
    shown = view([tile for tiles in groups.values() for tile in tiles])
    figure = Figure((40 / 3, 7.5), dpi=200)
    _draw(figure, (0.36, 0.06, 0.62, 0.88) if shown.whole else (0.42, 0.12, 0.55, 0.8), shown, groups)
    figure.text(0.04, 0.92, title.replace(" tile", "\ntile"), fontsize=30, fontweight="bold", va="top")
    lines = [part for line in subtitle.splitlines() for part in wrap(line, 46)]
    figure.text(0.04, 0.76, "\n".join(lines), color=MUTED, va="top", linespacing=1.6, parse_math=False)
    seen = {state: f"{len(tiles):,}" for state, tiles in groups.items() if tiles}
    # In a column: a space as wide as a digit or a comma for each that a smaller number lacks.
    spaces = max(seen.values(), key=len).translate(WIDTHS)
    figure.legend(
        [Patch(facecolor=OF_STATE[state]) for state in seen],
        [f"{spaces[: len(spaces) - len(count)]}{count}  {state}" for state, count in seen.items()],
        loc="upper left",
        bbox_to_anchor=(0.04, 0.69 - 0.036 * len(lines)),
        borderaxespad=0,
        borderpad=0,
        handlelength=1.2,
        handleheight=1.2,
        labelspacing=0.7,
        frameon=False,
        fontsize="large",
    )
    return figure


def _draw(figure: Figure, box: tuple[float, float, float, float], shown: View, groups: Groups) -> None:
    axes = WCSAxes(
        figure,
        box,
        wcs=shown.wcs,
        aspect="equal",
        frame_class=EllipticalFrame if shown.whole else RectangularFrame,
    )
    figure.add_axes(axes)
    axes.set_xlim(shown.extent[:2])
    axes.set_ylim(shown.extent[2:])
    axes.set_axisbelow(True)
    axes.coords.frame.set_color(RULE)
    axes.coords.grid(color=RULE, linewidth=0.6)
    for coordinate in axes.coords:
        coordinate.set_format_unit(units.deg)
        coordinate.set_ticks_visible(False)
    if shown.whole:
        _grid_of_the_whole(axes, shown, widest_gap([tile for tiles in groups.values() for tile in tiles]))
    else:
        _grid_of_a_field(axes, shown)
    side = box[2] * figure.get_figwidth() * 72 * SIDE / PIXEL / (shown.extent[1] - shown.extent[0])  # points
    for index, (state, tiles) in enumerate(groups.items()):
        if tiles:
            outline = Outline.make_compound_path_from_polys(shown.polygons(tiles))
            patch = PathPatch(outline, facecolor=OF_STATE[state], clip_on=False, gid=f"tiles-{index}")
            # A gap between tiles, but where it would take too much of them: some programs draw no line that thin.
            patch.set(edgecolor=SURFACE if side > 4 else "none", linewidth=min(0.8, 0.06 * side))
            axes.add_patch(patch)


def _grid_of_the_whole(axes: WCSAxes, shown: View, free: float) -> None:
    """Draw the grid around the pole; declinations are written at a right ascension that is free of tiles."""
    ra, dec = axes.coords
    ra.set_ticks(np.arange(0, 360, 30) * units.deg)
    ra.set_ticklabel_position("c")
    ra.set_major_formatter("d")
    circles = np.copysign(np.arange(0, 90, 15), shown.wcs.wcs.crval[1])
    dec.set_ticks(circles * units.deg)
    dec.set_ticklabel_visible(False)
    for circle in circles:
        x, y = shown.wcs.world_to_pixel(SkyCoord(free, circle, unit="deg"))
        if np.hypot(x, y) < 0.99 * shown.extent[1]:  # not on the rim
            ground = {"facecolor": SURFACE, "edgecolor": "none", "pad": 1.5}
            axes.text(x, y, f"{circle:+.0f}°" if circle else "0°", color=MUTED, ha="center", va="center", bbox=ground)


def _grid_of_a_field(axes: WCSAxes, shown: View) -> None:
    large = (shown.extent[3] - shown.extent[2]) * PIXEL > 2  # degrees
    for coordinate, name in zip(axes.coords, ("RA", "Dec"), strict=True):
        coordinate.set_major_formatter("d" if large else "d.d")
        coordinate.set_axislabel(f"{name} (degrees)", color=INK)
