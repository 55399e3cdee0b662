"""FITS files as they are: sound ones are never refused, damaged ones always named, whatever reads them does over it."""

from __future__ import annotations

import io
import shutil
import subprocess
import sys
import warnings
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from support.fits_looks import looks
from support.fits_making import (
    ALGORITHMS,
    compressed,
    crashing,
    leading_out_of_the_heap,
    of_variable_length,
    packed,
    rice_damaged,
    shipped,
    table,
    with_replaced,
)
from support.site import HERE

#: A table of seven doubles and seven integers: 84 bytes in its last block.
SEVEN = packed(table(7), checksum=True)
TEXT = packed(table(7, fits.TableHDU), checksum=True)
PIXELS = compressed("RICE_1", "f4", checksum=True)


def unfilled(content: bytes) -> bytes:
    """Without what fills up the last block."""
    with fits.open(io.BytesIO(content), disable_image_compression=True) as hdus:
        return content[: hdus[-1].fileinfo()["datLoc"] + hdus[-1].size]


#: By name: files of which all is there, and whether their end is loose.
SOUND: dict[str, tuple[bytes, bool]] = {
    "an axis of no pixels": (packed(fits.ImageHDU(np.zeros((5, 0), "f4"))), False),
    "a first axis of no pixels": (packed(fits.ImageHDU(np.zeros((0, 5), "i2"))), False),
    "a table of no rows": (packed(table(0)), False),
    "a table of text of no rows": (packed(table(0, fits.TableHDU)), False),
    "a table of no columns": (packed(fits.BinTableHDU()), False),
    "any number of rows without bytes": (
        with_replaced(packed(fits.BinTableHDU()), b"NAXIS2  =                    0", b"NAXIS2  =      999999999999999"),
        False,
    ),
    "a column of no width": (
        packed(fits.BinTableHDU.from_columns([fits.Column("A", "0D"), fits.Column("B", "J", array=[1])])),
        False,
    ),
    "variable length": (of_variable_length(), False),
    "variable length with 64-bit descriptors": (of_variable_length("QD()"), False),
    "variable length without rows": (
        packed(fits.BinTableHDU.from_columns([fits.Column("A", "PD()", array=np.array([], dtype=object))])),
        False,
    ),
    "a table larger than what is held in memory": (packed(table(500_000), checksum=True), False),
    "scaled pixels": (packed(fits.ImageHDU(np.zeros((5, 5), "u2"))), False),
    **{f"pixels by {one}": (compressed(one), False) for one in ALGORITHMS},
    **{f"floating-point pixels by {one}": (compressed(one, "f4", checksum=True), False) for one in ALGORITHMS[:4]},
    "a last block that is not filled up": (unfilled(SEVEN), True),
    "a last block of text that is not filled up": (unfilled(TEXT), True),
    "a last block of pixels that is not filled up": (unfilled(PIXELS), True),
    "zeros at the end": (SEVEN + bytes(2880), True),
    "a few zeros at the end": (PIXELS + bytes(100), True),
    "many zeros at the end": (SEVEN + bytes(3_000_000), True),
    "blanks at the end": (SEVEN + b" " * 80, True),
}
#: By name: damaged files, and what of the reason names the damage. If the quick check finds it the reason begins so.
QUICK = "quick: "
DAMAGED: dict[str, tuple[bytes, str]] = {
    "data that are cut": (unfilled(SEVEN)[:-1], QUICK + "it ends at byte "),
    "a header that is cut": (SEVEN[:5000], QUICK + "a header that is cut at byte 2880"),
    "something at the end": (SEVEN + bytes(2879) + b"x", QUICK + "something that is no header at byte 8640"),
    "a size that is no number": (  # astropy reads this HDU again and again if it is asked how many there are
        with_replaced(packed(table(7)), b"GCOUNT  =                    1", b"GCOUNT  =           -        1"),
        QUICK + "a header whose GCOUNT is no integer at byte 2880",
    ),
    "more columns than there can be": (  # astropy makes room for them
        with_replaced(packed(table(7)), b"TFIELDS =                    2", b"TFIELDS =            999999999"),
        "HDU 1 has more than 999 columns",
    ),
    "pixels": (rice_damaged(), "astropy cannot read it (CfitsioException: "),
    "pixels that crash what decodes them": (crashing(), "decoding its compressed images ends in SIGFPE"),
    "a name of a card": (
        with_replaced(packed(table(7)), b"TFORM2", b"T-ORM2"),
        "astropy cannot read it (",
    ),
    "a descriptor": (leading_out_of_the_heap(), "column 2 of HDU 1 leads out of its heap"),
    "a number that is text": (
        with_replaced(packed(table(7, fits.TableHDU)), b"6.000", b"6x000"),
        "astropy cannot read it (ValueError: ",
    ),
}


