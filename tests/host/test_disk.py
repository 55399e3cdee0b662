"""What is in a directory while others write in it; whether more fits on a disk, in the same words whoever asks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from retrieve.archives import LocalFile
from retrieve.errors import RetrieveError
from retrieve.host.disk import Room, check_room, room, scan
from retrieve.source.container import Wanted
from retrieve.source.directory import Directory

#: A file system that makes inodes as they are needed, and so reports none; nothing can be written in it.
PROC = Path("/proc")


def test_what_fits_is_not_told(tmp_path: Path) -> None:
    free = room(tmp_path)
    assert free.bytes > 0
    check_room(0, 0, tmp_path, "DEST")
    check_room(free.bytes // 2, 1, tmp_path, "DEST")


@pytest.mark.skipif(not PROC.is_dir(), reason="there is no /proc")
def test_inodes_count_only_where_there_is_a_number_of_them() -> None:
    assert room(PROC) == Room(0, None)
    check_room(0, 10**12, PROC, "DEST")
    with pytest.raises(RetrieveError, match="not enough space in '/proc': 1 B are needed and 0 B are free; make room"):
        check_room(1, 0, PROC, "DEST")


@pytest.mark.parametrize(("bytes_", "files"), [(10**18, 0), (0, 10**15)])
def test_what_does_not_fit_is_told_with_the_figures_and_the_setting(bytes_: int, files: int, tmp_path: Path) -> None:
    if files and room(tmp_path).inodes is None:
        pytest.skip("this disk makes inodes as they are needed")
    what, remedy = ("inodes", "remove files") if files else ("space", "make room")
    with pytest.raises(RetrieveError) as caught:
        check_room(bytes_, files, tmp_path, "ARCHIVES", "about ")
    text = str(caught.value)
    assert text.startswith(f"not enough {what} in '{tmp_path}': about ")
    assert text.endswith(f" are free; {remedy}, give ARCHIVES another directory, or FORCE=yes")


def losing_one(directory: Path) -> Callable[[str], bool]:
    """Write files a, b and c; return what another run does meanwhile: it removes b when its name was read."""
    for name in "abc":
        (directory / name).write_bytes(b"1")

    def wanted(name: str) -> bool:
        if name == "b":
            (directory / name).unlink()
        return True

    return wanted


def test_a_file_that_another_run_removes_meanwhile_takes_no_other_with_it(tmp_path: Path) -> None:
    assert scan(tmp_path, losing_one(tmp_path)) == {
        name: LocalFile(1, (tmp_path / name).stat().st_mtime_ns) for name in "ac"
    }


def test_what_is_no_directory_holds_no_file(tmp_path: Path) -> None:
    (tmp_path / "inside").mkdir()
    (tmp_path / "file").touch()
    assert scan(tmp_path / "none", str) == scan(tmp_path / "file", str) == scan(tmp_path / "inside", str) == {}


def test_a_file_that_is_gone_when_a_source_looks_at_it_is_told_and_the_others_are_listed(tmp_path: Path) -> None:
    listing = Directory(tmp_path).list(Wanted(losing_one(tmp_path)), lambda _: None)
    assert (listing.archives.keys(), listing.dangling) == ({"a", "c"}, {"b": "it leads to no file"})
