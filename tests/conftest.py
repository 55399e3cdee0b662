"""Fixtures: an embedded VOSpace, and a run directory in which the real Makefile is called."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from retrieve.products import PRODUCTS_OF, archive_name
from vospace_demo.results import make_many
from vospace_demo.server import VOSpace

HERE = Path(__file__).resolve().parent.parent
#: Where the container is in the tree that is served: it is also the default of INPUT_PATH.
RESULTS = "cfis/cosmostat/kilbinger/results"
#: What a slow machine may say on stderr when all is well.
PROGRESS = re.compile(r"\d+ archives? of .* to fetch, |(listing|checking|download|untar|verify): ")
TILES = tuple(f"{x}.{y}" for y in (290, 291) for x in (240, 241, 242, 243, 244))

# Tests that a shell started in the background would have what they start ignore Ctrl-C.
signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass
class Site:
    """A run directory with a HOME of its own, and what a user does in it."""

    directory: Path
    environment: dict[str, str] = field(default_factory=dict)

    def make(self, *words: str, **options: object) -> subprocess.CompletedProcess[str]:
        """Run `make` and return what came of it, whatever did."""
        return self.run("make", "-f", str(HERE / "Makefile"), *words, **options)

    def done(self, *words: str) -> str:
        """Run `make`, which must succeed and complain about nothing; return its standard output."""
        result = self.make(*words)
        assert result.returncode == 0, result.stdout + result.stderr
        assert not [line for line in result.stderr.splitlines() if not PROGRESS.match(line)], result.stderr
        return result.stdout

    def json(self, *words: str) -> dict[str, object]:
        """Run `make` with FORMAT=json and return the result."""
        return json.loads(self.make(*words, "FORMAT=json").stdout)

    def run(self, *command: str, **options: object) -> subprocess.CompletedProcess[str]:
        """Run a command in the run directory."""
        return subprocess.run(
            command, cwd=self.directory, env=self.environment, text=True, capture_output=True, timeout=120, **options
        )

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Start `make` in a process group of its own, as a shell does, and do not wait."""
        return subprocess.Popen(
            ["make", "-f", str(HERE / "Makefile"), *words],
            cwd=self.directory,
            env=self.environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
        )

    def list_tiles(self, *tiles: str, name: str = "tile_numbers.txt") -> None:
        """Write a list file."""
        (self.directory / name).write_text("".join(f"{tile}\n" for tile in tiles))

    def stamps(self, model: str = "mccd") -> dict[str, tuple[int, str]]:
        """All stamps of a model: mtime in nanoseconds and text by ``state/tile``."""
        root = self.directory / "stamps" / model
        return {
            str(path.relative_to(root)): (path.stat().st_mtime_ns, path.read_text())
            for path in root.glob("*/*")
            if path.is_file() and path.suffix != ".gz"  # the lists of members are packed
        }

    def files(self, below: str) -> dict[str, bytes]:
        """Content of all files below a directory, by their path in it."""
        root = self.directory / below
        return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def site(tmp_path: Path) -> Site:
    """A run directory outside the checkout, and an empty HOME."""
    directory, home = tmp_path / "run", tmp_path / "home"
    directory.mkdir()
    home.mkdir()
    path = os.environ["PATH"]
    return Site(directory, {"PATH": path, "HOME": str(home), "PYTHON": sys.executable, "LC_ALL": "C.UTF-8"})


@pytest.fixture
def container(tmp_path: Path) -> Path:
    """The container of results of ten tiles, for both PSF models, with small archives."""
    directory = tmp_path / "space" / RESULTS
    directory.mkdir(parents=True)
    for psf in PRODUCTS_OF:
        make_many(directory, TILES, psf)
    return directory


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


def names(tile: str, psf: str = "mccd") -> list[str]:
    """Names of the archives of a tile."""
    return [archive_name(product, tile) for product in PRODUCTS_OF[psf]]
