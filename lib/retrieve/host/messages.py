"""Messages: the result of a command, on stdout as lines or as JSON; problems and remarks, on stderr."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping

from retrieve import VERSION
from retrieve.settings import Settings
from retrieve.wording import some

#: Lines of a kind that are shown without V=1.
_SHOWN = 20


def show(settings: Settings, text: Iterable[str], data: Mapping[str, object]) -> None:
    """Print the result in the format that is set."""
    if settings.format == "json":
        print(json.dumps({"version": VERSION, **data}, indent=2))
    else:
        for line in text:
            print(line)


def shorten(settings: Settings, lines: list[str], noun: str) -> list[str]:
    """Keep the first lines of many and say how many more there are; V=1 keeps them all."""
    if settings.v or len(lines) <= _SHOWN:
        return lines
    return [*lines[:_SHOWN], f"… and {some(len(lines) - _SHOWN, f'more {noun}')}; V=1 shows all"]


def complain(problem: str) -> None:
    """Print one problem; at once, since it may come long before the end."""
    print(problem, file=sys.stderr, flush=True)


def remark(settings: Settings, line: str) -> None:
    """Print what is no problem to stderr, unless nothing but problems is to be told."""
    if not settings.quiet:
        complain(line)
