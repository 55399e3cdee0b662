"""Promise 8: nothing at the source is ever written to, renamed or deleted, also where it is a directory here."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from support.site import RESULTS, TILES, Site, names
from vospace_demo.server import VOSpace


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


@pytest.mark.parametrize("uri", ["arc:{}", "vos://cadc.nrc.ca~arc/{}"])
def test_a_mount_of_the_container_is_the_source_itself(uri: str, site: Site, made: Path, tmp_path: Path) -> None:
    mount = Path(shutil.copytree(made, tmp_path / "arc")) / RESULTS
    where = [f"ARCHIVES={mount}", f"INPUT_PATH={uri.format(RESULTS)}"]
    site.list_tiles(*TILES[:2])
    with VOSpace(tmp_path / "arc") as served:
        site.environment |= served.environment() | {"INSECURE": "yes"}
        before = state(mount)
        site.done("avail", *where)
        site.done("download", *where)
        result = site.make("untar", "KEEP=no", *where)
        assert result.returncode == 0, result.stderr
        assert f"nothing is deleted: '{mount}' holds the source itself; leave out KEEP=no" in result.stderr
        assert state(mount) == before

        # An archive that is not as it was listed stays as it is.
        cut = mount / names(TILES[0])[2]
        os.truncate(cut, 100)
        before = state(mount)
        result = site.make("download", *where)
        assert result.returncode == 2
        assert f"cannot fetch '{cut.name}': it is not as it was listed, and not replaced" in result.stderr
        assert state(mount) == before
