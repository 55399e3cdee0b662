"""Listings: what a container holds, put together page by page, whole or not at all."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from retrieve.archives import Archive
from retrieve.errors import ListingError
from retrieve.source.nodes import name_of
from retrieve.source.pages import Page


@dataclass
class Listing:
    """What a container holds of what is wanted.

    Attributes
    ----------
    archives
        The archives by name.
    links
        URI and target, as a URI, of each link by name: those that were not followed yet.
    dangling
        By name of a link: why it leads to no archive.
    nodes
        Number of nodes in the container.
    last
        Name of the node that came last; empty without any.
    containers
        Names of the containers in it.
    others
        Number of files and links that are not wanted.
    """

    archives: dict[str, Archive] = field(default_factory=dict)
    links: dict[str, tuple[str, str]] = field(default_factory=dict)
    dangling: dict[str, str] = field(default_factory=dict)
    nodes: int = 0
    last: str = ""
    containers: list[str] = field(default_factory=list)
    others: int = 0

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
        self.last = name_of(page.last)
        self.containers += page.containers
        self.others += page.others
        if len(self.archives) + len(self.links) != before + len(page.archives) + len(page.links):
            raise ListingError("it names archives twice; try again later")

    def shows(self, name: str) -> bool:
        """Whether there is a node of that name, be it a link dangling."""
        return name in self.archives or name in self.dangling


def gather(ask: Callable[[str, int], Page], *, paged: bool) -> Listing:
    """Put a listing together from pages, each of which begins with the last node of the one before it.

    It ends with the page that brings nothing new: a shorter page than was asked for may be the server's own limit.

    Parameters
    ----------
    ask
        Called with the URI of the node that the page is to begin with, which is empty for the first page, and with the
        number of nodes that came before.
    paged
        Whether the service has pages. If not, the first answer holds everything.

    Raises
    ------
    ListingError
        If the pages do not follow one another.
    """
    listing = Listing()
    page = ask("", 0)
    listing.add(page)
    while paged and page.last:
        cursor, page, before = page.last, ask(page.last, listing.nodes - 1), page
        if page.first != cursor:
            raise ListingError(f"{_disorder(before, page)}; try again later")
        if page.count == 1:
            return listing
        listing.add(page)
        listing.nodes -= 1
    return listing


def _disorder(before: Page, page: Page) -> str:
    """Say how a page does not follow the one before it."""
    if page.count > 1 and page.first > page.last:
        return "its pages go backwards"
    if page.first == before.first:
        return "the server sent the same page again"
    return "a page did not begin where the one before it ended"
