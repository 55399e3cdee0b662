"""Archives: what the source says of them, and what is held of them here."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Archive(NamedTuple):
    """An archive as the source lists it. A tuple, since a survey has 88,347 of them.

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


class LocalFile(NamedTuple):
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


class Line(NamedTuple):
    """A line of a stamp: one archive. A tuple, since a survey has 88,347 of them.

    Attributes
    ----------
    name
        File name in the container.
    bytes
        Length at the source; None if the archive is not there, 0 if it is but empty.
    md5
        MD5 at the source; None if the source knows none.
    date
        Date at the source.
    mtime_ns
        Mtime of the verified file here in nanoseconds since 1970, 0 once it was freed; None in a stamp of the source.
    own_md5
        MD5 of the verified bytes: the line has one of its own where the source knows none or another.
    """

    name: str
    bytes: int | None
    md5: str | None
    date: str
    mtime_ns: int | None
    own_md5: str | None

    @property
    def freed(self) -> bool:
        """Whether the file here was deleted because it is unpacked (``KEEP=no``)."""
        return self.mtime_ns == 0

    def archive(self) -> Archive:
        """Give the archive at the source."""
        return Archive(self.name, self.bytes, self.md5, self.date)

    def verified(self) -> Verified:
        """Give the archive that was verified here; a ValueError if the line does not say that it was."""
        if self.mtime_ns is None:
            raise ValueError(f"not a record: it does not say how '{self.name}' was verified")
        return Verified(self.archive(), self.own_md5 or "", self.mtime_ns)


def is_tar(name: str) -> bool:
    """Whether an archive is one to unpack, by its name."""
    return name.endswith((".tgz", ".tar.gz"))


def same_content(one: Archive | Line, other: Archive | Line, *, md5_may_be_old: bool = False) -> bool:
    """Whether both stand for the same bytes.

    ===========================  ===========================================
    MD5s                         same bytes
    ===========================  ===========================================
    both known                   same MD5 and length
    both known, may be old       same MD5, length and date
    one unknown, or both         same length and date
    ===========================  ===========================================
    """
    if one.md5 and other.md5:
        same = one.md5 == other.md5 and one.bytes == other.bytes
        return same and (one.date == other.date or not md5_may_be_old)
    return one.bytes == other.bytes and one.date == other.date


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
