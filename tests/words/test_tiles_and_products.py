"""Tile lists and products, as people write them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from retrieve.products import PRODUCTS_OF
from retrieve.tiles import read_list
from support.making import refused
from support.site import RESULTS, TILES, Site, names
from vospace_demo.results import make_many


def summaries(site: Site, container: Path, *words: str) -> list[str]:
    """Lines that `avail` prints about the lists."""
    lines = site.done("avail", f"INPUT_PATH={container}", *words).splitlines()
    return [line for line in lines if re.match(r"\S+: \d+/\d+ ", line)]


def counts(lines: list[str]) -> dict[str, int]:
    """Tiles per product, from the lines of `avail`."""
    return {line.split()[0]: int(line.split()[1]) for line in lines if line.startswith("  ")}


@pytest.mark.parametrize(
    "text",
    [
        b"240.290\n241.290\n",
        b"240-290\n241-290\n",
        b"CFIS.240.290.r.fits\nCFIS.241.290.u.fits\n",
        b"CFIS.240.290.r.weight.fits.fz\nCFIS.241-290.r.fits\n",
        b"\n240.290\n\n   \n\t\n241.290",
        b"# tiles of the first field\n240.290 # the best one\n  # more\n241.290#\n",
        b"240.290\r\n241.290\r\n",
        b"\xef\xbb\xbf240.290\n241.290\n",
        b"\xef\xbb\xbf# of a spreadsheet\r\n240.290\r\n241.290\r\n",
        b"  240.290\t\n\t241.290  \n",
        b"240.290\n241.290\n240-290\nCFIS.241.290.r.fits\n",
        "# sélection d'été\n240.290\n241.290\n".encode(),
    ],
)
def test_a_list_is_read_however_it_was_written(text: bytes, tmp_path: Path) -> None:
    (tmp_path / "list.txt").write_bytes(text)
    assert read_list(tmp_path / "list.txt").tiles == ("240.290", "241.290")


@pytest.mark.parametrize(
    ("text", "number", "entry"),
    [
        (b"240.290\n24.29\n", 2, "24.29"),
        (b"# a comment\n\n240.290 241.290\n", 3, "240.290 241.290"),
        (b"240.2900", 1, "240.2900"),
        (b"240.290\x1b[2J\x07\n", 1, r"240.290\x1b[2J\x07"),
        (b"240.290\r\n\r\n240_290\r\n", 3, "240_290"),
        (b"final_cat_240.290.tgz\n", 1, "final_cat_240.290.tgz"),
        (b"../240.290\n", 1, "../240.290"),
        ("٢٤٠.٢٩٠\n".encode(), 1, "٢٤٠.٢٩٠"),
        (b"x" * 5000, 1, "x" * 80),
    ],
)
def test_a_line_that_is_no_tile_is_named_with_file_and_number(text: bytes, number: int, entry: str, site: Site) -> None:
    (site.directory / "field.txt").write_bytes(text)
    line = refused(site, "TILES=field.txt", "INPUT_PATH=.")
    assert line == f"field.txt:{number}: not a tile: '{entry}'; write 182.308, 182-308 or CFIS.182.308.r.fits"


def test_a_list_that_is_not_text_is_named(site: Site) -> None:
    (site.directory / "field.txt").write_bytes("240.290\n".encode("utf-16"))
    line = refused(site, "TILES=field.txt", "INPUT_PATH=.")
    assert line == "tile list 'field.txt' is not text; give one tile such as 182.308 per line"


@pytest.mark.parametrize(
    ("tiles", "problem"),
    [
        ("", "TILES is empty; give it a list file, a directory of them, tiles such as 182.308, or all"),
        ("  ", "TILES is empty; give it a list file, a directory of them, tiles such as 182.308, or all"),
        ("absent.txt", "cannot read tile list 'absent.txt': No such file or directory; give TILES a list file, "),
        ("tile_numbers.txt/x", "cannot read tile list 'tile_numbers.txt/x': Not a directory; give TILES a list file, "),
        ("tile_numbers.txt absent.txt", "cannot read tile list 'absent.txt': No such file or directory; give TILES"),
        ("empty", "no tile list in 'empty'; a list is a file '*.txt' with one tile per line"),
        ("odd", "cannot read tile list 'odd/a.txt': Is a directory; give TILES a list file, "),
        ("loop.txt", "cannot read tile list 'loop.txt': Too many levels of symbolic links; give TILES a list file, "),
    ],
)
def test_lists_that_cannot_be_had_are_named_with_the_remedy(tiles: str, problem: str, site: Site) -> None:
    site.list_tiles(*TILES)
    (site.directory / "empty").mkdir()
    (site.directory / "empty/notes.md").touch()
    (site.directory / "odd/a.txt").mkdir(parents=True)
    (site.directory / "loop.txt").symlink_to("loop.txt")
    assert refused(site, f"TILES={tiles}", "INPUT_PATH=.").startswith(problem)


@pytest.mark.parametrize("verb", ["download", "missing", "untar"])
def test_a_list_that_went_away_is_named_by_the_later_steps_too(verb: str, site: Site, vault: str) -> None:
    site.begin("unpacked", vault)
    stamps = site.stamps()
    (site.directory / "tile_numbers.txt").unlink()
    result = site.make(verb)
    assert result.returncode == 2
    assert result.stderr.startswith("cannot read tile list 'tile_numbers.txt': No such file or directory; give TILES ")
    assert site.stamps() == stamps


def test_a_list_without_tiles_asks_for_nothing(site: Site, container: Path) -> None:
    """It is what `missing` writes when nothing is missing."""
    site.begin("unpacked", f"vos:{RESULTS}")
    assert site.done("missing") == "missing.txt: 0 tiles missing\n"
    assert site.done("download", "TILES=missing.txt") == "nothing to fetch\n"
    assert site.done("missing", "TILES=missing.txt") == "missing.txt: 0 tiles missing\n"
    (site.directory / "none.txt").write_text("# none of them\n\n")
    assert summaries(site, container, "TILES=none.txt")[0].startswith("none.txt: 0/0 ")


def test_each_of_several_lists_is_summed_up(site: Site, container: Path) -> None:
    (container / names(TILES[3])[0]).unlink()
    site.list_tiles(*TILES[:4], name="north.txt")
    site.list_tiles(*TILES[3:8], name="south.txt")
    lines = summaries(site, container, "TILES=north.txt south.txt north.txt")
    assert lines == ["north.txt: 3/4 (75.0%) complete", "south.txt: 4/5 (80.0%) complete"]
    assert site.done("download").startswith("49 archives fetched")
    assert (site.directory / "stamps/mccd/stale-download").read_text().split() == sorted({*TILES[:8]} - {TILES[3]})


def test_a_directory_of_lists_is_as_good_as_its_lists(site: Site, container: Path) -> None:
    fields = site.directory / "fields"
    fields.mkdir()
    site.list_tiles(*TILES[:2], name="fields/b.txt")
    site.list_tiles(*TILES[2:5], name="fields/a.txt")
    for other in ("fields/.hidden.txt", "fields/notes.md", "fields/a.txt~"):
        (site.directory / other).write_text("no list\n")
    site.list_tiles(TILES[9], name="c.txt")
    assert summaries(site, container, "TILES=fields c.txt") == [
        "fields/a.txt: 3/3 (100.0%) complete",
        "fields/b.txt: 2/2 (100.0%) complete",
        "c.txt: 1/1 (100.0%) complete",
    ]


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("PRODUCTS=nonsense", "unknown product 'nonsense' of PSF model 'mccd'; give PRODUCTS some of final_cat "),
        ("PRODUCTS=final_cat psfex_interp_exp", "unknown product 'psfex_interp_exp' of PSF model 'mccd'; "),
        ("PRODUCTS=CFIS.r.fits", "unknown product 'CFIS.r.fits' of PSF model 'mccd'; "),
        ("PRODUCTS=CFIS.{tile}.{tile}.fits", "bad file-name pattern 'CFIS.{tile}.{tile}.fits' in PRODUCTS; each "),
        ("PRODUCTS=CFIS.{title}.fits", "bad file-name pattern 'CFIS.{title}.fits' in PRODUCTS; each needs {tile} "),
        ("PRODUCTS=a_{tile}.fits final_cat", "bad file-name pattern 'final_cat' in PRODUCTS; each needs {tile} "),
        ("PRODUCTS=../{tile}.fits", "bad file-name pattern '../{tile}.fits' in PRODUCTS; each needs {tile} "),
        ("PRODUCTS={tile}.fits a{tile", "bad file-name pattern 'a{tile' in PRODUCTS; each needs {tile} "),
    ],
)
def test_products_that_do_not_exist_are_named_with_the_remedy(words: str, problem: str, site: Site) -> None:
    site.list_tiles(*TILES)
    line = refused(site, words, "INPUT_PATH=.")
    assert line.startswith(problem)
    assert "{tile}" in line


@pytest.mark.parametrize("psf", list(PRODUCTS_OF))
def test_products_are_counted_by_name_whatever_else_is_there(psf: str, site: Site, container: Path) -> None:
    make_many(container, ["300.300"], psf)
    (container / names(TILES[0], psf)[6]).unlink()
    for other in (f"{names(TILES[0], psf)[6]}.part", f"old_{names(TILES[0], psf)[6]}", "final_cat_240-290.tgz"):
        (container / other).write_bytes(b"another file")
    site.list_tiles(*TILES)
    lines = site.done("avail", f"PSF={psf}", f"INPUT_PATH={container}", "PRODUCTS=logs final_cat logs").splitlines()
    assert list(counts(lines).items()) == [("final_cat", 10), ("logs", 10)]
    lines = site.done("avail", "PRODUCTS=").splitlines()
    assert lines[0] == "tile_numbers.txt: 9/10 (90.0%) complete"
    assert counts(lines) == {name: 10 - (name == PRODUCTS_OF[psf][6]) for name in PRODUCTS_OF[psf]}
