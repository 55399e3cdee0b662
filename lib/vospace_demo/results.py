"""Example results of ShapePipe, for the demo and the tests.

Makes what ShapePipe's tile job uploads: per tile and product one gzip'd tar, with the names, run directories
and kinds of files of the real ones, but few and small. The same arguments give the same bytes, on any day.
"""

from __future__ import annotations

import gzip
import io
import itertools
import math
import os
import tarfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from retrieve.products import PRODUCTS_OF, archive_name
from retrieve.tiles import tiles_of

#: A block of 4 x 3 neighbouring tiles of the survey's W3 field.
DEMO_TILES = tuple(f"{nnn}.{mmm}" for mmm in (290, 291, 292) for nnn in (240, 241, 242, 243))
#: The job of this tile has not finished: `INCOMPLETE_PRODUCT` was never uploaded.
INCOMPLETE_TILE, INCOMPLETE_PRODUCT = "242.291", "final_cat"
#: `BROKEN_PRODUCT` of this tile was cut short before its upload: length and MD5 agree, yet gunzip fails.
BROKEN_TILE, BROKEN_PRODUCT = "243.292", "setools_mask"
#: The tiles whose survey images are in the demo, and the names of these images.
IMAGE_TILES = DEMO_TILES[:4]
IMAGE_NAMES = ("CFIS.{tile}.r.fits", "CFIS.{tile}.r.weight.fits.fz")
#: In `make_patch`, the first exposure, the container of the images, and those of the exposures with their names.
FIRST_EXPOSURE = 2243881
IMAGES = "tiles_DR6"
EXPOSURE_NAMES = {
    "pitcairn": "{exposure}p.fits.fz",
    "weights": "{exposure}p.weight.fits.fz",
    "flags": "{exposure}p.flag.fits.fz",
}

TILE_WIDTH = 0.5  # degrees

#: Makes a file, from a seed, the tile number and the start of the run.
Content = Callable[[int, str, datetime], bytes]
#: Path, tile and what makes the file.
Member = tuple[str, str, Content]


def run_date_of(tile: str) -> datetime:
    """When ShapePipe ran on a tile, unless the caller says otherwise: a second of August 2021, in UTC."""
    return datetime(2021, 8, 5, 11, 25, 32, tzinfo=UTC) + timedelta(seconds=_seed(tile) % (20 * 86400))


def make_archives(
    directory: Path,
    tile: str,
    psf: str,
    run_date: datetime | None = None,
    exposures: int = 2,
    ccds: int = 3,
    products: Sequence[str] | None = None,
) -> list[Path]:
    """Write the archives of one tile, replacing older ones; the mtime of each is its time of upload.

    Parameters
    ----------
    tile
        Its number; or the joined numbers of the tiles of a job.
    psf
        PSF model, ``psfex`` or ``mccd``.
    run_date
        Start of the run, in UTC: names the run directories and dates the files. A later one gives what a tile
        leaves when it is processed again. Default: `run_date_of` the tile.
    exposures, ccds
        Number of exposures that cover the tile, and of CCDs of each.
    products
        Some of the products of the PSF model. Default: all seven.
    """
    started = (run_date or run_date_of(tile)).replace(tzinfo=UTC)
    return [
        _pack(
            directory,
            product,
            tile,
            started,
            (member for one in tiles_of(tile) for member in _members(product, one, started, exposures, ccds)),
        )
        for product in (PRODUCTS_OF[psf] if products is None else products)
    ]


def make_container(directory: Path, tiles: Iterable[str], psf: str) -> list[Path]:
    """Write the archives of some tiles, each with its own run date."""
    return [archive for tile in tiles for archive in make_archives(directory, tile, psf)]


def make_many(directory: Path, tiles: Iterable[str], psf: str) -> list[Path]:
    """Write the archives of thousands of tiles fast, each with its first file only, FITS without data."""
    made = []
    for tile, product in itertools.product(tiles, PRODUCTS_OF[psf]):
        started = run_date_of(tile)
        path, *_ = next(_members(product, tile, started, exposures=1, ccds=1))
        content = {"fits": _empty_fits, "png": _png}.get(path.rpartition(".")[2], _log)
        made.append(_pack(directory, product, tile, started, [(path, tile, content)]))
    return made


