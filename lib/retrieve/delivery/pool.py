"""A pool of threads that acts on archives, where a failure is a value and a stop is prompt."""

from __future__ import annotations

import errno
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass

from retrieve.archives import Archive, Verified
from retrieve.errors import AccessError, SourceError, Transient, remedy
from retrieve.host.threads import in_threads

#: What the next archive would meet as well: no room, no permission, a disk that fails, no descriptor.
_EVERYWHERE = {
    errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM, errno.EIO, errno.EMFILE, errno.ENFILE,
    errno.ENOENT, errno.ENOTDIR, errno.ESTALE,
}  # fmt: skip


@dataclass(frozen=True)
class Fetched:
    """What became of one archive that was to be fetched.

    Attributes
    ----------
    tile, name
        Tile number and archive.
    verified
        The archive as it is here now; None if it failed.
    problem
        One line with the problem and the remedy; None if it did not fail.
    again
        Another try may fare better.
    fatal
        The problem would be that of every other archive as well: there is no point in going on.
    """

    tile: str
    name: str
    verified: Verified | None = None
    problem: str | None = None
    again: bool = False
    fatal: bool = False


class GivenUp(SourceError):
    """So many archives failed one after the other that the next ones would, too."""


class Stopped(BaseException):
    """The run was told to stop; not an `Exception`, so that nothing takes it for a fault."""


def in_parallel(
    work: Iterable[tuple[str, Archive]], act: Callable[[str, Archive], Verified], jobs: int, stop: threading.Event
) -> Iterator[Fetched]:
    """Run `act` on archives with `jobs` threads; yield the results as they come.

    Failures of one archive are values in its result. Close the iterator to end the threads before their time.

    Parameters
    ----------
    work
        Tile and archive of each; taken as threads become free, in order, so that tile after tile is finished.
    stop
        Set it to have the threads end; what they are in the middle of raises `Stopped`.
    """

    def attempt(item: tuple[str, Archive]) -> Fetched | None:
        try:
            result = _result(*item, act)
        except Stopped:
            return None
        if result.fatal:
            stop.set()
        return result

    with closing(in_threads(attempt, work, jobs, stop)) as results:
        yield from (result for _, result in results if result)


def _result(tile: str, archive: Archive, act: Callable[[str, Archive], Verified]) -> Fetched:
    what = f"cannot fetch '{archive.name}'"
    try:
        return Fetched(tile, archive.name, act(tile, archive))
    except Transient as error:
        return Fetched(tile, archive.name, problem=f"{what}: {error}; run 'make download' again", again=True)
    except AccessError as error:
        # To the container, of which this archive happened to be the first to be asked for.
        return Fetched(tile, archive.name, problem=str(error), fatal=True)
    except SourceError as error:
        return Fetched(tile, archive.name, problem=f"{what}: {error}", fatal=isinstance(error, GivenUp))
    except OSError as error:
        return Fetched(tile, archive.name, problem=f"{what}: {remedy(error)}", fatal=error.errno in _EVERYWHERE)
