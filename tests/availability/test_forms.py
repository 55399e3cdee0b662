"""How tile numbers stand in the file names of a pattern: read from what the source has."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from retrieve.availability.forms import form_of, numbers_in
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
        (["182.308", "183.308", "184-308"], "182.308"),
        (["182_308", "7_92", "8_92", "007_093"], "7_92"),
    ],
)
def test_the_form_is_that_of_most_numbers(numbers: list[str], form: str | None) -> None:
    assert form_of(numbers) == form
    tiles = ["182.308", "007.092"]
    assert form is None or [FORMS[form].read(FORMS[form].write(tile)) for tile in tiles] == tiles


def test_where_no_number_tells_the_form_that_is_known_holds() -> None:
    assert form_of(["182_308"], "182_308") == form_of([], "182_308") == "182_308"
    assert form_of(["7_92"], "182_308") == "7_92"


@pytest.mark.parametrize(
    ("numbers", "problem"),
    [
        (["182.308", "182-308"], "'a_182.308.fits' and 'a_182-308.fits' are both of one tile; "),
        (["7_92", "007_092"], "'a_7_92.fits' and 'a_007_092.fits' are both of one tile; "),
        (["7_92", "8-92", "007.092"], "'a_7_92.fits' and 'a_007.092.fits' are both of one tile; "),
    ],
)
def test_two_names_of_one_tile_are_an_error_that_names_both(numbers: list[str], problem: str) -> None:
    product = product_set("mccd", "a_{tile}.fits").loose().products[0]
    with pytest.raises(SourceError) as caught:
        numbers_in(product, [f"a_{number}.fits" for number in numbers])
    assert str(caught.value).startswith(problem)
    assert numbers_in(product, ["a_1.308.fits", "a_1820_308.fits", "a_182.308.fits"]) == {"a_182.308.fits": "182.308"}


@pytest.fixture
def catalogues(tmp_path: Path) -> Path:
    """A container of three catalogues and much else."""
    root = tmp_path / "space/cfis/catalogues"
    root.mkdir(parents=True)
    for number in ("7_92", "182_308", "217_292"):
        (root / f"calexp-CFIS_{number}.cat").write_text(number)
    for other in range(400):
        (root / f"other-{other}.txt").touch()
    return root


@pytest.fixture
def space(tmp_path: Path, catalogues: Path, site: Site) -> Iterator[VOSpace]:
    """The space that serves them; the run directory is led to it, and lists a tile more than there are."""
    assert catalogues.is_dir()
    site.list_tiles(*TILES, "300.300")
    with VOSpace(tmp_path / "space") as served:
        site.environment |= served.environment() | {"INSECURE": "yes", "PRODUCTS": CATALOGUES}
        yield served


@pytest.mark.parametrize("verb", ["download", "sync", "watch"])
def test_whoever_lists_goes_on_with_the_form_that_was_found(
    verb: str, site: Site, catalogues: Path, space: VOSpace
) -> None:
    site.done("-s", verb, "INPUT_PATH=vos:cfis/catalogues", "TILES=all")
    assert sorted(path.name for path in (site.directory / "archives").iterdir()) == sorted(
        path.name for path in catalogues.glob("calexp*")
    )
    assert site.done("status").startswith("all: 3/3 (100.0%) here\n")


def test_a_stray_name_in_another_form_is_told_and_does_not_count(site: Site, catalogues: Path, space: VOSpace) -> None:
    (catalogues / "calexp-CFIS_300.300.cat").write_text("stray")
    result = site.make("avail", "INPUT_PATH=vos:cfis/catalogues", "TILES=all")
    assert (result.returncode, ours(result)) == (
        0,
        ["'calexp-CFIS_300.300.cat' does not count: most such names have a number like 7_92"],
    )
    assert "  calexp-CFIS_{tile}.cat  3\n" in result.stdout


@pytest.mark.parametrize("kind", ["vos", "arc"])
@pytest.mark.parametrize("tiles", [("TILES=all",), ()], ids=["all", "list"])
def test_catalogues_without_leading_zeros_come_home(
    kind: str, tiles: tuple[str], site: Site, catalogues: Path, space: VOSpace
) -> None:
    words = [f"INPUT_PATH={kind}:cfis/catalogues", *tiles]
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
    (catalogues / "calexp-CFIS_007_092.cat").touch()
    result = site.make("avail", "TILES=all")
    assert result.returncode == 2
    assert "'calexp-CFIS_7_92.cat'" in ours(result)[0]
    assert "are both of one tile" in ours(result)[0]


def test_two_containers_have_one_form_though_one_does_not_tell(site: Site, space: VOSpace, catalogues: Path) -> None:
    other = catalogues.with_name("others")
    other.mkdir()
    for path in catalogues.glob("calexp*"):
        path.unlink()
    for place, number in ((catalogues, "182_308"), (catalogues, "217_292"), (other, "007_092"), (other, "182_308")):
        (place / f"calexp-CFIS_{number}.cat").write_text(number)
    told = site.done("avail", "INPUT_PATH=vos:cfis/catalogues vos:cfis/others", "TILES=all")
    assert "  calexp-CFIS_{tile}.cat  3\n" in told
    assert "3 archives fetched" in site.done("download")
