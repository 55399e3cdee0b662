"""Promise 9: no run crashes or waits for ever, however often it is made and whatever else the machine does."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.site import HERE, RESULTS, Site, names
from vospace_demo.results import make_many
from vospace_demo.server import VOSpace

#: 20 tiles of seven archives.
MANY = tuple(f"{x}.{y}" for y in (290, 291) for x in range(240, 250))
#: Seconds that a run may take on a machine that is busy with other work, before it is said to hang.
PATIENCE = 30


@contextmanager
def busy(count: int) -> Iterator[None]:
    """Keep cores busy meanwhile."""
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def endure(site: Site, verb: str, count: int, *words: str) -> None:
    """Run a verb again and again in a process of its own, which must come to its end."""
    with open(site.directory / "log", "w") as log:
        status = subprocess.run(
            [sys.executable, str(HERE / "tests/support/endurance.py"), verb, str(count), *words],
            cwd=site.directory, env=site.environment | {"PYTHONPATH": f"{HERE}/lib"}, stdin=subprocess.DEVNULL,
            stdout=log, stderr=log, timeout=PATIENCE * count,
        ).returncode  # fmt: skip
    assert status == 0, (site.directory / "log").read_text()[-3000:]


@pytest.fixture
def many(site: Site, tmp_path: Path) -> Iterator[Site]:
    """A run directory and a service with the archives of 20 tiles, and a user with a certificate."""
    container = tmp_path / "space" / RESULTS
    container.mkdir(parents=True)
    make_many(container, MANY, "mccd")
    site.list_tiles(*MANY)
    with VOSpace(tmp_path / "space", private=[RESULTS]) as space:
        certificate = space.client_certificate(site.directory.parent / "home/.ssl/cadcproxy.pem")
        site.environment |= space.environment() | {"INSECURE": "yes", "CERTFILE": str(certificate)}
        yield site


def check_downloads(site: Site, service: str, count: int, others: int = 0) -> None:
    """Fetch everything so many times, beside as many other processes that take all the time they get."""
    site.done("avail", f"INPUT_PATH={service}:{RESULTS}")
    words = (f"INPUT_PATH={service}:{RESULTS}", "INSECURE=yes", f"CERTFILE={site.environment['CERTFILE']}", "JOBS=32")
    with busy(others):
        endure(site, "download", count, *words)
    assert set(os.listdir(site.directory / "archives")) == {name for tile in MANY for name in names(tile)}


@pytest.mark.soak
@pytest.mark.short
@pytest.mark.parametrize("service", ["vos", "arc"])
def test_no_run_crashes_or_waits_for_ever_with_a_certificate_and_many_transfers(service: str, many: Site) -> None:
    check_downloads(many, service, 2)


@pytest.mark.soak
@pytest.mark.parametrize("service", ["vos", "arc"])
def test_300_downloads_with_a_certificate_neither_crash_nor_wait_for_ever(service: str, many: Site) -> None:
    check_downloads(many, service, 300, others=2)


def check_processes(site: Site, count: int, others: int = 0) -> None:
    """Unpack and verify everything so many times."""
    site.done("avail", f"INPUT_PATH=vos:{RESULTS}")
    site.done("download")
    with busy(others):
        endure(site, "untar", count)
        endure(site, "verify", count)


@pytest.mark.soak
@pytest.mark.short
def test_no_run_crashes_or_waits_for_ever_that_starts_processes_while_progress_is_told(many: Site) -> None:
    check_processes(many, 4)


@pytest.mark.soak
def test_500_runs_that_start_processes_while_progress_is_told_do_not_wait_for_ever(many: Site) -> None:
    check_processes(many, 500, others=2)
