"""Lines: the one reader of stamps, which gives a line for each archive."""

from __future__ import annotations

from typing import NamedTuple

from retrieve.archives import Archive, Verified

#: In place of a field: not there, or not known.
NONE = "-"


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


def read_stamp(text: str) -> tuple[str, dict[str, Line]]:
    """Read the text of a stamp of any state but `MISSING`: its source, and its lines by name.

    ===================  ================================================================
    state                fields of a line, with tabs between them
    ===================  ================================================================
    available            name, bytes, MD5 or ``-``, date
    incomplete           as above; MD5 and date of what lacks are ``-``, and its bytes ``-`` or 0
    downloaded           as above, mtime of the file here; its own MD5 if that is another
    extracted            as downloaded; the mtime is 0 if the archive was freed
    ===================  ================================================================

    Further fields are ignored.

    Raises
    ------
    ValueError
        If it is not a stamp, or not all of one.
    """
    if not text.startswith("# ") or not text.endswith("\n"):
        raise ValueError("not a stamp, or not all of one")
    first, *lines = text.splitlines()
    try:
        return first[2:], {row[0]: _line(*row) for row in [line.split("\t") for line in lines]}
    except TypeError:
        raise ValueError("not a stamp: a line has too few fields") from None


def _line(name: str, size: str, md5: str, date: str, mtime_ns: str = "", own: str = "", *_: str) -> Line:
    known = None if md5 == NONE else md5
    return Line(
        name,
        None if size == NONE and not mtime_ns else int(size),
        known,
        date,
        int(mtime_ns) if mtime_ns else None,
        own or known,
    )
