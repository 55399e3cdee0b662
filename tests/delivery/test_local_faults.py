"""Faults of the place where archives are put: no room, no permission, a disk that fails, another run at work."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from retrieve.delivery.part import PART
from support.site import HERE, TILES, Site, names
from vospace_demo.faults import Fault
from vospace_demo.server import VOSpace


def mount(target: Path, options: str) -> None:
    """Mount a small file system in memory, or mount it anew; skip the test where that is not allowed."""
    target.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(target)], text=True, capture_output=True)
    if done.returncode:
        pytest.skip(f"needs a container with CAP_SYS_ADMIN: a file system is mounted ({done.stderr.strip()})")


@pytest.fixture
def small(site: Site) -> Iterator[Path]:
    """The directory of the archives, which is unmounted after the test."""
    if os.geteuid() != 0:
        pytest.skip("needs root: a file system is mounted")
    target = site.directory / "archives"
    target.mkdir()
    yield target
    while os.path.ismount(target):
        subprocess.run(["umount", str(target)], check=True)


def fill(container: Path, size: int) -> None:
    """Give every first archive of a tile at least so many bytes, as sound gzip streams."""
    for tile in TILES:
        path = container / names(tile)[0]
        path.write_bytes(gzip.compress(os.urandom(size), compresslevel=0))


def check_whole(site: Site, container: Path) -> None:
    """What has a final name is as at the source, and every stamp stands for all archives of its tile."""
    here = site.directory / "archives"
    archives = [path for path in here.iterdir() if not path.name.endswith(PART)]
    assert all(path.read_bytes() == (container / path.name).read_bytes() for path in archives)
    stamped = {path.partition("/")[2] for path in site.stamps() if path.startswith("downloaded/")}
    assert {name for tile in stamped for name in names(tile)} <= {path.name for path in archives}


def check_completes(site: Site, container: Path) -> None:
    """A run without the fault brings the rest, and leaves nothing else behind."""
    site.done("download")
    check_complete(site, container)


def check_complete(site: Site, container: Path) -> None:
    """All is here, and nothing else."""
    check_whole(site, container)
    assert {path.name for path in (site.directory / "archives").iterdir()} == {
        name for tile in TILES for name in names(tile)
    }


def test_what_cannot_fit_is_refused_with_the_figures_unless_forced(site: Site, container: Path, small: Path) -> None:
    fill(container, 100_000)
    site.list_tiles(*TILES)
    site.done("avail", f"INPUT_PATH={container}")
    mount(small, "size=600k")
    result = site.make("download")
    assert result.returncode == 2
    figures = re.search(r"not enough space in 'archives': (.*) are needed and (.*) are free; make room", result.stderr)
    assert figures, result.stderr
    # 10 archives of 100,000 bytes and 60 small ones, in blocks of 4096.
    assert figures.groups() == ("1.3 MB", "614.4 kB")
    assert result.stderr.count("\n") == 2, "one line, and that of make"
    assert list(small.iterdir()) == []

    result = site.make("download", "FORCE=yes")
    assert result.returncode == 2
    assert re.search(
        r"cannot fetch '\S+\.tgz': no space left on device; make room there, or name another directory", result.stderr
    ), result.stderr
    assert result.stderr.count("cannot fetch ") == 1
    check_whole(site, container)
    mount_again(small, "size=20M")
    check_completes(site, container)


def test_a_large_archive_that_fills_the_disk_is_gone_on_with_when_there_is_room(
    site: Site, vault: str, container: Path, small: Path, space: VOSpace
) -> None:
    """It is written beside the thread that reads it."""
    name, size = names(TILES[0])[0], 15_000_000
    (container / name).write_bytes(os.urandom(size))
    site.list_tiles(TILES[0])
    site.done("avail", f"INPUT_PATH={vault}", "PRODUCTS=final_cat")
    mount(small, "size=10M")
    result = site.make("download", "FORCE=yes")
    assert result.returncode == 2
    assert f"cannot fetch '{name}': no space left on device; make room there" in result.stderr
    (part,) = small.iterdir()
    came = part.stat().st_size
    assert part.read_bytes() == (container / name).read_bytes()[:came]
    assert came > 7_500_000
    mount_again(small, "size=40M")
    space.forget()
    site.done("download")
    assert space.requests().bytes == {name: size - came}
    assert site.files("archives") == {name: (container / name).read_bytes()}


def mount_again(target: Path, options: str) -> None:
    """Change a file system that is mounted."""
    subprocess.run(["mount", "-o", f"remount,{options}", str(target)], check=True)


def test_too_few_inodes_are_refused_with_the_figures(site: Site, small: Path, container: Path) -> None:
    site.list_tiles(*TILES)
    site.done("avail", f"INPUT_PATH={container}")
    mount(small, "nr_inodes=20")
    result = site.make("download")
    assert result.returncode == 2
    assert "not enough inodes in 'archives': 70 are needed and 19 are free; remove files, " in result.stderr
    result = site.make("download", "FORCE=yes")
    assert result.returncode == 2
    assert "no space left on device; make room there" in result.stderr
    check_whole(site, container)
    mount_again(small, "nr_inodes=200")
    check_completes(site, container)


def test_what_replaces_needs_only_what_is_there_twice_for_a_moment(site: Site, small: Path, container: Path) -> None:
    fill(container, 100_000)
    site.list_tiles(*TILES)
    site.done("avail", f"INPUT_PATH={container}")
    mount(small, "size=1800k")
    site.done("download")
    fill(container, 100_000)
    site.done("avail")
    result = site.make("download", "JOBS=8")
    assert result.returncode == 2
    assert "not enough space" in result.stderr
    site.done("download", "JOBS=2")
    check_complete(site, container)


def test_no_room_for_a_stamp_is_told_and_the_tile_is_stamped_by_the_next_run(
    site: Site, small: Path, container: Path
) -> None:
    """The archives have room, the stamps have not."""
    site.list_tiles(*TILES)
    mount(small, "size=400k")
    words = f"STAMPS={small}", "ARCHIVES=fetched"
    site.done("avail", f"INPUT_PATH={container}", *words)
    filler = small / "filler"
    status = os.statvfs(small)
    filler.write_bytes(b"\0" * (status.f_bavail - 3) * status.f_frsize)
    result = site.make("download", *words)
    assert result.returncode == 2
    assert f"in '{small}': no space left on device; make room there" in result.stderr, result.stderr
    stamped = [path for path in (small / "mccd/downloaded").glob("2*") if path.stat().st_size]
    assert len(stamped) < len(TILES)
    assert all((site.directory / "fetched" / name).exists() for path in stamped for name in names(path.name))
    filler.unlink()
    site.done("download", *words)
    assert site.files("fetched") == {name: (container / name).read_bytes() for tile in TILES for name in names(tile)}
    assert len(list((small / "mccd/downloaded").glob("2*"))) == len(TILES)


def test_a_directory_that_may_not_be_written_is_named(site: Site, small: Path, container: Path) -> None:
    site.list_tiles(*TILES)
    site.done("avail", f"INPUT_PATH={container}")
    mount(small, "size=20M")
    mount_again(small, "ro")
    result = site.make("download")
    assert result.returncode == 2
    assert re.search(
        r"cannot fetch '\S+': read-only file system; name a directory that you may write in\n", result.stderr
    ), result.stderr
    assert result.stderr.count("cannot fetch ") == 1
    mount_again(small, "rw")
    check_completes(site, container)


@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace: apt-get install strace")
@pytest.mark.parametrize("call", ["fsync", "write", "rename"])
def test_a_disk_that_fails_leaves_nothing_that_is_not_on_it(call: str, site: Site, vault: str, container: Path) -> None:
    """Such calls fail from the second of each thread on, or the tenth, or the twentieth."""
    site.begin("listed", vault)
    inject = {"fsync": "fsync", "write": "write", "rename": "rename,renameat,renameat2"}[call]
    begin = {"fsync": 2, "write": 20, "rename": 10}[call]
    # A file of each thread: in one, what a thread calls is split in two where another calls something meanwhile.
    words = ["strace", "-ff", "-qq", "-y", "-o", "trace", "-e", f"trace={inject}",
             "-e", f"inject={inject}:error=EIO:when={begin}+", str(HERE / "bin/retrieve"), "download",
             "JOBS=4", "INSECURE=yes"]  # fmt: skip
    (site.directory / "stamps/mccd/stale-download").write_text("\n".join(TILES))
    result = site.run(*words)
    assert result.returncode in (1, 2), result.stderr
    if call != "write":
        assert "input/output error; check the disk" in result.stderr, result.stderr
    assert "Traceback" not in result.stderr
    check_whole(site, container)
    if call == "fsync":
        # What a disk did not take may be in memory only: it is not gone on with.
        trace = "".join(path.read_text() for path in site.directory.glob("trace.*"))
        refused = [Path(path) for path in re.findall(r"fsync\(\d+<(.*\.part)>.*INJECTED", trace)]
        assert refused
        assert not [path for path in refused if path.exists()]
    check_completes(site, container)


@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace: apt-get install strace")
def test_a_quota_that_is_used_up_meanwhile_ends_the_run_as_a_full_disk_does(
    site: Site, vault: str, container: Path
) -> None:
    name, size = names(TILES[0])[0], 3_000_000
    (container / name).write_bytes(os.urandom(size))
    site.list_tiles(*TILES)
    site.done("avail", f"INPUT_PATH={vault}", "PRODUCTS=final_cat")
    (site.directory / "stamps/mccd/stale-download").write_text("\n".join(TILES))
    md5 = hashlib.md5((container / name).read_bytes()).hexdigest()
    part = site.directory / "archives" / f"{name}.{md5}{PART}"
    result = site.run(
        *("strace", "-f", "-qq", "-o", "/dev/null", "-P", str(part), "-e", "trace=write"),
        *("-e", "inject=write:error=EDQUOT:when=2+", str(HERE / "bin/retrieve"), "download", "JOBS=1"),
        *("PRODUCTS=final_cat", "INSECURE=yes"),
    )
    assert result.returncode == 2
    assert result.stderr.splitlines()[1:] == [
        f"cannot fetch '{name}': disk quota exceeded; make room in your quota, or name another directory",
        "10 of 10 tiles failed; see above",
    ]
    (came,) = site.files("archives").items()
    assert came[0] == part.name
    assert 0 < len(came[1]) < size
    assert came[1] == (container / name).read_bytes()[: len(came[1])]


def test_running_out_of_descriptors_is_told_and_the_next_run_completes(
    site: Site, vault: str, container: Path, space: VOSpace
) -> None:
    site.begin("listed", vault)
    # All transfers are under way at the same time.
    space.fault(Fault("stall", node="*.tgz", count=-1, at=50, seconds=0.1))
    result = site.run("sh", "-c", f"ulimit -n 25; exec make -f '{HERE}/Makefile' download JOBS=40 RETRIES=0")
    assert result.returncode == 2
    assert "raise the limit with 'ulimit -n 1024', or lower JOBS" in result.stderr, result.stderr
    assert "Traceback" not in result.stderr
    check_whole(site, container)
    space.clear_faults()
    check_completes(site, container)


def test_something_in_the_place_of_an_archive_does_not_stop_the_others(site: Site, container: Path) -> None:
    site.list_tiles(*TILES)
    site.done("avail", f"INPUT_PATH={container}")
    name = names(TILES[3])[2]
    (site.directory / "archives" / name).mkdir(parents=True)
    result = site.make("download")
    assert result.returncode == 2
    assert f"cannot fetch '{name}': is a directory; " in result.stderr
    assert "1 of 10 tiles failed" in result.stderr
    (site.directory / "archives" / name).rmdir()
    check_completes(site, container)


#: Runs a command and prints the most memory that it had, in units of 1024 bytes.
PEAK = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=True)
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)
"""


