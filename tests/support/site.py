"""A run directory with a HOME of its own, in which a test calls the real Makefile as a user does."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

from retrieve.products import PRODUCTS_OF, archive_name
from support import watched
from vospace_demo.server import VOSpace

HERE = Path(__file__).resolve().parents[2]
#: Where the container is in the tree that is served: it is also the default of INPUT_PATH.
RESULTS = "cfis/cosmostat/kilbinger/results"
#: What a slow machine may say on stderr when all is well.
PROGRESS = re.compile(r"\d+ archives? of .* to fetch, |(listing|checking|download|untar|verify): ")
TILES = tuple(f"{x}.{y}" for y in (290, 291) for x in (240, 241, 242, 243, 244))
#: The state that each step leaves, and the state that it takes up.
STEPS = {"listed": ("avail", ""), "downloaded": ("download", "listed"), "unpacked": ("untar", "downloaded")}


@dataclass
class Site:
    """A run directory with a HOME of its own, and what a user does in it."""

    directory: Path
    environment: dict[str, str] = field(default_factory=dict)
    snapshots: Snapshots | None = field(default=None, repr=False)

    def begin(self, state: str, uri: str, psf: str = "mccd") -> None:
        """Go on from a run directory as the real `make` left it, instead of running the same steps in each test.

        What it left is copied, mtimes to the nanosecond, and its list file of `TILES`: the source was `container` as
        the fixture makes it. A test that is about a later state of the source changes it after this. Only ctimes, of
        which `manifest` tells when an archive came, are those of the copy.

        Parameters
        ----------
        state
            ``listed``, ``downloaded`` or ``unpacked``: after `make avail`, `download` or `untar`.
        uri
            What INPUT_PATH was, such as ``vos:`` and `RESULTS`: the stamps name it.
        """
        shutil.copytree(self.snapshots.taken(state, uri, psf), self.directory, dirs_exist_ok=True)

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
        """Run a command in the run directory; a plain one of ours, or of a page, asks the Python that stands ready."""
        environment = self.environment
        plain = command[0] in ("make", "bash") or Path(command[0]).parent == HERE / "bin"
        if plain and environment.get("PYTHON") == os.environ[watched.PYTHON]:
            environment = environment | {"PYTHON": os.environ[watched.READY]}
        return subprocess.run(
            command, cwd=self.directory, env=environment, text=True, capture_output=True, timeout=600, **options
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


@dataclass(frozen=True)
class Snapshots:
    """Run directories as the real `make` left them, each made when it is first asked for.

    Attributes
    ----------
    place
        Where they are kept, as long as the session lasts.
    root
        The tree that is served to make them.
    """

    place: Path
    root: Path

    def taken(self, state: str, uri: str, psf: str) -> Path:
        """Return the run directory in that state; nobody but `Site.begin` uses it, to copy it."""
        kept = self.place / f"{psf} {state} {uri.replace('/', ':')}"
        if not kept.exists():
            step, before = STEPS[state]
            top = Path(tempfile.mkdtemp(dir=self.place))
            site = Site(top / "run", environment(top), self)
            site.directory.mkdir()
            site.list_tiles(*TILES)
            if before:
                site.begin(before, uri, psf)
            with VOSpace(self.root) as space:
                site.environment |= space.environment() | {"INSECURE": "yes"}
                site.done(step, *([] if before else [f"PSF={psf}", f"INPUT_PATH={uri}"]))
            site.directory.rename(kept)
        return kept


def environment(home: Path) -> dict[str, str]:
    """What a user's shell has in its environment, and a Python that is watched."""
    own = {"PATH": os.environ["PATH"], "HOME": str(home), "LC_ALL": "C.UTF-8"}
    return own | {"PYTHON": os.environ[watched.PYTHON], watched.BREACHES: os.environ[watched.BREACHES]}


def names(tile: str, psf: str = "mccd") -> list[str]:
    """Names of the archives of a tile."""
    return [archive_name(product, tile) for product in PRODUCTS_OF[psf]]


def shown_by(text: str) -> dict[str, str]:
    """What help says of each target and setting."""
    return dict(line.split(None, 1) for line in text.splitlines() if line.startswith("  "))
