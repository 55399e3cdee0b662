"""Part files: what came so far of an archive whose transfer is not finished, and how it is hashed on the way."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, BinaryIO

from retrieve.archives import Archive
from retrieve.host.disk import local_file, new_md5, scan, sync_file

if TYPE_CHECKING:
    from hashlib import _Hash as Digest

#: Bytes read at once.
_CHUNK = 1 << 20
#: Archives that are smaller are not worth a thread, nor a piece of one to be brought to the disk early, in bytes.
LARGE = 8 << 20
#: Chunks that may wait to be written.
_AHEAD = 16
#: Ends the name of a file whose transfer was not finished.
PART = ".part"


@dataclass(frozen=True)
class Part:
    """The file in which an archive is kept until it is whole."""

    archive: Archive
    path: Path

    def size(self) -> int:
        """Bytes in the part file; 0 without one."""
        held = local_file(self.path)
        return held.bytes if held else 0

    def usable(self) -> tuple[Digest, int]:
        """Hash what came earlier and can be gone on from; return the digest and the number of bytes.

        That is nothing without an MD5 at the source: it could not be told whether the rest belongs to it.
        """
        digest = new_md5()
        size = self.size()
        if not self.archive.md5 or not 0 < size < self.archive.bytes:
            return digest, 0
        with self.path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                digest.update(chunk)
        return digest, size

    def drop(self) -> None:
        """Remove it: it is of no use."""
        self.path.unlink(missing_ok=True)

    def open(self, start: int) -> BinaryIO:
        """Open it to go on from the byte `start`, or to begin anew if that is 0."""
        file = self.path.open("r+b" if start else "wb")
        file.seek(start)
        return file

    def finish(self) -> int:
        """Give it the date at the source as its own, and have it on disk.

        With that date an archive can be told from an older one even without a stamp.

        Returns
        -------
        int
            The mtime that it has, in nanoseconds.

        Raises
        ------
        OSError
            If the disk did not take it. The file on disk may then differ from what we wrote, so it is removed.
        """
        descriptor = os.open(self.path, os.O_RDONLY)
        try:
            os.utime(descriptor, ns=(self.archive.date_ns, self.archive.date_ns))
            sync_file(descriptor)
            return os.fstat(descriptor).st_mtime_ns
        except OSError:
            self.drop()
            raise
        finally:
            os.close(descriptor)


def part_path(directory: Path, archive: Archive) -> Path:
    """Where an unfinished transfer is kept: named after the archive and its content, so that contents never mix."""
    identity = archive.md5 or f"{archive.bytes}-{archive.date_ns}"
    return directory / f"{archive.name}.{identity}{PART}"


def remove_outdated_parts(directory: Path, archives: Iterable[Archive]) -> None:
    """Remove what was begun of other contents of some archives than those that are wanted now."""
    wanted = {archive.name: part_path(directory, archive).name for archive in archives}
    for name in scan(directory, lambda name: name.endswith(PART)):
        archive_name = name.removesuffix(PART).rpartition(".")[0]
        if wanted.get(archive_name, name) != name:
            (directory / name).unlink()


class Sink:
    """Writes what comes of an archive to its part file, and hashes it.

    That of a large archive in a thread beside the one that reads: MD5 and the disk take as long as the network, and
    Python lets other threads run meanwhile. A context: on leaving it, everything is written and in the digest.

    Parameters
    ----------
    size
        Bytes of the whole archive.
    """

    def __init__(self, file: BinaryIO, digest: Digest, size: int) -> None:
        self._file = file
        self._digest = digest
        self._from = self._to = file.tell()
        self._error: BaseException | None = None
        self._chunks: queue.Queue[bytes | None] = queue.Queue(_AHEAD)
        self._thread = threading.Thread(target=self._run, daemon=True) if size >= LARGE else None

    def __enter__(self) -> Sink:
        if self._thread:
            self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._thread:
            self._chunks.put(None)
            self._thread.join()
        if self._error and error is None:
            raise self._error

    def take(self, chunk: bytes) -> None:
        """Write and hash a chunk, now or soon.

        Raises
        ------
        OSError
            If this one, or one before it, could not be written.
        """
        if self._thread is None:
            self._put(chunk)
        elif self._error:
            raise self._error
        else:
            self._chunks.put(chunk)

    def _run(self) -> None:
        while (chunk := self._chunks.get()) is not None:
            if self._error is None:
                try:
                    self._put(chunk)
                except BaseException as error:  # or who waits for a place in the queue waits for ever
                    self._error = error

    def _put(self, chunk: bytes) -> None:
        self._file.write(chunk)
        self._file.flush()
        self._digest.update(chunk)
        self._to += len(chunk)
        if self._to - self._from >= LARGE:
            # Linux takes this as a request to begin writing, and does not wait: the fsync at the end has little to do.
            if hasattr(os, "posix_fadvise"):
                os.posix_fadvise(self._file.fileno(), self._from, self._to - self._from, os.POSIX_FADV_DONTNEED)
            self._from = self._to
