"""Programs: how each command begins and ends, so that none ends without saying why."""

from __future__ import annotations

import faulthandler
import gc
import logging
import os
import signal
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import NoReturn

from retrieve import VERSION
from retrieve.errors import RetrieveError, remedy
from retrieve.settings import TABLE, UNFINISHED

#: What asks a program to end: Ctrl-C, `kill` or a batch system, and a terminal that is closed.
STOPS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: Seconds for which the main thread waits at a time. Python notes a signal, and heeds it before its next instruction:
#: one that comes when a wait is just about to begin does not end that wait.
HEARING = 1.0
#: Variables that Make and `bin/retrieve` set for us alone.
_OURS = {
    *("MAKEFLAGS", "MAKEOVERRIDES", "MAKELEVEL", "MFLAGS", "GNU_MAKE", "COLLECTED", "MORE", UNFINISHED),
    *("PYTHON", "PYTHONPATH", "PYTHONSAFEPATH", "PYTHONUTF8"),
}
#: What a run says to its witness before it ends.
_FAREWELL = b"."


class Interrupt(BaseException):
    """A signal asks the program to end; not an `Exception`, so that nothing takes it for a fault.

    Attributes
    ----------
    status
        Exit status, as a shell gives it: 128 and the number of the signal.
    line
        What the user is told; who catches it on its way may say here how far the run came.
    """

    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.status = 128 + number
        self.line = f"stopped by {signal.Signals(number).name}"


def run(name: str, command: Callable[[], int]) -> NoReturn:
    """Run a command as a program of its own: the process ends here, with its exit status.

    Parameters
    ----------
    name
        What it is called in a report of a crash.
    """
    farewell = _call_witness(name)
    try:
        status = guarded(command)
    except Exception:  # a mistake of ours, which the witness asks to report
        traceback.print_exc()
        os._exit(2)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            stream.flush()
    farewell()
    # A thread that waits for the network can neither be ended nor waited for, and Python must not be taken down under
    # it: it would crash, or wait for a lock that the thread holds. Where there is none, it would take 20 ms.
    os._exit(status)


def guarded(command: Callable[[], int]) -> int:
    """Run a command; what goes wrong becomes one line on stderr and an exit status."""
    # Imported modules live until the end. Scanning them for garbage again and again takes a tenth of the start-up time.
    # So do the 100,000 objects of a survey of 12,621 tiles.
    gc.set_threshold(300_000)
    # The libraries' log is not for users: what matters of it becomes a message of ours.
    logging.getLogger().addHandler(logging.NullHandler())
    for number in STOPS:
        # What a shell starts in the background ignores Ctrl-C, and what `nohup` starts SIGHUP: so it stays.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)
    try:
        status = command()
        sys.stdout.flush()
        return status
    except Interrupt as stop:
        _say(stop.line)
        return stop.status
    except RetrieveError as error:
        _say(str(error))
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("retrieve"):
            raise
        _say(
            f"'{sys.executable}' lacks the package '{error.name}'; install what requirements.txt lists, or leave "
            "PYTHON to the Makefile"
        )
    except BrokenPipeError:
        # The reader closed the pipe (`… | head`). Send stdout to /dev/null, so that a flush does not fail again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except OSError as error:
        what = f"cannot use '{error.filename}'" if error.filename else "cannot go on"
        _say(f"{what}: {remedy(error)}")
    except MemoryError:
        _say("out of memory; lower JOBS, or run it where there is more")
    return 2


def sleep(seconds: float) -> None:
    """Sleep in the main thread, where a signal that asks to end is heard whenever it comes; see `HEARING`."""
    end = time.monotonic() + seconds
    while (left := end - time.monotonic()) > 0:
        time.sleep(min(left, HEARING))


def users_environment() -> dict[str, str]:
    """The environment as the user has it, for programs that are not ours."""
    return {name: value for name, value in os.environ.items() if name not in TABLE and name not in _OURS}


def _stop(number: int, _: object) -> None:
    """End: what is under way is given up, and where it stands is said, undisturbed by a second signal."""
    for one in STOPS:
        signal.signal(one, signal.SIG_IGN)
    raise Interrupt(number)


def _say(line: str) -> None:
    with suppress(OSError):  # a terminal that is gone
        print(line, file=sys.stderr, flush=True)


def _call_witness(name: str) -> Callable[[], None]:
    """Start a process that waits for our end, and says what to report if we crash or are killed.

    A process that dies cannot say so itself. The witness is forked before there is a second thread and keeps nothing
    of ours but stderr.

    Returns
    -------
    callable
        To be called before a regular end.
    """
    faulthandler.enable()
    ours, theirs = os.pipe()
    witness = os.fork()
    if not witness:
        os.close(theirs)
        _watch(name, ours)
    os.close(ours)

    def farewell() -> None:
        with suppress(OSError):  # it was killed
            os.write(theirs, _FAREWELL)
            os.waitpid(witness, 0)

    return farewell


def _watch(name: str, pipe: int) -> NoReturn:
    for number in STOPS:
        signal.signal(number, signal.SIG_IGN)
    # Whoever reads our stdout waits for its end.
    os.dup2(os.open(os.devnull, os.O_RDWR), 1)
    if os.read(pipe, 1) != _FAREWELL:
        import platform

        python = f"Python {platform.python_version()} on {platform.platform()}"
        _say(
            f"'{name}' crashed or was killed, perhaps for want of memory; run it again, and if it ends so again, "
            f"report this and what is above: retrieve {VERSION}, {python}"
        )
    os._exit(0)
