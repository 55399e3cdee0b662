"""`submit`: have a cluster's Slurm do it, in shards."""

from __future__ import annotations

import shutil
from pathlib import Path

from retrieve.campaign.batch import Job, cancel, jobs_for, script, submit
from retrieve.delivery.window import Found
from retrieve.errors import RetrieveError
from retrieve.host.disk import write_whole
from retrieve.host.messages import show
from retrieve.settings import Settings
from retrieve.stamps.runs import read_runs
from retrieve.stamps.stamps import Stamps
from retrieve.wording import some


def main(settings: Settings) -> int:
    """Write the scripts and submit them, each to start after the one before it."""
    jobs, scripts = _prepare(settings)
    if not shutil.which("sbatch"):
        raise RetrieveError("no 'sbatch' on this machine; run 'make submit' where Slurm is")
    numbers = _submit(jobs, scripts)
    show(
        settings,
        text=[
            "submitted: " + ", ".join(f"{_phrase(job)} {number}" for job, number in zip(jobs, numbers, strict=True)),
            f"follow with 'squeue -j {','.join(numbers)}' and 'make status'; cancel with 'scancel {' '.join(numbers)}'",
            f"scripts and logs are in '{next(iter(scripts)).parent}'",
        ],
        data={
            "jobs": [
                {"name": job.name, "number": int(number), "shards": job.shards, "script": str(path)}
                for job, number, path in zip(jobs, numbers, scripts, strict=True)
            ],
        },
    )
    return 0


def foretell(settings: Settings) -> int:
    """Show the scripts, and how they would be submitted."""
    jobs, scripts = _prepare(settings)
    text, dependency = [], ""
    for job, (path, content) in zip(jobs, scripts.items(), strict=True):
        text.append(f"sbatch {dependency}{path}")
        text += [f"  {line}" for line in content.splitlines()]
        dependency = f"--dependency={job.dependency(f'${job.name}')} "
    show(
        settings,
        text=text,
        data={
            "jobs": [
                {"name": job.name, "shards": job.shards, "script": str(path), "text": content}
                for job, (path, content) in zip(jobs, scripts.items(), strict=True)
            ]
        },
    )
    return 0


def _prepare(settings: Settings) -> tuple[list[Job], dict[Path, str]]:
    stamps = Stamps(settings.stamps, settings.product_set().model)
    found = Found.in_runs(read_runs(stamps)) if not settings.jobs else {}
    at_once = min((one.number for one in found.values()), default=0)
    jobs = jobs_for(settings.goal, settings.shards, at_once, budget=bool(settings.budget))
    # What would end the first job is said now, not when its turn has come in the queue.
    if jobs[0].name == "avail":
        settings.lists()
    else:
        stamps.check_listed()
    directory = stamps.directory / "jobs"
    return jobs, {directory / f"{job.name}.sh": script(job, directory, settings) for job in jobs}


def _submit(jobs: list[Job], scripts: dict[Path, str]) -> list[str]:
    numbers: list[str] = []
    dependency = ""
    for job, (path, content) in zip(jobs, scripts.items(), strict=True):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_whole(path, content)
            numbers.append(submit(path, dependency))
        except BaseException:
            # All of them or none.
            if numbers:
                cancel(numbers)
            raise
        dependency = job.dependency(numbers[-1])
    return numbers


def _phrase(job: Job) -> str:
    return f"{job.name} in {some(job.shards, 'shard')}" if job.shards else job.name
