"""What is in a directory while others write in it, and what is on disk when."""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest

from retrieve.archives import LocalFile
from retrieve.host.disk import make_directory, scan, sync_directory, sync_file, sync_file_system, touch, write_whole
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


@pytest.fixture
def synced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, list[str]]]:
    """What is put on disk from now on, below the directory of the test, and the names that are beside it then."""
    found = []

    def fsync(descriptor: int) -> None:
        path = Path(f"/proc/self/fd/{descriptor}").readlink()
        directory = path if path.is_dir() else path.parent
        found.append((str(path.relative_to(tmp_path)), sorted(one.name for one in directory.iterdir())))

    monkeypatch.setattr(os, "fsync", fsync)
    return found


@pytest.mark.parametrize("content", ["gr\xf6\xdfer \udcff", b"gr\xc3\xb6\xc3\x9fer \xff"])
def test_a_file_that_is_written_whole_is_on_disk_before_it_gets_its_name_and_its_name_afterwards(
    content: str | bytes, tmp_path: Path, synced: list[tuple[str, list[str]]]
) -> None:
    (tmp_path / "report").write_text("an older one")
    write_whole(tmp_path / "report", content)
    assert synced == [(".report", [".report", "report"]), (".", ["report"])]
    assert (tmp_path / "report").read_bytes() == b"gr\xc3\xb6\xc3\x9fer \xff"


def test_a_new_directory_is_on_disk_with_those_above_it(tmp_path: Path, synced: list[tuple[str, list[str]]]) -> None:
    make_directory(tmp_path / "above/below")
    assert synced == [(".", ["above"]), ("above", ["below"])]
    make_directory(tmp_path / "above/below")
    assert len(synced) == 2


def test_a_file_that_is_touched_is_on_disk_with_its_date(tmp_path: Path, synced: list[tuple[str, list[str]]]) -> None:
    path = tmp_path / "file"
    path.touch()
    os.utime(path, (0, 0))
    touch(path)
    assert path.stat().st_mtime > 0
    assert synced == [("file", ["file"])]


def test_what_cannot_be_put_on_disk_by_its_kind_is_passed_over_and_a_failure_is_not() -> None:
    sync_directory(Path("/proc/self"))  # which answers with EINVAL, as some network file systems do
    with pytest.raises(OSError, match="Bad file descriptor"):
        sync_file(1_000_000)  # nobody has opened so many files


@pytest.mark.parametrize(
    ("number", "asked"),
    [
        (0, ["one"]),
        (errno.EINVAL, ["one", "every"]),
        (errno.EIO, ["one"]),
        (None, ["every"]),
    ],
    ids=["synced", "not of this kind", "failed", "not Linux"],
)
def test_a_file_system_that_cannot_be_synced_alone_is_synced_with_every_other(
    number: int | None, asked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = []

    def syncfs(descriptor: int) -> int:
        assert Path(f"/proc/self/fd/{descriptor}").readlink() == tmp_path
        found.append("one")
        ctypes.set_errno(number)
        return -1 if number else 0

    library = SimpleNamespace() if number is None else SimpleNamespace(syncfs=syncfs)
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: library)
    monkeypatch.setattr(os, "sync", lambda: found.append("every"))
    if number == errno.EIO:
        with pytest.raises(OSError, match=f"Input/output error: '{tmp_path}'"):
            sync_file_system(tmp_path)
    else:
        sync_file_system(tmp_path)
    assert found == asked
