"""`download`: fetch what is newer or damaged, and stamp the tiles whose archives are all here and verified."""

from __future__ import annotations

from retrieve.archives import is_tar
from retrieve.commands import avail
from retrieve.decisions import Decision
from retrieve.delivery.delivery import Delivery, Tally
from retrieve.delivery.forecast import look_ahead
from retrieve.delivery.plan import TilePlan, plan_download
from retrieve.delivery.window import Found
from retrieve.errors import RetrieveError, remedy
from retrieve.handing.budget import Budget, Choice, more_to_come, on_disk
from retrieve.host.disk import make_directory
from retrieve.host.messages import complain, remark, show
from retrieve.host.program import Interrupt
from retrieve.host.room import check_room
from retrieve.settings import MOST_JOBS, Settings
from retrieve.stamps.inventory import listed_tiles
from retrieve.stamps.runs import Recorder, read_runs
from retrieve.stamps.stale import behind, collected
from retrieve.stamps.stamps import DOWNLOADED, Stamps
from retrieve.wording import lifetime, size, some


def main(settings: Settings) -> int:
    """Bring the stale tiles home; exit status 1 if some failed, 2 if none could be had at all."""
    stamps = Stamps(settings.stamps, settings.product_set().model)
    stale, listed = collected(stamps, "download", settings.shard), 0
    if not stamps.listing.exists():
        if settings.shard:
            stamps.check_listed()  # all shards would list at once
        listed = avail.main(settings)
        stale = behind(stamps, "download")
    with stamps.lock(settings.shard), Recorder("download", settings, stamps) as run:
        plans, choice = _plan(settings, stamps, stale)
        outlook = look_ahead(plans, settings.product_set(), settings.archives, settings.jobs or MOST_JOBS)
        try:
            make_directory(settings.archives)
        except OSError as error:
            raise RetrieveError(f"cannot make '{settings.archives}': {remedy(error)}") from error
        if not plans:
            # So `untar` knows that there was a download, and that it had nothing.
            (stamps.directory / DOWNLOADED).mkdir(exist_ok=True)
        if not settings.force:
            check_room(outlook.need, outlook.files, settings.archives, "ARCHIVES")
        delivery = Delivery(plans, settings, stamps, Found.in_runs(read_runs(stamps)))
        if outlook.fetch.total():
            ends = delivery.access_ends()
            run.events.certificate(ends)
            remark(settings, outlook.summary() + (f"; the certificate is good for {lifetime(ends)}" if ends else ""))
        run.status = max(listed, _deliver(delivery, settings, run), _within_budget(choice, delivery, settings))
    return run.status


def foretell(settings: Settings) -> int:
    """Say what would be fetched."""
    products = settings.product_set()
    stamps = Stamps(settings.stamps, products.model)
    stamps.check_listed()
    plans, choice = _plan(settings, stamps, behind(stamps, "download"))
    outlook = look_ahead(plans, products, settings.archives, settings.jobs or MOST_JOBS)
    show(
        settings,
        text=[
            *([outlook.summary(), *outlook.table()] if plans else ["nothing to fetch"]),
            *filter(None, [choice.remark(settings.unit.name)]),
        ],
        data={"tiles": [plan.tile for plan in plans], "fetch": outlook.fetch, "bytes": outlook.bytes},
    )
    return 0


def _plan(settings: Settings, stamps: Stamps, stale: set[str]) -> tuple[list[TilePlan], Choice]:
    """Plan what there is to be fetched, as far as BUDGET has room for it."""
    plans = plan_download(settings, stamps, stale)
    if not settings.budget or not plans:
        return plans, Choice()
    archives = {
        plan.tile: (
            sum(on_disk(one.bytes) for one in plan.stamp.archives if plan.decisions[one.name] is Decision.FETCH),
            sum(on_disk(one.bytes) for one in plan.stamp.archives if is_tar(one.name)),
        )
        for plan in plans
    }
    choice = Budget(settings, stamps).to_fetch(archives, listed_tiles(settings, stamps))
    return [plan for plan in plans if plan.tile in choice.taken], choice


def _within_budget(choice: Choice, delivery: Delivery, settings: Settings) -> int:
    """Say what BUDGET has no room for; exit status 1 if that is something which cannot change by itself."""
    for problem in choice.problems.values():
        complain(problem)
    stuck = choice.later and not choice.taken and not choice.waits
    if stuck:
        complain(
            f"{choice.limit} is taken up, and {settings.counted(choice.later)} cannot be fetched; {choice.remedy}, or "
            "hand tiles on with AFTER"
        )
    elif line := choice.remark(settings.unit.name):
        remark(settings, line)
    if choice.later and delivery.tally.failed.keys() - choice.failed:
        more_to_come()
    return 1 if stuck or choice.problems else 0


def _deliver(delivery: Delivery, settings: Settings, run: Recorder) -> int:
    tally, todo = delivery.tally, delivery.count
    try:
        delivery.run()
    except Interrupt as stop:
        stop.line = f"stopped after {_sum(tally)}; run 'make download' again to go on"
        raise
    finally:
        run.result = _data(delivery)
    show(
        settings,
        text=[f"{_sum(tally)}; {settings.counted(tally.done)} brought up to date" if todo else "nothing to fetch"],
        data=run.result,
    )
    if tally.fatal:
        run.events.need("download", tally.fatal)
    if tally.done == todo:
        return 0
    advice = "run 'make download' again" if tally.again else "see above"
    complain(f"{todo - tally.done} of {settings.counted(todo)} failed; {advice}")
    return 2 if tally.fatal and not tally.fetched else 1


def _data(delivery: Delivery) -> dict[str, object]:
    tally = delivery.tally
    return {
        "tiles": delivery.count,
        "done": tally.done,
        "fetched": tally.fetched,
        "bytes": tally.bytes,
        "proved": tally.proved,
        "failed": tally.failed,
        "at_once": delivery.found(),
    }


def _sum(tally: Tally) -> str:
    proved = f", {some(tally.proved, 'archive')} found right on disk" if tally.proved else ""
    return f"{some(tally.fetched, 'archive')} fetched ({size(tally.bytes)}){proved}"
