"""What pip installs: the wheel in an environment of its own, without a checkout and without PYTHON."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
import zipfile
from pathlib import Path

import pytest

from retrieve import VERSION
from support.making import tree
from support.site import HERE, TILES, Site

#: What is of no use without a checkout.
LEFT_OUT = {"lib/environment.sh", "lib/make/develop.mk", "lib/make/test-again.sh"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, as `make wheel` makes it."""
    place = tmp_path_factory.mktemp("wheel")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", place], cwd=HERE, check=True)
    (made,) = place.iterdir()
    return made


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel; the packages that it needs are those of the Python that runs the tests."""
    place = tmp_path_factory.mktemp("installed") / "environment"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(place / "bin/python"), "--disable-pip-version-check"]
    subprocess.run([*pip, "install", "-q", "--no-index", "--no-deps", wheel], check=True)
    (packages,) = place.glob("lib/python*/site-packages")
    (packages / "packages.pth").write_text(sysconfig.get_path("purelib"))
    return place


@pytest.fixture
def user(site: Site, environment: Path) -> Site:
    """Somebody who has the commands on PATH, and no Python that can do more than start them."""
    del site.environment["PYTHON"]
    site.environment["PATH"] = f"{environment}/bin:{site.environment['PATH']}"
    return site


def test_the_wheel_has_what_a_run_needs_of_the_checkout(wheel: Path) -> None:
    kept = ["git", "ls-files", "Makefile", "bin", "lib", "tile_numbers.txt.example"]
    known = subprocess.run(kept, cwd=HERE, check=True, capture_output=True, text=True).stdout.split()
    names = [name for name in zipfile.ZipFile(wheel).namelist() if not re.search(r"\.(dist-info|data)/", name)]
    assert sorted(names) == sorted(f"shapepipe_retrieve/{name}" for name in {*known} - LEFT_OUT)
    assert wheel.name == f"shapepipe_retrieve-{VERSION}-py3-none-any.whl"


@pytest.mark.soak
@pytest.mark.short
def test_the_steps_are_taken_however_they_are_called_and_nothing_is_written_beside_them(
    user: Site, environment: Path, vault: str
) -> None:
    before = tree(environment)
    user.list_tiles(*TILES)
    steps = {
        f"retrieve make avail INPUT_PATH={vault}": "tile_numbers.txt: 10/10 (100.0%) complete\n",
        'make -f "$(retrieve makefile)" download': "70 archives fetched",
        'ln -s "$(retrieve makefile)" Makefile && make untar': "70 archives unpacked; 10 tiles",
        "retrieve missing": "missing.txt: 0 tiles missing\n",
    }
    for command, answer in steps.items():
        result = user.run("bash", "-c", command)
        assert (result.returncode, result.stdout[: len(answer)]) == (0, answer), result.stderr
    assert tree(environment) == before


def test_make_has_the_python_of_the_environment(user: Site, environment: Path) -> None:
    for command in "retrieve make", 'make -f "$(retrieve makefile)"':
        (line,) = user.run("bash", "-c", f"{command} -n avail").stdout.splitlines()
        assert re.match(rf"PYTHON='{environment}/bin/python[0-9.]*' {environment}/lib/\S+/bin/retrieve avail ", line)


def test_each_command_is_there_and_tells_its_version(user: Site, environment: Path) -> None:
    assert user.run("retrieve", "version").stdout == f"retrieve {VERSION}\n" == user.run("retrieve", "--version").stdout
    for command in "retrieve", "canfar_avail_results", "canfar_download_results", "untar_results":
        assert user.run(command, "-h").stdout.endswith(f"version {VERSION}\n")
    assert user.run("vospace-demo", "--help").stdout.startswith("usage: vospace-demo ")
    assert (environment / "share/man/man1/retrieve.1").is_file()


def test_help_shows_what_works_and_what_does_not_says_what_it_needs(user: Site) -> None:
    checkout = user.make("help-all").stdout.splitlines()
    assert checkout[0] == "make TARGET NAME=value ..."
    here = user.run("retrieve", "make", "help-all").stdout.splitlines()
    assert here[0] == "retrieve make TARGET NAME=value ..."
    targets = [{line.split()[0] for line in text if re.match("  [a-z]", line)} for text in (here, checkout)]
    assert targets[0] < targets[1]
    develop = re.findall("^([a-z-]+): .*?##", (HERE / "lib/make/develop.mk").read_text(), re.MULTILINE)
    assert targets[1] - targets[0] == {*develop}
    for target in targets[1] - targets[0]:
        result = user.run("retrieve", "make", target)
        assert (result.returncode, result.stdout) == (2, "")
        assert result.stderr.startswith(f"'{target}' needs a checkout of the toolkit, and this is an installed one: ")


def test_doctor_knows_which_packages_it_was_installed_with(user: Site, environment: Path) -> None:
    line = "packages     the 6 packages of 'shapepipe-retrieve' in their versions\n"
    assert f"ok  {line}" in user.run("retrieve", "doctor", f"INPUT_PATH={environment}").stdout


def test_without_make_the_command_says_what_to_install(user: Site, environment: Path, tmp_path: Path) -> None:
    (tmp_path / "readlink").symlink_to(str(shutil.which("readlink")))
    user.environment["PATH"] = str(tmp_path)
    result = user.run(str(environment / "bin/retrieve"), "make", "avail")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == "no GNU Make 4.2 or newer; install it, on macOS with 'brew install make'\n"
