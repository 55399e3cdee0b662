"""The manifest: every archive that is held and verified, as a table that astropy reads."""

from __future__ import annotations

import hashlib
import os
import time
from pathlib import Path

import pytest
from astropy.table import Table

from retrieve.archives import date_of
from support.site import HERE, TILES, Site, names
from support.survey import R, make_done, numbers


def manifest(site: Site) -> Table:
    """Read it as anybody does."""
    return Table.read(site.directory / "manifest.ecsv")


def test_the_manifest_holds_every_archive_with_its_origin_and_dates(home: Site, source: Path) -> None:
    # As `make` did it: a copy has its ctimes in whatever order it was made.
    for path in (home.directory / "stamps/mccd/extracted").iterdir():
        path.chmod(0o644)
    size = sum(path.stat().st_size for path in source.iterdir())
    began = time.strftime("%FT%T", time.gmtime())
    assert home.done("manifest").splitlines() == [
        f"manifest.ecsv: 21 archives of 3 tiles, {size / 1000:.1f} kB",
        "MD5SUMS: 21 archives, for 'md5sum -c MD5SUMS'",
    ]
    table = manifest(home)
    assert list(table["archive"]) == [name for tile in sorted(TILES[:3]) for name in names(tile)]
    assert list(table["product"][:2]) == ["final_cat", "pipeline_flag"]
    assert str(table["bytes"].unit) == "byte"
    for row in table:
        path = source / row["archive"]
        assert row["uri"] == path.as_uri()
        assert row["bytes"] == path.stat().st_size
        assert row["md5"] == hashlib.md5(path.read_bytes()).hexdigest()
        assert row["date"] == date_of(path.stat().st_mtime_ns)
        assert row["archive"].endswith(f"_{row['tile']}.tgz")
        assert "2020" < row["fetched"] <= row["unpacked"] < time.strftime("%FT%T", time.gmtime(time.time() + 1))
    meta = dict(table.meta)
    assert meta.pop("toolkit").startswith("retrieve ")
    assert began <= meta.pop("written") <= time.strftime("%FT%T", time.gmtime(time.time() + 1))
    assert meta == {
        "containers": [source.as_uri()], "psf_model": "mccd", "tile_lists": "tile_numbers.txt", "tiles": 3,
        "archives": 21, "bytes": size,
    }  # fmt: skip
    # As deterministic as it can be: but for when it was written, a second one is the same.
    first = (home.directory / "manifest.ecsv").read_text()
    home.done("manifest")
    second = (home.directory / "manifest.ecsv").read_text()
    assert [line for line in first.splitlines() if "written" not in line] == [
        line for line in second.splitlines() if "written" not in line
    ]


def test_the_manifest_leaves_out_what_is_not_as_verified_and_keeps_what_was_freed(home: Site, source: Path) -> None:
    damaged, gone = (names(tile)[0] for tile in TILES[:2])
    os.truncate(home.directory / "archives" / damaged, 1)
    (home.directory / "archives" / gone).unlink()
    (home.directory / "stamps/mccd/extracted" / TILES[2]).unlink()
    (home.directory / "manifest.ecsv").write_text("an earlier one")
    result = home.make("manifest", "DRYRUN=yes", "FORMAT=json")
    assert result.stderr == "1 archive left out that is not as it was verified; run 'make download'\n"
    assert f'"left out": [\n    "{damaged}"\n  ]' in result.stdout
    assert (home.directory / "manifest.ecsv").read_text() == "an earlier one"
    assert home.make("manifest").returncode == 0
    table = manifest(home)
    assert len(table) == 19
    assert {damaged, gone}.isdisjoint(table["archive"])
    assert list(table["tile"][table["unpacked"].mask]) == [TILES[2]] * 7
    before = table[~table["unpacked"].mask]
    home.done("download")
    home.done("untar", "KEEP=no")
    assert not home.files("archives")
    (home.directory / "archives" / gone).write_bytes((source / gone).read_bytes())
    home.done("download")
    assert home.json("manifest")["here"] == 1
    assert proved(home) == [f"archives/{gone}: OK"]
    table = manifest(home)
    assert len(table) == 21
    # That its archives were deleted later changes nothing about when the tile was unpacked.
    kept = table[[one in set(before["archive"]) for one in table["archive"]]]
    assert list(kept["unpacked"]) == list(before["unpacked"])


def proved(site: Site) -> list[str]:
    """What `md5sum` says of the sums."""
    result = site.run("md5sum", "--check", "--strict", "MD5SUMS")
    assert (result.returncode, result.stderr) == (0, "")
    return result.stdout.splitlines()


@pytest.mark.parametrize("place", ["archives", "../elsewhere", "{}/here", "a \\\\ b\nc"])
def test_the_sums_can_be_checked_by_md5sum(home: Site, place: str) -> None:
    place = place.format(home.directory)
    (home.directory / "archives").rename(home.directory / place)
    # Make would not let a newline through.
    assert home.run(str(HERE / "bin/retrieve"), "manifest", f"ARCHIVES={place}").returncode == 0
    assert len(proved(home)) == 21
    path = home.directory / place / names(TILES[1])[2]
    os.truncate(path, 10)
    result = home.run("md5sum", "--check", "--quiet", "MD5SUMS")
    assert (result.returncode, result.stdout.count("FAILED"), path.name in result.stdout) == (1, 1, True)
    # The archive that is not as it was verified is left out.
    (home.directory / place).rename(home.directory / "archives")
    assert home.make("manifest").stdout.splitlines()[1] == "MD5SUMS: 20 archives, for 'md5sum -c MD5SUMS'"
    assert len(proved(home)) == 20


def test_there_is_no_manifest_of_nothing(site: Site) -> None:
    result = site.make("manifest")
    assert (result.returncode, result.stderr.splitlines()[0]) == (
        2, "nothing was downloaded yet; run 'make download'"
    )  # fmt: skip


@pytest.mark.soak
def test_the_manifest_of_12621_tiles_takes_less_than_20_seconds(site: Site, memory_disk: Path) -> None:
    site.directory = memory_disk / "run"
    site.directory.mkdir()
    make_done(site.directory, numbers(R))
    site.list_tiles(*numbers(R))
    begin = time.monotonic()
    site.done("manifest")
    assert time.monotonic() - begin < 20
    assert len(manifest(site)) == 7 * R
