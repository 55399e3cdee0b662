"""Disk: what is in a directory, the MD5 of a file, and writing that outlives a crash."""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from retrieve.archives import LocalFile

if TYPE_CHECKING:
    from hashlib import _Hash as Digest


#: What a file system answers that cannot put a file or a directory on disk when it is asked to, as some of networks.
#: A disk that cannot do it is not one that failed.
_CANNOT_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.ENOSYS)


def sync_file(descriptor: int) -> None:
    """Have a file, or the names in a directory, on disk; as far as its file system can do it."""
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_SYNC:
            raise


def sync_file_system(directory: Path) -> None:
    """Have all that was written to the file system of a directory on disk.

    One call for hundreds of small files: an `fsync` of each takes a hundred times as long (a journal commit a file).
    Where there is no `syncfs` (it is Linux's), every file system is synced.
    """
    import ctypes  # 3 ms, which most runs need not spend

    syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
    if syncfs is None:
        os.sync()
        return
    with _opened(directory) as descriptor:
        if syncfs(descriptor):
            number = ctypes.get_errno()
            if number not in _CANNOT_SYNC:
                raise OSError(number, os.strerror(number), str(directory))
            os.sync()


@contextmanager
def _opened(directory: Path) -> Iterator[int]:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def scan(directory: Path, wanted: Callable[[str], object]) -> dict[str, LocalFile]:
    """Look at the files of a directory whose names are `wanted`; what is not a regular file does not count.

    Nothing is found in a path that is not a directory.
    """
    try:
        return {
            name: LocalFile(status.st_size, status.st_mtime_ns)
            for name, status in look(directory, wanted)
            if stat.S_ISREG(status.st_mode)
        }
    except NotADirectoryError:
        return {}


def look(directory: Path, wanted: Callable[[str], object]) -> Iterator[tuple[str, os.stat_result]]:
    """Look at what is in a directory by a name that is `wanted`, with one `stat` each; links are followed.

    A directory that does not exist holds nothing. What another run removes or renames meanwhile is passed over, as is
    a link that leads nowhere.
    """
    # By its descriptor, so that each `stat` need not look up the directory again.
    with suppress(FileNotFoundError), _opened(directory) as descriptor, os.scandir(descriptor) as entries:
        for entry in entries:
            if not wanted(entry.name):
                continue
            try:
                status = entry.stat()
            except FileNotFoundError:
                continue
            yield entry.name, status


def local_file(path: Path) -> LocalFile | None:
    """Look at one file; None if it is not there."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return LocalFile(status.st_size, status.st_mtime_ns)


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file that is not a stamp whole, and have it on disk: to a temporary name, then renamed."""
    temporary = path.with_name(f".{path.name}")
    with temporary.open("wb") as file:
        file.write(content.encode("utf-8", "surrogateescape") if isinstance(content, str) else content)
        file.flush()
        sync_file(file.fileno())
    temporary.rename(path)
    sync_directory(path.parent)


def touch(path: Path) -> None:
    """Have a file on disk as if it had been written now."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.utime(descriptor)
        sync_file(descriptor)
    finally:
        os.close(descriptor)


def make_directory(directory: Path) -> None:
    """Make a directory, and those above it that are not there either, and have their names on disk."""
    if not directory.is_dir():
        make_directory(directory.parent)
        directory.mkdir(exist_ok=True)
        sync_directory(directory.parent)


def sync_directory(directory: Path) -> None:
    """Have the names in a directory on disk, so that a rename outlives a power cut."""
    with _opened(directory) as descriptor:
        sync_file(descriptor)


def new_md5() -> Digest:
    """MD5 of nothing yet; for integrity, and so available where policy forbids MD5 for security."""
    return hashlib.md5(usedforsecurity=False)


def md5_of(path: Path) -> str:
    """MD5 of a file, as 32 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, new_md5).hexdigest()
