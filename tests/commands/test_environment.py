"""The toolkit's own Python environment, and what is said where there is none."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from support.site import HERE, TILES, Site

#: What the Makefile and the scripts call, but for Python.
PROGRAMS = ("awk", "bash", "cp", "mkdir", "make", "readlink", "touch")

#: A Python that writes down how it was called, makes virtual environments of itself, and fails where `{fails}` says.
PYTHON = """#!/bin/sh
printf '%s\\n' "$*" >>'{calls}'
case "$*" in
    {fails}) exit 1 ;;
    '-m venv '*) mkdir -p "$3/bin" && cp "$0" "$3/bin/python" ;;
esac
"""
NOTHING = "nothing"

#: A Python that says that it is 3.10, and like that one does not know `-P`.
OLD_PYTHON = """#!/bin/sh
[ "$1" = -m ] || {{ echo "Unknown option: $1" >&2; exit 2; }}
exec '{python}' -c 'import runpy, sys
sys.version_info = (3, 10, 13)
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[1], run_name="__main__", alter_sys=True)' "$@"
"""


@pytest.fixture
def fresh(site: Site, tmp_path: Path) -> Site:
    """A machine without any Python on PATH, and a checkout without an environment."""
    checkout, programs = tmp_path / "checkout", tmp_path / "programs"
    checkout.mkdir()
    for name in ("Makefile", "requirements.txt", "requirements-dev.txt"):
        shutil.copy(HERE / name, checkout)
    for name in ("bin", "lib"):
        shutil.copytree(HERE / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__"))
    programs.mkdir()
    for name in PROGRAMS:
        (programs / name).symlink_to(str(shutil.which(name)))
    site.environment["PATH"] = str(programs)
    del site.environment["PYTHON"]
    site.list_tiles(*TILES)
    return site


def checkout(site: Site) -> Path:
    return site.directory.parent / "checkout"


def install(site: Site, fails: str = NOTHING, name: str = "python3") -> None:
    """Put a Python on PATH, as a new file: a virtual environment may hold a copy of the old one."""
    program = site.directory.parent / "programs" / name
    program.unlink(missing_ok=True)
    program.write_text(PYTHON.format(calls=site.directory / "calls", fails=fails))
    program.chmod(0o755)


def calls(site: Site) -> list[str]:
    """How the Pythons were called since the last time."""
    record = site.directory / "calls"
    lines = record.read_text().splitlines() if record.exists() else []
    record.unlink(missing_ok=True)
    return lines


def make(site: Site, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the Makefile of the checkout."""
    return site.run("make", "-f", str(checkout(site) / "Makefile"), *words)


def problem(result: subprocess.CompletedProcess[str]) -> str:
    """The line on stderr that is ours; there must be one, and Make must fail."""
    assert result.returncode == 2
    assert result.stdout == ""
    (line,) = [
        line for line in result.stderr.splitlines() if not line.startswith(("make: ***", "making a Python environment"))
    ]
    return line


def test_the_environment_is_made_once_and_again_when_the_lock_file_changed(fresh: Site) -> None:
    install(fresh)
    lock, made = checkout(fresh) / "requirements.txt", checkout(fresh) / ".venv/run"
    result = make(fresh, "avail")
    assert result.returncode == 0
    assert result.stderr == f"making a Python environment in {checkout(fresh)}/.venv (once)\n"
    first = calls(fresh)
    assert f"-m venv {checkout(fresh)}/.venv" in first
    (installed,) = [call for call in first if "pip install" in call]
    assert "--require-hashes" in installed
    assert installed.endswith(f"-r {lock}")
    assert first[-1].startswith("-m retrieve avail PSF=mccd ")
    for _ in range(2):
        assert make(fresh, "avail").stderr == ""
        assert [call.split()[:3] for call in calls(fresh)] == [["-m", "retrieve", "avail"]]

    mtime_ns = lock.stat().st_mtime_ns - 1_000_000_000
    os.utime(made, ns=(mtime_ns, mtime_ns))
    assert make(fresh, "avail").stderr == ""
    again = calls(fresh)
    assert not [call for call in again if "-m venv" in call]
    assert len([call for call in again if "pip install" in call]) == 1


def test_nothing_is_made_where_the_user_has_a_python(fresh: Site) -> None:
    install(fresh, name="mine")
    assert make(fresh, "avail", f"PYTHON={fresh.directory.parent}/programs/mine").returncode == 0
    assert [call.split()[:3] for call in calls(fresh)] == [["-m", "retrieve", "avail"]]
    assert not (checkout(fresh) / ".venv").exists()


def test_help_needs_no_python(fresh: Site) -> None:
    result = make(fresh, "help")
    assert (result.returncode, result.stderr) == (0, "")
    assert not (checkout(fresh) / ".venv").exists()


