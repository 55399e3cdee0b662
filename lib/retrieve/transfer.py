"""Verified transfer: the bytes of an archive go to a part file, are proved right, and only then get their name."""

from __future__ import annotations

import hashlib
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from retrieve.archives import PART, Archive, Verified, hold, scan
from retrieve.errors import AccessError, Gone, SourceError, Transient, remedy
from retrieve.patience import patiently
from retrieve.soundness import unsound

if TYPE_CHECKING:
    from hashlib import _Hash as Digest

    from retrieve.container import Body, Container

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


class _Damaged(Transient):
    """What came is not what was promised."""


class Stopped(BaseException):
    """The run was told to stop; not an `Exception`, so that nothing takes it for a fault."""


class RateLimit:
    """Shares a bandwidth among threads.

    Parameters
    ----------
    rate
        Bytes per second of all together; 0 for no limit.
    """

    def __init__(self, rate: float) -> None:
        self._rate = rate
        self._guard = threading.Lock()
        self._free_at = 0.0

    def seconds_for(self, count: int) -> float:
        """Book some bytes, and say for how many seconds to wait before more are read."""
        if not self._rate:
            return 0.0
        with self._guard:
            now = time.monotonic()
            self._free_at = max(self._free_at, now) + count / self._rate
            return self._free_at - now


@dataclass(frozen=True)
class Fetcher:
    """Fetches archives of one container into one directory; used by several threads at once.

    Attributes
    ----------
    container
        Where they come from.
    directory
        Where they are to be, part files included.
    retries
        How often an archive is tried again after a fault that may pass.
    moved
        Called with the number of bytes of an archive that are here now and were not before; negative when bytes proved
        wrong and have to come again.
    stop
        Set to end the transfers that are under way.
    limit
        Bandwidth that all transfers share.
    """

    container: Container
    directory: Path
    retries: int
    moved: Callable[[int], None]
    stop: threading.Event
    limit: RateLimit

    def fetch(self, archive: Archive) -> Verified:
        """Fetch one archive: part file, length, MD5 or soundness, fsync, rename.

        A part file is named after the archive and its content at the source, and goes on where it ended if the source
        serves ranges of that same content. If the content at the source changed since it was listed, the new one
        is fetched. Where the source's MD5 may be that of older bytes, two whole fetches of the same sound bytes
        outweigh it. The rename is on disk after `sync_directory`, which is left to the caller: once for a tile.

        Raises
        ------
        SourceError
            If it cannot be had.
        OSError
            If it cannot be written.
        """
        try:
            return self._attempts(archive)
        except (Gone, _Changed, _Damaged) as error:
            # The listing may be out of date: what is there now?
            now = self.container.look_up(archive.name)
            if now is None:
                raise Gone("it is gone since it was listed; run 'make avail'") from error
            if now.same_content(archive) and isinstance(error, _Damaged):
                raise
        return self._attempts(now, confirmed=True)

    def _attempts(self, archive: Archive, *, confirmed: bool = False) -> Verified:
        history = _History(archive, part_path(self.directory, archive), confirmed)
        if history.size() == archive.bytes:
            # Killed after its last byte and before it got its name.
            md5 = md5_of(history.part)
            if self._problem(history, md5) is None:
                return self._keep(history, md5)
            history.part.unlink()
        return patiently(lambda attempt: self._attempt(history, attempt), self.retries, self._wait)

    def _attempt(self, history: _History, attempt: int) -> Verified:
        archive = history.archive
        digest, start = _resume(history)
        with self.container.read(archive.name, start, attempt) as body:
            if not history.confirmed:
                _refuse_changed(archive, body)
            if body.start != start:
                digest, start = hashlib.md5(usedforsecurity=False), 0
            self._count(history, start)
            self._receive(history, start, body.chunks, digest)
        if history.size() != archive.bytes:
            raise _Damaged(f"it ended after {history.size()} of {archive.bytes} bytes")
        md5 = digest.hexdigest()
        problem = self._problem(history, md5)
        if problem is None:
            return self._keep(history, md5)
        history.part.unlink()
        self._count(history, 0)
        if md5 in history.came:
            raise SourceError(f"it is damaged at the source ({problem}); ask who made it")
        history.came.add(md5)
        raise _Damaged(f"it came damaged ({problem})")

    def _problem(self, history: _History, md5: str) -> str | None:
        """Say what is wrong with what came, by the source's MD5 where it holds, else by the file itself."""
        expected = history.archive.md5
        if expected == md5:
            return None
        if expected and not (md5 in history.came and self.container.md5_may_be_old):
            return "its MD5 is not the source's"
        return unsound(history.part)

    def _receive(self, history: _History, start: int, chunks: Iterator[bytes], digest: Digest) -> None:
        """Write what comes and hash it, up to the length that is expected."""
        size = start
        with history.part.open("r+b" if start else "wb") as file, Hashing(digest, history.archive.bytes) as hashing:
            file.seek(start)
            for chunk in chunks:
                if self.stop.is_set():
                    raise Stopped
                hashing.update(chunk)
                file.write(chunk)
                size += len(chunk)
                if size > history.archive.bytes:
                    raise _Damaged(f"more than its {history.archive.bytes} bytes came")
                self._count(history, size)
                self._wait(self.limit.seconds_for(len(chunk)))
            file.truncate()
            file.flush()
            os.fsync(file.fileno())

    def _keep(self, history: _History, md5: str) -> Verified:
        archive, part = history.archive, history.part
        # With the date at the source as its own an archive can be told from an older one even without a stamp.
        os.utime(part, ns=(archive.date_ns, archive.date_ns))
        mtime_ns = part.stat().st_mtime_ns
        part.rename(self.directory / archive.name)
        self._count(history, archive.bytes)
        return Verified(archive, md5, mtime_ns)

    def _count(self, history: _History, here: int) -> None:
        self.moved(here - history.counted)
        history.counted = here

    def _wait(self, seconds: float) -> None:
        if self.stop.wait(seconds) if seconds else self.stop.is_set():
            raise Stopped


