"""Listings: what a container holds, put together page by page, range by range or name by name, whole or not at all."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass
from itertools import pairwise
from urllib.parse import quote

from retrieve.errors import ListingError, SourceError, Transient
from retrieve.host.threads import in_threads
from retrieve.source.container import Listing, Range, Wanted, Way
from retrieve.source.pages import Page

#: To ask for fewer nodes than these at once spares nothing.
_FEWEST = 8
#: Nodes from which on a listing tells how long each of them takes; with fewer it tells how long a request does.
_TELLING = 1000


class PartsError(ListingError):
    """A container cannot be listed in parts, for any reason, and must be listed whole."""


class TooManyError(ListingError):
    """A container holds more nodes than were to be looked at."""


@dataclass(frozen=True)
class Lister:
    """Lists a container in the cheapest way.

    Attributes
    ----------
    ask
        Asks for a page: called with the URI of the node that it is to begin with (empty for the first page), the number
        of nodes to ask for, and then as `parse_page`: what is wanted, what counts nodes, and the node to pass over.
    look
        Asks for one node by name: a page that holds it, or nothing.
    uri
        URI of the container.
    limit
        The largest number of nodes to ask for at once; 0 if the service has no pages.
    jobs
        How many requests there may be at once.
    """

    ask: Callable[[str, int, Callable[[str], object], Callable[[int], None], str], Page]
    look: Callable[[str], Page]
    uri: str
    limit: int
    jobs: int

    def list(self, wanted: Wanted, latency: float, seen: Callable[[int], None]) -> Listing:
        """List what is wanted: whole, if the container holds few nodes or nothing else is cheaper.

        Parameters
        ----------
        latency
            Seconds that a request takes.

        Raises
        ------
        PartsError
            If another way than to list it whole was tried, and did not work.
        """
        seconds = None
        if wanted.trial:
            begin = time.monotonic()
            try:
                return self._whole(wanted, seen, wanted.trial)
            except TooManyError:
                seconds = max(time.monotonic() - begin - latency, 0.0) / wanted.trial
        way, ranges = wanted.choose(latency, seconds)
        if way is Way.WHOLE:
            return self._whole(wanted, seen)
        try:
            listing = self._by_name(wanted, seen) if way is Way.NAMES else self._by_ranges(wanted, ranges, seen)
        except Transient:
            raise
        except SourceError as error:
            # Such as a file that is private in a container which everyone may list.
            raise PartsError(str(error)) from error
        listing.seconds = seconds
        return listing

    def _whole(self, wanted: Wanted, seen: Callable[[int], None], most: int = 0) -> Listing:
        """List the container page by page, or in one answer from a service without pages.

        Raises
        ------
        TooManyError
            If it holds more than `most` nodes, unless that is 0.
        """

        def told(count: int) -> None:
            if most and count > most:
                raise TooManyError(f"it holds more than {most} nodes")
            seen(count)

        begin = time.monotonic()
        limits = itertools.chain([min(self.limit, most + 1)] if most else [], itertools.repeat(self.limit))
        listing = gather(self._asker(wanted, told), limits, paged=self.limit > 0)
        if listing.nodes >= _TELLING:
            listing.seconds = (time.monotonic() - begin) / listing.nodes
        return listing

    def _by_ranges(self, wanted: Wanted, ranges: Sequence[Range], seen: Callable[[int], None]) -> Listing:
        """List several ranges of names at once: each in a page of what it should hold, and others if it holds more."""
        counts, guard = dict.fromkeys(ranges, 0), threading.Lock()

        def gathered(within: Range) -> Listing:
            def told(count: int) -> None:
                with guard:
                    counts[within] = count
                    seen(sum(counts.values()))

            margin = max(_FEWEST, within.nodes // 8)
            growing = (margin << min(number, 20) for number in itertools.count())
            limits = (min(one, self.limit) for one in itertools.chain([within.nodes + margin], growing))
            return gather(self._asker(wanted, told), limits, begin=f"{self.uri}/{quote(within.first)}", within=within)

        whole = Listing(Way.RANGES)
        with closing(in_threads(gathered, ranges, min(self.jobs, len(ranges)))) as answers:
            for _, one in answers:
                # They may overlap: a range ends with the page that goes past it.
                whole.archives.update(one.archives)
                whole.links.update(one.links)
                whole.nodes += one.nodes
        return whole

    def _by_name(self, wanted: Wanted, seen: Callable[[int], None]) -> Listing:
        """Ask for each of the archives that are wanted."""
        listing = Listing(Way.NAMES)
        with closing(in_threads(self.look, wanted.names, min(self.jobs, len(wanted.names)))) as answers:
            for number, (_, page) in enumerate(answers, 1):
                listing.add(page)
                seen(number)
        return listing

    def _asker(self, wanted: Wanted, seen: Callable[[int], None]) -> Callable[[str, Listing, int], Page]:
        def ask(begin: str, before: Listing, limit: int) -> Page:
            counted = max(before.nodes - 1, 0)
            return self.ask(begin, limit, wanted.matches, lambda count: seen(counted + count), before.cursor)

        return ask


def gather(
    ask: Callable[[str, Listing, int], Page],
    limits: Iterable[int],
    *,
    paged: bool = True,
    begin: str = "",
    within: Range | None = None,
) -> Listing:
    """Put a listing together from pages, each of which begins with the last node of the one before it.

    It ends with the page that brings nothing new: a shorter page than was asked for may be the server's own limit.

    Parameters
    ----------
    ask
        Called with the URI of the node that the page is to begin with, which is empty for the very first node, with
        what came before, and with the number of nodes to ask for.
    limits
        Those numbers, page by page.
    paged
        Whether the service has pages. If not, the first answer holds everything.
    begin, within
        Where to begin, and the range that is wanted: it ends with the page that goes past that.

    Raises
    ------
    ListingError
        If the pages do not follow one another, or names do not come in the order that `Range` takes for granted.
    """
    listing, numbers = Listing(), iter(limits)
    page = ask(begin, listing, next(numbers))
    listing.add(page)
    while paged and page.last and not (within and within.is_past(listing.last)):
        before, page = page, ask(page.last, listing, next(numbers))
        if page.first != listing.cursor:
            raise ListingError(f"{_disorder(before, page)}; try again later")
        if page.count == 1:
            break
        listing.add(page)
        listing.nodes -= 1
    if within:
        for kind in (listing.archives, listing.links):
            names = [within.first, *filter(within.names.fullmatch, kind)]
            if any(one > following for one, following in pairwise(names)):
                raise ListingError("its names do not come in order")
    return listing


def _disorder(before: Page, page: Page) -> str:
    """Say how a page does not follow the one before it."""
    if page.count > 1 and page.first > page.last:
        return "its pages go backwards"
    if page.first == before.first:
        return "the server sent the same page again"
    return "a page did not begin where the one before it ended"
