"""Whether more fits on a disk, said in the same words whoever asks."""

from __future__ import annotations

from pathlib import Path

import pytest

from retrieve.errors import RetrieveError
from retrieve.host.disk import Room, check_room, room

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
