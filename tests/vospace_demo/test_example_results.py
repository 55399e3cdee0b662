"""The example results are what ShapePipe would have uploaded: names, layout, FITS, the same each time."""

from __future__ import annotations

import hashlib
import io
import math
import os
import struct
import subprocess
import sys
import tarfile
import warnings
import zlib
from collections import Counter
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from retrieve.products import PRODUCTS_OF, archive_name
from vospace_demo import results

TILE = "182.308"
RUN_DATE = datetime(2021, 8, 5, 11, 25, 32, tzinfo=UTC)
EXPOSURES, CCDS = 2, 3


def snapshot(directory: Path) -> dict[str, tuple[bytes, int]]:
    """Content and mtime of each file of a directory."""
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in directory.iterdir()}


def contents(archive: Path) -> dict[str, bytes]:
    """Regular files of an archive."""
    with tarfile.open(archive) as tar:
        return {member.name: tar.extractfile(member).read() for member in tar if member.isfile()}


def file_name(paths: dict[str, bytes]) -> str:
    (path,) = paths
    return path


def open_checked(content: bytes) -> list:
    """HDUs of a FITS file; a checksum that is wrong or absent fails the test."""
    from astropy.io import fits

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for as_table in (True, False):
            hdus = fits.open(io.BytesIO(content), checksum=True, disable_image_compression=as_table)
            hdus.verify("exception")
            if as_table:
                assert all("CHECKSUM" in hdu.header and "DATASUM" in hdu.header for hdu in hdus)
    return list(hdus)


