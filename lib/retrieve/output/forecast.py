"""Forecast: what is to be unpacked comes to, estimated beforehand, and whether that fits on the disk."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from retrieve.errors import RetrieveError
from retrieve.formats.gunzip import GzipError, gunzip
from retrieve.formats.header import DIRECTORY, TarError
from retrieve.formats.kinds import is_tar
from retrieve.formats.tar import TarStream
from retrieve.output.staging import TileJob
from retrieve.wording import size

#: Tiles whose archives are looked into, in order to know how many files a tile has.
_LOOKED_INTO = 3
#: The length at the end of a gzip stream is modulo this (RFC 1952).
_WRAPS = 1 << 32


@dataclass(frozen=True)
class Need:
    """What some tiles need on disk: bytes, and files with directories; and how many archives they have."""

    archives: int
    bytes: int
    files: int


def need(jobs: list[TileJob]) -> Need:
    """Estimate what the archives of some tiles that are not unpacked yet come to."""
    paths = {job.tile: _changed(job) for job in jobs}
    some = jobs[:: max(len(jobs) // _LOOKED_INTO, 1)][:_LOOKED_INTO]
    counted = sum(_count(path) for job in some for path in paths[job.tile])
    files = -(-counted * len(jobs) // max(len(some), 1))
    return Need(
        sum(map(len, paths.values())),
        sum(_unpacked_bytes(path) for several in paths.values() for path in several),
        files,
    )


def check_room(needed: Need, destination: Path) -> None:
    """Make sure that what is to be unpacked fits.

    Raises
    ------
    RetrieveError
        With the figures, if it does not.
    """
    status = os.statvfs(destination)
    free = status.f_bavail * status.f_frsize
    # A file ends within a block; tar's header and padding make up for a part of that.
    wanted = needed.bytes + needed.files * max(status.f_frsize // 2 - 768, 0)
    if wanted > free:
        raise RetrieveError(
            f"not enough space in '{destination}': about {size(wanted)} are needed and {size(free)} are free; make "
            "room, give DEST another directory, or FORCE=yes"
        )
    # Some file systems make inodes as they go, and report none at all.
    if status.f_files and needed.files > status.f_favail:
        raise RetrieveError(
            f"not enough inodes in '{destination}': about {needed.files} are needed and {status.f_favail} are free; "
            "remove files, give DEST another directory, or FORCE=yes"
        )


def _changed(job: TileJob) -> list[Path]:
    before = job.stamps.extracted(job.tile).verified
    return [
        job.archives / name
        for name, one in job.stamps.downloaded(job.tile).verified.items()
        if is_tar(name) and (name not in before or before[name].md5 != one.md5)
    ]


def _unpacked_bytes(path: Path) -> int:
    """Length that the last gzip stream of a file says it has; not less than the file's own."""
    try:
        with path.open("rb") as file:
            packed = file.seek(0, 2)
            file.seek(max(packed - 4, 0))
            length = int.from_bytes(file.read(4), "little")
    except OSError:
        return 0
    # What does not compress at all grows by less than a thousandth.
    return length if length >= packed - packed // 1000 - 100 else length + _WRAPS * (1 + packed // _WRAPS)


def _count(path: Path) -> int:
    """Files and directories of an archive, as far as it can be read."""
    directories: set[str] = set()
    count = 0
    try:
        for member in TarStream(gunzip(path)):
            directories.add(member.name.rstrip("/") if member.kind == DIRECTORY else member.name.rpartition("/")[0])
            count += member.kind != DIRECTORY
    except (GzipError, TarError, OSError):
        pass
    return count + len(directories)
