"""Forecast: how many files and bytes will be unpacked, and the room that they need, estimated beforehand."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from retrieve.archives import is_tar
from retrieve.formats.gunzip import GzipError, gunzip
from retrieve.formats.header import DIRECTORY, TarError
from retrieve.formats.tar import TarStream
from retrieve.output.staging import TileJob
from retrieve.selection import Selection
from retrieve.wording import size, some

#: Number of tiles whose archives are opened to learn how many files a tile has.
_LOOKED_INTO = 3
#: The length at the end of a gzip stream is modulo this (RFC 1952).
_WRAPS = 1 << 32
#: Block size in bytes. Some network file systems report megabytes, which is not what a file takes up.
_BLOCK = 4096


@dataclass(frozen=True)
class Need:
    """What some tiles need on disk: bytes, and files with directories; and how many archives they have."""

    tiles: list[str]
    archives: int
    bytes: int
    files: int

    @property
    def bytes_on_disk(self) -> int:
        """Bytes that they take up: a file ends within a block; tar's header and padding make up for a part of that."""
        return self.bytes + self.files * (_BLOCK // 2 - 768)

    def summary(self) -> str:
        """Write it in a line."""
        if not self.tiles:
            return "nothing to unpack"
        what, files = f"{some(self.archives, 'archive')} of {some(len(self.tiles), 'tile')}", some(self.files, "file")
        return f"{what} to unpack: about {size(self.bytes)} in {files} and directories"

    def data(self) -> dict[str, object]:
        """Write it for programs."""
        return {"tiles": self.tiles, "bytes": self.bytes, "files": self.files}


def need(jobs: list[TileJob]) -> Need:
    """Estimate what some tiles that are not unpacked yet will need."""
    paths = {job.tile: _changed(job) for job in jobs}
    looked_into = jobs[:: max(len(jobs) // _LOOKED_INTO, 1)][:_LOOKED_INTO]
    counts = [_count(path, job.only) for job in looked_into for path in paths[job.tile]]
    counted, selected, whole = map(sum, zip((0, 0, 0), *counts, strict=True))
    files = -(-counted * len(jobs) // max(len(looked_into), 1))
    share = min(selected / max(whole, 1), 1) if looked_into and jobs[0].only else 1
    return Need(
        [job.tile for job in jobs],
        sum(map(len, paths.values())),
        int(share * sum(_unpacked_bytes(path) for several in paths.values() for path in several)),
        files,
    )


def most_on_disk(jobs: list[TileJob]) -> dict[str, int]:
    """Bytes that the files of each tile take up on disk, rather too many than too few."""
    looked_into = jobs[:: max(len(jobs) // _LOOKED_INTO, 1)][:_LOOKED_INTO]
    files = max((sum(_count(path, job.only)[0] for path in _changed(job)) for job in looked_into), default=0)
    return {job.tile: sum(map(_unpacked_bytes, _changed(job))) + files * _BLOCK for job in jobs}


def _changed(job: TileJob) -> list[Path]:
    last = job.stamps.extracted(job.tile)
    before = last.verified if last.only.covers(job.only) and not job.stamps.handed_on(job.tile) else {}
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
    # Incompressible data grow by less than a thousandth.
    return length if length >= packed - packed // 1000 - 100 else length + _WRAPS * (1 + packed // _WRAPS)


def _count(path: Path, only: Selection) -> tuple[int, int, int]:
    """Count the selected files and directories, their bytes, and all bytes, as far as the archive can be read."""
    directories: set[str] = set()
    count = selected = whole = 0
    try:
        for member in TarStream(gunzip(path)):
            whole += member.bytes
            if member.name.removeprefix("./").rstrip("/") not in only:
                continue
            selected += member.bytes
            directories.add(member.name.rstrip("/") if member.kind == DIRECTORY else member.name.rpartition("/")[0])
            count += member.kind != DIRECTORY
    except (GzipError, TarError, OSError):
        pass
    return count + len(directories), selected, whole
