"""Batch jobs: the scripts that a cluster's Slurm runs, with a shard of the tiles in each task of a job array."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from retrieve.campaign.make import make_command
from retrieve.errors import RetrieveError
from retrieve.host.messages import complain
from retrieve.host.program import users_environment
from retrieve.settings import Settings

#: Settings of `make submit` itself, which are not for the jobs.
_OF_SUBMIT = ("DRYRUN", "FORMAT", "GOAL", "SHARDS", "SBATCH", "SHARD")
#: Besides the settings, this variable of `vos` decides where the archives come from.
_SERVICE = "VOSPACE_WEBSERVICE"
_WIDTH = 110
#: Seconds to wait for Slurm to answer.
_PATIENCE = 120


@dataclass(frozen=True)
class Job:
    """A batch job: one call of Make, or one for each shard of the tiles.

    Attributes
    ----------
    name
        Its name, and that of its script.
    steps
        The targets that Make gets.
    shards
        The number of its tasks; 0 for one job with all tiles.
    at_once
        How many of its tasks may run at once; 0 for any number.
    """

    name: str
    steps: str
    shards: int = 0
    at_once: int = 0

    def dependency(self, number: str) -> str:
        """When the next job may start, in sbatch's words: a failed shard does not hold it up."""
        return f"{'afterany' if self.shards else 'afterok'}:{number}"


def jobs_for(goal: str, shards: int, at_once: int = 0, *, budget: bool = False) -> list[Job]:
    """Jobs that a goal takes; each starts after the one before it.

    A shard has one transfer at least. Where the service took fewer at once than there are shards, so many shards run.

    ======== ================================================
    goal     jobs
    ======== ================================================
    download avail; download in shards; missing
    untar    untar in shards; missing
    verify   verify in shards; missing
    sync     avail; download and untar in shards; missing
    ======== ================================================

    With a budget, download and untar take turns.
    """
    fetches = goal in ("download", "sync")
    first = [Job("avail", "avail")] if fetches else []
    steps = goal
    if goal == "sync":
        steps = "-k batches" if budget else "-k download untar"
    few = at_once if fetches and at_once < shards else 0
    return [*first, Job(goal, steps, shards, few), Job("missing", "missing")]


def script(job: Job, directory: Path, settings: Settings) -> str:
    """Write the script of a job, which states all that it depends on except PATH and HOME.

    An array's task names its shard itself, so that some can be submitted alone: ``--array=3,7`` of 16.

    Parameters
    ----------
    directory
        Directory of its log.
    """
    log = f"{directory / job.name}-{'%A_%a' if job.shards else '%j'}.log"
    options = {"job-name": f"retrieve-{job.name}", "chdir": str(Path.cwd()), "output": log}
    if job.shards:
        options["array"] = f"1-{job.shards}" + (f"%{job.at_once}" if job.at_once else "")
    lines = ["#!/bin/sh", *(f"#SBATCH --{name}={shlex.quote(value)}" for name, value in options.items())]
    if settings.sbatch:
        lines.append(f"#SBATCH {settings.sbatch}")
    if _SERVICE in os.environ:
        lines.append(f"export {_SERVICE}={shlex.quote(os.environ[_SERVICE])}")
    # The Python is named, so that tasks do not all install one on their nodes at once.
    lines.append(f"exec {shlex.join(make_command())} {_word('PYTHON', sys.executable)} \\")
    words = [job.steps, *([f'SHARD="$SLURM_ARRAY_TASK_ID/{job.shards}"'] if job.shards else [])]
    words += [_word(name, value) for name, value in settings.telling().items() if name not in _OF_SUBMIT]
    return "\n".join([*lines, *_filled(words)]) + "\n"


def submit(path: Path, dependency: str) -> str:
    """Hand a script to sbatch and return the number of the job.

    Raises
    ------
    RetrieveError
        If sbatch refuses.
    """
    # A dependency that can never be met would keep a job in the queue for ever.
    after = [f"--dependency={dependency}", "--kill-on-invalid-dep=yes"] if dependency else []
    command = ["sbatch", "--parsable", *after, str(path)]
    try:
        done = subprocess.run(
            command, env=users_environment(), check=False, text=True, capture_output=True, timeout=_PATIENCE
        )
    except subprocess.TimeoutExpired as error:
        raise RetrieveError(
            f"sbatch did not answer for {_PATIENCE} s about '{path}'; look with 'squeue' whether it took the job"
        ) from error
    said = [re.sub("^sbatch: (error: )?", "", line) for line in done.stderr.splitlines()]
    # With several clusters the number is followed by a cluster's name.
    number = done.stdout.strip().partition(";")[0]
    if done.returncode or not number.isdecimal():
        problem = "; ".join(said) or "it gave no number"
        raise RetrieveError(f"sbatch refuses '{path}': {problem}; change SBATCH or SHARDS, or ask who runs the cluster")
    for line in said:
        complain(f"sbatch says of '{path}': {line}")
    return number


def cancel(numbers: list[str]) -> None:
    """Take jobs out of the queue again."""
    with suppress(subprocess.TimeoutExpired):
        subprocess.run(["scancel", *numbers], check=False, timeout=_PATIENCE)


def _word(name: str, value: str) -> str:
    """Quote a setting for the shell and for Make, which would expand a dollar."""
    return shlex.quote(f"{name}={value.replace('$', '$$')}")


def _filled(words: list[str]) -> list[str]:
    """Break a command into lines, with a backslash at the end of each but the last."""
    lines = ["   "]
    for word in words:
        if len(lines[-1]) + len(word) > _WIDTH:
            lines.append("   ")
        lines[-1] += f" {word}"
    return [f"{line} \\" for line in lines[:-1]] + lines[-1:]
