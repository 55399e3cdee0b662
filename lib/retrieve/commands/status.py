"""`status`: say where every tile stands, or all that is known of one; changes nothing, and asks nobody."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from retrieve.host.lock import taken
from retrieve.host.messages import shorten, show
from retrieve.settings import Settings
from retrieve.stamps.inventory import settled
from retrieve.stamps.runs import Run
from retrieve.stamps.stamps import DONE, Stamps
from retrieve.standing.story import tell
from retrieve.standing.survey import FAILED, STATES, Survey, goal, survey
from retrieve.tiles import only_one
from retrieve.wording import share, size, span, table


def main(settings: Settings) -> int:
    """Tell where things stand; exit status 0 wherever that is."""
    products = settings.product_set()
    stamps = Stamps(settings.stamps, products.model)
    stamps.check_listed()
    if (tile := only_one(settings.tiles, settings.unit)) and len(come := settled((tile,), stamps)) == 1:
        story = tell(come[0], settings, stamps)
        show(settings, story.lines(), story.data())
        return 0
    found = survey(settings, stamps)
    shards = _shards(found.runs, taken(stamps.directory))
    final = goal(settings)
    counts = found.counts()
    text = [f"{settings.tiles}: {share(counts[final], len(found.tiles))} {final}"]
    handed_on = sum(map(stamps.handed_on, stamps.tiles(DONE).keys() & {one.tile for one in found.tiles}))
    text += [*_table(found, settings)]
    text += [f"{settings.counted(handed_on)} handed on, and not here any more"] if handed_on else []
    text += _last_runs(found)
    if shards:
        text.append(f"shards: {', '.join(f'{count} {state}' for state, count in shards.items() if count)}")
    show(settings, [*text, *_failures(found, settings)], _data(found, shards) | {"handed_on": handed_on})
    return 0


#: It changes nothing.
foretell = main


def _table(found: Survey, settings: Settings) -> list[str]:
    tiles = found.counts()
    states = [state for state in STATES if tiles[state] or any(one.counts[state] for one in found.products)]
    total = (f"{settings.unit.name}s", *(str(tiles[state]) for state in states))
    there, held = (sum(getattr(one, name) for one in found.products) for name in ("bytes", "held"))
    products = (
        (one.product, *(str(one.counts[state]) for state in states), size(one.bytes), size(one.held))
        for one in found.products
    )
    return table([("", *states, "bytes there", "bytes here"), (*total, size(there), size(held)), *products])


def _last_of_each_verb(runs: list[Run]) -> list[Run]:
    return sorted({run.verb: run for run in runs}.values(), key=lambda run: run.begin)


def _last_runs(found: Survey) -> Iterator[str]:
    last = _last_of_each_verb(found.runs)
    if last:
        yield "last runs:"
    for run in last:
        yield f"  {run.verb:<8}  {run.begin:%F %TZ}  {span(run.seconds):>10}  {run.outcome()}".rstrip()


def _failures(found: Survey, settings: Settings) -> Iterator[str]:
    failed = [one for one in found.tiles if one.state == FAILED]
    if failed:
        yield f"{settings.counted(len(failed))} failed at the last try:"
    for line in shorten(settings, [f"{one.tile}: {one.why}" for one in failed], settings.unit.name):
        yield f"  {line}"


def _shards(runs: list[Run], holders: dict[str, bool]) -> dict[str, int]:
    """Count what became of the shards since the last run for all tiles; empty if there were none."""
    since = max((place for place, run in enumerate(runs) if not run.shard and run.verb != "missing"), default=-1)
    last = {(run.shard, run.verb): run.status for run in runs[since + 1 :] if run.shard}
    now = [shard for shard, alive in holders.items() if shard and alive]
    # One that was killed could record nothing.
    last |= {(shard, ""): 1 for shard, alive in holders.items() if shard and not alive}
    if not (last or now):
        return {}
    # Of the same number of shards as the last one.
    whole = (now or [shard for shard, _ in last])[-1].partition("/")[2]
    last = {key: one for key, one in last.items() if key[0].partition("/")[2] == whole and key[0] not in now}
    begun, failed = {shard for shard, _ in last}, {shard for (shard, _), one in last.items() if one}
    return {
        "done": len(begun - failed),
        "running": len(now),
        "failed": len(failed),
        "not begun": int(whole) - len(begun) - len(now),
    }


def _data(found: Survey, shards: dict[str, int]) -> dict[str, Any]:
    return {
        "tiles": len(found.tiles),
        "states": found.counts(),
        "products": [
            {"product": one.product, "states": one.counts, "bytes": one.bytes, "held": one.held}
            for one in found.products
        ],
        "failed": {one.tile: one.why for one in found.tiles if one.state == FAILED},
        "runs": [
            {
                "verb": run.verb,
                "begin": run.begin.isoformat(timespec="milliseconds"),
                "seconds": run.seconds,
                "status": run.status,
                "shard": run.shard,
                "outcome": run.outcome(),
            }
            for run in _last_of_each_verb(found.runs)
        ],
        "shards": shards,
    }
