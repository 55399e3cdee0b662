"""Unpacking: what comes is what `tar` gives, and `output/` is kept equal to the newest archives."""

from __future__ import annotations

import gzip
import io
import os
import random
import shutil
import signal
import stat
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from retrieve.output.tree import Refused
from retrieve.output.unpack import Limits, unpack
from retrieve.stamps.members import read_members
from retrieve.stamps.stamps import Stamps
from support.endings import wait_until
from support.site import HERE, Site
from support.tar_making import END, MTIME, downloaded, fits, header, member, packed, padded, pax
from vospace_demo.results import make_archives, make_many

NEWER = MTIME + 86_400


def archives_of(place: Path, *tiles: str, **options: object) -> dict[str, bytes]:
    """Archives as ShapePipe makes them, by name."""
    return {path.name: path.read_bytes() for tile in tiles for path in make_archives(place, tile, "mccd", **options)}


def described(root: Path) -> dict[str, tuple[bytes, int]]:
    """Content and mtime in nanoseconds of each file, which must be a regular one, by path."""
    return {
        str(path.relative_to(root)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in root.rglob("*")
        if stat.S_ISREG(path.lstat().st_mode)
    }


FORMS = {"gnu": 9_000_001, "pax": 1001, "ustar": 1001, "v7": 1001, "oldgnu": 1001}


def make_of_form(place: Path, form: str, size: int) -> bytes:
    """What `tar` packs in one of its formats: all kinds of names and dates, and a file of that size."""
    made = place / f"output/run_{form}"
    deep = made / "module_runner/output" if form == "v7" else made / ("a_long_module_name_" * 4) / "output"
    deep.mkdir(parents=True)
    names = {"empty": b"", "one.txt": b"1", "block.txt": b"x" * 512, "more.txt": b"y" * 513, "sound.fits": fits(9000)}
    if form != "v7":
        names |= {"nämé with space.txt": b"text", ("n" * (90 if form == "ustar" else 200)): b"long"}
    for name, content in names.items():
        (deep / name).write_bytes(content)
    (made / "large.bin").write_bytes(random.Random(5).randbytes(size))
    (made / "read-only").write_bytes(b"mode")
    (made / "read-only").chmod(0o400)
    (made / "program").write_bytes(b"mode")
    (made / "program").chmod(0o6755)
    for number, path in enumerate(sorted(made.rglob("*"))):
        os.utime(path, ns=(0, 1_600_000_000_123_456_789 + number * 10**9))
    if form in ("gnu", "pax"):
        os.utime(made / "program", ns=(0, -1_000_000_000))
    if form != "ustar":  # whose link targets are short
        os.link(deep / "one.txt", deep / "two.txt")
    os.link(made / "large.bin", made / "linked.bin")
    subprocess.run(["tar", "czf", "made.tgz", f"--format={form}", "output"], cwd=place, check=True)
    assert sum(path.is_file() for path in made.rglob("*")) == len(names) + 4 + (form != "ustar")
    return (place / "made.tgz").read_bytes()


def test_every_byte_and_mtime_is_what_tar_gives(site: Site, tmp_path: Path) -> None:
    archives = {
        f"logs_10{number}.300.tgz": make_of_form(tmp_path / form, form, size)
        for number, (form, size) in enumerate(FORMS.items())
    }
    downloaded(site, archives)
    site.run("sh", "-c", f"umask 027; make -f '{HERE}/Makefile' untar")
    plain = tmp_path / "plain"
    plain.mkdir()
    for form in FORMS:
        subprocess.run(["tar", "xzf", str(tmp_path / form / "made.tgz"), "-C", str(plain)], check=True)
    assert described(site.directory / "output") == described(plain / "output")
    for path in (site.directory / "output").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o750 if path.is_dir() else 0o640), path


def test_a_member_that_comes_twice_counts_as_it_came_last(site: Site) -> None:
    downloaded(site, {"logs_100.300.tgz": packed(member("output/r/x", b"first"), member("./output//r/./x", b"last"))})
    site.done("untar")
    assert site.files("output") == {"r/x": b"last"}


