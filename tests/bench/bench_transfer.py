"""Bench of transfers: this toolkit against vcp and curl, on the embedded VOSpace in a process of its own.

Everything is told as ratios of medians of one run, since the machine is whatever it is: ``python
tests/bench/bench_transfer.py DIRECTORY [--short]`` writes ``DIRECTORY/transfer.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

HERE = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(HERE / "lib"), str(HERE / "tests")]

from bench.measuring import Server, surroundings  # noqa: E402 - found only now
from vospace_demo.results import make_many  # noqa: E402

#: Where the container is in the tree that is served.
SMALL, LARGE = "cfis/small", "cfis/large"
TILES = [f"{x}.{y}" for y in (290, 291) for x in range(240, 250)]
STREAMS = 8
#: What we do, with and without the listing that others make, too, or do not need.
OURS, LISTED = "ours", "ours, listed before"
#: What we want to reach: the case, whom we are compared with in what, and the least ratio of their median to ours.
TARGETS = {
    "cold_50ms": {
        "vcp wildcard": (OURS, 8.0),
        "vcp per file": (OURS, 20.0),
        "curl --parallel": (LISTED, 1 / 1.5),
    },
    "large": {"vcp": (LISTED, 1.5)},
}
#: And the least share of curl's rate for one large file.
RATE_OF_CURL = 0.6
#: Bytes of the file that shows how long a command takes to start.
TINY = 1000


@dataclass(frozen=True)
class Size:
    """How much is measured."""

    runs: int
    per_file: int
    """Files that `vcp` is started for, one by one; the time of all is scaled up from these."""
    large: int
    """Bytes of the large file."""


FULL, SHORT = Size(runs=5, per_file=14, large=500_000_000), Size(runs=1, per_file=4, large=100_000_000)


@dataclass
class Bench:
    """Runs commands against one server, each in a directory of its own, and keeps their times.

    Attributes
    ----------
    times
        By command: seconds of each run.
    requests
        By command: requests of the last run, by route.
    """

    server: Server
    place: Path
    times: dict[str, list[float]] = field(default_factory=dict)
    requests: dict[str, dict[str, int]] = field(default_factory=dict)

    def time(self, name: str, here: Path, *commands: list[str], scale: float = 1.0) -> None:
        """Time some commands, one after the other in the directory `here`."""
        self.server.forget()
        begin = time.monotonic()
        for command in commands:
            self.run(here, command)
        self.times.setdefault(name, []).append((time.monotonic() - begin) * scale)
        self.requests[name] = self.server.counts()["routes"]

    def run(self, here: Path, command: list[str]) -> None:
        """Run a command, which must succeed."""
        done = subprocess.run(
            command, cwd=here, env=surroundings(self.place, self.server), text=True, capture_output=True
        )
        if done.returncode:
            raise SystemExit(f"'{' '.join(command)}' failed: {done.stderr or done.stdout}")

    @contextmanager
    def fresh(self) -> Iterator[Path]:
        """A new directory, and nothing dirty left to be written by the one before."""
        directory = Path(tempfile.mkdtemp(dir=self.place))
        os.sync()
        try:
            yield directory
        finally:
            shutil.rmtree(directory)

    def report(self) -> dict[str, object]:
        """Medians, all times, and how many times as long as ours the others take.

        That is the median of the ratios within each round, in which one follows the other: the machine is not equally
        fast from one minute to the next.
        """
        medians = {name: statistics.median(times) for name, times in self.times.items()}
        ours = [name for name in (OURS, LISTED) if name in medians]
        return {
            "seconds": {name: round(median, 3) for name, median in medians.items()},
            "times_slower_than": {
                one: {
                    name: round(statistics.median(a / b for a, b in zip(times, self.times[one], strict=False)), 2)
                    for name, times in self.times.items()
                    if name not in ours
                }
                for one in ours
            },
            "runs": {name: [round(one, 3) for one in times] for name, times in self.times.items()},
            "requests": self.requests,
        }


def ours(*words: str) -> list[str]:
    """Our command."""
    return ["make", "-s", "-f", str(HERE / "Makefile"), *words, f"JOBS={STREAMS}", "INSECURE=yes"]


def vcp(source: str) -> list[str]:
    """The client's command, into the directory that it is started in."""
    return ["vcp", "-k", source, "."]


