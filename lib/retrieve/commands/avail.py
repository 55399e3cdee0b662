"""`avail`: list the container once, and stamp each tile of the lists."""

from __future__ import annotations

from retrieve.availability import ListingRecord, by_tile, check_absent, write_stamps
from retrieve.container import open_container
from retrieve.progress import Progress
from retrieve.result import show
from retrieve.settings import Settings
from retrieve.stamps import Stamps, write_whole
from retrieve.tiles import EVERY, TileList, read_lists, union


def main(settings: Settings) -> int:
    """Say what is complete at the source; exit status 0 whatever is."""
    products = settings.product_set()
    lists = read_lists(settings.tiles)
    container = open_container(settings.input_path, settings)
    stamps = Stamps(settings.stamps, products.model)
    with stamps.lock():
        with Progress("listing", unit="nodes") as progress:
            archives = container.list(products.matcher().fullmatch, progress.reach)
        now = by_tile(container.uri, archives, products)
        record = ListingRecord(stamps.listing, container.uri, products)
        if lists is None:
            lists = (TileList(EVERY, tuple(sorted(now.archives.keys() | record.tiles.keys()))),)
        tiles = union(lists)
        check_absent(container, now, tiles, record.vanished(now, tiles), settings.jobs)
        changed = write_stamps(now, tiles, stamps, record)
        record.write()
        write_whole(settings.stamps / "settings.mk", settings.makefile())
    complete = {one.name: sum(map(now.is_complete, one.tiles)) for one in lists}
    counts = now.counts(tiles)
    show(
        settings,
        text=[
            *(
                f"{one.name}: {complete[one.name]}/{len(one.tiles)} "
                f"({100 * complete[one.name] / max(len(one.tiles), 1):.1f}%) complete"
                for one in lists
            ),
            *(f"  {name:<20} {count:>6}" for name, count in counts.items()),
        ],
        data={
            "source": container.uri,
            "lists": [{"name": one.name, "tiles": len(one.tiles), "complete": complete[one.name]} for one in lists],
            "products": counts,
            "changed": changed,
        },
    )
    return 0
