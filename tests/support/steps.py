"""The steps of `untar` in the process of a test: fetched, unpacked into a staging directory, placed and stamped."""

from __future__ import annotations

from retrieve.output.placing import Placing
from retrieve.output.staging import TileJob, TileOutcome, unpack_tile
from retrieve.output.unpack import Limits
from retrieve.selection import EVERYTHING, Selection
from retrieve.shards import Shard
from retrieve.stamps.members import read_members
from retrieve.stamps.stamps import DOWNLOADED, EXTRACTED, Stamps
from support.site import Site
from support.tar_making import MTIME, downloaded, member, packed


def stamps_of(here: Site) -> Stamps:
    """The stamps of a run directory."""
    return Stamps(here.directory / "stamps", "mccd")


def fetch(here: Site, name: str, files: dict[str, bytes], date: int = 0, of_archive: int | None = None) -> None:
    """Have an archive with some files, all dated so many seconds after `MTIME`."""
    blocks = (member(path, content, mtime=b"%011o\0" % (MTIME + date)) for path, content in files.items())
    downloaded(here, {name: packed(*blocks)}, {name: MTIME + (date if of_archive is None else of_archive)})


def jobs(here: Site, *tiles: str, only: Selection = EVERYTHING, partial: bool = False) -> list[TileJob]:
    """Of some tiles of which archives were fetched."""
    place, stamps = here.directory, stamps_of(here)
    return [TileJob(tile, stamps, place / "archives", place, "none", Limits(), partial, only) for tile in tiles]


def placing(here: Site, *tiles: str, shard: Shard | None = None) -> Placing:
    """Begin to place some tiles."""
    return Placing(jobs(here, *tiles), stamps_of(here), here.directory, keep=True, shard=shard)


def unpacked(here: Site, *tiles: str, **options: object) -> list[TileOutcome]:
    """Unpack some tiles as far as their staging directories."""
    return [unpack_tile(job) for job in jobs(here, *tiles, **options)]


def place(run: Placing, outcomes: list[TileOutcome]) -> list[TileOutcome]:
    """Place and stamp them, which must succeed."""
    placed = list(run.place(outcomes))
    assert not [one.problem for one in placed if one.problem]
    return placed


def untar(here: Site, *tiles: str) -> set[str]:
    """Unpack some tiles in a run of their own; return those that are to be unpacked again."""
    run = placing(here, *tiles)
    place(run, unpacked(here, *tiles))
    return run.to_redo


def stamped(here: Site) -> set[str]:
    """Tiles that are unpacked as they were fetched."""
    stamps = stamps_of(here)
    fetched, found = stamps.tiles(DOWNLOADED), stamps.tiles(EXTRACTED)
    return {tile for tile in found if found[tile] >= fetched[tile]}


def listed(here: Site, tile: str) -> dict[str, dict[str, int | None]]:
    """The list of a tile: files and bytes by archive."""
    return {name: one.files for name, one in read_members(stamps_of(here), tile).items()}
