"""Processes and threads that work on many things at once."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest

from retrieve.errors import RetrieveError
from retrieve.host.processes import Workers
from retrieve.host.threads import in_threads
from support import watched
from support.site import HERE


def script(tmp_path: Path, text: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a script in a process of its own: that of the tests has threads."""
    (tmp_path / "script.py").write_text(text)
    return subprocess.run(
        [sys.executable, "-P", watched.__file__, "-m", "script"], text=True, capture_output=True, timeout=60,
        env={"PYTHONPATH": f"{HERE}/lib:{tmp_path}", **environment},
    )  # fmt: skip


END_OF_WORKER = """
import os, signal
from retrieve.errors import RetrieveError
from retrieve.host.processes import Workers

def end(job):
    if job == 3:
        os.kill(os.getpid(), {number})
    return job

with Workers(2) as workers:
    try:
        print(list(workers.map(end, list(range(9)))))
    except RetrieveError as error:
        print(error)
"""


@pytest.mark.parametrize(
    ("number", "line"),
    [
        (signal.SIGKILL, "a process was killed, perhaps for want of memory; try again, or where there is more\n"),
        (signal.SIGSEGV, "a process crashed (SIGSEGV); try again, and if it does so again report what is above\n"),
    ],
)
def test_a_worker_that_is_killed_or_crashes_ends_the_run_with_a_line(
    number: signal.Signals, line: str, tmp_path: Path
) -> None:
    done = script(tmp_path, END_OF_WORKER.format(number=int(number)), RETRIEVE_TEST_BREACHES=str(tmp_path / "none"))
    assert (done.returncode, done.stdout) == (0, line), done.stderr


def test_workers_are_not_forked_beside_threads() -> None:
    thread = threading.Thread(target=(ended := threading.Event()).wait)
    thread.start()
    try:
        with pytest.raises(RuntimeError, match="before there is a second thread"), Workers(2):
            pass
    finally:
        ended.set()
        thread.join()


def test_a_fork_beside_a_thread_is_noticed_in_whatever_process_a_test_starts(tmp_path: Path) -> None:
    report = tmp_path / "found"
    text = "import os, threading\nthreading.Thread(target=threading.Event().wait, daemon=True).start()\n"
    done = script(tmp_path, f"{text}os.fork() or os._exit(0)\nos.wait()\n", RETRIEVE_TEST_BREACHES=str(report))
    assert done.returncode == 0, done.stderr
    assert report.read_text().startswith("forked beside 1 threads in ")


def test_a_question_for_a_name_elsewhere_is_noticed(tmp_path: Path) -> None:
    report = tmp_path / "found"
    text = "import socket\ntry:\n    socket.getaddrinfo('nowhere.invalid', 443)\nexcept OSError:\n    pass\n"
    script(tmp_path, text, RETRIEVE_TEST_BREACHES=str(report))
    assert report.read_text().startswith("asked for the address of 'nowhere.invalid' in ")


def test_threads_take_no_further_job_once_one_failed_or_nobody_listens_any_more() -> None:
    taken: list[int] = []

    def act(job: int) -> int:
        taken.append(job)
        if job == 3:
            raise RetrieveError("three")
        return -job

    with pytest.raises(RetrieveError, match="three"):
        list(in_threads(act, range(100), 1))
    assert taken == [0, 1, 2, 3]
    taken.clear()
    with closing(in_threads(act, [0, 1, 2], 1)) as answers:
        assert next(answers) == (0, 0)
    assert dict(in_threads(act, [0, 1, 2, 4], 4)) == {0: 0, 1: -1, 2: -2, 4: -4}
    assert list(in_threads(act, [], 4)) == []


def test_the_environment_of_a_worker_keeps_numpy_from_starting_a_thread_per_core(tmp_path: Path) -> None:
    text = "import os\nfrom retrieve.host.processes import Workers\ndef count(_):\n    import numpy\n"
    text += "    return len(os.listdir('/proc/self/task'))\nwith Workers(1) as workers:\n"
    text += "    print(list(workers.map(count, [0])))\n"
    environment = {name: value for name, value in os.environ.items() if name != "OPENBLAS_NUM_THREADS"}
    done = script(tmp_path, text, **environment | {"PYTHONPATH": f"{HERE}/lib:{tmp_path}"})
    assert done.stdout == "[1]\n", done.stderr