def test_a_link_to_a_file_of_the_archive_becomes_a_copy(site: Site) -> None:
    blocks = (
        member("output/r/x.fits", fits(100)),
        header("output/r/hard.fits", kind=b"1", target="output/r/x.fits"),
        header("output/r/sub/soft.fits", kind=b"2", target="../x.fits"),
    )
    downloaded(site, {"logs_100.300.tgz": packed(*blocks)})
    site.done("untar")
    found = site.directory / "output/r"
    for path in (found / "hard.fits", found / "sub/soft.fits"):
        assert path.read_bytes() == fits(100)
        assert not path.is_symlink()
        assert path.stat().st_nlink == 1
        assert path.stat().st_mtime == MTIME


def test_several_gzip_streams_and_padding_are_one_archive(site: Site) -> None:
    one, two = member("output/r/x"), member("output/r/y")
    content = gzip.compress(one) + gzip.compress(two + END + bytes(10240)) + bytes(512)
    downloaded(site, {"logs_100.300.tgz": content})
    site.done("untar")
    assert set(site.files("output")) == {"r/x", "r/y"}


def test_memory_does_not_grow_with_the_archive(tmp_path: Path) -> None:
    code = (
        "import resource, sys; from pathlib import Path; from retrieve.output.unpack import unpack; "
        "unpack(Path(sys.argv[1]), Path(sys.argv[2]), 'quick'); "
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    noise = random.Random(1).randbytes(1 << 20)
    needed = []
    for count in (30, 150):
        archive, staging = tmp_path / f"{count}.tgz", tmp_path / f"{count}"
        staging.mkdir()
        with gzip.open(archive, "wb", 0) as file:
            file.write(header("output/large.bin", count << 20))
            file.writelines(noise for _ in range(count))
            file.write(END)
        result = subprocess.run(
            [sys.executable, "-c", code, str(archive), str(staging)],
            env={"PYTHONPATH": str(HERE / "lib")}, text=True, capture_output=True, check=True,
        )  # fmt: skip
        assert (staging / "output/large.bin").stat().st_size == count << 20
        needed.append(int(result.stdout))
    assert needed[1] < needed[0] + 8_000  # kilobytes


def summed(data: bytes) -> bytes:
    """FITS with a table of one column, and with CHECKSUM and DATASUM, made by astropy."""
    import numpy as np
    from astropy.io import fits as astropy_fits

    table = astropy_fits.BinTableHDU(np.rec.fromarrays([np.frombuffer(data, ">i4")], names="A"))
    made = io.BytesIO()
    table.writeto(made, checksum=True)
    return made.getvalue()


def broken_table() -> bytes:
    """A table whose structure is sound, but which lacks columns; without checksums."""
    content = summed(bytes(40)).replace(b"TFIELDS =                    1", b"TFIELDS =                    3")
    for keyword in (b"CHECKSUM= '", b"DATASUM = '"):
        content = content.replace(keyword, b"COMMENT   '")
    return content


def with_flip(content: bytes) -> bytes:
    changed = bytearray(content)
    changed[-2880 + 5] ^= 1
    return bytes(changed)


#: By tile: content of a FITS file, and what the full check says of it.
UNSOUND = {
    "100.300": (with_flip(summed(bytes(range(40)))), "DATASUM of HDU 1 does not agree"),
    "101.300": (
        summed(bytes(range(40))).replace(b"TTYPE1  = 'A       '", b"TTYPE1  = 'B       '"),
        "CHECKSUM of HDU 1",
    ),
    "102.300": (broken_table(), "astropy cannot read it"),
    "103.300": (
        broken_table().replace(b"                    3", b"                    1").replace(b"'J  ", b"'D  "),
        "the columns",
    ),
}


def test_only_the_full_check_reads_checksums_and_data_and_none_trusts_the_md5(site: Site, tmp_path: Path) -> None:
    sound = member("output/r/x.fits", summed(bytes(40)))
    tiles = {
        f"logs_{tile}.tgz": packed(sound, member(f"output/r/{tile}.fits", content))
        for tile, (content, _) in UNSOUND.items()
    }
    downloaded(site, tiles | archives_of(tmp_path, "240.290"))
    result = site.make("untar", "CHECK=full")
    assert result.returncode == 2
    assert "4 of 5 tiles failed" in result.stderr  # what ShapePipe makes is sound
    for tile, (_, reason) in UNSOUND.items():
        assert f"'output/r/{tile}.fits' is damaged: {reason}" in result.stderr
    site.done("untar", "CHECK=quick")
    downloaded(site, {"logs_104.300.tgz": packed(member("output/r/y.fits", b"no FITS"))})
    site.done("untar", "CHECK=none")


def test_an_archive_without_any_file_is_a_warning_with_a_count(site: Site) -> None:
    downloaded(
        site,
        {
            "final_cat_101.300.tgz": packed(member("output/s/final_cat-101-300.fits", fits())),
            "logs_101.300.tgz": packed(header("output/s", kind=b"5")),
        },
    )
    result = site.make("untar")
    assert result.returncode == 0
    assert "'archives/logs_101.300.tgz' holds no file; ask who made it" in result.stderr
    assert "1 archive without the file that it should hold" in result.stdout


def test_an_archive_without_its_file_is_told_as_long_as_it_is_so(site: Site, tmp_path: Path) -> None:
    source = tmp_path / "source"
    make_many(source, ["240.290", "240.291"], "mccd")
    whole = (source / "final_cat_240.290.tgz").read_bytes()
    (source / "final_cat_240.290.tgz").write_bytes(packed(member("output/r/final_cat-240-291.fits", fits())))
    site.list_tiles("240.290", "240.291")
    site.make("sync", f"INPUT_PATH={source}")
    told = "'archives/final_cat_240.290.tgz' holds no 'final_cat-240-290.fits'; ask who made it"
    for _ in range(2):
        # What there is of the tile is in its place all the same; nothing is unpacked again.
        assert (site.directory / "output/r/final_cat-240-291.fits").exists()
        result = site.make("untar")
        assert result.returncode == 2
        assert told in result.stderr
        assert "1 of 1 tile failed" in result.stderr
        assert result.stdout.startswith("0 archives unpacked")
        status = site.done("status")
        assert "1/2 (50.0%) unpacked" in status
        assert "240.290: without its file: final_cat_240.290.tgz" in status
        missing = site.done("missing")
        assert missing.startswith("missing.txt: 1 tile missing\n")
        assert "240.290: without its file: final_cat_240.290.tgz" in missing
    site.done("report")
    assert "without its file: final_cat_240.290.tgz" in (site.directory / "report.html").read_text()
    # Also where it was unpacked before this was told.
    stamp = site.directory / "stamps/mccd/extracted/240.290"
    mtime_ns = (site.directory / "stamps/mccd/downloaded/240.290").stat().st_mtime_ns
    os.utime(stamp, ns=(mtime_ns, mtime_ns))
    (site.directory / "stamps/mccd/runs.jsonl").unlink()
    result = site.make("verify")
    assert result.returncode == 2
    assert "+ final_cat-240-290.fits ('final_cat_240.290.tgz' does not hold it)" in result.stdout
    assert told in site.make("untar").stderr
    # Until another one is at the source.
    (source / "final_cat_240.290.tgz").write_bytes(whole)
    site.done("sync")
    assert "2/2 (100.0%) unpacked" in site.done("status")
    assert not (site.directory / "output/r/final_cat-240-291.fits").exists()
    assert site.done("missing") == "missing.txt: 0 tiles missing\n"


def test_a_newer_archive_leaves_no_file_of_the_older_one(site: Site, tmp_path: Path) -> None:
    from datetime import datetime

    downloaded(site, archives_of(tmp_path, "240.290", run_date=datetime(2021, 8, 5)))
    site.done("untar")
    own = site.directory / "output/run_sp_tile_Ms_2021-08-05_00-00-00/make_cat_runner/mine.txt"
    own.write_text("mine")
    newer = archives_of(tmp_path, "240.290", run_date=datetime(2022, 1, 1))
    downloaded(site, newer, dict.fromkeys(newer, NEWER))
    site.done("untar")
    found = list((site.directory / "output").rglob("final_cat-240-290.fits"))
    assert [path.parts[-4] for path in found] == ["run_sp_tile_Ms_2022-01-01_00-00-00"]
    # What the toolkit did not unpack is never touched; of the rest no directory remains.
    old = [path for path in (site.directory / "output").rglob("*") if "2021-08-05" in str(path)]
    assert [path for path in old if path.is_file()] == [own]
    assert {path.name for path in old if path.is_dir()} == {"run_sp_tile_Ms_2021-08-05_00-00-00", "make_cat_runner"}


def test_a_killed_replacement_leaves_no_file_of_the_older_one(site: Site) -> None:
    """The list says what a run was about to unpack before its first file gets its place."""
    downloaded(site, {"logs_100.300.tgz": packed(member("output/old/x"))})
    site.done("untar")
    stamp = site.directory / "stamps/mccd/extracted/100.300"
    text, mtime_ns = stamp.read_bytes(), stamp.stat().st_mtime_ns
    downloaded(site, {"logs_100.300.tgz": packed(member("output/middle/x"))}, {"logs_100.300.tgz": NEWER})
    site.done("untar")
    # As if the run had been killed before its stamp.
    stamp.write_bytes(text)
    os.utime(stamp, ns=(mtime_ns, mtime_ns))
    downloaded(site, {"logs_100.300.tgz": packed(member("output/new/x"))}, {"logs_100.300.tgz": NEWER + 1})
    site.done("untar")
    assert set(site.files("output")) == {"new/x"}


def test_products_left_out_now_keep_their_files(site: Site) -> None:
    both = {"logs_100.300.tgz": packed(member("output/l/x")), "final_cat_100.300.tgz": packed(
        member("output/f/final_cat-100-300.fits", fits()))}  # fmt: skip
    downloaded(site, both)
    site.done("untar")
    shutil.rmtree(site.directory / "stamps/mccd/downloaded")
    downloaded(site, {"logs_100.300.tgz": packed(member("output/l/y"))}, {"logs_100.300.tgz": NEWER})
    site.done("untar")
    assert set(site.files("output")) == {"l/y", "f/final_cat-100-300.fits"}


def test_of_two_archives_with_the_same_path_the_newer_file_wins(site: Site) -> None:
    """Whichever of them is unpacked first."""
    content = {}
    for older, newer in (("100.300", "101.300"), ("103.300", "102.300")):
        date = b"%011o\0" % NEWER
        own = {tile: member(f"output/{tile}/own.txt") for tile in (older, newer)}
        content[older] = packed(member(f"output/shared/{older}.txt", b"older"), own[older])
        content[newer] = packed(member(f"output/shared/{older}.txt", b"newer one", mtime=date), own[newer])
    shared = {"shared/100.300.txt", "shared/103.300.txt"}
    downloaded(site, {f"logs_{tile}.tgz": content[tile] for tile in ("100.300", "102.300")})
    site.done("untar")
    downloaded(site, {f"logs_{tile}.tgz": content[tile] for tile in ("101.300", "103.300")})
    assert "2 files came from two archives with different content; the newer is there" in site.done("untar")
    assert {site.files("output")[path] for path in shared} == {b"newer one"}
    assert ", 0 of " in site.done("verify")
    # The newer ones are replaced by archives without the path: the older tiles' files have to come back.
    replaced = {f"logs_{tile}.tgz": packed(member(f"output/{tile}/own.txt")) for tile in ("101.300", "102.300")}
    downloaded(site, replaced, dict.fromkeys(replaced, NEWER))
    assert "2 tiles to be unpacked again" in site.make("untar").stderr
    site.done("untar")
    assert {site.files("output")[path] for path in shared} == {b"older"}


def test_of_two_archives_of_a_tile_with_the_same_path_the_newer_file_wins(site: Site) -> None:
    later = member("output/r/x.txt", b"later", mtime=b"%011o\0" % NEWER)
    downloaded(
        site,
        {
            "logs_100.300.tgz": packed(later, member("output/r/same.txt")),
            "setools_stat_100.300.tgz": packed(member("output/r/x.txt", b"earlier"), member("output/r/same.txt")),
        },
    )
    assert "1 file came from two archives" in site.done("untar")
    assert site.files("output")["r/x.txt"] == b"later"
    assert "0 of 2 files bad" in site.done("verify")


def test_removing_what_is_obsolete_spares_the_files_of_another_tile(site: Site) -> None:
    shared = member("output/shared/x.txt")
    downloaded(site, {"logs_100.300.tgz": packed(shared), "logs_101.300.tgz": packed(shared)})
    site.done("untar")
    downloaded(site, {"logs_100.300.tgz": packed(member("output/own/y.txt"))}, {"logs_100.300.tgz": NEWER})
    site.done("untar")
    assert set(site.files("output")) == {"shared/x.txt", "own/y.txt"}
    downloaded(site, {"logs_101.300.tgz": packed(member("output/own/z.txt"))}, {"logs_101.300.tgz": NEWER})
    site.done("untar")
    assert set(site.files("output")) == {"own/y.txt", "own/z.txt"}
    assert not (site.directory / "output/shared").exists()


def test_unpacked_archives_are_freed_and_not_missed(site: Site, tmp_path: Path) -> None:
    source = tmp_path / "source"
    make_many(source, ["240.290", "240.291"], "mccd")
    site.list_tiles("240.290", "240.291")
    assert site.make("avail", f"INPUT_PATH={source}").returncode == 0
    assert site.make("download").returncode == 0
    assert "14 archives deleted" in site.done("untar", "KEEP=no")
    assert list((site.directory / "archives").iterdir()) == []
    output = site.files("output")
    assert site.done("missing") == "missing.txt: 0 tiles missing\n"
    assert "nothing to fetch" in site.done("download")
    assert "nothing to unpack" in site.done("untar", "KEEP=no")
    assert "0 of 0 archives bad, 0 of 14 files bad" in site.done("verify")
    name = "logs_240.291.tgz"
    (source / name).write_bytes(packed(member("output/new.txt")))
    site.make("avail")
    assert "newer at the source" in site.make("missing").stdout
    assert "1 archive fetched" in site.make("download").stdout
    assert [path.name for path in (site.directory / "archives").iterdir()] == [name]
    site.done("untar", "KEEP=no")
    assert site.files("output")["new.txt"] == b"content"
    assert len(site.files("output")) == len(output)
    assert "nothing to fetch" in site.done("download")
    # The stamp of what was unpacked is the only witness: without it the archives are missing again.
    (site.directory / "stamps/mccd/extracted/240.290").unlink()
    assert site.make("missing").stdout.startswith("missing.txt: 1 tile missing\n")
    assert "7 archives fetched" in site.make("download").stdout


def test_archives_unpacked_earlier_are_freed_when_asked(site: Site, tmp_path: Path) -> None:
    downloaded(site, archives_of(tmp_path, "240.290"))
    site.done("untar")
    assert len(list((site.directory / "archives").iterdir())) == 7
    assert "7 archives deleted" in site.done("untar", "KEEP=no")
    assert list((site.directory / "archives").iterdir()) == []


def test_a_tile_that_fails_keeps_its_archives(site: Site) -> None:
    downloaded(site, {"logs_100.300.tgz": packed(member("output/x")), "setools_stat_100.300.tgz": packed(end=b"")})
    assert site.make("untar", "KEEP=no").returncode == 2
    assert len(list((site.directory / "archives").iterdir())) == 2
    assert site.files("output") == {}


def test_a_dry_run_changes_nothing(site: Site, tmp_path: Path) -> None:
    downloaded(site, archives_of(tmp_path, "240.290"))
    before = site.stamps()
    assert "7 archives of 1 tile to unpack: about" in site.done("untar", "DRYRUN=yes")
    assert site.stamps() == before
    assert not (site.directory / "output").exists()


def test_lists_of_members_are_small(site: Site) -> None:
    run = "output/run_sp_tile_Sx_exp_SxSePsf_2021-08-05_11-25-32/setools_runner"
    kinds = ("output/mask/star_selection", "output/stat/star_stat", "output/plot/size_mag", "logs/process")
    downloaded(
        site,
        {
            f"{product}_240.290.tgz": packed(
                *(pax({"path": f"{run}/{kind}-{2079612 + exposure}-{ccd}.txt"}) + header("x")
                  for exposure in range(12) for ccd in range(40))
            )
            for product, kind in zip(("setools_mask", "setools_stat", "setools_plot", "logs"), kinds, strict=True)
        },
    )  # fmt: skip
    site.done("untar")
    found = read_members(Stamps(site.directory / "stamps", "mccd"), "240.290")
    assert sum(len(one.files) for one in found.values()) == 1920
    assert (site.directory / "stamps/mccd/members/240.290.gz").stat().st_size < 16_000
    assert (site.directory / "stamps/mccd/extracted/240.290").stat().st_size < 2_000


@pytest.fixture
def small_disk(site: Site) -> Iterator[Path]:
    """A file system of 3 MB and 300 inodes of its own."""
    if os.geteuid() != 0:
        pytest.skip("needs root: a small tmpfs is mounted")
    place = site.directory / "small"
    place.mkdir()
    options = ["-t", "tmpfs", "-o", "size=3m,nr_inodes=300"]
    if subprocess.run(["mount", *options, "tmpfs", str(place)], capture_output=True).returncode:
        pytest.skip("needs a container with CAP_SYS_ADMIN: a small tmpfs is mounted")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


def many(count: int, files: int, size: int) -> dict[str, bytes]:
    return {
        f"logs_{tile}.300.tgz": packed(
            *(member(f"output/{tile}/{i}.txt", bytes([i % 256]) * size) for i in range(files))
        )
        for tile in range(100, 100 + count)
    }


@pytest.mark.parametrize(("files", "size", "what"), [(10, 100_000, "space"), (100, 10, "inodes")])
def test_a_full_disk_leaves_whole_tiles_only_and_the_next_run_completes(
    files: int, size: int, what: str, site: Site, small_disk: Path
) -> None:
    tiles = downloaded(site, many(6, files, size))
    refused = site.make("untar", "DEST=small")
    assert refused.returncode == 2
    assert f"not enough {what} in 'small/output': about" in refused.stderr
    assert list((small_disk / "output").rglob("*")) == []
    result = site.make("untar", "DEST=small", "FORCE=yes")
    assert result.returncode == 2
    assert "no space left on device" in result.stderr
    assert "Traceback" not in result.stderr
    stamped = {path.name for path in (site.directory / "stamps/mccd/extracted").glob("[0-9]*")}
    assert 0 < len(stamped) < 6
    whole = {f"{tile[:3]}/{i}.txt": bytes([i % 256]) * size for tile in stamped for i in range(files)}
    assert site.files("small/output") == whole
    assert not (small_disk / "output/.unpacking").exists()
    subprocess.run(["mount", "-o", "remount,size=40m,nr_inodes=9000", str(small_disk)], check=True)
    site.done("untar", "DEST=small")
    assert len(site.files("small/output")) == len(tiles) * files


def of_run(run: str, tile: str) -> bytes:
    """An archive with 100 files of a run, and one that each run has."""
    files = [member(f"output/{run}/{tile}/{i}.fits", fits(288 * i)) for i in range(60)]
    return packed(*files, member(f"output/always/{tile}.txt", run.encode() * 1000))


def kill_at_random(site: Site, kills: int) -> None:
    """Unpack with a kill -9 now and then, until it is done; what is in output/ is whole at each time."""
    tiles = [f"24{i}.29{j}" for i in range(5) for j in range(4)]
    old, new = ({f"logs_{tile}.tgz": of_run(name, tile) for tile in tiles} for name in ("old", "new"))
    expected = {name: contents(archives) for name, archives in (("old", old), ("new", new))}
    possible = {path: {each.get(path) for each in expected.values()} for each in expected.values() for path in each}
    chance = random.Random(7)
    done = dates = 0
    while done < kills:
        dates += 1
        archives = (old, new)[dates % 2]
        downloaded(site, archives, dict.fromkeys(archives, MTIME + dates))
        while True:
            process = site.start("untar")
            try:
                process.wait(chance.uniform(0.1, 0.9))
                process.communicate()
                break
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.communicate()
                done += 1
            for path, content in site.files("output").items() if (site.directory / "output").exists() else ():
                assert path.startswith(".unpacking/") or content in possible[path], path
            if done >= kills:
                break
        result = site.make("untar")
        assert result.returncode == 0, result.stderr
        assert site.files("output") == expected[("old", "new")[dates % 2]]
        assert not (site.directory / "output/.unpacking").exists()
    assert "bad, 0 of" in site.done("verify")


def contents(archives: dict[str, bytes]) -> dict[str, bytes]:
    """All files of some archives, by path below output/."""
    found = {}
    for content in archives.values():
        with tarfile.open(fileobj=io.BytesIO(content)) as tar:
            found |= {one.name.removeprefix("output/"): tar.extractfile(one).read() for one in tar if one.isfile()}
    return found


def test_a_kill_at_any_moment_leaves_no_partial_file_and_the_next_run_completes(site: Site) -> None:
    kill_at_random(site, 3)


@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace: apt-get install strace")
def test_a_quota_that_is_used_up_meanwhile_is_met_as_a_full_disk_is(site: Site) -> None:
    tiles = downloaded(site, many(13, 2, 100_000))
    (site.directory / "stamps/mccd/stale-untar").write_text((site.directory / "tile_numbers.txt").read_text())
    staging = site.directory / "output/.unpacking/mccd"
    full = [word for tile in tiles[2:] for word in ("-P", f"{staging}/{tile}/0/output/{tile[:3]}/1.txt")]
    inject = ("-e", "trace=write", "-e", "inject=write:error=EDQUOT")
    run = (str(HERE / "bin/retrieve"), "untar", "JOBS=1")
    result = site.run("strace", "-f", "-qq", "-o", "/dev/null", *full, *inject, *run)
    assert result.returncode == 1
    remedy = "disk quota exceeded; make room in your quota, or name another directory"
    assert result.stderr.splitlines() == [
        *(f"cannot unpack tile '{tile}' into '.': {remedy}" for tile in tiles[2:12]),
        "10 of 13 tiles failed, and 1 was not tried; see above",
    ]
    whole = {f"{tile[:3]}/{i}.txt": bytes([i]) * 100_000 for tile in tiles for i in range(2)}
    assert site.files("output") == {path: whole[path] for path in whole if path[:3] in ("100", "101")}
    assert {path for path in site.stamps() if path.startswith("extracted/1")} == {
        f"extracted/{tile}" for tile in tiles[:2]
    }


@contextmanager
def held(site: Site) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """Unpack some archives, and never get further than where they are to be; give the process, and Python's number."""
    if not shutil.which("strace"):
        pytest.skip("strace has the run wait")
    downloaded(site, many(3, 3, 10))
    (site.directory / "stamps/mccd/stale-untar").write_text((site.directory / "tile_numbers.txt").read_text())
    hold = ("-P", "output/.unpacking", "-e", "trace=?mkdir,?mkdirat", "-e", "inject=?mkdir,?mkdirat:signal=SIGSTOP")
    process = subprocess.Popen(
        ["strace", "-f", "-qq", "-o", "/dev/null", *hold, str(HERE / "bin/retrieve"), "untar"],
        cwd=site.directory, env=site.environment, text=True, stderr=subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    try:
        wait_until((site.directory / "output/.unpacking").exists, process)
        (pid,) = children(process.pid)
        yield process, pid
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def test_the_processes_of_a_killed_run_end_with_it(site: Site) -> None:
    with held(site) as (process, pid):
        workers = children(pid)
        assert workers
        os.kill(pid, signal.SIGKILL)
        # It ends when all that it traces have.
        process.communicate(timeout=60)
        assert not [pid for pid in workers if alive(pid)]
    # The lock went with them.
    site.done("untar")


def children(pid: int) -> list[int]:
    try:
        return [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except FileNotFoundError:
        return []


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_an_interrupted_run_says_how_to_go_on(site: Site) -> None:
    with held(site) as (process, _):
        os.killpg(process.pid, signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode == 130
    assert "run 'make untar' again to go on" in stderr
    assert "Traceback" not in stderr
    assert not (site.directory / "output/.unpacking").exists()
    site.done("untar")


def test_refusals_name_the_member(tmp_path: Path) -> None:
    (tmp_path / "a.tgz").write_bytes(packed(pax({"path": "output/../x"}), header("y"), padded(b"")))
    (tmp_path / "s").mkdir()
    with pytest.raises(Refused, match=r"'output/\.\./x' leads out"):
        unpack(tmp_path / "a.tgz", tmp_path / "s", "quick", Limits())
