"""Room: what is free on a disk, and what the quotas of the user and of the group leave there."""

from __future__ import annotations

import os
import re
import shutil
import signal
import stat
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import NamedTuple

from retrieve.errors import Full
from retrieve.host.events import await_end
from retrieve.host.program import users_environment
from retrieve.wording import size

#: Where Linux lists what is mounted.
_MOUNTS = Path("/proc/self/mountinfo")
#: Seconds that a program may take to tell of quotas: a server may not answer it. Those that it is given to end after.
_LIMIT, _GRACE = 3.0, 1.0
#: Whose quota it is that `lfs quota` and `quota` tell of, above its figures.
_HEAD = re.compile(r"\((uid \d+|gid \d+)\):")
#: What is used, the soft and the hard limit, and a time: of blocks of 1024 bytes, and then of inodes. The name before
#: them may stand in a line of its own. Figures that `lfs` itself takes for wrong are in brackets.
_ROW = re.compile(r"[ \t]" + r"[ \t]+".join([r"(\d+)\*?", r"(\d+)", r"(\d+)", r"\S+"] * 2) + r"[ \t]*$")


class Room(NamedTuple):
    """Free bytes and inodes; None where there is no limit, as where a file system makes inodes as they are needed.

    Attributes
    ----------
    whose
        Whose quota it is, as a message names it; empty if it is the disk itself.
    """

    bytes: int | None
    inodes: int | None
    whose: str = ""

    @property
    def scarce(self) -> bool:
        """Whether there is hardly room for a tile."""
        few_bytes = self.bytes is not None and self.bytes < 1_000_000_000
        return few_bytes or (self.inodes is not None and self.inodes < 10_000)

    @property
    def by(self) -> str:
        """What sets the limit, as a message ends with it."""
        return self.whose and f" by {self.whose}"

    def __str__(self) -> str:
        figures = [
            *([] if self.bytes is None else [size(self.bytes)]),
            *([] if self.inodes is None else [f"{self.inodes} inodes"]),
        ]
        return f"{' and '.join(figures)} free{self.by}"


def existing(directory: Path) -> Path:
    """Find what is there of the way to a directory."""
    return next(one for one in (directory, *directory.absolute().parents) if one.exists())


def room(directory: Path) -> Room:
    """Say what is free on the disk of a directory; no program is asked for quotas."""
    status = os.statvfs(directory)
    return Room(status.f_bavail * status.f_frsize, status.f_favail if status.f_files else None)


def rooms(directory: Path) -> Iterator[Room]:
    """Say what is free on the disk of a directory, and then what quotas leave there."""
    yield room(directory)
    yield from quotas(directory)


def check_room(bytes_: int, files: int, directory: Path, setting: str, about: str = "") -> None:
    """Make sure that so many more bytes and files fit on the disk of a directory, and in the quotas there.

    Parameters
    ----------
    setting
        The one that names the directory.
    about
        Stands before the figures; ``about `` if they are estimates.

    Raises
    ------
    Full
        With the figures, if they do not fit.
    """
    if not bytes_ and not files:
        return
    for free in rooms(directory):
        if free.bytes is not None and bytes_ > free.bytes:
            raise Full(
                f"not enough space in '{directory}': {about}{size(bytes_)} are needed and {size(free.bytes)} are "
                f"free{free.by}; make room, give {setting} another directory, or FORCE=yes"
            )
        if free.inodes is not None and files > free.inodes:
            raise Full(
                f"not enough inodes in '{directory}': {about}{files} are needed and {free.inodes} are free{free.by}; "
                f"remove files, give {setting} another directory, or FORCE=yes"
            )


def quotas(directory: Path) -> tuple[Room, ...]:
    """Say what quotas leave in a directory to the user, and to the group that new files there belong to.

    A quota is known where `lfs` (of Lustre) or `quota` is installed and tells of it. Each file system is asked for
    once in a run. Quotas of projects are not asked for: file systems that have them tell what is left as free room.
    """
    place = existing(directory)
    status = place.stat()
    mount = _mount(os.path.realpath(place))
    return _quotas(*mount, status.st_gid if status.st_mode & stat.S_ISGID else os.getegid()) if mount else ()


def _mount(path: str) -> tuple[str, str] | None:
    """Find where the file system of a path is mounted, and of which type it is; None where nothing tells it."""
    found = None
    with suppress(OSError):
        for line in _MOUNTS.read_text("utf-8", "surrogateescape").splitlines():
            mount, _, kind = line.partition(" - ")
            point = re.sub(r"\\([0-7]{3})", lambda code: chr(int(code[1], 8)), mount.split(" ")[4])
            # What is mounted later on the same point hides what was there.
            if os.path.commonpath([point, path]) == point and (found is None or len(point) >= len(found[0])):
                found = point, kind.split(" ")[0]
    return found


@cache
def _quotas(point: str, kind: str, group: int) -> tuple[Room, ...]:
    user = os.geteuid()
    if kind == "lustre":
        text = _answer("lfs", "quota", "-u", str(user), point) + _answer("lfs", "quota", "-g", str(group), point)
    else:
        text = _answer("quota", "-w", "-p", "-u", "-g", "-f", point)
    names = {f"uid {user}": "your quota", f"gid {group}": "the quota of your group"}
    found, whose = [], None
    for line in text.splitlines():
        if head := _HEAD.search(line):
            whose = names.get(head[1])
        elif whose and (row := _ROW.search(line)):
            blocks, inodes = _left(*map(int, row.groups()[:3])), _left(*map(int, row.groups()[3:]))
            found.append(Room(None if blocks is None else 1024 * blocks, inodes, whose))
    return tuple(one for one in found if one[:2] != (None, None))


def _left(used: int, soft: int, hard: int) -> int | None:
    """What is left up to the lower limit, of those that are not 0.

    The soft one may be passed, but a week later, as a rule, nothing more may be written: a campaign takes longer.
    """
    return max(min(filter(None, (soft, hard))) - used, 0) if soft or hard else None


def _answer(*command: str) -> str:
    """What a program says, if it is installed and ends in time; its exit status may only tell of a quota exceeded."""
    if not shutil.which(command[0]):
        return ""
    import subprocess  # 5 ms, which a run without such programs need not spend

    try:
        process = subprocess.Popen(
            command,
            env=users_environment() | {"LC_ALL": "C"},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
    except OSError:
        return ""
    try:
        await_end(process, _LIMIT)
    finally:
        in_time = process.poll() is not None
        if not in_time:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await_end(process, _GRACE)  # not longer: what waits for a file system cannot be killed
    with process.stdout as pipe:
        os.set_blocking(pipe.fileno(), False)
        return (pipe.read() or b"").decode("utf-8", "replace") if in_time else ""
