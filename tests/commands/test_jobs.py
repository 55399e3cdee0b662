"""Jobs of several tiles: their archives, which are named by the joined tile numbers, are those of each tile."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from support.pages import shown_and_printed
from support.site import HERE, RESULTS, Site, names
from vospace_demo.results import make_archives
from vospace_demo.server import VOSpace

ALONE, FIRST, SECOND = "182.308", "214.242", "283.247"
JOB = f"{SECOND}_{FIRST}"
LISTS = {
    "joined": (ALONE, JOB),
    "each tile": (ALONE, FIRST, SECOND),
    "both": (JOB, ALONE, FIRST),
    "all": (),
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A container with the archives of a tile, and of a job of two others."""
    container = tmp_path / "space" / RESULTS
    for one in (ALONE, JOB):
        make_archives(container, one, "mccd", datetime(2021, 8, 5), 1, 1)
    return container


@pytest.fixture
def jobs(source: Path, tmp_path: Path, site: Site) -> Iterator[VOSpace]:
    """The space that serves them; the run directory is led to it."""
    with VOSpace(tmp_path / "space") as space:
        site.environment |= space.environment() | {"INSECURE": "yes"}
        site.environment["PATH"] = f"{HERE / 'bin'}:{site.environment['PATH']}"
        yield space


def catalogues(site: Site) -> list[str]:
    """Tiles of which there is a catalogue in the output tree."""
    found = (site.directory / "output").rglob("final_cat-*.fits")
    return sorted(path.stem.removeprefix("final_cat-").replace("-", ".") for path in found)


def fetched(space: VOSpace) -> dict[str, int]:
    """How often each archive was fetched."""
    return {name: count for (route, name), count in space.requests().nodes.items() if route == "storage"}


def test_the_page_tells_how_a_job_comes_home(jobs: VOSpace, site: Site) -> None:
    site.list_tiles(ALONE, JOB)
    shown, printed = shown_and_printed("docs/how-to/jobs.md", site)
    assert printed == shown


@pytest.mark.parametrize("kind", LISTS)
def test_the_steps_bring_every_tile_home_and_each_archive_once(kind: str, jobs: VOSpace, site: Site) -> None:
    words = [f"INPUT_PATH=vos:{RESULTS}"]
    if LISTS[kind]:
        site.list_tiles(*LISTS[kind])
    else:
        words.append("TILES=all")
    told = site.done("avail", *words)
    assert "2/2 (100.0%) complete\n1 job of several tiles among them, each counted once\n" in told
    site.done("download")
    assert fetched(jobs) == dict.fromkeys([*names(ALONE), *names(JOB)], 1)
    assert site.done("missing") == "missing.txt: 0 tiles missing\n"
    site.done("untar")
    assert catalogues(site) == [ALONE, FIRST, SECOND]
    assert site.done("status").splitlines()[0].endswith("2/2 (100.0%) unpacked")
    for tile in (FIRST, JOB):
        assert site.done("status", f"TILES={tile}").startswith(f"{JOB}: unpacked\n")
    site.done("report")
    rows = json.loads(re.search(r'"tiles":(\[.*?\]\])', (site.directory / "report.html").read_text())[1])
    assert sorted(row[0] for row in rows) == [ALONE, FIRST, SECOND]
    jobs.forget()
    site.done("sync")
    assert fetched(jobs) == {}
    assert catalogues(site) == [ALONE, FIRST, SECOND]


def test_a_catalogue_that_a_job_lacks_is_told(source: Path, jobs: VOSpace, site: Site) -> None:
    (source / names(SECOND)[0]).unlink(missing_ok=True)
    make_archives(source, SECOND, "mccd", datetime(2021, 8, 6), 1, 1, ["final_cat"])
    (source / names(SECOND)[0]).replace(source / names(JOB)[0])
    site.list_tiles(JOB)
    site.done("avail", f"INPUT_PATH=vos:{RESULTS}")
    site.done("download")
    result = site.make("untar")
    assert result.returncode == 2
    assert f"'archives/{names(JOB)[0]}' holds no 'final_cat-214-242.fits'; ask who made it" in result.stderr


@pytest.mark.parametrize(("day", "comes"), [(4, JOB), (6, SECOND)])
def test_where_a_tile_is_there_twice_the_newer_counts(
    day: int, comes: str, source: Path, jobs: VOSpace, site: Site
) -> None:
    make_archives(source, SECOND, "mccd", datetime(2021, 8, day), 1, 1)
    site.list_tiles(SECOND)
    assert "1/1 (100.0%) complete" in site.done("avail", f"INPUT_PATH=vos:{RESULTS}")
    site.done("download")
    assert fetched(jobs) == dict.fromkeys(names(comes), 1)


def test_a_list_of_jobs_brings_tiles_that_were_run_alone(jobs: VOSpace, source: Path, site: Site) -> None:
    for tile in (FIRST, SECOND):
        make_archives(source, tile, "mccd", datetime(2021, 8, 5), 1, 1)
    for name in names(JOB):
        (source / name).unlink()
    site.list_tiles(JOB)
    site.done("sync", f"INPUT_PATH=vos:{RESULTS}")
    assert catalogues(site) == [FIRST, SECOND]
    assert fetched(jobs) == dict.fromkeys([*names(FIRST), *names(SECOND)], 1)


def test_what_is_missing_is_a_list_again(source: Path, jobs: VOSpace, site: Site) -> None:
    site.list_tiles(ALONE, JOB)
    site.done("avail", f"INPUT_PATH=vos:{RESULTS}")
    site.done("download")
    (site.directory / "archives" / names(JOB)[2]).unlink()
    assert site.done("missing").splitlines()[0] == "missing.txt: 1 tile missing"
    assert (site.directory / "missing.txt").read_text() == f"{JOB}\n"
    jobs.forget()
    site.done("sync", "TILES=missing.txt")
    assert fetched(jobs) == {names(JOB)[2]: 1}


def test_shards_agree_on_who_does_a_job(jobs: VOSpace, site: Site) -> None:
    site.list_tiles(ALONE, FIRST, SECOND)
    site.done("avail", f"INPUT_PATH=vos:{RESULTS}")
    for number in (1, 2, 3):
        site.done("download", f"SHARD={number}/3")
        site.done("untar", f"SHARD={number}/3")
    assert fetched(jobs) == dict.fromkeys([*names(ALONE), *names(JOB)], 1)
    assert catalogues(site) == [ALONE, FIRST, SECOND]


@pytest.mark.parametrize("listed", [(ALONE, JOB), ()])
def test_the_old_commands_take_a_job(listed: tuple[str, ...], jobs: VOSpace, site: Site) -> None:
    site.list_tiles(*listed)
    given = "-i tile_numbers.txt" if listed else ""
    for command, said in (
        (f"canfar_avail_results {given} -p mccd --input_path vos:{RESULTS}", "2/2 (100.0%) complete"),
        (f"canfar_download_results {given} -p mccd --input_vos cosmostat/kilbinger/results", "final_cat: 2 files here"),
        (f"canfar_avail_results {given} --input_path . -p mccd -o missing.txt", "2/2 (100.0%) complete"),
        ("untar_results -p mccd", "final_cat: 2 archives, 2 unpacked, 0 failed"),
    ):
        result = site.run("bash", "-c", command)
        assert result.returncode == 0, result.stderr
        if listed or "avail" not in command:
            assert said in result.stdout
    assert fetched(jobs) == dict.fromkeys([*names(ALONE), *names(JOB)], 1)
    assert catalogues(site) == [ALONE, FIRST, SECOND]
