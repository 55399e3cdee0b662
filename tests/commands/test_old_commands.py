"""The commands that came before the Makefile: the lines in people's notes work as they did, and better."""

from __future__ import annotations

import os
import subprocess
from datetime import datetime
from pathlib import Path

import pytest

from retrieve.products import PRODUCTS_OF
from support.site import HERE, RESULTS, TILES, Site, names
from vospace_demo.results import make_archives, make_many
from vospace_demo.server import VOSpace

LIST = "tile_numbers.txt"
#: The tiles of that list: as few as show all there is to see.
MINE = TILES[:4]


@pytest.fixture
def old(site: Site, space: VOSpace) -> Site:
    """A run directory with `bin/` on the PATH, and the environment that leads to the embedded VOSpace."""
    site.environment |= space.environment() | {"INSECURE": "yes"}
    site.environment["PATH"] = f"{HERE / 'bin'}:{site.environment['PATH']}"
    site.list_tiles(*MINE)
    return site


def line(site: Site, command: str) -> subprocess.CompletedProcess[str]:
    """Run a line as it stands in people's notes."""
    return site.run("bash", "-c", command)


def archives(site: Site) -> dict[str, bytes]:
    """Archives in the run directory."""
    return {path.name: path.read_bytes() for path in site.directory.glob("*.tgz")}


def runs_of_the_catalogues(site: Site) -> dict[str, list[str]]:
    """Dates of the runs whose catalogues are in the output tree, by tile."""
    found: dict[str, list[str]] = {tile: [] for tile in MINE}
    for path in (site.directory / "output").rglob("final_cat-*.fits"):
        found[path.stem.removeprefix("final_cat-").replace("-", ".")].append(path.parts[-4][15:25])
    return found


def test_the_old_sequence_ends_with_all_tiles_unpacked(old: Site, container: Path) -> None:
    psf, (_, late, replaced, cut) = "psfex", MINE
    for tile in MINE:
        make_archives(container, tile, psf, datetime(2021, 8, 5), 1, 1)
    aside = container.parent / "later"
    aside.mkdir()
    for name in names(late, psf)[:2]:
        (container / name).rename(aside / name)

    result = line(old, f"canfar_avail_results -i {LIST} -v -p {psf} --input_path vos:{RESULTS}")
    assert result.returncode == 0, result.stderr
    assert result.stdout == (f"{LIST}: 3/4 (75.0%) complete\n  {late} lacks {' '.join(names(late, psf)[:2])}\n")

    result = line(old, f"canfar_download_results -i {LIST} -v -p {psf} --input_vos cosmostat/kilbinger/results")
    assert result.returncode == 0, result.stderr
    assert result.stdout.endswith(
        "".join(f"{product}: {3 if place < 2 else 4} files here\n" for place, product in enumerate(PRODUCTS_OF[psf]))
    )

    for name in names(late, psf)[:2]:
        (aside / name).rename(container / name)
    make_archives(container, replaced, psf, datetime(2022, 1, 1), 1, 1)
    os.truncate(old.directory / names(cut, psf)[4], 100)

    result = line(old, f"canfar_avail_results -i {LIST} --input_path . -p {psf} -v -o missing.txt")
    assert result.returncode == 0, result.stderr
    assert f"{LIST}: 2/4 (50.0%) complete" in result.stdout
    assert (old.directory / "missing.txt").read_text() == f"{late}\n{cut}\n"

    result = line(old, f"canfar_download_results -i missing.txt --input_vos cosmostat/kilbinger/results -p {psf} -v")
    assert result.returncode == 0, result.stderr
    result = line(old, f"untar_results -p {psf}")
    assert result.returncode == 0, result.stderr
    for product in PRODUCTS_OF[psf]:
        assert f"{product}: 4 archives, 4 unpacked, 0 failed\n" in result.stdout
    assert runs_of_the_catalogues(old) == {tile: ["2021-08-05"] for tile in MINE}

    # What was replaced meanwhile was here, and so not missing: the whole list brings the newer one.
    line(old, f"canfar_download_results -i {LIST} --input_vos cosmostat/kilbinger/results -p {psf}")
    assert archives(old) == {name: (container / name).read_bytes() for tile in MINE for name in names(tile, psf)}
    assert line(old, f"untar_results -p {psf}").returncode == 0
    assert runs_of_the_catalogues(old) == {tile: ["2021-08-05"] for tile in MINE} | {replaced: ["2022-01-01"]}
    assert {path.name for path in old.directory.iterdir() if not path.name.endswith(".tgz")} == {
        ".retrieve", "missing.txt", "output", LIST,
    }  # fmt: skip


def test_a_second_download_asks_for_the_listing_alone_and_make_fetches_nothing_either(
    old: Site, space: VOSpace
) -> None:
    """On Cavern, which tells no MD5s."""
    command = f"canfar_download_results -i {LIST} --input_vos arc:{RESULTS}"
    assert line(old, command).returncode == 0
    space.forget()
    result = line(old, command)
    assert result.returncode == 0
    assert "nothing to fetch" in result.stdout
    assert set(space.requests().routes) == {"nodes"}
    old.done("avail", "ARCHIVES=.", f"INPUT_PATH=arc:{RESULTS}")
    assert "0 archives fetched" in old.done("download")
    assert not space.requests().bytes


