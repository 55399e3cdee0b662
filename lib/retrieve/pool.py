"""A pool of threads that acts on archives, where a failure is a value and a stop is prompt."""

from __future__ import annotations

import errno
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from retrieve.archives import Archive, Verified
from retrieve.errors import AccessError, SourceError, Transient, remedy

#: Seconds that threads are given to end after a stop: what one is in the middle of, a write or a rename.
_GRACE = 1.0
#: What the next archive would meet as well: no room, no permission, a disk that fails, no descriptor.
_EVERYWHERE = {
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EMFILE, errno.ENFILE,
    errno.ENOENT, errno.ENOTDIR, errno.ESTALE,
}  # fmt: skip


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


class GivenUp(SourceError):
    """So many archives failed one after the other that the next ones would, too."""


class Stopped(BaseException):
    """The run was told to stop; not an `Exception`, so that nothing takes it for a fault."""


def in_parallel(
    work: Iterable[tuple[str, Archive]], act: Callable[[str, Archive], Verified], jobs: int, stop: threading.Event
) -> Iterator[Result]:
    """Run `act` on archives with `jobs` threads; yield the results as they come.

    Failures of one archive are values in its result. Close the iterator to end the threads before their time: it waits
    for them, but not long, since one that waits for the network may do so for a minute. They are daemons, so that such
    a one does not keep the process from ending.

    Parameters
    ----------
    work
        Tile and archive of each; taken as threads become free, in order, so that tile after tile is finished.
    stop
        Set it to have the threads end; what they are in the middle of raises `Stopped`.
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
                result = _result(*item, act)
                if result.fatal:
                    stop.set()
                results.put(result)
        except Stopped:
            pass
        except BaseException as error:
            results.put(error)
        finally:
            results.put(None)

    threads = [threading.Thread(target=worker, daemon=True) for _ in range(jobs)]
    try:
        for thread in threads:
            thread.start()
        running = jobs
        while running:
            result = results.get()
            if result is None:
                running -= 1
            elif isinstance(result, BaseException):
                raise result
            else:
                yield result
    finally:
        stop.set()
        end = time.monotonic() + _GRACE
        for thread in threads:
            if thread.ident is not None:
                thread.join(max(end - time.monotonic(), 0))


def _result(tile: str, archive: Archive, act: Callable[[str, Archive], Verified]) -> Result:
    what = f"cannot fetch '{archive.name}'"
    try:
        return Result(tile, archive.name, act(tile, archive))
    except Transient as error:
        return Result(tile, archive.name, problem=f"{what}: {error}; run 'make download' again")
    except SourceError as error:
        return Result(tile, archive.name, problem=f"{what}: {error}", fatal=isinstance(error, (AccessError, GivenUp)))
    except OSError as error:
        return Result(tile, archive.name, problem=f"{what}: {remedy(error)}", fatal=error.errno in _EVERYWHERE)
