"""Verification: archives and unpacked files are read again and compared with what the stamps say of them."""

from __future__ import annotations

import os
import random
import stat
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from retrieve.archives import Verified
from retrieve.formats.kinds import is_fits, look_at
from retrieve.host.disk import local_file, md5_of, touch
from retrieve.output.claims import Claims
from retrieve.output.tree import Refused, Tree
from retrieve.stamps.members import MEMBERS, OBSOLETE, read_members, without_file
from retrieve.stamps.stamps import DOWNLOADED, EXTRACTED, Stamps

#: How a file compares with its record, in the signs of `rclone check`: as recorded, here only, recorded only,
#: different, cannot be told.
SAME, UNKNOWN, GONE, DIFFERENT, ERROR = "=", "-", "+", "*", "!"
BAD = (GONE, DIFFERENT, ERROR)
#: Files up to this many bytes are read whole.
_SMALL = 4 << 20


@dataclass(frozen=True)
class VerifyJob:
    """All that a process needs to verify one tile.

    Attributes
    ----------
    check
        See `unpack`.
    same
        Whether what is as recorded is reported, too.
    """

    tile: str
    stamps: Stamps
    archives: Path
    destination: Path
    check: str
    same: bool


@dataclass(frozen=True)
class Finding:
    """A line of the report.

    Attributes
    ----------
    sign
        One of the signs above.
    path
        Of the archive, or of the file below the destination.
    why
        A description of the problem, if the state is not enough.
    archive
        Whether it is an archive.
    """

    sign: str
    path: str
    why: str = ""
    archive: bool = False

    def __str__(self) -> str:
        return f"{self.sign} {self.path}" + (f" ({self.why})" if self.why else "")


@dataclass(frozen=True)
class Verdict:
    """The outcome of verifying a tile: numbers of archives and files read, and what was found.

    Attributes
    ----------
    state
        Mtimes of the stamps that it was compared with, in nanoseconds; 0 without a stamp.
    """

    tile: str
    archives: int
    files: int
    findings: tuple[Finding, ...]
    state: tuple[int, int] = (0, 0)

    def bad(self, *, archive: bool) -> list[Finding]:
        """Archives, or files, that are not as recorded."""
        return [one for one in self.findings if one.archive is archive and one.sign in BAD]


def state_of(stamps: Stamps, tile: str) -> tuple[int, int]:
    """Mtimes of the stamps that a tile is compared with."""
    return stamps.mtime_ns(DOWNLOADED, tile) or 0, stamps.mtime_ns(EXTRACTED, tile) or 0


def verify_tile(job: VerifyJob) -> Verdict:
    """Read the archives and the unpacked files of a tile again."""
    state = state_of(job.stamps, job.tile)
    archives = list(_archives(job))
    files = list(_files(job))
    shown = tuple(one for one in archives + files if one.sign != SAME or job.same)
    return Verdict(job.tile, len(archives), sum(one.sign != UNKNOWN for one in files), shown, state)


def _archives(job: VerifyJob) -> Iterator[Finding]:
    unpacked = job.stamps.extracted(job.tile).verified
    for name, one in job.stamps.downloaded(job.tile).verified.items():
        path = job.archives / name
        before = unpacked.get(name)
        try:
            if local_file(path) is None and before and before.mtime_ns == 0 and before.md5 == one.md5:
                continue  # freed after it was unpacked
            yield Finding(*_compare_archive(path, one), archive=True)
        except OSError as error:
            yield Finding(ERROR, str(path), str(error.strerror).lower(), archive=True)


def _compare_archive(path: Path, one: Verified) -> tuple[str, str, str]:
    held = local_file(path)
    if held is None:
        return GONE, str(path), "it is not here"
    if held.bytes != one.archive.bytes:
        return DIFFERENT, str(path), f"{held.bytes} bytes rather than {one.archive.bytes}"
    return (SAME, str(path), "") if md5_of(path) == one.md5 else (DIFFERENT, str(path), "another MD5")


def _files(job: VerifyJob) -> Iterator[Finding]:
    if job.stamps.handed_on(job.tile):
        return
    record = job.stamps.extracted(job.tile)
    unpacked = record.verified
    if not unpacked and job.stamps.mtime_ns(EXTRACTED, job.tile) is None:
        return
    members = read_members(job.stamps, job.tile)
    wanted: dict[str, int | None] = {}
    for name, one in unpacked.items():
        if name not in members or members[name].md5 != one.md5:
            yield Finding(ERROR, str(job.stamps.directory / MEMBERS / f"{job.tile}.gz"), f"it does not list '{name}'")
            return
        # A path that two archives brought is compared with the one whose file is there.
        wanted |= {path: size for path, size in members[name].files.items() if size is not None or path not in wanted}
    for name in members.keys() - unpacked.keys() - {OBSOLETE}:
        wanted |= dict.fromkeys(members[name].files.keys() - wanted.keys())
    whole = {} if record.only else {name: members[name] for name in unpacked}
    for name, file in without_file(whole, job.tile).items():
        yield Finding(GONE, file, f"'{name}' does not hold it")
    tree = Tree(job.destination)
    for directory, group in groupby(sorted(path.rpartition("/")[::2] for path in wanted), key=lambda pair: pair[0]):
        names = [name for _, name in group]
        try:
            with tree.directory(directory) as descriptor:
                yield from _compare_files(
                    job, directory, descriptor, {one: wanted[f"{directory}/{one}"] for one in names}
                )
        except (FileNotFoundError, Refused):
            yield from (Finding(GONE, f"{directory}/{name}", "its directory is not here") for name in names)


