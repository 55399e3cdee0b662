"""Names that Cavern fails at: told as that at the first answer, and no matter on Vault."""

from __future__ import annotations

import os
from pathlib import Path

from support.making import ours
from support.site import TILES, Site
from vospace_demo.server import VOSpace

ODD = "the server answered 500, as Cavern does to a space or '%' in a name; ask its owner to rename it"
PRODUCTS = "PRODUCTS=a%b_{tile}.fits"


def make_odd(directory: Path) -> None:
    directory.mkdir()
    for tile in TILES[:2]:
        (directory / f"a%b_{tile}.fits").write_bytes(b"SIMPLE  =                    T")
        os.utime(directory / f"a%b_{tile}.fits", (1_628_162_732,) * 2)


def test_an_archive_with_a_percent_sign_in_its_name(site: Site, at: str, space: VOSpace, container: Path) -> None:
    make_odd(container.parent / "odd")
    at = at.replace("results", "odd")
    site.list_tiles(*TILES[:2])
    assert "2/2" in site.done("avail", f"INPUT_PATH={at}", PRODUCTS)
    site.list_tiles(*TILES[:2], "300.300")
    absent = site.make("avail")
    space.forget()
    fetched = site.make("download", "JOBS=1", "V=quiet")
    if at.startswith("vos"):
        assert (absent.returncode, absent.stderr) == (0, "")
        return
    assert ours(absent)[-1] == f"cannot look up 'a%b_300.300.fits': {ODD}"
    assert ours(fetched)[:2] == [f"cannot fetch 'a%b_{tile}.fits': {ODD}" for tile in TILES[:2]]
    assert space.requests().routes["files"] == 2


def test_a_container_with_a_percent_sign_in_its_name(site: Site, at: str, space: VOSpace, container: Path) -> None:
    container.rename(container.with_name("a%b"))
    at = at.replace("results", "a%b")
    site.list_tiles(*TILES)
    result = site.make("avail", f"INPUT_PATH={at}")
    if at.startswith("vos"):
        assert "10/10" in result.stdout
        return
    assert ours(result) == [f"cannot list '{at}': {ODD}"]
    assert space.requests().routes["nodes"] == 1
