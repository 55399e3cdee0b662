"""Gunzip: a compressed file as a run of pieces of bounded size, checked to its very end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

#: The longest piece, in bytes: a small archive is one piece, and memory does not grow with a large one.
PIECE = 4 << 20
_READ = 1 << 20
_MAGIC = b"\x1f\x8b"
#: Tells isal that a gzip header and trailer are around the data, as `zlib.decompressobj` puts it.
_GZIP = 31


class GzipError(Exception):
    """The file is not one whole gzip stream, or several, and nothing else; says why."""


def gunzip(path: Path) -> Iterator[bytes]:
    """Yield the content of a gzip'd file in pieces of up to `PIECE` bytes.

    Each stream's CRC and length are verified (RFC 1952). Several streams in a row are one content; zeros may follow,
    as tapes leave them, and nothing else may.

    Raises
    ------
    GzipError
        If it is damaged, cut or something else; perhaps only after its last piece.
    """
    from isal import isal_zlib

    with path.open("rb", buffering=0) as file:
        data = file.read(_READ)
        if not data:
            raise GzipError("it is empty")
        if not data.startswith(_MAGIC):
            raise GzipError("it is no gzip file")
        while data:
            stream = isal_zlib.decompressobj(_GZIP)
            while not stream.eof:
                if not data:
                    raise GzipError("it is cut short")
                try:
                    piece = stream.decompress(data, PIECE)
                except isal_zlib.error as error:
                    raise GzipError(f"it is damaged ({error})") from error
                data = stream.unconsumed_tail or (b"" if stream.eof else file.read(_READ))
                if piece:
                    yield piece
            data = stream.unused_data
            while len(data) < len(_MAGIC) or not data.startswith(_MAGIC):
                if data.count(0) != len(data):
                    raise GzipError("something follows its end")
                data = file.read(_READ)
                if not data:
                    break
