"""`canfar_avail_results`: say which tiles are complete in a container or a directory."""

from __future__ import annotations

import argparse
from contextlib import closing
from pathlib import Path

from retrieve.archives import LocalFile
from retrieve.availability.contents import Availability, Contents
from retrieve.availability.short import absent, refuse_short
from retrieve.commands.avail import list_container
from retrieve.formats.kinds import unsound
from retrieve.host.disk import write_whole
from retrieve.host.messages import complain
from retrieve.host.threads import in_threads
from retrieve.old.options import Parser, lists_of, run, settings_of
from retrieve.products import ProductSet, named_files
from retrieve.settings import STREAMS, Settings
from retrieve.source.container import Listing, Wanted
from retrieve.source.directory import Directory
from retrieve.source.opening import open_containers
from retrieve.stamps.stamps import DOWNLOADED, Stamps
from retrieve.tiles import EVERY, TileList, related, union
from retrieve.wording import share

EXAMPLES = """\
  canfar_avail_results -i tile_numbers.txt -v -p mccd --input_path vos:cfis/cosmostat/kilbinger/results
  canfar_avail_results -i tile_numbers.txt --input_path . -p mccd -v -o missing.txt
  canfar_avail_results -i tile_numbers.txt --input_path . -v -m -o missing_mask.txt
with make:
  make avail TILES=tile_numbers.txt, and make missing for what is not here"""


def main(options: argparse.Namespace) -> int:
    """List the container once, and compare with each list; exit status 0 even if nothing is complete."""
    only = "final_cat" if options.final_only else "pipeline_flag" if options.mask_only else ""
    settings = settings_of(options, tiles=lists_of(options), input_path=options.input_path, products=only)
    products = settings.product_set()
    if options.extension != "tgz":
        products = named_files(products, options.extension)
    lists = settings.lists()
    now = _survey(settings, products, related(union(lists or ()), ()))
    if lists is None:
        lists = (TileList(EVERY, tuple(sorted(now.tiles()))),)
    lists = tuple(TileList(one.name, now.settled(one.tiles)) for one in lists)
    for one in lists:
        print(f"{one.name}: {share(sum(map(now.is_complete, one.tiles)), len(one.tiles))} complete")
    lacking = [tile for tile in union(lists) if not now.is_complete(tile)]
    if options.verbose:
        for tile in lacking:
            print(f"  {tile} lacks {' '.join(now.stamp(tile).lacking)}")
    if options.output:
        write_whole(Path(options.output), "".join(f"{tile}\n" for tile in lacking))
    return 0


def _survey(settings: Settings, products: ProductSet, tiles: tuple[str, ...]) -> Availability:
    contents = []
    for container in open_containers(settings):
        listing = list_container(container, Wanted(products.matcher().fullmatch), settings)
        if isinstance(container, Directory):
            _leave_out_unsound(container, listing, Stamps(settings.stamps, products.model), settings.jobs or STREAMS)
            contents.append(Contents.of(container.uri, listing, products, products))
        else:
            contents.append(Contents.of(container.uri, listing, products, products))
            refuse_short(container, listing, absent(contents[-1], tiles, products), (), settings)
    return Availability(products, contents)


def _leave_out_unsound(directory: Directory, listing: Listing, stamps: Stamps, jobs: int) -> None:
    """Leave out of a listing what is cut or damaged; what was verified here and not touched since is not read."""
    verified = {
        name: LocalFile(one.archive.bytes, one.mtime_ns)
        for tile in stamps.tiles(DOWNLOADED)
        for name, one in stamps.downloaded(tile).verified.items()
    }
    names = [
        name
        for name, archive in listing.archives.items()
        if verified.get(name) != LocalFile(archive.bytes, archive.date_ns)
    ]
    with closing(in_threads(lambda name: unsound(directory.path / name), names, jobs)) as found:
        for name, problem in sorted(found):
            if problem:
                complain(f"'{name}' does not count: {problem}; fetch it again with canfar_download_results")
                del listing.archives[name]


def program() -> None:
    """Run the command with the options of the command line."""
    parser = Parser("canfar_avail_results", "Check which tiles have all their ShapePipe results.", EXAMPLES)
    parser.add_lists(".", "the lists in the current directory")
    parser.add_argument(
        "--input_path",
        default="vos:cfis/cosmostat/kilbinger/results",
        metavar="PATH",
        help="container (vos:, arc:) or local directory; '.': what is here (vos:cfis/cosmostat/kilbinger/results)",
    )
    parser.add_argument("-o", "--output", metavar="FILE", help="write the tiles that are not complete, one per line")
    parser.add_argument(
        "-x", "--extension", default="tgz", metavar="EXT", help="of the files: fits for catalogues (tgz)"
    )
    products = parser.add_mutually_exclusive_group()
    products.add_argument("-f", "--final_only", action="store_true", help="only final_cat")
    products.add_argument("-m", "--mask_only", action="store_true", help="only pipeline_flag")
    run(parser, main)


if __name__ == "__main__":
    program()
