"""`make watch`: rounds of `sync` until every tile is unpacked, whatever the source, the network and the user do."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from retrieve.campaign.rounds import Rounds, pause
from retrieve.settings import Settings
from retrieve.stamps.runs import read_runs
from retrieve.stamps.stamps import Stamps
from support.listing import lead
from support.pages import documented_keys, keys
from support.site import HERE, RESULTS, TILES, Site, names
from support.watched import READY
from vospace_demo.faults import Fault
from vospace_demo.results import make_many
from vospace_demo.server import VOSpace

#: Seconds after which a test gives up waiting.
DEADLINE = 120.0
#: Seconds between two rounds.
EVERY = 0.5


class Watched:
    """A watch that runs: what it says, and when."""

    def __init__(self, site: Site, process: subprocess.Popen[str], problems: Path) -> None:
        self.site = site
        self.process = process
        self.problems = problems
        self.times: list[float] = []

    def until(self, text: str) -> str:
        """Read its rounds until one tells a text; return that line."""
        for line in self.process.stdout:
            self.times.append(time.monotonic())
            if text in line:
                return line
        raise AssertionError(f"ended without '{text}': {self.problems.read_text()}")

    def until_problem(self, text: str) -> None:
        """Wait until it tells a problem."""
        until(lambda: text in self.problems.read_text())


def until(happened: Callable[[], bool]) -> None:
    """Wait until something happened."""
    end = time.monotonic() + DEADLINE
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.02)


@contextmanager
def watched(site: Site, *words: str) -> Iterator[Watched]:
    """Start a watch in a process group of its own; whatever comes of the test, nothing is left running."""
    problems = site.directory / "problems.log"
    with (
        problems.open("w") as log,
        subprocess.Popen(
            ["make", "-f", str(HERE / "Makefile"), "watch", f"EVERY={EVERY}s", "RETRIES=0", *words],
            cwd=site.directory, env=site.environment, text=True, stdout=subprocess.PIPE, stderr=log,
            start_new_session=True,
        ) as process,
    ):  # fmt: skip
        try:
            yield Watched(site, process, problems)
        finally:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


@pytest.mark.soak
@pytest.mark.short
def test_watch_outlasts_an_expired_certificate_a_busy_source_and_a_network_that_goes_away(
    site: Site, space: VOSpace, container: Path
) -> None:
    """Five tiles: one comes late, one is broken at first, one joins the list late."""
    late, broken = TILES[2:4]
    certificate = Path(site.environment["HOME"]) / ".ssl/cadcproxy.pem"
    site.environment |= space.environment() | {"INSECURE": "yes"}
    site.list_tiles(*TILES[:4])
    space.tree.private = frozenset([RESULTS])
    for name in names(late):
        (container / name).unlink()
    (container / names(broken)[0]).write_bytes(b"no archive at all")
    space.client_certificate(certificate, datetime.now(UTC) - timedelta(days=2))
    with watched(site) as watch:
        watch.until_problem("certificate expired on ")
        asked = space.requests().total
        time.sleep(1.5 * EVERY)
        assert space.requests().total == asked  # its file tells
        space.client_certificate(certificate)
        assert " round 1: 2 of 4 tiles unpacked (+2); 3 complete at the source; " in watch.until("round 1")

        space.fault(Fault("status", route="nodes", status=503, count=-1))
        make_many(container, [late], "mccd")
        watch.until("the source does not answer")
        space.clear_faults()
        space.fault(Fault("cut", route="nodes", at=300, count=-1))
        watch.until("the source gave no listing")
        space.__exit__(None, None, None)
        watch.until("the source does not answer")
        site.list_tiles(*TILES[:5])
        make_many(container, [broken], "mccd")
        again = VOSpace(space.tree.root, space.port, private=[RESULTS])
        again.client_certificate(certificate)
        with again:
            assert " 5 of 5 tiles unpacked (+3); 5 complete at the source; " in watch.until("; all done")
            assert watch.process.wait(DEADLINE) == 0
    pauses = [after - before for before, after in zip(watch.times, watch.times[1:], strict=False)]
    assert min(pauses) >= EVERY
    assert {path.partition("/")[2] for path in site.stamps() if path.startswith("extracted/2")} == set(TILES[:5])

    text = watch.problems.read_text()
    problems = [line for line in text.splitlines() if " to fetch, " not in line and " failed; see above" not in line]
    told = [
        "certificate expired on .*; run 'cadc-get-cert -u USER'; the watch goes on when that is done",
        f"1 tile not complete at the source, waited for: {late}; ",
        f".*{names(broken)[0]}.*",
        "the server answered 503 Service Unavailable",
        "cannot list .* the connection was cut; try again later",
        "the connection was refused",
    ]
    for one in told:
        assert len([line for line in problems if re.search(one, line)]) == 1, text
    assert len(problems) == len(told), text


def test_watch_ends_at_once_where_it_could_never_succeed(site: Site, vault: str, container: Path) -> None:
    site.list_tiles(*TILES)
    (site.directory / "file").touch()
    for words, problem in {
        ("TILES=nowhere.txt",): "cannot read tile list 'nowhere.txt'",
        ("INPUT_PATH=nowhere",): "no directory 'nowhere'",
        ("INPUT_PATH=vos:cfis/nowhere",): "cannot read 'vos:cfis/nowhere': it does not exist; check its name",
        ("ARCHIVES=file/below",): "cannot write in 'file/below': not a directory",
    }.items():
        result = site.run(str(HERE / "bin/retrieve"), "watch", "INSECURE=yes", *words)
        assert (result.returncode, result.stdout) == (2, ""), words
        assert result.stderr.startswith(problem)
        assert len(result.stderr.splitlines()) == 1
    assert {path.name for path in site.directory.iterdir()} == {"tile_numbers.txt", "file"}


@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.soak)])
def test_watch_that_is_stopped_says_where_it_stands(
    number: signal.Signals, site: Site, vault: str, space: VOSpace, container: Path
) -> None:
    site.list_tiles(*TILES[:2])
    space.fault(Fault("stall", node=f"*_{TILES[1]}.tgz", count=-1, at=50, seconds=DEADLINE))
    with watched(site, "JOBS=2") as watch:
        until((site.directory / f"stamps/mccd/downloaded/{TILES[0]}").exists)
        # As a terminal does it, and as a batch system does: to all, and to one process.
        if number == signal.SIGINT:
            os.killpg(watch.process.pid, number)
        else:
            watch.process.terminate()
        assert watch.process.wait(DEADLINE) == -number
        until(lambda: not is_alive(watch.process.pid))
    problems = watch.problems.read_text()
    assert "stopped in round 1: 0 of 2 tiles unpacked; run 'make watch' again to go on\n" in problems
    assert "Traceback" not in problems


def is_alive(group: int) -> bool:
    """Whether a process of a group is left."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


