"""Entries and lines of tile lists, as people and programs write them."""

from __future__ import annotations

from pathlib import Path

import pytest

from retrieve.errors import SettingError
from retrieve.tiles import parse_exposure, parse_tile, read_list


def truth_table(text: str | None) -> list[list[str]]:
    """Rows of the table in a docstring."""
    lines = [line.strip() for line in str(text).splitlines()]
    rules = [place for place, line in enumerate(lines) if line.startswith("===")]
    return [line.split("  ", 1) for line in lines[rules[1] + 1 : rules[2]]]


def test_an_entry_is_the_tile_that_the_table_says() -> None:
    rows = truth_table(parse_tile.__doc__)
    assert len(rows) == 11
    for entries, tile in rows[:-1]:
        for entry in entries.partition(", which")[0].split(", "):
            assert parse_tile(entry) == (None if tile.strip() == "none" else tile.strip()), entry


def test_an_entry_is_the_exposure_that_the_table_says() -> None:
    rows = truth_table(parse_exposure.__doc__)
    assert len(rows) == 3
    for entries, number in rows:
        for entry in entries.split(", "):
            assert parse_exposure(entry) == (None if number.strip() == "none" else number.strip()), entry


@pytest.mark.parametrize(
    "entry",
    ["", "a", "308", ".308", "1.", "1.30", "1.3081", "1820.308", "182 308", "182,308", "182.308.1", "-1.308", "+1.308",
     "1.308e0", "../182.308", "CFIS.182.308.r", "CFIS.1.308.r.fits", "CFIS.182.308.r.png", "CFIS.182.308.180.310.fits",
     "2243881p.fits.fz", "run_2021-08-05.fits", "calexp-CFIS_2170_292.fits", "calexp-CFIS_217_292_1.fits",
     "final_cat_182.308_180.310.tgz", "182.308_182.308", "182.308_180", "\u0661\u0668\u0662.\u0663\u0660\u0668"],
)  # fmt: skip
def test_what_may_be_something_else_is_no_tile(entry: str) -> None:
    assert parse_tile(entry) is None


@pytest.mark.parametrize(
    ("text", "tiles"),
    [
        ("1.308\n24.290\n000.238\n", ["001.308", "024.290", "000.238"]),
        ("calexp-CFIS_217_292.fits\nWISHES.217.293.z.fits\nUNIONS_i_image-000-238.fits\nCFIS_LSB.217.294.u.fits\n",
         ["217.292", "217.293", "000.238", "217.294"]),
        ("tile\n182.308\n", ["182.308"]),
        ("# made by hand\n\nTile ID\n182.308\n", ["182.308"]),
        ("tile,ra,dec\n182.308,213.455,51.234\n", ["182.308"]),
        ("182.308 213.4551 -51.2345 ok\n182.309\t213.9\n180.310;12;\n", ["182.308", "182.309", "180.310"]),
        ("182.308 CFIS.182.308.r.fits\n", ["182.308"]),
        ("182.308,\r\n182.309,\r\n", ["182.308", "182.309"]),
        ("", []),
        ("# none of them\n", []),
    ],
)  # fmt: skip
def test_what_is_unambiguous_in_a_list_is_taken(text: str, tiles: list[str], tmp_path: Path) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(text.encode())
    assert list(read_list(path).tiles) == tiles


@pytest.mark.parametrize(
    ("text", "number", "shown"),
    [
        ("182.308\n182.308 180.310\n", 2, "182.308 180.310"),
        ("182.308 213.455 51.234\n", 1, "182.308 213.455 51.234"),
        ("\ntile\n", 2, "tile"),
        ("tile\nname\n182.308\n", 2, "name"),
        ("182.308\ntile\n", 2, "tile"),
        ("tile2\n182.308\n", 1, "tile2"),
        ("213.4551 182.308\n", 1, "213.4551 182.308"),
        (",182.308\n", 1, ",182.308"),
        ("182.308\x0c180.310\n", 1, r"182.308\x0c180.310"),
        ("182.308\n\x1b]0;title\x07\n", 2, r"\x1b]0;title\x07"),
        ("182.308\u2028180.310 \u202e\x9b1m\n", 1, r"182.308\u2028180.310 \u202e\x9b1m"),
    ],
)
def test_the_rest_is_refused_with_its_line_and_without_control_characters(
    text: str, number: int, shown: str, tmp_path: Path
) -> None:
    path = tmp_path / "list.txt"
    path.write_bytes(text.encode())
    with pytest.raises(SettingError) as refusal:
        read_list(path)
    problem = f"{path}:{number}: not a tile: '{shown}'; write 182.308, 182-308 or CFIS.182.308.r.fits"
    assert str(refusal.value) == problem
    assert problem.isprintable()
