"""`bin/retrieve VERB NAME=value …`: a verb of `commands` with the settings that Make passes on."""

from __future__ import annotations

import gc
import importlib
import logging
import os
import pkgutil
import signal
import sys
from collections.abc import Callable
from dataclasses import replace

from retrieve import commands
from retrieve.errors import RetrieveError, remedy
from retrieve.settings import Settings
from retrieve.shards import shard_of


def main(words: list[str]) -> int:
    """Run one verb and return its exit status: 0 done, 1 some tiles failed, 2 it could not start."""
    verbs = [module.name for module in pkgutil.iter_modules(commands.__path__)]
    if not words or words[0] not in verbs:
        print(f"usage: retrieve {{{','.join(verbs)}}} [NAME=value ...]; see 'make help'", file=sys.stderr)
        return 2
    return guarded(lambda: importlib.import_module(f"retrieve.commands.{words[0]}").main(_settings(*words)))


def _settings(verb: str, *words: str) -> Settings:
    settings = Settings.parse(words)
    return replace(settings, shard=shard_of(verb, settings.shard, os.environ))


def guarded(command: Callable[[], int]) -> int:
    """Run a command as a program: what goes wrong becomes one line on stderr and an exit status."""
    # What is imported stays: to look through it for garbage again and again is a tenth of the time to start.
    gc.set_threshold(100_000)
    # The libraries' log is not for users: what matters of it becomes a message of ours.
    logging.getLogger().addHandler(logging.NullHandler())
    for number in (signal.SIGINT, signal.SIGTERM):
        # What a shell starts in the background is to ignore Ctrl-C, and does.
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _stop)
    try:
        status = command()
        sys.stdout.flush()
        return status
    except RetrieveError as error:
        print(error, file=sys.stderr)
    except ModuleNotFoundError as error:
        if error.name and error.name.startswith("retrieve"):
            raise
        print(
            f"'{sys.executable}' lacks the package '{error.name}'; install what requirements.txt lists, or leave "
            "PYTHON to the Makefile",
            file=sys.stderr,
        )
    except BrokenPipeError:
        # Who reads our output has seen enough; what is not written yet must not be tried again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except OSError as error:
        what = f"cannot use '{error.filename}'" if error.filename else "cannot go on"
        print(f"{what}: {remedy(error)}", file=sys.stderr)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    finally:
        # Nor does it have to be looked through at the end, when the process gives back all it has: 50 ms.
        gc.freeze()
    return 2


def _stop(number: int, _: object) -> None:
    """End: what is under way is given up, and where it stands is said, undisturbed by a second signal."""
    for one in (signal.SIGINT, signal.SIGTERM):
        signal.signal(one, signal.SIG_IGN)
    if number == signal.SIGINT:
        raise KeyboardInterrupt
    raise SystemExit(128 + number)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
