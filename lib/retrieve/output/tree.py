"""The output tree: staged files get their places in it, and no symbolic link in it is ever followed.

The tree itself may be a link or a mount point, parts of it may lie on other file systems, and its directories may pass
on a group or access rights: an entry that is moved into a directory looks as if it had been made there.
"""

from __future__ import annotations

import errno
import os
import re
import shutil
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import groupby
from pathlib import Path

from retrieve.formats.header import DIRECTORY, HARD_LINK, REGULAR, SYMBOLIC_LINK, Member
from retrieve.host.disk import sync_file

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: Flags to create a file where nothing may exist yet, not even a link.
NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
#: Decides whether a staged file replaces the file that is there; called with the path and the `stat` of both.
Decide = Callable[[str, os.stat_result, os.stat_result], bool]
#: Everything that is unpacked is below this directory, where ShapePipe looks for it.
OUTPUT = "output"
_DEEPEST = 64  # directories
LONGEST = 4000  # bytes of a path
#: Control characters, line ends and changes of writing direction: they make a name look like another one.
_CONTROL = re.compile("[\0-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]").search
#: Directory in it in which tiles are unpacked before they get their places: there a rename gets them everywhere.
STAGING = ".unpacking"
#: Name of a file from another file system until it is copied whole.
_COPY = ".unpacking.part"


class Tree:
    """The output tree at its destination.

    Parameters
    ----------
    destination
        The user's directory, which holds `OUTPUT`. Only these two may be reached through a link.

    Attributes
    ----------
    places
        Directories, one at least on each file system to which files were moved.
    """

    def __init__(self, destination: Path) -> None:
        self._destination = destination
        self._root = destination / OUTPUT
        self.places = {self._root}

    def obstacle(self, staging: Path) -> str | None:
        """Say what is in the way of staged files: a symbolic link in a path, or a directory at a place."""
        if not (staging / OUTPUT).exists():
            return None
        with _opened(staging / OUTPUT) as source, _opened(self._root) as target:
            return _obstacle(source, target, f"{OUTPUT}/")

    def adopt(self, staging: Path, decide: Decide) -> None:
        """Move staged files to their places.

        A directory that is not there yet is moved with all that is in it, by one rename, and one that is there stays
        what it is.

        Raises
        ------
        Refused
            If a place is taken by a directory, or lies behind a symbolic link.
        """
        if (staging / OUTPUT).exists():
            with _opened(staging / OUTPUT) as source, _opened(self._root) as target:
                copied = _merge(source, target, f"{OUTPUT}/", decide)
            self.places |= {self._destination / path for path in copied}

    def remove(self, paths: Iterable[str]) -> None:
        """Remove files that we unpacked, and directories that this leaves empty."""
        directories = []
        for directory, names in groupby(sorted(path.rpartition("/")[::2] for path in paths), key=lambda pair: pair[0]):
            with suppress(FileNotFoundError, Refused), self.directory(directory) as descriptor:
                directories.append(directory)
                for _, name in names:
                    with suppress(FileNotFoundError, IsADirectoryError):
                        os.unlink(name, dir_fd=descriptor)
        for directory in sorted(directories, key=len, reverse=True):
            self._remove_empty(directory)

    def _remove_empty(self, directory: str) -> None:
        while "/" in directory:
            parent, _, name = directory.rpartition("/")
            try:
                with self.directory(parent) as descriptor:
                    os.rmdir(name, dir_fd=descriptor)
            except (OSError, Refused):
                return
            directory = parent

    @contextmanager
    def directory(self, path: str) -> Iterator[int]:
        """Descriptor of a directory of the tree.

        Raises
        ------
        FileNotFoundError
            If it is not there.
        Refused
            If something on the way to it is not a directory.
        """
        with _opened(self._root) as descriptor:
            descriptor = os.dup(descriptor)
            try:
                for part in path.split("/")[1:]:
                    below = _open(part, descriptor, path)
                    os.close(descriptor)
                    descriptor = below
                yield descriptor
            finally:
                os.close(descriptor)


@contextmanager
def _opened(directory: Path) -> Iterator[int]:
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except NotADirectoryError as error:
        raise Refused(f"'{directory}' is no directory; move it away") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _open(name: str, parent: int, path: str) -> int:
    try:
        return os.open(name, _DIRECTORY, dir_fd=parent)
    except OSError as error:
        if error.errno in (errno.ENOTDIR, errno.ELOOP):
            raise Refused(f"'{path}' is reached through '{name}', which is no directory; move it away") from error
        raise


@contextmanager
def _both(name: str, source: int, target: int, path: str) -> Iterator[tuple[int, int]]:
    from_here = os.open(name, _DIRECTORY, dir_fd=source)
    try:
        to_there = _open(name, target, path)
        try:
            yield from_here, to_there
        finally:
            os.close(to_there)
    finally:
        os.close(from_here)