@pytest.mark.parametrize("kind", ["vos", "directory"])
def test_memory_does_not_grow_with_an_archive(kind: str, site: Site, vault: str, container: Path) -> None:
    """Neither where an MD5 is compared, nor where there is none and the gzip stream is read to its end."""
    input_path = f"INPUT_PATH={vault if kind == 'vos' else container}"
    sizes = dict(zip(TILES, (1_000_000, 40_000_000), strict=False))
    for tile, size in sizes.items():
        (container / names(tile)[0]).write_bytes(gzip.compress(os.urandom(size), compresslevel=0))
    site.list_tiles(*sizes)
    site.done("avail", input_path, "PRODUCTS=final_cat")
    peaks = []
    for tile, size in sizes.items():
        (site.directory / "stamps/mccd/stale-download").write_text(tile)
        # A process of its own asks, since a child is charged with what its parent had when it was forked.
        result = site.run(
            *(sys.executable, "-c", PEAK, str(HERE / "bin/retrieve"), "download"),
            *(input_path, "PRODUCTS=final_cat", "INSECURE=yes"),
        )
        assert result.returncode == 0, result.stderr
        peaks.append(int(result.stdout.split()[-1]) * 1024)
        assert (site.directory / "archives" / names(tile)[0]).stat().st_size > size
    assert peaks[1] - peaks[0] < 25_000_000, peaks


