"""Decisions: what to do about an archive, and why one is missing here, from what is known of it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import Enum

from retrieve.archives import Archive, Line, LocalFile, Verified, same_content
from retrieve.wording import some

#: Why archives of a tile may lack here, the gravest first: a tile is counted under the first that holds.
REASONS = NOT_LISTED, NOT_AT_SOURCE, EMPTY, DAMAGED, NEWER, NOT_FETCHED, WITHOUT_FILE = (
    "not listed yet",
    "not at the source",
    "there, but empty (an upload broke off)",
    "damaged",
    "newer at the source",
    "not fetched",
    "without its file",
)

#: Nanoseconds to which file systems cut dates: ext4 and XFS to none, NTFS to 100, some of networks to microseconds or
#: milliseconds, exFAT to 10 ms, ext2 and Lustre to seconds, FAT to two.
_GRAINS = (1, 100, 1_000, 1_000_000, 10_000_000, 1_000_000_000, 2_000_000_000)


class Decision(Enum):
    """What to do about one archive of a tile."""

    KEEP = "keep"
    HASH = "hash"
    INSPECT = "inspect"
    FETCH = "fetch"


def decide(
    wanted: Archive, verified: Verified | None, held: LocalFile | None, *, md5_may_be_old: bool = False
) -> Decision:
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

    Dates are compared as finely as the disk keeps them, which an mtime itself shows.

    Where MD5s may be old, a content is the wanted one only if its date is too, and the source's MD5 counts only for a
    file that has the date at the source as its mtime.

    HASH fetches if the MD5 of the file is not `expected_md5`. INSPECT fetches if the file is not sound (a gzip stream
    to its end, a FITS file to its last block). A fetched archive is given the date at the source as its mtime: so one
    without any stamp or MD5 can be told from an older one of the same length.
    """
    if held is None or held.bytes != wanted.bytes:
        return Decision.FETCH
    known = verified is not None and same_content(verified.archive, wanted, md5_may_be_old=md5_may_be_old)
    if verified is not None and verified.mtime_ns == held.mtime_ns:
        if known:
            return Decision.KEEP
        if wanted.md5 and wanted.md5 != verified.md5:
            return Decision.FETCH
    dated = _is_dated(held.mtime_ns, wanted.date_ns)
    if known or (wanted.md5 and (dated or not md5_may_be_old)):
        return Decision.HASH
    return Decision.INSPECT if dated else Decision.FETCH


def _is_dated(mtime_ns: int, date_ns: int) -> bool:
    """Whether a file has a date as its mtime, cut to what its disk keeps."""
    return any(date_ns - date_ns % grain == mtime_ns for grain in _GRAINS)


def expected_md5(wanted: Archive, verified: Verified | None) -> str | None:
    """MD5 that a file here should have: that of the verified bytes if they are the wanted ones, or the source's."""
    if verified is not None and same_content(verified.archive, wanted):
        return verified.md5
    return wanted.md5


def md5_may_be_old(source: str) -> bool:
    """Whether the MD5s at a source may be those of older bytes: Cavern keeps them when a mounted file is rewritten.

    ==================================================  ===========
    URI of the container                                may be old
    ==================================================  ===========
    ``arc:…``, ``vos://AUTHORITY~arc/…``, with ``!``    yes
    ``vos:…``, ``vault:…``, the long forms of Vault     no
    a local directory                                   no
    ==================================================  ===========
    """
    return bool(cavern_path(source))


def cavern_path(source: str) -> str:
    """Path of a container of Cavern, such as ``projects/cosmos``; empty for any other source."""
    found = re.match(r"(?:arc:|vos://[^/]*[~!]arc/)/*(.+)", source)
    return found[1] if found else ""


@dataclass(frozen=True)
class Lack:
    """What a tile lacks here.

    Attributes
    ----------
    reason
        One of `REASONS`.
    names
        The archives that lack for this reason; none if it is the whole tile.
    text
        A remark on the whole tile, or the error of the last try to fetch its archives.
    """

    reason: str
    names: tuple[str, ...]
    text: str = ""

    def __str__(self) -> str:
        if not self.names:
            return self.text
        names = ", ".join(self.names) if len(self.names) < 3 else some(len(self.names), "archive")
        return f"{self.reason}: {names}" + (f" ({self.text})" if self.text else "")


def lack_of(
    wanted: Line | None, verified: Line | None, held: LocalFile | None, *, md5_may_be_old: bool = False
) -> str | None:
    """Say why an archive is missing here, without reading it; None if it does not, which `decide` calls KEEP.

    ===================================  =======================================  ===================
    at the source                        here                                     reason
    ===================================  =======================================  ===================
    no                                   no file                                  not at the source
    0 bytes                              no file                                  there, but empty
    no, or 0 bytes                       a file                                   (does not lack)
    yes                                  no file, or one that was not verified    not fetched
    yes                                  verified as that content, unchanged      (does not lack)
    yes                                  verified as that content, then altered   damaged
    yes                                  verified as another content              newer at the source
    ===================================  =======================================  ===================
    """
    if wanted is None or not wanted.bytes:
        absent = NOT_AT_SOURCE if wanted is None or wanted.bytes is None else EMPTY
        return absent if held is None else None
    if verified is None or held is None:
        return NOT_FETCHED
    if not same_content(wanted, verified, md5_may_be_old=md5_may_be_old):
        return NEWER
    return None if held == (verified.bytes, verified.mtime_ns) else DAMAGED