@dataclass
class _History:
    """What came so far of one archive.

    Attributes
    ----------
    part
        Where it is kept until it is whole.
    confirmed
        The node was read again: what the bytes' headers say of date and content does not count any more.
    came
        MD5s of whole fetches that were refused.
    counted
        Bytes that `Fetcher.moved` was told of.
    """

    archive: Archive
    part: Path
    confirmed: bool
    came: set[str] = field(default_factory=set)
    counted: int = 0

    def size(self) -> int:
        """Bytes in the part file; 0 without one."""
        held = hold(self.part)
        return held.bytes if held else 0


class Hashing:
    """Hashes chunks, those of large archives in a thread beside the one that reads: MD5 takes as long as reading.

    hashlib lets other threads run meanwhile. A context: on leaving it, the digest is that of all chunks.
    """

    #: Archives that are smaller are not worth a thread, in bytes.
    WORTH = 8 << 20
    #: Chunks that may wait to be hashed.
    AHEAD = 4

    def __init__(self, digest: Digest, size: int) -> None:
        self._digest = digest
        self._chunks: queue.Queue[bytes | None] = queue.Queue(self.AHEAD)
        self._thread = threading.Thread(target=self._run, daemon=True) if size >= self.WORTH else None

    def __enter__(self) -> Hashing:
        if self._thread:
            self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        if self._thread:
            self._chunks.put(None)
            self._thread.join()

    def update(self, chunk: bytes) -> None:
        """Hash a chunk, now or soon."""
        if self._thread:
            self._chunks.put(chunk)
        else:
            self._digest.update(chunk)

    def _run(self) -> None:
        while (chunk := self._chunks.get()) is not None:
            self._digest.update(chunk)


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


def _refuse_changed(archive: Archive, body: Body) -> None:
    """Refuse a body that says of itself that it is not what was listed."""
    if (
        body.length not in (None, archive.bytes)
        or (archive.md5 and body.md5 not in (None, archive.md5))
        or (not archive.md5 and body.modified not in (None, archive.date_ns // 1_000_000_000))
    ):
        raise _Changed("it is not what was listed; run 'make avail'")


def _resume(history: _History) -> tuple[Digest, int]:
    """Hash what came earlier; without an MD5 at the source it could not be told whether the rest belongs to it."""
    digest = hashlib.md5(usedforsecurity=False)
    size = history.size()
    if not history.archive.md5 or not 0 < size < history.archive.bytes:
        return digest, 0
    with history.part.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest, size


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
        return Result(tile, archive.name, problem=f"{what}: {remedy(error)}", fatal=True)
