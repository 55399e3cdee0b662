"""FITS files in archives: with CHECK=full a damaged one costs its own tile and nothing else, a sound one none."""

from __future__ import annotations

from support.fits_making import (
    ALGORITHMS,
    compressed,
    crashing,
    leading_out_of_the_heap,
    packed,
    rice_damaged,
    table,
    with_replaced,
)
from support.pages import documented_keys, keys
from support.site import Site
from support.tar_making import downloaded, header, member
from support.tar_making import packed as tarred

#: Members of a tile: larger than what is held in memory, links to it, no data, and pixels in each code.
SOUND = [
    member("output/s/large.fits", packed(table(400_000), checksum=True)),
    header("output/s/hard.fits", kind=b"1", target="output/s/large.fits"),
    header("output/s/soft.fits", kind=b"2", target="large.fits"),
    member("output/s/empty.fits", packed(table(0))),
    *(member(f"output/s/{one}.fits.fz", compressed(one)) for one in ALGORITHMS),
]
#: By tile: a file that only the full check finds damaged, and the reason.
DAMAGED = {
    "101.300": (rice_damaged(), "astropy cannot read it (CfitsioException: "),
    "102.300": (with_replaced(packed(table(7)), b"TFORM2", b"T-ORM2"), "astropy cannot read it ("),
    "103.300": (crashing(), "decoding its compressed images ends in SIGFPE"),
    "104.300": (leading_out_of_the_heap(), "column 2 of HDU 1 leads out of its heap"),
}


def test_with_the_full_check_a_damaged_file_costs_its_own_tile_only(site: Site) -> None:
    archives = {f"logs_{tile}.tgz": tarred(member(f"output/{tile}/x.fits", one)) for tile, (one, _) in DAMAGED.items()}
    downloaded(site, archives | {"logs_100.300.tgz": tarred(*SOUND)})
    site.done("untar")
    result = site.make("verify", "CHECK=full")
    for tile, (_, reason) in DAMAGED.items():
        assert f"* output/{tile}/x.fits ({reason}" in result.stdout
    assert "5 tiles verified: 0 of 5 archives bad, 4 of 13 files bad" in result.stdout
    assert "4 of 5 tiles are bad and lost their stamps" in result.stderr
    # The stamps of the others were taken, so that they are unpacked again.
    (site.directory / "stamps/mccd/extracted/100.300").unlink()
    result = site.make("untar", "CHECK=full")
    for tile, (_, reason) in DAMAGED.items():
        assert (
            f"cannot unpack tile '{tile}': 'archives/logs_{tile}.tgz': 'output/{tile}/x.fits' is damaged: {reason}"
            in (result.stderr)
        )
    assert "4 of 5 tiles failed" in result.stderr
    assert "1 tile with 9 files in 'output'" in result.stdout


def test_files_with_a_loose_end_are_unpacked_and_counted(site: Site) -> None:
    whole = packed(table(7))
    members = [
        member("output/r/unfilled.fits", whole[:-2796]),
        member("output/r/zeros.fits", whole + bytes(2880)),
        member("output/r/whole.fits", whole),
    ]
    downloaded(site, {f"logs_{tile}.300.tgz": tarred(*members) for tile in ("100", "101")})
    (site.directory / "one").write_text("100.300\n")
    shown = site.done("untar", "TILES=one", "CHECK=full")
    assert "2 FITS files whose last block is not filled up, or with zeros at the end; all data are there" in shown
    told = site.json("untar")
    assert told["loose_ends"] == 2
    assert keys(told) == documented_keys("untar")
    assert "0 of 6 files bad" in site.done("verify", "CHECK=full")
