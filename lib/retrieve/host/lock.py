"""Locks: runs on the same stamps keep out of each other's way, on one machine or on several that share a disk.

To take a lock, a run creates a ticket: a file named with the next free number. It then waits for the tickets before it,
or gives up. The file system only has to make and remove files for this. Kernel locks differ: some network file systems
have none, others keep them to one machine. Where they work, they are the surest sign that a holder is alive. If they do
not, we look for its process if it runs on this machine, or watch the date of its ticket, which a living holder renews.
A ticket whose holder shows no sign of life is removed.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import signal
import socket
import threading
import time
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from retrieve.errors import RetrieveError
from retrieve.host.messages import complain
from retrieve.shards import Shard, parse_shard

#: A holder renews the date of its ticket after so many seconds.
BEAT = 5.0
#: One on another machine is given up if that date stays as it is while it is looked at so often, a second in between.
LOOKS = 30
BETWEEN_LOOKS = 1.0
#: A ticket that was drawn at the same time may be given back: only one that stays for so many seconds counts.
_SETTLED = 0.1
_POLL = 0.02

_NAME = re.compile(r"(lock|turn)(?:\.(\d+)-of-(\d+))?\.(\d+)\.([0-9a-f]{8}-\d+-\d+)")


@dataclass(frozen=True, order=True)
class Ticket:
    """A ticket as its file's name says.

    Attributes
    ----------
    number, owner
        Which tickets come before others: by number, then by owner.
    kind
        ``lock`` for a run, ``turn`` for a moment in which a sharded run has the output tree to itself.
    shard
        The share of the tiles that it is for; empty for all of them.
    """

    number: int
    owner: str
    kind: str
    shard: str = ""

    @property
    def name(self) -> str:
        """Name of its file."""
        shard = parse_shard(self.shard)
        return f"{self.kind}{shard.suffix if shard else ''}.{self.number}.{self.owner}"

    def excludes(self, other: Ticket) -> bool:
        """Whether no two runs can have both at once.

        ==========================  =======
        tickets for                 exclude
        ==========================  =======
        all tiles, and anything     yes
        the same share              yes
        two shares of as many       no
        shares of different counts  yes
        ==========================  =======
        """
        if self.kind != other.kind or self.owner == other.owner:
            return False
        counts = {ticket.shard.partition("/")[2] for ticket in (self, other)}
        return self.shard == other.shard or len(counts) == 2


@contextmanager
def lock(directory: Path, shard: Shard | None) -> Iterator[None]:
    """Keep other runs off a directory of stamps, except those of other shards; a dead run does not count.

    Raises
    ------
    RetrieveError
        If another run is at work, saying which, or the directory cannot be written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True)
        ticket, before = _draw(directory, Ticket(0, _owner(), "lock", str(shard or "")))
    except OSError as error:
        what = os.strerror(error.errno).lower()
        raise RetrieveError(f"cannot write '{directory}': {what}; give STAMPS a directory of yours") from error
    path = directory / ticket.name
    ended = threading.Event()
    # A daemon, since a network file system that is gone would hold it for ever.
    renewing = threading.Thread(target=_renew, args=(path, ended), daemon=True)
    try:
        # What it says is only told to others: a disk that is too full for it shows where it matters.
        with suppress(OSError):
            since = f"process {os.getpid()} on {socket.gethostname()} since {datetime.now(UTC):%F %TZ}"
            path.write_text(since + (f" for shard {shard}" if shard else ""), encoding="utf-8")
        with path.open("rb+") as file:
            with suppress(OSError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            renewing.start()
            try:
                for one in before:
                    _outwait(directory, one, refuse=True)
                yield
            finally:
                ended.set()
                renewing.join(BEAT)
    finally:
        path.unlink(missing_ok=True)


@contextmanager
def turn(directory: Path) -> Iterator[None]:
    """Wait until no other shard is at the same place, and keep them away from it; within `lock`."""
    ticket, before = _draw(directory, Ticket(0, _owner(), "turn"))
    try:
        for one in before:
            _outwait(directory, one, refuse=False)
        yield
    finally:
        (directory / ticket.name).unlink(missing_ok=True)


def taken(directory: Path) -> dict[str, bool]:
    """Shares of the tiles that runs have taken, and whether those runs seem alive.

    A share is written as ``3/16``; an empty text stands for all tiles. A killed run keeps its share until the next run.
    """
    return {one.shard: _Watch(directory, one).seems_alive() for one in _tickets(directory) if one.kind == "lock"}


def _tickets(directory: Path) -> list[Ticket]:
    return [
        Ticket(int(match[4]), match[5], match[1], f"{match[2]}/{match[3]}" if match[2] else "")
        for match in (_NAME.fullmatch(path.name) for path in directory.iterdir())
        if match
    ]


def _draw(directory: Path, wanted: Ticket) -> tuple[Ticket, list[Ticket]]:
    """Draw a ticket, and give those before it that exclude it.

    Of two that draw at the same time, the one that looks later sees the other's ticket: to have made a file has a
    network file system read the directory anew. A run that then sees a later ticket may have escaped its holder, and
    draws again.
    """
    while True:
        numbers = [one.number for one in _tickets(directory) if one.kind == wanted.kind]
        ticket = replace(wanted, number=max(numbers, default=0) + 1)
        path = directory / ticket.name
        path.touch(exist_ok=False)
        others = [one for one in _tickets(directory) if one.excludes(ticket)]
        if all(one < ticket for one in others):
            return ticket, others
        path.unlink(missing_ok=True)


def _outwait(directory: Path, other: Ticket, *, refuse: bool) -> None:
    """Wait until a ticket is gone, or its holder turns out to be dead; or refuse to if it lives."""
    watch = _Watch(directory, other)
    told = False
    began = time.monotonic()
    while _mtime_ns(directory / other.name) is not None:
        alive = watch.look()
        if alive is False:
            # Only this one: were it gone already, its holder might have drawn another.
            (directory / other.name).unlink(missing_ok=True)
            return
        waited = time.monotonic() - began
        if refuse and waited > _SETTLED:
            if alive:
                raise RetrieveError(f"'{directory}' is in use by {watch.holder()}; wait for it, or stop it")
            if not told:
                told = True
                seconds = LOOKS * BETWEEN_LOOKS
                holder = watch.holder()
                complain(f"'{directory}' was in use by {holder}; looking for {seconds:.0f} s whether it still is")
        if not told and waited > LOOKS * BETWEEN_LOOKS:
            told = True
            complain(f"waiting for {watch.holder()}, who is placing tiles; stop it if it does not go on")
        time.sleep(_POLL)


class _Watch:
    """Looks for signs that the holder of a ticket lives; its lock has them all."""

    def __init__(self, directory: Path, ticket: Ticket) -> None:
        name = next((one.name for one in _tickets(directory) if (one.kind, one.owner) == ("lock", ticket.owner)), "")
        self._path = directory / name
        self._owner = ticket.owner
        self._due = 0.0
        self._looks = 0
        self._mtime_ns = 0
        self._alive: bool | None = None

    def holder(self) -> str:
        """Name the run: program, process and machine."""
        with suppress(FileNotFoundError):
            return self._path.read_text(encoding="utf-8") or "another run"
        return "another run"

    def seems_alive(self) -> bool:
        """Whether it lives as far as one look can tell, by the clock of this machine if need be."""
        alive = self.look()
        return time.time_ns() - self._mtime_ns < LOOKS * 1e9 if alive is None else alive

    def look(self) -> bool | None:
        """Say whether it lives; None as long as that is not known."""
        if time.monotonic() < self._due:
            return self._alive
        self._due = time.monotonic() + BETWEEN_LOOKS
        self._alive = self._sign()
        return self._alive

    def _sign(self) -> bool | None:
        if not self._path.is_file():
            return False
        if _is_locked(self._path):
            return True
        machine, pid, start = self._owner.split("-")
        if machine == _machine():
            return _lives(int(pid), int(start))
        mtime_ns = _mtime_ns(self._path)
        if mtime_ns is None:
            return False
        if mtime_ns != self._mtime_ns and self._looks:
            return True
        self._mtime_ns = mtime_ns
        self._looks += 1
        return None if self._looks <= LOOKS else False


def _renew(path: Path, ended: threading.Event) -> None:
    while not ended.wait(BEAT):
        try:
            os.utime(path)
        except FileNotFoundError:
            if not ended.is_set():
                complain(f"'{path.parent}' was taken over by another run, to which this one seemed dead; run it again")
                os.kill(os.getpid(), signal.SIGTERM)
            return
        except OSError:
            continue


def _mtime_ns(path: Path) -> int | None:
    """Date of a file, None if it is gone: it is opened, which has a network file system ask for what is so now."""
    try:
        with path.open("rb") as file:
            return os.fstat(file.fileno()).st_mtime_ns
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ESTALE):
            return None
        raise


def _is_locked(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        pass
    return False


def _owner() -> str:
    """Name this process as no other one on any machine at any time is named."""
    start = _start_of(os.getpid()) if Path("/proc/self/stat").exists() else 0
    return f"{_machine()}-{os.getpid()}-{start}"


@cache
def _machine() -> str:
    """Name what its processes are numbered by: this machine since it was started, and a container on it."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii")
        name = boot + str(Path("/proc/self/ns/pid").readlink())
    except OSError:
        name = socket.gethostname()
    return f"{zlib.crc32(name.encode()):08x}"


def _lives(pid: int, start: int) -> bool:
    """Whether a process of this machine lives that was started then."""
    try:
        return _start_of(pid) == start
    except (FileNotFoundError, ProcessLookupError):
        pass
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # somebody else's, which may be hidden from us
    return True


def _start_of(pid: int) -> int | None:
    """When a process was started, in the kernel's ticks; None if only its parent's memory of it is left."""
    text = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
    # The command's name, in brackets, may hold anything.
    fields = text.rpartition(")")[2].split()
    return None if fields[0] in "ZX" else int(fields[19])