def written(directory: Path, contents: dict[str, bytes]) -> list[Path]:
    """Write files; give their paths in order."""
    paths = [directory / f"{number}.fits" for number in range(len(contents))]
    for path, content in zip(paths, contents.values(), strict=True):
        path.write_bytes(content)
    return paths


def test_sound_files_are_accepted_and_damaged_ones_named(tmp_path: Path) -> None:
    contents = {name: content for name, (content, _) in (SOUND | DAMAGED).items()}
    found = dict(zip(contents, looks(*written(tmp_path, contents))["looks"], strict=True))
    assert {name: found[name] for name in SOUND} == {name: [None, None, loose] for name, (_, loose) in SOUND.items()}
    for name, (_, reason) in DAMAGED.items():
        quick, full, _ = found[name]
        if reason.startswith(QUICK):
            assert quick == full
            assert quick.startswith(reason.removeprefix(QUICK)), name
        else:
            assert quick is None, name
            assert full.startswith(reason), name


#: Files that only the full check refuses, since their structure is sound: their checksums do not agree, which astropy
#: says of them, too (of the last, cards in wrong places keep it from reading on when it verifies checksums).
WRONG_SUMS = {
    "io/fits/tests/data/chandra_time.fits", "io/fits/tests/data/checksum_false.fits",
    "wcs/tests/data/header_newlines.fits", "wcs/tests/data/validate.fits", "io/fits/tests/data/memtest.fits",
}  # fmt: skip
#: Files with errors for fitsverify that are accepted here, as by astropy, since they lose nobody any data: part of the
#: error, and the reason.
FOR_FITSVERIFY_ALONE = {
    "io/fits/tests/data/fixed-1890.fits": ("PCOUNT is not allowed in a primary array", "it changes no size there"),
    "io/fits/tests/data/invalid/group_invalid.fits": ("PCOUNT is not allowed", "it has no data"),
    "io/fits/tests/data/random_groups.fits": ("PSCAL4: invalid index", "it says how to scale nothing"),
    "io/fits/tests/data/theap-gap.fits": ("tried to move past end of file", "it counts the gap before the heap twice"),
    "io/fits/tests/data/verify.fits": ("from CFITSIO error stack", "NAXIS stands before BITPIX"),
    "io/fits/tests/data/vla_logical_pre_fix.fits": ("not equal to 'T', 'F', or 0", "any byte is read as true or false"),
    "io/fits/tests/data/zerowidth.fits": ("BSCALE is not allowed in the Bin/ASCII table", "it scales nothing there"),
    "wcs/tests/data/dss.14.29.56-62.41.05.fits.gz": ("Bad numerical value", "it is no value that sizes come from"),
    "wcs/tests/data/header_with_time_wcslib71.fits": ("File has extra byte(s) after last HDU", "these are blanks"),
}


def of_astropy(content: bytes) -> str | None:
    """What astropy says when it verifies the checksums of a file and reads all of it."""
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        try:
            with fits.open(io.BytesIO(content), checksum=True) as hdus:
                for hdu in hdus:
                    hdu.data  # noqa: B018 - reads it
        except Exception as error:
            return str(error)
    return next((str(one.message) for one in told if "sum verification failed" in str(one.message)), None)


