"""`kill -9` of any verb, its workers, or Make, at any moment: nothing is lost, and the same verb again completes it.

Each time from a run directory as it was before the verb. With SEED=…, other victims at other moments.
"""

from __future__ import annotations

import os
import random
import signal
import subprocess
from contextlib import suppress
from pathlib import Path

import pytest

from support.cases import CASES, DEADLINE, SEED, Trial
from support.promises import files_of
from support.site import Site
from vospace_demo.server import VOSpace


def family(pid: int) -> list[int]:
    """A process and all below it."""
    try:
        below = [int(one) for one in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except (FileNotFoundError, ProcessLookupError):
        return []
    return [pid, *(other for one in below for other in family(one))]


def killed(trial: Trial, site: Site, chance: random.Random) -> bool:
    """Run the verb, of all shards at once, and kill a process of one, or all; False if it was over before."""
    shards = [f"SHARD={number}/{trial.case.shards}" for number in range(1, trial.case.shards + 1)] or ["SHARD="]
    running = [site.start(*trial.case.words, shard) for shard in shards]
    try:
        victim = chance.choice(running)
        with suppress(subprocess.TimeoutExpired):
            victim.wait(chance.uniform(0.0, trial.undisturbed[0]))
        alive = family(victim.pid)
        done = bool(alive) and victim.poll() is None
        if done:
            with suppress(ProcessLookupError):
                os.kill(-victim.pid if chance.random() < 0.4 else chance.choice(alive), signal.SIGKILL)
        # If Make alone was killed, what it started goes on to its end.
        for one in running:
            one.communicate(timeout=DEADLINE)
    finally:
        for one in running:
            with suppress(ProcessLookupError):
                os.killpg(one.pid, signal.SIGKILL)
    return done


def check_kills(name: str, kills: int, site: Site, uri: str, space: VOSpace, container: Path) -> None:
    """Kill the verb of a case so many times, and run it again each time."""
    trial, chance = Trial(name, site, uri, space, container), random.Random(f"{SEED} {name} {uri}")
    done = tries = 0
    while done < kills:
        tries += 1
        about = f"SEED={SEED}, try {tries} of {name}"
        assert tries < 20 * kills + 20, f"{about}: it is over before it can be killed"
        again = trial.fresh()
        if killed(trial, again, chance):
            done += 1
            assert not trial.broken(files_of(again.directory)), about
            trial.complete(again, about)


@pytest.mark.soak
@pytest.mark.parametrize("name", CASES)
def test_a_thousand_kills_of_any_verb_lose_nothing(
    name: str, site: Site, at: str, space: VOSpace, container: Path
) -> None:
    check_kills(name, int(os.environ.get("KILLS", CASES[name].kills)), site, at, space, container)
