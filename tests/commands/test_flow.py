"""The whole flow, from the container to the output tree, as a user types it."""

from __future__ import annotations

import os
import subprocess
import tarfile
from pathlib import Path

import pytest

from retrieve.products import PRODUCTS_OF
from support.site import HERE, RESULTS, TILES, Site, names
from vospace_demo.results import IMAGE_NAMES, make_archives, make_images, make_many
from vospace_demo.server import VOSpace

CASES = [(kind, psf) for kind in ("vos", "arc", "directory") for psf in PRODUCTS_OF]


def unpacked_by_tar(archives: Path, into: Path) -> dict[str, bytes]:
    """Content of what `tar` unpacks from all archives of a directory, by path."""
    into.mkdir()
    for archive in sorted(archives.glob("*.tgz")):
        subprocess.run(["tar", "xzf", str(archive), "-C", str(into)], check=True)
    return {str(path.relative_to(into)): path.read_bytes() for path in into.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("kind", "psf"), CASES)
def test_the_four_steps_bring_every_byte_home(
    kind: str, psf: str, site: Site, space: VOSpace, container: Path, tmp_path: Path
) -> None:
    site.environment |= space.environment() | {"INSECURE": "yes"}
    make_archives(container, TILES[0], psf)
    site.list_tiles(*TILES)
    input_path = str(container) if kind == "directory" else f"{kind}:{RESULTS}"
    assert "tile_numbers.txt: 10/10 (100.0%) complete" in site.done("avail", f"PSF={psf}", f"INPUT_PATH={input_path}")
    site.done("download")
    assert site.done("missing") == "missing.txt: 0 tiles missing\n"
    assert (site.directory / "missing.txt").read_text() == ""
    site.done("untar")
    wanted = {name for tile in TILES for name in names(tile, psf)}
    archives = site.files("archives")
    assert archives == {name: (container / name).read_bytes() for name in wanted}
    assert site.files("output") == {
        path.removeprefix("output/"): content
        for path, content in unpacked_by_tar(site.directory / "archives", tmp_path / "tar").items()
    }


def test_all_stands_for_every_tile_at_the_source(site: Site, at: str) -> None:
    assert "all: 10/10 (100.0%) complete" in site.done("avail", "TILES=all", f"INPUT_PATH={at}")
    site.done("download")
    site.done("untar")
    assert len(site.files("archives")) == 70
    assert set(os.listdir(site.directory / "stamps/mccd/extracted")) == set(TILES)


def test_an_incomplete_tile_is_not_fetched_unless_partial(site: Site, at: str, container: Path) -> None:
    (container / names(TILES[3])[0]).unlink()
    (container / names(TILES[3])[1]).write_bytes(b"")
    site.list_tiles(*TILES)
    assert "tile_numbers.txt: 9/10 (90.0%) complete" in site.done("avail", f"INPUT_PATH={at}")
    site.done("download")
    assert len(site.files("archives")) == 63
    assert f"{TILES[3]}: not at the source: final_cat_{TILES[3]}.tgz, pipeline_flag_{TILES[3]}.tgz" in site.done(
        "missing"
    )
    assert (site.directory / "missing.txt").read_text() == f"{TILES[3]}\n"
    site.done("download", "PARTIAL=yes")
    assert len(site.files("archives")) == 68
    make_many(container, [TILES[3]], "mccd")
    site.done("avail")
    site.done("download")
    assert len(site.files("archives")) == 70
    assert site.done("missing", "TILES=missing.txt") == "missing.txt: 0 tiles missing\n"


def test_a_subset_of_products_makes_a_tile_complete(site: Site, at: str) -> None:
    site.list_tiles(*TILES)
    site.done("avail", f"INPUT_PATH={at}", "PRODUCTS=final_cat pipeline_flag")
    site.done("download")
    assert set(site.files("archives")) == {name for tile in TILES for name in names(tile)[:2]}
    site.done("avail", "PRODUCTS=")
    site.done("download")
    assert len(site.files("archives")) == 70


