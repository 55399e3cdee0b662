"""A run directory with a HOME of its own, in which a test calls the real Makefile as a user does."""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from retrieve.products import PRODUCTS_OF, archive_name

HERE = Path(__file__).resolve().parents[2]
#: Where the container is in the tree that is served: it is also the default of INPUT_PATH.
RESULTS = "cfis/cosmostat/kilbinger/results"
#: What a slow machine may say on stderr when all is well.
PROGRESS = re.compile(r"\d+ archives? of .* to fetch, |(listing|checking|download|untar|verify): ")
TILES = tuple(f"{x}.{y}" for y in (290, 291) for x in (240, 241, 242, 243, 244))


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


def names(tile: str, psf: str = "mccd") -> list[str]:
    """Names of the archives of a tile."""
    return [archive_name(product, tile) for product in PRODUCTS_OF[psf]]
