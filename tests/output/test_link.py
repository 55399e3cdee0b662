"""Linking: ShapePipe's next step finds the catalogue of each tile in one directory."""

from __future__ import annotations

import os
from pathlib import Path

from support.site import Site
from support.tar_making import MTIME, downloaded, fits, member, packed

LINKS = "output/run_sp_combined/make_catalog_runner/output"
FLAGS = "output/run_sp_combined_flag/mask_runner/output"


def tile(number: str, run: str = "run_sp_1") -> dict[str, bytes]:
    """The archives of a tile with a catalogue and a flag image."""
    dashed = number.replace(".", "-")
    return {
        f"{product}_{number}.tgz": packed(member(f"output/{run}_{number}/x/output/{product}-{dashed}.fits", fits(100)))
        for product in ("final_cat", "pipeline_flag")
    }


def links(site: Site, directory: str = LINKS) -> dict[str, bool]:
    """Whether each link in the directory leads to a FITS file, by name."""
    found = {}
    for path in (site.directory / directory).iterdir():
        assert path.is_symlink()
        assert not os.path.isabs(os.readlink(path))
        found[path.name] = path.exists() and path.read_bytes() == fits(100)
    return found


def log(site: Site) -> str:
    return (site.directory / "output/log_run_sp.txt").read_text()


def test_each_tile_is_linked_once_and_the_run_is_named_once(site: Site) -> None:
    downloaded(site, tile("240.290") | tile("240.291"))
    site.done("untar")
    assert site.done("link") == f"2 links in '{LINKS}': 2 new, 0 removed\n"
    assert links(site) == {"final_cat-240-290.fits": True, "final_cat-240-291.fits": True}
    assert log(site) == "./output/run_sp_combined make_catalog_runner\n"
    assert site.done("link") == f"2 links in '{LINKS}': 0 new, 0 removed\n"
    assert log(site) == "./output/run_sp_combined make_catalog_runner\n"
    assert site.done("link", "PRODUCTS=pipeline_flag") == f"2 links in '{FLAGS}': 2 new, 0 removed\n"
    assert links(site, FLAGS) == {"pipeline_flag-240-290.fits": True, "pipeline_flag-240-291.fits": True}
    assert log(site).splitlines()[1:] == ["./output/run_sp_combined_flag mask_runner"]


def test_a_tile_that_was_processed_again_is_linked_to_its_new_run(site: Site) -> None:
    downloaded(site, tile("240.290") | tile("240.291"))
    site.done("untar")
    site.done("link")
    newer = tile("240.290", "run_sp_2")
    downloaded(site, newer, dict.fromkeys(newer, MTIME + 1))
    site.done("untar")
    assert not links(site)["final_cat-240-290.fits"]
    assert site.done("link") == f"2 links in '{LINKS}': 1 new, 0 removed\n"
    assert links(site) == {"final_cat-240-290.fits": True, "final_cat-240-291.fits": True}
    assert "run_sp_2_240.290" in os.readlink(site.directory / LINKS / "final_cat-240-290.fits")


def test_stale_links_are_removed_and_nothing_else_and_a_file_in_the_place_of_a_link_is_left_and_reported(
    site: Site,
) -> None:
    """Nor do other lines of the list of runs, and a dry run does nothing at all."""
    downloaded(site, tile("240.290"))
    site.done("untar")
    (site.directory / "output/log_run_sp.txt").write_text("./output/run_sp_Mh other_runner")
    directory = site.directory / LINKS
    assert site.done("link", "DRYRUN=yes") == f"1 link to be in '{LINKS}'\n"
    assert not (site.directory / "output/run_sp_combined").exists()
    directory.mkdir(parents=True)
    (directory / "final_cat-100-100.fits").symlink_to("/nowhere")
    (directory / "mine.fits").symlink_to("/nowhere")
    (directory / "final_cat-100-101.fits").write_text("a file")
    assert site.done("link") == f"1 link in '{LINKS}': 1 new, 1 removed\n"
    assert {path.name for path in directory.iterdir()} == {
        "final_cat-240-290.fits", "mine.fits", "final_cat-100-101.fits",
    }  # fmt: skip
    assert log(site) == "./output/run_sp_Mh other_runner\n./output/run_sp_combined make_catalog_runner\n"
    place = directory / "final_cat-240-290.fits"
    place.unlink()
    place.write_text("mine")
    result = site.make("link")
    assert result.returncode == 2
    assert f"'{LINKS}/final_cat-240-290.fits' is no link; move it away, and run 'make link' again" in result.stderr
    assert place.read_text() == "mine"


def test_only_unpacked_tiles_of_the_list_are_linked(site: Site) -> None:
    downloaded(site, tile("240.290") | tile("240.291"))
    site.list_tiles("240.290")
    site.done("untar")
    site.list_tiles("240.290", "240.291")
    assert "1 tile not unpacked yet" in site.done("link")
    site.done("untar")
    site.done("link")
    site.list_tiles("240.291")
    assert "0 new, 1 removed" in site.done("link")
    assert links(site) == {"final_cat-240-291.fits": True}


def test_links_lead_there_from_another_destination_too(site: Site) -> None:
    downloaded(site, tile("240.290"))
    site.done("untar", "DEST=sub/dir")
    site.done("link", "DEST=sub/dir")
    assert links(site, f"sub/dir/{LINKS}") == {"final_cat-240-290.fits": True}
    moved = site.directory / "moved"
    (site.directory / "sub").rename(moved)
    assert links(site, f"moved/dir/{LINKS}") == {"final_cat-240-290.fits": True}


def test_without_unpacked_tiles_or_by_another_name_it_refuses(site: Site) -> None:
    downloaded(site, tile("240.290"))
    assert "nothing was unpacked yet; run 'make untar'" in site.make("link").stderr
    result = site.make("link", "PRODUCTS=logs")
    assert "nothing of PRODUCTS='logs' can be linked; give final_cat or pipeline_flag" in result.stderr
    assert not Path(site.directory / "output").exists()
