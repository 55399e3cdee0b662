"""`download`: fetch what is newer or damaged, and stamp the tiles whose archives are all here and verified."""

from __future__ import annotations

from retrieve.delivery import Delivery, Tally
from retrieve.errors import RetrieveError
from retrieve.plan import plan_download
from retrieve.result import complain, show, size, some
from retrieve.settings import Settings
from retrieve.stamps import Stamps


def main(settings: Settings) -> int:
    """Bring the stale tiles home; exit status 1 if some failed, 2 if none could be had at all."""
    stamps = Stamps(settings.stamps, settings.product_set().model)
    if not stamps.listing.exists():
        raise RetrieveError("nothing was listed yet; run 'make avail'")
    with stamps.lock():
        try:
            settings.archives.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise RetrieveError(
                f"cannot make '{settings.archives}': {error.strerror}; give ARCHIVES another directory"
            ) from error
        delivery = Delivery(plan_download(settings, stamps), settings, stamps)
        tally = delivery.tally
        try:
            delivery.run()
        except (KeyboardInterrupt, SystemExit):
            complain(f"stopped after {_sum(tally)}; run 'make download' again to go on")
            raise
        todo = delivery.count
    show(
        settings,
        text=[f"{_sum(tally)}; {some(tally.done, 'tile')} brought up to date" if todo else "nothing to fetch"],
        data={
            "tiles": todo,
            "done": tally.done,
            "fetched": tally.fetched,
            "bytes": tally.bytes,
            "proved": tally.proved,
            "failed": tally.failed,
        },
    )
    if tally.done == todo:
        return 0
    complain(f"{todo - tally.done} of {some(todo, 'tile')} failed; run 'make download' again")
    return 2 if tally.fatal and not tally.fetched else 1


def _sum(tally: Tally) -> str:
    proved = f", {some(tally.proved, 'archive')} found right on disk" if tally.proved else ""
    return f"{some(tally.fetched, 'archive')} fetched ({size(tally.bytes)}){proved}"
