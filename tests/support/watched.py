"""`watched.py -m MODULE …`: run a module as Python's `-m` does, and report what no process may do.

The Pythons that make calls in the tests watch themselves by this (see `conftest.python`), and so does pytest. What goes
to the file that `BREACHES` names fails the test.
"""

from __future__ import annotations

import os
import runpy
import socket
import sys

#: Variables: where to report to, and the Pythons that the tests give to make, see `conftest.python`.
BREACHES, PYTHON, READY = "RETRIEVE_TEST_BREACHES", "RETRIEVE_TEST_PYTHON", "RETRIEVE_TEST_READY"


def report(what: str) -> None:
    """Note what was done, and where."""
    import traceback

    where = "".join(traceback.format_stack(limit=12)[:-2])
    line = f"{what} in {sys.argv}:\n{where}\n"
    if BREACHES not in os.environ:  # whoever started us has an environment of its own making
        sys.exit(line)
    with open(os.environ[BREACHES], "a", encoding="utf-8") as file:
        file.write(line)


def check_fork() -> None:
    """A child has the locks of all threads, but none of the threads: one that is held is never released there."""
    threads = len(os.listdir("/proc/self/task"))
    if threads > 1:
        report(f"forked beside {threads - 1} threads")


def is_here(host: str) -> bool:
    """Whether a host is this machine."""
    return host in ("", "localhost", "::1") or host.startswith("127.")


def watch() -> None:
    """Report forks beside threads, and connections and questions for names that leave this machine."""
    os.register_at_fork(before=check_fork)
    connect, getaddrinfo = socket.socket.connect, socket.getaddrinfo

    def checked_connect(self: socket.socket, address: object) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not is_here(address[0]):
            report(f"connected to {address}")
        connect(self, address)

    def checked_getaddrinfo(host: str | bytes | None, *arguments: object, **options: object) -> list[object]:
        name = host.decode() if isinstance(host, bytes) else host
        if name is not None and not is_here(name):
            report(f"asked for the address of '{name}'")
        return getaddrinfo(host, *arguments, **options)

    socket.socket.connect, socket.getaddrinfo = checked_connect, checked_getaddrinfo


if __name__ == "__main__":
    watch()
    words = [word for word in sys.argv[1:] if word != "-P"]
    sys.argv = words[1:]
    runpy.run_module(words[1], run_name="__main__", alter_sys=True)
