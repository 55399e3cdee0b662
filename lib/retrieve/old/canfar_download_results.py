"""`canfar_download_results`: fetch what there is of some tiles into the current directory."""

from __future__ import annotations

import argparse
import re

from retrieve.commands import avail, download
from retrieve.old.options import Parser, lists_of, run, settings_of
from retrieve.stamps.inventory import held_archives
from retrieve.stamps.stale import collect
from retrieve.stamps.stamps import Stamps
from retrieve.tiles import EVERY

EXAMPLES = """\
  canfar_download_results -i tile_numbers.txt -p mccd --input_vos cosmostat/kilbinger/results
  canfar_download_results -i missing_mask.txt -m
with make:
  make avail download PARTIAL=yes ARCHIVES=. TILES=tile_numbers.txt"""


def container_of(input_vos: str) -> str:
    """URI of the container that `--input_vos` stands for: a path below ``vos:cfis/``, or a URI as it is."""
    return input_vos if re.match("[a-z]+:", input_vos) else f"vos:cfis/{input_vos.strip('/')}"


def main(options: argparse.Namespace) -> int:
    """List the container, fetch what is newer or damaged, and count what is here by product."""
    settings = settings_of(
        options,
        tiles=lists_of(options),
        input_path=container_of(options.input_vos),
        products="pipeline_flag" if options.mask_only else "",
        partial="yes",
    )
    products = settings.product_set()
    avail.main(settings)
    collect(Stamps(settings.stamps, products.model), "download")
    status = download.main(settings)
    match = products.matcher().fullmatch
    places = [found.lastindex for name in held_archives(settings) if (found := match(name))]
    for place, product in enumerate(products, start=1):
        print(f"{product.name}: {places.count(place)} files here")
    return status


def program() -> None:
    """Run the command with the options of the command line."""
    parser = Parser("canfar_download_results", "Download ShapePipe results into the current directory.", EXAMPLES)
    parser.add_lists(EVERY, "everything of the PSF model that is there")
    parser.add_argument(
        "--input_vos",
        default="cosmostat/kilbinger/results",
        metavar="PATH",
        help="container below vos:cfis/, or a URI such as arc:… (cosmostat/kilbinger/results)",
    )
    parser.add_argument("-m", "--mask_only", action="store_true", help="only the archives of pipeline_flag")
    run(parser, main)


if __name__ == "__main__":
    program()
