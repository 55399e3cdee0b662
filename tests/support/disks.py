"""Disks of other kinds than the one that the tests run on."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


@contextmanager
def mounted(place: Path, *options: str) -> Iterator[Path]:
    """Mount something somewhere; the test is skipped where that is not allowed."""
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    place.mkdir(parents=True, exist_ok=True)
    result = subprocess.run(["mount", *options, str(place)], capture_output=True, text=True, check=False)
    if result.returncode:
        pytest.skip(f"this machine mounts nothing here: {result.stderr.strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)


@contextmanager
def of_whole_seconds(place: Path, image: Path) -> Iterator[Path]:
    """An ext2 whose inodes have no room for more than seconds."""
    if not shutil.which("mkfs.ext2", path=f"{os.environ['PATH']}:/usr/sbin:/sbin"):
        pytest.skip("'mkfs.ext2' is not here; install Debian's package 'e2fsprogs'")
    image.write_bytes(b"")
    os.truncate(image, 8 << 20)
    command = ["/usr/sbin/mkfs.ext2", "-q", "-I", "128", str(image)]
    subprocess.run(command, check=True, capture_output=True)
    with mounted(place, "-o", "loop", str(image)):
        probe = place / "probe"
        probe.touch()
        os.utime(probe, ns=(0, 1_500_000_000))
        assert probe.stat().st_mtime_ns == 1_000_000_000
        probe.unlink()
        yield place
