"""`map`: the sky map of the report alone, for a slide."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from retrieve.errors import RetrieveError
from retrieve.host.messages import show
from retrieve.report.drawing import save, style
from retrieve.report.map import slide
from retrieve.report.page import groups, headline, look, shares, source
from retrieve.settings import Settings
from retrieve.standing.survey import Survey
from retrieve.tiles import TILE

#: The files that are written: for a screen, and for print.
FILES = Path("map.png"), Path("map.pdf")
#: Size of its text, in points.
_POINTS = 12


def main(settings: Settings) -> int:
    """Write the map; no network is needed, and no lock: nothing else is changed."""
    found = _look(settings)
    with style(_POINTS):
        figure = slide(groups(found), headline(found, settings), f"{source(settings)}\n{datetime.now(UTC):%-d %B %Y}")
        for path in FILES:
            save(figure, path)
    return _tell(found, "", settings)


def foretell(settings: Settings) -> int:
    """Say what the map would show."""
    return _tell(_look(settings), ", to be written", settings)


def _look(settings: Settings) -> Survey:
    if settings.unit is not TILE:
        raise RetrieveError(f"an {settings.unit.name}'s number tells no place on the sky; run 'make report'")
    return look(settings)


def _tell(found: Survey, what: str, settings: Settings) -> int:
    names = [str(path) for path in FILES]
    show(settings, [f"{', '.join(names)}{what}: {shares(found)}"], {"files": names, "tiles": found.counts()})
    return 0