def snapshot(directory: Path) -> dict[str, tuple[bytes, int]]:
    """Content and mtime of every file below a directory, but for the lists that Make collects anew each time."""
    return {
        str(path): (path.read_bytes(), 0 if path.name.startswith("stale-") else path.stat().st_mtime_ns)
        for path in directory.rglob("*")
        if path.is_file()
    }


def test_a_dry_run_tells_the_plan_by_product_and_changes_nothing(
    site: Site, vault: str, container: Path, space: VOSpace
) -> None:
    site.begin("listed", vault)
    site.list_tiles(*TILES[:2], name="first.txt")
    site.done("download", "TILES=first.txt")
    (site.directory / "archives" / names(TILES[0])[1]).unlink()
    space.forget()
    before = snapshot(site.directory)
    assert site.json("download", "DRYRUN=yes")["fetch"]["pipeline_flag"] == 9
    text = site.done("download", "DRYRUN=yes")
    assert snapshot(site.directory) == before
    assert space.requests().total == 0
    lines = text.splitlines()
    assert lines[0].startswith("57 archives of 9 tiles to fetch, ")
    assert lines[0].endswith("; 6 of them are here")
    rows = {line.split()[0]: line.split()[1:] for line in lines[1:]}
    assert list(rows) == [name.rpartition("_")[0] for name in names(TILES[0])]
    for product, (count, *size) in rows.items():
        missing = TILES[2:] if product != "pipeline_flag" else (TILES[0], *TILES[2:])
        assert int(count) == len(missing)
        total = sum((container / f"{product}_{tile}.tgz").stat().st_size for tile in missing)
        assert float(size[0]) == pytest.approx(total / {"B": 1, "kB": 1000}[size[1]], abs=0.06)
