"""`endurance.py VERB COUNT NAME=value …`: one verb again and again in one process, each time as if it were the first.

Ends with status 0 if each run did what it is to do and left neither a thread nor a descriptor behind. What crashes or
waits for ever is for the caller to notice.
"""

from __future__ import annotations

import faulthandler
import gc
import importlib
import os
import shutil
import sys
import threading

from retrieve.__main__ import main
from retrieve.host import progress
from retrieve.stamps.stamps import AVAILABLE, DOWNLOADED, EXTRACTED

#: What a verb makes, and what it goes by.
MADE = {
    "download": ("archives", DOWNLOADED, AVAILABLE),
    "untar": ("output", EXTRACTED, DOWNLOADED),
    "verify": ("", "", ""),
}


def forget(verb: str) -> None:
    """Remove what the verb made, and list all tiles for it, as Make does."""
    directory, made, base = MADE[verb]
    if directory:
        shutil.rmtree(directory, ignore_errors=True)
        shutil.rmtree(f"stamps/mccd/{made}", ignore_errors=True)
        shutil.rmtree("stamps/mccd/members", ignore_errors=True)
        with open(f"stamps/mccd/stale-{verb}", "w", encoding="ascii") as file:
            file.writelines(f"{tile}\n" for tile in sorted(os.listdir(f"stamps/mccd/{base}")))


def left() -> tuple[set[str], list[str]]:
    """Names of the threads, and what the descriptors lead to."""
    gc.collect()
    descriptors = [f"/proc/self/fd/{number}" for number in os.listdir("/proc/self/fd")]
    leads = sorted(os.readlink(path).partition(":")[0] for path in descriptors if os.path.lexists(path))
    return {thread.name for thread in threading.enumerate()}, leads


def endure(verb: str, count: int, words: list[str]) -> None:
    """Run a verb so many times."""
    importlib.import_module(f"retrieve.commands.{verb}")
    before = None
    for number in range(count):
        forget(verb)
        status = main([verb, *words])
        assert status == 0, f"run {number} ended with {status}"
        # The first run imports modules, and what they open stays.
        before, now = before or left(), left()
        assert now == before, f"run {number} left {now} where {before} was before"


if __name__ == "__main__":
    faulthandler.enable()
    progress.EVERY = 0.001
    endure(sys.argv[1], int(sys.argv[2]), sys.argv[3:])
