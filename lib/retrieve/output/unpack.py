"""Safe unpacking: an archive goes to a staging directory of its own, checked while it is written."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from retrieve.formats import fits
from retrieve.formats.gunzip import GzipError, gunzip
from retrieve.formats.kinds import check_fits, is_fits
from retrieve.formats.tar import DIRECTORY, HARD_LINK, REGULAR, SYMBOLIC_LINK, Member, TarError, TarStream
from retrieve.output.tree import OUTPUT, Refused

_DEEPEST = 64  # directories
_LONGEST = 4000  # bytes of a path
#: Bytes that do not count for the ratio: a flag image of 400 MB, which is nearly all zeros, is no bomb.
_UNCOUNTED = 1_000_000_000
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_CHUNK = 1 << 20
#: Names that need no closer look.
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,254}").fullmatch


@dataclass(frozen=True)
class Limits:
    """What one archive may bring at most.

    Attributes
    ----------
    members
        Number of members, and of directories made for them.
    bytes
        Unpacked bytes.
    ratio
        Unpacked bytes per byte of the archive, beyond the first 1 GB.
    """

    members: int = 200_000
    bytes: int = 200_000_000_000
    ratio: int = 200


#: For archives of which the user says that they are right all the same.
UNLIMITED = Limits(sys.maxsize, sys.maxsize, sys.maxsize)
_DOUBT = "is it a bomb? if not, FORCE=yes unpacks it"


def unpack(archive: Path, staging: Path, check: str, limits: Limits = Limits()) -> dict[str, int]:
    """Unpack one archive into a staging directory, which must be empty, and check what comes.

    Only regular files and directories are made. A link to a regular file of the same archive becomes a copy of it.

    Parameters
    ----------
    staging
        Directory of our own, in which nobody else writes.
    check
        ``quick`` looks at the structure of FITS files, ``full`` reads them and their checksums, ``none`` does neither.

    Returns
    -------
    dict
        Path below the destination and bytes of each file.

    Raises
    ------
    Refused
        If it is damaged, unsafe, or a file in it is.
    """
    budget = min(limits.bytes, _UNCOUNTED + limits.ratio * archive.stat().st_size)
    root = os.open(staging, os.O_RDONLY | os.O_DIRECTORY)
    unpacking = _Unpacking(staging, root, check, limits.members, budget)
    try:
        unpacking.run(TarStream(_bounded(gunzip(archive), budget)))
    except TarError as error:
        raise Refused(f"the tar archive is damaged: {error}") from error
    except GzipError as error:
        raise Refused(f"the gzip stream is damaged: {error}") from error
    finally:
        unpacking.close()
        os.close(root)
    return unpacking.files


class _Unpacking:
    """One archive on its way into a staging directory, whose descriptor is `root`.

    All paths are relative to it. No link is ever made in it, so that none can be followed.
    """

    def __init__(self, staging: Path, root: int, check: str, most: int, budget: int) -> None:
        self.files: dict[str, int] = {}
        self._staging = staging
        self._root = root
        self._check = check
        self._most = most
        self._budget = budget
        self._made: set[str] = {""}
        #: The directory in which files are being made, and its descriptor.
        self._open_path: str | None = None
        self._open = -1
        #: Directories as they are written in the archive -> as they are here, with a slash at the end.
        self._places: dict[str, str] = {}

    def run(self, tar: TarStream) -> None:
        places = self._places
        for count, member in enumerate(tar, start=1):
            if count + len(self._made) > self._most:
                raise Refused(f"it has more than {self._most} members, which FORCE=yes allows")
            written, _, name = member.name.rpartition("/")
            if member.kind == REGULAR and written in places and _PLAIN(name):
                path = places[written] + name
            else:
                path = _safe_path(member)
            try:
                self._take(member, path, tar)
            except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
                raise Refused(f"'{member.name}' is both a file and a directory") from error
            except OSError as error:
                if error.errno in (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL):
                    raise Refused(f"{member.name[:80]!r} is no name for a file here: {error.strerror}") from error
                raise
            if member.kind == REGULAR and written not in places:
                places[written] = path[: path.rindex("/") + 1]

    def _take(self, member: Member, path: str, tar: TarStream) -> None:
        if member.kind == DIRECTORY:
            self._make_directory(path)
            return
        if member.kind == REGULAR:
            self._spend(member, member.bytes)
            whole = tar.whole()
            if whole is None:
                self._write(path, tar.content(), member.mtime_ns)
            else:
                self._write_whole(path, whole, member.mtime_ns)
            self.files[path] = member.bytes
            return
        target = _link_target(path, member, self.files)
        self._spend(member, self.files[target])
        descriptor = os.open(target, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=self._root)
        try:
            self._write(path, iter(lambda: os.read(descriptor, _CHUNK), b""), os.fstat(descriptor).st_mtime_ns)
        finally:
            os.close(descriptor)
        self.files[path] = self.files[target]

    def _spend(self, member: Member, size: int) -> None:
        self._budget -= size
        if self._budget < 0:
            raise Refused(f"'{member.name}' brings it beyond what its size allows; {_DOUBT}")

    def _write_whole(self, path: str, content: bytes, mtime_ns: int) -> None:
        descriptor = self._new_file(path)
        try:
            _write_all(descriptor, content)
            os.utime(descriptor, ns=(mtime_ns, mtime_ns))
        finally:
            os.close(descriptor)
        if self._check != "none" and is_fits(path):
            # Where it is: in memory.
            self._refuse(
                path, fits.problem_of(content) or (fits.content_problem_of(content) if self._check == "full" else None)
            )

    def _write(self, path: str, pieces: Iterator[bytes], mtime_ns: int) -> None:
        descriptor = self._new_file(path)
        try:
            for piece in pieces:
                _write_all(descriptor, piece)
            os.utime(descriptor, ns=(mtime_ns, mtime_ns))
        finally:
            os.close(descriptor)
        self._refuse(path, check_fits(self._staging / path, self._check))

    def _refuse(self, path: str, problem: str | None) -> None:
        if problem:
            raise Refused(f"'{path}' is damaged: {problem}")

    def _new_file(self, path: str) -> int:
        """Make a file, in a directory that stays open as long as files come in it."""
        directory, _, name = path.rpartition("/")
        if directory != self._open_path:
            if directory not in self._made:
                self._make_directory(directory)
            self.close()
            self._open = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=self._root)
            self._open_path = directory
        try:
            return os.open(name, _NEW_FILE, 0o666, dir_fd=self._open)
        except FileExistsError:
            # A member that comes twice replaces the earlier one, as `tar` does it.
            if path not in self.files:
                raise
            os.unlink(name, dir_fd=self._open)
            return os.open(name, _NEW_FILE, 0o666, dir_fd=self._open)

    def close(self) -> None:
        """Close the directory that is open."""
        if self._open_path is not None:
            os.close(self._open)
            self._open_path = None

    def _make_directory(self, path: str) -> None:
        if path in self._made:
            return
        if path in self.files:
            raise NotADirectoryError
        self._make_directory(path.rpartition("/")[0])
        os.mkdir(path, dir_fd=self._root)
        self._made.add(path)


def _write_all(descriptor: int, content: bytes) -> None:
    written = os.write(descriptor, content)
    while written < len(content):
        written += os.write(descriptor, memoryview(content)[written:])


def _bounded(pieces: Iterable[bytes], most: int) -> Iterator[bytes]:
    """Pass on a stream, but not without end: headers, padding and what follows the end mark count, too."""
    for piece in pieces:
        most -= len(piece)
        # Headers and padding take 1,023 bytes for each member.
        if most < -_UNCOUNTED:
            raise Refused(f"it unpacks to more than its size allows; {_DOUBT}")
        yield piece


def _safe_path(member: Member) -> str:
    """Normalise a member's name to a path below `OUTPUT`, or refuse it."""
    name = member.name
    if member.kind not in (REGULAR, DIRECTORY, HARD_LINK, SYMBOLIC_LINK):
        raise Refused(f"{name[:200]!r} is a {member.kind}")
    if not name.isprintable():
        raise Refused(f"{name[:200]!r} has control characters in its name")
    if name.startswith("/"):
        raise Refused(f"'{name[:200]}' is an absolute path")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise Refused(f"'{name[:200]}' leads out of '{OUTPUT}/'")
    if len(name.encode()) > _LONGEST or any(len(part.encode()) > 255 for part in parts):
        raise Refused(f"'{name[:80]}…' is too long a name")
    if len(parts) > _DEEPEST:
        raise Refused(f"'{name[:80]}…' is more than {_DEEPEST} directories deep")
    if (parts[:1] != [OUTPUT] and parts) or (len(parts) < 2 and member.kind != DIRECTORY):
        raise Refused(f"'{name[:200]}' is not below '{OUTPUT}/'")
    return "/".join(parts)


def _link_target(path: str, member: Member, files: dict[str, int]) -> str:
    """Path of the regular file that a link points to; a link to anything else is refused."""
    base = "" if member.kind == HARD_LINK else path.rpartition("/")[0] + "/"
    target = os.path.normpath(base + member.target)
    if member.target.startswith("/") or target not in files or target == path:
        raise Refused(f"'{member.name}' is a {member.kind} to {member.target[:200]!r}, which is no file of the archive")
    return target