def make_images(directory: Path, tile: str, exposures: Iterable[int] = ()) -> list[Path]:
    """Write the survey's r-band image of a tile and its tile-compressed weight map, 256 pixels wide.

    Parameters
    ----------
    exposures
        The numbers of those that the image says it was stacked from.
    """
    import numpy as np
    from astropy.io import fits

    taken = run_date_of(tile) - timedelta(days=90)
    sky, weight = np.random.default_rng(_seed(tile)).normal(9, 1, (2, 256, 256)).astype("f4")
    header = _header(tile, 256)
    for exposure in exposures:
        header["HISTORY"] = f"input image {exposure}p.fits 6 extension(s)"
    plain = io.BytesIO()
    fits.CompImageHDU(weight, _header(tile, 256)).writeto(plain)
    # A compressed image takes checksums with a date only as the table that it is in the file.
    with fits.open(io.BytesIO(plain.getvalue()), disable_image_compression=True) as table:
        contents = _fits([fits.PrimaryHDU(sky, header)], taken), _fits(table, taken)
    return [
        _write(directory / name.format(tile=tile), content, taken)
        for name, content in zip(IMAGE_NAMES, contents, strict=True)
    ]


def exposures_of(tile: str) -> list[int]:
    """Give the exposures that a tile of the patch was stacked from: seven, and the next tile shares four of them."""
    first = 3 * DEMO_TILES.index(tile)
    return [FIRST_EXPOSURE + 2 * number for number in range(first, first + 7)]


def make_patch(root: Path) -> None:
    """Write the images of `DEMO_TILES` and the 40 exposures that these were stacked from, in four containers."""
    import numpy as np
    from astropy.io import fits

    for tile in DEMO_TILES:
        make_images(root / "cfis" / IMAGES, tile, exposures_of(tile))
    file = io.BytesIO()
    fits.CompImageHDU(np.ones((16, 16), "i2"), fits.Header({"EXPNUM": FIRST_EXPOSURE})).writeto(file)
    for exposure, (container, name) in itertools.product(
        sorted({one for tile in DEMO_TILES for one in exposures_of(tile)}), EXPOSURE_NAMES.items()
    ):
        content = file.getvalue().replace(b"%d" % FIRST_EXPOSURE, b"%d" % exposure)
        _write(root / "cfis" / container / name.format(exposure=exposure), content, run_date_of(str(exposure)))


def make_demo(root: Path) -> Path:
    """Write the tree that the embedded VOSpace serves in ``make demo``; return the container of results.

    ``cfis/cosmostat/kilbinger/results`` holds `DEMO_TILES` for both PSF models, ``cfis/tiles`` the images of
    `IMAGE_TILES`. `INCOMPLETE_TILE` and `BROKEN_TILE` are what their names say.
    """
    results = root / "cfis" / "cosmostat" / "kilbinger" / "results"
    make_container(results, DEMO_TILES, "mccd")
    only_psfex = [product for product in PRODUCTS_OF["psfex"] if product not in PRODUCTS_OF["mccd"]]
    for tile in DEMO_TILES:
        make_archives(results, tile, "psfex", products=only_psfex)
    (results / archive_name(INCOMPLETE_PRODUCT, INCOMPLETE_TILE)).unlink()
    broken = results / archive_name(BROKEN_PRODUCT, BROKEN_TILE)
    whole = broken.stat()
    os.truncate(broken, whole.st_size // 2)
    os.utime(broken, ns=(whole.st_mtime_ns, whole.st_mtime_ns))
    for tile in IMAGE_TILES:
        make_images(root / "cfis" / "tiles", tile)
    return results


def _members(product: str, tile: str, started: datetime, exposures: int, ccds: int) -> Iterator[Member]:
    """Give the path of each file of a product, with what makes it."""
    names = {"date": f"{started:%Y-%m-%d_%H-%M-%S}", "tile": tile.replace(".", "-")}
    first = 2_000_000 + _seed(tile) % 400_000
    for pattern, content in LAYOUT[product].items():
        pairs = itertools.product(range(first, first + exposures), range(ccds))
        # A pattern without an exposure or a CCD gives one path again and again.
        for path in dict.fromkeys(pattern.format(exp=exp, ccd=ccd, **names) for exp, ccd in pairs):
            yield f"output/{path}", tile, content


def _pack(directory: Path, product: str, job: str, started: datetime, members: Iterable[Member]) -> Path:
    """Pack files as ``tar czf`` packs directories: each directory, then what is in it."""
    packed = io.BytesIO()
    mtime = int(started.timestamp())
    parents = set()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=6, mtime=mtime) as body,
        tarfile.open(fileobj=body, mode="w") as tar,
    ):
        for path, tile, make in members:
            parent = tarfile.TarInfo(path.rpartition("/")[0])
            if parent.name not in parents:
                parents.add(parent.name)
                parent.type, parent.mode, parent.mtime = tarfile.DIRTYPE, 0o755, mtime
                tar.addfile(parent)
            content = make(_seed(path + tile), tile, started)
            member = tarfile.TarInfo(path)
            member.size, member.mode, member.mtime = len(content), 0o644, mtime
            tar.addfile(member, io.BytesIO(content))
    # The job uploads one archive after the other when all is done.
    uploaded = started + timedelta(minutes=45, seconds=7 * list(LAYOUT).index(product), milliseconds=123)
    return _write(directory / archive_name(product, job), packed.getvalue(), uploaded)


