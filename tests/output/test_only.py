"""ONLY: some of the files are unpacked, by patterns; the rest later."""

from __future__ import annotations

import io
import json
import os
import tarfile
from pathlib import Path

import pytest

from support.site import TILES, Site
from vospace_demo.results import make_container

Inodes = dict[str, tuple[int, int]]


def inodes(site: Site) -> Inodes:
    """Inode and mtime of each file of the output tree."""
    output = site.directory / "output"
    return {
        str(path.relative_to(output)): (path.stat().st_ino, path.stat().st_mtime_ns)
        for path in output.rglob("*")
        if path.is_file()
    }


@pytest.fixture
def fetched(site: Site, tmp_path: Path) -> Site:
    """A run directory with the archives of two tiles from a directory."""
    make_container(tmp_path / "source", TILES[:2], "mccd")
    site.list_tiles(*TILES[:2])
    site.done("avail", f"INPUT_PATH={tmp_path / 'source'}")
    site.done("download")
    return site


def test_what_matches_is_unpacked_and_the_rest_later_without_touching_it(fetched: Site) -> None:
    forecast = json.loads(fetched.done("untar", "DRYRUN=yes", "FORMAT=json", "ONLY=final_cat-*.fits"))
    whole = json.loads(fetched.done("untar", "DRYRUN=yes", "FORMAT=json"))
    assert forecast["tiles"] == whole["tiles"]
    told = fetched.done("untar", "ONLY=final_cat-*.fits")
    assert told.startswith("14 archives unpacked; 2 tiles with 2 files in 'output'")
    some = inodes(fetched)
    assert {Path(path).name for path in some} == {f"final_cat-{tile.replace('.', '-')}.fits" for tile in TILES[:2]}
    # No directory is made for the others.
    for directory, below, files in os.walk(fetched.directory / "output"):
        assert below or files, directory
    assert forecast["bytes"] < whole["bytes"] / 2
    assert 2 <= forecast["files"] < whole["files"] / 2
    for tile in TILES[:2]:
        stamp = (fetched.directory / "stamps/mccd/extracted" / tile).read_text()
        assert stamp.partition("\n")[0].endswith("\tonly\tfinal_cat-*.fits")

    # It is all that is asked for, and not all that there is.
    assert "2/2 (100.0%) unpacked" in fetched.done("status", "ONLY=final_cat-*.fits")
    assert "0/2 (0.0%) unpacked" in fetched.done("status")
    assert fetched.done("untar", "ONLY=final_cat-*.fits").splitlines() == ["nothing to unpack"]
    assert fetched.done("missing") == "missing.txt: 0 tiles missing\n"
    assert "2 files" in fetched.done("verify", "CHECK=full")
    fetched.done("link", "DEST=.")

    # Other files, beside those.
    fetched.done("untar", "ONLY=run_sp_*/*/logs/* *.log")
    more = inodes(fetched)
    assert some.items() < more.items()
    fetched.done("untar")
    everything = inodes(fetched)
    assert more.items() < everything.items()
    assert "2/2 (100.0%) unpacked" in fetched.done("status")
    assert "only" not in (fetched.directory / "stamps/mccd/extracted" / TILES[0]).read_text()
    assert fetched.done("untar") == "nothing to unpack\n"
    fetched.done("verify", "CHECK=full")


def test_a_newer_archive_takes_the_place_of_what_was_selected_of_it(fetched: Site, tmp_path: Path) -> None:
    fetched.done("untar", "ONLY=final_cat-*.fits")
    before = fetched.files("output")
    path = tmp_path / "source" / f"final_cat_{TILES[0]}.tgz"
    with tarfile.open(path) as tar:
        (member,) = [one for one in tar if one.name.endswith(".fits")]
        content = tar.extractfile(member).read()
    member.name = member.name.replace("run_sp", "run_sp_again")
    with tarfile.open(path, "w:gz") as tar:
        tar.addfile(member, io.BytesIO(content))
    fetched.done("avail", f"INPUT_PATH={tmp_path / 'source'}")
    fetched.done("download")
    fetched.done("untar", "ONLY=final_cat-*.fits")
    after = fetched.files("output")
    assert len(after) == len(before) == 2
    assert [name for name in after if "run_sp_again" in name] == [name for name in after if name not in before]


def test_a_selected_link_brings_the_file_that_it_leads_to(site: Site, tmp_path: Path) -> None:
    (tmp_path / "source").mkdir()
    make_container(tmp_path / "source", TILES[:1], "mccd")
    path = tmp_path / "source" / f"logs_{TILES[0]}.tgz"
    with tarfile.open(path, "w:gz") as tar:
        for name, kind, target in (("x.txt", tarfile.REGTYPE, ""), ("y.log", tarfile.SYMTYPE, "x.txt"),
                                   ("z.log", tarfile.LNKTYPE, "output/r/x.txt")):  # fmt: skip
            member = tarfile.TarInfo(f"output/r/{name}")
            member.type, member.linkname, member.size = kind, target, 0 if target else 4
            tar.addfile(member, io.BytesIO(b"text"))
    site.list_tiles(TILES[0])
    site.done("avail", f"INPUT_PATH={tmp_path / 'source'}")
    site.done("download", "PRODUCTS=logs")
    site.done("untar", "PRODUCTS=logs", "ONLY=*.log")
    assert {Path(name).name: content for name, content in site.files("output").items()} == {
        "y.log": b"text", "z.log": b"text"
    }  # fmt: skip


def test_archives_of_which_something_is_left_out_are_never_deleted(fetched: Site) -> None:
    for dry in ("no", "yes"):
        result = fetched.make("untar", "ONLY=*.fits", "KEEP=no", f"DRYRUN={dry}")
        assert result.returncode == 2
        assert "KEEP=no would delete what ONLY leaves in the archives; leave out one of them\n" in result.stderr
    assert len(fetched.files("archives")) == 14
    # Nor by a later run that is kept from unpacking the rest.
    fetched.done("untar", "ONLY=final_cat-*.fits")
    name = f"final_cat_{TILES[0]}.tgz"
    (fetched.directory / "archives" / name).write_bytes(b"damaged")
    assert fetched.make("untar", "KEEP=no").returncode == 2
    assert len([path for path in fetched.files("archives") if TILES[0] in path]) == 7
    assert not [path for path in fetched.files("archives") if TILES[1] in path]
