"""`report`: a page that shows where every tile stands."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from retrieve.host.disk import write_whole
from retrieve.host.messages import show
from retrieve.report.page import look, page, shares
from retrieve.settings import Settings
from retrieve.standing.survey import Survey

#: The file that is written.
FILE = Path("report.html")


def main(settings: Settings) -> int:
    """Write the page; no network is needed, and no lock: nothing else is changed."""
    found = look(settings)
    write_whole(FILE, page(found, settings, datetime.now(UTC)))
    return _tell(found, f"{FILE}", settings)


def foretell(settings: Settings) -> int:
    """Say what the page would show."""
    return _tell(look(settings), f"{FILE}, to be written", settings)


def _tell(found: Survey, heading: str, settings: Settings) -> int:
    show(settings, [f"{heading}: {shares(found)}"], {"file": str(FILE), "tiles": found.counts()})
    return 0
