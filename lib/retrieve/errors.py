"""What goes wrong, as a person would tell it: each error's text is one line with the problem and the remedy."""

from __future__ import annotations

import errno


class RetrieveError(Exception):
    """A problem that keeps a command from starting or going on; its exit status is 2."""


class SettingError(RetrieveError):
    """A setting has a value that cannot be used."""


class Full(RetrieveError):
    """A disk has no room for what is to come."""


class SourceError(RetrieveError):
    """The source of the archives does not give what was asked for."""


class ListingError(SourceError):
    """A listing is not known to be complete: nothing may be concluded from it."""


class AccessError(SourceError):
    """The source refuses the caller, or the credentials cannot be used; trying again will not help."""


class Closed(AccessError):
    """A container may not be read: nothing that is in it can be had."""


class Gone(SourceError):
    """What was asked for is not there."""


class Transient(SourceError):
    """A fault that may pass.

    Attributes
    ----------
    retry_after
        Seconds that the server asks to wait before the next try, or None.
    crowded
        It may be that the service was asked for too much at once.
    """

    def __init__(self, text: str, retry_after: float | None = None, *, crowded: bool = False) -> None:
        super().__init__(text)
        self.retry_after = retry_after
        self.crowded = crowded


_REMEDIES = {
    errno.ENOSPC: "make room there, or name another directory",
    errno.EDQUOT: "make room in your quota, or name another directory",
    errno.EACCES: "name a directory that you may write in",
    errno.EPERM: "name a directory that you may write in",
    errno.EROFS: "name a directory that you may write in",
    errno.EMFILE: "raise the limit with 'ulimit -n 1024', or lower JOBS",
    errno.ENFILE: "close some programs, or lower JOBS",
}


def remedy(error: OSError) -> str:
    """Say what the operating system refused, and what to do about it."""
    what = (error.strerror or str(error)).lower()
    return f"{what}; {_REMEDIES.get(error.errno or 0, 'check the disk')}"
