"""Shards: each of several machines works on its own share of the tiles."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from retrieve.errors import SettingError

#: The verbs that work on a share; the others are for all tiles at once.
SHARDED = ("download", "untar", "verify")


@dataclass(frozen=True)
class Shard:
    """One of `count` shares of the tiles; `number` begins with 1."""

    number: int
    count: int

    def owns(self, tile: str) -> bool:
        """Whether a tile is in this share, which depends on its number alone: a list that grows moves no tile.

        A job of several tiles is where the first of them is.

        Along a row of tiles the shards take turns, and each row begins with another one, by steps of the golden ratio.
        So the shares are even in any part of the sky: with 16 of them, within 1% over the survey's 12,621 tiles, and
        within two tiles over the 214 of W3. With another `count` the tiles of one share are spread over several.
        """
        column, row = int(tile[:3]), int(tile[4:7])
        return (column + row * self.count * 618 // 1000) % self.count == self.number - 1

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @property
    def suffix(self) -> str:
        """What the names of files that each shard has of its own end with."""
        return f".{self.number}-of-{self.count}"


def parse_shard(value: str) -> Shard | None:
    """Read the setting ``SHARD``; None if it is empty.

    Raises
    ------
    ValueError
        If it is no share.
    """
    if not value:
        return None
    match = re.fullmatch(r"([0-9]{1,6})/([0-9]{1,6})", value)
    if not match or not 1 <= int(match[1]) <= int(match[2]):
        raise ValueError("a share such as 3/16: its number, from 1, and how many there are")
    return Shard(int(match[1]), int(match[2]))


def shard_of(verb: str, given: Shard | None, environment: Mapping[str, str]) -> Shard | None:
    """Share of the tiles that a verb works on: the one in SHARD, otherwise that of the batch system's task.

    Raises
    ------
    SettingError
        If the verb is for all tiles at once and a share is given, or the environment makes no sense.
    """
    if verb not in SHARDED:
        if given:
            raise SettingError(f"'{verb}' is for all tiles at once; leave out SHARD={given}")
        return None
    return given or _slurm_task(environment) or _replica(environment)


def _slurm_task(environment: Mapping[str, str]) -> Shard | None:
    """Share of a task of a job array, which begins with 0 or 1 and has no gaps.

    Of an array that does not (one task that is submitted again, say), nobody knows how many shares there were.
    """
    prefix = "SLURM_ARRAY_TASK_"
    given = {name: environment[prefix + name] for name in ("ID", "COUNT", "MIN", "MAX") if prefix + name in environment}
    if "ID" not in given:
        return None
    try:
        numbers = {name: int(value) for name, value in given.items()}
        task, count = numbers["ID"], numbers["COUNT"]
        first = numbers.get("MIN", 0 if task == 0 else 1)
        last = numbers.get("MAX", first + count - 1)
        whole = first in (0, 1) and last - first + 1 == count and first <= task <= last
    except (ValueError, KeyError):
        whole = False
    if not whole:
        words = " ".join(f"{prefix}{name}={value}" for name, value in given.items())
        raise SettingError(f"bad job array '{words}'; submit it as --array=1-16, or give SHARD=3/16")
    # Where only the number is known, the one that follows from either count is as good.
    return Shard((task - first if "MIN" in given else task - 1) % count + 1, count)


def _replica(environment: Mapping[str, str]) -> Shard | None:
    """Share of a replica of a CANFAR session."""
    given = {name: environment[name] for name in ("REPLICA_ID", "REPLICA_COUNT") if name in environment}
    if not given:
        return None
    try:
        return parse_shard("/".join(given.values()))
    except ValueError as error:
        words = " ".join(f"{name}={value}" for name, value in given.items())
        raise SettingError(f"bad replica '{words}'; number the replicas from 1, or give SHARD=3/16") from error
