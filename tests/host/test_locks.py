"""Locks between processes, on one machine or several, with or without the kernel's help; see also `test_lock`."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.site import HERE

#: Holds the lock of a directory until its standard input ends; says so, or what is wrong. Its heart beats faster,
#: and it counts as dead when it did not beat for as long as a busy machine never lets a process wait.
HOLD = """
import sys
from pathlib import Path
from retrieve.host import lock
from retrieve.errors import RetrieveError
from retrieve.shards import parse_shard
lock.BEAT, lock.BETWEEN_LOOKS = 0.05, 0.2
try:
    with lock.lock(Path(sys.argv[1]), parse_shard(sys.argv[2])):
        print("held", flush=True)
        sys.stdin.read()
except RetrieveError as error:
    print(error, flush=True)
"""
#: Takes a lock again and again, and makes sure each time that nobody else has it; prints how often it had it.
COMPETE = """
import os, random, sys, time
from pathlib import Path
from retrieve.host import lock
from retrieve.errors import RetrieveError
directory, kind, rounds, had = Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), 0

def alone():
    os.close(os.open(directory / "alone", os.O_CREAT | os.O_EXCL))
    time.sleep(random.random() / 200)
    os.unlink(directory / "alone")

with lock.lock(directory / "runs", lock.Shard(int(sys.argv[4]), 99)):
    for _ in range(rounds):
        try:
            with lock.turn(directory / "runs") if kind == "turn" else lock.lock(directory, None):
                alone()
                had += 1
        except RetrieveError as error:
            assert "is in use by" in str(error), error