def _compare_files(job: VerifyJob, directory: str, descriptor: int, wanted: dict[str, int | None]) -> Iterator[Finding]:
    there = set(os.listdir(descriptor))
    for name, size in wanted.items():
        path = f"{directory}/{name}"
        if name not in there:
            yield Finding(GONE, path, "it is not here")
            continue
        status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
        if not stat.S_ISREG(status.st_mode):
            yield Finding(DIFFERENT, path, "no regular file")
        elif size is not None and status.st_size != size:
            yield Finding(DIFFERENT, path, f"{status.st_size} bytes rather than {size}")
        else:
            try:
                problem = _content_problem(job, path, descriptor, status.st_size)
            except OSError as error:
                yield Finding(ERROR, path, str(error.strerror).lower())
                continue
            yield Finding(DIFFERENT, path, problem) if problem else Finding(SAME, path)
    for name in sorted(there - wanted.keys()):
        if stat.S_ISREG(os.stat(name, dir_fd=descriptor, follow_symlinks=False).st_mode):
            yield Finding(UNKNOWN, f"{directory}/{name}")


def _content_problem(job: VerifyJob, path: str, directory: int, size: int) -> str | None:
    if job.check == "none" or not is_fits(path):
        return None
    if size > _SMALL:
        return look_at(path, job.destination / path, job.check).problem
    descriptor = os.open(path.rpartition("/")[2], os.O_RDONLY | os.O_NOFOLLOW, dir_fd=directory)
    try:
        content = os.read(descriptor, size + 1)
    finally:
        os.close(descriptor)
    return look_at(path, content, job.check).problem


def without_others(verdict: Verdict, claims: Claims) -> Verdict:
    """Leave out files that seemed unknown but belong to another tile in the same directory."""
    findings = tuple(one for one in verdict.findings if one.sign != UNKNOWN or not any(claims.of(one.path)))
    return Verdict(verdict.tile, verdict.archives, verdict.files, findings, verdict.state)


def take_stamps(verdict: Verdict, stamps: Stamps) -> None:
    """Remove the stamps that vouch for what is bad, so that the next download or untar mends it."""
    for one in verdict.bad(archive=True):
        if one.sign != GONE:
            # Without a known MD5, an archive whose mtime equals the source's date would pass for right.
            touch(Path(one.path))
        stamps.remove(DOWNLOADED, verdict.tile)
    if verdict.bad(archive=False):
        stamps.remove(EXTRACTED, verdict.tile)


def sample(tiles: list[str], share: float, seed: str) -> list[str]:
    """Choose a share of the tiles at random, at least one; the same ones for the same seed."""
    if share >= 1 or not tiles:
        return tiles
    ranked = sorted(tiles, key=lambda tile: zlib.crc32(f"{seed}{tile}".encode()))
    return sorted(ranked[: max(round(len(tiles) * share), 1)])


def new_seed() -> str:
    """Draw a seed for `sample`."""
    return f"{random.getrandbits(64):016x}"


class Checkpoint:
    """The tiles that a run has verified so far, so that the next run can go on where it was stopped.

    Parameters
    ----------
    kind
        The settings that decide what is verified; a run with others starts anew.
    """

    def __init__(self, path: Path, kind: str) -> None:
        self._path = path
        self.seed = new_seed()
        self.verdicts: dict[str, Verdict] = {}
        text = path.read_text(encoding="utf-8", errors="surrogateescape") if path.exists() else ""
        lines = text.splitlines(keepends=True)
        if lines and lines[0].startswith(f"# {kind} "):
            self.seed = lines[0].split()[-1]
            self._read(lines[1:])
        else:
            path.write_text(f"# {kind} {self.seed}\n", encoding="utf-8")

    def _read(self, lines: list[str]) -> None:
        findings: list[Finding] = []
        # The run was stopped while it wrote, or a power cut left zeros in place of what it had written.
        with suppress(ValueError):
            for line in lines:
                first, *fields, last = line.split("\t")
                if first == "":
                    sign, path, why = fields
                    findings.append(Finding(sign, path, why, last == "archive\n"))
                elif last.endswith("\n"):
                    downloaded, extracted, archives = map(int, fields)
                    state = downloaded, extracted
                    self.verdicts[first] = Verdict(first, archives, int(last), tuple(findings), state)
                    findings = []

    def add(self, verdict: Verdict, state: tuple[int, int]) -> None:
        """Note a verdict, and the stamps that the tile has now."""
        lines = [
            f"\t{one.sign}\t{one.path}\t{one.why}\t{'archive' if one.archive else 'file'}\n" for one in verdict.findings
        ]
        lines.append(f"{verdict.tile}\t{state[0]}\t{state[1]}\t{verdict.archives}\t{verdict.files}\n")
        with self._path.open("a", encoding="utf-8", errors="surrogateescape") as file:
            file.write("".join(lines))

    def finish(self) -> None:
        """Forget everything: the run is complete."""
        self._path.unlink(missing_ok=True)
