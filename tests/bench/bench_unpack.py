"""Bench of unpacking: 1,204 archives of 172 tiles, this toolkit against `tar`, on a tmpfs and on disk.

Everything is told as ratios within a round, since the machine is whatever it is: ``python tests/bench/bench_unpack.py
DIRECTORY [--short]`` writes ``DIRECTORY/unpack.json``. The directory is to be on a disk; the tmpfs is /dev/shm.
"""

from __future__ import annotations

import argparse
import gzip
import hashlib
import json
import os
import platform
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from itertools import cycle
from pathlib import Path

HERE = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(HERE / "lib"))

from isal import isal_zlib  # noqa: E402 - found only now

from retrieve.archives import Archive, Verified, date_of  # noqa: E402
from retrieve.stamps.stamps import DOWNLOADED, Record, Stamps  # noqa: E402
from vospace_demo.results import make_archives  # noqa: E402

TMPFS = Path("/dev/shm")
#: The least ratio of the other's time to ours, by place and command of ours.
TARGETS = {
    "tmpfs": {"quick": ("tar", 2.5), "full": ("tar", 1.0)},
    "disk": {"quick": ("xargs -P2 tar", 1.0)},
}
TEMPLATE, DATE = "240.290", datetime(2021, 8, 5, 11, 25, 35, tzinfo=UTC)


def make(directory: Path, count: int) -> list[str]:
    """Write the archives of some tiles with 1,300 files each, of which 330 are FITS; return the tiles.

    They are copies of one tile's, with its number and the time of its run replaced: by digits of the same sum, so that
    the checksums of the headers still hold.
    """
    directory.mkdir(parents=True)
    digits = sum(map(int, TEMPLATE.replace(".", "")))
    numbers = [f"{x:03}.{y}" for x in range(120, 400) for y in range(250, 330)]
    tiles = [tile for tile in numbers if sum(map(int, tile.replace(".", ""))) == digits and tile != TEMPLATE][:count]
    for path in make_archives(directory, TEMPLATE, "mccd", DATE, exposures=8, ccds=40):
        content = gzip.decompress(path.read_bytes())
        for tile in tiles:
            time_of_day = "-".join(a + b for a, b in zip(*[iter(tile.replace(".", ""))] * 2, strict=True))
            copy = content.replace(f"{DATE:_%H-%M-%S}".encode(), f"_{time_of_day}".encode())
            copy = copy.replace(TEMPLATE.replace(".", "-").encode(), tile.replace(".", "-").encode())
            target = directory / path.name.replace(TEMPLATE, tile)
            target.write_bytes(isal_zlib.compress(copy, 3, 31))
        path.unlink()
    return tiles


def stamp(run: Path, archives: Path, tiles: list[str]) -> None:
    """Write the stamps that `download` would have written."""
    stamps = Stamps(run / "stamps", "mccd")
    for tile in tiles:
        verified = {}
        for path in sorted(archives.glob(f"*_{tile}.tgz")):
            status, md5 = path.stat(), hashlib.md5(path.read_bytes()).hexdigest()
            archive = Archive(path.name, status.st_size, md5, date_of(status.st_mtime_ns))
            verified[path.name] = Verified(archive, md5, status.st_mtime_ns)
        newest = max(one.mtime_ns for one in verified.values())
        stamps.write(DOWNLOADED, tile, Record("bench", verified).text(), newest)


def ours(run: Path, check: str) -> None:
    """`bin/retrieve untar`, as Make calls it once it collected the tiles that are behind."""
    subprocess.run(
        [str(HERE / "bin/retrieve"), "untar", "TILES=all.txt", "ARCHIVES=../archives", f"CHECK={check}"],
        cwd=run,
        env={**os.environ, "PYTHON": sys.executable},
        stdout=subprocess.DEVNULL,
        check=True,
    )


