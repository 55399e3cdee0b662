"""Tile numbers and exposure numbers, and the list files that hold them.

A run is about units of one kind: tiles, unless its products are those of exposures. What holds of a tile holds of an
exposure, but for its number, which tells no position, and that no job has it.

ShapePipe's `job_sp` may take several tiles, and names the archives of such a job by their joined numbers, as in
``283.247_214.242``. A job goes wherever a tile goes.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from retrieve.errors import SettingError
from retrieve.wording import printable

#: A tile number; a spreadsheet drops its leading zeros.
_NUMBER = r"([0-9]{3})-([0-9]{3})|([0-9]{1,3})\.([0-9]{3})"
#: The name of an image or a catalogue: words, one tile number, and perhaps the band.
_NAME = (
    r"(?:[A-Za-z]+[._-])+(?:([0-9]{3})[.-]([0-9]{3})|([0-9]{1,3})_([0-9]{1,3}))(?:\.[a-z])?(?:\.weight)?\.fits(?:\.fz)?"
)
_ENTRY = re.compile(f"{_NUMBER}|{_NAME}")
#: An exposure, with what CFHT writes after its number: the letter of its processing, or the name of one of its files.
_EXPOSURE = re.compile(r"([0-9]{7})[a-z]?(?:\.(?:weight|flag))?(?:\.fits(?:\.fz)?)?")
#: What joins the tile numbers of a job.
JOIN = "_"
#: What stands between the columns of a list.
_BETWEEN = re.compile(r"[\s,;]+")

#: The value of ``TILES`` that stands for every tile found at the source.
EVERY = "all"


def parse_tile(entry: str) -> str | None:
    """Tile number of one entry of a list, in the form ``182.308``, or several; None if it is not a tile for certain.

    ====================================================  ================
    entry                                                 tile number
    ====================================================  ================
    182.308, 182-308                                      182.308
    1.308                                                 001.308
    CFIS.182.308.r.fits, CFIS.182.308.r.weight.fits.fz    182.308
    WISHES.182.308.z.fits, UNIONS_i_image-182-308.fits    182.308
    calexp-CFIS_182_308.fits                              182.308
    calexp-CFIS_7_92.fits                                 007.092
    283.247_214.242, 283-247_214-242                      283.247_214.242
    182.31, which may be of 182.310 or 182.031            none
    1-308, 182_308, 182.3080                              none
    final_cat_182.308.tgz, which may be of several tiles  none
    anything else                                         none
    ====================================================  ================
    """
    matches = [_ENTRY.fullmatch(entry)]
    if matches == [None]:
        matches = [re.fullmatch(_NUMBER, one) for one in entry.split(JOIN)]
    tiles = [".".join(one.zfill(3) for one in match.groups() if one) for match in matches if match]
    return JOIN.join(tiles) if len(set(tiles)) == len(matches) else None


def parse_exposure(entry: str) -> str | None:
    """Exposure number of one entry of a list, in the form ``2243881``; None if it is not an exposure for certain.

    ====================================================  ===============
    entry                                                 exposure number
    ====================================================  ===============
    2243881, 2243881p                                     2243881
    2243881p.fits.fz, 2243881p.weight.fits.fz             2243881
    224388, 2243881pp, 182.308, anything else             none
    ====================================================  ===============
    """
    match = _EXPOSURE.fullmatch(entry)
    return match[1] if match else None


@dataclass(frozen=True)
class Form:
    """How tile numbers stand in the names of a product's files.

    Attributes
    ----------
    separator
        What stands between the halves.
    padded
        Whether each half has three digits, with leading zeros.
    """

    separator: str = "."
    padded: bool = True

    @property
    def number(self) -> str:
        """Regular expression of the number."""
        half = "[0-9]{3}" if self.padded else "(?:0|[1-9][0-9]{0,2})"
        return f"{half}[{self.separator}]{half}"

    def write(self, number: str) -> str:
        """Write a tile number, or those of a job; an exposure number has no halves."""
        if not self.padded:
            number = ".".join(str(int(half)) for half in number.split("."))
        return number.replace(".", self.separator)

    def read(self, text: str) -> str:
        """Give the tile number that was written so."""
        return ".".join(half.zfill(3) for half in text.split(self.separator))


#: The usual form, and those that survey images have as well, such as ``calexp-CFIS_7_92.fits``.
USUAL = Form()
FORMS = {"182.308": USUAL, "182-308": Form("-"), "7_92": Form("_", padded=False), "182_308": Form("_")}


@dataclass(frozen=True)
class Unit:
    """What a run is about: tiles or exposures.

    Attributes
    ----------
    name
        What one of them is called, and where its number goes in a pattern of file names.
    parse
        Reads the number out of an entry of a list; None if it is not one.
    example
        Such a number.
    forms
        How it may stand in a list.
    """

    name: str
    parse: Callable[[str], str | None]
    example: str
    forms: str

    @property
    def place(self) -> str:
        """Stands for the number in a pattern of file names."""
        return f"{{{self.name}}}"

    @property
    def one(self) -> str:
        """The name with its article."""
        return f"{'an' if self.name[0] in 'aeiou' else 'a'} {self.name}"


TILE = Unit("tile", parse_tile, "182.308", "182.308, 182-308 or CFIS.182.308.r.fits")
EXPOSURE = Unit("exposure", parse_exposure, "2243881", "2243881, 2243881p or 2243881p.fits.fz")


def tiles_of(entry: str) -> list[str]:
    """Tile numbers of a job, or the one of a tile."""
    return entry.split(JOIN)


def related(entries: Iterable[str], jobs: Collection[str]) -> tuple[str, ...]:
    """All that may bring the tiles of some entries: these, each tile by itself, and those of some jobs that have it."""
    tiles = dict.fromkeys(tile for entry in entries for tile in (entry, *tiles_of(entry)))
    return (*tiles, *(job for job in jobs if job not in tiles and not tiles.keys().isdisjoint(tiles_of(job))))


def settle(entries: Collection[str], jobs: Iterable[str], newest: Callable[[str], int | None]) -> tuple[str, ...]:
    """Find out whether tiles are to come each by itself or as part of a job.

    ==============================  ========================================
    complete                        a tile comes
    ==============================  ========================================
    it alone, or in one or several  in what has the newest archive
    neither                         as its entry has it
    ==============================  ========================================

    Parameters
    ----------
    entries
        Tiles and jobs.
    jobs
        Jobs that there are besides.
    newest
        Gives the date of the newest archive of a tile or a job; None if it is not complete.
    """
    in_jobs = defaultdict(list)
    for job in dict.fromkeys([*jobs, *(one for one in entries if JOIN in one)]):
        for tile in tiles_of(job):
            in_jobs[tile].append(job)

    def come() -> Iterator[str]:
        for entry in entries:
            for tile in tiles_of(entry):
                dates = {one: newest(one) for one in (tile, *in_jobs[tile])} if tile in in_jobs else {}
                complete = {one: date for one, date in dates.items() if date is not None}
                yield max(complete, key=complete.__getitem__) if complete else entry

    return tuple(dict.fromkeys(come())) if in_jobs else tuple(entries)


def dashed(tile: str) -> str:
    """Tile number as ShapePipe writes it inside file names: ``182-308``."""
    return tile.replace(".", "-")


@dataclass(frozen=True)
class TileList:
    """The tiles of one list file, in its order, each once; or one tile that was given by its number.

    Attributes
    ----------
    name
        The file, or the number, as the user gave it.
    tiles
        Tile numbers in the form ``182.308``.
    """

    name: str
    tiles: tuple[str, ...]


def read_list(path: Path, unit: Unit = TILE) -> TileList:
    """Read a list file: a tile per line, or an exposure.

    ========================================  ================================================
    line, up to a ``#``                       is
    ========================================  ================================================
    empty                                     passed over
    a tile, see `parse_tile`                  that tile
    a tile, then other columns                that tile; blanks, ``,`` or ``;`` are between columns
    a tile, then another one                  refused; below a header that tile
    the first one, without a digit            a header; refused if no tile comes after it
    anything else                             refused
    ========================================  ================================================

    Raises
    ------
    SettingError
        If the file cannot be read, or a line is not a tile (named with its number).
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SettingError(
            f"cannot read {unit.name} list '{path}': {error.strerror}; give TILES {_what(unit)}"
        ) from error
    except UnicodeDecodeError as error:
        raise SettingError(
            f"{unit.name} list '{path}' is not text; give one {unit.name} such as {unit.example} per line"
        ) from error
    return TileList(str(path), tuple(dict.fromkeys(_numbers_in(path, text, unit))))


