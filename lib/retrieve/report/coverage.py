"""Coverage: where on the sky the tiles are that are done, as Aladin, healsparse and DS9 read it."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from pathlib import Path

from astropy import units
from astropy.coordinates import SkyCoord

from retrieve.host.disk import write_whole
from retrieve.host.messages import remark
from retrieve.report.sky import SIDE, centres
from retrieve.settings import Settings
from retrieve.tiles import TILE

#: The files: a multi-order coverage map (the IVOA's MOC 2.0) in FITS, and regions as DS9 writes them.
MOC, REGIONS = Path("coverage.moc.fits"), Path("coverage.reg")
#: HEALPix order of the map: its smallest cells are 51.5 arcseconds wide.
ORDER = 12


def files(settings: Settings) -> list[Path]:
    """Say which of the files can be written: none of exposures, and no map without its package, which is told."""
    if settings.unit is not TILE:
        return []
    try:
        import mocpy  # noqa: F401
    except ModuleNotFoundError:
        remark(settings, f"no '{MOC}' without the package 'mocpy'; '{sys.executable} -m pip install mocpy' installs it")
        return [REGIONS]
    return [MOC, REGIONS]


def write(files: Collection[Path], tiles: Sequence[str]) -> None:
    """Write some of the files; those of no tiles are empty, and as good."""
    where = centres(tiles)
    if MOC in files:
        _write_map(where)
    if REGIONS in files:
        side = f'{SIDE * 3600:.0f}"'
        # A number alone would be read as one by some programs, and lose its zeros.
        lines = [
            f"box({ra:.6f},{dec:.6f},{side},{side},0) # text={{tile {tile}}}"
            for tile, ra, dec in zip(tiles, where.ra.deg, where.dec.deg, strict=True)
        ]
        write_whole(REGIONS, "\n".join(["# Region file format: DS9 version 4.1", "icrs", *lines, ""]))


def _write_map(where: SkyCoord) -> None:
    import mocpy

    half = SIDE / 2 * units.deg
    found = mocpy.MOC.from_boxes(
        lon=where.ra,
        lat=where.dec,
        a=half,
        b=half,
        angle=0 * units.deg,
        max_depth=ORDER,
        n_threads=1,  # those of a pool would stay; it takes 3 s for the whole survey
        union_strategy="large_boxes",
    )
    temporary = MOC.with_name(f".{MOC.name}")
    found.save(temporary, overwrite=True)
    temporary.rename(MOC)
