"""Settings: the words ``NAME=value`` that Make passes on, checked."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

from retrieve.errors import SettingError
from retrieve.products import PRODUCTS_OF, ProductSet, product_set
from retrieve.selection import Selection
from retrieve.shards import Shard, parse_shard
from retrieve.tiles import TILE, TileList, Unit, read_lists
from retrieve.wording import some

#: What `avail` remembers for the targets that follow it.
REMEMBERED = ("PSF", "INPUT_PATH", "TILES", "PRODUCTS", "PARTIAL", "ARCHIVES", "DEST", "CERTFILE", "TOKEN", "INSECURE")
#: Where JOBS gives no number: the most transfers at once, and all else that is asked for at once.
MOST_JOBS, STREAMS = 32, 8
#: What `watch` puts into the environment of most of its rounds: then `avail` passes over tiles that are done.
UNFINISHED = "RETRIEVE_UNFINISHED"
#: Settings of earlier versions, and what took their place.
GONE = {
    "TILE": "give TILES the number, such as TILES=182.308",
    "LINK": "give PRODUCTS what is to be linked, such as PRODUCTS=pipeline_flag",
    **dict.fromkeys(("MAX_MEMBERS", "MAX_BYTES", "MAX_RATIO"), "FORCE=yes lifts the limits of unpacking"),
    **dict.fromkeys(("PAGE", "PROBE"), "leave it out, the toolkit knows what is best"),
}


def _count(value: str) -> int:
    if not value.isdecimal() or int(value) < 1:
        raise ValueError("a whole number from 1")
    return int(value)


def _jobs(value: str) -> int:
    return 0 if value == "auto" else _count(value)


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


def _bytes(value: str, what: str = "bytes, such as 500G or 2T") -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)([kMGT]?)", value)
    if value and not match:
        raise ValueError(what)
    return float(match[1]) * {"": 1, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}[match[2]] if match else 0.0


def _rate(value: str) -> float:
    return _bytes(value, "bytes per second, such as 500k, 20M or 1G")


def _share(value: str) -> float:
    match = re.fullmatch(r"(\d+(?:\.\d+)?)%", value)
    if value and not (match and 0 < float(match[1]) <= 100):
        raise ValueError("a share in percent, such as 5%")
    return float(match[1]) / 100 if match else 1.0


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


def _words(value: str) -> str:
    """Put the home directory in place of the ``~`` that a path begins with: not every shell does so in our words."""
    try:
        return re.sub(r"(?<!\S)~(?![^/\s])", lambda _: str(Path.home()), value)
    except RuntimeError:
        raise ValueError("the path without ~, since there is no home directory") from None


def _container(value: str) -> str:
    if not value:
        raise ValueError("a container or a directory")
    return _words(value)


def _path(value: str) -> Path:
    if not value:
        raise ValueError("a directory")
    return Path(_words(value))


def _escaped(value: str) -> str:
    """Write a value as Make reads it: ``$`` doubled, a backslash before ``#``, and those before that doubled."""
    return re.sub(r"(\\*)#", r"\1\1\#", value.replace("$", "$$"))


def _selection(value: str) -> Selection:
    return Selection(tuple(value.split()))


def _setting(default: str, meaning: str, parse: Callable[[str], Any] = str, values: Iterable[str] = ()) -> Any:
    """Define a setting, with values that the shell offers where one is typed; ``/`` stands for files."""
    metadata = {"default": default, "meaning": meaning, "parse": parse, "values": values}
    return field(default=parse(default), metadata=metadata)


def _place(default: str, meaning: str, parse: Callable[[str], Any] = _words) -> Any:
    """Define a setting that may name a file or a directory."""
    return _setting(default, meaning, parse, ("/",))


def _choice(default: str, meaning: str, values: Sequence[str], parse: Callable[[str], Any] = str) -> Any:
    """Define a setting that has one of these values; ``{}`` in its meaning stands for them."""
    alternatives = f"{', '.join(values[:-1])} or {values[-1]}"

    def chosen(value: str) -> Any:
        if value not in values:
            raise ValueError(alternatives)
        return parse(value)

    return _setting(default, meaning.format(alternatives), chosen, values)


def _switch(default: str, meaning: str) -> Any:
    return _choice(default, meaning, ("yes", "no"), "yes".__eq__)


