"""Completion in the shell: what the Tab key makes of a command line, in real shells on a terminal."""

from __future__ import annotations

import fcntl
import os
import pkgutil
import re
import select
import shutil
import struct
import subprocess
import termios
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from retrieve import commands
from retrieve.settings import TABLE
from support.site import HERE, Site, shown_by

MAKE = f"make -f {HERE}/Makefile"
RETRIEVE = f"{HERE}/bin/retrieve"
VERBS = [module.name for module in pkgutil.iter_modules(commands.__path__)]
#: What a shell reads when it begins; Ctrl-T prints the command line as it stands, and empties it.
BEGIN = {
    "bash": """
{before}
dump() {{ printf '<<%s>>\\n' "$READLINE_LINE"; READLINE_LINE=; }}
bind -x '"\\C-t": dump'
PS1='ready> '
bind 'set bell-style none'
bind 'set enable-bracketed-paste off'
""",
    "zsh": """
{before}
dump() {{ print -r -- "<<$BUFFER>>"; BUFFER= }}
zle -N dump
bindkey '^T' dump
PS1='ready> '
unsetopt beep
""",
}
#: Completion as a Debian user has it, without anything of ours.
DEBIAN = Path("/usr/share/bash-completion/bash_completion")
USUAL = {"bash": f". {DEBIAN}", "zsh": "autoload -Uz compinit && compinit -u -d $KNOWN"}
OURS = {shell: f"{USUAL[shell]}\n. {HERE}/lib/make/completion.{shell}" for shell in USUAL}


class Shell:
    """A shell on a terminal, in which somebody types."""

    def __init__(self, terminal: int) -> None:
        self._terminal = terminal

    def press(self, keys: str) -> str:
        """Type; return what the terminal shows then, the last being the command line in ``<<>>``."""
        os.write(self._terminal, f"{keys}\x14".encode())
        return self.shown("<<.*>>")

    def shown(self, last: str) -> str:
        """Wait until the terminal shows something; return all that it showed since."""
        shown = b""
        while not re.search(last.encode(), shown):
            assert select.select([self._terminal], [], [], 60)[0], f"nothing more than {shown}"
            shown += os.read(self._terminal, 65_536)
        return shown.decode()

    def complete(self, line: str, key: str = "\t") -> str:
        """Press Tab behind a line; return what became of it."""
        return re.findall("<<(.*)>>", self.press(line + key))[-1]


@contextmanager
def typing(shell: str, site: Site, before: str) -> Iterator[Shell]:
    """Start a shell that first reads some lines."""
    if shutil.which(shell) is None or not DEBIAN.exists():
        pytest.skip("needs zsh and bash-completion: apt-get install zsh bash-completion")
    home = Path(site.environment["HOME"])
    for name in (".bashrc", ".zshrc"):
        (home / name).write_text(BEGIN[shell].format(before=before))
    ours, theirs = os.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 200, 200, 0, 0))
    # The first terminal that a new session opens is the one that controls it.
    begin = ["sh", "-c", 'exec "$1" -i <>"$0" >&0 2>&0', os.ttyname(theirs), shell]
    # What zsh found out for one test serves the next.
    environment = site.environment | {"TERM": "dumb", "KNOWN": str(site.directory.parents[1] / "zcompdump")}
    with subprocess.Popen(begin, cwd=site.directory, env=environment, stdin=theirs, start_new_session=True) as started:
        os.close(theirs)
        try:
            user = Shell(ours)
            user.shown("ready> ")
            yield user
        finally:
            started.kill()
            os.close(ours)


@pytest.fixture
def elsewhere(site: Site) -> Path:
    """A directory with a Makefile of another project; in the run directory are a list and a directory."""
    (site.directory / "kept").mkdir()
    (site.directory / "deep list.txt").touch()
    (Path(site.environment["HOME"]) / "wide.txt").touch()
    directory = site.directory.parent / "elsewhere"
    directory.mkdir()
    (directory / "Makefile").write_text("all_of_it:\n\ttrue\nadvance:\n\ttrue\n")
    return directory


