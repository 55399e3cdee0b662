"""The Makefile: settings, what is remembered, incremental runs, parallel ones, long lists."""

from __future__ import annotations

import os
import pkgutil
import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from retrieve import commands
from retrieve.settings import REMEMBERED, TABLE, Settings
from support.making import make_newer, ours, read_only, refused, tree
from support.site import HERE, RESULTS, TILES, Site, names, shown_by
from vospace_demo.faults import Fault
from vospace_demo.results import make_many
from vospace_demo.server import VOSpace

VERBS = [module.name for module in pkgutil.iter_modules(commands.__path__)]


@pytest.mark.parametrize("words", ["PSF=foo", "INPUT_PATH=nowhere", "JOBS=0", "PRODUCTS=nonsense", "TILES=absent.txt"])
def test_what_is_refused_ends_make_and_the_command_in_the_same_line(words: str, site: Site) -> None:
    site.list_tiles(*TILES)
    given = [words] if words.startswith("INPUT_PATH") else [words, "INPUT_PATH=."]
    line = refused(site, *given)
    before = tree(site.directory)
    result = site.make("avail", *given)
    assert (result.returncode, result.stdout, ours(result)) == (2, "", [line])
    direct = site.run(str(HERE / "bin/retrieve"), "avail", *given)
    assert (direct.returncode, direct.stdout, direct.stderr) == (2, "", f"{line}\n")
    assert tree(site.directory) == before


@pytest.mark.parametrize(
    ("words", "named", "remedy"),
    [
        ("PSF=foo", "PSF='foo'", "give psfex or mccd"),
        ("PSF=", "PSF=''", "give psfex or mccd"),
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
        ("GOAL=link", "GOAL='link'", "give download, untar, verify or sync"),
        ("GOAL=", "GOAL=''", "give download, untar, verify or sync"),
        ("SHARDS=0", "SHARDS='0'", "give a whole number from 1"),
        ("SBATCH=comp", "SBATCH='comp'", "give options of sbatch, such as --partition=comp"),
        ("SBATCH=--comment='", "SBATCH='--comment=''", "give options of sbatch, each quotation closed"),
        (
            "SBATCH=--time=1:00 --array=1-9",
            "'--time=1:00 --array=1-9'",
            "SHARDS and the run directory say what --array",
        ),
        ("EVERY=10", "EVERY='10'", "give a time, such as 30s, 10m or 1h"),
    ],
)
def test_a_bad_setting_is_refused_in_one_line_and_nothing_is_written(
    words: str, named: str, remedy: str, site: Site
) -> None:
    site.list_tiles(*TILES)
    line = refused(site, "INPUT_PATH=.", words)
    assert named in line
    assert remedy in line


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["PFS=mccd"], "unknown setting 'PFS'; 'make help-all' lists them"),
        (["TILE=182.308"], "the setting 'TILE' is gone; give TILES the number, such as TILES=182.308"),
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
def test_make_itself_refuses_what_it_cannot_work_with(words: list[str], problem: str, site: Site) -> None:
    for target in ("help", "download", "sync"):
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


@pytest.mark.parametrize(
    ("setting", "verb", "begin", "unwritable"),
    [
        ("STAMPS", "avail", "listed", below_a_file),
        ("STAMPS", "download", "listed", read_only),
        ("STAMPS", "untar", "downloaded", read_only),
        ("ARCHIVES", "download", "listed", below_a_file),
        ("ARCHIVES", "download", "listed", read_only),
        ("DEST", "untar", "downloaded", read_only),
    ],
)
def test_an_unwritable_directory_is_named_and_nothing_is_half_done(
    setting: str, verb: str, begin: str, unwritable: Callable[[Site, str], list[str]], site: Site, vault: str
) -> None:
    site.begin(begin, vault)
    site.list_tiles(TILES[0])
    words = [*unwritable(site, setting), f"INPUT_PATH={vault}"]
    before = {path: content for path, content in tree(site.directory).items() if "stale-" not in path}
    result = site.make(verb, *words)
    assert result.returncode == 2
    line, *end = [line for line in ours(result) if " to fetch, " not in line]
    assert end in ([], ["1 of 1 tile failed; see above"])
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
    assert "PSF model: psfex or mccd [psfex]" in site.done("help")


