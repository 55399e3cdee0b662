"""Fixtures that the tests of this folder share."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from support.site import TILES, Site
from vospace_demo.results import make_many


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the archives of three tiles."""
    directory = tmp_path_factory.mktemp("source")
    make_many(directory, TILES[:3], "mccd")
    return directory


@pytest.fixture(scope="module")
def synced(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory in which these tiles are unpacked."""
    directory = tmp_path_factory.mktemp("synced")
    site = Site(directory, {"PATH": os.environ["PATH"], "HOME": str(directory), "PYTHON": sys.executable})
    site.list_tiles(*TILES[:3])
    site.done("sync", f"INPUT_PATH={source}")
    return directory


@pytest.fixture
def home(site: Site, synced: Path) -> Site:
    """A copy of it."""
    shutil.copytree(synced, site.directory, dirs_exist_ok=True)
    return site
