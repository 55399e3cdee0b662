"""`report`: a page that shows where every tile stands, and what is covered, for other programs."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from retrieve.host.disk import write_whole
from retrieve.host.messages import show
from retrieve.report import coverage
from retrieve.report.page import groups, look, page, shares
from retrieve.settings import Settings
from retrieve.standing.survey import Survey, goal
from retrieve.wording import some

#: The page.
FILE = Path("report.html")


def main(settings: Settings) -> int:
    """Write the page and the coverage; no network is needed, and no lock: nothing else is changed."""
    found, files = look(settings), coverage.files(settings)
    write_whole(FILE, page(found, settings, datetime.now(UTC)))
    coverage.write(files, _covered(found, settings))
    return _tell(found, files, "", settings)


def foretell(settings: Settings) -> int:
    """Say what they would show."""
    return _tell(look(settings), coverage.files(settings), ", to be written", settings)


def _covered(found: Survey, settings: Settings) -> list[str]:
    # Two jobs may have the same tile.
    return [*dict.fromkeys(groups(found)[goal(settings)])]


def _tell(found: Survey, files: list[Path], what: str, settings: Settings) -> int:
    text = [f"{FILE}{what}: {shares(found)}"]
    if files:
        text.append(
            f"{', '.join(map(str, files))}{what}: {some(len(_covered(found, settings)), 'tile')} {goal(settings)}"
        )
    show(settings, text, {"file": str(FILE), "coverage": [*map(str, files)], "tiles": found.counts()})
    return 0
