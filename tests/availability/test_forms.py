"""How tile numbers stand in the file names of a pattern: read from what the source has."""

from __future__ import annotations

from pathlib import Path

import pytest

from retrieve.availability.forms import form_of
from retrieve.errors import SourceError
from retrieve.products import product_set
from retrieve.tiles import FORMS
from support.making import ours
from support.site import Site
from vospace_demo.server import VOSpace

TILES = ("007.092", "182.308", "217.292")
CATALOGUES = "calexp-CFIS_{tile}.cat"


@pytest.mark.parametrize(
    ("numbers", "form"),
    [
        (["182.308", "007.092"], "182.308"),
        (["182-308"], "182-308"),
        (["182_308", "007_092"], "182_308"),
        (["182_308", "7_92"], "7_92"),
        (["182_308"], "7_92"),
        ([], None),
        (["1.308", "1820_308"], None),
    ],
)
def test_the_form_is_that_of_all_names(numbers: list[str], form: str | None) -> None:
    product = product_set("mccd", CATALOGUES).loose().products[0]
    assert form_of(product, [CATALOGUES.format(tile=number) for number in numbers]) == form
    tiles = ["182.308", "007.092"]
    assert form is None or [FORMS[form].read(FORMS[form].write(tile)) for tile in tiles] == tiles


@pytest.mark.parametrize(
    ("numbers", "problem"),
    [
        (["182.308", "182-308"], "'a_182.308.fits' and 'a_182-308.fits' are both of one tile; "),
        (["7_92", "007_092"], "'a_7_92.fits' and 'a_007_092.fits' are both of one tile; "),
        (["182.308", "183-308"], "'a_182.308.fits' and 'a_183-308.fits' have tile numbers in two forms; "),
        (["182_308", "7_92", "007_093"], "'a_7_92.fits' and 'a_007_093.fits' have tile numbers in two forms; "),
    ],
)
def test_two_forms_are_an_error_that_names_both(numbers: list[str], problem: str) -> None:
    product = product_set("mccd", "a_{tile}.fits").loose().products[0]
    with pytest.raises(SourceError) as caught:
        form_of(product, [f"a_{number}.fits" for number in numbers])
    assert str(caught.value).startswith(problem)


@pytest.mark.parametrize("kind", ["vos", "arc"])
@pytest.mark.parametrize("tiles", [("TILES=all",), ()], ids=["all", "list"])
def test_catalogues_without_leading_zeros_come_home(kind: str, tiles: tuple[str], site: Site, tmp_path: Path) -> None:
    root = tmp_path / "space/cfis/catalogues"
    root.mkdir(parents=True)
    for number in ("7_92", "182_308", "217_292"):
        (root / f"calexp-CFIS_{number}.cat").write_text(number)
    for other in range(400):
        (root / f"other-{other}.txt").touch()
    site.list_tiles(*TILES, "300.300")
    with VOSpace(tmp_path / "space") as space:
        site.environment |= space.environment() | {"INSECURE": "yes"}
        words = [f"PRODUCTS={CATALOGUES}", f"INPUT_PATH={kind}:cfis/catalogues", *tiles]
        assert "  calexp-CFIS_{tile}.cat  3\n" in site.done("avail", *words)
        assert "3 archives fetched" in site.done("download")
        assert (site.directory / "archives/calexp-CFIS_7_92.cat").read_text() == "7_92"
        stamped = {f"{state}/{tile}" for state in ("available", "downloaded") for tile in TILES}
        assert stamped <= site.stamps("files").keys()
        assert ("incomplete/300.300" in site.stamps("files")) == (not tiles)
        assert site.done("download") == "nothing to fetch\n"
        assert site.done("status").splitlines()[0].split(": ")[1].startswith("3/")
        if not tiles:
            assert "300.300: not at the source: calexp-CFIS_300_300.cat" in site.done("missing")
        space.forget()
        site.done("avail")
        if kind == "arc" and not tiles:
            # By name, now that the form is known.
            assert space.requests().nodes["nodes", "calexp-CFIS_7_92.cat"] == 1
        (root / "calexp-CFIS_007_092.cat").touch()
        result = site.make("avail", "TILES=all")
        assert result.returncode == 2
        assert "'calexp-CFIS_7_92.cat'" in ours(result)[0]
        assert "are both of one tile" in ours(result)[0]
