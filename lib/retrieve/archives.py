"""Archives: what the source says of them, what is held of them here, and what follows from both."""

from __future__ import annotations

import calendar
import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path

#: Ends the name of a file whose transfer was not finished.
PART = ".part"


@dataclass(frozen=True, slots=True)
class Archive:
    """An archive as the source lists it.

    Attributes
    ----------
    name
        File name in the container.
    bytes
        Length at the source.
    md5
        32 hexadecimal digits, or None where the source knows none (Cavern keeps one only for files that were
        uploaded through the service; a directory has none).
    date
        Date at the source in UTC, written as the source writes it: ``2021-08-05T11:25:32.123``.
    """

    name: str
    bytes: int
    md5: str | None
    date: str

    @property
    def date_ns(self) -> int:
        """The date in nanoseconds since 1970."""
        return nanoseconds(self.date)

    def same_content(self, other: Archive) -> bool:
        """Whether both stand for the same bytes: by MD5 where both have one, else by length and date."""
        if self.md5 and other.md5:
            return self.md5 == other.md5 and self.bytes == other.bytes
        return self.bytes == other.bytes and self.date == other.date


@dataclass(frozen=True, slots=True)
class Held:
    """What a `stat` says of an archive on disk: bytes, and mtime in nanoseconds since 1970."""

    bytes: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Verified:
    """An archive that was verified byte for byte, and how it looked on disk when that was done.

    Attributes
    ----------
    archive
        As the source listed it.
    md5
        That of the bytes on disk: the source may know none, or that of older bytes (Cavern, see `Fetcher`).
    mtime_ns
        mtime of the file on disk in nanoseconds since 1970.
    """

    archive: Archive
    md5: str
    mtime_ns: int


class Decision(Enum):
    """What to do about one archive of a tile."""

    KEEP = "keep"
    HASH = "hash"
    INSPECT = "inspect"
    FETCH = "fetch"


def decide(wanted: Archive, verified: Verified | None, held: Held | None) -> Decision:
    """Decide what to do about an archive from its listing, its record and one `stat`.

    Parameters
    ----------
    wanted
        The archive at the source.
    verified
        What the stamp of the downloaded tile recorded of it, if anything.
    held
        The file on disk, if there is one.

    Notes
    -----
    The first row that fits:

    =====================================  ==========================================  ========
    on disk                                known of it                                 decision
    =====================================  ==========================================  ========
    absent, or of another length           anything                                    FETCH
    mtime as recorded                      verified as the content that is wanted      KEEP
    any mtime                              an MD5, the source's or the recorded one    HASH
    mtime is the date at the source        no MD5 anywhere                             INSPECT
    any other mtime                        no MD5 anywhere                             FETCH
    =====================================  ==========================================  ========

    HASH fetches if the MD5 of the file is not `expected_md5`. INSPECT fetches if the file is not sound (a gzip stream
    to its end, a FITS file to its last block). A fetched archive is given the date at the source as its mtime: so one
    without any stamp or MD5 can be told from an older one of the same length.
    """
    if held is None or held.bytes != wanted.bytes:
        return Decision.FETCH
    known = verified is not None and verified.archive.same_content(wanted)
    if known and verified is not None and verified.mtime_ns == held.mtime_ns:
        return Decision.KEEP
    if wanted.md5 or known:
        return Decision.HASH
    return Decision.INSPECT if held.mtime_ns == wanted.date_ns else Decision.FETCH


def expected_md5(wanted: Archive, verified: Verified | None) -> str | None:
    """MD5 that a file on disk should have: of what was verified as the wanted content, else the source's."""
    if verified is not None and verified.archive.same_content(wanted):
        return verified.md5
    return wanted.md5


def nanoseconds(date: str) -> int:
    """Convert a date of the source to nanoseconds since 1970, without the rounding of a float.

    Raises
    ------
    ValueError
        If it is not a date.
    """
    whole, _, fraction = date.rstrip("Z").partition(".")
    seconds = calendar.timegm(datetime.fromisoformat(whole).timetuple())
    return seconds * 1_000_000_000 + int(f"{fraction:0<9.9}")


def date_of(time_ns: int) -> str:
    """Write nanoseconds since 1970 as a date of a source; the inverse of `nanoseconds`."""
    seconds, rest = divmod(time_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09}"


def scan(directory: Path, wanted: Callable[[str], object]) -> dict[str, Held]:
    """Look at the files of a directory whose names are `wanted`, with one `stat` each.

    A directory that does not exist holds none. What is not a regular file does not count.
    """
    held = {}
    try:
        with os.scandir(directory) as entries:
            for entry in entries:
                if wanted(entry.name) and entry.is_file(follow_symlinks=True):
                    held[entry.name] = Held(*_size_and_mtime(entry.stat()))
    except FileNotFoundError:
        return {}
    return held


def hold(path: Path) -> Held | None:
    """Look at one file; None if it is not there."""
    try:
        return Held(*_size_and_mtime(path.stat()))
    except FileNotFoundError:
        return None


def _size_and_mtime(status: os.stat_result) -> tuple[int, int]:
    return status.st_size, status.st_mtime_ns
