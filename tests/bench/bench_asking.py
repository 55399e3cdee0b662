"""Bench of the ways to ask: what some tiles of a survey cost, against a whole listing and vls.

Everything is told as ratios of medians of one run, since the machine is whatever it is: ``python
tests/bench/bench_asking.py DIRECTORY [--short]`` writes ``DIRECTORY/asking.json``. The server takes as long for a
request and for a node as one of its kind does: 0.1 ms (Vault) and 10 ms (Cavern).
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(HERE / "lib"), str(HERE / "tests")]

from bench.measuring import Cost, Server, cost, median, surroundings  # noqa: E402 - found only now
from support.survey import R, make_tiny  # noqa: E402

RESULTS = "cfis/results"
#: Seconds that a request and a node take.
VAULT, CAVERN = 0.1e-3, 10e-3
#: Tiles of the survey that have the same first half of their number.
COLUMN = 24
OURS, WHOLE, VLS = "ours", "whole", "vls"


@dataclass(frozen=True)
class Size:
    """How much is measured: tiles in the container; runs; seconds of Cavern for a node."""

    tiles: int
    runs: int
    cavern: float


FULL, SHORT = Size(R, 5, CAVERN), Size(R // 20, 1, CAVERN / 10)


@dataclass(frozen=True)
class Case:
    """Some tiles that are asked for, in one way in which a container is served.

    Attributes
    ----------
    others
        What the same is done with: a listing of everything by ours or by vls, and how often.
    wanted
        What we want to reach: a quotient of two figures, and the most that it may be. Figures are ``time NAME`` in
        seconds and ``received NAME`` in kB.
    """

    name: str
    tiles: tuple[str, ...]
    service: str
    per_node: float
    others: dict[str, int]
    wanted: dict[tuple[str, str | None], float]
    words: tuple[str, ...] = ()


def survey(count: int) -> list[str]:
    """Tile numbers of a survey, in columns as the real ones have."""
    return [f"{100 + index // COLUMN:03}.{270 + index % COLUMN}" for index in range(count)]


def cases(size: Size) -> Iterator[Case]:
    """Give what is measured."""
    tiles, runs = survey(size.tiles), size.runs
    few = tuple(tiles[:: len(tiles) // 20][:20])
    # Four tiles in each of some columns, as a patch of the survey is.
    patch = tuple(tile for tile in tiles[len(tiles) // 3 :] if 280 <= int(tile[4:]) < 284)[: size.tiles // 59]
    yield Case(
        "20 tiles on Vault", few, "vos", VAULT, {VLS: runs},
        {("time ours", "time vls"): 1 / 30, ("received ours", None): 300},
    )  # fmt: skip
    # A whole listing takes a quarter of an hour there.
    yield Case("20 tiles on Cavern", few, "arc", size.cavern, {VLS: 1}, {("time ours", "time vls"): 1 / 100})
    yield Case(
        f"a patch of {len(patch)} tiles", patch, "vos", VAULT, {WHOLE: runs, VLS: runs},
        {("received ours", "received whole"): 1 / 8, ("time ours", "time vls"): 1 / 10},
    )  # fmt: skip
    yield Case(
        "all tiles", tuple(tiles), "vos", VAULT, {WHOLE: runs}, {("time ours", "time whole"): 1 / 4},
    )  # fmt: skip
    yield Case(
        "final_cat of all tiles", tuple(tiles), "vos", VAULT, {WHOLE: 1}, {("received ours", "received whole"): 1 / 5},
        ("PRODUCTS=final_cat",),
    )  # fmt: skip


def measure(case: Case, root: Path, place: Path, runs: int) -> dict[str, object]:
    """Ask in each way, one after the other, since the machine may be busier at the end than at the beginning."""
    costs: dict[str, list[Cost]] = {name: [] for name in (OURS, *case.others)}
    received: dict[str, float] = {}
    asked: dict[str, dict[str, int]] = {}
    with Server(root, case.per_node if case.service == "vos" else 0.0, case.per_node) as server:
        source = f"{case.service}:{RESULTS}"
        service = {"vos": "vault", "arc": "arc"}[case.service]
        avail = ["make", "-f", str(HERE / "Makefile"), "avail", f"INPUT_PATH={source}", "INSECURE=yes"]
        commands = {
            OURS: [*avail, *case.words],
            WHOLE: [*avail, "TILES=all"],
            VLS: ["vls", "-k", source],
        }
        server.warm_up(f"{service}/nodes/{RESULTS}")
        for turn in range(runs):
            for name in costs:
                if turn >= case.others.get(name, runs):
                    continue
                with tempfile.TemporaryDirectory(dir=place) as run:
                    if name == OURS:
                        (Path(run) / "tile_numbers.txt").write_text("".join(f"{tile}\n" for tile in case.tiles))
                    server.forget()
                    costs[name].append(cost(*commands[name], cwd=Path(run), environment=surroundings(place, server)))
                    counts = server.counts()
                    received[name], asked[name] = counts["documents"] / 1000, counts["routes"]
    figures = {f"time {name}": median(several).wall for name, several in costs.items()}
    figures |= {f"received {name}": kilobytes for name, kilobytes in received.items()}
    found = {
        " / ".join(filter(None, (one, other))): {"is": figures[one] / figures.get(other, 1), "at most": most}
        for (one, other), most in case.wanted.items()
    }
    return {"found": found, "figures": figures, "requests": asked}


def show(name: str, result: dict[str, dict[str, dict[str, float]]]) -> None:
    """Print what a case gave."""
    found = ", ".join(f"{what} {one['is']:.3g} (at most {one['at most']:.3g})" for what, one in result["found"].items())
    figures = ", ".join(f"{what} {value:.3g}" for what, value in result["figures"].items())
    requests = ", ".join(f"{who} {routes.get('nodes', 0)}" for who, routes in result["requests"].items())
    print(f"{name}: {found}\n  s and kB: {figures}\n  requests for nodes: {requests}", flush=True)


def main(words: list[str] | None = None) -> int:
    """Measure, print and write down; exit status 1 if a target does not hold in a full run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, help="where asking.json is written")
    parser.add_argument("--short", action="store_true", help="a twentieth of the tiles, one run: figures are rough")
    options = parser.parse_args(words)
    options.directory.mkdir(parents=True, exist_ok=True)
    size = SHORT if options.short else FULL
    above = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    results = {}
    with tempfile.TemporaryDirectory(dir=above) as temporary:
        place = Path(temporary)
        make_tiny(place / "space" / RESULTS, survey(size.tiles))
        for case in cases(size):
            results[case.name] = measure(case, place / "space", place, size.runs)
            show(case.name, results[case.name])
    unmet = [
        f"{name}: {what} is {one['is']:.3g}, which should be at most {one['at most']:.3g}"
        for name, result in results.items()
        for what, one in result["found"].items()
        if one["is"] > one["at most"]
    ]
    about = {"cores": os.cpu_count(), "python": platform.python_version(), "tiles": size.tiles}
    (options.directory / "asking.json").write_text(
        json.dumps({**about, "cases": results, "unmet": unmet}, indent=2) + "\n"
    )
    for line in () if options.short else unmet:
        print(line, file=sys.stderr)
    return 1 if unmet and not options.short else 0


if __name__ == "__main__":
    sys.exit(main())
