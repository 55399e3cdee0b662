"""`bin/retrieve VERB NAME=value …`: a verb of `commands` with the settings that Make passes on.

With DRYRUN=yes, its `foretell` takes the place of its `main`. It says what would be done, writes nothing and takes no
lock, so it works while another run is under way.
"""

from __future__ import annotations

import importlib
import os
import pkgutil
import sys
from dataclasses import replace

from retrieve import VERSION, commands
from retrieve.errors import SettingError
from retrieve.host.program import run
from retrieve.settings import Settings
from retrieve.shards import shard_of


def main(words: list[str]) -> int:
    """Run one verb and return its exit status: 0 done, 1 some tiles failed, 2 it could not start."""
    verbs = [module.name for module in pkgutil.iter_modules(commands.__path__)]
    usage = f"usage: retrieve {{{','.join(verbs)}}} [NAME=value ...], or retrieve make TARGET; see 'retrieve make help'"
    if words[:1] in (["-h"], ["--help"]):
        print(f"{usage}\nversion {VERSION}")
        return 0
    if words in (["version"], ["--version"]):
        print(f"retrieve {VERSION}")
        return 0
    if not words or words[0] not in verbs:
        print(usage, file=sys.stderr)
        return 2
    settings = _settings(*words)
    module = importlib.import_module(f"retrieve.commands.{words[0]}")
    if not settings.dryrun:
        return module.main(settings)
    if not hasattr(module, "foretell"):
        raise SettingError(f"'{words[0]}' has no dry run; leave out DRYRUN=yes")
    return module.foretell(settings)


def _settings(verb: str, *words: str) -> Settings:
    settings = Settings.parse(words)
    return replace(settings, shard=shard_of(verb, settings.shard, os.environ))


if __name__ == "__main__":
    run(f"retrieve {' '.join(sys.argv[1:2])}", lambda: main(sys.argv[1:]))
