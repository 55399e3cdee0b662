"""Staging: one tile is unpacked into a directory of its own, where it waits for its place in the output tree.

The function `unpack_tile` runs in a process of its own, so its argument and its result are pickled.
"""

from __future__ import annotations

import errno
import glob
import shutil
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from retrieve.archives import LocalFile, Verified, is_tar
from retrieve.errors import remedy
from retrieve.host.disk import local_file
from retrieve.output.tree import OUTPUT, STAGING, Refused
from retrieve.output.unpack import Extracted, Limits, unpack
from retrieve.selection import EVERYTHING, Selection
from retrieve.stamps.members import OBSOLETE, Members, Unpacked, pack, paths_of, read_members, without_file
from retrieve.stamps.stamps import Record, Stamps


@dataclass(frozen=True)
class TileJob:
    """All that a process needs to unpack one tile.

    Attributes
    ----------
    tile
        Tile number.
    stamps
        Where its stamps are.
    archives, destination
        Directory of the archives, and the one that holds the output tree.
    check, limits
        See `unpack`.
    partial
        Whether the other archives of a tile are unpacked when one is refused; otherwise the whole tile is held back.
    only
        Which files are to be unpacked.
    """

    tile: str
    stamps: Stamps
    archives: Path
    destination: Path
    check: str
    limits: Limits
    partial: bool = False
    only: Selection = EVERYTHING

    @property
    def staging(self) -> Path:
        """Directory of our own in the output tree; each archive has one of its own in it."""
        return self.destination / OUTPUT / STAGING / self.stamps.directory.name / self.tile


@dataclass(frozen=True)
class TileOutcome:
    """The outcome of unpacking a tile.

    Attributes
    ----------
    record, mtime_ns
        Content and mtime that its stamp is to get.
    members
        Its list of members, packed, including files of its earlier version that are to be removed.
    fresh
        The archives that were unpacked, those that changed, in the order of their staging directories.
    kept
        Paths of those archives that an earlier run with fewer patterns unpacked.
    carried
        Whether the files of other archives of it were unpacked by an earlier run.
    files
        Number of files that it has in the output tree.
    replaces
        Whether its earlier version had files that this one has not.
    superseded
        Paths that another archive brought with different content; the newer file has the place.
    left_out, half_ended, loose_ends
        Number of links that were left out of them, of archives whose end mark is cut in half, and of FITS files whose
        data are all there but not what fills them up.
    lacking
        A line for each file that its archives should contain but do not.
    empty
        A line for each archive that contains no file and need not contain one.
    refused
        The problem of each archive that was left out, a line each.
    problem
        One line with the problem and the remedy.
    full
        The problem is that the disk is full.
    """

    tile: str
    record: Record = field(default_factory=Record)
    mtime_ns: int = 0
    members: bytes = b""
    fresh: tuple[str, ...] = ()
    kept: frozenset[str] = frozenset()
    carried: bool = False
    files: int = 0
    replaces: bool = False
    superseded: tuple[str, ...] = ()
    left_out: int = 0
    half_ended: int = 0
    loose_ends: int = 0
    lacking: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()
    refused: tuple[str, ...] = ()
    problem: str | None = None
    full: bool = False


def unpack_tile(job: TileJob) -> TileOutcome:
    """Unpack what changed of one tile into its staging directory, where it is left."""
    found = job.stamps.downloaded_with_mtime(job.tile)
    if found is None:
        return TileOutcome(job.tile, problem=f"the stamp of tile '{job.tile}' is damaged; run 'make download'")
    record, mtime_ns = found
    previous = read_members(job.stamps, job.tile)
    try:
        _remove(job.staging)
        outcome = _unpack_archives(job, record, previous)
    except Refused as error:
        problem = TileOutcome(job.tile, problem=f"cannot unpack tile '{job.tile}': {error}")
    except OSError as error:
        problem = failed(job.tile, job.destination, error)
    else:
        # With an archive or files left out, or without its file, the stamp stays behind: the tile is collected again,
        # and what is wrong with it is told again.
        behind = outcome["refused"] or outcome["lacking"] or outcome["record"].only
        return TileOutcome(mtime_ns=mtime_ns - bool(behind), **outcome)
    shutil.rmtree(job.staging, ignore_errors=True)
    return problem


def failed(tile: str, destination: Path, error: OSError) -> TileOutcome:
    """Turn an error of the operating system into the outcome of a tile."""
    return TileOutcome(
        tile,
        problem=f"cannot unpack tile '{tile}' into '{destination}': {_about(error)}{remedy(error)}",
        full=error.errno in (errno.ENOSPC, errno.EDQUOT),
    )


def _about(error: OSError) -> str:
    return f"'{error.filename}': " if error.filename else ""