def words(site: Site, *typed: str) -> list[list[str]]:
    """What may come next after some words: each with its text."""
    result = site.run("sh", str(HERE / "lib/make/words.sh"), *typed)
    assert (result.returncode, result.stderr) == (0, "")
    return [line.split("\t") for line in result.stdout.splitlines()]


def test_all_that_help_lists_is_offered_and_each_value_of_the_table(site: Site) -> None:
    help_all = shown_by(site.done("help-all"))
    offered = words(site, *MAKE.split(), "avail")
    texts = {word.rstrip("="): text for word, text in offered if text}
    assert texts == {name: re.sub(r" \[[^][]*\]$", "", text) for name, text in help_all.items()}
    values = {name: [word[len(name) + 1 :] for word, _ in offered if re.match(f"{name}=.", word)] for name in TABLE}
    assert values == {name: [*one["values"]] for name, one in TABLE.items()}
    verbs = [name for name in help_all if name in VERBS]
    assert [word for word, _ in words(site, "retrieve")] == [*verbs, "make", "makefile"]
    settings = [word for word, text in words(site, "bin/retrieve", "avail") if text]
    assert settings == [f"{name}=" for name in help_all if name in TABLE]


@pytest.mark.parametrize("shell", USUAL)
def test_targets_settings_and_values_are_completed(shell: str, site: Site, elsewhere: Path) -> None:
    becomes = {
        f"{MAKE} man": "manifest ",
        f"{MAKE} avail PS": "PSF=",
        f"{MAKE} avail PSF=m": "PSF=mccd ",
        f"{MAKE} PSF=mccd KEEP=n": "KEEP=no ",
        f"{MAKE} PRODUCTS=final": "PRODUCTS=final_cat ",
        f"{MAKE} DEST=k": "DEST=kept/",
        f"{MAKE} TILES=d": r"TILES=deep\ list.txt ",
        f"{MAKE} TILES=al": "TILES=all ",
        f"{MAKE} TILES=~/w": "TILES=~/wide.txt ",
        f"{MAKE} JOBS=": "JOBS=",
        f"{MAKE} kep": "kep",
        # Of `make` itself.
        f"{MAKE} --dire": "--directory=",
        f"{MAKE} -C ke": "kept/",
        "make -f ../elsewhere/Ma": "../elsewhere/Makefile ",
        # However Make is told of the Makefile; settings are what nothing but ours completes.
        f"make -C {HERE} KE": "KEEP=",
        f"gmake --directory={HERE} KE": "KEEP=",
        f"make -f{HERE}/Makefile KE": "KEEP=",
        f"make -C kept --file={HERE}/Makefile KE": "KEEP=",
        "make -f ~/toolkit/Makefile KE": "KEEP=",
        "make -C linked KE": "KEEP=",
        f"{RETRIEVE} sta": "status ",
        "retrieve sta": "status ",
        "retrieve KE": "KE",
        "retrieve makef": "makefile ",
        "retrieve make syn": "sync ",
        "retrieve make sync KE": "KEEP=",
        "retrieve status sta": "sta",
        "retrieve status KE": "KEEP=",
        "retrieve status KEEP=y": "KEEP=yes ",
        "retrieve status PY": "PY",
    }
    (Path(site.environment["HOME"]) / "toolkit").symlink_to(HERE)
    (site.directory / "linked").mkdir()
    (site.directory / "linked/Makefile").symlink_to(HERE / "Makefile")
    with typing(shell, site, OURS[shell]) as user:
        became = {line: user.complete(line) for line in becomes}
    assert became == {line: line.rpartition(" ")[0] + " " + word for line, word in becomes.items()}


