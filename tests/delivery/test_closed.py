"""Containers that may not be read any more when their archives are to be fetched."""

from __future__ import annotations

import pytest

from support.making import ours
from support.site import RESULTS, TILES, Site
from vospace_demo.faults import Fault
from vospace_demo.server import VOSpace

ABOVE, _, NODE = RESULTS.rpartition("/")
NO_CERTIFICATE = "without a certificate; make one with 'cadc-get-cert -u USER'"


def long_form(at: str, path: str) -> str:
    """URI of a path of the same service, as the service writes it."""
    return f"vos://cadc.nrc.ca~{'arc' if at.startswith('arc') else 'vault'}/{path}"


@pytest.mark.parametrize("closed", [RESULTS, ABOVE])
def test_the_first_answer_names_the_container_that_is_closed(closed: str, site: Site, at: str, space: VOSpace) -> None:
    site.list_tiles(*TILES)
    site.done("avail", f"INPUT_PATH={at}")
    space.tree.private = frozenset([closed])
    space.forget()
    result = site.make("download", "JOBS=1", "V=quiet")
    assert result.returncode == 2
    assert ours(result)[0] == f"cannot read '{long_form(at, closed)}': access refused {NO_CERTIFICATE}"
    # The client knows the service from the listing a moment ago.
    assert space.requests().routes.items() - {("registry", 1), ("capabilities", 1)} == {("files", 1)}


def test_a_refusal_that_names_no_container_leads_to_a_look_at_it(site: Site, at: str, space: VOSpace) -> None:
    site.list_tiles(*TILES)
    site.done("avail", f"INPUT_PATH={at}")
    space.fault(Fault("status", route="files", status=403, count=-1))
    space.fault(Fault("unreadable", node=NODE))
    result = site.make("download", "JOBS=1", "V=quiet")
    assert result.returncode == 2
    assert ours(result)[0] == f"cannot read '{at}': you may not read it {NO_CERTIFICATE}"


def test_avail_names_the_container_above_that_is_closed(site: Site, at: str, space: VOSpace) -> None:
    site.list_tiles(*TILES)
    space.tree.private = frozenset([ABOVE])
    (line,) = ours(site.make("avail", f"INPUT_PATH={at}"))
    assert line == f"cannot list '{at}': cannot read '{long_form(at, ABOVE)}': access refused {NO_CERTIFICATE}"
