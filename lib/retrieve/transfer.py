"""Verified transfer: the bytes of an archive go to a part file, are proved right, and only then get their name."""

from __future__ import annotations

import hashlib
import os
import queue
import threading
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from retrieve.archives import PART, Archive, Verified, hold
from retrieve.errors import AccessError, Gone, RetrieveError, SourceError, Transient
from retrieve.patience import patiently
from retrieve.soundness import unsound
from retrieve.stamps import sync_directory

if TYPE_CHECKING:
    from retrieve.container import Container

_CHUNK = 1 << 20


@dataclass(frozen=True)
class Result:
    """What became of one archive that was to be fetched.

    Attributes
    ----------
    tile, name
        Tile number and archive.
    verified
        The archive as it is here now; None if it failed.
    problem
        One line with the problem and the remedy; None if it did not fail.
    fatal
        The problem would be that of every other archive as well: there is no point in going on.
    """

    tile: str
    name: str
    verified: Verified | None = None
    problem: str | None = None
    fatal: bool = False


class _Changed(SourceError):
    """What is sent is not what was listed."""


class Stopped(BaseException):
    """The run was told to stop; not an `Exception`, so that nothing takes it for a fault."""


@dataclass(frozen=True)
class Fetcher:
    """Fetches archives of one container into one directory.

    Attributes
    ----------
    container
        Where they come from.
    directory
        Where they are to be, part files included.
    retries
        How often an archive is tried again after a fault that may pass.
    moved
        Called with the number of bytes of each piece that arrived; negative when they have to come again.
    stop
        Set to end the transfers that are under way.
    """

    container: Container
    directory: Path
    retries: int
    moved: Callable[[int], None]
    stop: threading.Event

    def fetch(self, archive: Archive) -> Verified:
        """Fetch one archive: part file, length, MD5 or soundness, fsync, rename, fsync of the directory.

        A part file is named after the archive and its content at the source, and goes on where it ended if the source
        serves ranges of that same content. If the content at the source changed since it was listed, the new one
        is fetched. Where the source's MD5 may be that of older bytes, two whole fetches of the same sound bytes
        outweigh it.

        Raises
        ------
        SourceError
            If it cannot be had.
        OSError
            If it cannot be written.
        """
        try:
            return self._attempts(archive)
        except (Gone, _Changed, Transient) as error:
            # The listing may be out of date: what is there now?
            now = self.container.look_up(archive.name)
            if now is None:
                raise Gone("it is gone since it was listed; run 'make avail'") from error
            if now.same_content(archive):
                raise
        return self._attempts(now)

    def _attempts(self, archive: Archive) -> Verified:
        came: set[str] = set()
        return patiently(lambda attempt: self._attempt(archive, attempt, came), self.retries, self._wait)

    def _attempt(self, archive: Archive, attempt: int, came: set[str]) -> Verified:
        """Try once; `came` holds the MD5s of earlier whole fetches of this archive."""
        part = part_path(self.directory, archive)
        digest, start = _resume(part, archive)
        with self.container.read(archive.name, start, attempt) as body:
            if body.length not in (None, archive.bytes) or (body.start and body.md5 not in (None, archive.md5)):
                raise _Changed("it is not what was listed; run 'make avail'")
            if body.start != start:
                digest, start = hashlib.md5(usedforsecurity=False), 0
            size = self._receive(part, start, archive.bytes, body.chunks, digest)
        if size != archive.bytes:
            raise Transient(f"it ended after {size} of {archive.bytes} bytes")
        md5 = digest.hexdigest()
        problem = self._problem(part, archive, md5, came)
        if problem:
            part.unlink()
            self.moved(-size)
            if md5 in came:
                raise SourceError(f"it is damaged at the source ({problem}); ask who made it")
            came.add(md5)
            raise Transient(f"it came damaged ({problem})")
        return self._keep(part, archive, md5)

    def _problem(self, part: Path, archive: Archive, md5: str, came: set[str]) -> str | None:
        """Say what is wrong with what came, by the source's MD5 where it holds, else by the file itself."""
        if archive.md5 == md5:
            return None
        if archive.md5 and not (md5 in came and self.container.md5_may_be_old):
            return "its MD5 is not the source's"
        return unsound(part)

    def _receive(self, part: Path, start: int, limit: int, chunks: Iterator[bytes], digest: hashlib._Hash) -> int:
        """Write what comes, hash it on the way, and return the size of the part file."""
        size = start
        with part.open("r+b" if start else "wb") as file:
            file.seek(start)
            for chunk in chunks:
                if self.stop.is_set():
                    raise Stopped
                size += len(chunk)
                if size > limit:
                    break
                file.write(chunk)
                digest.update(chunk)
                self.moved(len(chunk))
            file.truncate()
            file.flush()
            os.fsync(file.fileno())
        return size

    def _keep(self, part: Path, archive: Archive, md5: str) -> Verified:
        # With the date at the source as its own an archive can be told from an older one even without a stamp.
        os.utime(part, ns=(archive.date_ns, archive.date_ns))
        final = self.directory / archive.name
        part.rename(final)
        sync_directory(self.directory)
        held = hold(final)
        if held is None:
            raise RetrieveError(
                f"'{final}' vanished as soon as it was written; does something else clean that directory?"
            )
        return Verified(archive, md5, held.mtime_ns)

    def _wait(self, seconds: float) -> None:
        if self.stop.wait(seconds):
            raise Stopped


