"""The Makefile: settings, what is remembered, incremental runs, parallel ones, long lists."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from retrieve.settings import REMEMBERED
from support.making import make_newer, ours, read_only, refused, tree
from support.site import HERE, RESULTS, TILES, Site, names
from vospace_demo.faults import Fault
from vospace_demo.results import IMAGE_NAMES, make_images, make_many
from vospace_demo.server import VOSpace


@pytest.mark.parametrize(
    ("words", "named", "remedy"),
    [
        ("PSF=foo", "PSF model 'foo'", "give PSF=psfex or PSF=mccd"),
        ("PSF=", "PSF model ''", "give PSF=psfex or PSF=mccd"),
        ("INPUT_PATH=nowhere", "'nowhere'", "give INPUT_PATH vos:"),
        ("INPUT_PATH=ftp://host/results", "'ftp://host/results'", "give INPUT_PATH vos:"),
        ("INPUT_PATH=", "INPUT_PATH=''", "give a container or a directory"),
        ("JOBS=0", "JOBS='0'", "give a whole number from 1"),
        ("JOBS=x", "JOBS='x'", "give a whole number from 1"),
        ("JOBS=", "JOBS=''", "give a whole number from 1"),
        ("CHECK=foo", "CHECK='foo'", "give quick, full or none"),
        ("PARTIAL=maybe", "PARTIAL='maybe'", "give yes or no"),
        ("DRYRUN=1", "DRYRUN='1'", "give yes or no"),
        ("FORCE=1", "FORCE='1'", "give yes or no"),
        ("INSECURE=true", "INSECURE='true'", "give yes or no"),
        ("FORMAT=xml", "FORMAT='xml'", "give text or json"),
        ("TIMEOUT=0", "TIMEOUT='0'", "give seconds, more than 0"),
        ("RETRIES=-1", "RETRIES='-1'", "give a whole number from 0"),
        ("RATE=fast", "RATE='fast'", "20M"),
        ("V=x", "V='x'", "give 0, 1 or quiet"),
        ("ARCHIVES=", "ARCHIVES=''", "give a directory"),
        ("DEST=", "DEST=''", "give a directory"),
    ],
)
def test_a_bad_setting_is_refused_in_one_line_and_nothing_is_written(
    words: str, named: str, remedy: str, site: Site, container: Path
) -> None:
    site.list_tiles(*TILES)
    given = [words] if words.startswith("INPUT_PATH") else [words, f"INPUT_PATH={container}"]
    line = refused(site, *given)
    assert named in line
    assert remedy in line


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["PFS=mccd"], "unknown setting 'PFS'; 'make help' lists them"),
        (["STAMPS="], "bad value STAMPS=''; give one directory, without a space in its name"),
        (["STAMPS=my stamps"], "bad value STAMPS='my stamps'; give one directory, without a space in its name"),
        (["-t"], "'make -t' would stamp what was never verified; leave out -t"),
        (["-st"], "'make -t' would stamp what was never verified; leave out -t"),
        (
            ["MAKE_VERSION=4.1"],
            "GNU Make 4.1 is too old, 4.2 is needed; on macOS: 'brew install make', then type 'gmake'",
        ),
        (
            ["MAKE_VERSION=3.81"],
            "GNU Make 3.81 is too old, 4.2 is needed; on macOS: 'brew install make', then type 'gmake'",
        ),
    ],
)
@pytest.mark.parametrize("target", ["help", "avail", "download", "untar", "missing", "sync"])
def test_make_itself_refuses_what_it_cannot_work_with(target: str, words: list[str], problem: str, site: Site) -> None:
    result = site.make(*words, target)
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.endswith(f"*** {problem}.  Stop.\n")
    assert len(result.stderr.splitlines()) == 1
    assert tree(site.directory) == {}


@pytest.mark.parametrize("version", ["4.2", "4.2.1", "4.3", "4.10", "5.0"])
def test_a_make_that_is_new_enough_is_not_refused_for_its_version(version: str, site: Site) -> None:
    assert "too old" not in site.make(f"MAKE_VERSION={version}", "help").stderr


def below_a_file(site: Site, setting: str) -> list[str]:
    """A directory that nobody can make, root included: what is above it is a file."""
    (site.directory / "file").touch()
    return [f"{setting}=file/below"]


@pytest.mark.parametrize("unwritable", [below_a_file, read_only])
@pytest.mark.parametrize(
    ("setting", "verb"),
    [
        ("STAMPS", "avail"),
        ("STAMPS", "download"),
        ("STAMPS", "untar"),
        ("ARCHIVES", "download"),
        ("DEST", "untar"),
    ],
)
def test_an_unwritable_directory_is_named_and_nothing_is_half_done(
    setting: str, verb: str, unwritable: Callable[[Site, str], list[str]], site: Site, container: Path
) -> None:
    site.list_tiles(TILES[0])
    site.done("avail", f"INPUT_PATH={container}")
    if verb == "untar":
        site.done("download")
    words = [*unwritable(site, setting), f"INPUT_PATH={container}"]
    before = {path: content for path, content in tree(site.directory).items() if "stale-" not in path}
    result = site.make(verb, *words)
    assert result.returncode == 2
    line, *end = [line for line in ours(result) if " to fetch, " not in line]
    assert end in ([], ["1 of 1 tile failed; run 'make download' again"])
    assert words[0].partition("=")[2] in line
    assert "; " in line  # before the remedy
    after = {path: content for path, content in tree(site.directory).items() if "stale-" not in path}
    # But for the record of runs, which tells of this one.
    assert {path: content for path, content in after.items() if not path.endswith("/runs.jsonl")} == {
        path: content for path, content in before.items() if not path.endswith("/runs.jsonl")
    }


def test_the_settings_of_avail_are_remembered(site: Site, container: Path) -> None:
    site.list_tiles(*TILES, name="deep field.txt".replace(" ", "_"))
    site.done("avail", "PSF=psfex", f"INPUT_PATH={container}", "TILES=deep_field.txt", "ARCHIVES=kept here")
    site.done("download")
    assert set(site.files("kept here")) == {name for tile in TILES for name in names(tile, "psfex")}
    assert site.done("missing") == "missing.txt: 0 tiles missing\n"
    assert "PSF model: psfex or mccd [psfex]" in site.done("help")


def test_the_command_line_and_the_environment_outdo_what_is_remembered(site: Site, container: Path) -> None:
    site.list_tiles(*TILES)
    site.list_tiles(TILES[2], name="one.txt")
    site.done("avail", f"INPUT_PATH={container}", "TILES=tile_numbers.txt")
    assert site.done("download", "TILES=one.txt").startswith("7 archives fetched")
    site.environment["TILES"] = "one.txt"
    assert site.done("download") == "nothing to fetch\n"
    assert "one.txt: 1/1 (100.0%) complete" in site.done("avail")
    del site.environment["TILES"]
    assert "TILES ?= one.txt\n" in (site.directory / "stamps/settings.mk").read_text()
    site.done("download", "TILES=tile_numbers.txt")
    assert len(site.files("archives")) == 70


@pytest.mark.parametrize("name", ["a$b #c", 'it\'s "b", (c)', "a\\#b", "a=b;c&d|e%%f ü"])
def test_any_name_of_a_directory_is_remembered_as_it_is(name: str, site: Site, container: Path) -> None:
    there = container.rename(container.parent / name)
    site.list_tiles(TILES[0])
    # Make reads a dollar sign as its own unless it is doubled; that is so on the command line and in the environment.
    site.done("avail", f"INPUT_PATH={there}".replace("$", "$$"))
    assert site.done("download").startswith("7 archives fetched")
    assert f"[{there}]" in site.done("help")
    shutil.rmtree(site.directory / "stamps")
    site.environment["INPUT_PATH"] = str(there).replace("$", "$$")
    site.done("avail")
    assert site.stamps()[f"available/{TILES[0]}"][1].startswith(f"# {there}\n")


def test_several_patterns_and_lists_are_remembered(site: Site, tmp_path: Path) -> None:
    images = tmp_path / "images"
    images.mkdir()
    for tile in TILES[:2]:
        make_images(images, tile)
        site.list_tiles(tile, name=f"{tile}.txt")
    # As TILES="$(ls *.txt)" gives them.
    lists = f"TILES={TILES[0]}.txt\n{TILES[1]}.txt"
    site.done("avail", f"INPUT_PATH={images}", f"PRODUCTS={' '.join(IMAGE_NAMES)}", lists)
    assert site.done("download").startswith("4 archives fetched")
    assert len(site.stamps("files")) > 0


def test_an_avail_that_failed_remembers_nothing(site: Site, container: Path) -> None:
    site.list_tiles(*TILES)
    assert site.make("avail", "PSF=psfex", "INPUT_PATH=nowhere").returncode == 2
    assert not (site.directory / "stamps").exists()
    site.done("avail", f"INPUT_PATH={container}")
    remembered = (site.directory / "stamps/settings.mk").read_text()
    assert [line.partition(" ")[0] for line in remembered.splitlines()[1:]] == list(REMEMBERED)
    assert site.make("avail", "PSF=psfex", "INPUT_PATH=nowhere").returncode == 2
    assert site.make("avail", "TILES=nowhere").returncode == 2
    assert (site.directory / "stamps/settings.mk").read_text() == remembered


@pytest.mark.parametrize("how", ["-f", "-C", "include"])
def test_it_works_from_any_directory_and_writes_nothing_into_the_checkout(
    how: str, site: Site, container: Path, tmp_path: Path
) -> None:
    checkout = tmp_path / "a-checkout"
    checkout.mkdir()
    shutil.copy(HERE / "Makefile", checkout)
    for name in ("bin", "lib"):
        shutil.copytree(HERE / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    site.environment["PYTHONDONTWRITEBYTECODE"] = "1"
    site.list_tiles(*TILES)
    before = tree(checkout)
    if how == "-f":
        command, site.directory = ["-f", "../../a-checkout/Makefile"], site.directory / "below"
        site.directory.mkdir()
        (site.directory / "tile_numbers.txt").symlink_to("../tile_numbers.txt")
    elif how == "-C":
        # A run directory whose Makefile is a link to that of the toolkit.
        (site.directory / "Makefile").symlink_to(checkout / "Makefile")
        command = ["-C", str(site.directory)]
    else:
        command = ["-f", os.path.relpath(checkout / "Makefile", site.directory), "-s"]
    result = site.run("make", *command, "sync", f"INPUT_PATH={os.path.relpath(container, site.directory)}")
    assert result.returncode == 0, result.stderr
    assert len(site.files("archives")) == 70
    assert len([path for path in site.stamps() if path.startswith("extracted/2")]) == 10
    assert tree(checkout) == before


STEPS = ("avail", "download", "untar", "missing", "sync")


@pytest.mark.parametrize("flag", ["-n", "-q"])
def test_asking_what_would_be_done_changes_nothing_that_matters(flag: str, site: Site, container: Path) -> None:
    site.list_tiles(*TILES)
    site.environment["INPUT_PATH"] = str(container)
    expected = 0 if flag == "-n" else 1

    def ask() -> None:
        before = {path: stamp for path, stamp in tree(site.directory).items() if "/stale-" not in path}
        for step in STEPS:
            assert site.make(flag, step).returncode == expected
        assert site.make(flag, *STEPS[:4]).returncode == expected
        assert {path: stamp for path, stamp in tree(site.directory).items() if "/stale-" not in path} == before

    ask()
    assert tree(site.directory).keys() == {"tile_numbers.txt"}
    site.done("avail")
    ask()
    assert site.done("download").startswith("70 archives fetched")
    ask()
    assert site.done("untar").startswith("70 archives unpacked; 10 tiles")
    make_newer(container, TILES[3])
    site.done("avail")
    ask()
    assert site.done("download").startswith("1 archive fetched")
    ask()
    assert site.done("untar").startswith("1 archive unpacked; 1 tile ")
    ask()
    assert site.done("download") == "nothing to fetch\n"
    assert site.done("untar") == "nothing to unpack\n"


def test_a_later_run_collects_exactly_the_stale_tiles(site: Site, container: Path) -> None:
    """The trap: a file target behind the list is skipped on every run but the first."""
    collected = site.directory / "stamps/mccd"
    site.list_tiles(*TILES)
    site.done("sync", f"INPUT_PATH={container}")
    for tile in (TILES[3], TILES[8], TILES[3]):
        make_newer(container, tile)
        site.done("avail")
        assert site.done("download").startswith("1 archive fetched")
        assert (collected / "stale-download").read_text().split() == [tile]
        assert site.done("untar").startswith("1 archive unpacked; 1 tile ")
        assert (collected / "stale-untar").read_text().split() == [tile]
    new = "250.250"
    make_many(container, [new], "mccd")
    site.list_tiles(*TILES, new)
    site.done("avail")
    assert site.done("download").startswith("7 archives fetched")
    assert (collected / "stale-download").read_text().split() == [new]
    site.done("untar")
    assert (collected / "stale-untar").read_text().split() == [new]
    site.done("sync")
    assert (collected / "stale-download").read_text() == (collected / "stale-untar").read_text() == ""


@pytest.mark.parametrize(
    "words", [["avail", "download", "untar", "missing"], ["-j4", "avail", "download", "untar", "missing"],
              ["-j4", "sync"], ["sync"]]
)  # fmt: skip
def test_several_steps_in_one_call_are_taken_in_order(words: list[str], site: Site, container: Path) -> None:
    site.list_tiles(*TILES)
    lines = site.done(*words, f"INPUT_PATH={container}").splitlines()
    starts = ("tile_numbers.txt: ", "70 archives fetched", "70 archives unpacked", "missing.txt: 0 tiles missing")
    steps = [start for line in lines for start in starts if line.startswith(start)]
    assert steps == list(starts)
    assert len([path for path in site.stamps() if path.startswith("extracted/2")]) == 10


def test_a_sync_goes_on_where_some_tiles_failed_and_stops_where_nothing_could_be_listed(
    site: Site, container: Path
) -> None:
    (container / names(TILES[4])[2]).write_bytes(b"no archive at all")
    site.list_tiles(*TILES)
    result = site.make("sync", f"INPUT_PATH={container}")
    assert result.returncode == 2
    assert names(TILES[4])[2] in result.stderr
    extracted = {path.partition("/")[2] for path in site.stamps() if path.startswith("extracted/2")}
    assert extracted == set(TILES) - {TILES[4]}
    assert (site.directory / "missing.txt").read_text() == f"{TILES[4]}\n"
    result = site.make("sync", "INPUT_PATH=nowhere")
    assert (result.returncode, result.stdout) == (2, "")
    assert len(ours(result)) == 1


@pytest.mark.parametrize(
    ("words", "peak"), [(["-j3"], 3), (["JOBS=2"], 2), (["-j5", "JOBS=2"], 2), (["-j"], 8), ([], 8)]
)
def test_at_most_so_many_transfers_are_made_at_once(words: list[str], peak: int, site: Site, space: VOSpace) -> None:
    site.environment |= space.environment() | {"INSECURE": "yes"}
    site.list_tiles(*TILES[:2])
    site.done("avail", f"INPUT_PATH=arc:{RESULTS}")
    space.fault(Fault("latency", route="files", seconds=0.1))
    assert site.done(*words, "download").startswith("14 archives fetched")
    assert space.requests().peak == peak


def test_the_jobs_of_make_reach_the_download_of_a_sync(site: Site, space: VOSpace) -> None:
    site.environment |= space.environment() | {"INSECURE": "yes"}
    site.list_tiles(*TILES[:2])
    space.fault(Fault("latency", route="files", seconds=0.1))
    site.done("-j3", "sync", f"INPUT_PATH=arc:{RESULTS}")
    assert space.requests().peak == 3


@pytest.mark.soak
def test_the_whole_survey_fits_though_no_command_line_could_hold_it(site: Site, container: Path) -> None:
    tiles = sorted({*TILES, *(f"{100 + place // 200}.{300 + place % 200}" for place in range(27_281))})
    assert len(tiles) == 27_291
    site.list_tiles(*tiles)
    assert "tile_numbers.txt: 10/27291 (0.0%) complete" in site.done("avail", f"INPUT_PATH={container}")
    assert site.done("missing").startswith("missing.txt: 27291 tiles missing\n")
    site.done("download", "PARTIAL=yes", "DRYRUN=yes")
    collected = (site.directory / "stamps/mccd/stale-download").read_text().split()
    assert sorted(collected) == tiles
    shutil.rmtree(site.directory / "stamps")  # so many files would keep pytest busy later


def test_help_lists_all_targets_and_settings_and_writes_nothing(site: Site, container: Path) -> None:
    makefile = (HERE / "Makefile").read_text()
    settings = makefile.partition("SETTINGS := ")[2].partition("GIVEN")[0].replace("\\", "").split()
    targets = {line.partition(":")[0] for line in makefile.splitlines() if line[:1].islower() and ":" in line}
    internal = {"env", "download"}  # `download` has a rule without help, too
    text = site.done("help")
    assert text == site.done()
    assert tree(site.directory) == {}
    shown = dict(line.split(None, 1) for line in text.splitlines() if line.startswith("  "))
    for target in {"help", "avail", "download", "untar", "missing", "sync", "demo", "test", "lint"} | (
        {name for name in targets if name.isalpha()} - internal
    ):
        assert shown[target]
    assert set(settings) | {"PYTHON"} == {name for name in shown if name.isupper()}
    site.list_tiles(TILES[0])
    site.done("avail", "PSF=psfex", f"INPUT_PATH={container}")
    before = tree(site.directory)
    text = site.done("help", "JOBS=3", "RATE=it's 5% of $$x")
    for value in ("[psfex]", f"[{container}]", "[3]", "[it's 5% of $x]", f"[{site.environment['PYTHON']}]"):
        assert value in text
    assert tree(site.directory) == before


def test_a_reader_who_has_seen_enough_is_no_error(site: Site, container: Path) -> None:
    site.list_tiles(*TILES)
    site.done("avail", f"INPUT_PATH={container}")
    settings = "STAMPS=stamps V=1"
    result = site.run("bash", "-c", f"{HERE}/bin/retrieve missing {settings} | true; echo ${{PIPESTATUS[0]}}")
    assert result.stderr == ""
    assert result.stdout in ("141\n", "0\n")
