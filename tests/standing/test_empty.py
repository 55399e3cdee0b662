"""Archives of 0 bytes at the source, which is what an upload leaves that broke off."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.site import RESULTS, TILES, Site, names
from vospace_demo.server import VOSpace

REASON = "there, but empty (an upload broke off)"
BROKEN, GONE = names(TILES[0])[2:4]


@pytest.mark.parametrize("kind", ["vos", "arc", "directory"])
def test_an_archive_of_0_bytes_is_there_but_empty(kind: str, site: Site, space: VOSpace, container: Path) -> None:
    site.environment |= space.environment() | {"INSECURE": "yes"}
    content = (container / BROKEN).read_bytes()
    (container / BROKEN).write_bytes(b"")
    (container / GONE).unlink()
    site.list_tiles(*TILES[:2])
    at = str(container) if kind == "directory" else f"{kind}:{RESULTS}"
    assert "1/2 (50.0%) complete" in site.done("avail", f"INPUT_PATH={at}")
    why = f"not at the source: {GONE}; {REASON}: {BROKEN}"
    assert f"{TILES[0]}: {why}; not fetched: 5 archives" in site.done("missing")
    # Also where the rest of the tile was fetched.
    site.done("download", "PARTIAL=yes")
    assert not (site.directory / "archives" / BROKEN).exists()
    assert f"{TILES[0]}: {why}\n" in site.done("missing")
    assert site.json("missing")["tiles"][TILES[0]] == {"not at the source": [GONE], REASON: [BROKEN]}
    story = site.done("status", f"TILES={TILES[0]}")
    assert story.startswith(f"{TILES[0]}: incomplete there ({why})\n")
    assert [line.split()[0] for line in story.splitlines() if line.endswith("empty there")] == [BROKEN]
    # The upload is made again.
    (container / BROKEN).write_bytes(content)
    site.done("avail")
    assert f"{TILES[0]}: not at the source: {GONE}; not fetched: {BROKEN}\n" in site.done("missing")


def test_a_tile_that_is_empty_throughout_is_incomplete_there(site: Site, container: Path) -> None:
    for name in names(TILES[0]):
        (container / name).write_bytes(b"")
    site.list_tiles(TILES[0])
    site.done("avail", f"INPUT_PATH={container}")
    assert f"  {REASON}  1\n{TILES[0]}: {REASON}: 7 archives\n" in site.done("missing")
    assert site.json("status")["states"]["incomplete there"] == 1
    assert site.done("download", "PARTIAL=yes") == "nothing to fetch\n"
