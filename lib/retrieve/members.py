"""Members: which files came out of which archive, a compressed list per tile beside its stamps.

A tile has some 2,000 files. Their list in plain text is 90 kB, packed it is 9 kB: 110 MB rather than 1.1 GB at 12,621
tiles. `extracted/TILE` stays a small text file, so that a look at all of them takes a second.

The list is written before the first file gets its place, and names those that are to be removed as well. So a file of
ours never is in the output tree without being on a list, whenever a run was killed.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from retrieve.archives import nanoseconds
from retrieve.stamps import Stamps

#: Directory of the lists, beside the directories of stamps.
MEMBERS = "members"
#: In place of an archive's name: files of an earlier version that are to be removed.
OBSOLETE = "-"
#: In place of a file's bytes: another archive brought the same path, and its file is newer.
_OUTDONE = "-"
_GZIP = 31
_DIRECTORIES = re.compile(rb"\n\t([^\t\n]+/)(?=\n)")


@dataclass(frozen=True)
class Unpacked:
    """What came out of one archive.

    Attributes
    ----------
    md5
        That of the archive.
    date
        Its date at the source.
    files
        Path below the destination (such as ``output/…/final_cat-182-308.fits``) and bytes; None in place of the bytes
        if another archive's newer file has the same path.
    """

    md5: str
    date: str
    files: dict[str, int | None]


Members = dict[str, Unpacked]


def paths_of(members: Members) -> set[str]:
    """All paths of a list."""
    return {path for one in members.values() for path in one.files}


def pack(members: Members) -> bytes:
    """Write a list: a line per archive, below it its directories, below these their files and bytes; gzip'd."""
    lines = []
    for name, one in members.items():
        lines.append(f"{name}\t{one.md5}\t{one.date}\n")
        here = None
        for path, size in one.files.items():
            cut = path.rindex("/") + 1
            if path[:cut] != here:
                here = path[:cut]
                lines.append(f"\t{here}\n")
            lines.append(f"\t\t{path[cut:]}\t{_OUTDONE if size is None else size}\n")
    packer = zlib.compressobj(2, zlib.DEFLATED, _GZIP)
    return packer.compress("".join(lines).encode()) + packer.flush()


def unpack_list(packed: bytes) -> Members:
    """Read what `pack` wrote.

    Raises
    ------
    ValueError
        If it is not such a list.
    """
    members: Members = {}
    files: dict[str, int | None] = {}
    directory = ""
    for line in _text(packed).splitlines():
        if line.startswith("\t\t"):
            base, _, size = line[2:].rpartition("\t")
            files[directory + base] = None if size == _OUTDONE else int(size)
        elif line.startswith("\t"):
            directory = line[1:]
        else:
            name, md5, date = line.split("\t")
            files = {}
            members[name] = Unpacked(md5, date, files)
    return members


def _text(packed: bytes) -> str:
    try:
        return zlib.decompress(packed, _GZIP).decode()
    except zlib.error as error:
        raise ValueError(f"not a list of members: {error}") from error


def members_path(stamps: Stamps, tile: str) -> Path:
    """Where the list of a tile is."""
    return stamps.directory / MEMBERS / f"{tile}.gz"


def read_members(stamps: Stamps, tile: str) -> Members:
    """Files that were unpacked of a tile; none if nothing was, or its list is damaged."""
    try:
        return unpack_list(members_path(stamps, tile).read_bytes())
    except (FileNotFoundError, ValueError):
        return {}


@dataclass(frozen=True)
class Claim:
    """An archive's claim to a path of the output tree.

    Attributes
    ----------
    bytes
        Length of its file.
    date_ns
        Its date at the source in nanoseconds since 1970.
    """

    tile: str
    archive: str
    bytes: int | None
    date_ns: int


class Claims:
    """Which archives brought a path, found by way of its directory.

    The lists of all tiles are read once, when something must be known of another tile's files: 12,621 in some 3 s.
    """

    def __init__(self, stamps: Stamps) -> None:
        self._stamps = stamps
        self._directory = stamps.directory / MEMBERS
        self._tiles: dict[str, set[str]] | None = None
        self._read = lru_cache(maxsize=64)(lambda tile: read_members(stamps, tile))

    def of(self, path: str) -> Iterator[Claim]:
        """Claims to a path, of any tile."""
        if self._tiles is None:
            self._tiles = {}
            for file in sorted(self._directory.glob("[0-9]*.gz")):
                self._index(file.name.removesuffix(".gz"), file.read_bytes())
        for tile in sorted(self._tiles.get(path[: path.rindex("/") + 1], ())):
            for name, one in self._read(tile).items():
                if name != OBSOLETE and path in one.files:
                    yield Claim(tile, name, one.files[path], nanoseconds(one.date))

    def prepare(self, tile: str, packed: bytes) -> None:
        """Write a tile's list under a temporary name."""
        self._directory.mkdir(parents=True, exist_ok=True)
        (self._directory / f".{tile}.next").write_bytes(packed)

    def announce(self, tile: str) -> None:
        """Give the list that was prepared its name: it replaces the tile's earlier claims."""
        (self._directory / f".{tile}.next").rename(self._directory / f"{tile}.gz")
        self.look_again(tile)

    def look_again(self, tile: str) -> None:
        """Take notice of a list that changed."""
        self._read.cache_clear()
        if self._tiles is not None:
            with suppress(FileNotFoundError):
                self._index(tile, (self._directory / f"{tile}.gz").read_bytes())

    def write(self, tile: str, packed: bytes) -> None:
        """Change a tile's list; one that is prepared is left alone, which may be another shard's."""
        temporary = self._directory / f".{tile}"
        temporary.write_bytes(packed)
        temporary.rename(self._directory / f"{tile}.gz")
        self.look_again(tile)

    def outdo(self, claim: Claim, path: str) -> None:
        """Note that a newer file than that of a claim has its path."""
        members = read_members(self._stamps, claim.tile)
        members[claim.archive].files[path] = None
        self.write(claim.tile, pack(members))

    def _index(self, tile: str, packed: bytes) -> None:
        assert self._tiles is not None
        try:
            found = _DIRECTORIES.findall(zlib.decompress(packed, _GZIP))
        except zlib.error:
            return
        for directory in found:
            self._tiles.setdefault(directory.decode(), set()).add(tile)