def test_without_a_list_everything_of_the_psf_model_comes(old: Site) -> None:
    result = line(old, f"canfar_download_results -p psfex --input_vos arc:{RESULTS}")
    assert result.returncode == 0, result.stderr
    assert set(archives(old)) == {name for tile in TILES for name in names(tile, "psfex")}


def test_the_masks_alone_can_be_checked_and_fetched(old: Site) -> None:
    result = line(old, f"canfar_avail_results -i {LIST} --input_path . -v -m -o missing_mask.txt")
    assert result.returncode == 0, result.stderr
    assert f"{LIST}: 0/4 (0.0%) complete" in result.stdout
    assert line(old, "canfar_download_results -i missing_mask.txt -m").returncode == 0
    assert set(archives(old)) == {f"pipeline_flag_{tile}.tgz" for tile in MINE}
    assert line(old, f"canfar_avail_results -i {LIST} --input_path . -m").stdout == f"{LIST}: 4/4 (100.0%) complete\n"


def test_unpacked_catalogues_can_be_checked_by_their_names(old: Site, tmp_path: Path) -> None:
    make_archives(tmp_path, TILES[0], "mccd", products=["final_cat"])
    assert line(old, f"tar xzf {tmp_path}/final_cat_{TILES[0]}.tgz --transform 's,.*/,,'").returncode == 0
    result = line(old, f"canfar_avail_results -i {LIST} --input_path . -x fits -f")
    assert result.stdout == f"{LIST}: 1/4 (25.0%) complete\n"
    catalogue = old.directory / f"final_cat-{TILES[0].replace('.', '-')}.fits"
    os.truncate(catalogue, catalogue.stat().st_size - 2880)
    result = line(old, f"canfar_avail_results -i {LIST} --input_path . -x fits -f")
    assert result.stdout == f"{LIST}: 0/4 (0.0%) complete\n"
    assert f"'{catalogue.name}' does not count" in result.stderr


def test_several_lists_may_be_named_in_one_argument_or_in_several(old: Site) -> None:
    old.list_tiles(*TILES[:3], name="a.txt")
    old.list_tiles(*TILES[3:], name="b.txt")
    told = ["a.txt: 3/3 (100.0%) complete", "b.txt: 7/7 (100.0%) complete", f"{LIST}: 4/4 (100.0%) complete"]
    assert line(old, f"canfar_avail_results -i 'a.txt b.txt' -i {LIST}").stdout.splitlines() == told
    assert line(old, "canfar_avail_results").stdout.splitlines() == told


def test_a_damaged_archive_is_counted_and_the_others_are_unpacked(old: Site, container: Path) -> None:
    make_many(old.directory, TILES[:2], "mccd")
    os.truncate(old.directory / names(TILES[0])[5], 60)
    result = line(old, "untar_results -o unpacked.txt")
    assert result.returncode == 1
    assert f"cannot unpack '{names(TILES[0])[5]}'" in result.stderr
    assert "setools_plot: 2 archives, 1 unpacked, 1 failed\n" in result.stdout
    assert "logs: 2 archives, 2 unpacked, 0 failed\n" in result.stdout
    unpacked = set((old.directory / "unpacked.txt").read_text().split())
    assert unpacked == {name for tile in TILES[:2] for name in names(tile)} - {names(TILES[0])[5]}
    # Mended, it alone is left to do.
    make_many(old.directory, TILES[:1], "mccd")
    result = line(old, "untar_results")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith("1 archive unpacked")


@pytest.mark.parametrize("command", ["canfar_avail_results", "canfar_download_results", "untar_results"])
def test_help_shows_examples_and_the_make_target(command: str, old: Site) -> None:
    result = line(old, f"{command} -h")
    assert result.returncode == 0
    assert f"examples:\n  {command} " in result.stdout
    assert "with make:\n  make " in result.stdout


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        ("canfar_avail_results -f -m", "not allowed with argument"),
        ("canfar_avail_results -p foo", "unknown PSF model 'foo'"),
        ("canfar_avail_results -i absent.txt", "cannot read tile list 'absent.txt'"),
        ("canfar_download_results --input_vos absent", "cannot list 'vos:cfis/absent'"),
        ("untar_results --nonsense", "unrecognized arguments: --nonsense"),
    ],
)
def test_what_cannot_start_says_so_in_a_line(command: str, complaint: str, old: Site) -> None:
    result = line(old, command)
    assert result.returncode == 2
    assert complaint in result.stderr
    assert len(result.stderr.splitlines()) == 1
    assert not archives(old)


def test_the_commands_that_ran_are_logged(old: Site) -> None:
    line(old, f"canfar_avail_results -i '{LIST} {LIST}' --input_path .")
    line(old, "untar_results -p psfex")
    logged = (old.directory / ".retrieve/commands.log").read_text().splitlines()
    assert [entry.split(" ", 1)[1] for entry in logged] == [
        f"canfar_avail_results -i '{LIST} {LIST}' --input_path .",
        "untar_results -p psfex",
    ]
