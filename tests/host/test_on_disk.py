"""What is on disk when: bytes before they get a name, names before there is a stamp for them."""

from __future__ import annotations

import re
import shutil

import pytest

from support.site import HERE, TILES, Site, names

pytestmark = pytest.mark.skipif(not shutil.which("strace"), reason="needs strace: apt-get install strace")

_SYNCED = re.compile(r"(fsync|syncfs)\(\d+<([^>]+)>").search
_NAMED = re.compile(r'(rename|unlink)\w*\((?:.*, )?(?:AT_FDCWD<.*>, )?"([^"]+)"').search
STAMPS = "stamps/mccd"


def order(site: Site, *words: str) -> list[tuple[str, str]]:
    """Run a verb for a tile; give what was synced, named and removed, in order, by paths below the run directory."""
    calls = "trace=fsync,syncfs,rename,renameat,renameat2,unlink,unlinkat"
    (site.directory / STAMPS / f"stale-{words[0]}").write_text(TILES[0])
    command = (str(HERE / "bin/retrieve"), *words, "INSECURE=yes", "JOBS=1", f"TILES={TILES[0]}")
    result = site.run("strace", "-f", "-qq", "-y", "-o", "trace", "-e", "signal=none", "-e", calls, *command)
    assert result.returncode == 0, result.stderr
    lines = (site.directory / "trace").read_text().splitlines()
    found = [match.groups() for line in lines if (match := _SYNCED(line) or _NAMED(line))]
    below = [(what, path.removeprefix(f"{site.directory}/")) for what, path in found]
    return [(what, path) for what, path in below if not re.match(r"/|.*/(stale-|lock|runs|unfinished|placed)", path)]


def test_an_archive_is_on_disk_before_it_gets_its_name_and_all_of_a_tile_before_its_stamp(
    site: Site, vault: str
) -> None:
    site.begin("listed", vault)
    seen = order(site, "download")
    parts = [path for _, path in seen if path.endswith(".part")]  # in whatever order they were fetched
    archives = [part.rpartition(".tgz.")[0] + ".tgz" for part in parts]
    assert sorted(archives) == sorted(f"archives/{name}" for name in names(TILES[0]))
    assert seen == [
        *(
            step
            for part, archive in zip(parts, archives, strict=True)
            for step in (("fsync", part), ("rename", archive))
        ),
        ("fsync", "archives"),
        ("fsync", STAMPS),  # in which there is a directory for the state now
        ("fsync", f"{STAMPS}/downloaded/.{TILES[0]}"),
        ("rename", f"{STAMPS}/downloaded/{TILES[0]}"),
        ("fsync", f"{STAMPS}/downloaded"),
    ]


def test_what_was_unpacked_is_on_disk_before_it_is_listed_and_placed_and_the_stamp_before_an_archive_goes(
    site: Site, vault: str
) -> None:
    site.begin("downloaded", vault)
    seen = order(site, "untar", "KEEP=no")
    # What has a place in the output tree is named relative to its directory; staging directories go meanwhile.
    steps = [(what, path if "/" in path else "its place") for what, path in seen if "/" in path or what == "rename"]
    assert [step for number, step in enumerate(steps) if step != steps[number - 1]] == [
        ("syncfs", STAMPS),
        ("rename", f"{STAMPS}/members/{TILES[0]}.gz"),
        ("fsync", f"{STAMPS}/members"),
        ("rename", "its place"),
        ("fsync", STAMPS),
        ("syncfs", STAMPS),
        ("rename", f"{STAMPS}/extracted/{TILES[0]}"),
        ("fsync", f"{STAMPS}/extracted"),
        *(("unlink", f"archives/{name}") for name in names(TILES[0])),
    ]
