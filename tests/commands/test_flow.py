"""The whole flow, from the container to the output tree, as a user types it."""

from __future__ import annotations

import os
import shutil
import tarfile
import time
from pathlib import Path

import pytest

from support.site import HERE, RESULTS, TILES, Site, names
from vospace_demo.results import IMAGE_NAMES, make_archives, make_images, make_many
from vospace_demo.server import VOSpace


def packed_in(archives: Path) -> dict[str, bytes]:
    """Content of every file in all archives of a directory, by path."""
    found = {}
    for archive in archives.glob("*.tgz"):
        with tarfile.open(archive) as tar:
            found |= {one.name: tar.extractfile(one).read() for one in tar if one.isfile()}
    return found


#: What is asked of each service for an archive: one request on Cavern, two on Vault.
ROUTES = {"vos": {"files": 70, "storage": 70}, "arc": {"files": 70}, "directory": {}}


@pytest.mark.parametrize(
    ("kind", "psf", "tiles"),
    [("vos", "mccd", "tile_numbers.txt"), ("arc", "psfex", "all"), ("directory", "psfex", "tile_numbers.txt")],
)
def test_the_four_steps_bring_every_byte_home(
    kind: str, psf: str, tiles: str, site: Site, space: VOSpace, container: Path
) -> None:
    """Also of every tile at the source, with no list of them."""
    site.environment |= space.environment() | {"INSECURE": "yes"}
    make_archives(container, TILES[0], psf)
    if tiles != "all":
        site.list_tiles(*TILES, name=tiles)
    input_path = str(container) if kind == "directory" else f"{kind}:{RESULTS}"
    words = f"PSF={psf}", f"INPUT_PATH={input_path}", f"TILES={tiles}"
    assert f"{tiles}: 10/10 (100.0%) complete" in site.done("avail", *words)
    space.forget()
    site.done("download")
    assert space.requests().routes == ROUTES[kind]
    assert site.done("missing") == "missing.txt: 0 tiles missing\n"
    assert (site.directory / "missing.txt").read_text() == ""
    site.done("untar")
    wanted = {name for tile in TILES for name in names(tile, psf)}
    assert site.files("archives") == {name: (container / name).read_bytes() for name in wanted}
    unpacked = {f"output/{path}": content for path, content in site.files("output").items()}
    assert unpacked == packed_in(site.directory / "archives")
    assert set(os.listdir(site.directory / "stamps" / psf / "extracted")) == set(TILES)


def test_an_incomplete_tile_is_not_fetched_unless_partial(site: Site, container: Path) -> None:
    (container / names(TILES[3])[0]).unlink()
    (container / names(TILES[3])[1]).write_bytes(b"")
    site.list_tiles(*TILES)
    assert "tile_numbers.txt: 9/10 (90.0%) complete" in site.done("avail", f"INPUT_PATH={container}")
    site.done("download")
    assert len(site.files("archives")) == 63
    assert f"{TILES[3]}: not at the source: final_cat_{TILES[3]}.tgz; there, but empty " in site.done("missing")
    assert (site.directory / "missing.txt").read_text() == f"{TILES[3]}\n"
    site.done("download", "PARTIAL=yes")
    assert len(site.files("archives")) == 68
    make_many(container, [TILES[3]], "mccd")
    site.done("avail")
    site.done("download")
    assert len(site.files("archives")) == 70
    assert site.done("missing", "TILES=missing.txt") == "missing.txt: 0 tiles missing\n"


def test_a_subset_of_products_makes_a_tile_complete(site: Site, container: Path) -> None:
    site.list_tiles(*TILES)
    site.done("avail", f"INPUT_PATH={container}", "PRODUCTS=final_cat pipeline_flag")
    site.done("download")
    assert set(site.files("archives")) == {name for tile in TILES for name in names(tile)[:2]}
    site.done("avail", "PRODUCTS=")
    site.done("download")
    assert len(site.files("archives")) == 70


