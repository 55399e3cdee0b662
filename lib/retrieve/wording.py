"""Wording: how sizes, counts, shares, times and tables are written for people."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime


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


def printable(text: str) -> str:
    """Write a name from elsewhere without raw control characters, which a terminal would obey."""
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)


def span(seconds: float) -> str:
    """Write a time for people: ``40 s``, ``12 min``, ``3 h 20 min``, ``2 days``."""
    minutes = round(seconds / 60)
    if seconds < 90:
        return f"{seconds:.0f} s"
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60} min" if minutes < 48 * 60 else some(minutes // (24 * 60), "day")


def lifetime(ends: datetime) -> str:
    """Write how long something lasts: in days, or in hours if it is less than two days."""
    hours = int((ends - datetime.now(UTC)).total_seconds() // 3600)
    return some(hours // 24, "day") if hours >= 48 else some(hours, "hour")
