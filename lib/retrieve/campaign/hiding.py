"""Hiding: what a report to others should not hold, such as names of people and of files with credentials."""

from __future__ import annotations

import getpass
import os
import re
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from retrieve.settings import Settings

#: A container or a node of one, which may be named after its owner.
_URI = r"\b(?:vos|vault|arc):[^\s';]+"


def hide_from(settings: Settings) -> Callable[[str], str]:
    """Make what puts stand-ins in the place of containers, files of credentials, the home directory and user names."""
    environment = {name: os.environ.get(name, "") for name in ("VOSPACE_CERTFILE", "CANFAR_TOKEN", "USER", "LOGNAME")}
    hidden = dict.fromkeys((environment["USER"], environment["LOGNAME"]), "USER")
    with suppress(KeyError, OSError):  # nobody that the system knows
        hidden[getpass.getuser()] = "USER"
    with suppress(RuntimeError):  # no home directory
        home = Path.home()
        hidden |= {home.name: "USER", str(home).rstrip("/"): "~"}
    hidden |= dict.fromkeys((settings.certfile, environment["VOSPACE_CERTFILE"]), "CERTFILE")
    hidden |= dict.fromkeys((settings.token, environment["CANFAR_TOKEN"]), "TOKEN")
    words = (re.escape(word) for word in sorted(hidden, key=len, reverse=True) if word)
    pattern = re.compile("|".join([_URI, *(rf"(?<!\w){word}(?!\w)" for word in words)]))
    return partial(pattern.sub, lambda match: hidden.get(match[0], "INPUT_PATH"))
