"""`avail`: list the containers once, and stamp each tile of the lists."""

from __future__ import annotations

import os
from typing import Any, NamedTuple

from retrieve.availability.asking import ask_for
from retrieve.availability.contents import Availability, Contents
from retrieve.availability.probe import absent, check_absent
from retrieve.availability.record import ListingRecord, count_changes, write_stamps
from retrieve.host.disk import write_whole
from retrieve.host.messages import complain, remark, shorten, show
from retrieve.host.progress import Progress
from retrieve.settings import UNFINISHED, Settings
from retrieve.source.container import Container, Listing, Wanted, Way
from retrieve.source.listing import PartsError
from retrieve.source.opening import open_containers
from retrieve.stamps.inventory import settled
from retrieve.stamps.runs import Recorder
from retrieve.stamps.stamps import AVAILABLE, DOWNLOADED, EXTRACTED, Stamps
from retrieve.standing.survey import UNPACKED, goal
from retrieve.tiles import EVERY, JOIN, TileList, read_lists, related, union
from retrieve.wording import printable, share, some, table

#: Containers in a container that are named.
NAMED = 3


class _Look(NamedTuple):
    """What a listing showed of the tiles that were asked for, and of all that may bring them; the record before it."""

    now: Availability
    listings: list[Listing]
    lists: tuple[TileList, ...]
    tiles: tuple[str, ...]
    related: tuple[str, ...]
    record: ListingRecord


def main(settings: Settings) -> int:
    """Say what is complete at the source; exit status 0 whatever is."""
    lists, containers, stamps = _begin(settings)
    with stamps.lock(), Recorder("avail", settings, stamps) as run:
        found = _look(lists, containers, stamps, settings)
        changed = write_stamps(found.now, found.related, stamps, found.record)
        found.record.write(found.now, found.listings, found.related)
        _remember(settings)
        data = _show(settings, found, changed)
        run.result = data | {"sources": [one | {"dangling": len(one["dangling"])} for one in data["sources"]]}
    return 0


def foretell(settings: Settings) -> int:
    """List the containers, and say how many stamps there would be to write."""
    lists, containers, stamps = _begin(settings)
    found = _look(lists, containers, stamps, settings)
    changed = count_changes(found.now, found.related, stamps, found.record)
    _show(settings, found, changed, f"{some(changed, 'tile')} to be stamped anew")
    return 0


def _begin(settings: Settings) -> tuple[tuple[TileList, ...] | None, tuple[Container, ...], Stamps]:
    """Find what is wrong with the settings before anything is locked or asked for."""
    stamps = Stamps(settings.stamps, settings.product_set().model)
    return read_lists(settings.tiles), open_containers(settings.input_path, settings), stamps


def _look(
    lists: tuple[TileList, ...] | None, containers: tuple[Container, ...], stamps: Stamps, settings: Settings
) -> _Look:
    products = settings.product_set()
    record = ListingRecord(stamps.listing, products)
    tiles = None if lists is None else _to_ask_for(union(lists), stamps, settings)
    asked = None if tiles is None else related(tiles, stamps.jobs())
    listings = [
        list_container(one, ask_for(asked, one, products, record.held(one.uri), settings), settings)
        for one in containers
    ]
    found = [Contents.of(one.uri, listing, products) for one, listing in zip(containers, listings, strict=True)]
    now = Availability(products, found)
    if lists is None:
        lists = (TileList(EVERY, tuple(sorted(now.tiles() | record.tiles.keys()))),)
    if tiles is None or asked is None:
        tiles = asked = union(lists)
    for place, container in enumerate(containers):
        try:
            _check(container, listings[place], found[place], asked, record, settings)
        except PartsError as error:
            listings[place] = _list_whole(container, error, settings)
            found[place] = Contents.of(container.uri, listings[place], products)
            _check(container, listings[place], found[place], asked, record, settings)
    lists = tuple(TileList(one.name, now.settled(one.tiles)) for one in lists)
    return _Look(now, listings, lists, now.settled(tiles), related(asked, now.jobs()), record)


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
    check_absent(container, listing, lacking, record.vanished(contents, tiles), settings)


def list_container(container: Container, wanted: Wanted, settings: Settings) -> Listing:
    """List one container, and name the links in it that lead nowhere."""
    try:
        with Progress("listing", unit="nodes", quiet=settings.quiet) as progress:
            listing = container.list(wanted, progress.reach)
    except PartsError as error:
        return _list_whole(container, error, settings)
    lines = [f"the link '{name}' counts as absent: {why}" for name, why in listing.dangling.items()]
    for line in shorten(settings, lines, "link"):
        complain(line)
    return listing


def _list_whole(container: Container, problem: PartsError, settings: Settings) -> Listing:
    remark(settings, f"{problem}; it is listed whole instead")
    return list_container(container, Wanted(settings.product_set().matcher().fullmatch), settings)


def _remember(settings: Settings) -> None:
    path, text = settings.stamps / "settings.mk", settings.makefile()
    if not path.exists() or path.read_text(encoding="utf-8") != text:
        write_whole(path, text)


def _show(settings: Settings, found: _Look, changed: int, *more: str) -> dict[str, Any]:
    now, listings, lists, tiles = found[:4]
    done = set(union(lists)) - set(tiles)
    complete = {one.name: sum(tile in done or now.is_complete(tile) for tile in one.tiles) for one in lists}
    counts = {name: len(done) + count for name, count in now.counts(tiles).items()}
    chosen = [now.chosen(tile).source for tile in tiles if now.is_complete(tile)]
    jobs = sum(JOIN in tile for tile in union(lists))
    complete_in = {contents.source: chosen.count(contents.source) for contents in now.contents}
    data = {
        "sources": [
            {
                "uri": source,
                "listed": listing.way.value,
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
                f"from '{source}': {some(count, 'complete tile')}{_also(source, listing)}"
                for (source, count), listing in zip(complete_in.items(), listings, strict=True)
            ),
            *([f"{some(len(done), 'tile')} not asked for, since done"] if done else []),
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
