"""`link`: a link to one file of every unpacked tile, where ShapePipe's next step looks for them."""

from __future__ import annotations

from retrieve.errors import RetrieveError
from retrieve.host.messages import complain, show
from retrieve.output.links import directory_of, link, name_run, wanted_links
from retrieve.settings import Settings
from retrieve.stamps.inventory import listed_tiles
from retrieve.stamps.stamps import EXTRACTED, Stamps
from retrieve.wording import some


def main(settings: Settings) -> int:
    """Link the tiles of the lists; exit status 1 if something is in the way of a link."""
    stamps = Stamps(settings.stamps, settings.product_set().model)
    if not stamps.tiles(EXTRACTED):
        raise RetrieveError("nothing was unpacked yet; run 'make untar'")
    with stamps.lock():
        wanted, absent, without = wanted_links(listed_tiles(settings, stamps), stamps, settings.link)
        directory = directory_of(settings.dest, settings.link)
        if settings.dryrun:
            show(settings, [f"{some(len(wanted), 'link')} to be in '{directory}'"], {"links": wanted})
            return 0
        linked = link(settings.dest, settings.link, wanted)
        name_run(settings.dest, settings.link)
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
        complain(f"no '{settings.link}' file came with tile '{tile}'; ask who made its archive")
    for name in linked.taken:
        complain(f"'{directory / name}' is no link; move it away, and run 'make link' again")
    return 1 if linked.taken else 0
