"""Verifying: what is not as it was is reported, loses its stamp, and is mended by the next download or untar."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from retrieve.errors import SettingError
from retrieve.settings import Settings
from support.endings import wait_until
from support.pages import documented_keys, keys
from support.site import HERE, Site, environment
from support.tar_making import downloaded, fits, member, packed
from vospace_demo.results import make_archives

TILES = ("240.290", "240.291", "241.290")


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with the archives of three tiles; it knows no MD5."""
    directory = tmp_path_factory.mktemp("source")
    for tile in TILES:
        make_archives(directory, tile, "mccd", exposures=1, ccds=1)
    return directory


@pytest.fixture(scope="module")
def kept(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run directory with these tiles, as `make` left it."""
    home = tmp_path_factory.mktemp("home")
    site = Site(home / "run", environment(home))
    site.directory.mkdir()
    site.list_tiles(*TILES)
    site.done("avail", f"INPUT_PATH={source}")
    site.done("download", "untar")
    return site.directory


@pytest.fixture
def unpacked(site: Site, kept: Path) -> Site:
    """A copy of it."""
    shutil.copytree(kept, site.directory, dirs_exist_ok=True)
    return site


def catalogue(site: Site, product: str = "final_cat", tile: str = "240.290") -> Path:
    """The FITS file of a product of a tile."""
    (path,) = (site.directory / "output").rglob(f"{product}-{tile.replace('.', '-')}.fits")
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


#: A tile, a product of it, what is done to its file, and what is shown of that.
DAMAGES: list[tuple[str, str, Callable[[Path], None], str, str]] = [
    ("240.290", "final_cat", Path.unlink, "+", "it is not here"),
    ("240.290", "pipeline_flag", cut, "*", "bytes rather than"),
    ("240.291", "final_cat", break_header, "*", "a header without NAXIS2"),
    ("240.291", "pipeline_flag", link_away, "*", "no regular file"),
    ("241.290", "final_cat", flip, "*", "of HDU 1 does not agree"),
]


def test_damaged_files_are_reported_and_mended(unpacked: Site) -> None:
    before = unpacked.files("output")
    paths = [catalogue(unpacked, product, tile) for tile, product, *_ in DAMAGES]
    for path, (_, _, damage, *_) in zip(paths, DAMAGES, strict=True):
        damage(path)
    told: dict[str, str] = {}
    # Another bit is for the full check to find; what was found lost its stamp, and is not read again.
    for check, bad in (("quick", 2), ("full", 1)):
        result = unpacked.make("verify", f"CHECK={check}")
        assert result.returncode == 2
        assert f"{bad} of 3 tiles are bad and lost their stamps; run 'make download untar'" in result.stderr
        told |= {line.split()[1]: line for line in result.stdout.splitlines()[:-1] if not line.startswith("- ")}
    assert len(told) == len(paths)
    for path, (*_, sign, why) in zip(paths, DAMAGES, strict=True):
        line = told[str(path.relative_to(unpacked.directory))]
        assert line.startswith(sign)
        assert why in line
    assert os.listdir(unpacked.directory / "stamps/mccd/extracted") == []
    assert len(os.listdir(unpacked.directory / "stamps/mccd/downloaded")) == 3
    paths[3].unlink()
    paths[3].with_name("elsewhere").unlink()
    unpacked.done("untar")
    assert unpacked.files("output") == before
    assert unpacked.done("verify", "CHECK=full").startswith("3 tiles verified: 0 of 21 archives bad, 0 of ")


def test_damaged_archives_are_reported_and_mended(unpacked: Site) -> None:
    before = unpacked.files("archives")
    damages = {"logs_240.291": Path.unlink, "setools_mask_240.291": cut, "setools_mask_241.290": flip}
    for name, damage in damages.items():
        damage(unpacked.directory / "archives" / f"{name}.tgz")
    result = unpacked.make("verify")
    assert result.returncode == 2
    for line, (name, damage) in zip(result.stdout.splitlines(), damages.items(), strict=False):
        assert line.startswith(f"{'+' if damage is Path.unlink else '*'} archives/{name}.tgz (")
    assert "3 of 21 archives bad, 0 of" in result.stdout
    assert "2 of 3 tiles are bad and lost their stamps; run 'make download untar' to mend them" in result.stderr
    assert os.listdir(unpacked.directory / "stamps/mccd/downloaded") == ["240.290"]
    assert "3 archives fetched" in unpacked.make("download").stdout
    assert unpacked.files("archives") == before
    assert "nothing to unpack" in unpacked.done("untar")
    unpacked.done("verify")


def test_every_file_is_shown_when_asked_and_what_is_beside_them_is_told_and_left_alone(unpacked: Site) -> None:
    own = catalogue(unpacked).with_name("mine.txt")
    paths = {f"output/{path}" for path in unpacked.files("output")} | {
        f"archives/{path}" for path in unpacked.files("archives")
    }
    own.write_text("mine")
    shown = unpacked.done("verify", "V=1").splitlines()
    beside = f"- {own.relative_to(unpacked.directory)}"
    assert shown.pop(shown.index(beside)) == beside
    assert "1 file beside them that no tile brought" in shown[-1]
    assert {line.removeprefix("= ") for line in shown[:-1]} == paths
    assert own.read_text() == "mine"


def test_the_result_can_be_had_as_json_and_a_dry_run_takes_no_stamp(unpacked: Site) -> None:
    catalogue(unpacked).unlink()
    before = unpacked.stamps()
    found = unpacked.json("verify", "DRYRUN=yes")
    assert keys(found) == documented_keys("verify")
    assert found["bad"] == ["240.290"]
    assert [(one["sign"], one["tile"]) for one in found["findings"]] == [("+", "240.290")]
    assert unpacked.stamps() == before


def test_a_lost_list_of_members_is_reported_and_mended(unpacked: Site) -> None:
    (unpacked.directory / "stamps/mccd/members/240.290.gz").write_bytes(b"")
    assert unpacked.make("verify").stdout.startswith("! stamps/mccd/members/240.290.gz (it does not list 'final_cat_")
    unpacked.done("untar")
    unpacked.done("verify")


def many(count: int) -> dict[str, bytes]:
    return {
        f"logs_{tile}.300.tgz": packed(*(member(f"output/{tile}/{i}.fits", fits(i * 100)) for i in range(8)))
        for tile in range(100, 100 + count)
    }


@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace: apt-get install strace")
def test_a_stopped_run_is_gone_on_with(site: Site) -> None:
    downloaded(site, many(20))
    site.done("untar")
    (site.directory / "output/100/7.fits").unlink()
    checkpoint = site.directory / "stamps/mccd/verify"
    # It gets as far as the last archive.
    last = ("-P", "archives/logs_119.300.tgz", "-e", "trace=openat", "-e", "inject=openat:delay_enter=600s")
    process = subprocess.Popen(
        ["strace", "-f", "-qq", "-o", "/dev/null", *last, str(HERE / "bin/retrieve"), "verify"],
        cwd=site.directory, env=site.environment, start_new_session=True,
    )  # fmt: skip
    try:
        wait_until(lambda: checkpoint.exists() and checkpoint.read_text().count("\n") > 5, process)
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    done = [line.split("\t")[0] for line in checkpoint.read_text().splitlines() if line[0].isdigit()]
    assert 4 <= len(done) < 20
    # A power cut may leave zeros at the end.
    with checkpoint.open("ab") as file:
        file.write(bytes(100) + b"\t1\n" + bytes(100))
    # What was verified already is not read again, and the others are.
    (site.directory / f"output/{done[2][:3]}/1.fits").unlink()
    (site.directory / "output/119/1.fits").unlink()
    result = site.make("verify")
    assert result.stdout.splitlines()[:-1] == [
        "+ output/100/7.fits (it is not here)",
        "+ output/119/1.fits (it is not here)",
    ]
    assert result.stdout.splitlines()[-1].startswith("20 tiles verified: 0 of 20 archives bad, 2 of 160 files bad")
    assert not checkpoint.exists()
    assert f"+ output/{done[2][:3]}/1.fits" in site.make("verify").stdout


def test_another_check_starts_anew(unpacked: Site) -> None:
    (unpacked.directory / "stamps/mccd/verify").write_text("# CHECK=full SAMPLE=1 seed\n240.290\t0\t0\t9\t9\n")
    assert "0 of 21 archives bad, 0 of" in unpacked.done("verify")


def test_a_sample_is_a_share_of_the_tiles(site: Site) -> None:
    downloaded(site, {f"logs_{tile}.300.tgz": packed(member(f"output/{tile}/1.txt")) for tile in range(100, 140)})
    site.done("untar")
    assert site.done("verify", "SAMPLE=5%").startswith("2 tiles verified: 0 of 2 archives bad, 0 of 2 files bad")
    assert site.done("verify", "SAMPLE=0.1%").startswith("1 tile verified")
    assert site.done("verify", "SAMPLE=").startswith("40 tiles verified")
    for bad in ("5", "0%", "101%", "-1%"):
        problem = f"^bad value SAMPLE='{bad}'; give a share in percent, such as 5%$"
        with pytest.raises(SettingError, match=problem):
            Settings.parse([f"SAMPLE={bad}"])


def test_without_a_download_there_is_nothing_to_verify(site: Site) -> None:
    site.list_tiles("240.290")
    result = site.make("verify")
    assert result.returncode == 2
    assert "nothing was downloaded yet; run 'make download'" in result.stderr


def test_an_unreadable_file_is_an_error_of_its_own(unpacked: Site) -> None:
    if os.geteuid() == 0 and subprocess.run(["which", "setpriv"], capture_output=True).returncode:
        pytest.skip("needs setpriv: apt-get install util-linux")
    path = catalogue(unpacked)
    path.chmod(0)
    command = [str(HERE / "bin/retrieve"), "verify", "DRYRUN=yes"]
    if os.geteuid() == 0:
        # Root without its powers: the owner of everything here, as any user is.
        command = ["setpriv", "--bounding-set=-all", "--inh-caps=-all", *command]
    result = unpacked.run(*command)
    assert f"! {path.relative_to(unpacked.directory)} (permission denied)" in result.stdout