def _write(file: Path, content: bytes, date: datetime) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)
    ns = round(date.timestamp() * 1000) * 1_000_000
    os.utime(file, ns=(ns, ns))
    return file


def _seed(text: str) -> int:
    return zlib.crc32(text.encode())


def _centre(tile: str) -> tuple[float, float]:
    """Right ascension and declination of a tile's centre, in degrees."""
    nnn, mmm = map(int, tile.split("."))
    dec = mmm / 2 - 90
    return nnn / 2 / math.cos(math.radians(dec)), dec


def _header(tile: str, side: int) -> Any:  # noqa: ANN401 - a fits.Header; astropy is imported only where used
    """Header of an image of a tile, `side` pixels wide, north up and east to the left."""
    from astropy.io import fits

    header = fits.Header({"OBJECT": tile, "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN"})
    header["CRVAL1"], header["CRVAL2"] = _centre(tile)
    header["CRPIX1"] = header["CRPIX2"] = (side + 1) / 2
    header["CDELT1"], header["CDELT2"] = -TILE_WIDTH / side, TILE_WIDTH / side
    return header


def _fits(hdus: Iterable[Any], date: datetime) -> bytes:
    """Write FITS with CHECKSUM and DATASUM, whose comments astropy would otherwise date with today."""
    from astropy.io import fits

    file = io.BytesIO()
    for hdu in (whole := fits.HDUList(hdus)):
        hdu.add_checksum(when=f"{date:%Y-%m-%dT%H:%M:%S}")
    whole.writeto(file)
    return file.getvalue()


def _table(columns: dict[str, tuple[float, ...]], rows: int, seed: int, tile: str, date: datetime) -> bytes:
    """FITS table of objects in a tile, with random values in the given columns."""
    import numpy as np
    from astropy.io import fits

    rng = np.random.default_rng(seed)
    rows += seed % 20
    ra, dec = _centre(tile)
    east, north = rng.uniform(-TILE_WIDTH / 2, TILE_WIDTH / 2, (2, rows))
    data = {"RA": (ra + east / np.cos(np.radians(dec + north))) % 360, "DEC": dec + north}
    data |= {name: rng.uniform(low, high, (rows, *shape)) for name, (low, high, *shape) in columns.items()}
    dtype = [(name, column.dtype, column.shape[1:]) for name, column in data.items()]
    table = fits.BinTableHDU(np.rec.fromarrays(list(data.values()), dtype=dtype), name="RESULTS")
    return _fits([fits.PrimaryHDU(), table], date)


