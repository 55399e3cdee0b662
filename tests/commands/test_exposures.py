"""Images of a patch, and the exposures that they were stacked from: products in containers of their own."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.making import ours, refused, tree
from support.pages import documented_keys, keys, shown_and_printed
from support.site import Site
from vospace_demo.faults import Fault
from vospace_demo.results import DEMO_TILES, EXPOSURE_NAMES, IMAGE_NAMES, exposures_of, make_images, make_patch
from vospace_demo.server import VOSpace

IMAGES = " ".join(f"vos:cfis/tiles_DR6/{name}" for name in IMAGE_NAMES)
EXPOSURES = " ".join(f"vos:cfis/{container}/{name}" for container, name in EXPOSURE_NAMES.items())
NUMBERS = sorted({str(one) for tile in DEMO_TILES for one in exposures_of(tile)})


@pytest.fixture(scope="module")
def made_patch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree of four containers, made once and then copied."""
    root = tmp_path_factory.mktemp("patch")
    make_patch(root)
    return root


@pytest.fixture
def patch(made_patch: Path, tmp_path: Path) -> Path:
    """The tree that is served."""
    return Path(shutil.copytree(made_patch, tmp_path / "patch"))


@pytest.fixture
def space(patch: Path, site: Site) -> Iterator[VOSpace]:
    """The space that serves it, the flags to members only; the run directory is led to it."""
    site.list_tiles(*DEMO_TILES)
    with VOSpace(patch, private=["cfis/flags"]) as served:
        site.environment |= served.environment() | {"INSECURE": "yes"}
        yield served


@pytest.fixture
def member(space: VOSpace, site: Site) -> Path:
    """The certificate of someone who may read all of it, in its usual place."""
    site.list_tiles(*NUMBERS, name="exposure_numbers.txt")
    site.environment |= {"TILES": "exposure_numbers.txt"}
    return space.client_certificate(Path(site.environment["HOME"]) / ".ssl/cadcproxy.pem")


def exposure_stamps(site: Site) -> dict[str, tuple[int, str]]:
    """The stamps of the exposures."""
    return site.stamps("exposures")


def test_the_page_tells_how_to_stage_a_patch(site: Site, space: VOSpace, member: Path, patch: Path) -> None:
    del site.environment["TILES"]
    (site.directory / "exposure_numbers.txt").unlink()
    shown, printed = shown_and_printed("docs/how-to/images.md", site)
    assert printed.replace("; the certificate is good for 9 days", "") == shown
    assert (site.directory / "exposure_numbers.txt").read_text().split() == NUMBERS
    files = {path.name: path.read_bytes() for path in patch.rglob("*.f*")}
    assert site.files("archives") == files
    assert len(files) == 2 * 12 + 3 * 40
    space.forget()
    site.done("sync", "TILES=exposure_numbers.txt")
    assert {route for route, _ in space.requests().nodes} == {"nodes"}


def test_a_container_that_cannot_be_read_holds_up_what_needs_it_alone(site: Site, space: VOSpace, member: Path) -> None:
    certificate = member.rename(site.directory / "certificate.pem")
    result = site.make("avail", f"PRODUCTS={EXPOSURES}")
    assert result.returncode == 2
    assert ours(result) == [
        "cannot list 'vos:cfis/flags': you may not read it without a certificate; make one with "
        "'cadc-get-cert -u USER'; what was known of it holds"
    ]
    assert result.stdout.splitlines()[:4] == [
        "exposure_numbers.txt: 0/40 (0.0%) complete",
        "  {exposure}p.fits.fz         40",
        "  {exposure}p.weight.fits.fz  40",
        "  {exposure}p.flag.fits.fz     0",
    ]
    assert "80 archives fetched" in site.done("download", "PARTIAL=yes")
    words = f"CERTFILE={certificate}"
    assert site.done("avail", words).startswith("exposure_numbers.txt: 40/40 (100.0%) complete\n")
    assert "40 archives fetched" in site.done("download")
    before = exposure_stamps(site)
    assert site.make("avail", "CERTFILE=").returncode == 2
    assert exposure_stamps(site) == before
    site.environment["VOSPACE_WEBSERVICE"] = "localhost:1"
    result = site.make("avail", "RETRIES=0")
    assert (result.returncode, result.stdout) == (2, "")
    assert exposure_stamps(site) == before


def test_what_was_known_of_an_empty_file_holds_as_well(site: Site, space: VOSpace, member: Path, patch: Path) -> None:
    (patch / f"cfis/flags/{NUMBERS[0]}p.flag.fits.fz").write_bytes(b"")
    site.done("avail", f"PRODUCTS={EXPOSURES}")
    before = exposure_stamps(site)
    member.unlink()
    assert site.make("avail").returncode == 2
    assert exposure_stamps(site) == before


def test_a_download_that_lists_first_tells_of_a_container_that_cannot_be_read(site: Site, member: Path) -> None:
    member.unlink()
    result = site.make("download", f"PRODUCTS={EXPOSURES}")
    assert result.stdout.splitlines()[-1] == "nothing to fetch"
    assert result.returncode == 2
    assert ours(result)[0].endswith("; what was known of it holds")


