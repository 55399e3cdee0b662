"""`untar`: unpack what is new into the output tree, check it, and stamp it."""

from __future__ import annotations

from retrieve.archives import is_tar
from retrieve.errors import RetrieveError
from retrieve.host.messages import complain, show
from retrieve.host.processes import Workers
from retrieve.host.program import Interrupt
from retrieve.output.extraction import Extraction
from retrieve.settings import Settings
from retrieve.stamps.inventory import listed_tiles
from retrieve.stamps.runs import Recorder
from retrieve.stamps.stale import behind, collected
from retrieve.stamps.stamps import DOWNLOADED, Stamps
from retrieve.wording import some


def main(settings: Settings) -> int:
    """Unpack the stale tiles; exit status 1 if some failed."""
    if (stamps := _stamps(settings)) is None:
        return 0
    stale = collected(stamps, "untar", settings.shard)
    with Workers(len(stale)) as workers, stamps.lock(settings.shard), Recorder("untar", settings, stamps) as run:
        extraction = Extraction(listed_tiles(settings, stamps), stale, settings, stamps)
        tally = extraction.tally
        try:
            extraction.run(workers, run.events.unpacked)
        except Interrupt as stop:
            stop.line = f"stopped after {some(tally.done, 'tile')}; run 'make untar' again to go on"
            raise
        finally:
            run.result = tally.data()
        show(settings, tally.lines(settings.dest), run.result)
        for problem in tally.problems():
            complain(problem)
        run.status = 1 if tally.failed else 0
    return run.status


def foretell(settings: Settings) -> int:
    """Say what would be unpacked, and about how much that is."""
    if (stamps := _stamps(settings)) is not None:
        needed = Extraction(listed_tiles(settings, stamps), behind(stamps, "untar"), settings, stamps).need()
        show(settings, [needed.summary()], needed.data())
    return 0


def _stamps(settings: Settings) -> Stamps | None:
    """Give the stamps, or None after saying that none of the products is unpacked."""
    if settings.only and not settings.keep:
        raise RetrieveError("KEEP=no would delete what ONLY leaves in the archives; leave out one of them")
    products = settings.product_set()
    if not any(is_tar(product.pattern) for product in products):
        names = " ".join(one.name for one in products)
        show(settings, [f"nothing to unpack: {names} are no tar archives"], {"tiles": 0})
        return None
    stamps = Stamps(settings.stamps, products.model)
    if not (stamps.directory / DOWNLOADED).is_dir():
        raise RetrieveError("nothing was downloaded yet; run 'make download'")
    return stamps