def test_the_command_line_outdoes_the_environment_and_that_what_is_remembered(site: Site, vault: str) -> None:
    site.begin("listed", vault)
    site.list_tiles(TILES[2], name="one.txt")
    site.environment["TILES"] = "one.txt"
    assert site.done("download").startswith("7 archives fetched")
    assert site.done("missing", "TILES=tile_numbers.txt").startswith("missing.txt: 9 tiles missing\n")
    assert "one.txt: 1/1 (100.0%) complete" in site.done("avail")
    del site.environment["TILES"]
    assert "TILES ?= one.txt\n" in (site.directory / "stamps/settings.mk").read_text()
    assert "[one.txt]" in site.done("help")
    assert "[tile_numbers.txt]" in site.done("help", "TILES=tile_numbers.txt")


def test_any_name_of_a_directory_is_remembered_as_it_is(site: Site, container: Path) -> None:
    there = container.rename(container.parent / 'it\'s a$b "c" (d) #e f\\#g=h;i&j|k%%l ü')
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
    for tile in TILES[:2]:
        for kind in ("psf", "seeing"):
            (tmp_path / f"{kind}_{tile}.txt").write_text(kind)
        site.list_tiles(tile, name=f"{tile}.txt")
    # As TILES="$(ls *.txt)" gives them.
    lists = f"TILES={TILES[0]}.txt\n{TILES[1]}.txt"
    site.done("avail", f"INPUT_PATH={tmp_path}", "PRODUCTS=psf_{tile}.txt seeing_{tile}.txt", lists)
    assert site.done("download").startswith("4 archives fetched")
    assert len(site.stamps("files")) > 0


def test_an_avail_that_failed_remembers_nothing(site: Site, vault: str) -> None:
    site.list_tiles(*TILES)
    refused(site, "PSF=psfex", "INPUT_PATH=nowhere")
    assert not (site.directory / "stamps").exists()
    site.begin("listed", vault)
    remembered = (site.directory / "stamps/settings.mk").read_text()
    assert [line.partition(" ")[0] for line in remembered.splitlines()[1:]] == list(REMEMBERED)
    assert site.make("avail", "PSF=psfex", "INPUT_PATH=nowhere").returncode == 2
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
    site.list_tiles(*TILES[:2])
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
    # Each of several steps is taken in a Make of its own.
    words = ["avail", "missing", f"INPUT_PATH={os.path.relpath(container, site.directory)}"]
    result = site.run("make", *command, *words)
    assert result.returncode == 0, result.stderr
    assert len([path for path in site.stamps() if path.startswith("available/2")]) == 2
    assert (site.directory / "missing.txt").read_text().split() == list(TILES[:2])
    assert tree(checkout) == before


def ask(site: Site) -> None:
    """Ask what each step would do, which must change nothing that matters."""
    before = {path: stamp for path, stamp in tree(site.directory).items() if "/stale-" not in path}
    for words in (["avail", "download", "untar", "missing"], ["sync"]):
        assert site.make("-n", *words).returncode == 0
    for words in (["avail", "download", "untar", "missing"], ["download"], ["untar"]):
        assert site.make("-q", *words).returncode == 1
    assert {path: stamp for path, stamp in tree(site.directory).items() if "/stale-" not in path} == before


def test_asking_what_would_be_done_changes_nothing_that_matters(site: Site, vault: str) -> None:
    site.list_tiles(*TILES)
    site.environment["INPUT_PATH"] = vault
    ask(site)
    assert tree(site.directory).keys() == {"tile_numbers.txt"}
    site.begin("listed", vault)
    ask(site)
    assert site.done("download").startswith("70 archives fetched")
    ask(site)
    assert site.done("untar").startswith("70 archives unpacked; 10 tiles")


def test_a_later_run_collects_exactly_the_stale_tiles(site: Site, vault: str, container: Path) -> None:
    """The trap: a file target behind the list is skipped on every run but the first."""
    collected, new = site.directory / "stamps/mccd", "250.250"
    site.begin("unpacked", vault)
    make_newer(container, TILES[3])
    site.done("avail")
    ask(site)
    assert site.done("download").startswith("1 archive fetched")
    assert (collected / "stale-download").read_text().split() == [TILES[3]]
    assert site.done("untar").startswith("1 archive unpacked; 1 tile ")
    assert (collected / "stale-untar").read_text().split() == [TILES[3]]
    make_newer(container, TILES[8])
    make_many(container, [new], "mccd")
    site.list_tiles(*TILES, new)
    site.done("avail")
    assert site.done("download").startswith("8 archives fetched")
    assert (collected / "stale-download").read_text().split() == [TILES[8], new]
    assert site.done("untar").startswith("8 archives unpacked; 2 tiles ")
    assert (collected / "stale-untar").read_text().split() == [TILES[8], new]
    assert site.done("download") == "nothing to fetch\n"
    assert site.done("untar") == "nothing to unpack\n"
    assert (collected / "stale-download").read_text() == (collected / "stale-untar").read_text() == ""


