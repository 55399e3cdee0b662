"""`make demo`: the whole flow on an embedded VOSpace, told step by step; fails if anything is not as told."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from datetime import datetime
from pathlib import Path

from retrieve.campaign.make import TOOLKIT, make_command
from retrieve.host.program import run
from vospace_demo.results import BROKEN_PRODUCT, BROKEN_TILE, INCOMPLETE_TILE, make_archives, make_demo
from vospace_demo.server import VOSpace

#: Where the demo happens, below the directory that make was started in.
PLACE = Path("demo")
#: Says that the directory is ours to make anew.
MARK = PLACE / ".made-by-make-demo"
#: The tile that its owner runs ShapePipe on a second time.
REPROCESSED = "240.290"


class NotAsTold(Exception):
    """Something in the demo did not come out as it was told."""


class Teller:
    """Tells the steps, runs their commands as a user would type them, and checks what came of them."""

    def __init__(self, space: VOSpace, called: str) -> None:
        self.space = space
        self._called = called
        self._step = 0
        home = PLACE / "home"
        home.mkdir()
        self._environment = {
            **{name: os.environ[name] for name in ("PATH", "LANG", "TERM", "PYTHON") if name in os.environ},
            **space.environment(),
            "HOME": str(home.resolve()),
            "INSECURE": "yes",
        }

    def step(self, text: str) -> None:
        """Begin a step with what it shows."""
        self._step += 1
        print(f"\n{self._step}. {text}\n", flush=True)

    def make(self, *words: str) -> tuple[int, str]:
        """Run `make` in the demo's directory; return its exit status and standard output."""
        print(f"   $ {self._called} {' '.join(words)}", flush=True)
        self.space.forget()
        result = subprocess.run(
            [*make_command(), *words],
            cwd=PLACE,
            env=self._environment,
            text=True,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        print("".join(f"   {line}\n" for line in result.stdout.splitlines()), end="", flush=True)
        return result.returncode, result.stdout

    def fetched(self) -> set[str]:
        """Names of the archives that the last command fetched, as the server counted them."""
        return set(self.space.requests().bytes)


def expect(holds: object, what: str) -> None:
    """End the demo unless something is as it was told."""
    if not holds:
        raise NotAsTold(what)


def tell(space: VOSpace, results: Path, called: str) -> None:
    """Tell and show the whole flow."""
    teller = Teller(space, called)
    output = PLACE / "output"

    teller.step("Which tiles are complete over there? The container is listed once, and each tile gets a stamp.")
    shutil.copy(TOOLKIT / "tile_numbers.txt.example", PLACE / "tile_numbers.txt")
    status, text = teller.make("avail", "PSF=mccd")
    expect(status == 0 and "tile_numbers.txt: 11/12 (91.7%) complete" in text, "11 of 12 tiles are complete")

    teller.step("Bring them home: several at once, each verified before it gets its name.")
    status, _ = teller.make("download")
    expect(status == 0 and len(teller.fetched()) == 77, "the 7 archives of 11 tiles were fetched")

    teller.step(f"What is missing? Tile {INCOMPLETE_TILE}: one of its archives was never uploaded.")
    status, _ = teller.make("missing")
    expect(status == 0 and (PLACE / "missing.txt").read_text() == f"{INCOMPLETE_TILE}\n", "one tile is missing")

    teller.step(
        f"Unpack. An archive of tile {BROKEN_TILE} was broken before it was uploaded: it is named, the others go on."
    )
    status, text = teller.make("untar")
    expect(status != 0 and f"{BROKEN_PRODUCT}_{BROKEN_TILE}.tgz" in text, "the broken archive is named")
    expect(len(list(output.rglob("final_cat-*.fits"))) == 10, "10 tiles are unpacked")

    teller.step("Its owner uploads it again; 'sync' does all four steps, and fetches that archive alone.")
    make_archives(results, BROKEN_TILE, "mccd", products=[BROKEN_PRODUCT])
    status, _ = teller.make("sync")
    expect(status == 0 and teller.fetched() == {f"{BROKEN_PRODUCT}_{BROKEN_TILE}.tgz"}, "one archive was fetched")

    teller.step("Once more: nothing is new, so the container is listed and nothing is fetched or unpacked.")
    status, _ = teller.make("sync")
    expect(status == 0 and not teller.fetched(), "nothing was fetched")

    teller.step(f"Tile {REPROCESSED} is processed again: it alone is fetched, and its earlier files make way.")
    make_archives(results, REPROCESSED, "mccd", datetime(2022, 3, 1, 12))
    status, _ = teller.make("sync")
    expect(status == 0 and len(teller.fetched()) == 7, "the 7 archives of one tile were fetched")
    expect(all(REPROCESSED in name for name in teller.fetched()), "no other tile was fetched")
    catalogues = list(output.rglob(f"final_cat-{REPROCESSED.replace('.', '-')}.fits"))
    expect([path.parts[2] for path in catalogues] == ["run_sp_tile_Ms_2022-03-01_12-00-00"], "its old files are gone")

    teller.step("An archive here is damaged, by a full disk say: it is found and replaced.")
    damaged = PLACE / "archives" / f"logs_{REPROCESSED}.tgz"
    os.truncate(damaged, 100)
    print(f"   $ truncate -s 100 archives/{damaged.name}")
    status, _ = teller.make("download")
    expect(status == 0 and teller.fetched() == {damaged.name}, "the damaged archive alone was fetched")
    expect(damaged.read_bytes() == (results / damaged.name).read_bytes(), "it is as it is at the source")

    teller.step("Where does every tile stand? A page tells it, with a map of the sky.")
    status, _ = teller.make("report")
    expect(status == 0 and "<svg" in (PLACE / "report.html").read_text(), "the page has a map")


def main(called: str) -> int:
    """Run the demo; its result stays in `PLACE` to look at.

    Parameters
    ----------
    called
        What a user types for Make.
    """
    if PLACE.exists() and not MARK.exists():
        print(f"'{PLACE}' is here and not of a demo; move it away, or run this elsewhere", file=sys.stderr)
        return 2
    shutil.rmtree(PLACE, ignore_errors=True)
    PLACE.mkdir()
    MARK.touch()
    tree = PLACE / "vospace"
    results = make_demo(tree)
    try:
        with VOSpace(tree) as space:
            print(f"An embedded VOSpace serves '{tree}' on {space.host}: 12 tiles of example results.")
            tell(space, results, called)
    except NotAsTold as error:
        print(f"\nthe demo did not go as told: not true that {error}", file=sys.stderr)
        return 1
    print(f"\nAll as told. The map is in {PLACE}/report.html; beside it are stamps, archives and output.")
    return 0


if __name__ == "__main__":
    run("make demo", lambda: main(" ".join(sys.argv[1:])))