def test_what_is_damaged_or_absent_is_told_and_the_rest_is_complete(
    site: Site, space: VOSpace, member: Path, patch: Path
) -> None:
    absent, damaged = NUMBERS[3], NUMBERS[5]
    (patch / f"cfis/weights/{absent}p.weight.fits.fz").unlink()
    space.fault(Fault("flip", f"{damaged}p.fits.fz", "storage", count=-1, at=3000))
    assert site.done("avail", f"PRODUCTS={EXPOSURES}").startswith("exposure_numbers.txt: 39/40 (97.5%) complete\n")
    result = site.make("download")
    assert result.returncode == 2
    assert any(f"'{damaged}p.fits.fz'" in line for line in ours(result)), result.stderr
    assert "116 archives fetched" in result.stdout
    told = site.done("missing")
    assert told.startswith("missing.txt: 2 exposures missing\n")
    assert f"{absent}: not at the source: {absent}p.weight.fits.fz" in told
    assert (site.directory / "missing.txt").read_text().split() == [absent, damaged]
    space.forget()
    assert site.make("download").returncode == 2
    assert {name for route, name in space.requests().nodes if route == "storage"} == {f"{damaged}p.fits.fz"}


def test_headers_are_read_at_the_source_a_piece_of_each(site: Site, space: VOSpace, patch: Path) -> None:
    site.done("avail", f"PRODUCTS={IMAGES}")
    result = site.make("exposures")
    assert (result.returncode, result.stdout) == (2, "exposure_numbers.txt: 0 exposures of 0 tiles\n")
    assert ours(result)[0] == f"{DEMO_TILES[0]}: no image of it is here; give HEADERS=yes"
    before = tree(site.directory)
    space.forget()
    text = site.done("exposures", "HEADERS=yes", "DRYRUN=yes")
    assert text == "exposure_numbers.txt, to be written: 40 exposures of 12 tiles\n"
    assert tree(site.directory) == before
    counts = space.requests()
    assert counts.routes["storage"] == 24
    assert max(counts.bytes.values()) <= 8 * 2880
    site.done("exposures", "HEADERS=yes")
    assert (site.directory / "exposure_numbers.txt").read_text().split() == NUMBERS


def test_a_tile_whose_header_names_no_exposure_is_told(site: Site, space: VOSpace, patch: Path) -> None:
    make_images(patch / "cfis/tiles_DR6", DEMO_TILES[0])
    (patch / f"cfis/tiles_DR6/CFIS.{DEMO_TILES[1]}.r.fits").write_bytes(b"no FITS" * 1000)
    site.done("avail", f"PRODUCTS={IMAGES}")
    result = site.make("exposures", "HEADERS=yes", "FORMAT=json")
    assert result.returncode == 2
    told = json.loads(result.stdout)
    assert keys(told) == documented_keys("exposures")
    assert (told["tiles"], told["nameless"], told["unseen"]) == (10, sorted(DEMO_TILES[:2]), [])
    assert f"'CFIS.{DEMO_TILES[1]}.r.fits': something that is no header" in result.stderr
    assert f"{DEMO_TILES[0]}: the header of its image names no exposure" in result.stderr


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (
            ["PRODUCTS={exposure}.fits CFIS.{tile}.r.fits"],
            "bad file-name pattern 'CFIS.{tile}.r.fits' in PRODUCTS; each",
        ),
        (
            ["PRODUCTS=vos:a/{tile}.fits vos:b/{tile}.fits"],
            "'{tile}.fits' is twice in PRODUCTS; files of one name must",
        ),
        (["PRODUCTS=vos:{tile}/a.fits"], "bad file-name pattern 'vos:{tile}/a.fits' in PRODUCTS; each needs {tile} "),
        (["PRODUCTS=a{tile} vos:b/b{tile}", "INPUT_PATH=vos:a vos:b"], "PRODUCTS names a container of INPUT_PATH, too"),
        (
            ["PRODUCTS={exposure}p.fits.fz", "TILES=2243881 182.308"],
            "cannot read exposure list '182.308': No such file",
        ),
        (
            ["PRODUCTS={exposure}p.fits.fz", "TILES=a.txt"],
            "a.txt:1: not an exposure: '182.308'; write 2243881, 2243881p",
        ),
    ],
)
def test_settings_that_do_not_fit_together_are_named(words: list[str], problem: str, site: Site) -> None:
    (site.directory / "a.txt").write_text("182.308\n")
    site.list_tiles(*DEMO_TILES)
    assert refused(site, "INPUT_PATH=.", *words).startswith(problem)


def test_a_report_of_exposures_has_no_map_and_all_is_told_about_one(site: Site, member: Path) -> None:
    site.done("avail", f"PRODUCTS={EXPOSURES}")
    result = site.make("map")
    assert ours(result) == ["an exposure's number tells no place on the sky; run 'make report'"]
    assert result.returncode == 2
    assert site.done("report") == "report.html: 40 at the source\n"
    page = (site.directory / "report.html").read_text()
    assert "<h1>0 of 40 exposures here</h1>" in page
    assert '<figure id="map">\n<svg/>\n' in page
    assert site.done("status", f"TILES={NUMBERS[0]}p").splitlines()[:2] == [
        f"{NUMBERS[0]}: at the source (not fetched: 3 archives)",
        "at 'vos:cfis/pitcairn vos:cfis/weights vos:cfis/flags': 3 of 3 archives, 25.9 kB, "
        "newest of 2021-08-08 01:18:39Z",
    ]