@dataclass(frozen=True)
class Settings:
    """The settings of a run: the only table of their names, defaults, meanings and parsers.

    Make knows them in upper case, from `lib/make/settings.mk`, which `make settings` writes anew from this table.
    `timeout` and `every` are in seconds, `rate` in bytes per second with 0 for no limit, `v` is None for ``quiet``,
    `jobs` is 0 for ``auto``.
    """

    psf: str = _choice("mccd", "PSF model: {}", [*PRODUCTS_OF])
    input_path: str = _place(
        "vos:cfis/cosmostat/kilbinger/results", "container (vos:, vault:, arc:) or a directory", _container
    )
    tiles: str = _setting(
        "tile_numbers.txt", "tile numbers, list files, directories of lists, or all", _words, ("all", "/")
    )
    products: str = _setting(
        "",
        "some of the model's products, or file names with {tile} or {exposure}; empty: all",
        values=dict.fromkeys(product for products in PRODUCTS_OF.values() for product in products),
    )
    dryrun: bool = _switch("no", "yes: say what would be done, and change nothing")
    partial: bool = _switch("no", "yes: fetch what there is of incomplete tiles, too")
    archives: Path = _place("archives", "where the archives are kept", _path)
    dest: Path = _place(".", "where output/ is unpacked", _path)
    stamps: Path = _place("stamps", "where the stamps are", _path)
    jobs: int = _setting("auto", "transfers at once, auto: as many as are worth it; make -jN sets it, too", _jobs)
    check: str = _choice("quick", "how FITS files are checked: {}", ("quick", "full", "none"))
    only: Selection = _setting(
        "", "untar: some of the files, by patterns of their names or paths; empty: all", _selection
    )
    keep: bool = _switch("yes", "no: delete a tile's archives once they are unpacked and checked")
    budget: float = _setting("", "bytes that archives and output may take up: 500G, 2T; empty: no limit", _bytes)
    after: str = _setting("", "command that takes each unpacked tile, which is then removed here")
    sample: float = _setting("", "5%: verify that share of the tiles; empty: all of them", _share)
    against: str = _place("", "verify: compare ARCHIVES with this manifest, MD5SUMS or directory")
    timeout: float = _setting("60", "seconds without a byte before a request is made again", _seconds)
    retries: int = _setting("5", "how many times a failed request is made again", _whole)
    rate: float = _setting("", "total bytes per second: 500k, 20M; empty: no limit", _rate)
    headers: bool = _switch("no", "yes: exposures reads the headers of images that are not here at the source")
    force: bool = _switch("no", "yes: go on although it may not fit, or is more than unpacking or selftest allow")
    every: float = _setting("10m", "pause between two rounds of watch: 30s, 10m, 1h", _pause)
    goal: str = _choice("sync", "what submit does on many machines: {}", ("download", "untar", "verify", "sync"))
    shards: int = _setting("4", "in how many shards submit does it, each a job of its own", _count)
    shard: Shard | None = _setting(
        "", "3/16: download, untar or verify that share of the tiles; empty: that of a batch job's task", parse_shard
    )
    on_event: str = _setting("", "command that is told, in JSON, of tiles unpacked, runs ended and needs of a person")
    sbatch: str = _setting("", "more options of sbatch: --partition=comp --time=2:00:00", _sbatch)
    certfile: str = _place("", "proxy certificate; empty: that of vos, ~/.ssl/cadcproxy.pem")
    token: str = _place("", "file with a bearer token, where no certificate is given; empty: CANFAR_TOKEN's")
    insecure: bool = _switch("no", "yes: do not verify the server's certificate")
    format: str = _choice("text", "json: the result for programs", ("text", "json"))
    v: int | None = _choice(
        "0",
        "1: a line for each tile; quiet, or make -s: no progress",
        ("0", "1", "quiet"),
        {"0": 0, "1": 1, "quiet": None}.get,
    )
    #: The words as they were given, by name.
    given: dict[str, str] = field(default_factory=dict, compare=False)
    #: By pattern of file names, the form in which tile numbers stand there; None for what `avail` last wrote down.
    forms: Mapping[str, str] | None = field(default=None, compare=False)
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
        values: dict[str, Any] = {"given": {}}
        for word in words:
            name, equals, value = word.partition("=")
            if name in GONE:
                raise SettingError(_farewell(name))
            if not equals or name not in TABLE:
                raise SettingError(f"unknown setting '{word}'; 'make help-all' lists them")
            try:
                values[name.lower()] = TABLE[name]["parse"](value.strip())
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
        return product_set(self.psf, self.products, self.known_forms() if TILE.place in self.products else {})

    def known_forms(self) -> Mapping[str, str]:
        """By pattern of file names, 182.308 in the form in which tile numbers stand there, as far as that is known."""
        return parse_forms(self.stamps) if self.forms is None else self.forms

    @property
    def unit(self) -> Unit:
        """What the run is about: tiles or exposures."""
        return self.product_set().unit

    def counted(self, count: int) -> str:
        """Write a number of tiles, or exposures, with its noun."""
        return some(count, self.unit.name)

    def lists(self) -> tuple[TileList, ...] | None:
        """Read what `tiles` names; see `read_lists`."""
        return read_lists(self.tiles, self.unit)

    def sources(self) -> dict[str, ProductSet]:
        """Which products each container is to have: those that `input_path` names come first.

        Raises
        ------
        SettingError
            If `input_path` names none, or some of which a product has one of its own.
        """
        products, path = self.product_set(), self.input_path
        own = dict.fromkeys(one.container for one in products if one.container)
        words = [path] if Path(path).is_dir() else [word.rstrip("/") or "/" for word in path.split()]
        if all(one.container for one in products):
            words = []
        elif not words:
            raise SettingError("INPUT_PATH names no container; give it vos:…, arc:… or a directory")
        elif len(words) > 1 and own.keys() & set(words):
            raise SettingError("PRODUCTS names a container of INPUT_PATH, too; leave it out of one of them")
        return {
            uri: replace(
                products,
                products=tuple(one for one in products if one.container == uri or (uri in words and not one.container)),
            )
            for uri in dict.fromkeys([*words, *own])
        }

    def makefile(self) -> str:
        """Write the remembered settings for Make: a line each, which the command line and the environment outdo."""
        lines = ["# Settings of the last 'make avail'; what is given to make outdoes them."]
        lines += (_line(name, self.given.get(name, TABLE[name]["default"])) for name in REMEMBERED)
        return "\n".join(lines) + "\n"


