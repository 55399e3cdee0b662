"""Ends of a download at any moment, announced or not: the run after it finishes what was begun, and no more."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from retrieve.delivery.part import PART
from retrieve.products import archive_name
from retrieve.source.container import CHUNK
from support.site import HERE, RESULTS, Site
from vospace_demo.faults import Fault
from vospace_demo.server import VOSpace

TILES = [f"{x}.290" for x in range(240, 250)]
PRODUCTS = ("final_cat", "pipeline_flag", "logs", "setools_mask", "setools_stat")
#: The byte at which a sender stalls, and what is kept of what came until then: whole chunks.
AT, CAME = 800_000, 800_000 // CHUNK * CHUNK
#: Seconds after which a test gives up waiting for what a process should have done by then.
DEADLINE = 60.0


@pytest.fixture
def container(tmp_path: Path) -> Path:
    """A container of fifty archives of 10 kB to 1.5 MB: sound gzip streams of random bytes."""
    import gzip

    directory = tmp_path / "space" / RESULTS
    directory.mkdir(parents=True)
    rng = random.Random(1)
    for tile in TILES:
        for product in PRODUCTS:
            path = directory / archive_name(product, tile)
            path.write_bytes(gzip.compress(rng.randbytes(rng.choice((10_000, 30_000, 100_000, 1_500_000))), 0))
            os.utime(path, ns=(1_600_000_000_123_000_000, 1_600_000_000_123_000_000))
    return directory


def start(site: Site, *words: str) -> subprocess.Popen[str]:
    """Start `bin/retrieve download`, as Make does when all tiles are stale."""
    (site.directory / "stamps/mccd/stale-download").write_text("\n".join(TILES))
    return subprocess.Popen(
        [str(HERE / "bin/retrieve"), "download", f"PRODUCTS={' '.join(PRODUCTS)}", "INSECURE=yes", *words],
        cwd=site.directory,
        env=site.environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


@contextmanager
def running(site: Site, happened: Callable[[], bool], *words: str) -> Iterator[subprocess.Popen[str]]:
    """Start a download and wait until something happened, or the process ended."""
    process = start(site, *words)
    try:
        end = time.monotonic() + DEADLINE
        while not happened() and process.poll() is None:
            assert time.monotonic() < end, "it did not happen"
            time.sleep(0.001)
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def kill(site: Site, space: VOSpace, rng: random.Random, total: int) -> None:
    """Kill a download when a random number of bytes was sent, or a little later."""
    space.forget()
    threshold, spins = rng.randrange(total), rng.randrange(20)

    def happened() -> bool:
        nonlocal spins
        if space.requests().bytes.total() >= threshold:
            spins -= 1
        return spins < 0

    with running(site, happened, "RATE=20M") as process:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    # What the server had been asked for, it counts until it notices that nobody listens any more.
    end = time.monotonic() + DEADLINE
    while any("process_request" in thread.name for thread in threading.enumerate()):
        assert time.monotonic() < end, "the server did not notice"
        time.sleep(0.001)


def check_crashes(site: Site, space: VOSpace, container: Path, service: str, kills: int, seed: int) -> None:
    """Kill a download again and again, each time from nothing, and let another one finish it."""
    site.environment |= space.environment() | {"INSECURE": "yes"}
    site.list_tiles(*TILES)
    site.done("avail", f"INPUT_PATH={service}:{RESULTS}", f"PRODUCTS={' '.join(PRODUCTS)}")
    source = {path.name: path.read_bytes() for path in container.iterdir()}
    here = site.directory / "archives"
    rng = random.Random(seed)
    undisturbed: dict[str, tuple[int, str]] = {}
    for _ in range(kills):
        shutil.rmtree(here, ignore_errors=True)
        shutil.rmtree(site.directory / "stamps/mccd/downloaded", ignore_errors=True)
        kill(site, space, rng, sum(map(len, source.values())))
        came = {path.name: path.stat().st_size for path in here.iterdir()} if here.exists() else {}
        complete = {name for name in came if not name.endswith(PART)}
        assert all((here / name).read_bytes() == source[name] for name in complete)
        begun = {name.removesuffix(PART).rpartition(".")[0]: size for name, size in came.items() if name.endswith(PART)}
        for path in (site.directory / "stamps/mccd/downloaded").glob("2*"):
            assert {archive_name(product, path.name) for product in PRODUCTS} <= complete

        space.forget()
        process = start(site)
        _, stderr = process.communicate(timeout=DEADLINE)
        assert process.returncode == 0, stderr
        assert {path.name: path.read_bytes() for path in here.iterdir()} == source
        assert {path.stat().st_mtime_ns for path in here.iterdir()} == {1_600_000_000_123_000_000}
        sent = space.requests().bytes
        assert not sent.keys() & complete
        for name in source.keys() - complete:
            resumed = begun.get(name, 0) if service == "vos" else 0
            whole = service == "vos" and begun.get(name) == len(source[name])
            assert sent[name] == (0 if whole else len(source[name]) - resumed)
        undisturbed = undisturbed or site.stamps()
        assert site.stamps() == undisturbed


@pytest.mark.parametrize(
    ("service", "kills"), [pytest.param("vos", 2, marks=[pytest.mark.soak, pytest.mark.short]), ("arc", 1)]
)
def test_kill_9_costs_only_what_was_on_its_way(
    service: str, kills: int, site: Site, space: VOSpace, container: Path
) -> None:
    check_crashes(site, space, container, service, kills, seed=7)


@pytest.mark.soak
@pytest.mark.parametrize("service", ["vos", "arc"])
def test_kill_9_a_hundred_times_costs_only_what_was_on_its_way(
    service: str, site: Site, space: VOSpace, container: Path
) -> None:
    check_crashes(site, space, container, service, kills=50, seed=1)


@pytest.mark.parametrize(("number", "fault"), [(signal.SIGINT, "stall"), (signal.SIGTERM, "status")])
def test_a_stop_is_prompt_and_says_where_it_stands(
    number: signal.Signals, fault: str, site: Site, space: VOSpace, container: Path
) -> None:
    """While it waits for bytes that do not come, or until a server that is busy may be asked again."""
    site.environment |= space.environment() | {"INSECURE": "yes"}
    site.list_tiles(*TILES)
    stuck_tile = sorted(TILES)[2]
    stuck = archive_name("logs", stuck_tile)
    (container / stuck).write_bytes(os.urandom(1_000_000))
    site.done("avail", f"INPUT_PATH=vos:{RESULTS}", f"PRODUCTS={' '.join(PRODUCTS)}")
    space.fault(
        Fault(fault, node=f"*_{stuck_tile}*", route="storage", count=-1, at=AT, seconds=10 * DEADLINE, status=503,
              retry_after=10 * DEADLINE)
    )  # fmt: skip

    def begun() -> Path | None:
        return next((site.directory / "archives").glob(f"{stuck}.*{PART}"), None)

    def happened() -> bool:
        part = begun()
        came = part and part.stat().st_size == CAME
        stamped = len(list((site.directory / "stamps/mccd/downloaded").glob("2*")))
        return stamped == 2 and bool(came or (fault == "status" and space.requests().nodes["storage", stuck]))

    with running(site, happened, "JOBS=5") as process:
        process.send_signal(number)
        process.send_signal(number)
        # Long before the server goes on, or may be asked again.
        stdout, stderr = process.communicate(timeout=DEADLINE)
    assert process.returncode == 128 + number
    assert stdout == ""
    assert "Traceback" not in stderr
    last = stderr.splitlines()[-1]
    assert last.startswith("stopped after 10 archives fetched (")
    assert last.endswith("); run 'make download' again to go on")
    part = begun()
    assert (part.stat().st_size if part else 0) == (CAME if fault == "stall" else 0)
