"""Manifest: a table of every archive that is held and verified, by which a data set can be cited and had again."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache
from io import StringIO
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from retrieve import VERSION
from retrieve.formats.sums import sums_line
from retrieve.settings import Settings
from retrieve.stamps.inventory import held_archives, held_or_freed, listed_tiles
from retrieve.stamps.stamps import DOWNLOADED, EXTRACTED, Stamps
from retrieve.standing.history import unpacked_at, written_at

if TYPE_CHECKING:
    from astropy.table import Table

#: What the columns hold, by name.
_MEANING = {
    "tile": "tile number",
    "product": "product of ShapePipe, or pattern of file names",
    "archive": "file name",
    "uri": "where it came from",
    "bytes": "length",
    "md5": "MD5 of the verified bytes",
    "date": "date at the source (UTC)",
    "fetched": "verified here at the latest then (UTC)",
    "unpacked": "tile unpacked then (UTC)",
}


class Row(NamedTuple):
    """An archive that is held and verified; `fetched` and `unpacked` are empty where they are not known."""

    tile: str
    product: str
    archive: str
    uri: str
    bytes: int
    md5: str
    date: str
    fetched: str
    unpacked: str


@dataclass(frozen=True)
class Manifest:
    """The archives of some tiles that are held and verified.

    Attributes
    ----------
    rows
        By tile, then in the order of the products.
    left_out
        Names of archives that are here, but not as they were verified.
    freed
        Names of archives in `rows` that were deleted once they were unpacked (``KEEP=no``).
    """

    rows: list[Row] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)
    freed: set[str] = field(default_factory=set)


def list_held(settings: Settings, stamps: Stamps) -> Manifest:
    """List the archives of the tiles of a run; those that were deleted after they were unpacked are held, too.

    When an archive was fetched is not written down: its file and the stamp of its tile got their names then, and later
    only if they were copied or touched, or another archive of the tile came anew. The earlier of both dates is given.
    """
    held = held_archives(settings)
    found = Manifest()
    for tile in listed_tiles(settings, stamps):
        (source, lines), (source_before, done) = (stamps.lines(state, tile) for state in (DOWNLOADED, EXTRACTED))
        lines, here = held_or_freed(lines, done, held)
        if not lines:
            continue
        usual = source or source_before
        stamped, unpacked = written_at(stamps.path(DOWNLOADED, tile)), unpacked_at(stamps, tile)
        for product in settings.product_set():
            name = product.archive(tile)
            one = lines.get(name)
            if one is None or name not in here:
                continue
            if here[name] != (one.bytes, one.mtime_ns):
                found.left_out.append(name)
                continue
            if name not in held:
                found.freed.add(name)
            named = written_at(settings.archives / name)
            found.rows.append(
                Row(
                    tile,
                    product.name,
                    name,
                    f"{_uri(product.container or usual)}/{name}",
                    one.bytes,
                    one.own_md5,
                    one.date,
                    _iso(min((time for time in (named, stamped) if time), default=None)),
                    _iso(unpacked) if name in done and done[name].own_md5 == one.own_md5 else "",
                )
            )
    return found


def table_of(manifest: Manifest, settings: Settings) -> Table:
    """Make an astropy table of a manifest, with what it is about in its meta data."""
    from astropy.table import Column, MaskedColumn, Table

    columns = []
    for place, name in enumerate(Row._fields):
        values = [row[place] for row in manifest.rows]
        kind = int if name == "bytes" else str
        column = Column(values, name, kind, description=_MEANING[name], unit="byte" if name == "bytes" else None)
        if not all(values):
            column = MaskedColumn(column, mask=[not value for value in values])
        columns.append(column)
    rows = manifest.rows
    meta = {
        "containers": sorted({row.uri.rpartition("/")[0] for row in rows}),
        "psf_model": settings.psf,
        "tile_lists": settings.tiles,
        "toolkit": f"retrieve {VERSION}",
        "written": _iso(datetime.now(UTC)),
        "tiles": len({row.tile for row in rows}),
        "archives": len(rows),
        "bytes": sum(row.bytes for row in rows),
    }
    return Table(columns, meta=meta)


def ecsv(table: Table) -> str:
    """Write a table as ECSV, which astropy and TOPCAT read."""
    text = StringIO()
    table.write(text, format="ascii.ecsv", delimiter=",")
    return text.getvalue()


def sums(manifest: Manifest, archives: Path) -> list[str]:
    """Write what is here of a manifest as `md5sum` does, a line each."""
    rows = (row for row in manifest.rows if row.archive not in manifest.freed)
    return [sums_line(row.md5, str(archives / row.archive)) for row in rows]


@cache
def _uri(source: str) -> str:
    return source if ":" in source else Path(source).resolve().as_uri()


def _iso(time: datetime | None) -> str:
    """Write a time as the source writes its dates: in UTC, without saying so."""
    return f"{time:%FT%T}" if time else ""
