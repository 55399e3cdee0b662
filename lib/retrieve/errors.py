"""What goes wrong, as a person would tell it: each error's text is one line with the problem and the remedy."""

from __future__ import annotations


class RetrieveError(Exception):
    """A problem that keeps a command from starting or going on; its exit status is 2."""


class SettingError(RetrieveError):
    """A setting has a value that cannot be used."""


class SourceError(RetrieveError):
    """The source of the archives does not give what was asked for."""


class ListingError(SourceError):
    """A listing is not known to be complete: nothing may be concluded from it."""


class AccessError(SourceError):
    """The source refuses the caller, or the credentials cannot be used; trying again will not help."""


class Gone(SourceError):
    """What was asked for is not there."""


class Transient(SourceError):
    """A fault that may pass.

    Attributes
    ----------
    retry_after
        Seconds that the server asks to wait before the next try, or None.
    """

    def __init__(self, text: str, retry_after: float | None = None) -> None:
        super().__init__(text)
        self.retry_after = retry_after