def _remove(directory: Path) -> None:
    """Remove the remains of an earlier run of a tile.

    Raises
    ------
    Refused
        If something of it cannot be removed; says what.
    """

    def refuse(_: object, path: str, caught: tuple[type[OSError], OSError, object]) -> None:
        if not isinstance(caught[1], FileNotFoundError):
            raise Refused(f"cannot remove '{path}', which an earlier run left: {remedy(caught[1])}") from caught[1]

    shutil.rmtree(directory, onerror=refuse)


def _unpack_archives(job: TileJob, record: Record, previous: Members) -> dict[str, Any]:
    """Unpack the archives that differ from those unpacked before; give the fields of the outcome."""
    last = job.stamps.extracted(job.tile)
    before = last.verified
    only = last.only | job.only if last.only else job.only
    kept: set[str] = set()
    verified: dict[str, Verified] = {}
    members: Members = {}
    fresh: list[str] = []
    refused: list[str] = []
    left_out = half_ended = loose_ends = 0
    for name, one in record.verified.items():
        if not is_tar(name):
            continue
        verified[name] = one
        if name in before and name in previous and before[name].md5 == previous[name].md5 == one.md5:
            if last.only.covers(job.only):
                members[name] = previous[name]
                continue
            kept |= previous[name].files.keys()
        try:
            content = _unpack_archive(job, one, len(fresh), only)
        except Refused as error:
            if not job.partial:
                raise
            shutil.rmtree(job.staging / str(len(fresh)), ignore_errors=True)
            refused.append(f"cannot unpack {error}")
            del verified[name]
            continue
        members[name] = Unpacked(one.md5, one.archive.date, dict(content.files), list(content.left_out))
        left_out += len(content.left_out)
        half_ended += content.half_ended
        loose_ends += content.loose_ends
        fresh.append(name)
    if not fresh:
        only = last.only
    hollow = {} if only else without_file(members, job.tile)
    # Archives that this run does not cover, such as products that PRODUCTS leaves out now, stay.
    verified |= {name: one for name, one in before.items() if name not in verified and name in previous}
    members |= {name: one for name, one in previous.items() if name not in members and name != OBSOLETE}
    paths = paths_of(members)
    obsolete = sorted(paths_of(previous) - paths)
    listed = members | ({OBSOLETE: Unpacked(OBSOLETE, OBSOLETE, dict.fromkeys(obsolete, 0))} if obsolete else {})
    return {
        "tile": job.tile,
        "record": Record(record.source, verified, only),
        "members": pack(listed),
        "fresh": tuple(fresh),
        "kept": frozenset(kept),
        "carried": len(members) > len(fresh),
        "files": len(paths),
        "replaces": bool(obsolete),
        "refused": tuple(refused),
        "left_out": left_out,
        "half_ended": half_ended,
        "loose_ends": loose_ends,
        "lacking": tuple(
            f"'{job.archives / name}' holds no '{file}'; ask who made it" for name, file in hollow.items()
        ),
        "empty": tuple(
            f"'{job.archives / name}' holds no file; ask who made it"
            for name in fresh
            if not members[name].files and name not in hollow and not only
        ),
    }


def _unpack_archive(job: TileJob, one: Verified, number: int, only: Selection) -> Extracted:
    path = job.archives / one.archive.name
    if local_file(path) != LocalFile(one.archive.bytes, one.mtime_ns):
        raise Refused(f"'{path}' is not what was downloaded; run 'make download'")
    staging = _made(job.staging / str(number))
    try:
        content = unpack(path, staging, job.check, job.limits, only)
        if content.needed:
            _remove(staging)
            linked = Selection(tuple(map(glob.escape, content.needed)))
            content = unpack(path, _made(staging), job.check, job.limits, only | linked)
            for left in [one for one in content.files if one not in only]:
                (staging / left).unlink()
                del content.files[left]
        return content
    except Refused as error:
        # The archive has the source's MD5, so the damage was done there.
        remedy = (
            "it is so at the source, and fetching it again will not help: ask who made it"
            if one.archive.md5 == one.md5
            else "delete it to have it fetched again, or ask who made it"
        )
        raise Refused(f"'{path}': {error}; {remedy}") from error


def _made(directory: Path) -> Path:
    while True:
        try:
            directory.mkdir(parents=True)
        except FileNotFoundError:
            continue  # another shard found what is above it empty, and removed that
        return directory


def clear(destination: Path, stamps: Stamps, tiles: Iterable[str]) -> None:
    """Remove what this run, or one that was killed, left in the staging directories of some tiles."""
    directory = destination / OUTPUT / STAGING / stamps.directory.name
    with suppress(FileNotFoundError):
        left = {path.name for path in directory.iterdir()}
        for tile in left.intersection(tiles):
            shutil.rmtree(directory / tile, ignore_errors=True)
    for empty in (directory, directory.parent):
        with suppress(OSError):  # another run may be using it
            empty.rmdir()