def _numbers_in(path: Path, text: str, unit: Unit) -> Iterator[str]:
    numbered = enumerate((line.partition("#")[0].strip() for line in text.split("\n")), start=1)
    lines = [(number, line) for number, line in numbered if line]
    header = [one for one in lines[:1] if not any(map(str.isdigit, one[1]))]
    for number, line in lines[len(header) :] or header:
        one, *others = map(unit.parse, _BETWEEN.split(line))
        if one is None or (not header and set(others) - {one, None}):
            raise SettingError(f"{path}:{number}: not {unit.one}: '{printable(line[:80])}'; write {unit.forms}")
        yield one


def read_lists(setting: str, unit: Unit = TILE) -> tuple[TileList, ...] | None:
    """Read what the setting ``TILES`` names: list files, directories of ``*.txt`` files, and tiles by their numbers.

    A word that could be either is a number; a list of that name is given as ``./182.308``.

    Returns
    -------
    tuple of TileList or None
        None stands for every tile found at the source (``TILES=all``).

    Raises
    ------
    SettingError
        If nothing is named, a list cannot be read, or a directory holds none.
    """
    words = list(dict.fromkeys(setting.split()))
    if words == [EVERY]:
        return None
    if not words:
        raise SettingError(f"TILES is empty; give it {_what(unit)}")
    return tuple(one for word in words for one in _lists_of(word, unit))


def _what(unit: Unit) -> str:
    return f"a list file, a directory of them, {unit.name}s such as {unit.example}, or {EVERY}"


def _lists_of(word: str, unit: Unit) -> Iterator[TileList]:
    number, path = unit.parse(word), Path(word)
    if number:
        yield TileList(word, (number,))
    elif path.is_dir():
        inside = sorted(child for child in path.glob("*.txt") if not child.name.startswith("."))
        if not inside:
            raise SettingError(
                f"no {unit.name} list in '{path}'; a list is a file '*.txt' with one {unit.name} per line"
            )
        yield from (read_list(one, unit) for one in inside)
    else:
        yield read_list(path, unit)


def only_one(setting: str, unit: Unit = TILE) -> str | None:
    """Give the tile, or exposure, if ``TILES`` is the number of one, and nothing more."""
    return unit.parse(setting.strip())


def union(lists: tuple[TileList, ...]) -> tuple[str, ...]:
    """All tiles of some lists, each once, in the order of the lists."""
    return tuple(dict.fromkeys(tile for one in lists for tile in one.tiles))
