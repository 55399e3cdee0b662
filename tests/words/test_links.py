"""Links between the pages: those within docs/ are checked by its builder, these are the others."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from support.site import HERE

OUTSIDE = sorted(HERE.glob("*.md"))
PAGES = [*OUTSIDE, *HERE.glob("docs/**/*.md")]
LINK = re.compile(r"\]\(([^)\s]+)\)")


@pytest.mark.parametrize("page", OUTSIDE, ids=lambda page: page.name)
def test_a_link_from_outside_of_the_site_leads_to_a_file(page: Path) -> None:
    links = [link for link in LINK.findall(page.read_text()) if "//" not in link]
    assert [link for link in links if not (page.parent / link).is_file()] == []


def test_a_link_to_another_site_has_the_form_of_one() -> None:
    """Whether it is there cannot be told without the network."""
    links = {link for page in PAGES for link in re.findall(r"https?://[^\s)>`'\"]+", page.read_text())}
    for link in links:
        parts = urlsplit(link)
        assert parts.scheme == "https", link
        assert re.fullmatch(r"[a-z0-9-]+(\.[a-z0-9-]+)+", parts.netloc), link
