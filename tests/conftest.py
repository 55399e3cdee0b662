"""Fixtures: an embedded VOSpace, and a run directory in which the real Makefile is called."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from retrieve.products import PRODUCTS_OF
from support import watched
from support.site import HERE, RESULTS, TILES, Site, Snapshots, environment
from vospace_demo.results import make_many
from vospace_demo.server import VOSpace

# Tests that a shell started in the background would have what they start ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)
# `make test-again N=20` would tell the makes of the tests of its settings.
for inherited in "MAKEFLAGS", "MAKELEVEL", "MFLAGS":
    os.environ.pop(inherited, None)

watched.watch()


@pytest.fixture(scope="session", autouse=True)
def python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Two Pythons that report what no process may do; here is what is found while fixtures of a whole module are made.

    One is started for each command. The other stands ready for what `bin/retrieve` asks of it: see `support.ready`.
    """
    place = tmp_path_factory.mktemp("bin")
    alone, ready, report, socket = place / "python", place / "ready", place / "breaches", place / "socket"
    alone.write_text(f"""#!/bin/sh\nexec '{sys.executable}' -P '{watched.__file__}' "$@"\n""")
    ready.write_text(f"""#!/bin/sh
case "$PYTHONUTF8 $1 $2" in
    '1 -m retrieve'*) shift; exec '{sys.executable}' -IS '{HERE}/tests/support/ready.py' '{socket}' "$@" ;;
    *) exec '{alone}' "$@" ;;
esac
""")
    for script in alone, ready:
        script.chmod(0o755)
    os.environ |= {watched.PYTHON: str(alone), watched.READY: str(ready), watched.BREACHES: str(report)}
    own = {"PYTHONPATH": f"{HERE}/lib:{HERE}/tests", "HOME": str(place), "OPENBLAS_NUM_THREADS": "1"}
    server = [sys.executable, "-X", "utf8", "-P", "-m", "support.ready", str(socket)]
    with subprocess.Popen(server, env=own, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as started:
        assert started.stdout.readline()
        yield
        started.stdin.close()
    assert not report.exists(), report.read_text()


@pytest.fixture(autouse=True)
def breaches(tmp_path: Path) -> Iterator[Path]:
    """Fail the test in which a process forks beside threads, or asks for anything but this machine."""
    report = tmp_path / "breaches"
    os.environ[watched.BREACHES] = str(report)
    yield report
    assert not report.exists(), report.read_text()


@pytest.fixture(scope="session")
def snapshots(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Snapshots:
    """The snapshots of this session."""
    return Snapshots(tmp_path_factory.mktemp("snapshots"), made)


@pytest.fixture
def site(tmp_path: Path, snapshots: Snapshots, breaches: Path) -> Site:
    """A run directory outside the checkout, and an empty HOME."""
    directory, home = tmp_path / "run", tmp_path / "home"
    directory.mkdir()
    home.mkdir()
    return Site(directory, environment(home), snapshots)


@pytest.fixture(scope="session")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree to be served, with small archives of ten tiles for both PSF models, made once and then copied."""
    root = tmp_path_factory.mktemp("made")
    for psf in PRODUCTS_OF:
        make_many(root / RESULTS, TILES, psf)
    return root


@pytest.fixture
def container(tmp_path: Path, made: Path) -> Path:
    """The container of results of ten tiles, for both PSF models, with small archives."""
    return Path(shutil.copytree(made, tmp_path / "space")) / RESULTS


@pytest.fixture
def space(tmp_path: Path, container: Path) -> Iterator[VOSpace]:
    """The embedded VOSpace that serves `container`."""
    assert container.is_dir()
    with VOSpace(tmp_path / "space") as served:
        yield served


@pytest.fixture(params=["vos", "arc"])
def at(request: pytest.FixtureRequest, site: Site, space: VOSpace) -> str:
    """URI of the container, on both services; the run directory's environment leads there."""
    site.environment |= space.environment() | {"INSECURE": "yes"}
    return f"{request.param}:{RESULTS}"


@pytest.fixture
def vault(site: Site, space: VOSpace) -> str:
    """URI of the container on Vault; the run directory's environment leads there."""
    site.environment |= space.environment() | {"INSECURE": "yes"}
    return f"vos:{RESULTS}"


@pytest.fixture
def memory_disk(tmp_path: Path) -> Iterator[Path]:
    """A directory in memory, where there is one.

    A disk may need ten times as long for a new file as it did a minute ago: ext4 passes over the inodes of files that
    were removed lately, and tests remove hundreds of thousands.
    """
    if not os.access("/dev/shm", os.W_OK):
        yield tmp_path
        return
    with tempfile.TemporaryDirectory(dir="/dev/shm") as directory:
        yield Path(directory)
