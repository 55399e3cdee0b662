"""The whole survey in one container: what is written, read, asked for and started does not depend on its size.

What it costs is measured by `bench_listing.py`.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from retrieve.stamps.stamps import AVAILABLE, Stamp, Stamps
from support.site import HERE, RESULTS, Site, names
from support.survey import DATE_NS, make_done, make_tiny, numbers
from vospace_demo.faults import Fault
from vospace_demo.server import VOSpace

#: Tiles in a container, and nodes to a page of its listing.
MANY, PAGE = 300, 300


needs_strace = pytest.mark.skipif(not shutil.which("strace"), reason="needs strace: apt-get install strace")


def traced(site: Site, *words: str, calls: str) -> list[str]:
    """Run `make` and return its successful system calls, and those of the processes that it started."""
    trace = site.directory.parent / "trace"
    result = site.run(
        "strace", "-f", "--seccomp-bpf", "-qq", "-y", "-o", str(trace), "-e", f"trace={calls}", "-e", "signal=none",
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


@needs_strace
def test_a_listing_with_nothing_new_writes_its_own_record_alone(site: Site, tmp_path: Path) -> None:
    container = tmp_path / "space" / RESULTS
    make_tiny(container, numbers(MANY))
    words = ("avail", f"INPUT_PATH=vos:{RESULTS}", "TILES=all")
    with VOSpace(tmp_path / "space") as space:
        site.environment |= space.environment() | {"INSECURE": "yes"}
        space.fault(Fault("cap", node=RESULTS.rpartition("/")[2], route="nodes", count=-1, at=PAGE))
        assert f"all: {MANY}/{MANY} (100.0%) complete" in site.done(*words)
        before = site.stamps()
        assert len(before) == MANY
        space.forget()
        lines = traced(site, *words, calls=WRITES)
        ours = {path for path in touched(lines, site.directory) if path.startswith("stamps") and "/lock" not in path}
        assert ours == {f"stamps/mccd/{name}" for name in ("listing", ".listing", "runs.jsonl")}
        assert not [line for line in lines if "/available/" in line], "a stamp was read"
        assert site.stamps() == before
        # May it be read; the first page; those that begin with the last node of the one before, the last one for it.
        assert space.requests().routes["nodes"] == 1 + 1 + 7 + 1
        tile = numbers(MANY)[77]
        os.utime(container / names(tile)[2], ns=(DATE_NS * 2,) * 2)
        lines = traced(site, *words, calls=WRITES)
    ours = {path for path in touched(lines, site.directory) if path.startswith("stamps/mccd/available")}
    assert ours == {f"stamps/mccd/available/{tile}", f"stamps/mccd/available/.{tile}"}


@needs_strace
def test_a_step_with_nothing_to_do_starts_as_many_processes_for_20_tiles_as_for_200(site: Site, tmp_path: Path) -> None:
    started: dict[str, set[int]] = {}
    for count in (20, 200):
        run = Site(tmp_path / f"run{count}", site.environment)
        run.directory.mkdir()
        make_done(run.directory, numbers(count))
        run.list_tiles(*numbers(count))
        before = run.stamps()
        for step in ("download", "untar", "missing"):
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
    newer = [one._replace(md5="0" * 32) if one.name == names(tile)[0] else one for one in stamp.archives]
    stamps.write(AVAILABLE, tile, Stamp(stamp.source, tuple(newer)).text(), mtime_ns, mtime_ns)
    text = site.done("missing")
    assert text.splitlines()[-1] == f"{tile}: newer at the source: {names(tile)[0]}"
    assert (site.directory / "missing.txt").read_text() == f"{tile}\n"


#: Starts a verb as `bin/retrieve` does, and writes down what it imports.
IMPORTS = """
import runpy, sys
log = open("imported", "w", buffering=1)
sys.addaudithook(lambda event, words: event == "import" and log.write(f"{words[0]}\\n"))
runpy.run_module("retrieve", run_name="__main__", alter_sys=True)
"""


def test_a_step_without_network_imports_nothing_that_takes_long(site: Site) -> None:
    """Or it would not start in a tenth of a second; the time of a machine that is busy says nothing."""
    make_done(site.directory, numbers(1))
    site.list_tiles(*numbers(1))
    site.environment["PYTHONPATH"] = str(HERE / "lib")
    result = site.run(sys.executable, "-P", "-c", IMPORTS, "missing")
    assert (result.returncode, result.stdout) == (0, "missing.txt: 0 tiles missing\n"), result.stderr
    imported = (site.directory / "imported").read_text().split()
    assert "retrieve.standing.survey" in imported
    assert not [name for name in imported if re.match(r"retrieve\.(source|availability|delivery|output)\b", name)]
    heavy = {"vos", "astropy", "requests", "lxml", "numpy", "ssl", "asyncio", "tqdm", "isal", "multiprocessing"}
    assert not heavy & {name.partition(".")[0] for name in imported}
