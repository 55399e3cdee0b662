"""`doctor`: ask whether what a run needs is there, and say what to do about what is not."""

from __future__ import annotations

from retrieve.campaign.checkup import examine, tell
from retrieve.settings import Settings


def main(settings: Settings) -> int:
    """Print a line per question; exit status 1 if something is not well."""
    settings.product_set()
    return tell(examine(settings), settings)
