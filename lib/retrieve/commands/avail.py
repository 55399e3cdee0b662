"""`avail`: list the containers once, and stamp each tile of the lists."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import Any, NamedTuple

from retrieve.archives import Archive
from retrieve.availability.asking import ask_for
from retrieve.availability.contents import Availability, Contents
from retrieve.availability.forms import find_forms
from retrieve.availability.record import ListingRecord
from retrieve.availability.short import absent, refuse_short
from retrieve.availability.stamping import count_changes, write_stamps
from retrieve.errors import SourceError
from retrieve.host.disk import write_whole
from retrieve.host.messages import complain, remark, shorten, show
from retrieve.host.progress import Progress
from retrieve.settings import UNFINISHED, Settings, forms_path
from retrieve.source.container import Container, Listing, Wanted, Way
from retrieve.source.listing import PartsError
from retrieve.source.opening import open_containers
from retrieve.stamps.inventory import settled
from retrieve.stamps.runs import Recorder
from retrieve.stamps.stamps import AVAILABLE, DOWNLOADED, EXTRACTED, Stamps
from retrieve.standing.survey import UNPACKED, goal
from retrieve.tiles import EVERY, JOIN, TileList, related, union
from retrieve.wording import printable, share, some, table

#: Containers in a container that are named.
NAMED = 3


class _Look(NamedTuple):
    """What a listing showed of the tiles that were asked for, and of all that may bring them; the record before it.

    Of a container that could not be read there is what was known of it.
    """

    now: Availability
    listings: list[Listing]
    lists: tuple[TileList, ...]
    tiles: tuple[str, ...]
    related: tuple[str, ...]
    record: ListingRecord
    unread: frozenset[str]
    forms: dict[str, str]


def main(settings: Settings) -> int:
    """Say what is complete there; exit status 0 whatever is, 1 if the container of a product cannot be read."""
    lists, containers, stamps = _begin(settings)
    with stamps.lock(), Recorder("avail", settings, stamps) as run:
        found = _look(lists, containers, stamps, settings)
        _keep_forms(found.forms, settings)  # before there are stamps of such names
        changed = write_stamps(found.now, found.related, stamps, found.record)
        found.record.write(found.now, found.listings, found.related)
        _remember(settings)
        data = _show(settings, found, changed)
        if settings.on_event:
            ends = [one.access_ends() for one in containers if one.uri not in found.unread]
            run.events.certificate(min(filter(None, ends), default=None))
        run.result = data | {"sources": [one | {"dangling": len(one["dangling"])} for one in data["sources"]]}
    return 1 if found.unread else 0


def foretell(settings: Settings) -> int:
    """List the containers, and say how many stamps there would be to write."""
    lists, containers, stamps = _begin(settings)
    found = _look(lists, containers, stamps, settings)
    changed = count_changes(found.now, found.related, stamps, found.record)
    _show(settings, found, changed, f"{settings.counted(changed)} to be stamped anew")
    return 1 if found.unread else 0


def _begin(settings: Settings) -> tuple[tuple[TileList, ...] | None, tuple[Container, ...], Stamps]:
    """Find what is wrong with the settings before anything is locked or asked for."""
    stamps = Stamps(settings.stamps, settings.product_set().model)
    return settings.lists(), open_containers(settings), stamps


def _look(
    lists: tuple[TileList, ...] | None, containers: tuple[Container, ...], stamps: Stamps, settings: Settings
) -> _Look:
    products = settings.product_set()
    record = ListingRecord(stamps.listing, products)
    tiles = None if lists is None else _to_ask_for(union(lists), stamps, settings)
    asked = None if tiles is None else related(tiles, stamps.jobs())
    listings, unread = _list_all(containers, asked, record, stamps, settings)
    settings = replace(settings, forms=_forms(containers, listings, unread, settings))
    products = settings.product_set()
    own = list(settings.sources().values())
    found = [Contents.of(one.uri, *its, products) for one, *its in zip(containers, listings, own, strict=True)]
    now = Availability(products, found)
    if lists is None:
        lists = (TileList(EVERY, tuple(sorted(now.tiles() | record.tiles.keys()))),)
    if tiles is None or asked is None:
        tiles = asked = union(lists)
    for place, container in enumerate(containers):
        try:
            _check(container, listings[place], found[place], asked, record, settings)
        except PartsError as error:
            listings[place] = _list_whole(container, error, own[place].matcher().fullmatch, settings)
            found[place] = Contents.of(container.uri, listings[place], own[place], products)
            _check(container, listings[place], found[place], asked, record, settings)
    now = Availability(products, found)
    lists = tuple(TileList(one.name, now.settled(one.tiles)) for one in lists)
    return _Look(now, listings, lists, now.settled(tiles), related(asked, now.jobs()), record, unread, settings.forms)


def _list_all(
    containers: tuple[Container, ...],
    asked: tuple[str, ...] | None,
    record: ListingRecord,
    stamps: Stamps,
    settings: Settings,
) -> tuple[list[Listing], frozenset[str]]:
    """List each container; give also the URIs of those that cannot be read, and what the stamps know of them.

    Only a container that has products of its own may be one of them, and not all of them.
    """
    listings, problems = [], {}
    own = list(settings.sources().values())
    for container, products in zip(containers, own, strict=True):
        try:
            wanted = ask_for(asked, container, products, record.known(container.uri), settings)
            listings.append(list_container(container, wanted, settings))
        except SourceError as error:
            if own.count(products) > 1 or len(problems) == len(containers) - 1:
                raise
            problems[container.uri] = str(error)
            tiles = record.tiles if asked is None else asked
            known = [found[0] for tile in tiles if (found := stamps.source(tile))]
            archives = {one.name: one for stamp in known for one in stamp.archives}
            archives |= {name: Archive(name, 0, None, "") for stamp in known for name in stamp.empty}
            listings.append(Listing(Way.NAMES, archives=archives))
    for problem in problems.values():
        complain(f"{problem}; what was known of it holds")
    return listings, frozenset(problems)


def _forms(
    containers: tuple[Container, ...], listings: list[Listing], unread: frozenset[str], settings: Settings
) -> dict[str, str]:
    """Find out how tile numbers stand in file names; where none was found by the form that was tried, in any form."""
    own, known = list(settings.sources().values()), settings.known_forms()
    found, _ = find_forms(zip(own, listings, strict=True), known)
    for place, container in enumerate(containers):
        loose = own[place].loose()
        unknown = [one for one in loose if one.form is None and one.pattern not in found]
        if unknown and container.uri not in unread and listings[place].way is not Way.WHOLE:
            listings[place] = list_container(container, Wanted(loose.matcher().fullmatch), settings)
    found, strays = find_forms(zip(own, listings, strict=True), known)
    for line in shorten(settings, strays, "name"):
        complain(line)
    return found


def _to_ask_for(tiles: tuple[str, ...], stamps: Stamps, settings: Settings) -> tuple[str, ...]:
    """All tiles; or those for which there is something left to do, if `UNFINISHED` says so."""
    if not os.environ.get(UNFINISHED):
        return tiles
    tiles = settled(tiles, stamps)
    available = stamps.tiles(AVAILABLE)
    done = stamps.tiles(EXTRACTED if goal(settings) == UNPACKED else DOWNLOADED)
    return tuple(tile for tile in tiles if tile not in available or done.get(tile, 0) < available[tile])


def _check(
    container: Container,
    listing: Listing,
    contents: Contents,
    tiles: tuple[str, ...],
    record: ListingRecord,
    settings: Settings,
) -> None:
    """Make sure that a listing was not short."""
    lacking = absent(contents, tiles, settings.product_set())
    refuse_short(container, listing, lacking, record.vanished(contents, tiles), settings)


def list_container(container: Container, wanted: Wanted, settings: Settings) -> Listing:
    """List one container, and name the links in it that lead nowhere."""
    try:
        with Progress("listing", unit="nodes", quiet=settings.quiet) as progress:
            listing = container.list(wanted, progress.reach)
    except PartsError as error:
        return _list_whole(container, error, wanted.matches, settings)
    lines = [f"the link '{name}' counts as absent: {why}" for name, why in listing.dangling.items()]
    for line in shorten(settings, lines, "link"):
        complain(line)
    return listing


def _list_whole(
    container: Container, problem: PartsError, matches: Callable[[str], object], settings: Settings
) -> Listing:
    remark(settings, f"{problem}; it is listed whole instead")
    return list_container(container, Wanted(matches), settings)


def _keep_forms(found: dict[str, str], settings: Settings) -> None:
    known = settings.known_forms()
    if found.items() - known.items():
        lines = (f"{pattern}\t{form}\n" for pattern, form in {**known, **found}.items())
        write_whole(forms_path(settings.stamps), "".join(lines))


def _remember(settings: Settings) -> None:
    path, text = settings.stamps / "settings.mk", settings.makefile()
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_whole(path, text)


def _show(settings: Settings, found: _Look, changed: int, *more: str) -> dict[str, Any]:
    now, listings, lists, tiles, *_, unread, _ = found
    done = set(union(lists)) - set(tiles)
    complete = {one.name: sum(tile in done or now.is_complete(tile) for tile in one.tiles) for one in lists}
    counts = {name: len(done) + count for name, count in now.counts(tiles).items()}
    chosen = [now.chosen(tile).source for tile in tiles if now.is_complete(tile)]
    jobs = sum(JOIN in tile for tile in union(lists))
    choice, complete_one = now.choice(), f"complete {settings.unit.name}"
    complete_in = {
        one.source: chosen.count(one.source) if one.source in choice else len(chosen) for one in now.contents
    }
    data = {
        "sources": [
            {
                "uri": source,
                "listed": None if source in unread else listing.way.value,
                "complete": count,
                "archives": len(listing.archives),
                "containers": len(listing.containers),
                "others": listing.others,
                "dangling": listing.dangling,
            }
            for (source, count), listing in zip(complete_in.items(), listings, strict=True)
        ],
        "lists": [{"name": one.name, "tiles": len(one.tiles), "complete": complete[one.name]} for one in lists],
        "products": counts,
        "changed": changed,
        "done": len(done),
    }
    show(
        settings,
        text=[
            *(f"{one.name}: {share(complete[one.name], len(one.tiles))} complete" for one in lists),
            *([f"{some(jobs, 'job')} of several tiles among them, each counted once"] if jobs else []),
            *table((name, str(count)) for name, count in counts.items()),
            *(
                f"from '{source}': {some(count, complete_one)}{'' if source in unread else _also(source, listing)}"
                for (source, count), listing in zip(complete_in.items(), listings, strict=True)
            ),
            *([f"{settings.counted(len(done))} not asked for, since done"] if done else []),
            *more,
        ],
        data=data,
    )
    return data


def _also(source: str, listing: Listing) -> str:
    """Say what else is in a container; one that holds no archive, but containers, may have one for each patch."""
    if listing.way is not Way.WHOLE:
        return f"; listed {listing.way.value}: what else is there was not looked at"
    names, counted = sorted(listing.containers), []
    if names:
        more = f" and {len(names) - NAMED} more" if len(names) > NAMED else ""
        counted.append(f"{some(len(names), 'container')} ({', '.join(map(printable, names[:NAMED]))}{more})")
    if listing.others:
        counted.append(some(listing.others, "other file"))
    text = f"; also there: {', '.join(counted)}" if counted else ""
    # INPUT_PATH is a list of words.
    paths = [f"{source}/{name}" for name in names if name.isprintable() and " " not in name]
    if paths and not listing.archives:
        paths[NAMED:] = ["…"] if len(paths) > NAMED else []
        text += f"; if the archives are in these, give INPUT_PATH='{' '.join(paths)}'"
    return text
