"""Members: which files came out of which archive, a compressed list per tile beside its stamps.

A tile has some 2,000 files. Their list in plain text is 90 kB, packed it is 9 kB: 110 MB rather than 1.1 GB at 12,621
tiles. `extracted/TILE` stays a small text file, so that a look at all of them takes a second.

The list is written before the first file gets its place, and also names the files that are to be removed. So every file
that we put into the output tree is on a list, no matter when a run is killed.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field
from pathlib import Path

from retrieve.products import expected_files
from retrieve.stamps.stamps import Stamps

#: Directory of the lists, beside the directories of stamps.
MEMBERS = "members"
#: In place of an archive's name: files of an earlier version that are to be removed.
OBSOLETE = "-"
#: In place of a file's bytes: another archive brought the same path, and its file is newer.
_SUPERSEDED = "-"
#: In place of a file's bytes: it is a link that was left out.
_LEFT_OUT = ">"
GZIP = 31


@dataclass(frozen=True)
class Unpacked:
    """The files of one archive.

    Attributes
    ----------
    md5
        MD5 of the archive.
    date
        Its date at the source.
    files
        Path below the destination (such as ``output/…/final_cat-182-308.fits``) and bytes; None in place of the bytes
        if another archive's newer file has the same path.
    left_out
        Paths of links in it that lead to no file of it, and were left out.
    """

    md5: str
    date: str
    files: dict[str, int | None]
    left_out: list[str] = field(default_factory=list)


Members = dict[str, Unpacked]


def paths_of(members: Members) -> set[str]:
    """All paths of a list."""
    return {path for one in members.values() for path in one.files}


def without_file(members: Members, tile: str) -> dict[str, str]:
    """Archives that lack a file which they should contain, each with the name of one such file."""
    lacking: dict[str, str] = {}
    for name, one in members.items():
        for wanted in expected_files(name, tile):
            if not any(path.endswith(f"/{wanted}") for path in one.files):
                lacking[name] = wanted
    return lacking


def pack(members: Members) -> bytes:
    """Write a list: a line per archive, below it its directories, below these their files and bytes; gzip'd."""
    lines = []
    for name, one in members.items():
        lines.append(f"{name}\t{one.md5}\t{one.date}\n")
        here = None
        left_out = dict.fromkeys(one.left_out, _LEFT_OUT)
        for path, size in (*one.files.items(), *left_out.items()):
            cut = path.rindex("/") + 1
            if path[:cut] != here:
                here = path[:cut]
                lines.append(f"\t{here}\n")
            lines.append(f"\t\t{path[cut:]}\t{_SUPERSEDED if size is None else size}\n")
    packer = zlib.compressobj(2, zlib.DEFLATED, GZIP)
    return packer.compress("".join(lines).encode("utf-8", "surrogateescape")) + packer.flush()


def unpack_list(packed: bytes) -> Members:
    """Read what `pack` wrote.

    Raises
    ------
    ValueError
        If it is not a list of members.
    """
    members: Members = {}
    files: dict[str, int | None] = {}
    left_out: list[str] = []
    directory = ""
    for line in _text(packed).removesuffix("\n").split("\n"):
        if line.startswith("\t\t"):
            base, _, size = line[2:].rpartition("\t")
            if size == _LEFT_OUT:
                left_out.append(directory + base)
            else:
                files[directory + base] = None if size == _SUPERSEDED else int(size)
        elif line.startswith("\t"):
            directory = line[1:]
        elif line:
            name, md5, date = line.split("\t")
            files, left_out = {}, []
            members[name] = Unpacked(md5, date, files, left_out)
    return members


def _text(packed: bytes) -> str:
    try:
        return zlib.decompress(packed, GZIP).decode("utf-8", "surrogateescape")
    except zlib.error as error:
        raise ValueError(f"not a list of members: {error}") from error


def members_path(stamps: Stamps, tile: str) -> Path:
    """Where the list of a tile is."""
    return stamps.directory / MEMBERS / f"{tile}.gz"


def read_members(stamps: Stamps, tile: str) -> Members:
    """Files that were unpacked of a tile; empty without a readable list."""
    try:
        return unpack_list(members_path(stamps, tile).read_bytes())
    except (FileNotFoundError, ValueError):
        return {}
