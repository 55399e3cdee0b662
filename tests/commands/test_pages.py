"""Each command on a page is one: it is run, or where it cannot be run here, its options and settings are looked up.

What is in a console block is run, and prints what is shown: `test_readme`, `test_exposures` and `test_jobs` do so. What
is in an sh block, or in the text, is only looked at.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from commands.test_readme import PAGES
from retrieve.settings import Settings
from support.site import HERE, Site
from tables import development, targets

#: Pages whose commands are run, each in the tests of its subject, beside those of `test_readme`.
RUN_ELSEWHERE = {"docs/how-to/images.md", "docs/how-to/jobs.md"}
TEXTS = {
    str(page.relative_to(HERE)): page.read_text()
    for page in sorted([*HERE.glob("docs/**/*.md"), HERE / "README.md", HERE / "CONTRIBUTING.md"])
}
#: Programs of others, which are known by their names alone; `test_submit` runs the sbatch of the page.
OTHERS = {"apptainer", "canfar", "docker", "git", "ln", "pip", "pipx", "podman", "python3", "sbatch"}
#: Programs whose options are looked up: those of the toolkit and of its client.
KNOWN = {"cadc-get-cert", "canfar_avail_results", "canfar_download_results", "untar_results", "vospace-demo"}
TARGETS = {row[0].strip("`") for row in [*targets(), *development()]}


def commands(text: str) -> Iterator[str]:
    """Lines of the sh blocks of a page, and what is in its text as code and begins with the name of a program."""
    for block in re.findall(r"```sh\n(?!#!)(.*?)```", text, re.DOTALL):
        yield from (line for line in block.replace("\\\n", "").splitlines() if line and not line.startswith("#"))
    outside = re.sub(r"```.*?```", "", text, flags=re.DOTALL)
    for code in re.findall(r"`([^`]+)`", outside):
        words = code.split()
        if words[1:] and Path(words[0]).name in {"make", "retrieve", *OTHERS, *KNOWN}:
            yield " ".join(words)


@cache
def options_of(program: str) -> set[str]:
    """Options that a program tells of."""
    path = shutil.which(program, path=f"{HERE / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}")
    text = subprocess.run([path, "--help"], capture_output=True, text=True, timeout=60).stdout
    return set(re.findall(r"(?<![\w-])--?[A-Za-z][\w-]*", text))


def check(command: str) -> None:
    """Fail if there is no such program, target, setting, value or option."""
    words = shlex.split(command)
    program, command_of_a_session = Path(words[0]).name, words[words.index("--") + 1 :] if "--" in words else []
    if words[0] == ".":
        assert Path(words[1].replace("path/to", str(HERE))).is_file()
    elif program in ("make", "retrieve"):
        check_make(words[1:] if program == "make" else words[2:] if words[1] == "make" else [])
    elif words[1:4] == ["-m", "pip", "install"]:
        project = tomllib.loads((HERE / "pyproject.toml").read_text())["project"]
        extras = [re.match(r"[\w-]+", one)[0] for more in project["optional-dependencies"].values() for one in more]
        assert {*words[4:]} <= {*extras}
    elif program in KNOWN:
        options = {word.partition("=")[0] for word in words[1:] if re.match("--?[a-z]", word)}
        assert options <= options_of(program)
    else:
        assert program in OTHERS, "a program that nobody knows how to check"
    if command_of_a_session:
        check(shlex.join(command_of_a_session))


def check_make(words: list[str]) -> None:
    """Look at the words of a `make`, of whose own options there are few on the pages."""
    while words and words[0].startswith("-"):
        option = words.pop(0)
        assert option in ("-s", "-n", "-t", "-C", "-f", "-j8") or option.startswith("-j"), option
        if option in ("-C", "-f"):
            words.pop(0)
    settings = [word for word in words if "=" in word and word not in ("NAME=value", "N=20")]
    assert {word for word in words if "=" not in word} <= TARGETS | {"TARGET"}
    Settings.parse(word.replace("…", "x") for word in settings if not word.startswith("PYTHON="))


@pytest.mark.parametrize("page", TEXTS)
def test_each_command_that_is_not_run_here_has_what_it_is_given(page: str) -> None:
    for command in commands(TEXTS[page]):
        try:
            check(command)
        except Exception as problem:
            raise AssertionError(f"'{command}' in {page}: {problem}") from problem


def test_each_script_is_one() -> None:
    for text in TEXTS.values():
        for script in re.findall(r"```sh\n(#!.*?)```", text, re.DOTALL):
            subprocess.run(["sh", "-n"], input=script, text=True, check=True)


def test_each_page_with_a_console_is_run() -> None:
    assert {page for page, text in TEXTS.items() if "```console" in text} == {*PAGES} | RUN_ELSEWHERE


def test_the_line_for_cron_says_nothing_when_all_is_well(site: Site, vault: str) -> None:
    line = re.search(r"```crontab\n.*\n(.*)\n```", TEXTS["docs/how-to/cron.md"])[1]
    *times, command = line.split(maxsplit=5)
    assert all(re.fullmatch(r"\d+|\*", one) for one in times)
    site.begin("unpacked", vault)
    command = command.replace("/home/you/run", str(site.directory)).replace("/home/you/retrieve", str(HERE))
    result = site.run(*command.removesuffix(" >/dev/null").split())
    assert (result.returncode, result.stderr) == (0, "")
