"""Archives: what the source says of them, what is held of them here, and what follows from both."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from typing import NamedTuple

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
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


class Held(NamedTuple):
    """What a `stat` says of an archive on disk: bytes, and mtime in nanoseconds since 1970.

    A tuple, since there may be 191,037 of them.
    """

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


def decide(wanted: Archive, verified: Verified | None, held: Held | None, *, md5_may_be_old: bool = False) -> Decision:
    """Decide what to do about an archive from its listing, its record and one `stat`.

    Parameters
    ----------
    wanted
        The archive at the source.
    verified
        What the stamp of the downloaded tile recorded of it, if anything.
    held
        The file on disk, if there is one.
    md5_may_be_old
        Whether the source keeps the MD5 of a file that was rewritten; see `md5_may_be_old`.

    Notes
    -----
    The first row that fits:

    =====================================  ==========================================  ========
    on disk                                known of it                                 decision
    =====================================  ==========================================  ========
    absent, or of another length           anything                                    FETCH
    mtime as recorded                      verified as the content that is wanted      KEEP
    mtime as recorded                      verified, with another MD5 than is wanted   FETCH
    any mtime                              an MD5, the source's or the recorded one    HASH
    mtime is the date at the source        no MD5 anywhere                             INSPECT
    any other mtime                        no MD5 anywhere                             FETCH
    =====================================  ==========================================  ========

    Where MD5s may be old, a content is the wanted one only if its date is too, and the source's MD5 counts only for a
    file that has the date at the source as its mtime.

    HASH fetches if the MD5 of the file is not `expected_md5`. INSPECT fetches if the file is not sound (a gzip stream
    to its end, a FITS file to its last block). A fetched archive is given the date at the source as its mtime: so one
    without any stamp or MD5 can be told from an older one of the same length.
    """
    if held is None or held.bytes != wanted.bytes:
        return Decision.FETCH
    dated = held.mtime_ns == wanted.date_ns
    known = verified is not None and verified.archive.same_content(wanted)
    if md5_may_be_old and verified is not None:
        known = known and verified.archive.date == wanted.date
    if verified is not None and verified.mtime_ns == held.mtime_ns:
        if known:
            return Decision.KEEP
        if wanted.md5 and wanted.md5 != verified.md5:
            return Decision.FETCH
    if known or (wanted.md5 and (dated or not md5_may_be_old)):
        return Decision.HASH
    return Decision.INSPECT if dated else Decision.FETCH


def expected_md5(wanted: Archive, verified: Verified | None) -> str | None:
    """MD5 that a file on disk should have: of what was verified as the wanted content, else the source's."""
    if verified is not None and verified.archive.same_content(wanted):
        return verified.md5
    return wanted.md5


def md5_may_be_old(source: str) -> bool:
    """Whether the MD5s at a source may be those of older bytes: Cavern keeps them when a mounted file is rewritten."""
    return source.startswith("arc:") or "~arc/" in source


def nanoseconds(date: str) -> int:
    """Convert a date of the source to nanoseconds since 1970, without the rounding of a float.

    Raises
    ------
    ValueError
        If it is not a date.
    """
    whole, _, fraction = date.rstrip("Z").partition(".")
    since = datetime.fromisoformat(whole).replace(tzinfo=UTC) - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000_000 + int(fraction[:9].ljust(9, "0"))


def date_of(time_ns: int) -> str:
    """Write nanoseconds since 1970 as a date of a source; the inverse of `nanoseconds`."""
    seconds, rest = divmod(time_ns, 1_000_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09}"


def scan(directory: Path, wanted: Callable[[str], object]) -> dict[str, Held]:
    """Look at the files of a directory whose names are `wanted`, with one `stat` each.

    A directory that does not exist holds none. What is not a regular file does not count.
    """
    try:
        with os.scandir(directory) as entries:
            return {
                entry.name: Held((status := entry.stat()).st_size, status.st_mtime_ns)
                for entry in entries
                if wanted(entry.name) and entry.is_file()
            }
    except (FileNotFoundError, NotADirectoryError):
        return {}


def hold(path: Path) -> Held | None:
    """Look at one file; None if it is not there."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    return Held(status.st_size, status.st_mtime_ns)