def cold(server: Server, place: Path, names: list[str], size: Size) -> dict[str, object]:
    """(a) Many small archives, into an empty directory; `vcp` with a wildcard lists the container, too."""
    bench = Bench(server, place)
    source = f"vos:{SMALL}"
    for _ in range(size.runs):
        for name in (OURS, LISTED):
            with bench.fresh() as here:
                write_list(here, TILES)
                if name == LISTED:
                    bench.run(here, ours("avail", f"INPUT_PATH={source}"))
                bench.time(name, here, ours("download", f"INPUT_PATH={source}"))
                check(here / "archives", names)
        with bench.fresh() as here:
            bench.time("vcp wildcard", here, vcp(f"{source}/*.tgz"))
            check(here, names)
        if shutil.which("curl"):
            with bench.fresh() as here:
                url = f"https://{server.host}/vault/files/{SMALL}"
                wanted = "".join(f'url = "{url}/{name}"\noutput = "{name}"\n' for name in names)
                (here / "wanted").write_text(wanted)
                parallel = ["--parallel", "--parallel-max", str(STREAMS)]
                bench.time("curl --parallel", here, ["curl", "-sSkL", "--fail", *parallel, "--config", "wanted"])
                check(here, names)
    with bench.fresh() as here:
        some = names[: size.per_file]
        commands = [vcp(f"{source}/{name}") for name in some]
        bench.time("vcp per file", here, *commands, scale=len(names) / len(some))
        check(here, some)
    routes = bench.requests[LISTED]
    return {**bench.report(), "requests_per_archive": sum(routes.values()) / len(names)}


def nothing_to_do(server: Server, place: Path, size: Size) -> dict[str, object]:
    """(c) Everything is here already; ours asks the source again, as vcp does."""
    bench = Bench(server, place)
    with bench.fresh() as here, bench.fresh() as theirs:
        write_list(here, TILES)
        bench.run(here, ours("download", f"INPUT_PATH=vos:{SMALL}"))
        bench.run(theirs, vcp(f"vos:{SMALL}/*.tgz"))
        for _ in range(size.runs):
            bench.time(OURS, here, ours("avail", "download"))
            bench.time("vcp wildcard", theirs, vcp(f"vos:{SMALL}/*.tgz"))
    return bench.report()


def large(server: Server, place: Path, size: Size) -> dict[str, object]:
    """(b) One large file; ours without the listing, since the others do not list.

    A rate is that of the bytes alone: what the same command takes for a file of a kilobyte is taken off. (A start takes
    curl 0.03 s, us 0.4 and vcp 0.7.)
    """
    bench, starts = Bench(server, place), Bench(server, place)
    for _ in range(size.runs):
        for timed, tile, length in ((bench, TILES[0], size.large), (starts, TILES[1], TINY)):
            name = f"final_cat_{tile}.tgz"
            with timed.fresh() as here:
                write_list(here, [tile])
                timed.run(here, ours("avail", "PRODUCTS=final_cat", f"INPUT_PATH=vos:{LARGE}"))
                timed.time(LISTED, here, ours("download"))
                check(here / "archives", [name], length)
            if shutil.which("curl"):
                with timed.fresh() as here:
                    url = f"https://{server.host}/vault/files/{LARGE}/{name}"
                    timed.time("curl", here, ["curl", "-sSkLO", "--fail", url])
                    check(here, [name], length)
            with timed.fresh() as here:
                timed.time("vcp", here, vcp(f"vos:{LARGE}/{name}"))
                check(here, [name], length)
    seconds = {
        name: statistics.median(a - b for a, b in zip(times, starts.times[name], strict=True))
        for name, times in bench.times.items()
    }
    return {
        **bench.report(),
        "megabytes_per_second": {name: round(size.large / 1e6 / one) for name, one in seconds.items()},
        "rate_of_curl": round(seconds["curl"] / seconds[LISTED], 2) if "curl" in seconds else None,
    }


def write_list(here: Path, tiles: list[str]) -> None:
    """Write the list of the tiles that are wanted."""
    (here / "tile_numbers.txt").write_text("".join(f"{tile}\n" for tile in tiles))


