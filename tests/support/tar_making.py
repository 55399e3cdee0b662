"""Tar archives of every kind, for the tests: good ones, and such as no honest writer makes."""

from __future__ import annotations

import gzip
import hashlib
import os
from pathlib import Path

from retrieve.archives import Archive, Verified, date_of
from retrieve.stamps.stamps import DOWNLOADED, Record, Stamps
from support.site import Site

MTIME = 1_628_162_732
END = bytes(1024)


def header(name: str | bytes, size: int | bytes = 0, kind: bytes = b"0", target: str = "", **fields: bytes) -> bytes:
    """A header of a member; `fields` (``mtime``, ``checksum``, ``mode``) replace what would be right."""
    raw = name if isinstance(name, bytes) else name.encode()
    block = bytearray(512)
    block[0 : len(raw[:100])] = raw[:100]
    block[100:108] = fields.get("mode", b"0000644\0")
    block[108:116] = block[116:124] = b"0000000\0"
    block[124:136] = size if isinstance(size, bytes) else b"%011o\0" % size
    block[136:148] = fields.get("mtime", b"%011o\0" % MTIME)
    block[148:156] = b" " * 8
    block[156:157] = kind
    block[157 : 157 + len(target)] = target.encode()
    block[257:265] = b"ustar\00000"
    block[148:156] = fields.get("checksum", b"%06o\0 " % sum(block))
    return bytes(block)


def padded(content: bytes) -> bytes:
    """Fill up to whole blocks."""
    return content + bytes(-len(content) % 512)


def member(name: str | bytes, content: bytes = b"content", kind: bytes = b"0", **fields: bytes) -> bytes:
    """A header and its content."""
    return header(name, len(content), kind, **fields) + padded(content)


def pax(records: dict[str, str], kind: bytes = b"x") -> bytes:
    """A pax header."""
    text = b""
    for key, value in records.items():
        rest = f" {key}={value}\n".encode()
        length = len(rest) + 1
        while len(str(length)) + len(rest) != length:
            length = len(str(length)) + len(rest)
        text += str(length).encode() + rest
    return member("pax", text, kind)


def packed(*blocks: bytes, end: bytes = END) -> bytes:
    """A gzip'd tar of these blocks."""
    return gzip.compress(b"".join(blocks) + end, 1, mtime=0)


def downloaded(site: Site, archives: dict[str, bytes], dates: dict[str, int] | None = None) -> list[str]:
    """Put archives in their place, by name such as ``final_cat_182.308.tgz``, with the stamps that `download` writes.

    `dates` gives the seconds since 1970 of some archives at the source.
    """
    directory = site.directory / "archives"
    directory.mkdir(exist_ok=True)
    stamps = Stamps(site.directory / "stamps", "mccd")
    by_tile: dict[str, dict[str, Verified]] = {}
    for name, content in archives.items():
        path = directory / name
        path.write_bytes(content)
        date_ns = (dates or {}).get(name, MTIME) * 1_000_000_000
        os.utime(path, ns=(date_ns, date_ns))
        md5 = hashlib.md5(content).hexdigest()
        tile = name.removesuffix(".tgz").rpartition("_")[2]
        by_tile.setdefault(tile, {})[name] = Verified(
            Archive(name, len(content), md5, date_of(date_ns)), md5, path.stat().st_mtime_ns
        )
    for tile, verified in by_tile.items():
        old = stamps.downloaded(tile).verified
        newest = max(one.archive.date_ns for one in verified.values())
        stamps.write(
            DOWNLOADED, tile, Record("vos:test", old | verified).text(), newest, stamps.mtime_ns(DOWNLOADED, tile)
        )
    tiles = sorted(stamps.tiles(DOWNLOADED))
    site.list_tiles(*tiles)
    return tiles


def fits(data_bytes: int = 0, cards: tuple[str, ...] = ()) -> bytes:
    """A small FITS file of sound structure, with 8-bit data."""
    axes = (
        ("NAXIS   =                    1", f"NAXIS1  = {data_bytes:>20}")
        if data_bytes
        else ("NAXIS   =                    0",)
    )
    text = ("SIMPLE  =                    T", "BITPIX  =                    8", *axes, *cards, "END")
    head = "".join(f"{card:80}" for card in text).encode()
    data = bytes(range(256)) * (data_bytes // 256 + 1)
    return head + b" " * (-len(head) % 2880) + data[:data_bytes] + bytes(-data_bytes % 2880)


def everything_below(directory: Path) -> dict[str, tuple[str, bytes]]:
    """Kind and content of whatever is below a directory, without following links."""
    found = {}
    for path in sorted(directory.rglob("*")):
        name = str(path.relative_to(directory))
        if path.is_symlink():
            found[name] = ("link", os.fsencode(path.readlink()))
        elif path.is_file():
            found[name] = ("file", path.read_bytes())
        else:
            found[name] = ("directory" if path.is_dir() else "other", b"")
    return found
