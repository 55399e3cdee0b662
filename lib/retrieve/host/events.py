"""Events: a command of the user's is called when tiles are unpacked, a run has ended, or a person is needed.

A run does not wait for such a call before it has ended itself, and nothing that a call does can stop the run: it has no
pipe that the run would have to read or to fill, what it prints is not shown, and one that takes too long is killed.
"""

from __future__ import annotations

import json
import os
import signal
import tempfile
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NamedTuple

from retrieve import VERSION
from retrieve.errors import remedy
from retrieve.host.messages import complain
from retrieve.host.program import users_environment
from retrieve.wording import printable, some

if TYPE_CHECKING:
    import subprocess

#: Seconds from one call for tiles that were unpacked to the next, except for the one at the end of the run.
BETWEEN = 10.0
#: Seconds that a call may take; those that are left for it when the run was stopped by a signal.
LIMIT, LAST = 30.0, 5.0
#: Seconds after which the same need is told again.
AGAIN = 24 * 3600
#: A certificate that ends so soon needs a person.
SOON = timedelta(days=2)
#: Seconds that a call is given to end when it is killed.
_GRACE = 1.0
#: Seconds between two looks at a call that is waited for.
_POLL = 0.01
#: Characters that are shown of what a command says about its failure.
_LONGEST = 200


class _Call(NamedTuple):
    """A line for the command, and the file that remembers a need once the command took it."""

    line: bytes
    mark: Path | None = None


class Events:
    """Calls a command for each event, one call after the other, with a line of JSON on its standard input.

    Parameters
    ----------
    command
        As a shell takes it; empty if there is none.
    directory
        Where it is remembered which needs were told.
    clock
        Gives a time in seconds.
    """

    def __init__(self, command: str, directory: Path, clock: Callable[[], float] = time.monotonic) -> None:
        self._command = command
        self._directory = directory
        self._clock = clock
        self._tiles: list[str] = []
        self._due = clock() + BETWEEN
        self._waiting: deque[_Call] = deque()
        self._running: tuple[_Call, subprocess.Popen[bytes], float] | None = None
        self._problem = ""
        self._told = False
        self._hung = False

    def unpacked(self, tile: str) -> None:
        """Tell that a tile is unpacked, together with the others of these ten seconds."""
        self._tiles.append(tile)
        if self._clock() >= self._due:
            self._tell_tiles()
        self._go_on()

    def ended(self, outcome: str, run: dict[str, Any]) -> None:
        """Tell that a run has ended, and what came of it."""
        self._tell_tiles()
        text = f"{run['verb']} ended with status {run['status']}" + (f": {outcome}" if outcome else "")
        self._tell("ended", text, {"run": run})

    def need(self, about: str, text: str) -> None:
        """Tell that a person is needed; the same text again only after a day."""
        mark = self._directory / "told" / about
        with suppress(OSError):
            if mark.read_text() == json.dumps(text) and time.time() - mark.stat().st_mtime < AGAIN:
                return
        self._tell("attention", text, {"about": about}, mark)

    def certificate(self, ends: datetime | None) -> None:
        """Tell if a certificate ends within two days."""
        if ends and ends - datetime.now(UTC) < SOON:
            self.need("certificate", f"the certificate ends on {ends:%F %R} UTC; run 'cadc-get-cert -u USER'")

    def finish(self, seconds: float = LIMIT) -> None:
        """Make the calls that are left, each in so many seconds at most; complain if one failed, the first time."""
        while self._running or self._waiting:
            if self._running:
                _, process, end = self._running
                await_end(process, min(end - self._clock(), seconds))
                self._look(ending=True)
            self._go_on()
        if self._problem and not self._told:
            complain(f"ON_EVENT failed: {self._problem}; the run is not affected, try the command by hand")
            self._told = True

    def _tell_tiles(self) -> None:
        tiles, self._tiles = self._tiles, []
        if tiles:
            self._due = self._clock() + BETWEEN
            self._tell("unpacked", f"{some(len(tiles), 'tile')} unpacked", {"tiles": tiles})

    def _tell(self, event: str, text: str, data: dict[str, Any], mark: Path | None = None) -> None:
        if not self._command or self._hung:
            return
        time_ = datetime.now(UTC).isoformat(timespec="seconds")
        about = {"event": event, "text": text, "time": time_, "directory": str(Path.cwd()), "version": VERSION}
        self._waiting.append(_Call(json.dumps(about | data).encode() + b"\n", mark))
        self._go_on()

    def _go_on(self) -> None:
        """Begin the next call if none is under way."""
        self._look(ending=False)
        if self._running or not self._waiting:
            return
        import subprocess  # 5 ms, which a run without events need not spend

        call = self._waiting.popleft()
        try:
            with nameless(call.line) as line:
                process = subprocess.Popen(
                    ["sh", "-c", self._command],
                    env=users_environment(),
                    stdin=line,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    start_new_session=True,  # Ctrl-C ends the run, not the call that tells so
                )
        except OSError as error:
            self._problem = self._problem or remedy(error)
        else:
            self._running = call, process, self._clock() + LIMIT

    def _look(self, *, ending: bool) -> None:
        """See what became of the call that is under way; kill it if its time is up, or the run's is."""
        if self._running is None:
            return
        call, process, end = self._running
        if process.poll() is None:
            if not ending and self._clock() < end:
                return
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            await_end(process, _GRACE)
            # Another one would take as long.
            self._hung = True
            self._waiting.clear()
            self._problem = self._problem or "it did not end in time, so it was killed"
        elif process.returncode:
            said = _said(process.stderr)
            self._problem = self._problem or f"exit status {process.returncode}" + (f" ({said})" if said else "")
        elif call.mark:
            _remember(call)
        process.stderr.close()
        self._running = None


def nameless(content: bytes) -> BinaryIO:
    """Make a file without a name, in memory where there is such a thing, since the disk may be full."""
    in_memory = getattr(os, "memfd_create", None)
    file = os.fdopen(in_memory("event"), "w+b") if in_memory else tempfile.TemporaryFile()  # noqa: SIM115
    file.write(content)
    file.seek(0)
    return file


def await_end(process: subprocess.Popen[bytes], seconds: float) -> None:
    """Wait for the end of a process, but not longer than so."""
    end = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < end:
        time.sleep(_POLL)


def _said(pipe: BinaryIO) -> str:
    """Read what a command said last; something that it left running may still hold the pipe."""
    os.set_blocking(pipe.fileno(), False)
    text = (pipe.read() or b"").decode("utf-8", "replace").strip()
    return printable(text.rpartition("\n")[2])[:_LONGEST]


def _remember(call: _Call) -> None:
    with suppress(OSError):
        call.mark.parent.mkdir(exist_ok=True)
        call.mark.write_text(json.dumps(json.loads(call.line)["text"]))
