"""Local directories of archives, such as a container that is mounted or was copied."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO
from urllib.parse import quote

from retrieve.archives import Archive, date_of
from retrieve.errors import AccessError, Gone, ListingError, Transient
from retrieve.source.container import CHUNK, Body, Listing, Wanted, Way

#: Files after which progress is told.
_MANY = 1000


class Directory:
    """A local directory, such as a container that is mounted or was copied."""

    ways = (Way.WHOLE,)
    service = ""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.uri = str(path)

    def list(self, wanted: Wanted, seen: Callable[[int], None]) -> Listing:
        """List the directory, always whole; see `Container`."""
        listing, name = Listing(), ""
        try:
            with os.scandir(self.path) as entries:
                for entry in entries:
                    listing.nodes += 1
                    name = entry.name
                    if listing.nodes % _MANY == 0:
                        seen(listing.nodes)
                    if entry.is_dir():
                        listing.containers.append(entry.name)
                    elif not wanted.matches(entry.name):
                        listing.others += 1
                    elif archive := self.look_up(name):
                        listing.archives[name] = archive
                    else:
                        listing.dangling[entry.name] = "it leads to no file"
        except OSError as error:
            raise ListingError(f"cannot list '{self.path}': {error.strerror}; may you read it?") from error
        listing.cursor = quote(os.fsencode(name))
        return listing

    def look_up(self, name: str) -> Archive | None:
        """Look at one file; see `Container`."""
        try:
            status = (self.path / name).stat()
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(status.st_mode):
            return None
        return Archive(name, status.st_size, None, date_of(status.st_mtime_ns))

    def check(self) -> None:
        """Make sure that the directory can be read; see `Container`."""
        if not os.access(self.path, os.R_OK | os.X_OK):
            raise AccessError(f"cannot read '{self.path}'; ask its owner for access")

    def access_ends(self) -> None:
        """Never; see `Container`."""

    def clock(self) -> None:
        """A directory has none; see `Container`."""

    def proxy(self) -> str:
        """A directory has none; see `Container`."""
        return ""

    @contextmanager
    def read(self, name: str, start: int, attempt: int, length: int | None = None) -> Iterator[Body]:
        """Open one file; see `Container`."""
        try:
            file = (self.path / name).open("rb")
        except FileNotFoundError as error:
            raise Gone("it does not exist") from error
        except OSError as error:
            raise AccessError(f"{error.strerror}; ask its owner for access") from error
        with file:
            file.seek(start)
            status = os.fstat(file.fileno())
            yield Body(start, status.st_size, None, int(status.st_mtime), self._chunks(file, status.st_mtime_ns))

    @staticmethod
    def _chunks(file: BinaryIO, mtime_ns: int) -> Iterator[bytes]:
        try:
            while chunk := file.read(CHUNK):
                yield chunk
            if os.fstat(file.fileno()).st_mtime_ns != mtime_ns:
                raise Transient("it was written to while it was read")
        except OSError as error:
            raise Transient(str(error.strerror).lower()) from error
