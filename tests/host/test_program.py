"""How programs end: never without a line, and never waiting for a thread."""

from __future__ import annotations

import re
import signal
import subprocess
import sys

import pytest

from retrieve import VERSION
from support.endings import wait_until
from support.site import HERE, TILES, Site
from vospace_demo.faults import Fault
from vospace_demo.server import VOSpace

#: The line of a witness, after whatever the program said itself.
REPORT = (
    "^'{name}' crashed or was killed, perhaps for want of memory; run it again, and if it ends so again, report this "
    rf"and what is above: retrieve {re.escape(VERSION)}, Python \S+ on \S+$"
)


def start(site: Site, space: VOSpace, vault: str, *command: str) -> subprocess.Popen[str]:
    """Start a command that asks for nodes, of which the answers do not come, and wait until it has asked."""
    space.fault(Fault("stall", route="nodes", count=-1, at=0, seconds=60))
    process = subprocess.Popen(
        [str(HERE / "bin" / command[0]), *command[1:]],
        cwd=site.directory, env=site.environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    wait_until(lambda: space.requests().routes["nodes"] > 0, process)
    return process


@pytest.mark.parametrize(
    ("number", "name", "command"),
    [
        (signal.SIGSEGV, "retrieve avail", ("retrieve", "avail", "INSECURE=yes")),
        (signal.SIGKILL, "canfar_avail_results", ("canfar_avail_results", "-i", "tile_numbers.txt")),
    ],
)
def test_a_crash_says_what_to_report(
    number: signal.Signals, name: str, command: tuple[str, ...], site: Site, vault: str, space: VOSpace
) -> None:
    site.list_tiles(*TILES)
    process = start(site, space, vault, *command)
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == -number
    assert stdout == ""
    assert re.search(REPORT.format(name=name), stderr, re.M), stderr
    assert ("Fatal Python error: Segmentation fault" in stderr) == (number == signal.SIGSEGV)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_that_ends_a_command_is_named(number: signal.Signals, site: Site, vault: str, space: VOSpace) -> None:
    """Also while threads wait for answers that do not come."""
    site.list_tiles(*TILES)
    process = start(site, space, vault, "retrieve", "avail", "INSECURE=yes")
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode == 128 + number
    assert (stdout, stderr) == ("", f"stopped by {number.name}\n")


def program(text: str, name: str = "it") -> subprocess.CompletedProcess[str]:
    """Run a command, the body of a function, as a program."""
    body = "\n".join(f"    {line}" for line in text.splitlines())
    return subprocess.run(
        [sys.executable, "-P", "-c", f"from retrieve.host.program import run\ndef it():\n{body}\nrun('{name}', it)"],
        env={"PYTHONPATH": str(HERE / "lib")}, text=True, capture_output=True, timeout=60,
    )  # fmt: skip


#: A program whose main thread waits and does not notice the signal by itself, as when it comes just before the wait.
DEAF = """
import os, signal, sys, threading, time
from retrieve.host.processes import Workers
from retrieve.host.program import STOPS, run, sleep
from retrieve.host.threads import in_threads

def send():
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOPS)
    time.sleep(0.2)  # until the main thread waits
    os.kill(os.getpid(), signal.SIGTERM)

def wait():
    with Workers(2 if "map" in sys.argv[1] else 0) as workers:
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
        threading.Thread(target=send, daemon=True).start()
        eval(sys.argv[1])

run("wait", wait)
"""


@pytest.mark.parametrize(
    "how",
    ["sleep(600)", "list(in_threads(time.sleep, [600], 1))", "list(workers.map(time.sleep, [600, 600]))"],
)
def test_a_signal_that_does_not_end_a_wait_is_heard_all_the_same(how: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DEAF, how], env={"PYTHONPATH": f"{HERE}/lib"}, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stderr) == (143, "stopped by SIGTERM\n")


def test_a_program_does_not_wait_for_a_thread_and_loses_no_output() -> None:
    done = program("import threading\nthreading.Thread(target=threading.Event().wait).start()\nprint('done')\nreturn 1")
    assert (done.returncode, done.stdout, done.stderr) == (1, "done\n", "")


def test_what_a_library_logs_is_not_for_users() -> None:
    done = program("import logging\nlogging.getLogger('matplotlib').warning('a font is missing')\nreturn 0")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_want_of_memory_is_told() -> None:
    done = program("return len(bytes(1 << 62))")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "out of memory; lower JOBS, or run it where there is more\n"


def test_a_mistake_of_ours_is_to_be_reported() -> None:
    done = program("return {}['no']")
    assert done.returncode == 2
    assert "KeyError: 'no'" in done.stderr
    assert re.search(REPORT.format(name="it"), done.stderr, re.M), done.stderr