def _flag_image(seed: int, tile: str, date: datetime) -> bytes:
    """FITS image that masks pixels of a tile: squares of 16 x 16 pixels with a value other than 0."""
    import numpy as np
    from astropy.io import fits

    squares = np.random.default_rng(seed).choice((0, 1, 4), (32, 32), p=(0.9, 0.07, 0.03))
    return _fits([fits.PrimaryHDU(np.kron(squares, np.ones((16, 16))).astype("i2"), _header(tile, 512))], date)


def _text(template: str, seed: int, tile: str, date: datetime) -> bytes:
    return template.format(tile=tile, date=date, number=seed % 1000).encode()


def _png(seed: int, tile: str, date: datetime) -> bytes:
    """Draw one grey pixel."""
    chunks = (b"IHDR\0\0\0\1\0\0\0\1\x08\0\0\0\0", b"IDAT" + zlib.compress(bytes((0, seed % 256))), b"IEND")
    framed = ((len(chunk) - 4).to_bytes(4) + chunk + zlib.crc32(chunk).to_bytes(4) for chunk in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def _empty_fits(seed: int, tile: str, date: datetime) -> bytes:
    """Write the smallest FITS file, one header block; without astropy, for the thousands of `make_many`."""
    cards = [f"{key:8}= {value:>20}" for key, value in (("SIMPLE", "T"), ("BITPIX", 8), ("NAXIS", 0))]
    return "".join(f"{card:80}" for card in (*cards, f"OBJECT  = '{tile:8}'", "END")).ljust(2880).encode()


# The tables: per column its lowest and highest value, and its length where it holds vectors; then the rows.
_ELLIPTICITIES = {"NGMIX_ELL_NOSHEAR": (-0.6, 0.6, 2), "NGMIX_ELL_PSFo_NOSHEAR": (-0.05, 0.05, 2)}
_galaxies = partial(_table, _ELLIPTICITIES | {"MAG_AUTO": (18, 25), "NGMIX_SNR_NOSHEAR": (10, 200)}, 500)
_stars = partial(_table, {"X_IMAGE": (1, 2048), "Y_IMAGE": (1, 4612), "FWHM_IMAGE": (3.4, 3.8)}, 40)
_shapes = partial(_table, {f"E{i}_{of}_HSM": (-0.05, 0.05) for of in ("PSF", "STAR") for i in (1, 2)}, 10)
_log = partial(_text, "{date} tile {tile}: start, process {number}\n{date} tile {tile}: end, 0 errors\n")
_stat = partial(_text, "# Statistics\nNb objects full cat = 1{number:03d}\nNb stars = {number}\n")

# Directories of ShapePipe's runs: catalogues of the tile, masks, and stars and PSF on the exposures.
_MS, _MA, _SE = (f"run_sp_{name}_{{date}}" for name in ("tile_Ms", "MaMa", "tile_Sx_exp_SxSePsf"))

#: Where each product has its files below ``output/``, and what makes them.
LAYOUT: dict[str, dict[str, Content]] = {
    "final_cat": {_MS + "/make_cat_runner/output/final_cat-{tile}.fits": _galaxies},
    "pipeline_flag": {_MA + "/mask_runner_run_1/output/pipeline_flag-{tile}.fits": _flag_image},
    "logs": {
        _MS + "/logs/log_sp-{tile}.log": _log,
        _MS + "/make_cat_runner/logs/process-{tile}.log": _log,
        _MA + "/mask_runner_run_1/logs/process-{tile}.log": _log,
        _SE + "/logs/file_list-{tile}.txt": _log,
        _SE + "/setools_runner/logs/process-{exp}-{ccd}.log": _log,
    },
    "setools_mask": {_SE + "/setools_runner/output/mask/star_selection-{exp}-{ccd}.fits": _stars},
    "setools_stat": {_SE + "/setools_runner/output/stat/star_stat-{exp}-{ccd}.txt": _stat},
    "setools_plot": {_SE + "/setools_runner/output/plot/size_mag-{exp}-{ccd}.png": _png},
    "psfex_interp_exp": {_SE + "/psfex_interp_runner/output/validation_psf-{exp}-{ccd}.fits": _shapes},
    "mccd_fit_val_runner": {_SE + "/mccd_fit_val_runner/output/validation_psf-{exp}.fits": _shapes},
}