def test_watch_of_files_that_are_not_unpacked_ends_when_they_are_here(site: Site, tmp_path: Path) -> None:
    for tile in TILES[:2]:
        (tmp_path / f"psf_{tile}.txt").write_text(tile)
    result = site.make(
        "-s", "-j2", "watch", "TILES=all", f"INPUT_PATH={tmp_path}", "PRODUCTS=psf_{tile}.txt", "FORMAT=json"
    )
    assert (result.returncode, result.stderr) == (0, "")
    told = json.loads(result.stdout)
    assert keys(told) == documented_keys("watch")
    assert (told["round"], told["tiles"], told["done"], told["fetched"], told["next"]) == (1, 2, 2, 2, None)


@pytest.mark.filterwarnings("ignore::urllib3.exceptions.InsecureRequestWarning")
@pytest.mark.parametrize(("seconds", "passed_over"), [(3600.0, [0, 2]), (0.0, [0, 0])])
def test_tiles_that_are_done_are_passed_over_for_an_hour(
    seconds: float, passed_over: list[int], site: Site, vault: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    site.list_tiles(*TILES[:2], "300.300")
    lead(site, monkeypatch)
    monkeypatch.setenv("PYTHON", os.environ[READY])
    monkeypatch.setattr("retrieve.campaign.rounds.ALL", seconds)
    rounds = Rounds(Settings.parse([f"INPUT_PATH={vault}", "INSECURE=yes", "V=quiet"]))
    for _ in passed_over:
        assert rounds.take().done == 2
    runs = read_runs(Stamps(site.directory / "stamps", "mccd"))
    assert [run.result["done"] for run in runs if run.verb == "avail"] == passed_over


def test_pauses_grow_while_there_is_no_listing_and_are_bounded() -> None:
    assert [pause(600, without) for without in range(7)] == [600, 600, 1200, 2400, 3600, 3600, 3600]
