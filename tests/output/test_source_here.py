"""Promise 8: nothing at the source is ever written to, renamed or deleted, also where it is a directory here."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support.site import TILES, Site, names


def state(directory: Path) -> dict[str, tuple[bytes, int, int]]:
    """Content, mtime and inode of each file."""
    found = {path.name: path for path in directory.iterdir()}
    return {name: (path.read_bytes(), (one := path.stat()).st_mtime_ns, one.st_ino) for name, path in found.items()}


@pytest.mark.parametrize("way", ["itself", "a link to it", "a directory of links to its files"])
def test_nothing_at_the_source_is_deleted_or_replaced_where_it_is_also_the_place_of_the_archives(
    way: str, site: Site, container: Path
) -> None:
    place = site.directory / "here"
    if way == "a directory of links to its files":
        place.mkdir()
        for path in container.iterdir():
            (place / path.name).symlink_to(path)
    elif way == "a link to it":
        place.symlink_to(container)
    where = [f"ARCHIVES={container}", f"INPUT_PATH={container if way == 'itself' else place}"]
    site.list_tiles(*TILES[:3])
    before = state(container)
    site.done("avail", *where)
    site.done("download", *where)
    result = site.make("untar", "KEEP=no", *where)
    assert result.returncode == 0, result.stderr
    assert f"nothing is deleted: '{container}' holds the source itself; leave out KEEP=no" in result.stderr
    assert state(container) == before
    assert "3/3 (100.0%) complete" in site.done("avail", *where)

    cut = container / names(TILES[0])[2]
    os.truncate(cut, 100)
    before = state(container)
    result = site.make("download", *where)
    assert result.returncode == 2
    assert (
        f"cannot fetch '{cut.name}': it is not as it was listed, and not replaced, since ARCHIVES holds"
        in result.stderr
    )
    assert state(container) == before
