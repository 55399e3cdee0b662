"""DRYRUN=yes: nothing is written, whatever the verb, and also while another run is under way."""

from __future__ import annotations

import pkgutil
from pathlib import Path

import pytest

from retrieve import commands
from retrieve.__main__ import main
from retrieve.errors import RetrieveError
from retrieve.stamps.stamps import Stamps
from support.making import make_newer, ours
from support.site import TILES, Site, names
from vospace_demo.server import VOSpace

VERBS = [module.name for module in pkgutil.iter_modules(commands.__path__)]
#: Verbs that say at once that they have none, since they would have to write, or never end.
WITHOUT = {"doctor", "watch"}
#: The first line of the others, where one tile is newer at the source, one is to be unpacked, and one is damaged.
SAID = {
    "avail": "tile_numbers.txt: 10/11 (90.9%) complete",
    "sync": "tile_numbers.txt: 10/11 (90.9%) complete",
    "download": "2 archives of 2 tiles to fetch, ",
    "link": "9 links to be in 'output/run_sp_combined/make_catalog_runner/output'",
    "manifest": "manifest.ecsv, to be written: ",
    "map": "map.png, map.pdf, to be written: ",
    "missing": "missing.txt, to be written: 3 tiles missing",
    "report": "report.html, to be written: ",
    "selftest": "ok  toolkit      retrieve ",
    "status": "tile_numbers.txt: ",
    "submit": "sbatch stamps/mccd/jobs/avail.sh",
    "untar": "7 archives of 1 tile to unpack: ",
    "verify": "* archives/",
}


def everything(directory: Path) -> dict[str, tuple[object, ...]]:
    """What is below a directory, with its dates; but for tickets of the lock, whose holder renews them."""
    found = {}
    for path in [directory, *directory.rglob("*")]:
        if not path.name.startswith("lock."):
            status = path.lstat()
            content = path.read_bytes() if path.is_file() else None
            found[str(path)] = (status.st_ino, status.st_mtime_ns, status.st_ctime_ns, content)
    return found


def test_no_verb_writes_anything_also_while_another_run_holds_the_lock(
    site: Site, vault: str, container: Path, space: VOSpace
) -> None:
    site.begin("unpacked", vault)
    site.list_tiles(*TILES, "300.300")
    # Damaged here; newer at the source, one of them listed; to be unpacked.
    (site.directory / "archives" / names(TILES[2])[0]).write_bytes(b"damaged")
    for tile in TILES[4:6]:
        make_newer(container, tile)
    site.done("avail", f"TILES={TILES[4]} 300.300")
    (site.directory / "stamps/mccd/extracted" / TILES[1]).unlink()
    with Stamps(site.directory / "stamps", "mccd").lock():
        before = everything(site.directory)
        for verb in [*VERBS, "sync"]:
            result = site.make(verb, "DRYRUN=yes", "TILES=tile_numbers.txt")
            if verb in WITHOUT:
                assert ours(result) == [f"'{verb}' has no dry run; leave out DRYRUN=yes"]
                assert (result.returncode, result.stdout) == (2, "")
            elif verb == "exposures":
                assert ours(result)[0].startswith("exposures are named by images of tiles; ")
            else:
                assert result.stdout.startswith(SAID[verb]), (verb, result.stdout, result.stderr)
            # The tile whose newer archive was not listed.
            assert (verb in ("avail", "sync")) == ("\n1 tile to be stamped anew\n" in result.stdout)
            assert everything(site.directory) == before, verb


def test_where_nothing_was_listed_there_is_nothing_to_foretell(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(site.directory)
    site.list_tiles(*TILES)
    before = everything(site.directory)
    for verb in sorted({*VERBS} - WITHOUT - {"avail", "selftest"}):
        with pytest.raises(RetrieveError, match=r" yet; run 'make [a-z]+'$"):
            main([verb, "DRYRUN=yes", "GOAL=untar"])
    assert site.make("download", "DRYRUN=yes").returncode == 2
    assert everything(site.directory) == before


def test_a_target_that_is_no_verb_has_no_dry_run(site: Site) -> None:
    for target in ("demo", "test", "settings"):
        result = site.make(target, "DRYRUN=yes")
        assert (result.returncode, result.stdout) == (2, "")
        assert result.stderr.endswith(f"*** '{target}' has no dry run; leave out DRYRUN=yes.  Stop.\n")
