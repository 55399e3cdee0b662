"""Container: what can be asked of wherever the archives of the tiles are."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from datetime import datetime
from enum import Enum
from typing import Protocol

from retrieve.archives import Archive
from retrieve.errors import ListingError
from retrieve.source.nodes import name_of
from retrieve.source.pages import Page

#: Bytes of an archive read at once: no more than that is lost of what came when a sender stalls, or we are killed.
CHUNK = 1 << 18


class Way(Enum):
    """How a container is asked for archives; the values are what the user reads of it."""

    WHOLE = "whole"
    RANGES = "by ranges of names"
    NAMES = "by name"


@dataclass(frozen=True)
class Range:
    """Archives of one product whose names follow one another, from the lowest tile to the highest.

    No order is taken for granted but this: of names that differ in nothing but the digits of the tile number, that with
    the greater number comes later; and of names that differ first in two letters of the same case, that with the later
    letter. That holds in byte order, and in collations that pass over punctuation or case, or sort them in another way.

    Attributes
    ----------
    first, last
        Names of the archives of the lowest and the highest tile; they need not exist.
    names
        Matches the names of this product for any tile; group 1 is the tile number as written in the name.
    nodes
        About how many nodes it holds.
    """

    first: str
    last: str
    names: re.Pattern[str]
    nodes: int

    def is_past(self, name: str) -> bool:
        """Whether nothing of the range comes after a node of this name, in any order that a service may have."""
        if self.names.fullmatch(name):
            return name > self.last
        before_the_tile = self.names.fullmatch(self.last).start(1)
        for ours, theirs in zip(self.last[:before_the_tile], name, strict=False):
            if ours != theirs:
                return ours.isalpha() and theirs.isalpha() and theirs.isascii() and theirs > ours
        return False


@dataclass(frozen=True)
class Wanted:
    """The archives that a container is asked for, and how to choose the way.

    Attributes
    ----------
    matches
        Called with a file name; what is false is not kept.
    names
        Names of the wanted archives. A whole listing does not need them: it keeps every name that matches.
    trial
        How many nodes to list in the hope that there are no more, before anything else is tried; 0 if there are more.
    choose
        Called with the seconds that a request takes, and those that a node of a listing does, or None: how to ask,
        and the ranges of names that hold all of them.
    """

    matches: Callable[[str], object]
    names: Sequence[str] = ()
    trial: int = 0
    choose: Callable[[float, float | None], tuple[Way, Sequence[Range]]] = lambda *_: (Way.WHOLE, ())


@dataclass
class Listing:
    """What a container holds of what is wanted.

    Attributes
    ----------
    way
        How it was asked. Unless whole, `nodes` and `last` are of what came, and nothing is known of the rest.
    seconds
        How long a node took, where that was seen.
    archives
        The archives by name.
    links
        URI and target, as a URI, of each link by name: those that were not followed yet.
    dangling
        By name of a link: why it leads to no archive.
    nodes
        Number of nodes in the container.
    cursor
        URI of the node that came last; empty without any.
    containers
        Names of the containers in it.
    others
        Number of files and links that are not wanted.
    """

    way: Way = Way.WHOLE
    seconds: float | None = None
    archives: dict[str, Archive] = field(default_factory=dict)
    links: dict[str, tuple[str, str]] = field(default_factory=dict)
    dangling: dict[str, str] = field(default_factory=dict)
    nodes: int = 0
    cursor: str = ""
    containers: list[str] = field(default_factory=list)
    others: int = 0

    @property
    def last(self) -> str:
        """Name of the node that came last; empty without any."""
        return name_of(self.cursor)

    def add(self, page: Page) -> None:
        """Add what another page holds.

        Raises
        ------
        ListingError
            If one of its archives was on an earlier page.
        """
        before = len(self.archives) + len(self.links)
        self.archives.update((one.name, one) for one in page.archives)
        self.links.update(page.links)
        self.nodes += page.count
        self.cursor = page.last
        self.containers += page.containers
        self.others += page.others
        if len(self.archives) + len(self.links) != before + len(page.archives) + len(page.links):
            raise ListingError("it names archives twice; try again later")

    def shows(self, name: str) -> bool:
        """Whether there is a node of that name, be it a link dangling."""
        return name in self.archives or name in self.dangling


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
        The bytes as stored, not decoded even if `Content-Encoding` names an encoding.
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
    ways
        In which ways it can be asked what it holds.
    service
        Id of the service that it is in; empty for a directory.
    """

    uri: str
    ways: tuple[Way, ...]
    service: str

    def list(self, wanted: Wanted, seen: Callable[[int], None]) -> Listing:
        """List the archives that are wanted, and follow the links that are.

        Whichever way it is asked, what is found is the same.

        Parameters
        ----------
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
        """Host and port of the proxy between us and the source; empty without one."""

    def read(self, name: str, start: int, attempt: int, length: int | None = None) -> AbstractContextManager[Body]:
        """Open an archive, from the byte `start` where the source can; see `Body.start`.

        Parameters
        ----------
        attempt
            Counted from 0; later ones may use another of the hosts that hold the archive.
        length
            How many bytes to send, where the source can; None for all that there are.

        Raises
        ------
        Gone, Transient, AccessError
            See there; also while the chunks are read.
        """
