"""Where every tile stands: each state, the story of one tile, and that it takes neither network nor lock."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import time
from contextlib import chdir, redirect_stderr, redirect_stdout
from pathlib import Path

import jsonschema

from retrieve import VERSION
from retrieve.archives import date_of
from retrieve.commands import status as status_verb
from retrieve.settings import Settings
from retrieve.stamps.stamps import AVAILABLE, DOWNLOADED, EXTRACTED, INCOMPLETE, Stamp, Stamps
from retrieve.standing.story import tell
from retrieve.standing.survey import STATES
from support.site import HERE, TILES, Site, names
from support.survey import make_done, numbers
from vospace_demo.faults import Fault
from vospace_demo.results import IMAGE_NAMES, make_images
from vospace_demo.server import VOSpace

SCHEMA = json.loads((HERE / "lib/retrieve/standing/status.schema.json").read_text())
#: A run of a shard, in the directory of its stamps, that is killed.
KILLED = """
import os
from pathlib import Path
from retrieve.host.lock import lock
from retrieve.shards import Shard
with lock(Path(), Shard(4, 4)):
    os.kill(os.getpid(), 9)
"""
#: A tile of the list that nobody has.
NOWHERE = "100.200"


def status(site: Site, *words: str) -> dict[str, object]:
    """Ask for the status as JSON, which must be of the form that is documented; in this very process."""
    with chdir(site.directory), redirect_stdout(io.StringIO()) as out, redirect_stderr(io.StringIO()) as problems:
        assert status_verb.main(Settings.parse(["FORMAT=json", *words])) == 0
    assert problems.getvalue() == ""
    data = json.loads(out.getvalue())
    jsonschema.validate(data, SCHEMA)
    return data


def state(site: Site, tile: str) -> tuple[str, str]:
    """Say where a tile stands, and why; without a process for each of many."""
    below = {"STAMPS": "stamps", "ARCHIVES": "archives", "TILES": "tile_numbers.txt"}
    settings = Settings.parse([f"{name}={site.directory / path}" for name, path in below.items()])
    story = tell(tile, settings, Stamps(settings.stamps, "mccd")).data()
    jsonschema.validate({"version": VERSION, **story}, SCHEMA)
    return story["state"], story["why"]


def test_a_tile_is_told_in_each_state_without_the_server(
    site: Site, vault: str, space: VOSpace, container: Path
) -> None:
    unpacked, damaged, newer, broken, refused, here, there, partial = TILES[:8]
    (container / names(partial)[0]).unlink()
    (container / names(broken)[1]).write_bytes(b"no tar archive")
    site.list_tiles(unpacked, damaged, newer, broken, name="first")
    site.list_tiles(here, refused, name="second")
    site.list_tiles(*TILES[:8], NOWHERE)
    assert site.make("sync", f"INPUT_PATH={vault}", "TILES=first").returncode == 2
    space.fault(Fault("status", route="files", status=500, node=names(refused)[2], count=-1))
    site.done("avail", "TILES=second")
    assert site.make("download", "RETRIES=0").returncode == 2
    space.clear_faults()
    os.truncate(site.directory / "archives" / names(damaged)[3], 1)
    (container / names(newer)[4]).write_bytes(b"another one")
    site.done("avail", "TILES=tile_numbers.txt")
    site.environment["VOSPACE_WEBSERVICE"] = "localhost:1"
    space.forget()

    said = {tile: state(site, tile) for tile in (*TILES[:8], NOWHERE)}
    assert said[unpacked] == ("unpacked", "")
    assert said[here] == ("here", "")
    assert said[there] == ("at the source", "not fetched: 7 archives")
    assert said[newer] == ("newer there", f"newer at the source: {names(newer)[4]}")
    assert said[damaged] == ("damaged", f"damaged: {names(damaged)[3]}")
    assert said[broken][0] == said[refused][0] == "failed"
    assert said[broken][1].startswith(f"untar: cannot unpack tile '{broken}': 'archives/{names(broken)[1]}'")
    assert said[refused][1].startswith(f"download: cannot fetch '{names(refused)[2]}': the server answered 500")
    assert said[partial] == ("incomplete there", f"not at the source: {names(partial)[0]}; not fetched: 6 archives")
    assert said[NOWHERE] == ("not seen there", "not at the source: 7 archives")
    assert {one for one, _ in said.values()} == set(STATES)

    overview = status(site)
    assert space.requests().total == 0
    assert overview["states"] == dict(zip(STATES, (1, 1, 1, 1, 1, 2, 1, 1), strict=True))
    assert overview["failed"] == {tile: said[tile][1] for tile in sorted((broken, refused))}
    assert [run["verb"] for run in overview["runs"]] == ["untar", "missing", "download", "avail"]
    products = {one["product"]: one["states"] for one in overview["products"]}
    # Of a tile that failed, the archive that is to blame.
    assert [products[name]["failed"] for name in products] == [0, 1, 1, 0, 0, 0, 0]
    assert products["setools_mask"]["damaged"] == products["setools_stat"]["newer there"] == 1
    assert all(sum(counts.values()) == 9 for counts in products.values())
    there_now = sum(
        path.stat().st_size for tile in TILES[:8] for path in container.iterdir() if path.name in names(tile)
    )
    assert sum(one["bytes"] for one in overview["products"]) == there_now
    assert sum(one["held"] for one in overview["products"]) == sum(map(len, site.files("archives").values()))

    lines = site.done("status").splitlines()
    assert lines[0] == "tile_numbers.txt: 1/9 (11.1%) unpacked"
    assert re.split(r"  +", lines[1].strip()) == [*STATES, "bytes there", "bytes here"]
    assert re.split(r"  +", lines[2].strip())[:9] == ["tiles", *"11111211"]
    assert re.fullmatch(r"  download  20..-..-.. ..:..:..Z +\d+ s  \d+ archives fetched; 1 tile failed", lines[13])
    assert lines[15:] == [
        "2 tiles failed at the last try:", *(f"  {tile}: {said[tile][1]}" for tile in sorted((broken, refused)))
    ]  # fmt: skip


def test_the_story_of_a_tile_goes_from_the_source_to_its_files(home: Site, source: Path) -> None:
    tile = TILES[1]
    story = status(home, f"TILES=CFIS.{tile}.r.fits")
    assert (story["tile"], story["source"], story["files"], story["failure"]) == (tile, str(source), 7, None)
    for archive, name in zip(story["archives"], names(tile), strict=True):
        found = (source / name).stat()
        assert (archive["name"], archive["state"], archive["freed"]) == (name, "unpacked", False)
        assert archive["there"] == {"bytes": found.st_size, "md5": None, "date": date_of(found.st_mtime_ns)}
        assert archive["here"] == {"bytes": found.st_size, "date": date_of(found.st_mtime_ns)}
        assert archive["verified"]["date"] == archive["there"]["date"]
    stamped = (home.directory / "stamps/mccd/extracted" / tile).stat().st_ctime
    assert abs(time.time() - stamped) < 3600
    assert story["verified"] <= story["unpacked"] <= time.strftime("%FT%T.999+00:00", time.gmtime(stamped))
    lines = home.done("status", f"TILES={tile}").splitlines()
    assert lines[0] == f"{tile}: unpacked"
    assert f"at '{source}': 7 of 7 archives" in lines[1]
    assert len(lines) == 2 + 1 + 7 + 2
    assert re.fullmatch(r"unpacked: 20..-..-.. ..:..:..Z, 7 files", lines[-1])

    result = home.make("status", f"TILES={NOWHERE}")
    assert result.returncode == 2
    assert result.stderr.splitlines()[0] == (
        f"nothing is known of tile '{NOWHERE}'; add it to your list of tiles and run 'make avail'"
    )


def test_what_verify_found_counts_as_damaged_until_it_is_mended(home: Site) -> None:
    tile, name = TILES[0], names(TILES[0])[0]
    path = home.directory / "archives" / name
    before = path.stat()
    path.write_bytes(bytes(before.st_size))
    os.utime(path, ns=(before.st_mtime_ns,) * 2)
    assert state(home, tile) == ("unpacked", "")  # as far as a look without reading can tell
    assert home.make("verify").returncode == 2
    assert state(home, tile) == ("damaged", f"verify: archives/{name} (another MD5)")
    story = status(home, f"TILES={tile}")
    assert [archive["state"] for archive in story["archives"]][:2] == ["damaged", "at the source"]
    assert story["failure"]["stands"]
    home.done("download")
    assert state(home, tile) == ("unpacked", "")
    story = status(home, f"TILES={tile}")
    assert (story["failure"]["verb"], story["failure"]["stands"]) == ("verify", False)
    assert "put right since" in home.done("status", f"TILES={tile}")
    next((home.directory / "output").rglob("*240-290*")).unlink()
    assert home.make("verify").returncode == 2
    assert state(home, tile)[0] == "damaged"
    home.done("untar")
    # Lost again, which has nothing to do with what verify found.
    (home.directory / "archives" / name).unlink()
    assert state(home, tile) == ("at the source", f"not fetched: {name}")


def test_freed_archives_are_unpacked_and_files_that_are_no_archives_are_done_when_here(
    home: Site, tmp_path: Path
) -> None:
    home.done("untar", "KEEP=no")
    assert not home.files("archives")
    overview = status(home)
    assert overview["states"]["unpacked"] == 3
    assert [one["held"] for one in overview["products"]] == [0] * 7
    assert all(archive["freed"] for archive in status(home, f"TILES={TILES[0]}")["archives"])
    for tile in TILES[:2]:
        make_images(tmp_path, tile)
    words = (f"INPUT_PATH={tmp_path}", f"PRODUCTS={' '.join(IMAGE_NAMES)}")
    home.done("avail", *words)
    home.make("download")
    assert home.done("status").startswith("tile_numbers.txt: 2/3 (66.7%) here\n")


def test_status_writes_nothing_and_takes_no_lock(home: Site) -> None:
    def everything() -> dict[str, tuple[int, int]]:
        found = home.directory.rglob("*")
        return {str(path): (path.stat().st_mtime_ns, path.stat().st_ctime_ns) for path in found}

    with Stamps(home.directory / "stamps", "mccd").lock():
        before = everything()
        assert home.done("status").startswith("tile_numbers.txt: 3/3 (100.0%) unpacked\n")
        home.done("status", f"TILES={TILES[0]}")
        assert everything() == before


def test_status_says_what_is_missing_for_it(site: Site) -> None:
    result = site.make("status")
    assert (result.returncode, result.stderr.splitlines()[0]) == (2, "nothing was listed yet; run 'make avail'")
    make_done(site.directory, numbers(3))
    site.list_tiles(*numbers(3))
    tile = numbers(3)[1]
    path = site.directory / "stamps/mccd/available" / tile
    path.write_text(path.read_text()[:-3])
    assert state(site, tile) == (
        "damaged", f"a stamp of it is damaged; remove '{path.parent.parent}/*/{tile}' and run 'make sync'"
    )  # fmt: skip
    assert status(site)["states"]["unpacked"] == 2


def record(**values: object) -> str:
    """A line of the record of runs."""
    run = {"verb": "untar", "begin": "2026-11-22T10:00:00.000+00:00", "seconds": 5, "status": 0, "shard": ""}
    return json.dumps(run | {"settings": {}, "tiles": {}, "result": {"archives": 7}} | values) + "\n"


def test_shards_are_counted_since_the_last_run_for_all_tiles(site: Site) -> None:
    make_done(site.directory, numbers(3))
    site.list_tiles(*numbers(3))
    stamps = site.directory / "stamps/mccd"
    (stamps / "runs.jsonl").write_text(record(verb="avail", result={"changed": 3}))
    (stamps / "runs.1-of-4.jsonl").write_text(record(shard="1/4", begin="2026-11-22T11:00:00.000+00:00"))
    # Failed at first, then not; and one of an earlier campaign.
    again = record(shard="2/4", begin="2026-11-22T12:00:00.000+00:00")
    (stamps / "runs.2-of-4.jsonl").write_text(
        record(shard="2/4", status=1, begin="2026-11-22T11:00:00.000+00:00") + again
    )
    (stamps / "runs.3-of-4.jsonl").write_text(record(shard="3/4", status=130, begin="2026-11-22T11:30:00.000+00:00"))
    (stamps / "runs.4-of-4.jsonl").write_text(record(shard="4/4", begin="2026-11-22T09:00:00.000+00:00"))
    assert status(site)["shards"] == {"done": 2, "running": 0, "failed": 1, "not begun": 1}
    assert "shards: 2 done, 1 failed, 1 not begun" in site.done("status")
    shard = Settings.parse(["SHARD=3/4"]).shard
    with Stamps(site.directory / "stamps", "mccd").lock(shard):
        assert "shards: 2 done, 1 running, 1 not begun" in site.done("status")
    # What one verb did does not make up for another; and who was killed has recorded nothing.
    with (stamps / "runs.1-of-4.jsonl").open("a") as file:
        file.write(record(shard="1/4", verb="download", status=1, begin="2026-11-22T10:30:00.000+00:00"))
    assert "shards: 1 done, 2 failed, 1 not begun" in site.done("status")
    subprocess.run([sys.executable, "-c", KILLED], cwd=stamps, env={"PYTHONPATH": str(HERE / "lib")}, check=False)
    assert "shards: 1 done, 3 failed\n" in site.done("status")


def test_only_the_first_failures_are_named(site: Site) -> None:
    make_done(site.directory, numbers(30))
    site.list_tiles(*numbers(30))
    for tile in numbers(30)[:25]:
        (site.directory / "stamps/mccd/extracted" / tile).unlink()
    long = dict.fromkeys(numbers(30)[:25], "x")
    end = time.strftime("%FT%T.000+00:00", time.gmtime(time.time() + 60))
    (site.directory / "stamps/mccd/runs.jsonl").write_text(record(status=1, begin=end, result={"failed": long}))
    lines = site.done("status").splitlines()
    assert lines[-22:][::21] == ["25 tiles failed at the last try:", "  … and 5 more tiles; V=1 shows all"]
    assert site.done("status", "V=1").splitlines()[-1] == f"  {numbers(30)[24]}: untar: x"


def test_a_failure_counts_only_for_the_step_that_is_due(site: Site) -> None:
    tile = numbers(1)[0]
    make_done(site.directory, [tile])
    site.list_tiles(tile)
    stamps = Stamps(site.directory / "stamps", "mccd")
    end = time.strftime("%FT%T.000+00:00", time.gmtime(time.time() + 60))

    def fail(verb: str) -> None:
        (stamps.directory / "runs.jsonl").write_text(
            record(verb=verb, status=1, begin=end, result={"failed": {tile: "x"}})
        )

    fail("untar")
    assert state(site, tile)[0] == "unpacked"
    stamps.remove(EXTRACTED, tile)
    assert state(site, tile) == ("failed", "untar: x")
    fail("download")
    assert state(site, tile) == ("here", "")
    (site.directory / "archives" / names(tile)[0]).unlink()
    assert state(site, tile) == ("failed", "download: x")
    stamp, mtime_ns = stamps.source(tile)
    stamps.remove(AVAILABLE, tile)
    stamps.write(INCOMPLETE, tile, Stamp(stamp.source, stamp.archives[1:], (names(tile)[0],)).text(), mtime_ns + 1)
    assert state(site, tile)[0] == "incomplete there"
    assert status(site, f"TILES={tile}", "PARTIAL=yes")["state"] == "failed"
    # What was written since the failure is another try.
    stamps.write(DOWNLOADED, tile, "# \n", mtime_ns)
    fail_long_ago = record(verb="download", status=1, result={"failed": {tile: "x"}})
    (stamps.directory / "runs.jsonl").write_text(fail_long_ago)
    assert status(site, f"TILES={tile}", "PARTIAL=yes")["state"] == "incomplete there"
