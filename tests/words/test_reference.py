"""The reference is what the code says: its tables come from it, and the keys of the JSON results are those it names."""

from __future__ import annotations

import importlib
import io
import json
import os
from contextlib import chdir, redirect_stdout
from pathlib import Path

import pytest

from retrieve.settings import Settings
from support.pages import documented_keys, keys
from support.site import HERE, Site
from tables import PLACE, filled

PAGES = [page for page in sorted(HERE.glob("docs/*/*.md")) if PLACE.search(page.read_text())]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_the_tables_are_as_the_code_has_them(page: Path) -> None:
    assert page.read_text() == filled(page.read_text()), "run 'make settings'"


def test_the_keys_of_the_json_results_are_those_of_the_page(site: Site, vault: str) -> None:
    site.begin("unpacked", vault)
    os.unlink(next((site.directory / "output").rglob("final_cat-*.fits")))
    results = {verb: site.json(verb) for verb in ("avail", "doctor", "verify", "untar")}
    # The others ask nobody, and need no process of their own.
    for verb in ("download", "missing", "link", "manifest", "report", "map"):
        module = importlib.import_module(f"retrieve.commands.{verb}")
        with chdir(site.directory), redirect_stdout(io.StringIO()) as out:
            module.main(Settings.parse(["FORMAT=json", "V=quiet"]))
        results[verb] = json.loads(out.getvalue())
    assert {verb: keys(result) for verb, result in results.items()} == {verb: documented_keys(verb) for verb in results}
