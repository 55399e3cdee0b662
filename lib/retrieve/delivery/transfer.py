"""Verified transfer: the bytes of an archive go to a part file, are proved right, and only then get their name."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from retrieve.archives import Archive, Verified, same_content
from retrieve.decisions import md5_may_be_old
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
    """What is sent is not what was listed."""


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
        part = Part(archive, part_path(self.directory, archive))
        try:
            return self._attempts(part)
        except (Gone, _Changed, _Damaged, _DamagedThere) as error:
            now = self._look_again(archive, error)
            if now is None:
                raise Gone("it is gone since it was listed; run 'make avail'") from error
            if now.bytes == 0:
                raise SourceError("it is empty at the source, as a failed upload leaves it; ask who made it") from error
            if same_content(now, archive, md5_may_be_old=md5_may_be_old(self.container.uri)):
                if isinstance(error, (_Damaged, _DamagedThere)):
                    raise
            else:
                part.drop()
            self._count(part, 0)
        return self._attempts(Part(now, part_path(self.directory, now), confirmed=True))

    def _look_again(self, archive: Archive, error: SourceError) -> Archive | None:
        """Read the node again; if that fails, the error that made it necessary tells more."""
        try:
            return self.container.look_up(archive.name)
        except AccessError:
            raise
        except SourceError:
            raise error from None

    def _attempts(self, part: Part) -> Verified:
        if part.size() == part.archive.bytes:
            # Killed after its last byte and before it got its name.
            md5 = md5_of(part.path)
            if self._problem(part, md5) is None:
                return self._keep(part, md5)
            part.drop()
        return patiently(lambda attempt: self._attempt(part, attempt), self.retries, self._pause)

    def _attempt(self, part: Part, attempt: int) -> Verified:
        self._wait(0)
        digest, start = part.resume()
        try:
            with self.container.read(part.archive.name, start, attempt) as body:
                self._check_head(part, body, start)
                if body.start != start:
                    digest, start = new_md5(), 0
                self._count(part, start)
                self._receive(part, start, body.chunks, digest)
        except Gone as error:
            if part.confirmed:
                raise Transient("it is listed, and yet it is not found") from error
            raise
        if part.size() != part.archive.bytes:
            raise _Damaged(f"it ended after {part.size()} of {part.archive.bytes} bytes")
        return self._accept(part, digest.hexdigest())

    def _check_head(self, part: Part, body: Body, start: int) -> None:
        """Refuse a body that says of itself that it is not what was listed, or not what the part file is of."""
        archive = part.archive
        if not part.confirmed and (
            body.length not in (None, archive.bytes)
            or (archive.md5 and body.md5 not in (None, archive.md5))
            or (not archive.md5 and body.modified not in (None, archive.date_ns // 1_000_000_000))
        ):
            raise _Changed("it is not what was listed; run 'make avail'")
        if start and body.start == start and (body.md5, body.length) != (archive.md5, archive.bytes):
            part.drop()
            raise _Damaged("the rest of what came before is not served any more")

    def _receive(self, part: Part, start: int, chunks: Iterator[bytes], digest: Digest) -> None:
        """Write what comes and hash it, up to the length that is expected."""
        size = start
        with part.open(start) as file, Sink(file, digest, part.archive.bytes) as sink:
            for chunk in chunks:
                sink.take(chunk)
                size += len(chunk)
                if size > part.archive.bytes:
                    raise _Damaged(f"more than its {part.archive.bytes} bytes came")
                self._count(part, size)
                self._wait(self.limit.seconds_for(len(chunk)))

    def _accept(self, part: Part, md5: str) -> Verified:
        """Keep what came whole if it is right, else remove it and say what is wrong."""
        problem = self._problem(part, md5)
        if problem is None:
            if part.confirmed and not part.archive.md5:
                # Only the node tells of what these bytes are: it must not have changed while they came.
                now = self.container.look_up(part.archive.name)
                if now is None or not same_content(now, part.archive):
                    raise SourceError("it changes at the source while it is fetched; run 'make avail' later")
            return self._keep(part, md5)
        part.drop()
        self._count(part, 0)
        if md5 in part.refused:
            raise _DamagedThere(f"it is damaged at the source ({problem}); ask who made it")
        part.refused.add(md5)
        raise _Damaged(f"it came damaged ({problem})")

    def _problem(self, part: Part, md5: str) -> str | None:
        """Say what is wrong with what came, by the source's MD5 where it holds, else by the file itself."""
        expected = part.archive.md5
        if expected == md5:
            return None
        if expected and not (md5 in part.refused and md5_may_be_old(self.container.uri)):
            return "its MD5 is not the source's"
        return unsound(part.path)

    def _keep(self, part: Part, md5: str) -> Verified:
        mtime_ns = part.settle()
        part.path.rename(self.directory / part.archive.name)
        self._count(part, part.archive.bytes)
        return Verified(part.archive, md5, mtime_ns)

    def _count(self, part: Part, here: int) -> None:
        self.moved(here - part.counted)
        part.counted = here

    def _pause(self, seconds: float, reason: str) -> None:
        self.pausing(seconds, reason)
        self._wait(seconds)

    def _wait(self, seconds: float) -> None:
        if self.stop.wait(seconds) if seconds else self.stop.is_set():
            raise Stopped
