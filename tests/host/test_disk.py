"""What is in a directory while others write in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from retrieve.archives import LocalFile
from retrieve.host.disk import scan
from retrieve.source.container import Wanted
from retrieve.source.directory import Directory


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