def _entries(directory: int) -> list[tuple[str, bool]]:
    with os.scandir(directory) as entries:
        return [(entry.name, entry.is_dir(follow_symlinks=False)) for entry in entries]


def _status(name: str, directory: int) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=directory, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _obstacle(source: int, target: int, below: str) -> str | None:
    for name, is_directory in _entries(source):
        path = below + name
        there = _status(name, target)
        if there is None:
            continue
        if is_directory:
            if not stat.S_ISDIR(there.st_mode):
                return f"'{path}' is no directory here; move it away"
            with _both(name, source, target, path) as (from_here, to_there):
                found = _obstacle(from_here, to_there, path + "/")
            if found:
                return found
        elif not stat.S_ISREG(there.st_mode):
            return f"'{path}' is no regular file here; move it away"
    return None


def _merge(source: int, target: int, below: str, decide: Decide) -> set[str]:
    """Move what is in a directory into another one; give the directories into which files had to be copied."""
    alike = _passed_on(source) == _passed_on(target)
    copied = set()
    for name, is_directory in _entries(source):
        path = below + name
        there = _status(name, target)
        if is_directory:
            if there is None and not (alike and _renamed(name, source, target)):
                os.mkdir(name, dir_fd=target)
            elif there is None:
                continue
            with _both(name, source, target, path) as (from_here, to_there):
                copied |= _merge(from_here, to_there, f"{path}/", decide)
            continue
        if there is not None and not stat.S_ISREG(there.st_mode):
            raise Refused(f"'{path}' is no regular file here; move it away")
        wins = there is None or decide(path, os.stat(name, dir_fd=source), there)
        if wins and not (alike and _renamed(name, source, target)):
            _copy(name, source, target)
            copied.add(below)
    return copied


def _passed_on(directory: int) -> tuple[int | None, bytes]:
    """Group and default access rights that a directory passes on to new entries, where it does."""
    status = os.fstat(directory)
    group = status.st_gid if status.st_mode & stat.S_ISGID else None
    try:
        return group, os.getxattr(directory, "system.posix_acl_default")
    except (OSError, AttributeError):  # it has none; its file system, or this system, knows none
        return group, b""


def _renamed(name: str, source: int, target: int) -> bool:
    """Move an entry by a rename; False if that does not lead from one directory to the other."""
    try:
        os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        return False
    return True


def _copy(name: str, source: int, target: int) -> None:
    """Copy a file, and sync it to disk before it gets its name."""
    with suppress(FileNotFoundError):  # of a run that was killed
        os.unlink(_COPY, dir_fd=target)
    staged = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source)
    copy = os.open(_COPY, NEW_FILE, 0o666, dir_fd=target)
    try:
        with open(staged, "rb", closefd=False) as from_here, open(copy, "wb", closefd=False) as to_there:
            shutil.copyfileobj(from_here, to_there)
        mtime_ns = os.fstat(staged).st_mtime_ns
        os.utime(copy, ns=(mtime_ns, mtime_ns))
        sync_file(copy)
        os.rename(_COPY, name, src_dir_fd=target, dst_dir_fd=target)
    except OSError:
        os.unlink(_COPY, dir_fd=target)
        raise
    finally:
        os.close(staged)
        os.close(copy)


class Refused(Exception):
    """An archive that is damaged or not safe to unpack; says why, naming the member."""


def safe_path(member: Member) -> str:
    """Normalise a member's name to a path below `OUTPUT`, or refuse it."""
    name = member.name
    if member.kind not in (REGULAR, DIRECTORY, HARD_LINK, SYMBOLIC_LINK):
        raise Refused(f"{name[:200]!r} is a {member.kind}")
    if _CONTROL(name):
        raise Refused(f"{name[:200]!r} has control characters in its name")
    if name.startswith("/"):
        raise Refused(f"'{name[:200]}' is an absolute path")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise Refused(f"'{name[:200]}' leads out of '{OUTPUT}/'")
    if _length(name) > LONGEST or any(_length(part) > 255 for part in parts):
        raise Refused(f"'{name[:80]}…' is too long a name")
    if len(parts) > _DEEPEST:
        raise Refused(f"'{name[:80]}…' is more than {_DEEPEST} directories deep")
    if (parts[:1] != [OUTPUT] and parts) or (len(parts) < 2 and member.kind != DIRECTORY):
        raise Refused(f"'{name[:200]}' is not below '{OUTPUT}/'")
    if parts[1:2] == [STAGING]:
        raise Refused(f"'{name[:200]}' is where tiles are being unpacked")
    return "/".join(parts)


def _length(name: str) -> int:
    return len(name.encode("utf-8", "surrogateescape"))
