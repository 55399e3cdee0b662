"""Safe unpacking: an archive is unpacked into a staging directory of its own, and checked on the way."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from retrieve.formats.gunzip import GzipError, NoGzip, gunzip
from retrieve.formats.header import DIRECTORY, HARD_LINK, REGULAR, SYMBOLIC_LINK, Member, TarError
from retrieve.formats.kinds import look_at
from retrieve.formats.tar import TarStream
from retrieve.output.tree import LONGEST, NEW_FILE, Refused, safe_path
from retrieve.selection import EVERYTHING, Selection

#: Bytes that do not count for the ratio: a flag image of 400 MB, which is nearly all zeros, is no bomb.
_UNCOUNTED = 1_000_000_000
#: So many links that lead to links are followed, one after the other; Linux has the same limit.
_HOPS = 40
_CHUNK = 1 << 20
#: The largest file that every file system can keep (FAT: 4 GiB less one byte).
_LARGEST = (4 << 30) - 1
#: Names that need no closer look.
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,254}").fullmatch
#: macOS keeps a file's attributes beside it under this prefix (AppleDouble, RFC 1740): no data.
_APPLE_DOUBLE, _APPLE_DOUBLE_NAME = b"\0\x05\x16\x07", "._"


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


#: No limits, for archives that the user vouches for.
UNLIMITED = Limits(sys.maxsize, sys.maxsize, sys.maxsize)
_DOUBT = "is it a bomb? if not, FORCE=yes unpacks it"


@dataclass(frozen=True)
class Extracted:
    """The result of unpacking one archive.

    Attributes
    ----------
    files
        Path below the destination and bytes of each file.
    left_out
        Paths of symbolic links that lead to no file of the archive.
    half_ended
        Whether its end mark is one block of zeros rather than two.
    loose_ends
        Number of FITS files with a loose end, see `fits.Look`.
    needed
        Paths of files that were not selected although selected links lead to them: those links cannot be copied.
    """

    files: dict[str, int]
    left_out: tuple[str, ...] = ()
    half_ended: bool = False
    loose_ends: int = 0
    needed: tuple[str, ...] = ()


def unpack(
    archive: Path, staging: Path, check: str, limits: Limits = Limits(), only: Selection = EVERYTHING
) -> Extracted:
    """Unpack one archive into a staging directory, which must be empty, and check what comes.

    Only regular files and directories are made. A link to a regular file of the same archive becomes a copy of it; a
    symbolic link to anything else is left out.

    Parameters
    ----------
    staging
        Directory of our own, in which nobody else writes.
    only
        Which files are to be unpacked; the others are read over.
    check
        ``quick`` looks at the structure of FITS files, ``full`` decodes them and verifies checksums, too, ``none`` does
        neither.

    Raises
    ------
    Refused
        If it is damaged, unsafe, or a file in it is.
    """
    budget = min(limits.bytes, _UNCOUNTED + limits.ratio * archive.stat().st_size)
    root = os.open(staging, os.O_RDONLY | os.O_DIRECTORY)
    unpacking = _Unpacking(staging, root, check, limits.members, budget, only)
    tar = TarStream(_bounded(gunzip(archive), budget))
    try:
        unpacking.run(tar)
    except TarError as error:
        raise Refused(f"the tar archive is damaged: {error}") from error
    except NoGzip as error:
        raise Refused(str(error)) from error
    except GzipError as error:
        raise Refused(f"the gzip stream is damaged: {error}") from error
    finally:
        unpacking.close()
        os.close(root)
    return Extracted(
        unpacking.files, tuple(unpacking.left_out), tar.half_ended, unpacking.loose_ends, tuple(unpacking.needed)
    )


class _Unpacking:
    """One archive on its way into a staging directory, whose descriptor is `root`.

    All paths are relative to it. No link is ever made in it, so that none can be followed.
    """

    def __init__(self, staging: Path, root: int, check: str, most: int, budget: int, only: Selection) -> None:
        self.files: dict[str, int] = {}
        self.left_out: list[str] = []
        self.loose_ends = 0
        #: Links whose targets are looked for once everything is here.
        self._links: dict[str, Member] = {}
        self._staging = staging
        self._root = root
        self._check = check
        self._most = most
        self._budget = budget
        self._only = only
        self._passed_over: set[str] = set()
        self.needed: list[str] = []
        self._made: set[str] = {""}
        #: The directory in which files are being made, and its descriptor.
        self._open_path: str | None = None
        self._open = -1
        #: Maps directories as written in the archive to their paths here, with a slash at the end.
        self._places: dict[str, str] = {}

    def run(self, tar: TarStream) -> None:
        places, everything = self._places, not self._only
        for count, member in enumerate(tar, start=1):
            if count + len(self._made) > self._most:
                raise Refused(f"it has more than {self._most} members, which FORCE=yes allows")
            written, _, name = member.name.rpartition("/")
            if member.kind == REGULAR and written in places and _PLAIN(name):
                path = places[written] + name
            elif name.startswith(_APPLE_DOUBLE_NAME) and tar.begins_with(_APPLE_DOUBLE):
                continue
            else:
                path = safe_path(member)
            try:
                if everything or (path in self._only and member.kind != DIRECTORY):
                    self._take(member, path, tar)
                elif member.kind == REGULAR:
                    self._passed_over.add(path)
            except OSError as error:
                raise _refusal(member, error) from error
            if member.kind == REGULAR and written not in places:
                places[written] = path[: path.rindex("/") + 1]
        for path, member in list(self._links.items()):
            try:
                self._finish_link(member, path)
            except OSError as error:
                raise _refusal(member, error) from error

    def _take(self, member: Member, path: str, tar: TarStream) -> None:
        if member.kind == DIRECTORY:
            self._make_directory(path)
        elif member.kind == REGULAR:
            self._spend(member, member.bytes)
            whole = tar.whole()
            if whole is None:
                self._write(path, tar.content(), member.bytes, member.mtime_ns)
            else:
                self._write_whole(path, whole, member.mtime_ns)
            self.files[path] = member.bytes
        elif member.kind == HARD_LINK and (target := _joined("", member.target, self._links)) in self.files:
            # It stands for the file that has the name now, even if a later member takes that name.
            if target != path:
                self._copy(member, path, target)
        elif path in self._made:
            raise IsADirectoryError
        else:
            if self.files.pop(path, None) is not None:
                os.unlink(path, dir_fd=self._root)
            self._links[path] = member

    def _finish_link(self, member: Member, path: str) -> None:
        """Copy the file that a link leads to, perhaps through other links; leave out a link that leads to no file."""
        target: str | None = path
        for _ in range(_HOPS):
            link = self._links.get(target)
            if link is None:
                break
            above = "" if link.kind == HARD_LINK else target.rpartition("/")[0]
            target = _joined(above, link.target, self._links)
        if target in self.files:
            self._copy(member, path, target)
        elif target in self._passed_over:
            self.needed.append(target)
        elif member.kind == SYMBOLIC_LINK:
            self.left_out.append(path)
        else:
            raise Refused(
                f"'{member.name[:200]}' is a {member.kind} to {member.target[:200]!r}, which is no file of the archive"
            )

    def _copy(self, member: Member, path: str, target: str) -> None:
        size = self.files[target]
        self._spend(member, size)
        descriptor = os.open(target, os.O_RDONLY | os.O_NOFOLLOW, dir_fd=self._root)
        try:
            pieces = ((place, os.pread(descriptor, _CHUNK, place)) for place in range(0, size, _CHUNK))
            self._write(path, pieces, size, os.fstat(descriptor).st_mtime_ns)
        finally:
            os.close(descriptor)
        self.files[path] = size

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
        self._look_at(path, content)

    def _write(self, path: str, pieces: Iterator[tuple[int, bytes]], size: int, mtime_ns: int) -> None:
        descriptor = self._new_file(path)
        try:
            for place, piece in pieces:
                os.lseek(descriptor, place, os.SEEK_SET)
                _write_all(descriptor, piece)
            os.truncate(descriptor, size)  # it may end with a hole
            os.utime(descriptor, ns=(mtime_ns, mtime_ns))
        finally:
            os.close(descriptor)
        self._look_at(path, self._staging / path)

    def _look_at(self, path: str, source: Path | bytes) -> None:
        found = look_at(path, source, self._check)
        if found.problem:
            raise Refused(f"'{path}' is damaged: {found.problem}")
        if found.loose_end:
            self.loose_ends += 1

    def _new_file(self, path: str) -> int:
        """Make a file; its directory stays open as long as the next files are in it, too."""
        directory, _, name = path.rpartition("/")
        if directory != self._open_path:
            self._make_directory(directory)
            self.close()
            self._open = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=self._root)
            self._open_path = directory
        self._links.pop(path, None)
        try:
            return os.open(name, NEW_FILE, 0o666, dir_fd=self._open)
        except FileExistsError:
            # A member that comes twice replaces the earlier one, as `tar` does it.
            if path not in self.files:
                raise
            os.unlink(name, dir_fd=self._open)
            return os.open(name, NEW_FILE, 0o666, dir_fd=self._open)

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
        if path in self._links:
            raise Refused(f"'{path}' is both a link and a directory")
        self._make_directory(path.rpartition("/")[0])
        os.mkdir(path, dir_fd=self._root)
        self._made.add(path)


def _refusal(member: Member, error: OSError) -> Exception:
    """Say what is wrong with a member that the operating system refused, if the member is to blame."""
    if isinstance(error, FileExistsError | NotADirectoryError | IsADirectoryError):
        return Refused(f"'{member.name}' is both a file and a directory")
    if error.errno in (errno.EFBIG, errno.EINVAL) and member.bytes > _LARGEST:
        return Refused(f"'{member.name}' is larger than a file can be here")
    if error.errno in (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL):
        return Refused(f"{member.name[:80]!r} is no name for a file here: {error.strerror}")
    return error


def _write_all(descriptor: int, content: bytes) -> None:
    written = os.write(descriptor, content)
    while written < len(content):
        written += os.write(descriptor, memoryview(content)[written:])


def _bounded(pieces: Iterable[bytes], most: int) -> Iterator[bytes]:
    """Pass on a stream up to a limit, in which headers, padding and bytes after the end mark count, too."""
    for piece in pieces:
        most -= len(piece)
        # Headers and padding take 1,023 bytes for each member.
        if most < -_UNCOUNTED:
            raise Refused(f"it unpacks to more than its size allows; {_DOUBT}")
        yield piece


def _joined(above: str, target: str, links: dict[str, Member]) -> str | None:
    """Path to which a link in a directory leads; None if it leads out of the archive, or through another link."""
    parts = above.split("/") if above else []
    if target.startswith("/") or len(target) > LONGEST:
        return None
    for part in target.split("/"):
        if part in ("", "."):
            continue
        if "/".join(parts) in links or (part == ".." and not parts):
            return None
        if part == "..":
            parts.pop()
        else:
            parts.append(part)
    return "/".join(parts)
