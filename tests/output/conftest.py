"""What the tests of unpacking share."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.site import Site


@pytest.fixture
def here(memory_disk: Path) -> Site:
    """A run directory where a sync costs nothing."""
    (memory_disk / "output").mkdir()
    return Site(memory_disk)
