"""The result of a command, on stdout: lines for people, or JSON for programs; problems, on stderr."""

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


def table(rows: Iterable[tuple[str, ...]]) -> list[str]:
    """Write rows in columns, below a line that says what they are: the first to the left, the others to the right."""
    columns = list(zip(*rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    return [
        "  " + "  ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])])
        for row in zip(*columns, strict=True)
    ]


def size(count: float) -> str:
    """Write a number of bytes for people, in powers of 1000: ``1.2 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    return f"{count:.1f} TB"


def share(part: int, whole: int) -> str:
    """Write a part of a whole: ``203/214 (94.9%)``."""
    return f"{part}/{whole} ({100 * part / max(whole, 1):.1f}%)"


def some(count: int, noun: str) -> str:
    """Write a count with its noun: ``1 tile``, ``12 tiles``."""
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