print(had)
"""
#: Process numbers of its own, as in a container or on another machine.
ELSEWHERE = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc")
WITHOUT_FLOCK = ("strace", "-f", "-qq", "-o", "/dev/null", "-e", "trace=flock", "-e", "inject=flock:error=ENOLCK")

needs_strace = pytest.mark.skipif(not shutil.which("strace"), reason="needs strace: apt-get install strace")


def started(program: str, *words: str, wrapper: tuple[str, ...] = ()) -> subprocess.Popen[str]:
    """Start a program."""
    return subprocess.Popen(
        [*wrapper, sys.executable, "-P", "-c", program, *words],
        env={**os.environ, "PYTHONPATH": str(HERE / "lib")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )


@contextmanager
def contents(directory: Path, shard: str = "", wrapper: tuple[str, ...] = ()) -> Iterator[subprocess.Popen[str]]:
    """Have a process hold a lock."""
    with started(HOLD, str(directory), shard, wrapper=wrapper) as process:
        try:
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)


def ask(directory: Path, shard: str = "", wrapper: tuple[str, ...] = ()) -> str:
    """Take a lock and give it back at once; return what was said."""
    stdout, stderr = started(HOLD, str(directory), shard, wrapper=wrapper).communicate("", timeout=120)
    assert "Traceback" not in stderr
    return stdout


def stop(pid: int) -> None:
    """Have a process stand still."""
    os.kill(pid, signal.SIGSTOP)
    while Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "tT":
        time.sleep(0.01)


def skip_unless_elsewhere() -> None:
    """Skip the test where no process may have numbers of its own."""
    if not shutil.which("unshare"):
        pytest.skip("needs unshare: apt-get install util-linux")
    if subprocess.run([*ELSEWHERE, "true"], capture_output=True).returncode:
        pytest.skip("needs root, or a container with CAP_SYS_ADMIN: process numbers of its own")


@pytest.mark.parametrize("wrapper", [(), pytest.param(WITHOUT_FLOCK, marks=needs_strace)], ids=["flock", "no flock"])
def test_all_tiles_are_refused_beside_a_share_and_another_share_is_not(
    wrapper: tuple[str, ...], tmp_path: Path
) -> None:
    with contents(tmp_path, "1/4", wrapper):
        refusal = rf"'{tmp_path}' is in use by process \d+ on \S+ since .*Z for shard 1/4; wait for it, or stop it\n"
        assert re.fullmatch(refusal, ask(tmp_path, "", wrapper))
        assert ask(tmp_path, "2/4", wrapper) == "held\n"
    assert ask(tmp_path) == "held\n"
    assert not list(tmp_path.iterdir())


@needs_strace
@pytest.mark.parametrize("wrapper", [(), WITHOUT_FLOCK], ids=["flock", "no flock"])
def test_a_killed_holder_does_not_block_and_a_stopped_one_does(wrapper: tuple[str, ...], tmp_path: Path) -> None:
    with contents(tmp_path, "3/4", wrapper) as process:
        (ticket,) = tmp_path.iterdir()
        pid = int(ticket.name.split("-")[-2])
        stop(pid)
        assert "is in use by" in ask(tmp_path, wrapper=wrapper)
        os.kill(pid, signal.SIGKILL)  # a zombie for now, since nobody waits for it
        # That it is dead is known at once: it is not said that one has to look for a while.
        assert started(HOLD, str(tmp_path), "", wrapper=wrapper).communicate("", timeout=120) == ("held\n", "")
        assert not list(tmp_path.iterdir())
        process.kill()


def test_a_holder_on_another_machine_is_known_by_its_lock(tmp_path: Path) -> None:
    """Should the file system keep locks for all machines; here, for a container."""
    skip_unless_elsewhere()
    with contents(tmp_path, "1/2", ELSEWHERE) as process:
        assert "is in use by" in ask(tmp_path)
        assert ask(tmp_path, "2/2") == "held\n"
        os.killpg(process.pid, signal.SIGSTOP)
        assert "is in use by" in ask(tmp_path)


@needs_strace
def test_a_holder_on_another_machine_is_known_by_its_heartbeat_where_there_are_no_locks(tmp_path: Path) -> None:
    skip_unless_elsewhere()
    elsewhere = (*ELSEWHERE, *WITHOUT_FLOCK)
    with contents(tmp_path, "1/2", elsewhere) as process:
        assert "is in use by" in ask(tmp_path, wrapper=WITHOUT_FLOCK)
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        watcher = started(HOLD, str(tmp_path), "", wrapper=WITHOUT_FLOCK)
        stdout, stderr = watcher.communicate("", timeout=120)
        assert stdout == "held\n"
        assert re.fullmatch(
            rf"'{tmp_path}' was in use by process \d+ on \S+ since .* for shard 1/2; looking for 6 s whether it still "
            r"is\n",
            stderr,
        ), stderr
    assert not list(tmp_path.iterdir())


@needs_strace
def test_who_was_taken_for_dead_ends_when_it_wakes_up(tmp_path: Path) -> None:
    skip_unless_elsewhere()
    with contents(tmp_path, wrapper=(*ELSEWHERE, *WITHOUT_FLOCK)) as process:
        children = f"/proc/{process.pid}/task/{process.pid}/children"
        shell = int(Path(children).read_text())
        (pid,) = map(int, Path(f"/proc/{shell}/task/{shell}/children").read_text().split())
        os.kill(pid, signal.SIGSTOP)
        with contents(tmp_path, wrapper=WITHOUT_FLOCK):
            os.kill(pid, signal.SIGCONT)
            process.wait(timeout=120)  # its standard input stays open: nothing but this ends it
            said = f"'{tmp_path}' was taken over by another run, to which this one seemed dead; run it again\n"
            assert process.stderr.read().endswith(said)
            assert len(list(tmp_path.iterdir())) == 1


def compete(directory: Path, kind: str, processes: int, rounds: int) -> list[int]:
    """Have some processes compete for a lock; return how often each had it."""
    running = [started(COMPETE, str(directory), kind, str(rounds), str(place + 1)) for place in range(processes)]
    ends = [process.communicate(timeout=300) for process in running]
    assert not [stderr for _, stderr in ends if stderr]
    assert not list((directory / "runs").iterdir())
    return [int(stdout) for stdout, _ in ends]


@pytest.mark.parametrize("rounds", [15, pytest.param(500, marks=pytest.mark.soak)])
def test_a_turn_is_had_by_all_and_by_one_at_a_time(rounds: int, tmp_path: Path) -> None:
    assert compete(tmp_path, "turn", 4, rounds) == [rounds] * 4


@pytest.mark.parametrize("rounds", [10, pytest.param(500, marks=pytest.mark.soak)])
def test_a_lock_that_many_want_at_once_is_had_by_one(rounds: int, tmp_path: Path) -> None:
    assert sum(compete(tmp_path, "lock", 4, rounds)) >= rounds