def tar_loop(run: Path) -> None:
    """Unpack with a `tar xzf` per archive, one after the other.

    And have it on disk, like ours: what is stamped as unpacked stays so after a power cut.
    """
    subprocess.run(["sh", "-c", "for f in ../archives/*.tgz; do tar xzf $f; done; sync -f ."], cwd=run, check=True)


def xargs_tar(run: Path) -> None:
    """The same, two at once; which sometimes fail for want of a directory that the other was about to make."""
    subprocess.run(["sh", "-c", "ls ../archives/*.tgz | xargs -P2 -n1 tar xzf; sync -f ."], cwd=run, check=False)


COMMANDS: dict[str, Callable[[Path], None]] = {
    "quick": lambda run: ours(run, "quick"),
    "full": lambda run: ours(run, "full"),
    "none": lambda run: ours(run, "none"),
    "tar": tar_loop,
    "xargs -P2 tar": xargs_tar,
}


def measure(place: Path, tiles: int, runs: int) -> dict[str, list[float]]:
    """Seconds of each run of each command, in turns, in a new directory each time.

    On a disk nothing is removed before the end: ext4 without a journal searches past the inodes that were freed in the
    last five minutes, and makes a file ten times as slowly. On a tmpfs there is no room for that.
    """
    numbers = make(place / "archives", tiles)
    times: dict[str, list[float]] = {name: [] for name in COMMANDS}
    expected = None
    for name, number in zip(cycle(COMMANDS), range(runs * len(COMMANDS)), strict=False):
        run = place / f"run{number}"
        run.mkdir()
        stamp(run, place / "archives", numbers)
        (run / "all.txt").write_text("".join(f"{tile}\n" for tile in numbers))
        (run / "stamps/mccd/stale-untar").write_text("\n".join(numbers))
        subprocess.run(["sync", "-f", str(place)], check=True)
        started = time.perf_counter()
        COMMANDS[name](run)
        times[name].append(time.perf_counter() - started)
        count = sum(len(files) for _, _, files in os.walk(run / "output"))
        expected = expected or count
        if count != expected and not name.startswith("xargs"):
            raise SystemExit(f"'{name}' unpacked {count} files rather than {expected}")
        if place.parent == TMPFS:
            shutil.rmtree(run)
    return times


def report(place: str, times: dict[str, list[float]]) -> dict[str, object]:
    """Print how often our time goes into that of the others; give it for the record."""
    ratios = {}
    for ours_ in ("quick", "full", "none"):
        for other in ("tar", "xargs -P2 tar"):
            ratio = statistics.median(a / b for a, b in zip(times[other], times[ours_], strict=True))
            rival, least = TARGETS.get(place, {}).get(ours_, ("", 0.0))
            verdict = ("" if ratio >= least else "  MISSED") + f"  (at least {least})" if rival == other else ""
            print(f"  {place:<6} {other:<14} / CHECK={ours_:<6} {ratio:5.2f}{verdict}")
            ratios[f"{other} / {ours_}"] = round(ratio, 2)
    return {"seconds": {name: [round(one, 3) for one in several] for name, several in times.items()}, "ratios": ratios}


def main(words: list[str] | None = None) -> int:
    """Measure, print and write down."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path, help="where the result goes; on a disk")
    parser.add_argument("--short", action="store_true", help="a tenth of the tiles, one run")
    given = parser.parse_args(words)
    tiles, runs = (17, 1) if given.short else (172, 3)
    given.directory.mkdir(parents=True, exist_ok=True)
    found: dict[str, object] = {"cores": os.cpu_count(), "python": platform.python_version(), "tiles": tiles}
    for name, above in (("tmpfs", TMPFS), ("disk", given.directory)):
        if not above.is_dir():
            continue
        with tempfile.TemporaryDirectory(dir=above) as place:
            found[name] = report(name, measure(Path(place), tiles, runs))
    found["largest process of ours, bytes"] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    (given.directory / "unpack.json").write_text(json.dumps(found, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