@pytest.fixture(scope="module", params=sorted(PRODUCTS_OF))
def tile(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Archives of one tile, by product."""
    directory = tmp_path_factory.mktemp(request.param)
    made = results.make_archives(directory, TILE, request.param, RUN_DATE, EXPOSURES, CCDS)
    assert sorted(made) == sorted(directory.iterdir())
    return dict(zip(PRODUCTS_OF[request.param], made, strict=True))


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("demo")
    assert results.make_demo(root) == root / "cfis/cosmostat/kilbinger/results"
    return root


def test_a_tile_has_the_seven_archives_of_its_psf_model(tile: dict[str, Path]) -> None:
    assert len(tile) == 7
    assert all(archive.name == f"{product}_{TILE}.tgz" for product, archive in tile.items())


def test_plain_tar_lists_all_members_of_an_archive(tile: dict[str, Path]) -> None:
    for archive in tile.values():
        listed = subprocess.run(["tar", "tzf", archive], capture_output=True, text=True, check=True)
        with tarfile.open(archive) as tar:
            names = [member.name + "/" * member.isdir() for member in tar]
        assert listed.stdout.split() == names
        assert listed.stderr == ""


def test_members_are_directories_and_files_below_output_dated_by_the_run(tile: dict[str, Path]) -> None:
    for archive in tile.values():
        with tarfile.open(archive) as tar:
            members = tar.getmembers()
        directories = {member.name for member in members if member.isdir()}
        assert directories == {member.name.rpartition("/")[0] for member in members if member.isfile()}
        for member in members:
            assert member.mode == (0o755 if member.isdir() else 0o644)
            assert member.mtime == RUN_DATE.timestamp()
            root, run, *_ = member.name.split("/")
            assert root == "output"
            assert run.startswith("run_sp_")
            assert run.endswith("_2021-08-05_11-25-32")


def test_files_lie_where_shapepipe_puts_them(tile: dict[str, Path]) -> None:
    files = {product: contents(archive) for product, archive in tile.items()}
    assert file_name(files["final_cat"]) == (
        "output/run_sp_tile_Ms_2021-08-05_11-25-32/make_cat_runner/output/final_cat-182-308.fits"
    )
    assert file_name(files["pipeline_flag"]).endswith("/mask_runner_run_1/output/pipeline_flag-182-308.fits")
    for kind, suffix in (("mask", ".fits"), ("stat", ".txt"), ("plot", ".png")):
        inside = files[f"setools_{kind}"]
        assert len(inside) == EXPOSURES * CCDS
        assert all(f"/setools_runner/output/{kind}/" in path and path.endswith(suffix) for path in inside)
    validation = files.get("psfex_interp_exp") or files["mccd_fit_val_runner"]
    runner = "psfex_interp_runner" if "psfex_interp_exp" in files else "mccd_fit_val_runner"
    assert all(f"/{runner}/output/validation_psf-" in path for path in validation)
    assert len(validation) == (EXPOSURES * CCDS if runner == "psfex_interp_runner" else EXPOSURES)


def test_logs_are_text_in_several_logs_directories(tile: dict[str, Path]) -> None:
    logs = contents(tile["logs"])
    assert len({path.rpartition("/")[0] for path in logs}) > 2
    assert all(path.split("/")[-2] == "logs" for path in logs)
    assert {path.rpartition(".")[2] for path in logs} == {"log", "txt"}
    assert all(content.decode().count("182.308") for content in logs.values())


def test_every_fits_file_opens_in_astropy_with_valid_checksums(tile: dict[str, Path]) -> None:
    opened = 0
    for archive in tile.values():
        for path, content in contents(archive).items():
            if path.endswith(".fits"):
                open_checked(content)
                opened += 1
    assert opened >= 2 + EXPOSURES * (CCDS + 1)


def test_galaxies_lie_within_their_tile(tile: dict[str, Path]) -> None:
    _, table = open_checked(*contents(tile["final_cat"]).values())
    assert {"RA", "DEC", "MAG_AUTO", "NGMIX_ELL_NOSHEAR"} <= set(table.columns.names)
    assert table.data["NGMIX_ELL_NOSHEAR"].shape == (len(table.data), 2)
    dec = 308 / 2 - 90
    ra = 182 / 2 / math.cos(math.radians(dec))
    places = list(zip(table.data["RA"], table.data["DEC"], strict=True))
    north = [galaxy_dec - dec for _, galaxy_dec in places]
    east = [(galaxy_ra - ra) * math.cos(math.radians(galaxy_dec)) for galaxy_ra, galaxy_dec in places]
    for offset in (north, east):
        assert -0.25 <= min(offset) < -0.2
        assert 0.2 < max(offset) <= 0.25


def test_pipeline_flag_is_an_image_of_16_bit_integers_on_the_sky(tile: dict[str, Path]) -> None:
    from astropy.wcs import WCS

    (image,) = open_checked(*contents(tile["pipeline_flag"]).values())
    assert image.header["BITPIX"] == 16
    assert image.data.any()
    assert not image.data.all()
    middle = (image.data.shape[0] - 1) / 2
    ra, dec = WCS(image.header).wcs_pix2world(middle, middle, 0)
    assert dec == pytest.approx(64)
    assert ra == pytest.approx(91 / math.cos(math.radians(64)))


def test_plots_are_valid_png(tile: dict[str, Path]) -> None:
    for content in contents(tile["setools_plot"]).values():
        assert content.startswith(b"\x89PNG\r\n\x1a\n")
        chunks, rest = [], content[8:]
        while rest:
            (length,) = struct.unpack(">I", rest[:4])
            chunk, crc, rest = rest[4 : 8 + length], rest[8 + length : 12 + length], rest[12 + length :]
            assert zlib.crc32(chunk).to_bytes(4, "big") == crc
            chunks.append(chunk)
        assert [chunk[:4] for chunk in chunks] == [b"IHDR", b"IDAT", b"IEND"]
        width, height, depth, colour, *_ = struct.unpack(">2I5B", chunks[0][4:])
        assert (depth, colour) == (8, 0)
        assert len(zlib.decompress(chunks[1][4:])) == height * (1 + width)


def test_archives_are_uploaded_one_after_the_other_some_minutes_after_the_run(tile: dict[str, Path]) -> None:
    uploads = [archive.stat().st_mtime_ns for archive in tile.values()]
    started = int(RUN_DATE.timestamp()) * 10**9
    assert all(timedelta(minutes=10) < timedelta(microseconds=(ns - started) // 1000) for ns in uploads)
    assert all(timedelta(hours=2) > timedelta(microseconds=(ns - started) // 1000) for ns in uploads)
    assert len({ns // 10**9 for ns in uploads}) == 7


def test_same_arguments_give_identical_archives_and_dates(tmp_path: Path) -> None:
    code = """if True:
        import datetime, pathlib, sys
        from vospace_demo import results
        directory, date = pathlib.Path(sys.argv[1]), datetime.datetime.fromisoformat(sys.argv[2])
        results.make_archives(directory, "182.308", "mccd", date)
        results.make_images(directory, "182.308")
        results.make_many(directory, ["100.200"], "psfex")
    """
    for make in (
        lambda: results.make_archives(tmp_path / "one", TILE, "mccd", RUN_DATE),
        lambda: results.make_images(tmp_path / "one", TILE),
        lambda: results.make_many(tmp_path / "one", ["100.200"], "psfex"),
    ):
        make()
    # Another process, with another seed than ours.
    seed = "1" if os.environ.get("PYTHONHASHSEED") != "1" else "2"
    environment = os.environ | {"PYTHONHASHSEED": seed, "PYTHONPATH": str(Path(results.__file__).parents[1])}
    command = [sys.executable, "-c", code, tmp_path / "two", RUN_DATE.isoformat()]
    subprocess.run(command, env=environment, check=True)
    assert snapshot(tmp_path / "one") == snapshot(tmp_path / "two")
    # Two calls within a second would agree on a wrong date: gzip's header and, unless it is told one,
    # astropy's comment on a checksum hold the present time.
    archive = tmp_path / "one" / "final_cat_182.308.tgz"
    assert struct.unpack("<I", archive.read_bytes()[4:8]) == (int(RUN_DATE.timestamp()),)
    fits_files = [path.read_bytes() for path in (tmp_path / "one").glob("*.fits*")]
    fits_files += contents(archive).values()
    assert len(fits_files) == 3
    assert all(b"/ 2021-" in content for content in fits_files)
    assert not any(f"{datetime.now(UTC):%Y-%m-%d}".encode() in content for content in fits_files)


def test_another_tile_and_another_run_give_other_contents(tmp_path: Path) -> None:
    later = RUN_DATE + timedelta(days=30)
    calls = {"a": (TILE, RUN_DATE), "b": ("183.308", RUN_DATE), "c": (TILE, later)}
    first = {}
    for name, (tile, date) in calls.items():
        (archive,) = results.make_archives(tmp_path / name, tile, "mccd", date, products=["final_cat"])
        ((path, content),) = contents(archive).items()
        first[name] = (path, content, archive.stat().st_mtime_ns)
    assert len({path for path, _, _ in first.values()}) == 3
    assert len({content for _, content, _ in first.values()}) == 3
    assert "_2021-09-04_11-25-32/" in first["c"][0]
    assert first["c"][2] - first["a"][2] == 30 * 86400 * 10**9


def test_no_two_tiles_share_a_path_even_of_one_run_date(tmp_path: Path) -> None:
    count = Counter(
        path
        for tile in ("182.308", "183.308", "182.309")
        for archive in results.make_archives(tmp_path, tile, "psfex", RUN_DATE)
        for path in contents(archive)
    )
    assert max(count.values()) == 1


def test_a_selection_of_products_gives_the_same_archives(tile: dict[str, Path], tmp_path: Path) -> None:
    product, whole = list(tile.items())[-1]
    (alone,) = results.make_archives(tmp_path, TILE, "psfex", RUN_DATE, products=[product])
    assert alone.read_bytes() == whole.read_bytes()
    assert alone.stat().st_mtime_ns == whole.stat().st_mtime_ns
    assert results.make_archives(tmp_path, TILE, "psfex", products=[]) == []


def test_a_container_has_a_run_date_per_tile(tmp_path: Path) -> None:
    made = results.make_container(tmp_path, results.DEMO_TILES[:3], "mccd")
    assert len(made) == len(list(tmp_path.iterdir())) == 3 * 7
    runs = {file_name(contents(path)).split("/")[1] for path in made if path.name.startswith("final_cat")}
    assert len(runs) == 3


def test_images_are_a_plain_and_a_tile_compressed_fits_file_of_the_survey(tmp_path: Path) -> None:
    made = results.make_images(tmp_path, TILE)
    assert [path.name for path in made] == ["CFIS.182.308.r.fits", "CFIS.182.308.r.weight.fits.fz"]
    (image,) = open_checked(made[0].read_bytes())
    _, weight = open_checked(made[1].read_bytes())
    assert weight.data.shape == image.data.shape == (256, 256)
    assert made[1].stat().st_size < made[0].stat().st_size
    from astropy.io import fits

    with fits.open(made[1], disable_image_compression=True) as hdus:
        assert hdus[1].header["ZIMAGE"] is True


def test_demo_holds_twelve_tiles_for_both_psf_models(demo: Path) -> None:
    names = {path.name for path in (demo / "cfis/cosmostat/kilbinger/results").iterdir()}
    wanted = {
        archive_name(product, tile)
        for tile in results.DEMO_TILES
        for products in PRODUCTS_OF.values()
        for product in products
    }
    assert len(wanted) == 12 * 8
    assert wanted - names == {archive_name("final_cat", results.INCOMPLETE_TILE)}
    assert names <= wanted
    assert results.INCOMPLETE_TILE != results.BROKEN_TILE
    assert {results.INCOMPLETE_TILE, results.BROKEN_TILE} < set(results.DEMO_TILES)
    images = {path.name for path in (demo / "cfis/tiles").iterdir()}
    assert images == {name.format(tile=tile) for tile in results.IMAGE_TILES for name in results.IMAGE_NAMES}


def test_demo_is_small(demo: Path) -> None:
    assert sum(path.stat().st_size for path in demo.rglob("*") if path.is_file()) < 15_000_000


def test_only_the_broken_archive_of_the_demo_fails_gzip(demo: Path) -> None:
    archives = sorted(demo.rglob("*.tgz"))
    assert subprocess.run(["gzip", "-t", *archives], capture_output=True).returncode == 1
    name = archive_name(results.BROKEN_PRODUCT, results.BROKEN_TILE)
    broken = demo / "cfis/cosmostat/kilbinger/results" / name
    archives.remove(broken)
    assert subprocess.run(["gzip", "-t", *archives], capture_output=True).returncode == 0
    cut = subprocess.run(["gzip", "-t", broken], capture_output=True, text=True)
    assert cut.returncode == 1
    assert "unexpected end of file" in cut.stderr
    # It was damaged before its upload: its date is an upload like any other.
    assert broken.stat().st_mtime < datetime(2022, 1, 1, tzinfo=UTC).timestamp()


def test_many_tiles_of_small_archives_are_still_real(tmp_path: Path) -> None:
    tiles = [f"{nnn}.{mmm}" for nnn in range(200, 206) for mmm in range(280, 290)]
    made = results.make_many(tmp_path, tiles, "psfex")
    assert {path.name for path in made} == {archive_name(p, t) for p in PRODUCTS_OF["psfex"] for t in tiles}
    assert len({hashlib.md5(path.read_bytes()).digest() for path in made}) == len(made)
    assert max(path.stat().st_mtime for path in made) < datetime(2022, 1, 1, tzinfo=UTC).timestamp()
    from astropy.io import fits

    for archive in made[:7]:
        ((path, content),) = contents(archive).items()
        assert content
        if path.endswith(".fits"):
            with fits.open(io.BytesIO(content)) as hdus:
                hdus.verify("exception")
                assert hdus[0].header["OBJECT"] == tiles[0]
