"""Bench of listings and of Make: availability against vls and curl; what a step costs that has nothing to do; status.

Everything is told as ratios of medians of one run, since the machine is whatever it is: ``python
tests/bench/bench_listing.py DIRECTORY [--short]`` writes ``DIRECTORY/listing.json``. It works in memory (/dev/shm)
where it can: a disk may need ten times as long for a new file as it did a minute ago, since ext4 passes over the inodes
of files that were removed lately.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(HERE / "lib"), str(HERE / "tests")]

from bench.measuring import Cost, Server, cost, median, surroundings  # noqa: E402 - found only now
from retrieve.stamps.stamps import AVAILABLE, DOWNLOADED, EXTRACTED  # noqa: E402
from support.site import names  # noqa: E402
from support.survey import R, U, make_done, make_tiny, numbers  # noqa: E402

RESULTS = "cfis/results"
#: What we want to reach: against vls, the least ratio of its time to ours and of its memory to ours, and the most of
#: ours in MB, since nothing of the size of a document may be held; the most of our time to curl's with nothing new;
#: seconds of user and system time of a step with nothing to do, and of a status, for the u band.
FIRST, AGAIN, MEMORY, MEGABYTES, CURL, STEP = 4.0, 5.0, 8.0, 150.0, 4.5, 3.0
STEPS = ("download", "untar", "missing", "status", "status of every state")


def availability(place: Path, tiles: int, runs: int) -> dict[str, object]:
    """Ask what is complete: the first time, and again with nothing new; against vls and curl on the same container."""
    if not shutil.which("curl"):
        sys.exit("needs curl, which the listing is compared with: apt-get install curl")
    root, run = place / "space", place / "run"
    make_tiny(root / RESULTS, numbers(tiles))
    run.mkdir()
    (run / "tile_numbers.txt").write_text("".join(f"CFIS.{tile}.r.fits\n" for tile in numbers(tiles)))
    with Server(root) as server:
        environment = surroundings(place, server)
        url = f"https://{server.host}/vault/nodes/{RESULTS}"
        vls = ["vls", "-k", f"vos:{RESULTS}"]
        avail = ["make", "-f", str(HERE / "Makefile"), "avail", f"INPUT_PATH=vos:{RESULTS}", "INSECURE=yes"]

        def measure(*command: str) -> Cost:
            return cost(*command, cwd=run, environment=environment)

        def first() -> Cost:
            shutil.rmtree(run / "stamps", ignore_errors=True)
            return measure(*avail)

        curl = ["curl", "-sSk", "-o", os.devnull, url]
        server.warm_up(f"vault/nodes/{RESULTS}")
        costs: dict[str, list[Cost]] = {"curl": [], "first": [], "again": [], "vls": []}
        for _ in range(runs):  # one after the other, since the machine may be busier at the end than at the beginning
            costs["curl"].append(measure(*curl))
            costs["first"].append(first())
            server.forget()
            costs["again"].append(measure(*avail))
            asked = server.counts()["routes"]
            costs["vls"].append(measure(*vls))
    shutil.rmtree(root)
    shutil.rmtree(run)
    medians = {name: median(of) for name, of in costs.items()}
    ours, again, theirs = medians["first"], medians["again"], medians["vls"]
    return {
        "tiles": tiles,
        "vls_slower_than_first": theirs.wall / ours.wall,
        "vls_slower_than_again": theirs.wall / again.wall,
        "vls_cpu_to_first": theirs.cpu / ours.cpu,
        "vls_cpu_to_again": theirs.cpu / again.cpu,
        "vls_memory_to_ours": theirs.memory / ours.memory,
        "again_slower_than_curl": again.wall / medians["curl"].wall,
        "requests": asked,
        "seconds": {name: one.wall for name, one in medians.items()},
        "cpu_seconds": {name: one.cpu for name, one in medians.items()},
        "megabytes": {name: one.memory for name, one in medians.items()},
    }


def nothing_to_do(place: Path, tiles: int, runs: int) -> dict[str, object]:
    """Take each step with nothing to do, and Make's own share of it: alone, and with 100 tiles stale."""
    run = place / "run"
    run.mkdir()
    make_done(run, numbers(tiles))
    (run / "tile_numbers.txt").write_text("".join(f"CFIS.{tile}.u.fits\n" for tile in numbers(tiles)))
    environment = surroundings(place)

    def make(*words: str) -> Cost:
        command = ["make", "-f", str(HERE / "Makefile"), *words]
        return median([cost(*command, cwd=run, environment=environment) for _ in range(runs)])

    figures = {step: make(step).cpu for step in STEPS if " " not in step}
    figures["make alone"] = make("-n", "download").cpu
    for tile in numbers(100):
        stamp = run / "stamps/mccd/available" / tile
        os.utime(stamp, ns=(stamp.stat().st_mtime_ns + 1,) * 2)
    figures["make alone, 100 stale"] = make("-n", "download").cpu
    for tile in numbers(100):
        stamp = run / "stamps/mccd/available" / tile
        os.utime(stamp, ns=(stamp.stat().st_mtime_ns - 1,) * 2)
    for place_of, tile in enumerate(numbers(tiles)):
        SPOILS[place_of % len(SPOILS)](run, tile)
    figures["status of every state"] = make("status").cpu
    shutil.rmtree(run)
    return {"tiles": tiles, "cpu_seconds": figures}


