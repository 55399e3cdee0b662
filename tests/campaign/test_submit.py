"""`make submit`: job arrays on a real Slurm, whose nodes are all on this host."""

from __future__ import annotations

import os
import random
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from retrieve.shards import Shard
from support import slurm
from support.pages import documented_keys, keys
from support.site import HERE, RESULTS, TILES, Site, names
from support.slurm import Slurm
from vospace_demo.faults import Fault
from vospace_demo.server import VOSpace

GOALS = {
    "download": ["avail", "download", "missing"],
    "untar": ["untar", "missing"],
    "verify": ["verify", "missing"],
    "sync": ["avail", "sync", "missing"],
}
#: Words that are hard on a script: a directory of archives, and one to run in.
ARCHIVES, PLACE = "it's 5% of #1 $archives", 'a "run"\'s #1 100% $place'
#: A tile that does not come.
STALLED = sorted(TILES)[5]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    """Slurm with four nodes; it is started once, since its first job waits for three seconds."""
    if slurm.lacking():
        pytest.skip(slurm.lacking())
    with Slurm(tmp_path_factory.mktemp("slurm"), nodes=4) as running:
        yield running


@pytest.fixture
def user(site: Site, vault: str, cluster: Slurm) -> Site:
    """A run directory on the cluster."""
    site.environment |= cluster.environment | {"INPUT_PATH": vault, "ARCHIVES": ARCHIVES.replace("$", "$$")}
    site.directory = site.directory.with_name(PLACE)
    site.directory.mkdir()
    site.list_tiles(*TILES)
    return site


def submitted(site: Site, *words: str) -> dict[str, str]:
    """Submit, and return the number of each job by its name."""
    lines = site.done("submit", *words).splitlines()
    jobs = dict(re.findall(r"(\w+)(?: in \d+ shards?)? (\d+)", lines[0].removeprefix("submitted: ")))
    numbers = list(jobs.values())
    assert lines[1:] == [
        f"follow with 'squeue -j {','.join(numbers)}' and 'make status'; cancel with 'scancel {' '.join(numbers)}'",
        "scripts and logs are in 'stamps/mccd/jobs'",
    ]
    return jobs


def by_one_process(user: Site, tmp_path: Path) -> Site:
    """The same done without a cluster, elsewhere."""
    alone = Site(tmp_path / "alone", user.environment, user.snapshots)
    alone.begin("unpacked", f"vos:{RESULTS}")
    return alone


def check_same(one: Site, other: Site) -> None:
    """Both have the same archives, outputs and stamps of tiles, with the same dates."""
    assert one.files(ARCHIVES) == other.files("archives")
    assert one.files("output") == other.files("output")
    kinds = ("available", "incomplete", "downloaded", "extracted", "missing")
    stamps = [
        {path: stamp for path, stamp in site.stamps().items() if path.partition("/")[0] in kinds}
        for site in (one, other)
    ]
    assert stamps[0] == stamps[1]


def logs(site: Site) -> str:
    """What the jobs of a site have printed."""
    return "\n".join(f"{path.name}:\n{path.read_text()}" for path in site.directory.glob("stamps/mccd/jobs/*.log"))


def test_a_dry_run_shows_the_scripts_of_each_goal_and_changes_nothing(site: Site) -> None:
    site.begin("listed", f"vos:{RESULTS}")
    site.environment["PATH"] = "/usr/bin:/bin"
    before = site.files(".")
    for goal, steps in GOALS.items():
        words = [f"GOAL={goal}", "SHARDS=16", "SBATCH=--partition=comp --time=2:00:00", "DRYRUN=yes", "RATE=20M"]
        text = site.done("submit", *words)
        scripts = {Path(job["script"]).stem: job for job in site.json("submit", *words)["jobs"]}
        assert list(scripts) == steps
        calls = re.findall(r"^sbatch (.*)$", text, re.M)
        wanted = [f"stamps/mccd/jobs/{name}.sh" for name in steps]
        if steps[0] == "avail":
            wanted[1] = f"--dependency=afterok:$avail {wanted[1]}"
        wanted[-1] = f"--dependency=afterany:${goal} {wanted[-1]}"
        assert calls == wanted
        for name, job in scripts.items():
            assert "".join(f"  {line}\n" for line in job["text"].splitlines()) in text
            subprocess.run(["sh", "-n"], input=job["text"], text=True, check=True)
            assert "\n#SBATCH --partition=comp --time=2:00:00\n" in job["text"]
            assert ("#SBATCH --array=1-16\n" in job["text"]) == (name == goal) == ("SHARD=" in job["text"])
            assert "RATE=20M" in job["text"]
            assert not re.search("DRYRUN|GOAL|SHARDS|SBATCH=", job["text"])
    assert site.files(".") == before