def test_steps_in_one_call_are_taken_in_order_with_as_many_transfers_at_once_as_jobs(
    site: Site, space: VOSpace
) -> None:
    site.environment |= space.environment() | {"INSECURE": "yes"}
    site.list_tiles(TILES[0])
    # They meet, be the machine ever so busy.
    space.fault(Fault("latency", route="files", seconds=0.7))
    lines = site.done("-j3", "sync", f"INPUT_PATH=arc:{RESULTS}").splitlines()
    starts = ("tile_numbers.txt: ", "7 archives fetched", "7 archives unpacked", "missing.txt: 0 tiles missing")
    assert [start for line in lines for start in starts if line.startswith(start)] == list(starts)
    assert space.requests().peak == 3


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
    ("words", "jobs"), [(["-j3"], 3), (["JOBS=2"], 2), (["-j5", "JOBS=2"], 2), (["-j"], 0), ([], 0)]
)
def test_the_jobs_of_make_are_transfers_at_once_unless_the_setting_is_given(
    words: list[str], jobs: int, site: Site
) -> None:
    site.begin("listed", f"vos:{RESULTS}")
    (line,) = [line for line in site.done("-n", *words, "download").splitlines() if "bin/retrieve" in line]
    _, _, given = line.partition("bin/retrieve download ")
    assert Settings.parse(shlex.split(given)).jobs == jobs


@pytest.mark.soak
def test_the_whole_survey_fits_though_no_command_line_could_hold_it(site: Site, container: Path) -> None:
    tiles = sorted({*TILES, *(f"{100 + place // 200}.{300 + place % 200}" for place in range(27_281))})
    assert len(tiles) == 27_291
    site.list_tiles(*tiles)
    assert "tile_numbers.txt: 10/27291 (0.0%) complete" in site.done("avail", f"INPUT_PATH={container}")
    assert site.done("missing").startswith("missing.txt: 27291 tiles missing\n")
    assert site.json("download", "DRYRUN=yes")["tiles"] == sorted(TILES)
    assert site.done("download").startswith("70 archives fetched")
    assert sorted((site.directory / "stamps/mccd/stale-download").read_text().split()) == sorted(TILES)
    shutil.rmtree(site.directory / "stamps")  # so many files would keep pytest busy later


def test_help_shows_what_a_user_needs_on_one_screen_and_writes_nothing(site: Site, vault: str) -> None:
    text = site.done("help")
    assert text == site.done()
    assert len(text.splitlines()) <= 24
    assert max(map(len, text.splitlines())) <= 100
    # The self-test is for who maintains a service, and in help-all.
    assert {"sync", "demo", "help-all", *VERBS} - {"selftest"} <= shown_by(text).keys()
    assert "test" not in shown_by(text)
    assert tree(site.directory) == {}
    site.begin("listed", vault, "psfex")
    before = tree(site.directory)
    assert "[psfex]" in shown_by(site.done("help"))["PSF"]
    everything = shown_by(site.done("help-all", "JOBS=3", "RATE=it's 5% of $$x"))
    for name, value in {"PSF": "psfex", "INPUT_PATH": vault, "JOBS": 3, "RATE": "it's 5% of $x"}.items():
        assert everything[name].endswith(f"[{value}]")
    assert tree(site.directory) == before


def test_help_lists_every_verb_target_and_setting(site: Site) -> None:
    makefiles = [HERE / "Makefile", *(HERE / "lib/make").glob("*.mk")]
    rules = re.findall(r"^([a-z-]+):(?!=)", "".join(path.read_text() for path in makefiles), re.MULTILINE)
    everything = shown_by(site.done("help-all"))
    assert {name for name in everything if name.islower()} == {*rules, *VERBS} - {"env"}
    assert {name for name in everything if name.isupper()} == {*TABLE, "PYTHON"}


def test_a_reader_who_has_seen_enough_is_no_error(site: Site) -> None:
    site.begin("listed", f"vos:{RESULTS}")
    settings = "STAMPS=stamps V=1"
    result = site.run("bash", "-c", f"{HERE}/bin/retrieve missing {settings} | true; echo ${{PIPESTATUS[0]}}")
    assert result.stderr == ""
    assert result.stdout in ("141\n", "0\n")
