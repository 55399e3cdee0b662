"""Safe unpacking: an archive goes to a staging directory, is checked, and only then into the output tree."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from retrieve import fits
from retrieve.tar import DIRECTORY, HARD_LINK, REGULAR, SYMBOLIC_LINK, Member, TarError, TarStream

#: Everything that is unpacked is below this directory, where ShapePipe looks for it.
OUTPUT = "output"


class Refused(Exception):
    """An archive that is damaged or not safe to unpack; says why, naming the member."""


@dataclass(frozen=True)
class Limits:
    """What one archive may bring at most.

    Attributes
    ----------
    members
        Number of members.
    bytes
        Unpacked bytes.
    ratio
        Unpacked bytes per byte of the archive, beyond the first 100 MB.
    """

    members: int = 200_000
    bytes: int = 200_000_000_000
    ratio: int = 200


_UNCOUNTED = 100_000_000


def unpack(archive: Path, staging: Path, check: str, limits: Limits = Limits()) -> dict[str, int]:
    """Unpack one archive below a staging directory and check what came.

    Only regular files and directories are made. A link to a regular file of the same archive becomes a copy of it.

    Parameters
    ----------
    staging
        Directory of our own, in which nobody else writes.
    check
        ``quick`` looks at the structure of FITS files, ``full`` reads them and their checksums, ``none`` does neither.

    Returns
    -------
    dict
        Path below the destination and bytes of each file.

    Raises
    ------
    Refused
        If it is damaged, unsafe, or a file in it is.
    """
    from isal import igzip, isal_zlib

    files: dict[str, int] = {}
    budget = min(limits.bytes, _UNCOUNTED + limits.ratio * archive.stat().st_size)
    try:
        with igzip.open(archive, "rb") as stream:
            tar = TarStream(stream)
            for count, member in enumerate(tar, start=1):
                if count > limits.members:
                    raise Refused(f"it has more than {limits.members} members")
                path = _safe_path(member)
                if member.kind == DIRECTORY:
                    (staging / path).mkdir(parents=True, exist_ok=True)
                    continue
                if member.kind == REGULAR:
                    budget -= member.bytes
                else:
                    target = _link_target(path, member, files)
                    budget -= files[target]
                if budget < 0:
                    raise Refused(f"'{member.name}' brings it beyond what its size allows; is it a bomb?")
                (staging / path).parent.mkdir(parents=True, exist_ok=True)
                if member.kind == REGULAR:
                    _write(staging / path, member, tar)
                else:
                    shutil.copy2(staging / target, staging / path)
                files[path] = (staging / path).stat().st_size
    except TarError as error:
        raise Refused(f"the tar archive is damaged: {error}") from error
    except (EOFError, isal_zlib.error, igzip.BadGzipFile) as error:
        raise Refused(f"the gzip stream is damaged: {error}") from error
    except (FileExistsError, NotADirectoryError, IsADirectoryError) as error:
        raise Refused(f"'{error.filename}' is both a file and a directory") from error
    for path in files:
        problem = check_fits(staging / path, check)
        if problem:
            raise Refused(f"'{path}' is damaged: {problem}")
    return files


def check_fits(path: Path, check: str) -> str | None:
    """Say what is wrong with a file if it is FITS; see `unpack` for the meaning of `check`."""
    if check == "none" or not path.name.endswith((".fits", ".fits.fz")):
        return None
    return fits.problem(path) or (fits.content_problem(path) if check == "full" else None)


def _safe_path(member: Member) -> str:
    """Normalise a member's name to a path below `OUTPUT`, or refuse it."""
    name = member.name
    if member.kind not in (REGULAR, DIRECTORY, HARD_LINK, SYMBOLIC_LINK):
        raise Refused(f"'{name}' is a {member.kind}")
    if name.startswith("/"):
        raise Refused(f"'{name}' is an absolute path")
    if any(ord(character) < 32 or ord(character) == 127 for character in name):
        raise Refused(f"{name!r} has control characters in its name")
    parts = [part for part in name.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise Refused(f"'{name}' leads out of '{OUTPUT}/'")
    if any(len(part.encode()) > 255 for part in parts):
        raise Refused(f"'{name[:80]}…' is too long a name")
    if (parts[:1] != [OUTPUT] and parts) or (len(parts) < 2 and member.kind != DIRECTORY):
        raise Refused(f"'{name}' is not below '{OUTPUT}/'")
    return "/".join(parts)


def _write(path: Path, member: Member, tar: TarStream) -> None:
    # A member that comes twice replaces the earlier one, as `tar` does it.
    with path.open("wb") as file:
        file.writelines(tar.content())
    os.utime(path, ns=(member.mtime_ns, member.mtime_ns))


def _link_target(path: str, member: Member, files: dict[str, int]) -> str:
    """Path of the regular file that a link points to; a link to anything else is refused."""
    base = "" if member.kind == HARD_LINK else path.rpartition("/")[0] + "/"
    target = os.path.normpath(base + member.target)
    if member.target.startswith("/") or target not in files or target == path:
        raise Refused(f"'{member.name}' is a {member.kind} to '{member.target}', which is no file of the archive")
    return target


class Tree:
    """The output tree at its destination, reached without following a symbolic link below it.

    Parameters
    ----------
    destination
        The user's directory, which holds `OUTPUT`.
    """

    def __init__(self, destination: Path) -> None:
        self.destination = destination

    def adopt(self, staging: Path, paths: Iterable[str]) -> None:
        """Move staged files to their places.

        Raises
        ------
        Refused
            If a place is taken by a directory, or lies behind a symbolic link.
        """
        for path in paths:
            directory, _, name = path.rpartition("/")
            with self._directory(directory, make=True) as descriptor:
                try:
                    os.rename(staging / path, name, dst_dir_fd=descriptor)
                except IsADirectoryError as error:
                    raise Refused(f"'{path}' is a directory here; move it away") from error

    def remove(self, paths: Iterable[str]) -> None:
        """Remove files that we unpacked, and directories that this leaves empty."""
        directories = set()
        for path in paths:
            directory, _, name = path.rpartition("/")
            try:
                with self._directory(directory, make=False) as descriptor:
                    os.unlink(name, dir_fd=descriptor)
            except (FileNotFoundError, IsADirectoryError, Refused):
                continue
            directories.add(directory)
        for directory in sorted(directories, key=len, reverse=True):
            self._remove_empty(directory)

    def _remove_empty(self, directory: str) -> None:
        while "/" in directory:
            parent, _, name = directory.rpartition("/")
            try:
                with self._directory(parent, make=False) as descriptor:
                    os.rmdir(name, dir_fd=descriptor)
            except (OSError, Refused):
                return
            directory = parent

    @contextmanager
    def _directory(self, path: str, *, make: bool) -> Iterator[int]:
        descriptor = os.open(self.destination, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for part in path.split("/"):
                if make:
                    with suppress(FileExistsError):
                        os.mkdir(part, dir_fd=descriptor)
                try:
                    below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=descriptor)
                except NotADirectoryError as error:  # which a symbolic link is, too
                    raise Refused(
                        f"'{path}' is reached through '{part}', which is no directory; move it away"
                    ) from error
                os.close(descriptor)
                descriptor = below
            yield descriptor
        finally:
            os.close(descriptor)


def is_tar(name: str) -> bool:
    """Whether an archive is one to unpack, by its name."""
    return name.endswith((".tgz", ".tar.gz"))
