"""The output tree: staged files get their places in it, and no symbolic link in it is ever followed."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from itertools import groupby
from pathlib import Path

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
#: Says whether a staged file takes the place of what is there: path, then what `stat` says of both.
Settle = Callable[[str, os.stat_result, os.stat_result], bool]
#: Everything that is unpacked is below this directory, where ShapePipe looks for it.
OUTPUT = "output"


class Tree:
    """The output tree at its destination.

    Parameters
    ----------
    destination
        The user's directory, which holds `OUTPUT`; the only one that may be reached through a link.
    """

    def __init__(self, destination: Path) -> None:
        self.destination = destination

    def obstacle(self, staging: Path) -> str | None:
        """Say what keeps staged files from their places: a symbolic link on their way, or a directory in a place."""
        with _opened(staging) as source, _opened(self.destination) as target:
            return _obstacle(source, target, "")

    def adopt(self, staging: Path, settle: Settle) -> None:
        """Move staged files to their places.

        A directory that is not there yet is moved with all that is in it, by one rename.

        Raises
        ------
        Refused
            If a place is taken by a directory, or lies behind a symbolic link.
        """
        with _opened(staging) as source, _opened(self.destination) as target:
            _merge(source, target, "", settle)

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
            If it is reached through something that is no directory.
        """
        with _opened(self.destination) as descriptor:
            descriptor = os.dup(descriptor)
            try:
                for part in path.split("/"):
                    below = _open(part, descriptor, path)
                    os.close(descriptor)
                    descriptor = below
                yield descriptor
            finally:
                os.close(descriptor)


@contextmanager
def _opened(directory: Path) -> Iterator[int]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
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


def _merge(source: int, target: int, below: str, settle: Settle) -> None:
    for name, is_directory in _entries(source):
        path = below + name
        if is_directory:
            try:
                os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR):
                    raise
                with _both(name, source, target, path) as (from_here, to_there):
                    _merge(from_here, to_there, path + "/", settle)
            continue
        there = _status(name, target)
        if there is not None and not stat.S_ISREG(there.st_mode):
            raise Refused(f"'{path}' is no regular file here; move it away")
        if there is None or settle(path, os.stat(name, dir_fd=source), there):
            os.rename(name, name, src_dir_fd=source, dst_dir_fd=target)


class Refused(Exception):
    """An archive that is damaged or not safe to unpack; says why, naming the member."""