def part_path(directory: Path, archive: Archive) -> Path:
    """Where an unfinished transfer is kept: named after the archive and its content, so that contents never mix."""
    identity = archive.md5 or f"{archive.bytes}-{archive.date.translate(str.maketrans('', '', ':-'))}"
    return directory / f"{archive.name}.{identity}{PART}"


def _resume(part: Path, archive: Archive) -> tuple[hashlib._Hash, int]:
    """Hash what came earlier; without an MD5 at the source it could not be told whether the rest belongs to it."""
    digest = hashlib.md5(usedforsecurity=False)
    held = hold(part)
    if held is None or not archive.md5 or not 0 < held.bytes < archive.bytes:
        return digest, 0
    with part.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest, held.bytes


def md5_of(path: Path) -> str:
    """MD5 of a file, as 32 hexadecimal digits."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def in_parallel(
    work: Iterable[tuple[str, Archive]], act: Callable[[str, Archive], Verified], jobs: int, stop: threading.Event
) -> Iterator[Result]:
    """Run `act` on archives with `jobs` threads; yield the results as they come.

    Failures of one archive are values in its result. The threads are daemons, so that one that waits for the network
    does not keep a run from ending.

    Parameters
    ----------
    work
        Tile and archive of each; taken as threads become free, in order, so that tile after tile is finished.
    """
    todo = iter(work)
    guard = threading.Lock()
    results: queue.SimpleQueue[Result | BaseException | None] = queue.SimpleQueue()

    def worker() -> None:
        try:
            while not stop.is_set():
                with guard:
                    item = next(todo, None)
                if item is None:
                    break
                results.put(_result(*item, act))
        except Stopped:
            pass
        except BaseException as error:
            results.put(error)
        finally:
            results.put(None)

    for _ in range(jobs):
        threading.Thread(target=worker, daemon=True).start()
    running = jobs
    while running:
        result = results.get()
        if result is None:
            running -= 1
        elif isinstance(result, BaseException):
            raise result
        else:
            yield result


def _result(tile: str, archive: Archive, act: Callable[[str, Archive], Verified]) -> Result:
    what = f"cannot fetch '{archive.name}'"
    try:
        return Result(tile, archive.name, act(tile, archive))
    except SourceError as error:
        return Result(tile, archive.name, problem=f"{what}: {error}", fatal=isinstance(error, AccessError))
    except OSError as error:
        # A full disk or a directory that may not be written stops every other archive, too.
        problem = f"{what}: {error.strerror}; make room in '{error.filename}', or give ARCHIVES another directory"
        return Result(tile, archive.name, problem=problem, fatal=True)