def test_no_more_shards_run_at_once_than_the_service_took_transfers(site: Site, space: VOSpace) -> None:
    site.environment |= space.environment() | {"INSECURE": "yes"}
    site.begin("listed", f"vos:{RESULTS}")
    space.fault(Fault("crowded", at=2, status=503))
    (found,) = site.json("download")["at_once"].values()
    assert found[0] < 16

    def array(*words: str) -> str:
        texts = [job["text"] for job in site.json("submit", "DRYRUN=yes", *words)["jobs"]]
        return re.search("--array=(.*)", "".join(texts))[1]

    assert array("GOAL=download", "SHARDS=16") == array("SHARDS=16") == f"1-16%{found[0]}"
    for words in (["SHARDS=2"], ["SHARDS=16", "JOBS=2"], ["SHARDS=16", "GOAL=untar"], ["SHARDS=16", "GOAL=verify"]):
        assert array(*words) == f"1-{words[0][7:]}"


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["GOAL=untar"], "nothing was listed yet; run 'make avail'"),
        (["TILES=nowhere"], "cannot read tile list 'nowhere': No such file or directory; give TILES a list file, a "
                            "directory of them, tiles such as 182.308, or all"),
        ([], "no 'sbatch' on this machine; run 'make submit' where Slurm is"),
    ],
)  # fmt: skip
def test_what_cannot_be_submitted_is_refused_in_one_line(
    words: list[str], problem: str, site: Site, tmp_path: Path
) -> None:
    tools = tmp_path / "tools"
    tools.mkdir()
    for name in ("make", "bash", "sh", "readlink"):
        (tools / name).symlink_to(shutil.which(name) or name)
    site.environment["PATH"] = str(tools)
    site.list_tiles(*TILES)
    before = site.files(".")
    result = site.make("submit", *words)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.splitlines()[0] == problem
    assert len(result.stderr.splitlines()) == 2  # and that of Make
    assert site.files(".") == before


def test_what_sbatch_refuses_leaves_nothing_in_the_queue(user: Site, cluster: Slurm) -> None:
    before = cluster.states()
    refused = user.make("submit", "SBATCH=--partition=nowhere")
    assert refused.returncode == 2
    assert refused.stderr.startswith(
        "sbatch refuses 'stamps/mccd/jobs/avail.sh': invalid partition specified: nowhere; "
        "Batch job submission failed: Invalid partition name specified; change SBATCH or SHARDS"
    )
    assert cluster.states() == before
    refused = user.make("submit", "SHARDS=1000000")
    assert refused.returncode == 2
    assert refused.stderr.startswith("sbatch refuses 'stamps/mccd/jobs/sync.sh': ")
    (state,) = set(cluster.states().items()) - set(before.items())
    assert state[1] == "CANCELLED"


def test_what_sbatch_warns_of_is_told(user: Site, cluster: Slurm) -> None:
    result = user.make("submit", "SBATCH=--hold --nodes=2 --ntasks=1")
    assert result.returncode == 0
    assert result.stdout.startswith("submitted: avail ")
    assert re.match(r"sbatch says of 'stamps/mccd/jobs/avail.sh': .*can't run 1 processes on 2 nodes", result.stderr)
    cluster.run("scancel", *re.search("scancel ([0-9 ]+)", result.stdout)[1].split())


@pytest.mark.soak
@pytest.mark.short
def test_the_shards_of_an_array_do_what_one_process_does_and_each_thing_once(
    user: Site, cluster: Slurm, space: VOSpace, container: Path, tmp_path: Path
) -> None:
    alone = by_one_process(user, tmp_path)
    sizes = {name: (container / name).stat().st_size for tile in TILES for name in names(tile)}

    # One of the archives does not come: the job of that shard is cancelled once the other shards are done.
    space.forget()
    space.fault(Fault("stall", node=f"*_{STALLED}.tgz", count=-1, seconds=slurm.DEADLINE))
    jobs = submitted(user, "GOAL=download", "SHARDS=3")
    assert list(jobs) == GOALS["download"]
    cluster.wait_until(lambda: sorted(cluster.states(jobs["download"]).values()) == ["COMPLETED"] * 2 + ["RUNNING"])
    (task,) = [task for task, state in cluster.states(jobs["download"]).items() if state == "RUNNING"]
    assert "shards: 2 done, 1 running\n" in user.done("status")
    cluster.wait_until(lambda: any(space.requests().nodes["storage", name] for name in names(STALLED)))
    cluster.run("scancel", task)
    ended = cluster.wait(*jobs.values())
    assert (ended[task], ended[jobs["missing"]]) == ("CANCELLED", "COMPLETED"), logs(user)
    log = user.directory / f"stamps/mccd/jobs/download-{task}.log"
    assert re.search("^stopped after .* run 'make download' again to go on$", log.read_text(), re.M)
    missing = (user.directory / "missing.txt").read_text().split()
    assert STALLED in missing
    assert len(missing) < len(TILES)
    assert "shards: 2 done, 1 failed\n" in user.done("status")

    # Submitted again, the rest of it is done, and only that.
    space.clear_faults()
    jobs = submitted(user, "GOAL=download", "SHARDS=3")
    assert set(cluster.wait(*jobs.values()).values()) == {"COMPLETED"}, logs(user)
    assert (user.directory / "missing.txt").read_text() == ""
    sent = space.requests().bytes
    assert {name: sent[name] for name in sizes if STALLED not in name} == {
        name: size for name, size in sizes.items() if STALLED not in name
    }

    # What is said to `submit` alone is not for the jobs.
    told = user.json("submit", "GOAL=untar", "SHARDS=3")
    assert keys(told) == documented_keys("submit")
    jobs = {job["name"]: str(job["number"]) for job in told["jobs"]}
    assert list(jobs) == GOALS["untar"]
    assert set(cluster.wait(*jobs.values()).values()) == {"COMPLETED"}, logs(user)
    log = user.directory / f"stamps/mccd/jobs/missing-{jobs['missing']}.log"
    assert log.read_text() == "missing.txt: 0 tiles missing\n"
    unpacked = re.findall(r"^(\d+) archives unpacked", logs(user), re.M)
    assert sum(map(int, unpacked)) == len(sizes)
    check_same(user, alone)


