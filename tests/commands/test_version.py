"""The version of the toolkit: told wherever somebody may ask for it, and written in one place."""

from __future__ import annotations

import json
import re

import pytest

from retrieve import VERSION
from support.site import HERE, RESULTS, Site
from vospace_demo.server import VOSpace


def test_it_is_told_by_make_without_anything_else(site: Site) -> None:
    site.environment.pop("PYTHON")
    assert site.done("version") == f"retrieve {VERSION}\n"
    assert re.search("^ *version +which version", site.done("help-all"), re.M)


@pytest.mark.parametrize("command", ["retrieve", "canfar_avail_results", "canfar_download_results", "untar_results"])
def test_it_is_told_by_each_command_that_is_asked_for_help(command: str, site: Site) -> None:
    for option in ("-h", "--help"):
        result = site.run(str(HERE / "bin" / command), option)
        assert (result.returncode, result.stderr) == (0, "")
        assert result.stdout.endswith(f"version {VERSION}\n")


def test_it_is_in_what_is_written_for_others(site: Site, space: VOSpace) -> None:
    site.begin("downloaded", f"vos:{RESULTS}")
    assert site.json("status")["version"] == VERSION
    site.done("manifest")
    assert f"{{toolkit: retrieve {VERSION}}}" in (site.directory / "manifest.ecsv").read_text()
    [*_, last] = (site.directory / "stamps/mccd/runs.jsonl").read_text().splitlines()
    assert json.loads(last)["version"] == VERSION


def test_who_cites_it_cites_this_version() -> None:
    assert f"\nversion: {VERSION}\n" in (HERE / "CITATION.cff").read_text()
    assert f"\n## [{VERSION}]" in (HERE / "CHANGELOG.md").read_text()
