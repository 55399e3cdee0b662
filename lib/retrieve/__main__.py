"""`bin/retrieve VERB NAME=value …`: a verb of `commands` with the settings that Make passes on."""

from __future__ import annotations

import importlib
import logging
import pkgutil
import signal
import sys

from retrieve import commands
from retrieve.errors import RetrieveError
from retrieve.settings import Settings


def main(words: list[str]) -> int:
    """Run one verb and return its exit status: 0 done, 1 some tiles failed, 2 it could not start."""
    verbs = [module.name for module in pkgutil.iter_modules(commands.__path__)]
    if not words or words[0] not in verbs:
        print(f"usage: retrieve {{{','.join(verbs)}}} [NAME=value ...]; see 'make help'", file=sys.stderr)
        return 2
    # The libraries' log is not for users: what matters of it becomes a message of ours.
    logging.getLogger().addHandler(logging.NullHandler())
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        settings = Settings.parse(words[1:])
        return importlib.import_module(f"retrieve.commands.{words[0]}").main(settings)
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
    except OSError as error:
        print(f"cannot use '{error.filename}': {error.strerror}; check its permissions and space", file=sys.stderr)
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