def test_a_submitted_sync_brings_everything_home(user: Site, cluster: Slurm, container: Path) -> None:
    (container / names(STALLED)[0]).unlink()
    # Without the environment, as some sites have it: the scripts say what they need.
    jobs = submitted(user, "SHARDS=2", "PARTIAL=yes", "SBATCH=--export=NONE --comment='a word'")
    assert list(jobs) == GOALS["sync"]
    assert set(cluster.wait(*jobs.values()).values()) == {"COMPLETED"}, logs(user)
    assert (user.directory / "missing.txt").read_text() == f"{STALLED}\n"
    assert set(os.listdir(user.directory / "stamps/mccd/extracted")) == set(TILES)
    assert len(user.files(ARCHIVES)) == 69

    # One shard alone, from anywhere: its script is enough.
    tile = next(tile for tile in TILES if tile != STALLED and Shard(2, 2).owns(tile))
    lost = user.directory / ARCHIVES / names(tile)[0]
    lost.unlink()
    array = cluster.run("sbatch", "--parsable", "--array=2", f"{user.directory}/stamps/mccd/jobs/sync.sh").strip()
    assert cluster.wait(array) == {f"{array}_2": "COMPLETED"}, logs(user)
    assert lost.exists()


def test_what_waits_for_an_avail_that_failed_does_not_wait_for_ever(user: Site, cluster: Slurm) -> None:
    jobs = submitted(user, "INPUT_PATH=vos:nowhere", "SHARDS=2")
    ended = cluster.wait(*jobs.values())
    assert ended[jobs["avail"]] == "FAILED"
    assert {state for task, state in ended.items() if task.startswith(jobs["sync"])} == {"CANCELLED"}
    assert "nowhere" in logs(user)


def test_the_replicas_of_a_session_share_the_work(site: Site) -> None:
    """As its page has it, since the client passes words on and no quotation marks."""
    page = (HERE / "docs/how-to/canfar.md").read_text()
    command = re.search(r"^canfar create .* headless IMAGE -- (.*)$", page, re.MULTILINE)[1]
    words = [
        word.replace("/arc/projects/retrieve", str(HERE)).replace("/arc/projects/RUN", str(site.directory))
        for word in command.split()
    ]
    site.begin("downloaded", f"vos:{RESULTS}")
    run, site.directory = site.directory, site.directory.parent
    for number in (1, 2):
        site.environment |= {"REPLICA_ID": str(number), "REPLICA_COUNT": "2"}
        result = site.run(*words)
        assert result.returncode == 0, result.stderr
        mine = {tile for tile in TILES for one in range(number) if Shard(one + 1, 2).owns(tile)}
        assert set(os.listdir(run / "stamps/mccd/extracted")) == mine
    assert mine == set(TILES)


@pytest.mark.soak
@pytest.mark.parametrize("seed", range(5))
def test_shards_that_are_killed_in_the_middle_lose_nothing(
    seed: int, user: Site, cluster: Slurm, space: VOSpace, tmp_path: Path
) -> None:
    alone = by_one_process(user, tmp_path)
    chance = random.Random(seed)
    space.fault(Fault("latency", route="files", seconds=0.1))
    ends: set[str] = set()
    for _ in range(3):
        jobs = submitted(user, "JOBS=2")
        cluster.wait_until(lambda jobs=jobs: "RUNNING" in cluster.states(jobs["sync"]).values())
        for _ in range(3):
            time.sleep(chance.uniform(0, 1.5))
            tasks = [task for task, state in cluster.states(jobs["sync"]).items() if state == "RUNNING"]
            if tasks:
                cluster.run("scancel", "--signal=KILL", "--full", chance.choice(tasks))
        ended = cluster.wait(*jobs.values())
        assert ended[jobs["avail"]] == ended[jobs["missing"]] == "COMPLETED", logs(user)
        ends |= set(ended.values())
    assert len(ends) > 1  # some did not complete
    space.clear_faults()
    jobs = submitted(user)
    assert set(cluster.wait(*jobs.values()).values()) == {"COMPLETED"}, logs(user)
    check_same(user, alone)