def forms_path(stamps: Path) -> Path:
    """Where `avail` writes down how tile numbers stand in file names."""
    return stamps / "files" / "forms"


def parse_forms(stamps: Path) -> dict[str, str]:
    """Read what `avail` wrote down: by pattern, a tile number in its form."""
    try:
        lines = forms_path(stamps).read_text(encoding="utf-8").splitlines()
    except OSError:
        return {}
    return dict(line.split("\t", 1) for line in lines if "\t" in line)


#: Default, meaning and parser of each setting, by its name on the command line of Make.
TABLE: dict[str, Mapping[str, Any]] = {one.name.upper(): one.metadata for one in fields(Settings) if one.metadata}


def defaults() -> str:
    """Write `lib/make/settings.mk`: the settings with defaults, meanings and values, for Make, its help and shells."""
    return "\n".join(
        [
            "# Written by 'make settings' from lib/retrieve/settings.py: a change belongs there.",
            "# What `avail` was last given outdoes the other defaults.",
            _line("STAMPS", TABLE["STAMPS"]["default"]),
            "-include $(STAMPS)/settings.mk",
            *(f"{_line(name, one['default'])}{_texts(one)}" for name, one in TABLE.items()),
            f"SETTINGS := {' '.join(TABLE)}",
            f"GONE := {' '.join(GONE)}",
            *(f"GONE.{name} := {_farewell(name)}" for name in GONE),
            "",
        ]
    )


def _line(name: str, value: str) -> str:
    return f"{name} ?= {_escaped(value)}".rstrip()


def _texts(one: Mapping[str, Any]) -> str:
    return "".join(f"## {text}" for text in (one["meaning"], " ".join(one["values"])) if text)


def _farewell(name: str) -> str:
    return f"the setting '{name}' is gone; {GONE[name]}"


if __name__ == "__main__":
    print(defaults(), end="")
