"""Decoding: astropy reads a FITS file to its end. Any exception counts as a problem of that file alone."""

from __future__ import annotations

import errno
import io
import math
import os
import resource
import signal
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from astropy.io import fits

#: About so many pixels of an image, or bytes of a table, are decoded at once.
_AT_ONCE = 1 << 24
#: What decoding compressed images may take: bytes of memory; seconds, and more for each MB of the file.
_MEMORY = 4 << 30
_SECONDS = 60


def problem(source: Path | bytes, places: list[int], *, compressed: bool) -> str | None:
    """Have astropy read the headers of a FITS file, and decode tables of text and compressed images.

    Parameters
    ----------
    places
        Where the data of each HDU begin.
    compressed
        Whether it has compressed images. One damaged byte can crash the C code that decodes them, by a division by zero
        for instance. So that runs in a process of its own.
    """
    # Imported here, before another process is forked.
    from astropy.io.fits.hdu.compressed import _tiled_compression  # noqa: F401

    if not compressed:
        return _problem(source, places)
    size = len(source) if isinstance(source, bytes) else source.stat().st_size
    return _apart(lambda: _problem(source, places), _SECONDS + (size >> 20), _MEMORY + size)


def _problem(source: Path | bytes, places: list[int]) -> str | None:
    from astropy.io import fits

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            # From a file: HDUList.fromstring cannot read data of no bytes.
            with fits.open(io.BytesIO(source) if isinstance(source, bytes) else source) as hdus:
                for number, place in enumerate(places):
                    # One after the other: astropy would read an HDU of negative size again and again for ever.
                    try:
                        hdu = hdus[number]
                    except IndexError:
                        return f"astropy cannot read the header of HDU {number}"
                    # What `fileinfo` tells only of HDUs of the standard's kinds.
                    if hdu._data_offset != place:
                        return f"astropy finds HDU {number} elsewhere"
                    wrong = _read(hdu)
                    if wrong:
                        return f"{wrong} of HDU {number}"
        # What damage makes astropy raise cannot be listed: KeyError, UnboundLocalError, zlib.error, exceptions of its
        # own in C, which cannot be pickled. Only what the disk refuses is no problem of the file; EINVAL is that of
        # a place before its beginning.
        except Exception as error:
            if isinstance(error, OSError) and error.errno not in (None, errno.EINVAL):
                raise
            return f"astropy cannot read it ({_in_words(error)})"
    return None


def _in_words(error: Exception) -> str:
    """Give what an exception says on one line of printable text."""
    text = " ".join(f"{type(error).__name__}: {error}".split())[:200]
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _read(hdu: fits.hdu.base._BaseHDU) -> str | None:
    from astropy.io import fits

    header = hdu.header
    if isinstance(hdu, fits.BinTableHDU):
        # Columns that it cannot make sense of, astropy leaves out with no more than a warning.
        if hdu.columns.dtype.itemsize != header["NAXIS1"]:
            return "the columns do not add up to the rows"
        if header["NAXIS1"]:  # of rows without bytes there may be any number
            hdu.data  # noqa: B018 - reads it
    elif isinstance(hdu, fits.TableHDU):
        if header["NAXIS1"]:
            _decode_table(hdu)
    elif isinstance(hdu, fits.GroupsHDU):
        hdu.data  # noqa: B018 - reads it
    elif isinstance(hdu, fits.PrimaryHDU | fits.ImageHDU | fits.CompImageHDU) and hdu.shape and 0 not in hdu.shape:
        if isinstance(hdu, fits.CompImageHDU):
            _decode_image(hdu)
        else:
            hdu.section[:1]  # any bytes are pixels
    return None


def _decode_image(hdu: fits.CompImageHDU) -> None:
    """Decode a compressed image, some rows of tiles at a time."""
    shape, tile = hdu.shape, hdu.tile_shape
    axis = next((axis for axis in range(len(shape)) if shape[axis] > tile[axis]), 0)
    step = tile[axis] * max(_AT_ONCE // (tile[axis] * math.prod(shape) // shape[axis]), 1)
    for start in range(0, shape[axis], step):
        hdu.section[(slice(None),) * axis + (slice(start, start + step),)]


def _decode_table(hdu: fits.TableHDU) -> None:
    """Decode a table that is text, some rows at a time."""
    step = max(_AT_ONCE // hdu.header["NAXIS1"], 1)
    for start in range(0, len(hdu.data), step):
        rows = hdu.data[start : start + step]
        for number in range(len(hdu.columns)):
            rows.field(number)


def _apart(act: Callable[[], str | None], seconds: int, memory: int) -> str | None:
    """Give the answer of a function that runs in a process of its own, or say what became of that.

    Raises
    ------
    OSError
        If somebody killed the process, as a system does that is short of memory: nothing is known of the file.
    """
    out, into = os.pipe()
    child = os.fork()
    if not child:
        status = 1
        try:
            limits = (resource.RLIMIT_CPU, seconds), (resource.RLIMIT_DATA, memory), (resource.RLIMIT_CORE, 0)
            for kind, most in limits:
                hard = resource.getrlimit(kind)[1]
                resource.setrlimit(kind, (most if hard == resource.RLIM_INFINITY else min(most, hard), hard))
            # A C library may print something when it aborts.
            os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
            os.write(into, (act() or "").encode())
            status = 0
        finally:
            os._exit(status)
    os.close(into)
    with os.fdopen(out, "rb") as file:
        answer = file.read().decode()
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status == -signal.SIGKILL:
        raise OSError(errno.ENOMEM, "what decodes compressed images was killed, perhaps for want of memory")
    if status == -signal.SIGXCPU:
        return f"its compressed images take more than {seconds} seconds to decode"
    if status:
        return f"decoding its compressed images ends in {signal.Signals(-status).name if status < 0 else 'an error'}"
    return answer or None
