"""Lines: the one reader of stamps, which gives a line for each archive."""

from __future__ import annotations

from retrieve.archives import Line

#: Stands for a value that is absent or unknown.
NONE = "-"
#: Separates the source from the patterns with which a tile was unpacked.
ONLY = "\tonly\t"


def read_stamp(text: str) -> tuple[str, dict[str, Line]]:
    """Read the text of a stamp of any state but `MISSING`: its source, and its lines by name.

    ===================  ================================================================
    state                fields of a line, with tabs between them
    ===================  ================================================================
    available            name, bytes, MD5 or ``-``, date
    incomplete           as above; of what is not there MD5 and date are ``-``, bytes ``-`` or 0
    downloaded           as above, mtime of the file here; its own MD5 if that is another
    unfinished           as downloaded
    extracted            as downloaded; the mtime is 0 if the archive was freed
    ===================  ================================================================

    Further fields are ignored.

    Raises
    ------
    ValueError
        If it is not a stamp, or a stamp that was cut short.
    """
    if not text.startswith("# ") or not text.endswith("\n"):
        raise ValueError("not a stamp, or not all of one")
    first, *lines = text.splitlines()
    try:
        return first[2:].partition(ONLY)[0], {row[0]: _line(*row) for row in [line.split("\t") for line in lines]}
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
