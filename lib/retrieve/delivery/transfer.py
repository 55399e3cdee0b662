"""Verified transfer: the bytes of an archive go to a part file, are proved right, and only then get their name."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from retrieve.archives import Archive, Verified, same_content
from retrieve.decisions import md5_may_be_old
from retrieve.delivery.gate import Gate
from retrieve.delivery.part import Part, Sink, part_path
from retrieve.delivery.pool import Stopped
from retrieve.errors import AccessError, Gone, SourceError, Transient
from retrieve.formats.kinds import unsound
from retrieve.host.disk import md5_of, new_md5
from retrieve.source.patience import RateLimit, patiently

if TYPE_CHECKING:
    from hashlib import _Hash as Digest

    from retrieve.source.container import Body, Container


class _Changed(SourceError):
    """The source sends something else than it listed."""


class _Damaged(Transient):
    """What came is not what was promised."""


class _DamagedThere(SourceError):
    """The same bytes came twice, and they are not what was promised."""


@dataclass(frozen=True)
class Fetcher:
    """Fetches archives of one container into one directory; used by several threads at once.

    Attributes
    ----------
    container
        Where they come from.
    gate
        Lets as many be under way as the service gives well.
    directory
        Where they are to be, part files included.
    retries
        How often an archive is tried again after a fault that may pass.
    moved
        Called with the number of bytes of an archive that are here now and were not before; negative when bytes proved
        wrong and have to come again.
    pausing
        Called with the seconds that an archive waits before it is tried again, and the reason.
    stop
        Set to end the transfers that are under way.
    limit
        Bandwidth that all transfers share.
    """

    container: Container
    gate: Gate
    directory: Path
    retries: int
    moved: Callable[[int], None]
    pausing: Callable[[float, str], None]
    stop: threading.Event
    limit: RateLimit

    def fetch(self, archive: Archive) -> Verified:
        """Fetch one archive: part file, length, MD5 or soundness, fsync, rename.

        A part file is named after the archive and its content at the source, and goes on where it ended if the source
        serves ranges of that same content. Where it seems that the content changed since it was listed, the node is
        read again once and its new values hold. Where the source's MD5 may be that of older bytes, two whole fetches
        of the same sound bytes outweigh it. The rename is on disk after `sync_directory`, which is left to the caller:
        once for a tile.

        Raises
        ------
        SourceError
            If it cannot be had.
        OSError
            If it cannot be written.
        """
        transfer = Transfer(self, archive)
        try:
            return transfer.run()
        except (Gone, _Changed, _Damaged, _DamagedThere) as error:
            now = self._look_again(archive, error)
            if now is None:
                raise Gone("it is gone since it was listed; run 'make avail'") from error
            if now.bytes == 0:
                raise SourceError("it is empty at the source, as a failed upload leaves it; ask who made it") from error
            if same_content(now, archive, md5_may_be_old=md5_may_be_old(self.container.uri)):
                if isinstance(error, (_Damaged, _DamagedThere)):
                    raise
                transfer.count(0)
            else:
                transfer.drop()
        return Transfer(self, now, confirmed=True).run()

    def _look_again(self, archive: Archive, error: SourceError) -> Archive | None:
        """Read the node again; if that fails, the error that made it necessary tells more."""
        try:
            return self.container.look_up(archive.name)
        except AccessError:
            raise
        except SourceError:
            raise error from None

    def pause(self, seconds: float, reason: str) -> None:
        """Wait before an archive is tried again."""
        self.pausing(seconds, reason)
        self.wait(seconds)

    def wait(self, seconds: float) -> None:
        """Wait for some seconds, or not at all; raises `Stopped` once the run is told to stop."""
        if self.stop.wait(seconds) if seconds else self.stop.is_set():
            raise Stopped


class Transfer:
    """One archive on its way.

    Parameters
    ----------
    confirmed
        The node was read again after the sender claimed otherwise: its claims do not count any more.
    """

    def __init__(self, fetcher: Fetcher, archive: Archive, *, confirmed: bool = False) -> None:
        self._fetcher = fetcher
        self._archive = archive
        self._confirmed = confirmed
        self._part = Part(archive, part_path(fetcher.directory, archive))
        #: MD5s of whole fetches that were refused.
        self._refused: set[str] = set()
        #: Bytes that `Fetcher.moved` was told of.
        self._counted = 0

    def run(self) -> Verified:
        """Fetch the archive, in as many attempts as it takes and there may be."""
        if self._archive.md5 and self._part.size() == self._archive.bytes:
            # Killed after its last byte and before it got its name. Without an MD5 it could not be told whether all its
            # bytes were on disk when the power went.
            md5 = md5_of(self._part.path)
            if self._problem(md5) is None:
                return self._keep(md5)
            self._part.drop()
        return patiently(self._attempt, self._fetcher.retries, self._fetcher.pause)

    def drop(self) -> None:
        """Remove what came: it is of no use."""
        self._part.drop()
        self.count(0)

    def count(self, here: int) -> None:
        """Tell how many bytes of the archive are here now."""
        self._fetcher.moved(here - self._counted)
        self._counted = here

    def _attempt(self, attempt: int) -> Verified:
        self._fetcher.wait(0)
        digest, start = self._part.usable()
        try:
            with (
                self._fetcher.gate.passed(),
                self._fetcher.container.read(self._archive.name, start, attempt) as body,
            ):
                self._check_head(body, start)
                if body.start != start:
                    digest, start = new_md5(), 0
                self.count(start)
                self._receive(start, body.chunks, digest)
        except Gone as error:
            if self._confirmed:
                raise Transient("it is listed, and yet it is not found") from error
            raise
        if self._part.size() != self._archive.bytes:
            raise _Damaged(f"it ended after {self._part.size()} of {self._archive.bytes} bytes")
        return self._accept(digest.hexdigest())

    def _check_head(self, body: Body, start: int) -> None:
        """Refuse a body that says of itself that it is not what was listed, or not what the part file is of."""
        archive = self._archive
        if not self._confirmed and (
            body.length not in (None, archive.bytes)
            or (archive.md5 and body.md5 not in (None, archive.md5))
            or (not archive.md5 and body.modified not in (None, archive.date_ns // 1_000_000_000))
        ):
            raise _Changed("it is not what was listed; run 'make avail'")
        if start and body.start == start and (body.md5, body.length) != (archive.md5, archive.bytes):
            self._part.drop()
            raise _Damaged("the rest of what came before is not served any more")

    def _receive(self, start: int, chunks: Iterator[bytes], digest: Digest) -> None:
        """Write what comes and hash it, up to the length that is expected."""
        size = start
        with self._part.open(start) as file, Sink(file, digest, self._archive.bytes) as sink:
            for chunk in chunks:
                sink.take(chunk)
                size += len(chunk)
                if size > self._archive.bytes:
                    raise _Damaged(f"more than its {self._archive.bytes} bytes came")
                self.count(size)
                self._fetcher.gate.moved(len(chunk))
                self._fetcher.wait(self._fetcher.limit.seconds_for(len(chunk)))

    def _accept(self, md5: str) -> Verified:
        """Keep what came whole if it is right; otherwise remove it and say what is wrong."""
        problem = self._problem(md5)
        if problem is None:
            if self._confirmed and not self._archive.md5:
                # Only the node tells of what these bytes are: it must not have changed while they came.
                now = self._fetcher.container.look_up(self._archive.name)
                if now is None or not same_content(now, self._archive):
                    raise SourceError("it changes at the source while it is fetched; run 'make avail' later")
            return self._keep(md5)
        self.drop()
        if md5 in self._refused:
            raise _DamagedThere(f"it is damaged at the source ({problem}); ask who made it")
        self._refused.add(md5)
        raise _Damaged(f"it came damaged ({problem})")

    def _problem(self, md5: str) -> str | None:
        """Say what is wrong with what came, by the source's MD5 where it holds, otherwise by the file itself."""
        expected = self._archive.md5
        if expected == md5:
            return None
        if expected and not (md5 in self._refused and md5_may_be_old(self._fetcher.container.uri)):
            return "its MD5 is not the source's"
        return unsound(self._part.path)

    def _keep(self, md5: str) -> Verified:
        mtime_ns = self._part.finish()
        # What gets its name after a stop would miss the record of what was verified; a whole part file does not.
        self._fetcher.wait(0)
        self._part.path.rename(self._fetcher.directory / self._archive.name)
        self.count(self._archive.bytes)
        return Verified(self._archive, md5, mtime_ns)