def of_fitsverify(path: Path) -> str:
    """What fitsverify says of a file that is not as the standard wants it, or whose checksums do not agree."""
    told = subprocess.run(
        ["fitsverify", path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace", check=False
    ).stdout
    return "\n".join(line for line in told.splitlines() if "*** Error" in line or "checksum is not" in line.lower())


@dataclass
class Shipped:
    """A file that comes with a package, and what was found of it."""

    path: Path
    content: bytes
    quick: str | None
    full: str | None
    loose: bool


@pytest.fixture(
    scope="module",
    params=[
        pytest.param("astropy", marks=[pytest.mark.soak, pytest.mark.short]),
        "fitsio",
        pytest.param("galsim", marks=pytest.mark.soak),
    ],
)
def ships(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Shipped]:
    """What a package ships, by its name there."""
    contents = shipped(request.param)
    if not contents:
        pytest.skip(f"needs the package {request.param}, whose files are looked at: pip install {request.param}")
    paths = written(tmp_path_factory.mktemp(request.param), contents)
    found = zip(contents.items(), paths, looks(*paths)["looks"], strict=True)
    return {name: Shipped(path, content, *one) for (name, content), path, one in found}


def test_what_packages_ship_is_taken_as_by_astropy(ships: dict[str, Shipped]) -> None:
    refused = {name for name, one in ships.items() if one.full}
    assert refused == {name for name, one in ships.items() if of_astropy(one.content)}
    assert {name for name in refused if not ships[name].quick} == WRONG_SUMS & ships.keys()
    assert {name for name, one in ships.items() if one.loose} == {name for name in ships if "wcslib71" in name}


@pytest.mark.skipif(not shutil.which("fitsverify"), reason="needs fitsverify: apt-get install fitsverify")
def test_what_packages_ship_is_taken_as_by_fitsverify(ships: dict[str, Shipped]) -> None:
    for name, one in ships.items():
        told = of_fitsverify(one.path)
        error, _ = FOR_FITSVERIFY_ALONE.get(name, ("", ""))
        assert error in told
        assert bool(one.full) == (bool(told) and not error), name


@pytest.mark.soak
@pytest.mark.short
def test_what_fitsio_writes_is_sound(tmp_path: Path) -> None:
    import fitsio

    image = np.random.default_rng(1).normal(100, 10, (50, 60))
    paths = []
    for algorithm in ("RICE", "GZIP", "GZIP_2", "HCOMPRESS", "PLIO"):
        for kind in ("u1", "i2", "u2", "i4") if algorithm == "PLIO" else ("u1", "i2", "u2", "i4", "u4", "f4", "f8"):
            if (algorithm, kind) != ("PLIO", "i4"):
                paths.append(tmp_path / f"{algorithm}-{kind}.fits")
                tiles = (25, 20) if algorithm == "HCOMPRESS" else None
                fitsio.write(paths[-1], image.astype(kind), compress=algorithm, tile_dims=tiles)
    rows = np.zeros(9, dtype=[("a", "i4"), ("v", "O"), ("s", "S5")])
    rows["v"] = [np.arange(n % 7, dtype="f4") for n in range(9)]
    for name, content, kind in (
        ("v", rows, "binary"),
        ("t", rows[["a", "s"]], "ascii"),
        ("0", rows[:0][["a"]], "binary"),
    ):
        paths.append(tmp_path / f"{name}.fits")
        fitsio.write(paths[-1], content, table_type=kind)
    for path, found in zip(paths, looks(*paths)["looks"], strict=True):
        assert found == [None, None, False], path.name


@pytest.mark.soak
@pytest.mark.parametrize("count", [pytest.param(300, marks=pytest.mark.short), 20_000])
def test_mutated_files_are_accepted_or_named(count: int) -> None:
    found = looks(0, count, patience=60 + count)
    assert found["memory"] < 300_000_000
    quick, full, loose = zip(*found["looks"], strict=True)
    assert len(full) == count
    for problem in filter(None, quick + full):
        assert problem.isprintable()
        assert len(problem) < 300
    assert all(late == early for early, late in zip(quick, full, strict=True) if early)
    # Each of what may come of it does.
    decoded = [late for early, late in zip(quick, full, strict=True) if late and not early]
    assert min(full.count(None), len(decoded), count - quick.count(None), sum(loose)) > count // 100
    for one in ("CfitsioException", "leads out of its heap", "ValueError"):
        assert any(one in problem for problem in decoded), one


#: Prints what is said of processes that end, or would not, in different ways.
ENDS = """
import os, sys
sys.path.insert(0, sys.argv[1])
from retrieve.formats.decoding import _apart
for act in (
    lambda: "said", lambda: None, os.abort, lambda: str(len(bytes(1 << 30))), lambda: any(iter(int, 1)),
    lambda: os.kill(os.getpid(), 9),
):
    try:
        print(_apart(act, 1, 1 << 28))
    except OSError as error:
        print("OSError:", error.strerror)
"""


def test_a_process_that_decodes_cannot_end_another_or_go_on_for_ever() -> None:
    words = [sys.executable, "-c", ENDS, str(HERE / "lib")]
    done = subprocess.run(words, text=True, capture_output=True, timeout=60, check=True)
    assert not done.stderr
    assert done.stdout.splitlines() == [
        "said",
        "None",
        "decoding its compressed images ends in SIGABRT",
        "decoding its compressed images ends in an error",
        "its compressed images take more than 1 seconds to decode",
        "OSError: what decodes compressed images was killed, perhaps for want of memory",
    ]
