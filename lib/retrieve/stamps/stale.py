"""Stale tiles: those whose stamp is older than the one of the step before, as Make collected them."""

from __future__ import annotations

import os
from pathlib import Path

from retrieve.host.disk import write_whole
from retrieve.shards import Shard
from retrieve.stamps.stamps import AVAILABLE, DOWNLOADED, EXTRACTED, INCOMPLETE, Stamps

#: A list of stale tiles older than this, in seconds, was left by a run that never read it.
_LEFT = 3600.0
#: For each verb, the states it starts from and the state it leads to.
_STEPS = {"download": ((AVAILABLE, INCOMPLETE), DOWNLOADED), "untar": ((DOWNLOADED,), EXTRACTED)}


def collected(stamps: Stamps, verb: str, shard: Shard | None) -> set[str]:
    """Take the tiles that Make collected for a verb: those whose stamp is older than that of the step before.

    Each Make has a list of its own, named in the environment. It becomes that of the last run, or of its shard.
    """
    last = stamps.directory / f"stale-{verb}{shard.suffix if shard else ''}"
    path = Path(os.environ.get("COLLECTED", last))
    try:
        tiles = set(path.read_text().split())
        path.rename(last)
        # Lists of runs that never got this far.
        for left in stamps.directory.glob(f".stale-*-{verb}"):
            if left.stat().st_mtime < last.stat().st_mtime - _LEFT:
                left.unlink()
    except FileNotFoundError:
        return set()
    return tiles


def behind(stamps: Stamps, verb: str) -> set[str]:
    """Find the tiles that Make would collect for a verb now, incomplete ones included."""
    before, after = _STEPS[verb]
    done = stamps.tiles(after)
    return {tile for state in before for tile, ns in stamps.tiles(state).items() if done.get(tile, -1) < ns}


def collect(stamps: Stamps, verb: str) -> None:
    """Collect the tiles for a verb without Make, for the old commands."""
    write_whole(stamps.directory / f"stale-{verb}", "".join(f"{tile}\n" for tile in behind(stamps, verb)))
