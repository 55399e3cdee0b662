"""Messages: the result of a command, on stdout as lines or as JSON; problems and remarks, on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping

from retrieve.settings import Settings


def show(settings: Settings, text: Iterable[str], data: Mapping[str, object]) -> None:
    """Print the result in the format that is set."""
    if settings.format == "json":
        print(json.dumps(data, indent=2))
    else:
        for line in text:
            print(line)


def complain(problem: str) -> None:
    """Print one problem; at once, since it may come long before the end."""
    print(problem, file=sys.stderr, flush=True)


def remark(settings: Settings, line: str) -> None:
    """Print what is no problem to stderr, unless nothing but problems is to be told."""
    if not settings.quiet:
        complain(line)
