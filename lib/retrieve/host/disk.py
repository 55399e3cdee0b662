"""Disk: what is in a directory, the MD5 of a file, and how a file is written so that it outlives a crash."""

from __future__ import annotations

import ctypes
import errno
import hashlib
import os
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from retrieve.archives import Held

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
    syncfs = _syncfs()
    if syncfs is None:
        os.sync()
        return
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        if syncfs(descriptor):
            number = ctypes.get_errno()
            if number not in _CANNOT_SYNC:
                raise OSError(number, os.strerror(number), str(directory))
            os.sync()
    finally:
        os.close(descriptor)


@cache
def _syncfs() -> ctypes._FuncPointer | None:
    return getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)


def scan(directory: Path, wanted: Callable[[str], object]) -> dict[str, Held]:
    """Look at the files of a directory whose names are `wanted`, with one `stat` each.

    A directory that does not exist holds none. What is not a regular file does not count.
    """
    try:
        with os.scandir(directory) as entries:
            return {
                entry.name: Held((status := entry.stat()).st_size, status.st_mtime_ns)
                for entry in entries
                if wanted(entry.name) and entry.is_file()
            }
    except (FileNotFoundError, NotADirectoryError):
        return {}


def hold(path: Path) -> Held | None:
    """Look at one file; None if it is not there."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return Held(status.st_size, status.st_mtime_ns)


def write_whole(path: Path, text: str) -> None:
    """Write a file that is not a stamp whole: to a temporary name, then renamed."""
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(text, encoding="utf-8")
    temporary.rename(path)


def sync_directory(directory: Path) -> None:
    """Have the names in a directory on disk, so that a rename outlives a power cut."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        sync_file(descriptor)
    finally:
        os.close(descriptor)


def new_md5() -> Digest:
    """MD5 of nothing yet; for integrity, and so available where policy forbids MD5 for security."""
    return hashlib.md5(usedforsecurity=False)


def md5_of(path: Path) -> str:
    """MD5 of a file, as 32 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, new_md5).hexdigest()
