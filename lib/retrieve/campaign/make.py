"""Make: how our own Makefile is called from here, and where the toolkit is."""

from __future__ import annotations

import os
from pathlib import Path

#: Where the toolkit is: a checkout, or what pip installed of one.
TOOLKIT = Path(__file__).resolve().parents[3]
#: The exact versions of the packages, in a checkout; what pip installed says itself what it needs, by its name.
LOCK = TOOLKIT / "requirements.txt"
PACKAGE = "shapepipe-retrieve"


def make_command() -> list[str]:
    """The Make that runs this, otherwise the first one on the PATH, with the toolkit's Makefile."""
    return [os.environ.get("GNU_MAKE", "make"), "-f", str(TOOLKIT / "Makefile")]
