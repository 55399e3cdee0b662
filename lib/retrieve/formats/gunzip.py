"""Gunzip: a compressed file as a run of pieces of bounded size, checked to its very end.

A tar archive that is not compressed, although its name says so, is read as it is: `tar` does not mind.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from retrieve.formats.header import is_header

#: The longest piece, in bytes: a small archive is one piece, and memory does not grow with a large one.
PIECE = 4 << 20
_READ = 1 << 20
_MAGIC = b"\x1f\x8b"
#: Tells isal that a gzip header and trailer are around the data, as `zlib.decompressobj` puts it.
_GZIP = 31


#: How files of other formats begin, which tar unpacks by what they are rather than by their names.
_OTHERS = {
    b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bzip2", b"\xfd7zXZ\0": "xz", b"]\0\0": "lzma", b"\x1f\x9d": "compress",
    b"\x04\x22\x4d\x18": "lz4", b"LZIP": "lzip", b"PK\3\4": "zip", b"7z\xbc\xaf\x27\x1c": "7z",
}  # fmt: skip


class GzipError(Exception):
    """The file is not one whole gzip stream, or several, and nothing else; says why."""


class NoGzip(GzipError):
    """The file is something else; says what, if it is known."""


def gunzip(path: Path) -> Iterator[bytes]:
    """Yield the content of a gzip'd file in pieces of up to `PIECE` bytes; a tar file that is not compressed, as it is.

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
        if is_header(data[:512]):
            while data:
                yield data
                data = file.read(_READ)
        elif not data.startswith(_MAGIC):
            other = next((name for start, name in _OTHERS.items() if data.startswith(start)), None)
            raise NoGzip(f"it is compressed with {other}, not gzip" if other else "it is no gzip file")
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
            while len(data) < len(_MAGIC) and (more := file.read(_READ)):
                data += more
            if not data.startswith(_MAGIC):
                while data:
                    if data.count(0) != len(data):
                        raise GzipError("something follows its end")
                    data = file.read(_READ)
