"""The pool: what becomes of each archive is a value, and what would become of every other one as well ends the run."""

from __future__ import annotations

import errno
import os
import threading

import pytest

from retrieve.archives import Archive, Verified
from retrieve.delivery.pool import Fetched, GivenUp, Stopped, in_parallel
from retrieve.errors import AccessError, SourceError, Transient

NAMES = ("a", "b", "c")


def fetch(error: BaseException | None) -> tuple[list[Fetched], list[str]]:
    """Fetch three archives one after the other, of which the second meets an error; return what came, and was tried."""
    tried = []

    def act(_: str, archive: Archive) -> Verified:
        tried.append(archive.name)
        if archive.name == "b" and error:
            raise error
        return Verified(archive, "", 0)

    work = [("240.290", Archive(name, 1, None, "")) for name in NAMES]
    return list(in_parallel(work, act, 1, threading.Event())), tried


@pytest.mark.parametrize(
    ("error", "problem", "again"),
    [
        (Transient("503"), "cannot fetch 'b': 503; run 'make download' again", True),
        (SourceError("damaged"), "cannot fetch 'b': damaged", False),
        (OSError(errno.EINVAL, "Invalid argument"), "cannot fetch 'b': invalid argument; check the disk", False),
    ],
)
def test_what_one_archive_meets_is_told_and_the_others_are_fetched(error: Exception, problem: str, again: bool) -> None:
    results, tried = fetch(error)
    assert [one.name for one in results if one.verified] == ["a", "c"]
    assert [one for one in results if one.problem] == [Fetched("240.290", "b", problem=problem, again=again)]
    assert tried == ["a", "b", "c"]


@pytest.mark.parametrize(
    ("error", "problem"),
    [
        (AccessError("access refused"), "access refused"),
        (GivenUp("8 failed in a row"), "cannot fetch 'b': 8 failed in a row"),
        *(
            (OSError(number, os.strerror(number)), f"cannot fetch 'b': {os.strerror(number).lower()}; ")
            for number in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EIO, errno.EMFILE, errno.ENOENT)
        ),
    ],
)
def test_what_every_archive_would_meet_is_told_once_and_no_more_are_tried(error: Exception, problem: str) -> None:
    results, tried = fetch(error)
    assert [(one.name, one.fatal) for one in results] == [("a", False), ("b", True)]
    assert results[1].problem.startswith(problem)
    assert tried == ["a", "b"]


def test_what_a_stop_interrupts_is_no_result() -> None:
    results, _ = fetch(Stopped())
    assert [one.name for one in results] == ["a", "c"]
