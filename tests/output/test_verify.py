"""Verifying: what is not as it was is reported, loses its stamp, and is mended by the next download or untar."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from support.site import HERE, Site
from support.tar_making import downloaded, fits, member, packed
from vospace_demo.results import make_archives

CATALOGUE = "final_cat-240-290.fits"


TILES = ("240.290", "240.291", "241.290")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the archives of three tiles; it knows no MD5."""
    directory = tmp_path_factory.mktemp("source")
    for tile in TILES:
        make_archives(directory, tile, "mccd", exposures=1, ccds=1)
    return directory


@pytest.fixture
def unpacked(site: Site, source: Path) -> Site:
    """A run directory with these tiles."""
    site.list_tiles(*TILES)
    assert site.make("avail", f"INPUT_PATH={source}").returncode == 0
    assert site.make("download").returncode == 0
    site.done("untar")
    return site


def catalogue(site: Site) -> Path:
    (path,) = (site.directory / "output").rglob(CATALOGUE)
    return path


def flip(path: Path) -> None:
    """Change one bit in the data, and neither the length nor the mtime."""
    status = path.stat()
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 1)


def break_header(path: Path) -> None:
    content = path.read_bytes()
    path.write_bytes(content.replace(b"NAXIS2  =", b"NAXIS9  =", 1))


