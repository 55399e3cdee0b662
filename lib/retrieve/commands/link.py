"""`link`: links to a file of every unpacked tile, where ShapePipe's next step looks for them."""

from __future__ import annotations

from retrieve.errors import RetrieveError
from retrieve.host.messages import complain, show
from retrieve.output.links import directory_of, link, name_run, wanted_links
from retrieve.products import linked_products
from retrieve.settings import Settings
from retrieve.stamps.inventory import listed_tiles
from retrieve.stamps.stamps import EXTRACTED, Stamps
from retrieve.wording import some


def main(settings: Settings) -> int:
    """Link the tiles of the lists; exit status 1 if something is in the way of a link."""
    products, stamps = _begin(settings)
    with stamps.lock():
        return max([_link(product, settings, stamps) for product in products])


def foretell(settings: Settings) -> int:
    """Say how many links there would be."""
    products, stamps = _begin(settings)
    for product in products:
        wanted, _, _ = wanted_links(listed_tiles(settings, stamps), stamps, product)
        directory = directory_of(settings.dest, product)
        show(settings, [f"{some(len(wanted), 'link')} to be in '{directory}'"], {"links": wanted})
    return 0


def _begin(settings: Settings) -> tuple[list[str], Stamps]:
    stamps = Stamps(settings.stamps, settings.product_set().model)
    linked = linked_products(settings.products)
    if not stamps.tiles(EXTRACTED):
        raise RetrieveError("nothing was unpacked yet; run 'make untar'")
    return linked, stamps


def _link(product: str, settings: Settings, stamps: Stamps) -> int:
    wanted, absent, without = wanted_links(listed_tiles(settings, stamps), stamps, product)
    directory = directory_of(settings.dest, product)
    linked = link(settings.dest, product, wanted)
    name_run(settings.dest, product)
    text = [
        f"{some(len(linked.made) + len(linked.kept), 'link')} in '{directory}': {len(linked.made)} new, "
        f"{len(linked.removed)} removed"
    ]
    if absent:
        text.append(f"{some(len(absent), 'tile')} not unpacked yet")
    show(
        settings,
        text,
        data={
            "directory": str(directory),
            "made": linked.made,
            "kept": linked.kept,
            "removed": linked.removed,
            "taken": linked.taken,
            "not unpacked": absent,
            "without file": without,
        },
    )
    for tile in without:
        complain(f"no '{product}' file came with tile '{tile}'; ask who made its archive")
    for name in linked.taken:
        complain(f"'{directory / name}' is no link; move it away, and run 'make link' again")
    return 1 if linked.taken else 0
