"""`ready.py SOCKET [WORD …]`: a Python that stands ready, so that the tests do not start one for each command.

To start Python and import the toolkit and its libraries takes a third of a second of processor time, and the tests give
a thousand commands. Without a word this is a server that imports them once, then forks for each command that comes to
its socket: a process of its own, with the arguments, environment, directory and standard files of whoever asks. With
words it is the asking side, which looks to make like the Python that it asked for.

What the libraries made of HOME when they were imported is made of the asker's. A toolkit that is not this one, or that
has changed since, is imported anew.

A command of it is in the session, process group and limits of the server, so only `Site.run` asks it, and only for
plain commands: what is given limits, rights, a terminal or signals has a Python that is started for it.
"""

import _socket  # and nothing else: `socket` doubles what it costs to ask
import marshal
import posix
import sys

#: Bytes before a question, and of an answer: a length, and an exit status.
_SIZE = 8


def ask(place: str, words: list[str]) -> int:
    """Have a command run, and return its exit status, or end as it ended."""
    server = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    server.connect(place)
    umask = posix.umask(0o077)
    question = marshal.dumps((words, dict(posix.environ), umask))
    here = posix.open(".", posix.O_RDONLY)
    files = b"".join(number.to_bytes(4, sys.byteorder) for number in (0, 1, 2, here))
    server.sendmsg([len(question).to_bytes(_SIZE)], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, files)])
    server.sendall(question)
    answer = server.recv(_SIZE, _socket.MSG_WAITALL)
    if not answer:
        sys.exit("the ready Python is gone")
    status = int.from_bytes(answer, signed=True)
    if status < 0:
        posix.kill(posix.getpid(), -status)
    return status


def serve(place: str) -> list[str]:
    """Fork for each question; return in the child, with the words of its command."""
    import contextlib
    import os
    import selectors
    import signal
    import socket

    listener = socket.socket(socket.AF_UNIX)
    listener.bind(place)
    listener.listen()
    asking: dict[int, tuple[int, socket.socket]] = {}
    with selectors.DefaultSelector() as events:
        events.register(listener, selectors.EVENT_READ, "question")
        events.register(sys.stdin, selectors.EVENT_READ, "end")  # of the tests
        while True:
            for key, _ in events.select():
                if key.data == "question":
                    connection, _ = listener.accept()
                    length, files, *_ = socket.recv_fds(connection, _SIZE, 4)
                    question = connection.recv(int.from_bytes(length), socket.MSG_WAITALL)
                    if not (process := os.fork()):
                        for end, other in asking.values():
                            os.close(end)
                            other.close()
                        connection.close()
                        listener.close()
                        return _become(marshal.loads(question), files)
                    for number in files:
                        os.close(number)
                    asking[process] = os.pidfd_open(process), connection
                    events.register(asking[process][0], selectors.EVENT_READ, process)
                elif key.data == "end":
                    for process in asking:
                        os.kill(process, signal.SIGKILL)
                    sys.exit()
                else:
                    end, connection = asking.pop(key.data)
                    events.unregister(end)
                    os.close(end)
                    _, status = os.waitpid(key.data, 0)
                    with contextlib.suppress(BrokenPipeError):  # the asking side was killed
                        connection.sendall(os.waitstatus_to_exitcode(status).to_bytes(_SIZE, signed=True))
                    connection.close()


def _become(question: tuple[list[str], dict[bytes, bytes], int], files: list[int]) -> list[str]:
    """Make this process what the one that asked is."""
    import os

    words, environment, umask = question
    *standard, here = files
    os.fchdir(here)
    for number, file in enumerate(standard):
        os.dup2(file, number)
    for file in files:
        os.close(file)
    os.umask(umask)
    os.environb.clear()
    os.environb.update(environment)
    sys.dont_write_bytecode = "PYTHONDONTWRITEBYTECODE" in os.environ
    sys.path[:0] = os.environ["PYTHONPATH"].split(":")
    return words


def _homes() -> list[tuple[type(sys), str, str]]:
    """Return what the libraries made of HOME: the module, the name there, and what follows the home."""
    import os

    libraries = [module for name, module in sys.modules.items() if name.startswith(("vos.", "cadcutils."))]
    texts = [(one, name, text) for one in libraries for name, text in vars(one).items() if isinstance(text, str)]
    home = os.path.expanduser("~")
    return [(one, name, text.removeprefix(home)) for one, name, text in texts if text.startswith(home)]


def _adapt(homes: list[tuple[type(sys), str, str]], toolkit: dict[str, int]) -> None:
    """Make what was imported what it would be if it were imported now; `toolkit` has the mtime of each file of it.

    A look at all that was imported would make this process copy the memory that it shares with the server.
    """
    import os

    for module, name, text in homes:
        setattr(module, name, os.path.expanduser("~") + text)
    if not all(file.startswith(sys.path[0]) and os.stat(file).st_mtime_ns == mtime for file, mtime in toolkit.items()):
        for name in [name for name in sys.modules if name.partition(".")[0] == "retrieve"]:
            del sys.modules[name]


def main(place: str, *words: str) -> None:
    """Ask where there is something to ask for; else be ready, and in a child the command."""
    if words:
        sys.exit(ask(place, list(words)))
    import gc
    import importlib
    import pkgutil
    import runpy

    import retrieve
    from support import watched

    for module in pkgutil.walk_packages(retrieve.__path__, "retrieve."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for library in "astropy.io.fits", "isal.igzip", "vos.vos":
        importlib.import_module(library)
    watched.watch()
    del sys.path[:2]  # where the toolkit and the tests are
    homes = _homes()
    files = [module.__file__ for name, module in sys.modules.items() if name.partition(".")[0] == "retrieve"]
    toolkit = {file: posix.stat(file).st_mtime_ns for file in files}
    gc.collect()
    gc.freeze()
    print("ready", flush=True)
    sys.argv = serve(place)
    _adapt(homes, toolkit)
    sys.modules.pop(sys.argv[0], None)
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
