"""A pytest plugin: tests that stand ready to be run again and again, each time with another mutant.

To start Python, pytest and what tests share takes longer than most tests. So a worker collects the tests of its copy of
the checkout once, and forks for each mutant: the commands that tests give import the mutant from the copy, and in the
fork the functions of the module get its code in place of theirs.

It reads a line of JSON for each mutant from its standard input, and answers with one.
"""

from __future__ import annotations

import gc
import json
import os
import resource
import shutil
import signal
import sys
from contextlib import suppress
from pathlib import Path
from types import CodeType, FunctionType
from typing import TYPE_CHECKING

import pytest
from _pytest.runner import runtestprotocol

if TYPE_CHECKING:
    from support.site import Snapshots

#: A test that takes longer hangs, and so does a command that works so long, in seconds.
LIMIT = 40
# Before pytest takes the standard files for itself.
_QUESTIONS, _ANSWERS = os.fdopen(os.dup(0)), os.fdopen(os.dup(1), "w")


@pytest.fixture(scope="session", autouse=True)
def shared(python: None, snapshots: Snapshots) -> None:
    """What tests share, made before the first mutant: the Python that stands ready, and what many tests begin with."""
    from support.site import RESULTS  # after pytest has put where it is on the path

    for service in "vos", "arc":
        snapshots.taken("unpacked", f"{service}:{RESULTS}", "mccd")


def pytest_runtestloop(session: pytest.Session) -> bool:
    """Answer questions instead of running the tests."""
    resource.setrlimit(resource.RLIMIT_CPU, (LIMIT, resource.RLIM_INFINITY))  # for the Python that stands ready
    runtestprotocol(session.items[0], log=False, nextitem=session)  # which makes what tests share
    resource.setrlimit(resource.RLIMIT_CPU, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    place = session.config._tmp_path_factory.getbasetemp()
    shared = _below(place)
    for number, line in enumerate(_QUESTIONS):
        question = json.loads(line)
        items = [one for test in question["tests"] for one in session.items if _is(one, test)]
        _ANSWERS.write(_answer(question, number, items) + "\n")
        _ANSWERS.flush()
        for path in _below(place) - shared:
            shutil.rmtree(path, ignore_errors=True)
    return True


def _is(item: pytest.Item, test: str) -> bool:
    return item.nodeid.startswith(f"tests/{test}") and item.nodeid[len(f"tests/{test}") :][:1] in ("", ":", "[")


def _below(place: Path) -> set[Path]:
    return {*place.iterdir(), *place.glob("snapshots*/*")}


def _answer(question: dict[str, str], number: int, items: list[pytest.Item]) -> str:
    """Run tests with a mutant in its place until one fails, and tell which."""
    if not items:
        raise pytest.UsageError(f"there is no test in {question['tests']}")
    path = Path("lib/retrieve", question["module"])
    original = path.read_bytes()
    path.write_text(question["text"], encoding="utf-8")
    # Python tells by date and length whether what it compiled earlier is of this source.
    os.utime(path, (number, number))
    reading, writing = os.pipe()
    before = _at_work()
    child = os.fork()
    if not child:
        try:
            _put_in_place(path, question["text"])
            os.write(writing, json.dumps({"killer": _killer(items)}).encode())
        finally:
            os._exit(0)  # without a word if a test hung or crashed
    os.close(writing)
    os.waitpid(child, 0)
    for left in _at_work() - before:
        with suppress(ProcessLookupError):
            os.kill(left, signal.SIGKILL)
    with open(reading) as file:
        answer = file.read()
    path.write_bytes(original)
    return answer or json.dumps({"killer": "a hang or a crash"})


def _at_work() -> set[int]:
    """Processes that are somewhere below this directory, as those that a test started which hung."""
    found = set()
    for link in Path("/proc").glob("[0-9]*/cwd"):
        with suppress(OSError):
            if link.readlink().is_relative_to(Path.cwd()):
                found.add(int(link.parent.name))
    return found


def _killer(items: list[pytest.Item]) -> str:
    """Run tests in a process of their own until one fails; tell which did, or nothing."""
    resource.setrlimit(resource.RLIMIT_CPU, (LIMIT, resource.RLIM_INFINITY))
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, resource.RLIM_INFINITY))
    for item in items:
        signal.alarm(LIMIT)
        if any(report.failed for report in runtestprotocol(item, log=False, nextitem=item.session)):
            return item.nodeid
    return ""


def _put_in_place(path: Path, text: str) -> None:
    """Give the functions of a module that was imported the code that they have in another text of it."""
    codes = {}

    def collect(code: CodeType) -> None:
        codes[code.co_qualname] = code
        for one in code.co_consts:
            if isinstance(one, CodeType):
                collect(one)

    collect(compile(text, str(path), "exec"))
    name = "retrieve." + ".".join(path.with_suffix("").parts[2:])
    if name in sys.modules:
        live = vars(sys.modules[name])
        for one in gc.get_objects():
            if isinstance(one, FunctionType) and one.__globals__ is live and not one.__code__.co_freevars:
                one.__code__ = codes.get(one.__code__.co_qualname, one.__code__)
