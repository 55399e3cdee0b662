"""Bench of JOBS=auto: against `curl --parallel` with the best fixed number, on a service that refuses more than some.

``python tests/bench/bench_jobs.py DIRECTORY [--short]`` writes ``DIRECTORY/jobs.json``. A first run begins with 4 at
once, the second with what the first one found; what the same command takes for one archive is taken off.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(HERE / "lib"), str(HERE / "tests")]

from bench.bench_transfer import SMALL, TILES, Bench, check, machine, write_list  # noqa: E402 - found only now
from bench.measuring import Server  # noqa: E402
from vospace_demo.results import make_many  # noqa: E402

#: Seconds of latency, requests at once above which the service refuses, and the tiles of 7 archives.
LATENCIES, LIMITS = (0.0, 0.05, 0.15), (5, 20, 50)
MANY = [f"{x}.{y}" for y in range(290, 300) for x in range(240, 260)]
FIRST, SECOND, START = "auto, first run", "auto, second run", "start"
#: What is to be reached: the share of curl's rate, in the second run, and the most of the requests that are refused.
RATE, REFUSED = 0.9, 0.05


def case(root: Path, place: Path, tiles: list[str], latency: float, limit: int, runs: int) -> dict[str, object]:
    """One latency, one limit, one number of archives."""
    names = sorted(path.name for path in (root / SMALL).iterdir() if path.stem[-7:] in tiles)
    make = ["make", "-s", "-f", str(HERE / "Makefile"), "INSECURE=yes"]
    refused: dict[str, list[float]] = {FIRST: [], SECOND: []}
    with Server(root, latency) as server:
        bench = Bench(server, place)
        for _ in range(runs):
            with bench.fresh() as here:
                write_list(here, tiles)
                server.misbehave([])
                bench.run(here, [*make, "avail", f"INPUT_PATH=vos:{SMALL}"])
                server.misbehave([{"kind": "crowded", "at": limit, "status": 503}])
                for name, shares in refused.items():
                    shutil.rmtree(here / "archives", ignore_errors=True)
                    bench.time(name, here, [*make, "download"])
                    check(here / "archives", names)
                    shares.append(round(server.counts()["refused"] / server.counts()["total"], 4))
                (here / "archives" / names[0]).unlink()
                bench.time(START, here, [*make, "download"])
            for number in {min(limit, 32), min(limit, 16), 4}:
                with bench.fresh() as here:
                    url = f"https://{server.host}/vault/files/{SMALL}"
                    (here / "wanted").write_text("".join(f'url = "{url}/{one}"\noutput = "{one}"\n' for one in names))
                    parallel = ["--parallel", "--parallel-max", str(number), "--retry", "5", "--config", "wanted"]
                    bench.time(f"curl {number}", here, ["curl", "-sSkL", "--fail", *parallel])
                    check(here, names)
    medians = {name: statistics.median(times) for name, times in bench.times.items()}
    best = min((name for name in medians if name.startswith("curl")), key=medians.__getitem__)
    rates = {
        name: statistics.median(
            c / max(a - s, 1e-3)
            for c, a, s in zip(bench.times[best], bench.times[name], bench.times[START], strict=True)
        )
        for name in refused
    }
    return {"seconds": medians, "best": best, "rate_of_curl": rates, "refused": refused, "runs": bench.times}


def main() -> int:
    """Measure, and write the results; exit status 1 if a target does not hold in a full run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, help="where jobs.json is written")
    parser.add_argument("--short", action="store_true", help="one case, few runs: figures are rough")
    options = parser.parse_args()
    cases, unmet = {}, []
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        root = place / "space"
        (root / SMALL).mkdir(parents=True)
        make_many(root / SMALL, TILES if options.short else MANY, "mccd")
        for tiles in [TILES] if options.short else [TILES, MANY]:
            for latency in [0.05] if options.short else LATENCIES:
                for limit in LIMITS[1:2] if options.short else LIMITS:
                    name = f"{7 * len(tiles)} archives, {latency * 1000:.0f} ms, {limit} at once"
                    found = cases[name] = case(root, place, tiles, latency, limit, 2 if options.short else 5)
                    rate, most = found["rate_of_curl"][SECOND], max(map(statistics.median, found["refused"].values()))
                    print(f"{name}: {rate:.2f} of the rate of {found['best']}, {most:.1%} refused", flush=True)
                    if rate < RATE or most > REFUSED:
                        unmet.append(name)
        options.directory.mkdir(parents=True, exist_ok=True)
        results = {"machine": machine(place), "cases": cases, "unmet": unmet}
        (options.directory / "jobs.json").write_text(json.dumps(results, indent=2) + "\n")
    for name in unmet:
        print(f"{name}: not reached", file=sys.stderr)
    return 1 if unmet and not options.short else 0


if __name__ == "__main__":
    sys.exit(main())
