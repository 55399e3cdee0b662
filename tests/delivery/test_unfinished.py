"""A tile of which one archive cannot be had: the others are here, and are not verified again."""

from __future__ import annotations

from pathlib import Path

from support.making import ours
from support.site import RESULTS, TILES, Site, names
from support.tar_making import fits
from vospace_demo.faults import Fault
from vospace_demo.server import VOSpace


def test_what_was_verified_of_a_tile_stays_so_while_one_of_its_archives_is_refused(
    site: Site, at: str, space: VOSpace
) -> None:
    tile, others = TILES[0], TILES[1:3]
    site.list_tiles(tile, *others)
    private, *_ = names(tile)[3:]
    space.tree.private = frozenset([f"{RESULTS}/{private}"])
    site.done("avail", f"INPUT_PATH={at}")
    problem = "access refused without a certificate; make one with 'cadc-get-cert -u USER'"
    result = site.make("download")
    assert (result.returncode, result.stdout) == (2, "20 archives fetched (6.0 kB); 2 tiles brought up to date\n")
    assert ours(result)[-2:] == [f"cannot fetch '{private}': {problem}", "1 of 3 tiles failed; see above"]

    assert f"{tile}: not fetched: {private} ({problem})\n" in site.done("missing")
    status = site.make("status", f"TILES={tile}").stdout
    for name in names(tile):
        assert status.count(f"\n  {name} ") == 1
        assert ("    here\n" if name != private else "  failed\n") in status.partition(f"\n  {name} ")[2][:80], status

    space.forget()
    result = site.make("download")
    # What was verified is neither read nor asked for again.
    assert result.stdout == "0 archives fetched (0 B); 0 tiles brought up to date\n"
    assert not space.requests().bytes

    space.tree.private = frozenset()
    assert site.done("download").startswith("1 archive fetched (")
    assert not any((site.directory / "stamps/mccd/unfinished").iterdir())
    assert site.done("missing") == "missing.txt: 0 tiles missing\n"


def test_what_may_pass_is_to_be_tried_again(site: Site, vault: str, space: VOSpace) -> None:
    site.list_tiles(TILES[0])
    site.done("avail", f"INPUT_PATH={vault}")
    space.fault(Fault("status", node=names(TILES[0])[0], status=503, count=-1))
    result = site.make("download", "RETRIES=0")
    assert ours(result)[-1] == "1 of 1 tile failed; run 'make download' again"
    reason = "the server answered 503 Service Unavailable; run 'make download' again"
    assert f"{TILES[0]}: not fetched: {names(TILES[0])[0]} ({reason})\n" in site.done("missing")
    # A damaged record of it costs a look at the files, and nothing more.
    (site.directory / f"stamps/mccd/unfinished/{TILES[0]}").write_text("# damaged")
    space.clear_faults()
    assert "1 archive fetched (274 B), 6 archives found right on disk" in site.done("download")


def test_a_run_with_fewer_products_forgets_nothing_of_the_others(site: Site, vault: str, space: VOSpace) -> None:
    site.list_tiles(TILES[0])
    site.done("avail", f"INPUT_PATH={vault}")
    plot, fit = names(TILES[0])[-2:]
    for failing, words in (((plot, fit), []), ((plot,), ["PRODUCTS=setools_plot mccd_fit_val_runner"])):
        space.clear_faults()
        for name in failing:
            space.fault(Fault("status", node=name, status=503, count=-1))
        site.done("avail", f"INPUT_PATH={vault}", *words)
        assert site.make("download", "RETRIES=0").returncode == 2
    space.clear_faults()
    site.done("avail", f"INPUT_PATH={vault}", "PRODUCTS=")
    told = site.done("download")
    assert told.startswith("1 archive fetched (")
    assert "found right on disk" not in told


def test_a_part_as_a_power_cut_left_it_is_fetched_again_where_no_md5_proves_it(site: Site, tmp_path: Path) -> None:
    """It has all its bytes, and zeros in place of those that were not on disk yet: as FITS, it is sound."""
    image = tmp_path / "source" / f"CFIS.{TILES[0]}.r.fits"
    image.parent.mkdir()
    image.write_bytes(fits(2880))
    site.list_tiles(TILES[0])
    site.done("avail", f"INPUT_PATH={image.parent}", "PRODUCTS=CFIS.{tile}.r.fits")
    part = site.directory / f"archives/{image.name}.{image.stat().st_size}-{image.stat().st_mtime_ns}.part"
    part.parent.mkdir()
    part.write_bytes(image.read_bytes()[:2880] + bytes(2880))
    assert site.done("download").startswith("1 archive fetched (")
    assert (site.directory / "archives" / image.name).read_bytes() == image.read_bytes()
    assert not part.exists()
