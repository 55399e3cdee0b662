"""The promises about what is on disk, checked on a run directory as a kill or a power cut left it."""

from __future__ import annotations

import hashlib
import io
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from retrieve.stamps.members import unpack_list
from support.site import names

#: Files of a run directory by their path in it: content, and mtime in nanoseconds.
Files = dict[str, tuple[bytes, int]]
STAMPS = "stamps/mccd/"


def files_of(root: Path) -> Files:
    """Read all regular files of a run directory."""
    return {
        str(path.relative_to(root)): (path.read_bytes(), path.stat().st_mtime_ns)
        for path in root.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


def md5(content: bytes) -> str:
    """MD5 of some bytes."""
    return hashlib.md5(content, usedforsecurity=False).hexdigest()


@dataclass
class Known:
    """All archives that were ever at the source, and what is in them.

    Attributes
    ----------
    archives
        Names, by MD5.
    members
        Contents of their files by path, by MD5.
    """

    archives: dict[str, str] = field(default_factory=dict)
    members: dict[str, dict[str, bytes]] = field(default_factory=dict)

    def learn(self, container: Path) -> None:
        """Read the archives that are at the source now."""
        for path in container.glob("*.tgz"):
            content = path.read_bytes()
            digest = md5(content)
            if digest not in self.archives:
                with tarfile.open(fileobj=io.BytesIO(content)) as tar:
                    found = {one.name: tar.extractfile(one).read() for one in tar if one.isfile()}
                self.archives[digest], self.members[digest] = path.name, found


def broken(files: Files, known: Known) -> Iterator[str]:
    """Say which promises are broken.

    1. What has an archive's name is an archive, whole, as it once was at the source.
    2. A stamp is whole, and so is a list of members.
    3. What `downloaded` vouches for is here, byte for byte, unless `extracted` says that it was freed; of a tile that
       is behind, an archive that is newer than it says may be here as well.
    4. What `extracted` vouches for is in the output tree, byte for byte, unless the tile is behind, or its list says
       that a file gave way to that of another archive.
    """
    digests = {path: md5(content) for path, (content, _) in files.items() if path.startswith("archives/")}
    for path, digest in digests.items():
        if path.endswith(".tgz") and known.archives.get(digest) != path.partition("/")[2]:
            yield f"'{path}' is no archive of that name"
    stamps: dict[tuple[str, str], tuple[list[list[str]], int]] = {}
    for path, (content, mtime_ns) in files.items():
        state, _, tile = path.removeprefix(STAMPS).partition("/")
        if not path.startswith(STAMPS) or not tile or tile.startswith("."):
            continue
        if state == "members":
            try:
                zlib.decompress(content, 31)
            except zlib.error as error:
                yield f"'{path}' is torn: {error}"
        elif state not in ("missing", "unfinished"):
            fields = [line.split("\t") for line in content.decode(errors="replace").splitlines()[1:]]
            whole = content.startswith(b"# ") and content.endswith(b"\n") and all(len(one) >= 4 for one in fields)
            if not whole or sorted(one[0] for one in fields) != sorted(names(tile)):
                yield f"'{path}' is torn: {content[:80]!r}"
            else:
                stamps[state, tile] = fields, mtime_ns
    for (state, tile), (fields, mtime_ns) in stamps.items():
        behind = mtime_ns < stamps.get(("available" if state == "downloaded" else "downloaded", tile), ([], 0))[1]
        if state == "downloaded":
            freed = {one[0]: one[2] for one in stamps.get(("extracted", tile), ([], 0))[0] if one[4] == "0"}
            for name, _, digest, _, recorded, *own in fields:
                path = f"archives/{name}"
                if path not in files:
                    if freed.get(name) != digest:
                        yield f"'{path}' is gone, for which '{state}/{tile}' vouches"
                elif files[path][1] == int(recorded) and digests[path] not in (digest, *own):
                    yield f"'{path}' is not what '{state}/{tile}' vouches for"
                elif files[path][1] != int(recorded) and not behind:
                    yield f"'{path}' is not of the date that '{state}/{tile}' says"
        elif state == "extracted" and not behind:
            members = unpack_list(files.get(f"{STAMPS}members/{tile}.gz", (b"",))[0])
            for name, _, *digest in (one[:3] + one[5:] for one in fields):
                for member, content in known.members[digest[-1]].items():
                    given_way = members[name].files[member] is None
                    if not given_way and files.get(member, (None,))[0] != content:
                        yield f"'{member}' is not what '{state}/{tile}' vouches for"