@pytest.mark.parametrize("shell", USUAL)
def test_what_may_come_next_is_shown(shell: str, site: Site) -> None:
    show = {"bash": "\x1b?", "zsh": "\x04"}[shell]
    with typing(shell, site, OURS[shell]) as user:
        everything, verbs = user.press(f"{MAKE} {show}"), user.press(f"{RETRIEVE} {show}")
    for name, text in shown_by(site.done("help-all")).items():
        setting = name in TABLE or name == "PYTHON"
        text = rf"\s+-- {re.escape(text[:60])}" if shell == "zsh" else "=" if setting else r"\s"
        if setting:  # zsh does not show its present value
            text = text.partition(r"\[")[0].rstrip("\\ ")
        for shown, expected in ((everything, True), (verbs, name in VERBS)):
            assert bool(re.search(rf"\b{name}{text}", shown)) == expected, name


@pytest.mark.parametrize("shell", USUAL)
def test_another_makefile_is_completed_as_before(shell: str, site: Site, elsewhere: Path) -> None:
    lines = [f"make -C {elsewhere} al", f"make -C {elsewhere} adv", f"make -C {elsewhere} JO", "make kep", "make sta"]
    with typing(shell, site, USUAL[shell]) as user:
        usual = [user.complete(line) for line in lines]
    assert usual[0].endswith(" all_of_it ")
    with typing(shell, site, OURS[shell]) as user:
        for _ in range(2):
            assert [user.complete(line) for line in lines] == usual
            assert user.complete(f"{MAKE} KE").endswith(" KEEP=")


@pytest.mark.parametrize(
    ("shell", "own"),
    [
        ("bash", "own() { COMPREPLY=(mine); }; complete -F own make"),
        ("zsh", "own() { compadd mine }; compdef own make"),
    ],
)
def test_another_makefile_is_completed_as_the_user_had_it(shell: str, own: str, site: Site, elsewhere: Path) -> None:
    ours = OURS[shell].replace("\n", f"\n{own}\n")
    # Read twice, as a file that is read at each start may be.
    with typing(shell, site, f"{ours}\n{ours.splitlines()[-1]}") as user:
        assert user.complete(f"make -C {elsewhere} ") == f"make -C {elsewhere} mine "
        assert user.complete(f"{MAKE} KE").endswith(" KEEP=")


def test_bash_alone_completes_another_makefile_with_files(site: Site, elsewhere: Path) -> None:
    with typing("bash", site, OURS["bash"].splitlines()[-1]) as user:
        assert user.complete(f"make -C {elsewhere} ke") == f"make -C {elsewhere} kept/"
        assert user.complete(f"{MAKE} KE").endswith(" KEEP=")


def test_bash_completion_finds_the_targets_where_nothing_was_set_up(site: Site) -> None:
    with typing("bash", site, USUAL["bash"]) as user:
        assert user.complete(f"{MAKE} sta").endswith(" status ")


def test_the_manual_is_made_from_the_table_and_the_makefile_and_well_formed(site: Site) -> None:
    manual = HERE / "share/man/man1/retrieve.1"
    sources = [HERE / "lib/make/settings.mk", HERE / "Makefile", HERE / "lib/make/mechanics.mk", manual]
    made = site.run("awk", "-f", str(HERE / "lib/make/manual.awk"), *map(str, sources)).stdout
    assert manual.read_text() == made, "run 'make settings'"
    if shutil.which("mandoc") is None:
        pytest.skip("needs mandoc: apt-get install mandoc")
    lint = site.run("mandoc", "-T", "lint", "-W", "warning", str(manual))
    assert (lint.returncode, lint.stdout) == (0, "")
    page = site.run("mandoc", "-T", "ascii", "-O", "width=200", str(manual)).stdout
    page = re.sub(".\b", "", page)
    for name, text in shown_by(site.done("help")).items():
        if name not in TABLE:
            assert re.search(rf"^ +{name}\s+{re.escape(text)}$", page, re.M), name
    for name, one in TABLE.items():
        assert re.search(rf"^ +{name}={re.escape(one['default'])}\s+{re.escape(one['meaning'])}$", page, re.M), name