def check(directory: Path, names: list[str], length: int | None = None) -> None:
    """Stop unless what was timed did happen."""
    for name in names:
        if not (directory / name).is_file() or (length and (directory / name).stat().st_size != length):
            raise SystemExit(f"'{name}' did not come whole into '{directory}'")


def machine(place: Path) -> dict[str, object]:
    """What the figures were measured on."""
    cpu = Path("/proc/cpuinfo")
    models = [line.partition(":")[2].strip() for line in cpu.read_text().splitlines() if line.startswith("model name")]
    curl = subprocess.run(["curl", "--version"], text=True, capture_output=True).stdout if shutil.which("curl") else ""
    disk = subprocess.run(["df", "--output=fstype", str(place)], text=True, capture_output=True).stdout.split()
    return {
        "system": platform.platform(),
        "processor": models[0] if models else platform.processor(),
        "cores": os.cpu_count(),
        "load": [round(one, 2) for one in os.getloadavg()],
        "python": platform.python_version(),
        "curl": curl.partition("\n")[0],
        "disk": disk[-1] if disk else "unknown",
        "date": f"{datetime.now(UTC):%F %TZ}",
    }


def unmet(cases: dict[str, dict[str, object]]) -> list[str]:
    """Say which of the targets do not hold."""
    rate = cases["large"]["rate_of_curl"]
    slow = (
        [f"large: {rate} of curl's rate, which should be {RATE_OF_CURL} or more"]
        if rate and rate < RATE_OF_CURL
        else []
    )
    return slow + [
        f"{case}: {name} takes {ratio} times as long as {ours}, which should be {least:.2f} or more"
        for case, targets in TARGETS.items()
        for name, (ours, least) in targets.items()
        if (ratio := cases[case]["times_slower_than"][ours].get(name, least)) < least
    ]


def measure(size: Size) -> dict[str, object]:
    """Measure all cases, in directories that are gone afterwards."""
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        root = place / "space"
        (root / SMALL).mkdir(parents=True)
        (root / LARGE).mkdir()
        names = sorted(path.name for path in make_many(root / SMALL, TILES, "mccd"))
        (root / LARGE / f"final_cat_{TILES[1]}.tgz").write_bytes(os.urandom(TINY))
        with (root / LARGE / f"final_cat_{TILES[0]}.tgz").open("wb") as file:
            for _ in range(size.large // 1_000_000):
                file.write(os.urandom(1_000_000))
        cases: dict[str, dict[str, object]] = {}
        for name, latency in (("cold_0ms", 0.0), ("cold_50ms", 0.05)):
            with Server(root, latency) as server:
                cases[name] = tell(name, cold(server, place, names, size))
        with Server(root) as server:
            cases["large"] = tell("large", large(server, place, size))
            cases["nothing_to_do"] = tell("nothing_to_do", nothing_to_do(server, place, size))
        return {"machine": machine(place), "archives": len(names), "streams": STREAMS, "bytes_large": size.large,
                "cases": cases, "unmet": unmet(cases)}  # fmt: skip


def tell(name: str, case: dict[str, object]) -> dict[str, object]:
    """Print a case as soon as it is measured."""
    seconds = ", ".join(f"{who} {value:.2f} s" for who, value in case["seconds"].items())
    rates = f"\n  megabytes per second: {case['megabytes_per_second']}" if "megabytes_per_second" in case else ""
    print(f"{name}: {seconds}\n  times as long as: {case['times_slower_than']}{rates}", flush=True)
    return case


def main(words: list[str] | None = None) -> int:
    """Measure, and write the results; exit status 1 if a target does not hold in a full run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, help="where transfer.json is written")
    parser.add_argument("--short", action="store_true", help="few runs and a smaller large file: figures are rough")
    options = parser.parse_args(words)
    options.directory.mkdir(parents=True, exist_ok=True)
    results = measure(SHORT if options.short else FULL)
    (options.directory / "transfer.json").write_text(json.dumps(results, indent=2) + "\n")
    print(f"written: {options.directory / 'transfer.json'}")
    for line in results["unmet"]:
        print(line, file=sys.stderr)
    return 1 if results["unmet"] and not options.short else 0


if __name__ == "__main__":
    sys.exit(main())
