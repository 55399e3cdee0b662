"""The reference is what the code says: its tables come from it, and the keys of the JSON results are those it names."""

from __future__ import annotations

import importlib
import io
import json
import pkgutil
import re
from contextlib import chdir, redirect_stdout
from pathlib import Path

import pytest

from retrieve import commands
from retrieve.settings import Settings
from support.pages import documented_keys, keys
from support.site import HERE, Site
from tables import PLACE, filled

PAGES = [page for page in sorted(HERE.glob("docs/*/*.md")) if PLACE.search(page.read_text())]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_tables_are_as_the_code_has_them(page: Path) -> None:
    assert page.read_text() == filled(page.read_text()), "run 'make settings'"


def test_the_page_on_json_has_each_command() -> None:
    page = (HERE / "docs/reference/json.md").read_text().partition("## `make status`")[0]
    rows = re.findall(r"^\| `([a-z]+)` \|", page, re.MULTILINE)
    assert sorted([*rows, "status"]) == [one.name for one in pkgutil.iter_modules(commands.__path__)]


def test_the_keys_of_the_json_results_are_those_of_the_page(site: Site, vault: str) -> None:
    """Of those that need no process; the tests of the others look at theirs."""
    site.begin("unpacked", vault)
    for verb in ("download", "missing", "link", "manifest", "report", "map"):
        module = importlib.import_module(f"retrieve.commands.{verb}")
        # To draw takes a second, and tells no more.
        act = module.foretell if verb in ("report", "map") else module.main
        with chdir(site.directory), redirect_stdout(io.StringIO()) as out:
            act(Settings.parse(["FORMAT=json", "V=quiet"]))
        assert keys(json.loads(out.getvalue())) == documented_keys(verb)
