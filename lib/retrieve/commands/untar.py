"""`untar`: unpack what is new into the output tree, check it, and stamp it."""

from __future__ import annotations

import shutil
from contextlib import suppress

from retrieve.errors import RetrieveError
from retrieve.extraction import TileJob, extract, staging_of
from retrieve.plan import listed_tiles
from retrieve.progress import Progress
from retrieve.result import complain, show, some
from retrieve.settings import Settings
from retrieve.stamps import DOWNLOADED, Stamps
from retrieve.unpack import OUTPUT, is_tar


def main(settings: Settings) -> int:
    """Unpack the stale tiles; exit status 1 if some failed."""
    products = settings.product_set()
    if not any(is_tar(product.pattern) for product in products):
        show(
            settings, [f"nothing to unpack: {' '.join(one.name for one in products)} are no tar archives"], {"tiles": 0}
        )
        return 0
    stamps = Stamps(settings.stamps, products.model)
    if not (stamps.directory / DOWNLOADED).is_dir():
        raise RetrieveError("nothing was downloaded yet; run 'make download'")
    with stamps.lock():
        stale = set(stamps.collected("untar"))
        jobs = [
            TileJob(tile, stamps, settings.archives, settings.dest, settings.check)
            for tile in listed_tiles(settings, stamps)
            if tile in stale
        ]
        failed: dict[str, str] = {}
        count = files = 0
        if jobs:
            try:
                (settings.dest / OUTPUT).mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise RetrieveError(
                    f"cannot make '{settings.dest / OUTPUT}': {error.strerror}; give DEST another directory"
                ) from error
            with Progress("untar", unit="tiles", total=len(jobs)) as progress:
                for outcome in extract(jobs, stamps, settings.dest):
                    progress.advance(1)
                    count += outcome.archives
                    files += outcome.files
                    if outcome.problem:
                        failed[outcome.tile] = outcome.problem
                        progress.say(outcome.problem)
            staging = staging_of(settings.dest, stamps)
            shutil.rmtree(staging, ignore_errors=True)
            with suppress(OSError):  # another run may be using it
                staging.parent.rmdir()
    done = len(jobs) - len(failed)
    show(
        settings,
        text=[
            f"{some(count, 'archive')} unpacked; {some(done, 'tile')} with {some(files, 'file')} in "
            f"'{settings.dest / OUTPUT}'"
            if jobs
            else "nothing to unpack"
        ],
        data={"tiles": len(jobs), "done": done, "archives": count, "files": files, "failed": failed},
    )
    if failed:
        complain(f"{len(failed)} of {some(len(jobs), 'tile')} failed; see above")
        return 1
    return 0
