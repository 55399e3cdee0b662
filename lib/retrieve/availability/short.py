"""Short listings: one may leave out nodes and not say so, so archives that it does not show are asked for by name."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from contextlib import closing

from retrieve.availability.contents import Contents, names_of
from retrieve.errors import ListingError
from retrieve.host.progress import Progress
from retrieve.host.threads import in_threads
from retrieve.products import ProductSet
from retrieve.settings import STREAMS, Settings
from retrieve.source.container import Container, Listing, Wanted, Way
from retrieve.source.listing import PartsError
from retrieve.wording import printable

#: So many questions are worth another connection.
_QUESTIONS = 10


def refuse_short(
    container: Container, listing: Listing, absent: Iterable[str], vanished: Iterable[str], settings: Settings
) -> None:
    """Ask by name for archives that a listing does not show: all that vanished since the last, a sample of the rest.

    A service may swallow an error in the middle of a listing and end the document as if it were whole, and nothing in
    the document tells. A short listing is repeated once: if it ends at the same node again, it will do so every time.

    Parameters
    ----------
    absent
        Names of archives that were looked for and not found.
    settings
        For `probe`, the size of the sample, and `jobs`.

    Raises
    ------
    ListingError
        If one of them is there after all.
    PartsError
        The same, if the container was listed in parts.
    """
    if listing.way is Way.NAMES:
        return
    absent = list(absent)
    sample = random.sample(absent, min(settings.probe, len(absent)))
    names = [name for name in dict.fromkeys([*vanished, *sample]) if not listing.shows(name)]
    # A thread needs a connection of its own, which costs as much as several questions.
    threads = min(settings.jobs or STREAMS, 1 + len(names) // _QUESTIONS)
    progress, hidden = Progress("checking", "archives", len(names), quiet=settings.quiet), ""
    with progress, closing(in_threads(container.look_up, names, threads)) as answers:
        for name, found in answers:
            progress.advance(1)
            if found is not None:
                hidden = name
                break
    if hidden and listing.way is Way.RANGES:
        raise PartsError(f"cannot list '{container.uri}' in parts: '{hidden}' is there, but was not shown")
    if hidden:
        raise ListingError(f"cannot list '{container.uri}': {_say_short(container, listing, hidden, settings)}")


def _say_short(container: Container, listing: Listing, name: str, settings: Settings) -> str:
    """Say what to do about a listing that does not show an archive which is there; lists the container again."""
    with Progress("listing", unit="nodes", quiet=settings.quiet) as progress:
        again = container.list(Wanted(lambda _: False), progress.reach)
    if (again.nodes, again.last) != (listing.nodes, listing.last):
        return f"the listing was short, '{name}' is there but was not shown; try again later"
    end = f"after '{printable(listing.last)}'" if listing.last else "before the first node"
    return (
        f"the listing ends {end} every time, but '{name}' is there; Cavern stops at a pipe or a name that is not "
        "UTF-8: run 'ls -Ub' in that directory, and rename or remove what comes next"
    )


def absent(contents: Contents, tiles: Iterable[str], products: ProductSet) -> Iterator[str]:
    """Give the names of the archives of some tiles that a container does not hold."""
    return (
        name
        for tile in tiles
        if (lacking := contents.full & ~contents.there.get(tile, 0))
        for name in names_of(products, tile, lacking)
    )
