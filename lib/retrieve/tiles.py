"""Tile numbers and the list files that hold them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from retrieve.errors import SettingError

#: ``182.308``, ``182-308`` (as inside ShapePipe's file names) or the survey's image name ``CFIS.182.308.r.fits``.
_ENTRY = re.compile(r"([0-9]{3})[.-]([0-9]{3})|CFIS\.([0-9]{3})[.-]([0-9]{3})\.[a-z](?:\.weight)?\.fits(?:\.fz)?")

#: The value of ``TILES`` that stands for every tile found at the source.
EVERY = "all"


def parse_tile(entry: str) -> str | None:
    """Tile number of one entry of a list, in the form ``182.308``; None if it is not a tile."""
    match = _ENTRY.fullmatch(entry)
    return ".".join(filter(None, match.groups())) if match else None


def dashed(tile: str) -> str:
    """Tile number as ShapePipe writes it inside file names: ``182-308``."""
    return tile.replace(".", "-")


@dataclass(frozen=True)
class TileList:
    """The tiles of one list file, in its order, each once.

    Attributes
    ----------
    name
        The file as the user named it.
    tiles
        Tile numbers in the form ``182.308``.
    """

    name: str
    tiles: tuple[str, ...]


def read_list(path: Path) -> TileList:
    """Read a list file: a tile per line, blank lines and ``#`` comments allowed.

    Raises
    ------
    SettingError
        If the file cannot be read, or a line is not a tile (named with its number).
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SettingError(
            f"cannot read tile list '{path}': {error.strerror}; give TILES a list file, a directory of "
            f"them, or TILES={EVERY}"
        ) from error
    except UnicodeDecodeError as error:
        raise SettingError(f"tile list '{path}' is not text; give one tile such as 182.308 per line") from error
    tiles: dict[str, None] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        entry = line.partition("#")[0].strip()
        if not entry:
            continue
        tile = parse_tile(entry)
        if tile is None:
            raise SettingError(
                f"{path}:{number}: not a tile: '{entry[:80]}'; write 182.308, 182-308 or CFIS.182.308.r.fits"
            )
        tiles[tile] = None
    return TileList(str(path), tuple(tiles))


def read_lists(setting: str) -> tuple[TileList, ...] | None:
    """Read the lists that the setting ``TILES`` names: files, or directories of ``*.txt`` files.

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
        raise SettingError(f"TILES names no list; give it a list file, a directory of them, or TILES={EVERY}")
    paths: list[Path] = []
    for word in words:
        path = Path(word)
        if not path.is_dir():
            paths.append(path)
            continue
        inside = sorted(child for child in path.glob("*.txt") if not child.name.startswith("."))
        if not inside:
            raise SettingError(f"no tile list in '{path}'; a list is a file '*.txt' with one tile per line")
        paths += inside
    return tuple(read_list(path) for path in paths)


def union(lists: tuple[TileList, ...]) -> tuple[str, ...]:
    """All tiles of some lists, each once, in the order of the lists."""
    return tuple(dict.fromkeys(tile for one in lists for tile in one.tiles))
