"""What the old commands have in common: options, state below the current directory, and a log of what was run."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from retrieve import VERSION
from retrieve.errors import SettingError
from retrieve.host.program import run as run_program
from retrieve.products import PRODUCTS_OF
from retrieve.settings import Settings

#: State of the old commands below the current directory, so that it holds archives and `output/` only.
STATE = Path(".retrieve")
_FROM_ENVIRONMENT = ("CERTFILE", "INSECURE", "TIMEOUT", "RETRIES")


class Parser(argparse.ArgumentParser):
    """A parser for one of the old commands, whose complaints are one line.

    Parameters
    ----------
    name
        Name of the command.
    description, examples
        What `-h` says of it; the examples end with the make target that does the same.
    """

    def __init__(self, name: str, description: str, examples: str) -> None:
        super().__init__(
            prog=name,
            description=description,
            epilog=f"examples:\n{examples}\nversion {VERSION}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self.add_argument("-p", "--psf", default="mccd", metavar="PSF", help=f"{' or '.join(PRODUCTS_OF)} (mccd)")
        self.add_argument("-v", "--verbose", action="store_true", help="say more")
        self.add_argument("-j", "--jobs", default="auto", metavar="N", help="how much to do at once (auto)")

    def add_lists(self, default: str | None, meaning: str) -> None:
        """Add the option `-i`."""
        self.add_argument(
            "-i",
            "--input_IDs",
            action="append",
            metavar="IDS",
            help="list files of tiles, in one quoted argument or with several -i, or a directory of '*.txt' lists; "
            f"default: {meaning}",
        )
        self.set_defaults(lists_default=default)

    def error(self, message: str) -> NoReturn:
        """Say in one line what is wrong, and exit 2."""
        print(f"{message}; see '{self.prog} -h'", file=sys.stderr)
        raise SystemExit(2)


def lists_of(options: argparse.Namespace) -> str:
    """Value of TILES that the option `-i` stands for."""
    return " ".join(options.input_IDs) if options.input_IDs else options.lists_default


def settings_of(options: argparse.Namespace, **values: object) -> Settings:
    """Make the settings of an old command; some are taken from the environment, as Make takes them."""
    words = [f"PSF={options.psf}", f"JOBS={options.jobs}", f"V={int(options.verbose)}", f"STAMPS={STATE}", "ARCHIVES=."]
    words += [f"{name}={os.environ[name]}" for name in _FROM_ENVIRONMENT if name in os.environ]
    return Settings.parse([*words, *(f"{name.upper()}={value}" for name, value in values.items())])


def run(parser: Parser, command: Callable[[argparse.Namespace], int]) -> NoReturn:
    """Run an old command as a program: log it, and turn what goes wrong into a line and an exit status."""
    options = parser.parse_args()
    if options.psf not in PRODUCTS_OF:
        parser.error(f"unknown PSF model '{options.psf}', give -p {' or -p '.join(PRODUCTS_OF)}")
    run_program(parser.prog, lambda: _log(parser.prog) or command(options))


def _log(name: str) -> None:
    """Note the command in the log; no option of the old commands takes a secret."""
    try:
        STATE.mkdir(exist_ok=True)
        with (STATE / "commands.log").open("a", encoding="utf-8") as log:
            log.write(f"{datetime.now(UTC):%FT%TZ} {shlex.join([name, *sys.argv[1:]])}\n")
    except OSError as error:
        raise SettingError(f"cannot write '{STATE}' here: {error.strerror}; change to a directory of yours") from error
