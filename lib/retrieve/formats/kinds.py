"""Kinds: what a file is by its name, and whether it is whole as that."""

from __future__ import annotations

from pathlib import Path

from retrieve.formats import fits
from retrieve.formats.gunzip import GzipError, gunzip
from retrieve.formats.header import TarError, is_header
from retrieve.formats.tar import TarStream


def unsound(path: Path) -> str | None:
    """Say what is wrong with a file of a known kind: ``.tgz``, ``.gz``, ``.fits`` or ``.fits.fz``.

    A part file's kind is that of the archive that it will be.
    """
    name = path.name
    if any(end in name for end in (".tgz", ".gz")):
        return _gzip_problem(path)
    if ".fits" in name:
        return fits.look(path).problem
    return None


def _gzip_problem(path: Path) -> str | None:
    with path.open("rb") as file:
        is_plain = is_header(file.read(512))
    try:
        # Without compression there is no checksum of the whole, but an end.
        for _ in TarStream(gunzip(path)) if is_plain else gunzip(path):
            pass
    except TarError as error:
        return f"no whole tar archive: {error}"
    except GzipError as error:
        return "it is empty" if path.stat().st_size == 0 else f"no whole gzip stream: {error}"
    return None


def look_at(name: str, source: Path | bytes, check: str) -> fits.Look:
    """Look at a file, or its content, if it is FITS by its name; see `unpack` for the meaning of `check`."""
    if check == "none" or not is_fits(name):
        return fits.SOUND
    return fits.look(source, full=check == "full")


def is_fits(name: str) -> bool:
    """Whether a file is FITS, by its name."""
    return name.endswith((".fits", ".fits.fz"))
