"""The whole survey in one container: what is written, read, asked for and started does not depend on its size."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from retrieve.stamps.stamps import AVAILABLE, Stamp, Stamps
from support.site import HERE, RESULTS, Site, names
from support.survey import DATE_NS, R, U, cost, make_done, make_tiny, numbers
from vospace_demo.server import VOSpace

MANY = 1_000


@pytest.fixture
def survey(site: Site, tmp_path: Path) -> Iterator[tuple[VOSpace, Path]]:
    """A container of many tiles, and the run directory's environment that leads there."""
    container = tmp_path / "space" / RESULTS
    make_tiny(container, numbers(MANY))
    site.list_tiles(*(f"CFIS.{tile}.r.fits" for tile in numbers(MANY)))
    with VOSpace(tmp_path / "space") as space:
        site.environment |= space.environment() | {"INSECURE": "yes"}
        yield space, container


def traced(site: Site, *words: str, calls: str) -> list[str]:
    """Run `make` and return its successful system calls, and those of the processes that it started."""
    trace = site.directory.parent / "trace"
    result = site.run(
        "strace", "-f", "-qq", "-y", "-o", str(trace), "-e", f"trace={calls}", "-e", "signal=none",
        "make", "-f", str(HERE / "Makefile"), *words,
    )  # fmt: skip
    assert result.returncode == 0, result.stderr
    return [line for line in trace.read_text().splitlines() if not re.search(r"= -1 [A-Z]", line)]


def touched(lines: list[str], directory: Path) -> set[str]:
    """Names of the files below a directory that were opened to be written, renamed, removed or dated."""
    changing = [
        line for line in lines if "O_RDONLY" not in line and "O_DIRECTORY" not in line and "openat2" not in line
    ]
    found = {path for line in changing for path in re.findall(r'"([^"]*)"', line)}
    found |= {path for line in changing for path in re.findall(r"<(/[^>]*)>", line) if "utimensat(" in line}
    below = {os.path.relpath(directory / path, directory) for path in found}
    return {path for path in below if not path.startswith("..") and path != "."}


WRITES = "openat,creat,rename,renameat,renameat2,unlink,unlinkat,utimensat,mkdir,link,symlink"


@pytest.mark.parametrize("service", ["vos", "arc"])
def test_a_listing_with_nothing_new_writes_its_own_record_alone(
    service: str, site: Site, survey: tuple[VOSpace, Path]
) -> None:
    space, container = survey
    input_path = f"INPUT_PATH={service}:{RESULTS}"
    assert f"{MANY}/{MANY} (100.0%) complete" in site.done("avail", input_path, "PAGE=1000")
    before = site.stamps()
    space.forget()
    lines = traced(site, "avail", input_path, "PAGE=1000", calls=WRITES)
    ours = {path for path in touched(lines, site.directory) if path.startswith("stamps") and "/lock" not in path}
    assert ours == {f"stamps/mccd/{name}" for name in ("listing", ".listing", "runs.jsonl")}
    assert not [line for line in lines if "/available/" in line], "a stamp was read"
    assert site.stamps() == before
    # May it be read; then 7,000 nodes: 1,000, and 999 seven times or less; then the last node alone.
    assert space.requests().routes["nodes"] == (1 + 1 + 7 + 1 if service == "vos" else 2)
    name = names(numbers(MANY)[77])[2]
    os.utime(container / name, ns=(DATE_NS * 2,) * 2)
    lines = traced(site, "avail", input_path, calls=WRITES)
    tile = numbers(MANY)[77]
    ours = {path for path in touched(lines, site.directory) if path.startswith("stamps/mccd/available")}
    assert ours == {f"stamps/mccd/available/{tile}", f"stamps/mccd/available/.{tile}"}


def test_a_step_with_nothing_to_do_starts_as_many_processes_for_20_tiles_as_for_500(site: Site, tmp_path: Path) -> None:
    started: dict[str, set[int]] = {}
    for count in (20, 500):
        run = Site(tmp_path / f"run{count}", site.environment)
        run.directory.mkdir()
        make_done(run.directory, numbers(count))
        run.list_tiles(*numbers(count))
        before = run.stamps()
        for step, said in (
            ("download", "nothing to fetch"),
            ("untar", "nothing to unpack"),
            ("missing", "0 tiles missing"),
        ):
            assert said in run.done(step)
            started.setdefault(step, set()).add(len(traced(run, step, calls="execve")))
        assert run.stamps() == before
        assert (run.directory / "missing.txt").read_text() == ""
    assert all(len(counts) == 1 for counts in started.values()), started


