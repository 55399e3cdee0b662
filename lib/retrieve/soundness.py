"""Whether a file is whole as what it is: a gzip stream to its end, a FITS file to its last block."""

from __future__ import annotations

from pathlib import Path

from retrieve import fits
from retrieve.gunzip import GzipError, gunzip


def unsound(path: Path) -> str | None:
    """Say what is wrong with a file, by its kind: ``.tgz`` or ``.gz``, ``.fits`` or ``.fits.fz``, else nothing.

    A part file's kind is that of the archive that it will be.
    """
    name = path.name
    if any(end in name for end in (".tgz", ".gz")):
        return _gzip_problem(path)
    if ".fits" in name:
        return fits.problem(path)
    return None


def _gzip_problem(path: Path) -> str | None:
    try:
        for _ in gunzip(path):
            pass
    except GzipError as error:
        return "it is empty" if path.stat().st_size == 0 else f"no whole gzip stream: {error}"
    return None
