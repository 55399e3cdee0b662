"""`untar`: unpack what is new into the output tree, check it, and stamp it."""

from __future__ import annotations

from contextlib import closing

from retrieve.errors import RetrieveError
from retrieve.formats.kinds import is_tar
from retrieve.host.messages import complain, show
from retrieve.host.processes import Workers
from retrieve.host.program import Interrupt
from retrieve.host.progress import Progress
from retrieve.output.extraction import Tally, extract, prepare, unpack_tiles
from retrieve.output.forecast import need
from retrieve.output.placing import Placing, free
from retrieve.output.staging import TileJob, clear
from retrieve.output.tree import OUTPUT
from retrieve.output.unpack import UNLIMITED, Limits
from retrieve.settings import Settings
from retrieve.stamps.inventory import listed_tiles
from retrieve.stamps.runs import Recorder
from retrieve.stamps.stale import behind, collected
from retrieve.stamps.stamps import DOWNLOADED, EXTRACTED, Stamps
from retrieve.wording import size, some


def main(settings: Settings) -> int:
    """Unpack the stale tiles; exit status 1 if some failed."""
    stamps = _stamps(settings)
    if stamps is None:
        return 0
    stale = collected(stamps, "untar", settings.shard)
    with (
        Workers(len(stale)) as workers,
        stamps.lock(settings.shard),
        Recorder("untar", settings, stamps) as run,
    ):
        tiles = listed_tiles(settings, stamps)
        jobs = _jobs(tiles, stale, stamps, settings)
        tally = Tally()
        prepare(jobs, settings)
        placing = Placing(jobs, stamps, settings.dest, keep=settings.keep, shard=settings.shard)
        try:
            progress = Progress("untar", unit="tiles", total=len(jobs), quiet=settings.quiet)
            with progress, closing(extract(workers, jobs, placing.place)) as outcomes:
                unpack_tiles(outcomes, tally, progress)
            if not settings.keep:
                for tile in stamps.tiles(EXTRACTED).keys() & tiles - tally.failed.keys():
                    count, bytes_ = free(tile, stamps, settings.archives)
                    tally.freed, tally.freed_bytes = tally.freed + count, tally.freed_bytes + bytes_
        except Interrupt as stop:
            stop.line = f"stopped after {some(tally.done, 'tile')}; run 'make untar' again to go on"
            raise
        finally:
            clear(settings.dest, stamps, tiles)
            run.result = _data(tally, jobs, placing)
        run.status = _report(tally, jobs, placing, settings)
    return run.status


def _stamps(settings: Settings) -> Stamps | None:
    """Give the stamps, or None after saying that none of the products is unpacked."""
    products = settings.product_set()
    if not any(is_tar(product.pattern) for product in products):
        show(
            settings, [f"nothing to unpack: {' '.join(one.name for one in products)} are no tar archives"], {"tiles": 0}
        )
        return None
    stamps = Stamps(settings.stamps, products.model)
    if not (stamps.directory / DOWNLOADED).is_dir():
        raise RetrieveError("nothing was downloaded yet; run 'make download'")
    return stamps


def _jobs(tiles: list[str], stale: set[str], stamps: Stamps, settings: Settings) -> list[TileJob]:
    limits = UNLIMITED if settings.force else Limits()
    return [
        TileJob(tile, stamps, settings.archives, settings.dest, settings.check, limits, settings.partial)
        for tile in tiles
        if tile in stale
    ]


def _report(tally: Tally, jobs: list[TileJob], placing: Placing, settings: Settings) -> int:
    text = [
        f"{some(tally.archives, 'archive')} unpacked; {some(tally.done, 'tile')} with {some(tally.files, 'file')} in "
        f"'{settings.dest / OUTPUT}'"
        if jobs
        else "nothing to unpack"
    ]
    if tally.outdone:
        text.append(f"{some(tally.outdone, 'file')} came from two archives with different content; the newer is there")
    if tally.left_out:
        text.append(f"{some(tally.left_out, 'link')} left out, to what is no file of the same archive")
    if tally.half_ended:
        text.append(f"{some(tally.half_ended, 'archive')} with half an end mark; all that is before it is unpacked")
    if tally.lacking:
        text.append(f"{some(tally.lacking, 'archive')} without the file that it should hold; see above")
    if tally.freed:
        text.append(f"{some(tally.freed, 'archive')} deleted, {size(tally.freed_bytes)} freed")
    data = _data(tally, jobs, placing)
    show(settings, text, data)
    if placing.reopened:
        complain(f"{some(len(placing.reopened), 'tile')} to be unpacked again; run 'make untar' again")
    if not tally.failed:
        return 0
    more = f", and {data['untried']} were not tried" if data["untried"] else ""
    complain(f"{len(tally.failed)} of {some(len(jobs), 'tile')} failed{more}; see above")
    return 1


def _data(tally: Tally, jobs: list[TileJob], placing: Placing) -> dict[str, object]:
    return {
        "tiles": len(jobs),
        "done": tally.done,
        "archives": tally.archives,
        "files": tally.files,
        "outdone": tally.outdone,
        "left_out": tally.left_out,
        "half_ended": tally.half_ended,
        "lacking": tally.lacking,
        "freed": tally.freed,
        "untried": len(jobs) - tally.done - len(tally.failed),
        "reopened": sorted(placing.reopened),
        "failed": tally.failed,
    }


def foretell(settings: Settings) -> int:
    """Say what would be unpacked, and about how much that is."""
    stamps = _stamps(settings)
    if stamps is None:
        return 0
    jobs = _jobs(listed_tiles(settings, stamps), behind(stamps, "untar"), stamps, settings)
    needed = need(jobs)
    show(
        settings,
        text=[
            f"{some(needed.archives, 'archive')} of {some(len(jobs), 'tile')} to unpack: about {size(needed.bytes)} in "
            f"{some(needed.files, 'file')} and directories"
            if jobs
            else "nothing to unpack"
        ],
        data={"tiles": [job.tile for job in jobs], "bytes": needed.bytes, "files": needed.files},
    )
    return 0
