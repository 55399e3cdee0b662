"""Where nothing is complete yet: a crontab must be silent, and goes on when something is."""

from __future__ import annotations

from pathlib import Path

from support.site import TILES, Site, names


def test_sync_where_nothing_is_complete_yet_has_nothing_to_do(site: Site, container: Path) -> None:
    site.list_tiles("300.300", TILES[0])
    late = (container / names(TILES[0])[0]).rename(container / "late")
    words = ("-s", "sync", f"INPUT_PATH={container}")
    for _ in range(2):
        result = site.make(*words)
        assert (result.returncode, result.stderr) == (0, "")
        assert "0/2 (0.0%) complete" in result.stdout
        assert result.stdout.index("nothing to fetch") < result.stdout.index("nothing to unpack")
    assert site.done("untar") == "nothing to unpack\n"
    late.rename(container / names(TILES[0])[0])
    assert "1 tile with" in site.make(*words).stdout


def test_untar_before_any_download_says_what_comes_first(site: Site, container: Path) -> None:
    site.list_tiles(TILES[0])
    for _ in range(2):
        result = site.make("untar")
        assert (result.returncode, result.stdout) == (2, "")
        assert result.stderr.startswith("nothing was downloaded yet; run 'make download'\n")
        site.done("avail", f"INPUT_PATH={container}")
