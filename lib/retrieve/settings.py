"""Settings: the words ``NAME=value`` that Make passes on, checked."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

from retrieve.errors import SettingError
from retrieve.products import ProductSet, product_set
from retrieve.shards import Shard, parse_shard

#: What `avail` remembers for the targets that follow it.
REMEMBERED = ("PSF", "INPUT_PATH", "TILES", "PRODUCTS", "PARTIAL", "ARCHIVES", "DEST", "CERTFILE", "INSECURE")


def _yes(value: str) -> bool:
    if value not in ("yes", "no"):
        raise ValueError("yes or no")
    return value == "yes"


def _count(value: str) -> int:
    if not value.isdecimal() or int(value) < 1:
        raise ValueError("a whole number from 1")
    return int(value)


def _whole(value: str) -> int:
    if not value.isdecimal():
        raise ValueError("a whole number from 0")
    return int(value)


def _seconds(value: str) -> float:
    if not re.fullmatch(r"\d+(\.\d+)?", value) or float(value) == 0:
        raise ValueError("seconds, more than 0")
    return float(value)


def _pause(value: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([smh])", value)
    if not match or float(match[1]) == 0:
        raise ValueError("a time, such as 30s, 10m or 1h")
    return float(match[1]) * {"s": 1, "m": 60, "h": 3600}[match[2]]


def _rate(value: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kMG]?)", value)
    if value and not match:
        raise ValueError("bytes per second, such as 500k, 20M or 1G")
    return float(match[1]) * {"": 1, "k": 1e3, "M": 1e6, "G": 1e9}[match[2]] if match else 0.0


def _share(value: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)%", value)
    if value and not (match and 0 < float(match[1]) <= 100):
        raise ValueError("a share in percent, such as 5%")
    return float(match[1]) / 100 if match else 1.0


def _verbosity(value: str) -> int | None:
    if value not in ("0", "1", "quiet"):
        raise ValueError("0, 1 or quiet")
    return None if value == "quiet" else int(value)


def _sbatch(value: str) -> str:
    try:
        words = shlex.split(value)
    except ValueError:
        raise ValueError("options of sbatch, each quotation closed") from None
    if words and not words[0].startswith("-"):
        raise ValueError("options of sbatch, such as --partition=comp")
    if any(re.match("--array|-a|--chdir|-D", word) for word in words):
        raise ValueError("other options of sbatch: SHARDS and the run directory say what --array and --chdir would")
    return value


def _container(value: str) -> str:
    if not value:
        raise ValueError("a container or a directory")
    return value


def _path(value: str) -> Path:
    if not value:
        raise ValueError("a directory")
    return Path(value)


def _escaped(value: str) -> str:
    """Write a value as Make reads it: ``$`` doubled, a backslash before ``#``, and those before that doubled."""
    return re.sub(r"(\\*)#", r"\1\1\#", value.replace("$", "$$"))


def _one_of(*words: str) -> Callable[[str], str]:
    def parse(value: str) -> str:
        if value not in words:
            raise ValueError(f"{', '.join(words[:-1])} or {words[-1]}")
        return value

    return parse


def _setting(default: Any, parse: Callable[[str], Any] = str) -> Any:  # noqa: ANN401 - as `field` itself
    return field(default=default, metadata={"parse": parse})


@dataclass(frozen=True)
class Settings:
    """The settings of a run, named as on the command line of Make but in lower case.

    `make help` says what each means; `timeout` and `every` are in seconds, `rate` in bytes per second with 0 for no
    limit, `v` is None for ``quiet``.
    """

    psf: str = _setting("mccd")
    input_path: str = _setting("vos:cfis/cosmostat/kilbinger/results", _container)
    tiles: str = _setting("tile_numbers.txt")
    products: str = _setting("")
    partial: bool = _setting(False, _yes)
    archives: Path = _setting(Path("archives"), _path)
    dest: Path = _setting(Path(), _path)
    stamps: Path = _setting(Path("stamps"), _path)
    jobs: int = _setting(8, _count)
    check: str = _setting("quick", _one_of("quick", "full", "none"))
    timeout: float = _setting(60.0, _seconds)
    retries: int = _setting(5, _whole)
    rate: float = _setting(0.0, _rate)
    keep: bool = _setting(True, _yes)
    sample: float = _setting(1.0, _share)
    dryrun: bool = _setting(False, _yes)
    force: bool = _setting(False, _yes)
    every: float = _setting(600.0, _pause)
    goal: str = _setting("sync", _one_of("download", "untar", "verify", "sync"))
    shards: int = _setting(4, _count)
    shard: Shard | None = _setting(None, parse_shard)
    sbatch: str = _setting("", _sbatch)
    certfile: str = _setting("")
    insecure: bool = _setting(False, _yes)
    format: str = _setting("text", _one_of("text", "json"))
    v: int | None = _setting(0, _verbosity)
    #: The words as they were given, by name.
    given: dict[str, str] = field(default_factory=dict, compare=False)
    #: No settings of users, only tests change them: how many nodes of a listing are asked for at once, where the
    #: service pages; and how many archives that a listing does not show are asked for by name.
    page: int = 10_000
    probe: int = 20

    @classmethod
    def parse(cls, words: Iterable[str]) -> Settings:
        """Read ``NAME=value`` words; what is not given has its default.

        Raises
        ------
        SettingError
            If there is no such setting, or it cannot have that value.
        """
        known = {one.name.upper(): one for one in fields(cls) if one.metadata}
        values: dict[str, Any] = {"given": {}}
        for word in words:
            name, equals, value = word.partition("=")
            if not equals or name not in known:
                raise SettingError(f"unknown setting '{word}'; settings are {' '.join(known)}")
            try:
                values[known[name].name] = known[name].metadata["parse"](value.strip())
                values["given"][name] = value.strip()
            except ValueError as error:
                raise SettingError(f"bad value {name}='{value}'; give {error}") from error
        return cls(**values)

    @property
    def quiet(self) -> bool:
        """Whether nothing is to be told but problems and the result."""
        return self.v is None

    def telling(self) -> dict[str, str]:
        """The words that make a run what it is: those that `avail` remembers, and those that are not the default."""
        default = Settings()
        return {
            name: value
            for name, value in self.given.items()
            if name in REMEMBERED or getattr(self, name.lower()) != getattr(default, name.lower())
        }

    def product_set(self) -> ProductSet:
        """Products that `psf` and `products` stand for."""
        return product_set(self.psf, self.products)

    def makefile(self) -> str:
        """Write the remembered settings for Make: a line each, which the command line and the environment outdo."""
        values = {one.name.upper(): getattr(self, one.name) for one in fields(self)}
        lines = ["# Settings of the last 'make avail'; what is given to make outdoes them.\n"]
        for name in REMEMBERED:
            value = values[name]
            text = ("yes" if value else "no") if isinstance(value, bool) else str(value)
            lines.append(f"{name} ?= {_escaped(text)}".rstrip() + "\n")
        return "".join(lines)