def link_away(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


DAMAGES: list[tuple[Callable[[Path], None], str, str, str]] = [
    (Path.unlink, "quick", "+", "it is not here"),
    (cut, "quick", "*", "bytes rather than"),
    (break_header, "quick", "*", "a header without NAXIS2"),
    (link_away, "quick", "*", "no regular file"),
    (flip, "full", "*", "of HDU 1 does not agree"),
]


@pytest.mark.parametrize(("damage", "check", "sign", "why"), DAMAGES, ids=lambda one: getattr(one, "__name__", None))
def test_a_damaged_file_is_reported_and_mended(
    damage: Callable[[Path], None], check: str, sign: str, why: str, unpacked: Site
) -> None:
    before = unpacked.files("output")
    path = catalogue(unpacked)
    damage(path)
    result = unpacked.make("verify", f"CHECK={check}")
    assert result.returncode == 2
    line = result.stdout.splitlines()[0]
    assert line.startswith(f"{sign} {path.relative_to(unpacked.directory)} (")
    assert why in line
    assert "1 of 3 tiles are bad and lost their stamps; run 'make download untar' to mend them" in result.stderr
    assert set(os.listdir(unpacked.directory / "stamps/mccd/extracted")) == {"240.291", "241.290"}
    assert len(os.listdir(unpacked.directory / "stamps/mccd/downloaded")) == 3
    if damage is link_away:
        path.unlink()
        (path.parent / "elsewhere").unlink()
    unpacked.done("untar")
    assert unpacked.files("output") == before
    assert unpacked.make("verify", f"CHECK={check}").returncode == 0


@pytest.mark.parametrize("damage", [Path.unlink, cut, flip])
def test_a_damaged_archive_is_reported_and_mended(damage: Callable[[Path], None], unpacked: Site) -> None:
    before = unpacked.files("archives")
    path = unpacked.directory / "archives/setools_mask_240.291.tgz"
    damage(path)
    result = unpacked.make("verify")
    assert result.returncode == 2
    assert result.stdout.startswith(f"{'+' if damage is Path.unlink else '*'} archives/setools_mask_240.291.tgz (")
    assert "1 of 21 archives bad, 0 of" in result.stdout
    assert set(os.listdir(unpacked.directory / "stamps/mccd/downloaded")) == {"240.290", "241.290"}
    assert "1 archive fetched" in unpacked.make("download").stdout
    assert unpacked.files("archives") == before
    assert "nothing to unpack" in unpacked.done("untar")
    unpacked.done("verify")


def test_what_is_beside_the_files_is_told_and_left_alone(unpacked: Site) -> None:
    own = catalogue(unpacked).with_name("mine.txt")
    own.write_text("mine")
    shown = unpacked.done("verify")
    assert shown.startswith(f"- {own.relative_to(unpacked.directory)}\n")
    assert "1 file beside them that no tile brought" in shown
    assert own.read_text() == "mine"


def test_all_is_well_at_first(unpacked: Site) -> None:
    assert unpacked.done("verify", "CHECK=full").startswith("3 tiles verified: 0 of 21 archives bad, 0 of ")


def test_every_file_is_shown_when_asked(unpacked: Site) -> None:
    shown = unpacked.done("verify", "V=1").splitlines()
    paths = {f"output/{path}" for path in unpacked.files("output")} | {
        f"archives/{path}" for path in unpacked.files("archives")
    }
    assert {line.removeprefix("= ") for line in shown[:-1]} == paths


def test_the_result_can_be_had_as_json(unpacked: Site) -> None:
    catalogue(unpacked).unlink()
    found = unpacked.json("verify")
    assert found["bad"] == ["240.290"]
    assert [(one["sign"], one["tile"]) for one in found["findings"]] == [("+", "240.290")]


def test_a_dry_run_takes_no_stamp(unpacked: Site) -> None:
    catalogue(unpacked).unlink()
    before = unpacked.stamps()
    assert unpacked.make("verify", "DRYRUN=yes").returncode == 2
    assert unpacked.stamps() == before


def test_a_lost_list_of_members_is_reported_and_mended(unpacked: Site) -> None:
    (unpacked.directory / "stamps/mccd/members/240.290.gz").write_bytes(b"")
    assert unpacked.make("verify").stdout.startswith("! stamps/mccd/members/240.290.gz (it does not list 'final_cat_")
    unpacked.done("untar")
    unpacked.done("verify")


def many(count: int) -> dict[str, bytes]:
    return {
        f"logs_{tile}.300.tgz": packed(*(member(f"output/{tile}/{i}.fits", fits(i * 100)) for i in range(20)))
        for tile in range(100, 100 + count)
    }


def test_a_stopped_run_is_gone_on_with(site: Site) -> None:
    downloaded(site, many(200))
    site.done("untar")
    (site.directory / "output/100/7.fits").unlink()
    checkpoint = site.directory / "stamps/mccd/verify"
    process = site.start("verify", "CHECK=full")
    while process.poll() is None and not (checkpoint.exists() and checkpoint.read_text().count("\n") > 5):
        pass
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    done = [line.split("\t")[0] for line in checkpoint.read_text().splitlines() if line[0].isdigit()]
    assert 4 <= len(done) < 200
    # What was verified already is not read again, and the others are.
    (site.directory / f"output/{done[2][:3]}/1.fits").unlink()
    (site.directory / "output/299/1.fits").unlink()
    result = site.make("verify", "CHECK=full")
    assert result.stdout.splitlines()[:-1] == [
        "+ output/100/7.fits (it is not here)",
        "+ output/299/1.fits (it is not here)",
    ]
    assert result.stdout.splitlines()[-1].startswith("200 tiles verified: 0 of 200 archives bad, 2 of 4000 files bad")
    assert not checkpoint.exists()
    assert f"+ output/{done[2][:3]}/1.fits" in site.make("verify", "CHECK=full").stdout


def test_another_check_starts_anew(site: Site) -> None:
    downloaded(site, many(3))
    site.done("untar")
    (site.directory / "stamps/mccd/verify").write_text("# CHECK=full SAMPLE=1 seed\n100.300\t0\t0\t9\t9\n")
    assert "0 of 3 archives bad, 0 of 60 files bad" in site.done("verify")


def test_a_sample_is_a_share_of_the_tiles(site: Site) -> None:
    downloaded(site, many(40))
    site.done("untar")
    assert site.done("verify", "SAMPLE=5%").startswith("2 tiles verified: 0 of 2 archives bad, 0 of 40 files bad")
    assert site.done("verify", "SAMPLE=0.1%").startswith("1 tile verified")
    assert site.done("verify", "SAMPLE=").startswith("40 tiles verified")
    for bad in ("5", "0%", "101%", "-1%"):
        result = site.make("verify", f"SAMPLE={bad}")
        assert f"bad value SAMPLE='{bad}'; give a share in percent, such as 5%" in result.stderr


def test_without_a_download_there_is_nothing_to_verify(site: Site) -> None:
    site.list_tiles("240.290")
    result = site.make("verify")
    assert result.returncode == 2
    assert "nothing was downloaded yet; run 'make download'" in result.stderr


def test_an_unreadable_file_is_an_error_of_its_own(site: Site) -> None:
    if os.geteuid() == 0 and subprocess.run(["which", "setpriv"], capture_output=True).returncode:
        pytest.skip("root reads everything, and there is no setpriv to be somebody else")
    downloaded(site, many(1))
    site.done("untar")
    (site.directory / "output/100/1.fits").chmod(0)
    command = [str(HERE / "bin/retrieve"), "verify", "DRYRUN=yes"]
    if os.geteuid() == 0:
        # Root without its powers: the owner of everything here, as any user is.
        command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *command]
    result = site.run(*command)
    assert "! output/100/1.fits (permission denied)" in result.stdout