def test_the_second_sync_moves_nothing_whatever_the_number_of_tiles(
    site: Site, vault: str, container: Path, space: VOSpace
) -> None:
    processes = []
    for count in (10, 300):
        numbers = [f"{x:03}.{y:03}" for x in range(100, 100 + count // 10) for y in range(300, 310)]
        make_many(container, numbers, "mccd")
        site.list_tiles(*numbers)
        site.done("sync", f"INPUT_PATH={vault}", "PRODUCTS=final_cat")
        stamps = site.stamps()
        assert sum(path.startswith("extracted/") for path in stamps) == count
        identities = {path: os.stat(site.directory / "stamps/mccd" / path).st_ino for path in stamps}
        space.forget()
        result = site.run(
            *("strace", "-f", "--seccomp-bpf", "-qq", "-o", "trace", "-e", "trace=execve", "-e", "signal=none"),
            *("make", "-f", str(HERE / "Makefile"), "sync"),
        )
        assert result.returncode == 0, result.stderr
        # May the caller read it, the page, and the one that shows that nothing follows.
        assert space.requests().routes == {"nodes": 3}
        assert site.stamps() == stamps
        assert {path: os.stat(site.directory / "stamps/mccd" / path).st_ino for path in stamps} == identities
        trace = (site.directory / "trace").read_text().splitlines()
        processes.append(sum(line.endswith("= 0") for line in trace))
    assert processes[0] == processes[1] < 50


def test_images_are_fetched_and_checked_as_what_they_are(site: Site, tmp_path: Path, space: VOSpace, at: str) -> None:
    images = tmp_path / "space/cfis/tiles"
    images.mkdir(parents=True)
    for tile in TILES[:3]:
        make_images(images, tile)
    site.list_tiles(*(f"CFIS.{tile}.r.fits" for tile in TILES[:3]))
    input_path = f"INPUT_PATH={at.partition(':')[0]}:cfis/tiles"
    site.done("avail", input_path, f"PRODUCTS={' '.join(IMAGE_NAMES)}")
    site.done("download")
    served = {path.name: path.read_bytes() for path in images.iterdir()}
    assert site.files("archives") == served
    assert "nothing to unpack" in site.done("untar")
    assert site.done("missing") == "missing.txt: 0 tiles missing\n"
    cut = site.directory / "archives" / IMAGE_NAMES[0].replace("{tile}", TILES[1])
    os.truncate(cut, 2880)
    assert f"{TILES[1]}: damaged: {cut.name}" in site.done("missing")
    space.forget()
    site.done("download")
    assert site.files("archives") == served
    assert set(space.requests().bytes) == {cut.name}


def test_a_truncated_image_at_a_source_without_md5_is_refused(site: Site, tmp_path: Path, space: VOSpace) -> None:
    site.environment |= space.environment() | {"INSECURE": "yes"}
    images = tmp_path / "space/cfis/tiles"
    images.mkdir(parents=True)
    for path in make_images(images, TILES[0]):
        os.truncate(path, path.stat().st_size - 2880)
    site.list_tiles(TILES[0])
    site.done("avail", "INPUT_PATH=arc:cfis/tiles", f"PRODUCTS={' '.join(IMAGE_NAMES)}")
    result = site.make("download")
    assert result.returncode == 2
    assert f"cannot fetch 'CFIS.{TILES[0]}.r.fits': it is damaged at the source (it ends at byte" in result.stderr
    assert site.files("archives") == {}


def test_only_the_archive_that_is_newer_is_fetched_and_unpacked(
    site: Site, at: str, container: Path, space: VOSpace
) -> None:
    site.list_tiles(*TILES)
    site.done("sync", f"INPUT_PATH={at}")
    before = site.stamps()
    name = names(TILES[4])[2]
    replace(container / name, later_ns=1)
    space.forget()
    assert "1 archive fetched" in site.done("sync")
    assert set(space.requests().bytes) == {name}
    changed = {path for path, stamp in site.stamps().items() if stamp != before.get(path)}
    assert changed == {f"{state}/{TILES[4]}" for state in ("available", "downloaded", "extracted")}
    assert (site.directory / "archives" / name).read_bytes() == (container / name).read_bytes()
    assert (site.directory / "output/new.txt").read_text() == "new"


def replace(archive: Path, later_ns: int, member: str = "new.txt") -> None:
    """Put another archive, with one member below output/, in place of one; its date later by some nanoseconds."""
    mtime_ns = archive.stat().st_mtime_ns + later_ns
    content = archive.with_name("content")
    content.write_text("new")
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(content, f"output/{member}")
    content.unlink()
    os.utime(archive, ns=(mtime_ns, mtime_ns))


HOUR = 3_600_000_000_000


def test_a_replaced_archive_is_fetched_whatever_its_date(site: Site, vault: str, container: Path) -> None:
    later_ns = dict(zip(TILES, [-365 * 24 * HOUR, -1_000_000, 0, 1_000_000, 365 * 24 * HOUR], strict=False))
    site.list_tiles(*TILES)
    site.done("sync", f"INPUT_PATH={vault}")
    for tile, later in later_ns.items():
        replace(container / names(tile)[0], later, member=tile)
    result = site.make("sync")
    assert result.returncode == 0
    assert "5 archives fetched" in result.stdout
    assert all((site.directory / "output" / tile).exists() for tile in later_ns)
    assert "nothing to fetch" in site.make("sync").stdout


@pytest.mark.parametrize("offset_ns", [-10 * 365 * 24 * HOUR, -HOUR, HOUR])
def test_the_local_clock_does_not_matter(offset_ns: int, site: Site, vault: str, container: Path) -> None:
    """The clock of this machine is an hour behind or ahead of the source's, or the archives are old."""
    import time

    now_ns = time.time_ns() + offset_ns
    for path in container.iterdir():
        os.utime(path, ns=(now_ns, now_ns))
    site.list_tiles(*TILES)
    assert site.make("sync", f"INPUT_PATH={vault}").returncode == 0
    before = site.stamps()
    replace(container / names(TILES[1])[1], later_ns=1_000_000_000)
    result = site.make("sync")
    assert result.returncode == 0
    assert "1 archive fetched" in result.stdout
    changed = {path.partition("/")[2] for path, stamp in site.stamps().items() if stamp != before.get(path)}
    assert changed == {TILES[1]}
    result = site.make("sync")
    assert "nothing to fetch" in result.stdout
    assert "nothing to unpack" in result.stdout


def damage_delete(path: Path) -> None:
    path.unlink()


def damage_truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def damage_empty(path: Path) -> None:
    os.truncate(path, 0)


def damage_alter(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def damage_replace_by_html(path: Path) -> None:
    path.write_text("<html>log in</html>")


DAMAGES = (damage_delete, damage_truncate, damage_empty, damage_alter, damage_replace_by_html)


def test_damaged_archives_alone_are_fetched_again(site: Site, at: str, container: Path, space: VOSpace) -> None:
    site.list_tiles(*TILES)
    site.done("sync", f"INPUT_PATH={at}")
    damaged = {tile: names(tile)[5] for tile, _ in zip(TILES, DAMAGES, strict=False)}
    for damage, name in zip(DAMAGES, damaged.values(), strict=True):
        damage(site.directory / "archives" / name)
    site.done("missing")
    assert (site.directory / "missing.txt").read_text().split() == sorted(damaged)
    space.forget()
    site.done("download")
    assert set(space.requests().bytes) == set(damaged.values())
    for name in damaged.values():
        assert (site.directory / "archives" / name).read_bytes() == (container / name).read_bytes()
    space.forget()
    assert site.done("download") == "nothing to fetch\n"
    assert space.requests().total == 0


@pytest.mark.parametrize("service", ["vos", "arc"])
def test_without_stamps_the_archives_are_checked_and_not_fetched(service: str, site: Site, space: VOSpace) -> None:
    site.environment |= space.environment() | {"INSECURE": "yes"}
    site.list_tiles(*TILES)
    site.done("sync", f"INPUT_PATH={service}:{RESULTS}")
    output = site.files("output")
    subprocess.run(["rm", "-r", str(site.directory / "stamps")], check=True)
    space.forget()
    text = site.done("sync", f"INPUT_PATH={service}:{RESULTS}")
    assert "70 archives found right on disk; 10 tiles brought up to date" in text
    assert not space.requests().bytes
    assert site.files("output") == output


def test_a_touched_archive_is_hashed_and_kept(site: Site, at: str, space: VOSpace) -> None:
    site.list_tiles(*TILES)
    site.done("sync", f"INPUT_PATH={at}")
    (site.directory / "archives" / names(TILES[2])[3]).touch()
    space.forget()
    assert "0 archives fetched (0 B), 1 archive found right on disk" in site.done("download")
    assert not space.requests().bytes
    assert site.done("download") == "nothing to fetch\n"


def test_a_reprocessed_tile_leaves_no_file_of_its_earlier_run(site: Site, at: str, container: Path) -> None:
    from datetime import datetime

    site.list_tiles(TILES[0], TILES[1])
    make_archives(container, TILES[0], "mccd", datetime(2021, 8, 5))
    make_archives(container, TILES[1], "mccd", datetime(2021, 8, 6))
    site.done("sync", f"INPUT_PATH={at}")
    make_archives(container, TILES[0], "mccd", datetime(2022, 1, 1))
    site.done("sync")
    dashed = TILES[0].replace(".", "-")
    catalogues = list((site.directory / "output").rglob(f"final_cat-{dashed}.fits"))
    assert [path.parts[-4] for path in catalogues] == ["run_sp_tile_Ms_2022-01-01_00-00-00"]
    assert not [path for path in (site.directory / "output").iterdir() if "2021-08-05" in path.name]
    assert list((site.directory / "output").glob("*2021-08-06*"))