def remove(directory: Path, tile: str, *states: str) -> None:
    for one in states:
        (directory / "stamps/mccd" / one / tile).unlink()


def lose(directory: Path, tile: str) -> None:
    remove(directory, tile, DOWNLOADED, EXTRACTED)
    for name in names(tile):
        (directory / "archives" / name).unlink()


def touch(directory: Path, tile: str) -> None:
    for name in names(tile):
        os.utime(directory / "archives" / name, ns=(1, 1))


def free(directory: Path, tile: str) -> None:
    path = directory / "stamps/mccd/extracted" / tile
    mtime_ns = path.stat().st_mtime_ns
    path.write_text(re.sub(r"\d+$", "0", path.read_text(), flags=re.MULTILINE))
    os.utime(path, ns=(mtime_ns, mtime_ns))
    for name in names(tile):
        (directory / "archives" / name).unlink()


def renew(directory: Path, tile: str) -> None:
    path = directory / "stamps/mccd/available" / tile
    mtime_ns = path.stat().st_mtime_ns
    path.write_text(re.sub(r"\t\w{32}\t", f"\t{'0' * 32}\t", path.read_text(), count=1))
    os.utime(path, ns=(mtime_ns + 1,) * 2)


SPOILS: tuple[Callable[[Path, str], None], ...] = (
    lambda directory, tile: None,
    lambda directory, tile: remove(directory, tile, EXTRACTED),
    lambda directory, tile: remove(directory, tile, AVAILABLE),
    lose,
    touch,
    free,
    renew,
)


def report(sizes: list[int], runs: int, place: Path) -> dict[str, object]:
    """Measure everything."""
    listings = [availability(place, tiles, runs) for tiles in sizes[1:]]
    idle = [nothing_to_do(place, tiles, runs) for tiles in sizes]
    large = idle[-1]
    return {
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "availability": listings,
        "nothing_to_do": idle,
        "cpu_per_tile_of_largest_to_middle": {
            name: (seconds / large["tiles"]) / (idle[1]["cpu_seconds"][name] / idle[1]["tiles"])
            for name, seconds in large["cpu_seconds"].items()
        },
    }


def unmet(found: dict[str, object]) -> Iterator[str]:
    """Give a line for each figure that we want to reach and that does not hold."""
    for one in found["availability"]:
        wanted = {"vls_slower_than_first": FIRST, "vls_slower_than_again": AGAIN, "vls_memory_to_ours": MEMORY}
        for name, least in wanted.items():
            if one[name] < least:
                yield f"{name} is {one[name]:.1f} at {one['tiles']} tiles, less than {least:g}"
        if one["megabytes"]["first"] > MEGABYTES:
            yield f"avail of {one['tiles']} tiles holds {one['megabytes']['first']:.0f} MB, more than {MEGABYTES:g}"
        if one["again_slower_than_curl"] > CURL:
            yield f"ours takes {one['again_slower_than_curl']:.1f} times as long as curl, more than {CURL:g}"
    for step in STEPS:
        if (seconds := found["nothing_to_do"][-1]["cpu_seconds"][step]) > STEP:
            yield f"'make {step}' with nothing to do takes {seconds:.1f} s of user and system time, more than {STEP:g}"


def show(found: dict[str, object]) -> None:
    """Print the ratios."""
    for one in found["availability"]:
        print(
            f"avail of {one['tiles']} tiles: vls takes {one['vls_slower_than_first']:.1f} times as long, "
            f"{one['vls_slower_than_again']:.1f} times with nothing new (user and system time: "
            f"{one['vls_cpu_to_first']:.1f} and {one['vls_cpu_to_again']:.1f} times), and "
            f"{one['vls_memory_to_ours']:.1f} times the memory; {one['requests'].get('nodes', 0)} requests; "
            f"ours takes {one['again_slower_than_curl']:.1f} times as long as curl"
        )
    for one in found["nothing_to_do"]:
        figures = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in one["cpu_seconds"].items())
        print(f"nothing to do at {one['tiles']} tiles, user and system time: {figures}")
    growth = ", ".join(f"{name} {ratio:.2f}" for name, ratio in found["cpu_per_tile_of_largest_to_middle"].items())
    print(f"time per tile at the largest to that at the middle size (linear: 1): {growth}")


def main(words: list[str] | None = None) -> int:
    """Measure, print and write down; exit status 1 if a target does not hold in a full run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, help="where listing.json is written")
    parser.add_argument("--short", action="store_true", help="a tenth of the tiles, one run: figures are rough")
    options = parser.parse_args(words)
    options.directory.mkdir(parents=True, exist_ok=True)
    sizes, runs = ([100, R // 10, U // 10], 1) if options.short else ([1000, R, U], 3)
    above = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=above) as place:
        found = report(sizes, runs, Path(place))
    show(found)
    found["unmet"] = [] if options.short else list(unmet(found))
    (options.directory / "listing.json").write_text(json.dumps(found, indent=2) + "\n")
    for line in found["unmet"]:
        print(line, file=sys.stderr)
    return 1 if found["unmet"] else 0


if __name__ == "__main__":
    sys.exit(main())
