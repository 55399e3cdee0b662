"""Extraction: the archives of whole tiles go into the output tree, several tiles at once, and are stamped."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

from retrieve.archives import Held, Verified, hold
from retrieve.errors import RetrieveError
from retrieve.stamps import EXTRACTED, Record, Stamps, Unpacked
from retrieve.unpack import Refused, Tree, is_tar, unpack

#: Directory below the destination in which tiles are unpacked before they get their place.
STAGING = ".unpacking"


@dataclass(frozen=True)
class TileJob:
    """What a process needs in order to unpack one tile.

    Attributes
    ----------
    tile
        Tile number.
    stamps
        Where its stamps are.
    archives, destination
        Directory of the archives, and the one that holds the output tree.
    check
        See `unpack`.
    """

    tile: str
    stamps: Stamps
    archives: Path
    destination: Path
    check: str

    @property
    def staging(self) -> Path:
        """Directory of our own on the file system of the destination."""
        return staging_of(self.destination, self.stamps) / self.tile


@dataclass(frozen=True)
class TileOutcome:
    """What became of a tile that was to be unpacked.

    Attributes
    ----------
    stamp, mtime_ns
        Text and mtime of the stamp that it gets; the text is empty if it failed.
    archives
        Number of archives that were unpacked: those that changed.
    files
        Number of files that it has in the output tree.
    obsolete
        Files that its earlier version had and this one has not.
    problem
        One line with the problem and the remedy.
    """

    tile: str
    stamp: str = ""
    mtime_ns: int = 0
    archives: int = 0
    files: int = 0
    obsolete: frozenset[str] = frozenset()
    problem: str | None = None


def staging_of(destination: Path, stamps: Stamps) -> Path:
    """Directory in which the tiles of some stamps are unpacked before they get their place."""
    return destination / STAGING / stamps.directory.name


def unpack_tile(job: TileJob) -> TileOutcome:
    """Unpack what changed of one tile: all of it appears in the output tree, or nothing."""
    found = job.stamps.downloaded_with_mtime(job.tile)
    if found is None:
        return TileOutcome(job.tile, problem=f"the stamp of tile '{job.tile}' is damaged; run 'make download'")
    record, mtime_ns = found
    previous = job.stamps.extracted(job.tile)
    try:
        shutil.rmtree(job.staging, ignore_errors=True)
        unpacked, fresh = _unpack_archives(job, record, previous)
        Tree(job.destination).adopt(job.staging, {path for name in fresh for path in unpacked.files[name]})
    except Refused as error:
        return TileOutcome(job.tile, problem=f"cannot unpack tile '{job.tile}': {error}")
    except OSError as error:
        return TileOutcome(
            job.tile,
            problem=f"cannot unpack tile '{job.tile}' into '{job.destination}': {error.strerror}; make room there, or "
            "give DEST another directory",
        )
    finally:
        shutil.rmtree(job.staging, ignore_errors=True)
    paths = unpacked.paths()
    return TileOutcome(job.tile, unpacked.text(), mtime_ns, len(fresh), len(paths), frozenset(previous.paths() - paths))


def _unpack_archives(job: TileJob, record: Record, previous: Unpacked) -> tuple[Unpacked, list[str]]:
    """Unpack into the staging directory the archives that are not those that were unpacked before."""
    verified: dict[str, Verified] = {}
    files: dict[str, dict[str, int]] = {}
    fresh: list[str] = []
    for name, one in record.verified.items():
        if not is_tar(name):
            continue
        verified[name] = one
        before = previous.verified.get(name)
        if before is not None and before.md5 == one.md5:
            files[name] = previous.files[name]
            continue
        path = job.archives / name
        if hold(path) != Held(one.archive.bytes, one.mtime_ns):
            raise Refused(f"'{path}' is not what was downloaded; run 'make download'")
        try:
            files[name] = unpack(path, job.staging, job.check)
        except Refused as error:
            # What was verified against the source's MD5 is the source's fault.
            at_source = "; it is so at the source" if one.archive.md5 == one.md5 else ""
            raise Refused(f"'{path}': {error}{at_source}; ask who made it") from error
        fresh.append(name)
    return Unpacked(record.source, verified, files), fresh


def extract(jobs: list[TileJob], stamps: Stamps, destination: Path) -> Iterator[TileOutcome]:
    """Unpack tiles with as many processes as there are cores, and stamp those that succeed.

    Files that only an earlier version of a tile had are removed before the tile is stamped, unless another tile put
    the same path there: these tiles come last.
    """
    replaced: list[TileOutcome] = []
    with ProcessPoolExecutor(min(os.cpu_count() or 1, len(jobs))) as pool:
        try:
            for outcome in pool.map(unpack_tile, jobs):
                if outcome.obsolete:
                    replaced.append(outcome)
                    continue
                if outcome.stamp:
                    _stamp(stamps, outcome)
                yield outcome
        except BrokenProcessPool as error:
            raise RetrieveError("a process that unpacked was killed, perhaps for want of memory; try again") from error
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    obsolete = {path for outcome in replaced for path in outcome.obsolete}
    kept = _paths_of_others(obsolete, stamps, {outcome.tile for outcome in replaced})
    for outcome in replaced:
        kept |= Unpacked.parse(outcome.stamp).paths() & obsolete
    Tree(destination).remove(obsolete - kept)
    for outcome in replaced:
        _stamp(stamps, outcome)
        yield outcome


def _stamp(stamps: Stamps, outcome: TileOutcome) -> None:
    stamps.write(EXTRACTED, outcome.tile, outcome.stamp, outcome.mtime_ns, sync=True)


def _paths_of_others(paths: set[str], stamps: Stamps, tiles: set[str]) -> set[str]:
    """Those of some paths that other tiles than these unpacked as well."""
    if not paths:
        return set()
    others = stamps.tiles(EXTRACTED).keys() - tiles
    return {path for tile in others for path in stamps.extracted(tile).paths() & paths}
