"""Stamps: a small file per tile and state, whose mtime Make compares.

The mtime of a stamp is the newest date among its archives at the source, so that Make compares the source's clock
with the source's clock. `downloaded` and `extracted` take over the mtime of the stamp that they answer.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar

from retrieve.archives import Archive, Line, Verified, nanoseconds
from retrieve.errors import RetrieveError
from retrieve.host.disk import local_file, look, make_directory, sync_directory, sync_file
from retrieve.host.lock import lock
from retrieve.selection import EVERYTHING, Selection
from retrieve.shards import Shard
from retrieve.stamps.lines import NONE, ONLY, read_stamp
from retrieve.tiles import JOIN

#: The states of a tile, which are the names of the directories of stamps.
AVAILABLE, INCOMPLETE, UNFINISHED, DOWNLOADED, EXTRACTED, HANDING, DONE, MISSING = (
    "available", "incomplete", "unfinished", "downloaded", "extracted", "handing", "done", "missing"
)  # fmt: skip


_Parsed = TypeVar("_Parsed")


@dataclass(frozen=True)
class Stamp:
    """What `available/TILE` and `incomplete/TILE` say: the archives of a tile at the source.

    Attributes
    ----------
    source
        URI of the container.
    archives
        The archives that are there, in the order of the products.
    lacking
        Names of those that are not, or are empty.
    empty
        Names of those that are there with 0 bytes, as an upload leaves them that broke off.
    """

    source: str
    archives: tuple[Archive, ...]
    lacking: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()

    def text(self) -> str:
        """Write the stamp: the source, then a line per archive: name, bytes, MD5 or ``-``, date.

        Of an archive that is not there, bytes is ``-``, or 0 if it is empty.
        """
        lines = [f"# {self.source}", *map(_archive_line, self.archives)]
        lines += ["\t".join((name, "0" if name in self.empty else NONE, NONE, NONE)) for name in self.lacking]
        return "\n".join(lines) + "\n"

    @property
    def state(self) -> str:
        """Whether the tile is complete at the source: `AVAILABLE`, or `INCOMPLETE`."""
        return INCOMPLETE if self.lacking else AVAILABLE

    @property
    def date_ns(self) -> int:
        """Newest date among the archives in nanoseconds since 1970; 0 without archives."""
        # As texts they sort as in time; to read all of a survey's would take a tenth of its listing.
        return nanoseconds(max(archive.date for archive in self.archives)) if self.archives else 0

    @classmethod
    def parse(cls, text: str) -> Stamp:
        """Read what `text` wrote; further fields of a line are ignored.

        Raises
        ------
        ValueError
            If it is not a stamp.
        """
        source, lines = read_stamp(text)
        archives = tuple(one.archive() for one in lines.values() if one.bytes)
        lacking = tuple(one.name for one in lines.values() if not one.bytes)
        return cls(source, archives, lacking, tuple(name for name in lacking if lines[name].bytes == 0))


@dataclass(frozen=True)
class Record:
    """What `downloaded/TILE` says: the archives that were verified here, by name.

    `unfinished/TILE` says it of some of the archives of a tile, until the others are here, too.

    Its lines are those of `Stamp` with one more field, the mtime of the local file in nanoseconds. Where the source has
    no MD5 or a different one, the file's own MD5 follows. `extracted/TILE` says the same of what was unpacked; patterns
    after the source mean that only the files they select were unpacked (ONLY).
    """

    source: str = ""
    verified: dict[str, Verified] = field(default_factory=dict)
    only: Selection = EVERYTHING

    def text(self) -> str:
        """Write the record."""
        first = f"# {self.source}" + (f"{ONLY}{' '.join(self.only.patterns)}" if self.only else "")
        return "\n".join([first, *map(_verified_line, self.verified.values())]) + "\n"

    @classmethod
    def parse(cls, text: str) -> Record:
        """Read what `text` wrote.

        Raises
        ------
        ValueError
            If it is not a record.
        """
        source, lines = read_stamp(text)
        patterns = text.partition("\n")[0].partition(ONLY)[2].split()
        return cls(source, {name: one.verified() for name, one in lines.items()}, Selection(tuple(patterns)))


def _archive_line(archive: Archive) -> str:
    return f"{archive.name}\t{archive.bytes}\t{archive.md5 or NONE}\t{archive.date}"


def _verified_line(one: Verified) -> str:
    line = f"{_archive_line(one.archive)}\t{one.mtime_ns}"
    return line if one.md5 == one.archive.md5 else f"{line}\t{one.md5}"


class Stamps:
    """The stamps of one PSF model: a directory per state, a file per tile.

    Parameters
    ----------
    root
        The user's directory of stamps.
    model
        PSF model, or ``files``.
    """

    def __init__(self, root: Path, model: str) -> None:
        self.directory = root / model
        self.listing = self.directory / "listing"

    def check_listed(self) -> None:
        """Raise a `RetrieveError` if nothing was listed yet."""
        if not self.listing.exists():
            raise RetrieveError("nothing was listed yet; run 'make avail'")

    def path(self, state: str, tile: str) -> Path:
        """Where the stamp of a tile is, whether it exists or not."""
        return self.directory / state / tile

    def tiles(self, state: str) -> dict[str, int]:
        """Tiles in a state, and the mtime of their stamps in nanoseconds."""
        there = look(self.directory / state, lambda name: not name.startswith("."))
        return {name: status.st_mtime_ns for name, status in there}

    def jobs(self) -> list[str]:
        """Jobs of several tiles that are complete at the source."""
        return [name for name, _ in look(self.directory / AVAILABLE, lambda name: JOIN in name and name[0] != ".")]

    def count(self, state: str) -> int:
        """Number of tiles in a state."""
        try:
            with os.scandir(self.directory / state) as entries:
                return sum(not one.name.startswith(".") for one in entries)
        except FileNotFoundError:
            return 0

    def mtime_ns(self, state: str, tile: str) -> int | None:
        """Mtime of a stamp in nanoseconds; None without one."""
        held = local_file(self.path(state, tile))
        return held.mtime_ns if held else None

    def read(self, state: str, tile: str) -> tuple[str, int] | None:
        """Text of a stamp and its mtime in nanoseconds, both of the same file; None without one."""
        # Thousands of stamps are read at a time: the path is text, and the file has no buffer.
        try:
            descriptor = os.open(f"{self.directory}/{state}/{tile}", os.O_RDONLY)
        except FileNotFoundError:
            return None
        try:
            status = os.fstat(descriptor)
            return os.read(descriptor, status.st_size).decode(), status.st_mtime_ns
        finally:
            os.close(descriptor)

    def source(self, tile: str) -> tuple[Stamp, int] | None:
        """What the source has of a tile, complete or not, with that stamp's mtime; None without a readable stamp."""
        state = AVAILABLE if self.path(AVAILABLE, tile).exists() else INCOMPLETE
        return self._parsed(state, tile, Stamp.parse)

    def downloaded(self, tile: str) -> Record:
        """What was verified here of a tile; an empty record without a readable stamp."""
        found = self.downloaded_with_mtime(tile)
        return found[0] if found else Record()

    def downloaded_with_mtime(self, tile: str) -> tuple[Record, int] | None:
        """What was verified here of a tile, with that stamp's mtime; None without a readable stamp."""
        return self._parsed(DOWNLOADED, tile, Record.parse)

    def extracted(self, tile: str) -> Record:
        """What was unpacked of a tile; an empty record without a readable stamp.

        An archive that was freed after it was unpacked (``KEEP=no``) has the mtime 0; see also `members`.
        """
        found = self._parsed(EXTRACTED, tile, Record.parse)
        return found[0] if found else Record()

    def handed_on(self, tile: str) -> bool:
        """Whether what was unpacked last of a tile was handed on, and is here no more."""
        done = self.mtime_ns(DONE, tile)
        return done is not None and done >= (self.mtime_ns(EXTRACTED, tile) or 0)

    def lines(self, state: str, tile: str) -> tuple[str, dict[str, Line]]:
        """Source of a stamp and its lines by name; none without it, or if it is damaged."""
        found = self._parsed(state, tile, read_stamp)
        return found[0] if found else ("", {})

    def _parsed(self, state: str, tile: str, parse: Callable[[str], _Parsed]) -> tuple[_Parsed, int] | None:
        """Parse a stamp, and give its mtime; None if it is not there, or is damaged."""
        found = self.read(state, tile)
        try:
            return (parse(found[0]), found[1]) if found else None
        except ValueError:
            return None

    def write(
        self, state: str, tile: str, text: str, mtime_ns: int, above_ns: int | None = None, *, sync: bool = False
    ) -> int:
        """Write a stamp whole: to a temporary name, then renamed; parameters as those of `prepare`."""
        got = self.prepare(state, tile, text, mtime_ns, above_ns, sync=sync)
        self.publish(state, tile)
        if sync:
            self.sync(state)
        return got

    def prepare(
        self, state: str, tile: str, text: str, mtime_ns: int, above_ns: int | None = None, *, sync: bool = False
    ) -> int:
        """Write a stamp to a temporary name; `publish` gives it its own, which it may have once it is on disk.

        Parameters
        ----------
        mtime_ns
            The mtime that the stamp is to have, in nanoseconds.
        above_ns
            The stamp's mtime becomes strictly newer than this, even on a file system with a coarse resolution.
        sync
            Have it on disk before returning. Thousands of stamps are synced together instead, by `sync_file_system`.

        Returns
        -------
        int
            The mtime that it has.
        """
        # Thousands of stamps are written at a time: as few system calls as it takes, and no paths as objects.
        directory = f"{self.directory}/{state}"
        temporary = f"{directory}/.{tile}"
        try:
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        except FileNotFoundError:
            make_directory(Path(directory))
            descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
        try:
            rest = text.encode()
            while rest:
                rest = rest[os.write(descriptor, rest) :]
            got = _set_mtime(descriptor, temporary, mtime_ns, above_ns)
            if sync:
                sync_file(descriptor)
        finally:
            os.close(descriptor)
        return got

    def publish(self, state: str, tile: str) -> None:
        """Give a stamp that was prepared its name."""
        os.rename(f"{self.directory}/{state}/.{tile}", f"{self.directory}/{state}/{tile}")  # noqa: PTH104

    def sync(self, *states: str) -> None:
        """Have on disk which tiles have a stamp in some states, and which have none any more."""
        for directory in (self.directory / state for state in states):
            if directory.is_dir():
                sync_directory(directory)

    def remove(self, state: str, tile: str) -> None:
        """Remove a stamp, if it is there."""
        self.path(state, tile).unlink(missing_ok=True)

    def lock(self, shard: Shard | None = None) -> AbstractContextManager[None]:
        """Keep other runs off these stamps, or off those of one shard; see `lock.lock`."""
        return lock(self.directory, shard)


def newest(times: Iterable[int | None]) -> int | None:
    """Newest of some mtimes, of which any may be lacking."""
    return max((time for time in times if time is not None), default=None)


def _set_mtime(descriptor: int, path: str, mtime_ns: int, above_ns: int | None) -> int:
    # File systems keep nanoseconds, microseconds, whole or even seconds: try ever larger steps until one shows.
    for step in (1, 1_000, 1_000_000, 1_000_000_000, 2_000_000_000):
        wanted = mtime_ns if above_ns is None else max(mtime_ns, above_ns + step)
        os.utime(descriptor, ns=(wanted, wanted))
        got = os.fstat(descriptor).st_mtime_ns
        if above_ns is None or got > above_ns:
            return got
    raise RetrieveError(f"cannot set the date of '{path}': its file system keeps no modification times")