def test_what_is_newer_at_the_source_is_missing_also_among_many_that_are_not(site: Site) -> None:
    make_done(site.directory, numbers(30))
    site.list_tiles(*numbers(30))
    tile = numbers(30)[7]
    stamps = Stamps(site.directory / "stamps", "mccd")
    stamp, mtime_ns = stamps.source(tile)
    newer = [replace(one, md5="0" * 32) if one.name == names(tile)[0] else one for one in stamp.archives]
    stamps.write(AVAILABLE, tile, Stamp(stamp.source, tuple(newer)).text(), mtime_ns, mtime_ns)
    text = site.done("missing")
    assert text.splitlines()[-1] == f"{tile}: newer at the source: {names(tile)[0]}"
    assert (site.directory / "missing.txt").read_text() == f"{tile}\n"


@pytest.mark.parametrize("step", ["missing"])
def test_a_step_without_network_starts_in_a_tenth_of_a_second(step: str, site: Site) -> None:
    """In imports: the time of a machine that is busy says nothing."""
    make_done(site.directory, numbers(1))
    site.list_tiles(*numbers(1))
    site.environment["PYTHONPROFILEIMPORTTIME"] = "1"
    imported = {
        line.rpartition("|")[2].strip() for line in site.make(step).stderr.splitlines() if "import time" in line
    }
    assert "retrieve.delivery.plan" in imported
    heavy = {"vos", "astropy", "requests", "lxml", "numpy", "ssl", "asyncio", "tqdm", "isal", "multiprocessing"}
    assert not heavy & {name.partition(".")[0] for name in imported}


def test_every_tile_of_a_large_container_is_found_without_a_list(site: Site, survey: tuple[VOSpace, Path]) -> None:
    assert f"all: {MANY}/{MANY} (100.0%) complete" in site.done("avail", "TILES=all", f"INPUT_PATH=vos:{RESULTS}")
    assert len(site.stamps()) == MANY


@pytest.mark.soak
def test_a_step_with_nothing_to_do_costs_less_than_3_seconds_at_27291_tiles(site: Site, memory_disk: Path) -> None:
    costs: dict[int, dict[str, float]] = {}
    for count in (U // 4, U):
        run = Site(memory_disk / f"run{count}", site.environment)
        run.directory.mkdir()
        make_done(run.directory, numbers(count))
        run.list_tiles(*(f"CFIS.{tile}.u.fits" for tile in numbers(count)))
        costs[count] = {
            step: min(cost(lambda run=run, step=step: run.done(step)) for _ in range(3))
            for step in ("download", "untar", "missing")
        }
    print(costs)
    assert max(costs[U].values()) < 3, costs
    assert all(costs[U][step] < 5 * one for step, one in costs[U // 4].items()), costs


@contextmanager
def served(root: Path) -> Iterator[dict[str, str]]:
    """The embedded VOSpace in a process of its own: its work is not ours. Yields what leads there."""
    server = subprocess.Popen(
        [str(HERE / "bin/vospace-demo"), str(root)], env=os.environ | {"PYTHON": sys.executable},
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        yield {"VOSPACE_WEBSERVICE": server.stdout.readline().strip().partition("=")[2], "INSECURE": "yes"}
    finally:
        server.terminate()
        server.wait()


def measured(site: Site, *command: str) -> tuple[float, int]:
    """Seconds and peak memory in kB of a command."""
    begin = time.monotonic()
    result = site.run(sys.executable, "-c", MEASURE, *command)
    assert result.returncode == 0, result.stderr
    return time.monotonic() - begin, int(result.stderr.splitlines()[-1])


MEASURE = (
    "import resource, subprocess, sys; "
    "status = subprocess.call(sys.argv[1:], stdout=subprocess.DEVNULL); "
    "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr); sys.exit(status)"
)


@pytest.mark.soak
def test_availability_of_12621_tiles_costs_a_fraction_of_vls(site: Site, memory_disk: Path) -> None:
    site.directory = memory_disk / "run"
    site.directory.mkdir()
    make_tiny(memory_disk / "space" / RESULTS, numbers(R))
    site.list_tiles(*(f"CFIS.{tile}.r.fits" for tile in numbers(R)))
    avail = ("make", "-s", "-f", str(HERE / "Makefile"), "avail", f"INPUT_PATH=vos:{RESULTS}")
    with served(memory_disk / "space") as environment:
        site.environment |= environment
        vls = (str(Path(sys.executable).with_name("vls")), "-k", f"vos:{RESULTS}")
        site.run(*vls)  # the server reads all files once
        first, memory = measured(site, *avail)
        again = min(measured(site, *avail)[0] for _ in range(3))
        theirs, their_memory = measured(site, *vls)
        print(f"vls {theirs:.2f} s {their_memory} kB, avail {first:.2f} s {memory} kB, again {again:.2f} s")
        assert theirs > 4 * first, (theirs, first)
        assert theirs > 5 * again, (theirs, again)
        assert their_memory > 8 * memory, (their_memory, memory)
        # The documents are 90 MB: nothing of the size of one may be held.
        assert memory < 150_000
        assert f"all: {R}/{R} (100.0%) complete" in site.done("avail", "TILES=all", f"INPUT_PATH=arc:{RESULTS}")
