"""`untar`: unpack what is new into the output tree, check it, and stamp it."""

from __future__ import annotations

from collections.abc import Collection
from contextlib import closing

from retrieve.archives import is_tar
from retrieve.errors import RetrieveError
from retrieve.handing.after import Handing
from retrieve.handing.budget import Budget, more_to_come
from retrieve.host.messages import complain, remark, show
from retrieve.host.processes import Workers
from retrieve.host.program import Interrupt
from retrieve.host.progress import Progress
from retrieve.output.extraction import Extraction
from retrieve.settings import Settings
from retrieve.stamps.inventory import frees, listed_tiles
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
        tiles, handing = listed_tiles(settings, stamps), Handing(settings, stamps)
        handing.clear()
        extraction = Extraction(tiles, handing.renew(stale), settings, stamps)
        tally, failed = extraction.tally, _keep_within(extraction, settings, stamps)
        try:
            extraction.run(workers, run.events.unpacked)
            if settings.after:
                _hand_on(handing, handing.waiting(set(tiles) - tally.failed.keys()), extraction, settings)
        except Interrupt as stop:
            stop.line = f"stopped after {some(tally.done, 'tile')}; run 'make untar' again to go on"
            raise
        finally:
            run.result = tally.data()
        show(settings, tally.lines(settings.dest), run.result)
        for problem in tally.problems():
            complain(problem)
        if tally.done or tally.handed_on or tally.failed.keys() - failed:
            more_to_come()
        run.status = 1 if tally.failed or tally.kept_back else 0
    return run.status


def _keep_within(extraction: Extraction, settings: Settings, stamps: Stamps) -> Collection[str]:
    """Leave out what BUDGET has no room for; return the tiles that failed in an earlier run."""
    sizes = extraction.most_on_disk() if settings.budget else {}
    if not sizes:
        return ()
    budget = Budget(settings, stamps)
    choice = budget.to_unpack(sizes)
    extraction.leave_out(sizes.keys() - choice.taken)
    extraction.tally.ratio = budget.ratio({tile: sizes[tile] for tile in choice.taken})
    extraction.tally.kept_back |= choice.problems
    for problem in choice.problems.values():
        complain(problem)
    if choice.later:
        remark(settings, choice.remark(settings.unit.name))
    return choice.failed


def _hand_on(handing: Handing, tiles: list[str], extraction: Extraction, settings: Settings) -> None:
    with (
        Progress("hand on", unit="tiles", total=len(tiles), quiet=settings.quiet) as progress,
        closing(handing.run(tiles)) as results,
    ):
        for tile, problem in results:
            progress.advance(1)
            if problem:
                progress.say(problem)
                extraction.tally.kept_back[tile] = problem
            else:
                extraction.tally.handed_on += 1


def foretell(settings: Settings) -> int:
    """Say what would be unpacked, and about how much that is."""
    if (stamps := _stamps(settings)) is not None:
        needed = Extraction(listed_tiles(settings, stamps), behind(stamps, "untar"), settings, stamps).need()
        show(settings, [needed.summary()], needed.data())
    return 0


def _stamps(settings: Settings) -> Stamps | None:
    """Give the stamps, or None after saying that none of the products is unpacked."""
    if settings.only and frees(settings):
        given = "BUDGET" if settings.budget else "AFTER" if settings.after else "KEEP=no"
        raise RetrieveError(f"{given} would delete what ONLY leaves in the archives; leave out one of them")
    products = settings.product_set()
    if not any(is_tar(product.pattern) for product in products):
        names = " ".join(one.name for one in products)
        show(settings, [f"nothing to unpack: {names} are no tar archives"], {"tiles": 0})
        return None
    stamps = Stamps(settings.stamps, products.model)
    if not (stamps.directory / DOWNLOADED).is_dir():
        raise RetrieveError("nothing was downloaded yet; run 'make download'")
    return stamps
