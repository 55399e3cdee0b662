"""The record of runs: a line for each, however it ended, with what came of it and nothing secret."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from datetime import UTC, datetime
from pathlib import Path

from retrieve.stamps.runs import read_runs
from retrieve.stamps.stamps import Stamps
from support.endings import DEADLINE, STALLED, stalled_download
from support.site import HERE, TILES, Site, names
from vospace_demo.faults import Fault
from vospace_demo.results import make_archives
from vospace_demo.server import VOSpace


def lines(site: Site, stamps: str = "stamps/mccd") -> list[dict[str, object]]:
    """The record, line by line."""
    return [json.loads(line) for line in (site.directory / stamps / "runs.jsonl").read_text().splitlines()]


def test_each_run_is_recorded_however_it_ends(site: Site, vault: str, space: VOSpace, container: Path) -> None:
    began = datetime.now(UTC)
    site.list_tiles(*TILES)
    (site.directory / "cert.pem").write_text("secret")
    words = (f"INPUT_PATH={vault}", "CERTFILE=cert.pem", "JOBS=4")
    # Not begun: there is nothing to lock yet, or another run has the lock.
    assert site.make("untar").returncode == 2
    with Stamps(site.directory / "stamps", "mccd").lock():
        assert "is in use by" in site.make("avail", *words).stderr
    assert not (site.directory / "stamps/mccd/runs.jsonl").exists()

    assert site.make("avail", *words).returncode == 2
    site.done("avail", words[0])
    site.done("download", "DRYRUN=yes")
    with stalled_download(site, space) as process:
        os.killpg(process.pid, signal.SIGTERM)
        process.communicate(timeout=DEADLINE / 3)
    space.clear_faults()
    refused = names(TILES[2])[1]
    (container / refused).write_bytes(b"no tar archive")
    site.done("avail")
    space.fault(Fault("status", route="files", status=500, node=names(STALLED)[0], count=-1))
    assert site.make("download", "RETRIES=0").returncode == 2
    assert site.make("untar").returncode == 2
    site.done("missing")

    record = lines(site)
    assert [(one["verb"], one["status"]) for one in record] == [
        ("avail", 2), ("avail", 0), ("download", 143), ("avail", 0), ("download", 1), ("untar", 1), ("missing", 0),
    ]  # fmt: skip
    failed, listed, stopped, _, fetched, unpacked, missing = (one["result"] for one in record)
    assert failed["error"].startswith(f"cannot list '{vault}': cannot use certificate 'cert.pem' (")
    assert len(failed["error"]) <= 300
    assert listed["lists"] == [{"name": "tile_numbers.txt", "tiles": 10, "complete": 10}]
    assert 28 <= stopped["fetched"] < 70
    assert stopped["failed"] == {}
    assert list(fetched["failed"]) == [STALLED]
    assert fetched["failed"][STALLED].startswith(f"cannot fetch '{names(STALLED)[0]}': the server answered 500")
    assert stopped["bytes"] + fetched["bytes"] < sum(path.stat().st_size for path in container.iterdir())
    assert unpacked["failed"][TILES[2]].startswith(f"cannot unpack tile '{TILES[2]}': 'archives/{refused}'")
    assert (unpacked["archives"], missing["tiles"]) == (56, 1)
    assert record[-1]["tiles"] == {"available": 10, "incomplete": 0, "downloaded": 9, "extracted": 8}
    assert record[0]["settings"]["JOBS"] == "4"
    assert "JOBS" not in record[-1]["settings"]
    assert not any("CERTFILE" in one["settings"] for one in record)
    assert "secret" not in (site.directory / "stamps/mccd/runs.jsonl").read_text()

    runs = read_runs(Stamps(site.directory / "stamps", "mccd"))
    assert [run.verb for run in runs] == [one["verb"] for one in record]
    assert all(began <= run.begin <= run.end <= datetime.now(UTC) for run in runs)
    assert [run.outcome() for run in runs][2:] == [
        f"stopped; {stopped['fetched']} archives fetched",
        "1 tile new or changed there",
        f"{fetched['fetched']} archives fetched; 1 tile failed",
        "56 archives unpacked; 1 tile failed",
        "1 tile missing",
    ]


def test_a_run_that_cannot_be_recorded_is_as_good_as_it_was(site: Site, tmp_path: Path) -> None:
    make_archives(tmp_path, TILES[0], "mccd")
    site.list_tiles(TILES[0])
    record = site.directory / "stamps/mccd/runs.jsonl"
    record.mkdir(parents=True)
    result = site.make("avail", f"INPUT_PATH={tmp_path}")
    assert (result.returncode, result.stderr) == (
        0, "cannot record this run in 'stamps/mccd/runs.jsonl': is a directory; check the disk\n"
    )  # fmt: skip
    record.rmdir()
    # The disk was full in the middle of a line: that one is lost, those before and after it are not.
    site.done("avail")
    with record.open("a") as file:
        file.write(record.read_text()[:100])
    site.done("missing")
    assert [run.verb for run in read_runs(Stamps(site.directory / "stamps", "mccd"))] == ["avail", "missing"]
    assert len(record.read_text().splitlines()) == 3


def test_what_verify_found_is_recorded_by_tile_and_in_bounds(site: Site, tmp_path: Path) -> None:
    make_archives(tmp_path, TILES[0], "mccd", exposures=1, ccds=30)
    site.list_tiles(TILES[0])
    site.done("avail", f"INPUT_PATH={tmp_path}")
    site.done("download")
    site.done("untar")
    subprocess.run(["rm", "-r", str(site.directory / "output")], check=True)
    site.make("verify", "DRYRUN=yes")
    assert lines(site)[-1]["verb"] == "untar"
    assert site.make("verify").returncode == 2
    run = lines(site)[-1]
    assert (run["verb"], run["status"], list(run["result"]["failed"])) == ("verify", 1, [TILES[0]])
    assert run["result"]["failed"][TILES[0]].startswith("output/")
    assert len(run["result"]["failed"][TILES[0]]) == 300


def test_the_old_commands_record_their_runs_too(site: Site, vault: str) -> None:
    site.list_tiles(TILES[0])
    for command in (("canfar_download_results", "-i", "tile_numbers.txt", "--input_vos", vault), ("untar_results",)):
        result = site.run(str(HERE / "bin" / command[0]), *command[1:])
        assert result.returncode == 0, result.stderr
    assert [one["verb"] for one in lines(site, ".retrieve/mccd")] == ["avail", "download"]
    (run,) = lines(site, ".retrieve/untar/mccd")
    assert (run["verb"], run["result"]["archives"]) == ("untar", 7)
