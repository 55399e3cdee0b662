"""Listings that are asked for in the process of the tests: faster than `make avail`, and what no user sets can be."""

from __future__ import annotations

import io
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, replace

import pytest

from retrieve.commands import avail
from retrieve.settings import Settings
from support.site import Site


@dataclass(frozen=True)
class Told:
    """What `avail` prints, and what it complains about."""

    text: str
    problems: str


def ask(*words: str, **own: int) -> Told:
    """List as `make avail` does, in this very process; what ends it is raised.

    `own` are values of `Settings` that no user gives.
    """
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        assert avail.main(replace(Settings.parse(["INSECURE=yes", *words]), **own)) == 0
    return Told(out.getvalue(), err.getvalue())


def listed(*words: str, **own: int) -> str:
    """List, which must succeed without a complaint; return what is printed."""
    told = ask(*words, **own)
    assert told.problems == ""
    return told.text


def lead(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lead this process where a run directory's environment leads; nothing of the tester's own HOME is used."""
    monkeypatch.chdir(site.directory)
    for name in ("HOME", "VOSPACE_WEBSERVICE"):
        monkeypatch.setenv(name, site.environment[name])
    # Both were worked out when they were imported.
    monkeypatch.setattr("cadcutils.net.ws.CACHE_LOCATION", f"{site.environment['HOME']}/.config/cadc-registry")
