"""Container: what can be asked of wherever the archives of the tiles are."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from retrieve.archives import Archive
from retrieve.source.listing import Listing

#: Bytes of an archive read at once: no more than that is lost of what came when a sender stalls, or we are killed.
CHUNK = 1 << 18


@dataclass(frozen=True)
class Body:
    """The bytes of an archive on their way.

    Attributes
    ----------
    start
        Offset of the first byte that will come.
    length
        Length of the whole archive as the sender says now, in bytes; None if it does not say.
    md5
        MD5 of the whole archive as the sender says now, or None.
    modified
        When it was modified as the sender says now, in whole seconds since 1970, or None.
    chunks
        The bytes, as they are stored, whatever `Content-Encoding` says.
    """

    start: int
    length: int | None
    md5: str | None
    modified: int | None
    chunks: Iterator[bytes]


class Container(Protocol):
    """Somewhere that archives can be listed in and read from; usable from several threads.

    Attributes
    ----------
    uri
        As the user named it.
    """

    uri: str

    def list(self, matches: Callable[[str], object], seen: Callable[[int], None]) -> Listing:
        """List the archives whose names match, and follow the links that do.

        Parameters
        ----------
        matches
            Called with each file name; what is false is not kept.
        seen
            Called now and then with the number of nodes that came.

        Raises
        ------
        ListingError
            If the listing is not known to be complete: nothing may be concluded from it.
        AccessError
            If the caller may not read the container.
        """

    def look_up(self, name: str) -> Archive | None:
        """Ask for one archive by name, following links; None if it is not there."""

    def check(self) -> None:
        """Make sure that the container is there and that the caller may read it.

        Raises
        ------
        ListingError, AccessError
            If not.
        """

    def access_ends(self) -> datetime | None:
        """When the caller's credentials end, if they do; makes sure that the service can be reached.

        Raises
        ------
        AccessError, Transient
            If the credentials cannot be used, or the service does not answer.
        """

    def clock(self) -> datetime | None:
        """What time the source says it is, within a second; None where there is no other clock than ours.

        Credentials are not sent: they may be what is wrong.

        Raises
        ------
        SourceError
            If the service does not answer.
        """

    def proxy(self) -> str:
        """Host and port of the proxy over which the source is asked; empty if there is none."""

    def read(self, name: str, start: int, attempt: int) -> AbstractContextManager[Body]:
        """Open an archive, from the byte `start` where the source can; see `Body.start`.

        Parameters
        ----------
        attempt
            Counted from 0; later ones may use another of the hosts that hold the archive.

        Raises
        ------
        Gone, Transient, AccessError
            See there; also while the chunks are read.
        """
