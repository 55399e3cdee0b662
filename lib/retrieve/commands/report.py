"""`report`: a page that shows where every tile stands."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from retrieve.host.disk import write_whole
from retrieve.host.messages import show
from retrieve.report.page import look, page, shares
from retrieve.settings import Settings

#: The file that is written.
FILE = Path("report.html")


def main(settings: Settings) -> int:
    """Write the page; no network is needed, and no lock: nothing else is changed."""
    found = look(settings)
    write_whole(FILE, page(found, settings, datetime.now(UTC)))
    show(settings, [f"{FILE}: {shares(found)}"], {"file": str(FILE), "tiles": found.counts()})
    return 0
