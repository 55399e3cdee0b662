"""Claims: which archives brought a path of the output tree, and which of them has its file there."""

from __future__ import annotations

import filecmp
import os
import re
import zlib
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from retrieve.archives import nanoseconds
from retrieve.host.disk import write_whole
from retrieve.stamps.members import GZIP, MEMBERS, OBSOLETE, pack, read_members
from retrieve.stamps.stamps import Stamps

_DIRECTORIES = re.compile(rb"\n\t([^\t\n]+/)(?=\n)")


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
    """Which archives brought a path, indexed by its directory.

    The lists of all tiles are read once, as soon as another tile's files matter: 12,621 lists take some 3 s.
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
        """Rename the prepared list into place: it replaces the tile's earlier claims."""
        (self._directory / f".{tile}.next").rename(self._directory / f"{tile}.gz")
        self.look_again(tile)

    def look_again(self, tile: str) -> None:
        """Update the index after a list changed."""
        self._read.cache_clear()
        if self._tiles is not None:
            with suppress(FileNotFoundError):
                self._index(tile, (self._directory / f"{tile}.gz").read_bytes())

    def write(self, tile: str, packed: bytes) -> None:
        """Change a tile's list, on disk; leave a prepared one alone, since it may be another shard's."""
        write_whole(self._directory / f"{tile}.gz", packed)
        self.look_again(tile)

    def supersede(self, claim: Claim, path: str) -> None:
        """Note that a newer file has taken the path of a claim."""
        members = read_members(self._stamps, claim.tile)
        members[claim.archive].files[path] = None
        self.write(claim.tile, pack(members))

    def _index(self, tile: str, packed: bytes) -> None:
        assert self._tiles is not None
        try:
            found = _DIRECTORIES.findall(zlib.decompress(packed, GZIP))
        except zlib.error:
            return
        for directory in found:
            self._tiles.setdefault(directory.decode("utf-8", "surrogateescape"), set()).add(tile)


@dataclass
class Conflict:
    """Decides which file keeps a path when an archive's staged file finds another one there.

    Attributes
    ----------
    absent
        Tile and name of archives whose files are not in the tree, so that their claims do not count.
    date_ns
        Date of the archive at the source.
    superseded
        Collects paths that two archives brought with different content.
    kept
        Paths that an earlier run with fewer patterns unpacked: where they equal the staged files, they stay untouched.
    """

    staging: Path
    destination: Path
    claims: Claims
    absent: set[tuple[str, str]]
    date_ns: int
    superseded: set[str]
    kept: frozenset[str] = frozenset()

    def __post_init__(self) -> None:
        self.lost: list[str] = []

    def staged_wins(self, path: str, staged: os.stat_result, there: os.stat_result) -> bool:
        """Whether the staged file takes the place.

        The first row that fits holds:

        ===================================================  ==============
        the file that is there                               gives way
        ===================================================  ==============
        it was kept, with this length and mtime              no
        no other archive claims it (an earlier version,      yes
        or what a stopped run left)
        it has the same content                              unless its
                                                             mtime is newer
        its length is none that an archive claims            yes
        it is older, or as old and of an older archive       yes
        it is newer                                          no
        ===================================================  ==============
        """
        if path in self.kept and (there.st_size, there.st_mtime_ns) == (staged.st_size, staged.st_mtime_ns):
            return False
        others = [
            claim
            for claim in self.claims.of(path)
            if claim.bytes is not None and (claim.tile, claim.archive) not in self.absent
        ]
        if not others:
            return True
        if filecmp.cmp(self.staging / path, self.destination / path, shallow=False):
            return staged.st_mtime_ns >= there.st_mtime_ns
        self.superseded.add(path)
        owners = [claim for claim in others if claim.bytes == there.st_size]
        if owners and (there.st_mtime_ns, max(one.date_ns for one in owners)) > (staged.st_mtime_ns, self.date_ns):
            self.lost.append(path)
            return False
        for claim in others:
            self.claims.supersede(claim, path)
        return True