def test_the_second_sync_moves_nothing_whatever_the_number_of_tiles(
    site: Site, vault: str, container: Path, space: VOSpace
) -> None:
    site.begin("unpacked", vault)
    more = [f"{number}.300" for number in range(100, 105)]
    processes = []
    for count in (10, 15):
        if count == 10:
            site.done("avail", "missing")  # the rest is done
        else:
            make_many(container, more, "mccd")
            site.list_tiles(*TILES, *more)
            site.done("sync")
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


def test_images_are_fetched_and_checked_as_what_they_are(
    site: Site, tmp_path: Path, space: VOSpace, vault: str
) -> None:
    images = tmp_path / "space/cfis/tiles"
    images.mkdir(parents=True)
    for tile in TILES[:3]:
        make_images(images, tile)
    site.list_tiles(*(f"CFIS.{tile}.r.fits" for tile in TILES[:3]))
    site.done("avail", f"INPUT_PATH={vault.partition(':')[0]}:cfis/tiles", f"PRODUCTS={' '.join(IMAGE_NAMES)}")
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


def test_only_an_archive_that_was_replaced_is_fetched_and_unpacked_whatever_its_date(
    site: Site, at: str, container: Path, space: VOSpace
) -> None:
    later_ns = dict(zip(TILES, [-365 * 24 * HOUR, -1_000_000, 0, 1, 1_000_000, 365 * 24 * HOUR], strict=False))
    site.begin("unpacked", at)
    before = site.stamps()
    for tile, later in later_ns.items():
        replace(container / names(tile)[2], later, member=tile)
    space.forget()
    result = site.make("sync")
    assert result.returncode == 0, result.stderr
    assert "6 archives fetched" in result.stdout
    assert set(space.requests().bytes) == {names(tile)[2] for tile in later_ns}
    changed = {path for path, stamp in site.stamps().items() if stamp != before.get(path)}
    assert changed == {f"{state}/{tile}" for state in ("available", "downloaded", "extracted") for tile in later_ns}
    for tile in later_ns:
        name = names(tile)[2]
        assert (site.directory / "archives" / name).read_bytes() == (container / name).read_bytes()
    # Of the archives that were replaced, no file is left.
    unpacked = {f"output/{path}": content for path, content in site.files("output").items()}
    assert unpacked == packed_in(site.directory / "archives")
    assert {f"output/{tile}" for tile in later_ns} <= unpacked.keys()
    assert "nothing to fetch" in site.make("avail", "download").stdout


def test_the_local_clock_does_not_matter(site: Site, vault: str, container: Path) -> None:
    """The clock of this machine is an hour behind the source's, or ahead of it."""
    now_ns = time.time_ns()
    for path in container.iterdir():
        date_ns = now_ns + (HOUR if TILES[0] in path.name else -HOUR)
        os.utime(path, ns=(date_ns, date_ns))
    site.begin("unpacked", vault)
    assert site.make("avail", "download", "untar").returncode == 0
    before = site.stamps()
    assert before[f"extracted/{TILES[0]}"][0] > now_ns > before[f"extracted/{TILES[1]}"][0]
    for tile in TILES[:2]:
        replace(container / names(tile)[2], later_ns=1_000_000_000, member=tile)
    result = site.make("avail", "download", "untar")
    assert result.returncode == 0
    assert "2 archives fetched" in result.stdout
    changed = {path.partition("/")[2] for path, stamp in site.stamps().items() if stamp != before.get(path)}
    assert changed == set(TILES[:2])
    result = site.make("avail", "download", "untar")
    assert "nothing to fetch" in result.stdout
    assert "nothing to unpack" in result.stdout


def test_without_stamps_the_archives_are_checked_and_not_fetched(site: Site, at: str, space: VOSpace) -> None:
    site.begin("unpacked", at)
    output = site.files("output")
    shutil.rmtree(site.directory / "stamps")
    space.forget()
    text = site.done("sync", f"INPUT_PATH={at}")
    assert "70 archives found right on disk; 10 tiles brought up to date" in text
    assert not space.requests().bytes
    assert site.files("output") == output
