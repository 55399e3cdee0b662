"""Budget: which tiles may be fetched, and unpacked, so that archives and output stay within `BUDGET`."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from retrieve.host.room import quotas
from retrieve.settings import Settings
from retrieve.stamps.inventory import held_archives
from retrieve.stamps.members import MEMBERS, OBSOLETE, read_members
from retrieve.stamps.runs import Run, read_runs
from retrieve.stamps.stale import behind
from retrieve.stamps.stamps import DOWNLOADED, Stamps
from retrieve.wording import size, some

#: Bytes that most file systems give a file at a time.
_BLOCK = 4096


def more_to_come() -> None:
    """Tell the `make` that works in batches that another one may get further."""
    if path := os.environ.get("MORE"):
        Path(path).touch()


def on_disk(count: int) -> int:
    """Bytes that a file takes up, since it ends within a block."""
    return -(-count // _BLOCK) * _BLOCK


@dataclass
class Choice:
    """Which tiles are taken.

    Attributes
    ----------
    taken
        They fit.
    later
        Number of others that have to wait until there is room for them.
    waits
        Number of tiles that wait to be unpacked before others are fetched.
    problems
        By tile: why it can never fit.
    failed
        Tiles that ever failed before.
    limit
        What sets the limit, as a message names it: ``BUDGET``, or whose quota it is.
    """

    taken: set[str] = field(default_factory=set)
    later: int = 0
    waits: int = 0
    problems: dict[str, str] = field(default_factory=dict)
    failed: frozenset[str] = frozenset()
    limit: str = "BUDGET"

    @property
    def remedy(self) -> str:
        """What may be done about the limit."""
        return "raise it" if self.limit == "BUDGET" else "make room in it"

    def remark(self, unit: str) -> str:
        """Say what has to wait, if anything has to."""
        if self.waits:
            return f"{some(self.waits, unit)} to be unpacked before others are fetched"
        return f"{self.limit} leaves {some(self.later, unit)} for later" if self.later else ""


class Budget:
    """What `BUDGET` leaves, or a quota if that is less; of several shards each has its share of it."""

    def __init__(self, settings: Settings, stamps: Stamps) -> None:
        shard = settings.shard
        shares = shard.count if shard else 1
        self._unit = settings.unit.name
        self._stamps = stamps
        self._runs = read_runs(stamps)
        #: Tiles that ever failed.
        self._failed = frozenset(tile for run in self._runs for tile in run.failed)
        held = sum(on_disk(one.bytes) for one in held_archives(settings).values())
        # Those of tiles that were handed on are gone.
        tiles = [path.stem for path in (stamps.directory / MEMBERS).glob("[0-9]*.gz")]
        files = sum(map(self._output, filter(shard.owns, tiles) if shard else tiles))
        self._budget = settings.budget / shares
        self._left, self._named = self._budget - held - files, Choice.limit
        for directory in () if settings.force else (settings.archives, settings.dest):
            for room in quotas(directory):
                if room.bytes is not None and room.bytes / shares < self._left:
                    self._left, self._named = room.bytes / shares, room.whose
        #: What would be left if nothing were here.
        self._limit = self._left + held + files

    def _output(self, tile: str) -> int:
        members = read_members(self._stamps, tile)
        return sum(
            on_disk(size or 0) for name, one in members.items() if name != OBSOLETE for size in one.files.values()
        )

    def to_fetch(self, archives: Mapping[str, tuple[int, int]], tiles: Collection[str]) -> Choice:
        """Choose tiles to fetch: a batch that can be unpacked, too, once the one before it is.

        ===================================================  =====================================================
        tile                                                 is taken
        ===================================================  =====================================================
        nothing of it is to be fetched                       yes
        its archives are larger than BUDGET                  never
        another one that is here waits to be unpacked        later
        it failed before                                     after the others
        nothing was ever unpacked                            one, which shows how large tiles are when they are
        any other                                            if it fits with those that are taken, archives and
                                                             output; or alone, if nothing else is here
        ===================================================  =====================================================

        Parameters
        ----------
        archives
            By tile: bytes to be fetched, and bytes of all its archives.
        tiles
            Those of the run.
        """
        waits = (behind(self._stamps, "untar") & set(tiles)) - self._failed_to_unpack()
        chosen, left, ratio = self._choice(len(waits)), self._left, self._ratio()
        full = bool(waits)
        for tile in self._in_order(archives):
            fetch, whole = archives[tile]
            if not fetch:
                chosen.taken.add(tile)
            elif fetch > self._budget:
                chosen.problems[tile] = self._too_large(tile, fetch)
            elif full or (fetch + whole * (ratio or 0) > left and left < self._limit):
                full = True
                chosen.later += 1
            else:
                chosen.taken.add(tile)
                left -= fetch + whole * (ratio or 0)
                full = ratio is None
        return chosen

    def to_unpack(self, sizes: Mapping[str, int]) -> Choice:
        """Choose tiles to unpack: those whose files fit beside what is here, in any case a first one that can ever fit.

        Parameters
        ----------
        sizes
            By tile: bytes that its files take up at most.
        """
        chosen, left = self._choice(), self._left
        for tile in self._in_order(sizes):
            if sizes[tile] + self._packed(tile) > self._budget:
                chosen.problems[tile] = self._too_large(tile, sizes[tile] + self._packed(tile))
            elif sizes[tile] <= left:
                chosen.taken.add(tile)
                left -= sizes[tile]
            else:
                chosen.later += 1
        if chosen.later and not chosen.taken and self._named != Choice.limit:
            # So that the run is refused, with the figures: only a person can make room.
            chosen.taken, chosen.later = sizes.keys() - chosen.problems, 0
        return chosen

    def ratio(self, sizes: Mapping[str, int]) -> float:
        """Give the most that the files of a tile take up for each byte of its archives."""
        return max((count / max(self._packed(tile), 1) for tile, count in sizes.items()), default=0.0)

    def _choice(self, waits: int = 0) -> Choice:
        return Choice(waits=waits, failed=self._failed, limit=self._named)

    def _ratio(self) -> float | None:
        return max((run.result["ratio"] for run in self._runs if run.result.get("ratio")), default=None)

    def _packed(self, tile: str) -> int:
        return sum(on_disk(one.bytes or 0) for one in self._stamps.lines(DOWNLOADED, tile)[1].values())

    def _in_order(self, tiles: Collection[str]) -> list[str]:
        """Tiles that failed before come last: they must not keep the others from their turn."""
        return sorted(tiles, key=lambda tile: (tile in self._failed, tile))

    def _failed_to_unpack(self) -> set[str]:
        last: dict[str, Run] = {run.shard: run for run in self._runs if run.verb == "untar"}
        return {tile for run in last.values() for tile in run.failed}

    def _too_large(self, tile: str, count: int) -> str:
        return (
            f"{self._unit} '{tile}' needs {size(count)}, more than BUDGET allows ({size(self._budget)}); raise BUDGET"
        )
