"""What the tests of listings share."""

from __future__ import annotations

import pytest

from support.listing import lead
from support.site import Site
from vospace_demo.server import VOSpace


@pytest.fixture
def here(site: Site, space: VOSpace, monkeypatch: pytest.MonkeyPatch) -> VOSpace:
    """The embedded VOSpace, to which this process is led."""
    site.environment |= space.environment() | {"INSECURE": "yes"}
    lead(site, monkeypatch)
    return space