@pytest.mark.parametrize("is_old", [True, False])
def test_without_a_python_that_is_new_enough_it_says_so(is_old: bool, fresh: Site) -> None:
    if is_old:
        install(fresh, fails="*version_info*")
    line = problem(make(fresh, "avail"))
    assert line == "no Python 3.11 or newer; install one, or give PYTHON one that has the packages"
    assert not (checkout(fresh) / ".venv").exists()


def test_a_newer_python_beside_an_old_one_is_found(fresh: Site) -> None:
    install(fresh, fails="*version_info*")
    install(fresh, name="python3.12")
    assert make(fresh, "avail").returncode == 0
    assert calls(fresh)[-1].startswith("-m retrieve avail ")


def test_without_the_venv_module_it_says_what_to_install(fresh: Site) -> None:
    install(fresh, fails="*ensurepip*")
    line = problem(make(fresh, "avail"))
    assert line == "'python3 -m venv' does not work; on Debian or Ubuntu install python3-venv"
    assert not (checkout(fresh) / ".venv").exists()


def test_an_environment_that_cannot_be_made_is_named(fresh: Site) -> None:
    install(fresh, fails="'-m venv '*")
    assert problem(make(fresh, "avail")) == (
        f"cannot make '{checkout(fresh)}/.venv'; is there space, may you write there?"
    )


def test_packages_that_cannot_be_installed_are_tried_again_next_time(fresh: Site) -> None:
    install(fresh, fails="*'pip install'*")
    line = problem(make(fresh, "avail"))
    assert line.startswith(f"cannot install '{checkout(fresh)}/requirements.txt'; is there a network?")
    assert not (checkout(fresh) / ".venv/run").exists()
    assert not [call for call in calls(fresh) if "retrieve" in call]
    install(fresh)
    shutil.copy(fresh.directory.parent / "programs/python3", checkout(fresh) / ".venv/bin/python")
    assert make(fresh, "avail").returncode == 0
    assert [call for call in calls(fresh) if "pip install" in call]


def test_an_environment_whose_making_was_interrupted_is_made_again(fresh: Site) -> None:
    """Python is there before pip is."""
    install(fresh, fails="'-c import pip' | *'pip install'*")
    (checkout(fresh) / ".venv/bin").mkdir(parents=True)
    shutil.copy(fresh.directory.parent / "programs/python3", checkout(fresh) / ".venv/bin/python")
    install(fresh)
    result = make(fresh, "avail")
    assert result.returncode == 0, result.stderr
    assert f"-m venv {checkout(fresh)}/.venv" in calls(fresh)


def test_a_python_without_the_packages_is_named_with_what_it_lacks(fresh: Site, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "bare"], check=True)
    line = problem(make(fresh, "avail", f"PYTHON={tmp_path}/bare/bin/python"))
    assert line.startswith(f"'{tmp_path}/bare/bin/python' lacks the package '")
    assert line.endswith("'; install what requirements.txt lists, or leave PYTHON to the Makefile")


def test_a_python_of_the_user_that_is_too_old_is_named(fresh: Site, tmp_path: Path) -> None:
    old = tmp_path / "old"
    old.write_text(OLD_PYTHON.format(python=sys.executable))
    old.chmod(0o755)
    assert problem(make(fresh, "avail", f"PYTHON={old}")) == (
        f"'{sys.executable}' is older than Python 3.11; give PYTHON a newer one"
    )


def test_the_command_without_its_environment_says_what_to_run(fresh: Site) -> None:
    result = fresh.run(str(checkout(fresh) / "bin/retrieve"), "avail")
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr == (
        f"no Python at '{checkout(fresh)}/.venv/bin/python'; run 'make -C {checkout(fresh)} env', "
        "or set PYTHON to one of yours\n"
    )
    assert list(fresh.directory.iterdir()) == [fresh.directory / "tile_numbers.txt"]


def test_a_file_of_the_run_directory_does_not_pose_as_a_package(site: Site, vault: str) -> None:
    site.list_tiles(TILES[0])
    for name in ("retrieve", "re", "json", "dataclasses", "vos", "logging"):
        (site.directory / f"{name}.py").write_text("raise SystemExit('posing')\n")
    site.done("avail", f"INPUT_PATH={vault}")


@pytest.mark.parametrize("words", [[], ["nonsense"], ["__init__"]])
def test_the_command_without_a_verb_lists_its_verbs(words: list[str], site: Site) -> None:
    result = site.run(str(HERE / "bin/retrieve"), *words)
    assert (result.returncode, result.stdout) == (2, "")
    verbs = result.stderr.partition("{")[2].partition("}")[0].split(",")
    assert {"avail", "download", "missing", "untar"} <= set(verbs)
    assert len(result.stderr.splitlines()) == 1
