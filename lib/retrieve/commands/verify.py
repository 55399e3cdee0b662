"""`verify`: read everything again, report what is not as it was, and take its stamps; or compare two places."""

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
from retrieve.output.comparison import compare, pairs_of
from retrieve.output.verification import (
    BAD,
    DIFFERENT,
    ERROR,
    GONE,
    SAME,
    UNKNOWN,
    Checkpoint,
    Finding,
    Verdict,
    VerifyJob,
    new_seed,
    sample,
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
    """Verify the tiles; exit status 1 if something is bad. With AGAINST, compare two places, and change nothing."""
    if settings.against:
        return _compare(settings)
    stamps, here = _begin(settings)
    shard = settings.shard
    with Workers(len(here)) as workers, stamps.lock(shard), Recorder("verify", settings, stamps) as run:
        path = stamps.directory / f"verify{shard.suffix if shard else ''}"
        checkpoint = Checkpoint(path, f"CHECK={settings.check} SAMPLE={settings.sample:g}")
        tiles = _sample(here, checkpoint.seed, settings, stamps)
        verdicts: list[Verdict] = []
        try:
            with closing(_verdicts(workers, tiles, checkpoint, settings, stamps)) as found:
                verdicts.extend(_shown(found, len(tiles), settings))
        except Interrupt as stop:
            done = f"{len(verdicts)} of {settings.counted(len(tiles))}"
            stop.line = f"stopped after {done}; run 'make verify' again to go on"
            raise
        finally:
            run.result = _data(verdicts)
        stamps.sync(DOWNLOADED, EXTRACTED)  # or a stamp that was taken would be back after a power cut
        checkpoint.finish()
        run.status = _report(verdicts, settings, " and lost their stamps")
    return run.status


def foretell(settings: Settings) -> int:
    """Verify the tiles without taking a stamp."""
    if settings.against:
        return _compare(settings)
    stamps, here = _begin(settings)
    tiles = _sample(here, new_seed(), settings, stamps)
    with Workers(len(here)) as workers, closing(_verdicts(workers, tiles, None, settings, stamps)) as found:
        verdicts = list(_shown(found, len(tiles), settings))
    return _report(verdicts, settings, "")


def _begin(settings: Settings) -> tuple[Stamps, set[str]]:
    stamps = Stamps(settings.stamps, settings.product_set().model)
    here = stamps.tiles(DOWNLOADED).keys() | stamps.tiles(EXTRACTED).keys()
    if not here:
        raise RetrieveError("nothing was downloaded yet; run 'make download'")
    return stamps, here


def _sample(here: set[str], seed: str, settings: Settings, stamps: Stamps) -> list[str]:
    return sample([tile for tile in listed_tiles(settings, stamps) if tile in here], settings.sample, seed)


def _shown(found: Iterator[Verdict], count: int, settings: Settings) -> Iterator[Verdict]:
    """Print what is found while it goes on."""
    with Progress("verify", unit=f"{settings.unit.name}s", total=count, quiet=settings.quiet) as progress:
        for verdict in found:
            progress.advance(1)
            if settings.format == "text":
                for one in verdict.findings:
                    print(one, flush=True)
            yield verdict


def _verdicts(
    workers: Workers, tiles: list[str], checkpoint: Checkpoint | None, settings: Settings, stamps: Stamps
) -> Iterator[Verdict]:
    """Give what an earlier run that was stopped found of tiles that are as they were, then verify the others.

    Without a checkpoint nothing is known, and nothing is changed.
    """
    known = checkpoint.verdicts if checkpoint else {}
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
            if checkpoint:
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


def _report(verdicts: list[Verdict], settings: Settings, lost: str) -> int:
    data = _data(verdicts)
    bad = list(data.pop("failed"))
    signs = Counter((one.sign, one.archive) for verdict in verdicts for one in verdict.findings)
    bad_archives, bad_files = (sum(signs[sign, archive] for sign in BAD) for archive in (True, False))
    unknown = signs[UNKNOWN, False]
    text = f"{settings.counted(len(verdicts))} verified: {bad_archives} of {some(data['archives'], 'archive')} bad"
    text += f", {bad_files} of {some(data['files'], 'file')} bad"
    show(
        settings,
        text=[text + (f"; {some(unknown, 'file')} beside them that no tile brought" if unknown else "")],
        data={
            **data,
            "bad": bad,
            "findings": [
                {**_line(one), "tile": verdict.tile}
                for verdict in verdicts
                for one in verdict.findings
                if one.sign != SAME or settings.v
            ],
        },
    )
    if not bad:
        return 0
    complain(f"{len(bad)} of {settings.counted(len(verdicts))} are bad{lost}; run 'make download untar' to mend them")
    return 1


def _compare(settings: Settings) -> int:
    pairs = pairs_of(settings)
    counts: Counter[str] = Counter()
    shown = []
    with (
        Workers(len(pairs)) as workers,
        Progress("verify", unit="archives", total=len(pairs), quiet=settings.quiet) as progress,
        closing(workers.map(compare, pairs)) as found,
    ):
        for one in found:
            progress.advance(1)
            counts[one.sign] += 1
            if one.sign != SAME or settings.v:
                shown.append(_line(one))
                if settings.format == "text":
                    print(one, flush=True)
    told = ((SAME, "the same"), (GONE, "not here"), (UNKNOWN, "only here"), (DIFFERENT, "other"), (ERROR, "unreadable"))
    text = ", ".join(f"{counts[sign]} {what}" for sign, what in told if counts[sign] or sign == SAME)
    text = f"{some(len(pairs), 'archive')} compared with '{settings.against}': {text}"
    data = {"against": settings.against, "archives": len(pairs), "same": counts[SAME], "findings": shown}
    show(settings, text=[text], data=data)
    if counts[SAME] == len(pairs):
        return 0
    differences = some(len(pairs) - counts[SAME], "archive")
    complain(f"'{settings.archives}' and '{settings.against}' differ in {differences}; copy what differs again")
    return 1


def _line(one: Finding) -> dict[str, str]:
    return {"sign": one.sign, "path": one.path, "why": one.why}
