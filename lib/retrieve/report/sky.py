"""Where tiles are on the sky, and the projection in which a map shows them.

A tile of CFIS is half a degree square. Its number says where it is: for NNN.MMM, Dec = MMM/2 - 90 degrees and
RA = NNN/2/cos(Dec) degrees (Ibata et al. 2017, ApJ 848, 128, for the survey).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from astropy import units
from astropy.coordinates import SkyCoord, UnitSphericalRepresentation
from astropy.wcs import WCS

#: Side of a tile, and of a pixel of the map's projection at its centre, in degrees.
SIDE, PIXEL = 0.5, 0.01
#: Tiles that are spread wider than this about their mean direction are shown from above the pole, in degrees.
_WIDE = 30.0
#: Margin around the tiles as a share of their extent, and at least, in pixels.
_MARGIN, _LEAST = 0.04, 50


def is_on_sky(tile: str) -> bool:
    """Whether a tile number is one on the sphere: a list may hold any six digits, and exposures."""
    return "." in tile and int(tile[4:]) <= 360


def centres(tiles: Iterable[str]) -> SkyCoord:
    """Centres of tiles, which must be on the sphere."""
    numbers = np.array([(int(tile[:3]), int(tile[4:])) for tile in tiles], dtype=float).reshape(-1, 2)
    dec = numbers[:, 1] / 2 - 90
    return SkyCoord(numbers[:, 0] / 2 / np.cos(np.radians(dec)), dec, unit="deg")


def corners(tiles: Iterable[str]) -> SkyCoord:
    """Corners of tiles: north-east, north-west, south-west and south-east; half a degree apart on great circles."""
    half = SIDE / 2 * units.deg
    return centres(tiles)[:, np.newaxis].spherical_offsets_by([1, -1, -1, 1] * half, [1, 1, -1, -1] * half)


@dataclass(frozen=True)
class View:
    """How a map shows some tiles: an equal-area projection that fits them.

    Attributes
    ----------
    wcs
        Zenithal equal-area projection, RA to the left.
    whole
        Whether it shows a hemisphere's tiles from above the pole.
    extent
        Left, right, lower and upper edge in pixels.
    """

    wcs: WCS
    whole: bool
    extent: tuple[float, float, float, float]

    def polygons(self, tiles: Iterable[str]) -> np.ndarray:
        """Corners of tiles in pixels: an array of tiles by 4 by 2."""
        return np.stack(self.wcs.world_to_pixel(corners(tiles)), axis=-1)


def view(tiles: Sequence[str]) -> View:
    """Choose the projection for some tiles, at least one.

    Where they lie together, the centre is their mean direction; computed on the sphere, where 0h is nothing special.
    Where they are spread over the survey, it is the pole, around which right ascension has no seam, with 0h at the top.
    """
    found = centres(tiles)
    mean = SkyCoord(found.cartesian.mean(), frame="icrs").represent_as(UnitSphericalRepresentation)
    middle = SkyCoord(mean, frame="icrs")
    whole = bool(found.separation(middle).max() > _WIDE * units.deg)
    wcs = WCS(naxis=2)
    wcs.wcs.ctype = "RA---ZEA", "DEC--ZEA"
    wcs.wcs.cdelt = -PIXEL, PIXEL
    wcs.wcs.crpix = 1, 1  # which is pixel 0, 0, as Python counts
    wcs.wcs.crval = middle.ra.deg, middle.dec.deg
    # North is up at the middle; below the pole itself, where the middle would be.
    wcs.wcs.lonpole = 180
    if whole:
        # Not quite 12h below it: a meridian that meets the frame where this begins and ends would be labelled twice.
        wcs.wcs.crval = 180.01, 90 if middle.dec >= 0 else -90
    x, y = np.moveaxis(View(wcs, whole, (0, 0, 0, 0)).polygons(tiles), -1, 0)
    if whole:
        radius = float(np.hypot(x, y).max()) * (1 + _MARGIN)
        return View(wcs, whole, (-radius, radius, -radius, radius))
    margin = max(np.ptp(x), np.ptp(y)) * _MARGIN + _LEAST
    return View(wcs, whole, (x.min() - margin, x.max() + margin, y.min() - margin, y.max() + margin))


def widest_gap(tiles: Sequence[str]) -> float:
    """Find the right ascension, in degrees, around which there is most room between some tiles."""
    ra = np.sort(centres(tiles).ra.deg)
    gaps = np.diff(ra, append=ra[0] + 360)
    return float(ra[gaps.argmax()] + gaps.max() / 2)
