"""`verify`: read everything again, report what is not as it was, and take its stamps."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from typing import Any

from retrieve.errors import RetrieveError
from retrieve.host.messages import complain, show
from retrieve.host.processes import Workers
from retrieve.host.program import Interrupt
from retrieve.host.progress import Progress
from retrieve.output.claims import Claims
from retrieve.output.verification import (
    BAD,
    SAME,
    UNKNOWN,
    Checkpoint,
    Verdict,
    VerifyJob,
    state_of,
    take_stamps,
    verify_tile,
    without_others,
)
from retrieve.settings import Settings
from retrieve.stamps.inventory import listed_tiles
from retrieve.stamps.runs import Recorder
from retrieve.stamps.stamps import DOWNLOADED, EXTRACTED, Stamps
from retrieve.wording import some


def main(settings: Settings) -> int:
    """Verify the tiles; exit status 1 if something is bad."""
    stamps = Stamps(settings.stamps, settings.product_set().model)
    here = stamps.tiles(DOWNLOADED).keys() | stamps.tiles(EXTRACTED).keys()
    if not here:
        raise RetrieveError("nothing was downloaded yet; run 'make download'")
    shard = settings.shard
    with Workers(len(here)) as workers, stamps.lock(shard), Recorder("verify", settings, stamps) as run:
        path = stamps.directory / f"verify{shard.suffix if shard else ''}"
        checkpoint = Checkpoint(path, f"CHECK={settings.check} SAMPLE={settings.sample:g}")
        tiles = checkpoint.sample([tile for tile in listed_tiles(settings, stamps) if tile in here], settings.sample)
        verdicts = []
        try:
            with (
                Progress("verify", unit="tiles", total=len(tiles), quiet=settings.quiet) as progress,
                closing(_verdicts(workers, tiles, checkpoint, settings, stamps)) as found,
            ):
                for verdict in found:
                    progress.advance(1)
                    verdicts.append(verdict)
                    if settings.format == "text":
                        for one in verdict.findings:
                            print(one, flush=True)
        except Interrupt as stop:
            done = f"{len(verdicts)} of {some(len(tiles), 'tile')}"
            stop.line = f"stopped after {done}; run 'make verify' again to go on"
            raise
        finally:
            run.result = _data(verdicts)
        checkpoint.finish()
        run.status = _report(verdicts, settings)
    return run.status


def _verdicts(
    workers: Workers, tiles: list[str], checkpoint: Checkpoint, settings: Settings, stamps: Stamps
) -> Iterator[Verdict]:
    """Give what an earlier run that was stopped found of tiles that are as they were, then verify the others."""
    known = checkpoint.verdicts
    done = [tile for tile in tiles if tile in known and known[tile].state == state_of(stamps, tile)]
    yield from (known[tile] for tile in done)
    jobs = [
        VerifyJob(tile, stamps, settings.archives, settings.dest, settings.check, bool(settings.v))
        for tile in sorted(set(tiles) - set(done))
    ]
    claims = Claims(stamps)
    with closing(workers.map(verify_tile, jobs)) as results:
        for found in results:
            verdict = without_others(found, claims)
            if not settings.dryrun:
                take_stamps(verdict, stamps)
            checkpoint.add(verdict, state_of(stamps, verdict.tile))
            yield verdict


def _data(verdicts: list[Verdict]) -> dict[str, Any]:
    bad = {one.tile: [*one.bad(archive=True), *one.bad(archive=False)] for one in verdicts}
    return {
        "tiles": len(verdicts),
        "archives": sum(one.archives for one in verdicts),
        "files": sum(one.files for one in verdicts),
        "failed": {tile: [f"{one.path} ({one.why})" for one in found] for tile, found in sorted(bad.items()) if found},
    }


def _report(verdicts: list[Verdict], settings: Settings) -> int:
    data = _data(verdicts)
    bad = list(data.pop("failed"))
    signs = Counter((one.sign, one.archive) for verdict in verdicts for one in verdict.findings)
    bad_archives, bad_files = (sum(signs[sign, archive] for sign in BAD) for archive in (True, False))
    unknown = signs[UNKNOWN, False]
    text = f"{some(len(verdicts), 'tile')} verified: {bad_archives} of {some(data['archives'], 'archive')} bad, "
    text += f"{bad_files} of {some(data['files'], 'file')} bad"
    show(
        settings,
        text=[text + (f"; {some(unknown, 'file')} beside them that no tile brought" if unknown else "")],
        data={
            **data,
            "bad": bad,
            "findings": [
                {"sign": one.sign, "path": one.path, "why": one.why, "tile": verdict.tile}
                for verdict in verdicts
                for one in verdict.findings
                if one.sign != SAME or settings.v
            ],
        },
    )
    if not bad:
        return 0
    lost = "" if settings.dryrun else " and lost their stamps"
    complain(f"{len(bad)} of {some(len(verdicts), 'tile')} are bad{lost}; run 'make download untar' to mend them")
    return 1
