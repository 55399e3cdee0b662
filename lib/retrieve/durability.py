"""Durability: what was written is on disk before something vouches for it."""

from __future__ import annotations

import ctypes
import os
from functools import cache
from pathlib import Path


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
            raise OSError(number, os.strerror(number), str(directory))
    finally:
        os.close(descriptor)


@cache
def _syncfs() -> ctypes._FuncPointer | None:
    return getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
