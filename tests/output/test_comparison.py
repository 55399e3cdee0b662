"""Comparing: archives here against those of another place, told by a directory, a manifest or a list of MD5s."""

from __future__ import annotations

import json
import os
import shutil
from contextlib import chdir
from pathlib import Path

import pytest

from retrieve.commands import verify
from retrieve.errors import RetrieveError
from retrieve.settings import Settings
from support.site import HERE, TILES, Site, environment, names
from vospace_demo.results import make_many

#: What may tell of the other place, and whether it tells the length of an archive.
KINDS = {"manifest.ecsv": True, "MD5SUMS": False, "archives": True}
#: Archives of which the copy is bad.
GONE, CUT, FLIPPED, SILENT = names(TILES[0])[:4]


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory with the archives of two tiles and the lists of them."""
    home = tmp_path_factory.mktemp("home")
    make_many(home / "source", TILES[:2], "mccd")
    site = Site(home / "run", environment(home))
    site.directory.mkdir()
    site.list_tiles(*TILES[:2])
    site.done("avail", "INPUT_PATH=../source")
    site.done("download")
    site.done("manifest")
    return site.directory


@pytest.fixture
def copied(site: Site, kept: Path) -> Site:
    """A machine with the lists, the archives and a copy of these; it has neither stamps nor a list of tiles."""
    shutil.copytree(kept, site.directory, dirs_exist_ok=True, ignore=shutil.ignore_patterns("stamps", "tile_*"))
    shutil.copytree(site.directory / "archives", site.directory / "copy")
    return site


@pytest.mark.parametrize("against", KINDS)
def test_a_copy_is_proved(against: str, copied: Site) -> None:
    for name in ("begun.tgz.0.part", ".hidden", "MD5SUMS", "manifest.ecsv"):
        (copied.directory / "copy" / name).write_text("no archive")
    words = ("verify", "ARCHIVES=copy", f"AGAINST={against}")
    every = sorted(name for tile in TILES[:2] for name in names(tile))
    told = f"14 archives compared with '{against}': 14 the same\n"
    assert copied.done(*words, "V=1") == "".join(f"= copy/{name}\n" for name in every) + told


@pytest.mark.parametrize("against", KINDS)
def test_each_difference_of_two_places_has_its_line(against: str, copied: Site) -> None:
    copy = copied.directory / "copy"
    (copy / GONE).unlink()
    length = (copy / CUT).stat().st_size
    os.truncate(copy / CUT, length - 1)
    content = (copy / FLIPPED).read_bytes()
    (copy / FLIPPED).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    (copy / "mine.tgz").touch()
    before = copied.files(".")
    result = copied.make("verify", "ARCHIVES=copy", f"AGAINST={against}")
    assert result.returncode == 2
    *lines, last = result.stdout.splitlines()
    expected = [
        f"* copy/{CUT} ({f'{length - 1} bytes rather than {length}' if KINDS[against] else 'another MD5'})",
        f"* copy/{FLIPPED} (another MD5)",
        f"+ copy/{GONE} (it is not here)",
        "- copy/mine.tgz (it is only here)",
    ]
    assert sorted(lines) == sorted(expected)
    assert last == f"15 archives compared with '{against}': 11 the same, 1 not here, 1 only here, 2 other"
    assert result.stderr.startswith(f"'copy' and '{against}' differ in 4 archives; copy what differs again\n")
    assert copied.files(".") == before


def test_an_archive_that_cannot_be_read_is_told_and_the_others_are_compared(copied: Site) -> None:
    """In a dry run as well, since nothing is changed."""
    path = copied.directory / "copy" / SILENT
    path.unlink()
    path.symlink_to("/proc/self/mem")  # a regular file that answers with an error, to root as well
    words = ("verify", "ARCHIVES=copy", "AGAINST=MD5SUMS", "DRYRUN=yes", "FORMAT=json")
    result = copied.run(str(HERE / "bin/retrieve"), *words)
    assert result.returncode == 1
    found = json.loads(result.stdout)
    assert found["findings"] == [{"sign": "!", "path": f"copy/{SILENT}", "why": "input/output error"}]
    assert (found["archives"], found["same"], found["against"]) == (14, 13, "MD5SUMS")


def test_lists_of_other_tools_count_by_the_names_of_the_files(copied: Site) -> None:
    for command in ("md5sum *.tgz", "md5sum --tag ./*.tgz", "find .. -path '*copy/*.tgz' -exec md5sum {} +"):
        copied.run("sh", "-c", f"cd copy && {command} >sums.txt")
        told = copied.done("verify", "ARCHIVES=copy", "AGAINST=copy/sums.txt")
        assert told == "14 archives compared with 'copy/sums.txt': 14 the same\n", command


def refused(site: Site, *words: str) -> str:
    """Compare in this very process what must be refused before anything is read; return the line."""
    with chdir(site.directory), pytest.raises(RetrieveError) as caught:
        verify.main(Settings.parse(words))
    assert len(str(caught.value).splitlines()) == 1
    return str(caught.value)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (None, "no such file or directory"),
        ("", "it names no file"),
        ("no sum", "its line 1 is none of md5sum"),
        (f"{'0' * 32}  a/x.tgz\n{'1' * 32}  b/x.tgz\n", "it names 'x.tgz' twice, with another MD5"),
        (
            "# %ECSV 1.0\n# ---\n# datatype:\n# - {name: bytes, datatype: int64}\nbytes\n1\n",
            "it is no whole manifest",
        ),
    ],
)
def test_a_list_that_cannot_be_used_is_refused(text: str | None, problem: str, site: Site) -> None:
    (site.directory / "archives").mkdir()
    if text is not None:
        (site.directory / "list").write_text(text)
    remedy = "give AGAINST a manifest, an MD5SUMS or a directory"
    assert refused(site, "AGAINST=list") == f"cannot read 'list': {problem}; {remedy}"


def test_a_manifest_that_was_cut_is_no_proof(copied: Site) -> None:
    path = copied.directory / "manifest.ecsv"
    text = path.read_text()
    for cut, problem in (
        (text[:-200], "is no whole manifest"),
        (text[:-1].rpartition("\n")[0], "has 13 of its 14 lines"),
    ):
        path.write_text(cut)
        assert refused(copied, f"AGAINST={path.name}").startswith(f"cannot read 'manifest.ecsv': it {problem}; ")


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (("AGAINST=copy/../archives",), "bad value AGAINST='copy/../archives'; give another directory than ARCHIVES"),
        (("ARCHIVES=nowhere", "AGAINST=copy"), "there is no directory 'nowhere'; give ARCHIVES the one to compare"),
        (("AGAINST=copy",), "no archives in 'archives' nor in 'copy'; give ARCHIVES and AGAINST other places"),
    ],
)
def test_places_that_prove_nothing_are_refused(words: tuple[str, ...], problem: str, site: Site) -> None:
    for name in ("archives", "copy"):
        (site.directory / name).mkdir()
    assert refused(site, *words) == problem


def test_shards_share_the_archives_among_them_and_a_sample_is_a_part_of_them(copied: Site) -> None:
    shares = [
        copied.done("verify", "ARCHIVES=copy", "AGAINST=MD5SUMS", f"SHARD={i}/2", "V=1").splitlines()[:-1]
        for i in (1, 2)
    ]
    assert all(shares)
    assert sorted(line for share in shares for line in share) == [
        f"= copy/{name}" for name in sorted(os.listdir(copied.directory / "copy"))
    ]
    assert copied.done("verify", "ARCHIVES=copy", "AGAINST=MD5SUMS", "SAMPLE=50%").startswith("7 archives compared")
