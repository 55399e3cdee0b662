"""Make: how our own Makefile is called from here, and where the checkout is."""

from __future__ import annotations

import os
from pathlib import Path

#: The exact versions of the packages.
LOCK = Path(__file__).resolve().parents[3] / "requirements.txt"


def make_command() -> list[str]:
    """The Make that runs this, otherwise the first one on the PATH, with the toolkit's Makefile."""
    return [os.environ.get("GNU_MAKE", "make"), "-f", str(LOCK.with_name("Makefile"))]
