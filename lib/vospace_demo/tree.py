"""The directory that is served: paths that stay in it, what is private, checksums."""

import hashlib
import os
import stat
import threading
import time
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import unquote_to_bytes

SETTLED = 1_000_000_000
"""Nanoseconds without a change after which the next one is sure to get another time: clocks of disks are coarse."""


class Refused(Exception):
    """A request that is answered with an error.

    Parameters
    ----------
    status
        HTTP status.
    path
        What the message is about.
    fault
        VOSpace's name of the fault where it is not the usual one of the status.
    """

    def __init__(self, status: int, path: str, fault: str = "") -> None:
        super().__init__(status, path, fault)
        self.status, self.path, self.fault = status, path, fault


def relative(quoted: str) -> str:
    """Return the path below the root that a URL or a node URI names.

    Raises
    ------
    Refused
        400 where it tries to climb, or is no path at all.
    """
    path = os.fsdecode(unquote_to_bytes(quoted))
    parts = [part for part in path.split("/") if part]
    if "\0" in path or "." in parts or ".." in parts:
        raise Refused(400, quoted, "InvalidURI")
    return "/".join(parts)


class Tree:
    """A directory tree on disk.

    Parameters
    ----------
    root
        The directory.
    private
        Paths below it of containers and files that only a user with a certificate may read.
    """

    def __init__(self, root: Path, private: Iterable[str]) -> None:
        self.root = os.path.realpath(root)
        self.private = frozenset(relative(path) for path in private)
        self._md5: dict[tuple[str, int, int, int], str] = {}
        self._names: dict[tuple[str, bool], tuple[int, list[str]]] = {}
        self._lock = threading.Lock()

    def resolve(self, path: str, follow: bool) -> str:
        """Return where on disk `path` is: itself, or if `follow` what it links to.

        Raises
        ------
        Refused
            400 where a link leads outside the tree, as on Cavern.
        """
        full = f"{self.root}/{path}" if path else self.root
        if follow or not path:
            real = os.path.realpath(full)
        else:
            parent, name = os.path.split(full)
            real = f"{os.path.realpath(parent)}/{name}"
        if real != self.root and not real.startswith(self.root + "/"):
            raise Refused(400, path, "InvalidURI")
        return real

    def stat(self, real: str, path: str) -> os.stat_result:
        """Return the status of a node; 404 where there is none, or what VOSpace has no node for."""
        try:
            status = os.lstat(real)
        except OSError as error:
            raise Refused(404, path) from error
        if not is_node(status):
            raise Refused(404, path)
        return status

    def is_container(self, path: str) -> bool:
        """Whether `path` is a directory, and no link to one."""
        try:
            return stat.S_ISDIR(os.lstat(self.resolve(path, follow=False)).st_mode)
        except (OSError, Refused):
            return False

    def names(self, real: str, in_order: bool) -> list[str]:
        """Return the names in a directory, by name or as the disk has them.

        A directory that did not change is not read again: 177 pages of 500 would be 177 readings.
        """
        changed = os.lstat(real).st_ctime_ns
        with self._lock:
            read, names = self._names.get((real, in_order), (0, []))
        if changed != read:
            is_settled = time.time_ns() - changed > SETTLED
            names = os.listdir(real)  # noqa: PTH208 - names alone, 88,347 of them
            if in_order:
                names.sort()
            if is_settled:
                with self._lock:
                    self._names[real, in_order] = (changed, names)
        return names

    def below(self, real: str) -> str:
        """Return `real` as a path below the root."""
        return real[len(self.root) + 1 :]

    def private_above(self, real: str) -> str:
        """Return the private container that `real` is somewhere below, or the empty string."""
        parents = self.below(real).split("/")[:-1]
        tops = ("/".join(parents[:depth]) for depth in range(1, len(parents) + 1))
        return next((top for top in tops if top in self.private), "")

    def is_private(self, real: str) -> bool:
        """Whether `real` was itself named private."""
        return self.below(real) in self.private

    def md5(self, real: str, status: os.stat_result) -> str:
        """Return the MD5 of a file's content in hex, read once per version of the file."""
        key = (real, status.st_ino, status.st_size, status.st_mtime_ns)
        with self._lock:
            known = self._md5.get(key)
        if known is None:
            with Path(real).open("rb") as stream:
                known = hashlib.file_digest(stream, "md5").hexdigest()
            with self._lock:
                self._md5[key] = known
        return known


def is_node(status: os.stat_result) -> bool:
    """Whether VOSpace has a node for such a file: a directory, a regular file, a symbolic link."""
    return stat.S_IFMT(status.st_mode) in (stat.S_IFDIR, stat.S_IFREG, stat.S_IFLNK)
