"""`untar_results`: unpack all archives of a PSF model that are in the current directory."""

from __future__ import annotations

import argparse
from pathlib import Path

from retrieve.archives import Archive, LocalFile, Verified, date_of
from retrieve.commands import untar
from retrieve.host.disk import md5_of, write_whole
from retrieve.old.options import STATE, Parser, run, settings_of
from retrieve.products import ProductSet
from retrieve.settings import Settings
from retrieve.stamps.inventory import held_archives, is_here
from retrieve.stamps.stale import collect
from retrieve.stamps.stamps import DOWNLOADED, EXTRACTED, Record, Stamps
from retrieve.tiles import EVERY

EXAMPLES = """\
  untar_results -p mccd
  untar_results -p psfex -o unpacked.txt
with make:
  make untar ARCHIVES=., after make download ARCHIVES=."""


def main(options: argparse.Namespace) -> int:
    """Unpack what is here, whoever fetched it, and count by product; exit status 1 if some failed."""
    settings = settings_of(options, tiles=EVERY, partial="yes", stamps=STATE / "untar")
    products = settings.product_set()
    stamps = Stamps(settings.stamps, products.model)
    held = held_archives(settings)
    tiles = _by_tile(held, products)
    with stamps.lock():
        for tile, names in tiles.items():
            _record(tile, {name: held[name] for name in names}, stamps, settings)
        for tile in stamps.tiles(DOWNLOADED).keys() - tiles.keys():
            stamps.remove(DOWNLOADED, tile)
        collect(stamps, "untar")
    status = untar.main(settings)
    done = [name for tile, names in tiles.items() for name in _unpacked(tile, names, stamps)]
    for product in products:
        of_product = [names for tile, names in tiles.items() if product.archive(tile) in names]
        good = sum(product.archive(tile) in done for tile in tiles)
        print(f"{product.name}: {len(of_product)} archives, {good} unpacked, {len(of_product) - good} failed")
    if options.output:
        write_whole(Path(options.output), "".join(f"{name}\n" for name in done))
    return status


def _by_tile(held: dict[str, LocalFile], products: ProductSet) -> dict[str, list[str]]:
    """Names of the archives that are here, by tile."""
    tiles: dict[str, list[str]] = {}
    match = products.matcher().fullmatch
    for name in sorted(held):
        found = match(name)
        if found and found.lastindex:
            tiles.setdefault(found[found.lastindex], []).append(name)
    return tiles


def _record(tile: str, held: dict[str, LocalFile], stamps: Stamps, settings: Settings) -> None:
    """Write down the archives of a tile as they are, for `untar` to go by, unless they are as they were last time."""
    before = stamps.lines(DOWNLOADED, tile)[1]
    if is_here(before, held) and before.keys() == held.keys():
        return
    now = {}
    for name, one in held.items():
        md5 = md5_of(settings.archives / name)
        now[name] = Verified(Archive(name, one.bytes, None, date_of(one.mtime_ns)), md5, one.mtime_ns)
    newest = max(one.mtime_ns for one in held.values())
    stamps.write(DOWNLOADED, tile, Record(str(settings.archives), now).text(), newest, stamps.mtime_ns(EXTRACTED, tile))


def _unpacked(tile: str, names: list[str], stamps: Stamps) -> list[str]:
    """Those of some archives of a tile of which this very content is unpacked."""
    wanted, done = stamps.downloaded(tile).verified, stamps.extracted(tile).verified
    return [name for name in names if name in wanted and name in done and done[name].md5 == wanted[name].md5]


def program() -> None:
    """Run the command with the options of the command line."""
    parser = Parser("untar_results", "Unpack the ShapePipe results in the current directory, logs included.", EXAMPLES)
    parser.add_argument("-o", "--output", metavar="FILE", help="write the names of the archives that are unpacked")
    run(parser, main)


if __name__ == "__main__":
    program()
