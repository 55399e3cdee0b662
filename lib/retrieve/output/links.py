"""Links: ShapePipe's next step finds one file of every tile in one directory, as if one run had made them all."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from retrieve.errors import RetrieveError
from retrieve.host.disk import write_whole
from retrieve.output.tree import OUTPUT
from retrieve.products import LINKS, expected_files
from retrieve.stamps.members import OBSOLETE, read_members
from retrieve.stamps.stamps import EXTRACTED, Stamps

#: Where ShapePipe looks for its runs, below the output directory.
LOG = "log_run_sp.txt"


@dataclass(frozen=True)
class Linked:
    """The result of linking: names of links made, removed and kept, and of files that are in the way."""

    made: tuple[str, ...]
    removed: tuple[str, ...]
    kept: tuple[str, ...]
    taken: tuple[str, ...]


def directory_of(destination: Path, product: str) -> Path:
    """Directory of the links to a product's files."""
    run, module = LINKS[product]
    return destination / OUTPUT / run / module / OUTPUT


def wanted_links(tiles: list[str], stamps: Stamps, product: str) -> tuple[dict[str, str], list[str], list[str]]:
    """Find the file of each tile.

    Returns
    -------
    tuple
        Path below the destination by name; the tiles that are not unpacked; those that have no such file.
    """
    extracted = stamps.tiles(EXTRACTED)
    wanted: dict[str, str] = {}
    without = []
    for tile in tiles:
        if tile not in extracted or stamps.handed_on(tile):
            continue
        paths = [
            (one.date, path, name)
            for archive, one in read_members(stamps, tile).items()
            if archive != OBSOLETE
            for name in expected_files(archive, tile)
            for path in one.files
            if name.startswith(f"{product}-") and path.endswith(f"/{name}")
        ]
        # Of two runs the later one counts: their directories are named by date.
        wanted |= {name: path for _, path, name in sorted(paths)}
        if not paths:
            without.append(tile)
    return wanted, [tile for tile in tiles if tile not in extracted], without


def link(destination: Path, product: str, wanted: dict[str, str]) -> Linked:
    """Bring the directory of links up to date; touch only links with names of that product.

    Raises
    ------
    RetrieveError
        If the directory is reached through a symbolic link.
    """
    directory = directory_of(destination, product)
    below = destination / OUTPUT
    for part in directory.relative_to(below).parts:
        below /= part
        if below.is_symlink():
            raise RetrieveError(f"'{below}' is a symbolic link; move it away")
    directory.mkdir(parents=True, exist_ok=True)
    ours = re.compile(rf"{product}-[0-9]{{3}}-[0-9]{{3}}\.fits").fullmatch
    with os.scandir(directory) as entries:
        there = {one.name: one.is_symlink() for one in entries if ours(one.name)}
    removed = sorted(name for name, is_link in there.items() if is_link and name not in wanted)
    for name in removed:
        (directory / name).unlink()
    made, kept, taken = [], [], []
    for name, path in wanted.items():
        target = os.path.relpath(path, directory.relative_to(destination))
        if not there.get(name, True):
            taken.append(name)
        elif name in there and str((directory / name).readlink()) == target:
            kept.append(name)
        else:
            temporary = directory / f".{name}"
            temporary.unlink(missing_ok=True)
            temporary.symlink_to(target)
            temporary.rename(directory / name)
            made.append(name)
    return Linked(tuple(made), tuple(removed), tuple(kept), tuple(taken))


def name_run(destination: Path, product: str) -> None:
    """Name the run of the links in ShapePipe's list of runs, once; the other lines stay as they are."""
    run, module = LINKS[product]
    line = f"./{OUTPUT}/{run} {module}"
    path = destination / OUTPUT / LOG
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    if line in (one.strip() for one in text.splitlines()):
        return
    write_whole(path, text + ("" if not text or text.endswith("\n") else "\n") + line + "\n")
