"""`exposures`: a list of the exposures that the images of the tiles were stacked from, as their headers name them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from time import sleep
from typing import NamedTuple

from retrieve.errors import Closed, RetrieveError, SourceError, remedy
from retrieve.formats.hdu import Read, read_header
from retrieve.formats.kinds import is_fits
from retrieve.host.disk import write_whole
from retrieve.host.messages import complain, shorten, show
from retrieve.host.progress import Progress
from retrieve.host.threads import in_threads
from retrieve.products import Product
from retrieve.settings import STREAMS, Settings
from retrieve.source.container import Container
from retrieve.source.opening import open_container
from retrieve.source.patience import patiently
from retrieve.stamps.inventory import listed_tiles
from retrieve.stamps.stamps import Stamps
from retrieve.tiles import TILE
from retrieve.wording import some

#: The file that is written.
FILE = Path("exposure_numbers.txt")
#: An exposure in the header of a stack of CFIS, as in ``HISTORY input image 2243881p.fits 6 extension(s)``. ShapePipe's
#: module `find_exposures` goes by the same cards.
_EXPOSURE = re.compile(rb"HISTORY[^\n]*?\b([0-9]{7})[a-z]?\.fits\b")
_CARD = 80
#: Bytes that are asked for at once of a header at the source: most end within these.
_PIECE = 8 * 2880


class _Image(NamedTuple):
    """A file of a tile whose header may name exposures; and what reads its bytes, by the number of the attempt."""

    tile: str
    name: str
    reader: Callable[[int], Read]


class _Found(NamedTuple):
    """Exposures by tile, none where no header names any; and the tiles of which there is no image to look at."""

    exposures: dict[str, set[str]]
    unseen: list[str]

    def all(self) -> list[str]:
        """All exposures, each once."""
        return sorted(set().union(*self.exposures.values()))


def main(settings: Settings) -> int:
    """Write the list; exit status 1 if some tile names no exposure."""
    found = _look(settings)
    write_whole(FILE, "".join(f"{exposure}\n" for exposure in found.all()))
    return _tell(found, f"{FILE}", settings)


def foretell(settings: Settings) -> int:
    """Say what the list would hold."""
    return _tell(_look(settings), f"{FILE}, to be written", settings)


def _look(settings: Settings) -> _Found:
    stamps = Stamps(settings.stamps, settings.product_set().model)
    stamps.check_listed()
    products = [one for one in settings.product_set() if is_fits(one.pattern)]
    if settings.unit is not TILE or not products:
        raise RetrieveError("exposures are named by images of tiles; give PRODUCTS these, such as CFIS.{tile}.r.fits")
    tiles = listed_tiles(settings, stamps)
    exposures: dict[str, set[str]] = {tile: set() for tile in tiles}
    images = list(_images(tiles, products, stamps, settings))
    progress = Progress("headers", "files", len(images), quiet=settings.quiet)
    with (
        progress,
        closing(in_threads(partial(_exposures, settings=settings), images, settings.jobs or STREAMS)) as answers,
    ):
        for image, answer in answers:
            progress.advance(1)
            if isinstance(answer, str):
                progress.say(f"'{image.name}': {answer}")
            else:
                exposures[image.tile] |= answer
    seen = {image.tile for image in images}
    return _Found(exposures, [tile for tile in tiles if tile not in seen])


def _images(tiles: list[str], products: list[Product], stamps: Stamps, settings: Settings) -> Iterator[_Image]:
    """Give the files of some tiles: those that are here, and with HEADERS=yes those that are at the source."""
    containers: dict[str, Container] = {}
    for tile in tiles:
        stamp = stamps.source(tile) if settings.headers else None
        there = {one.name for one in stamp[0].archives} if stamp else {}
        for product in products:
            name = product.archive(tile)
            path = settings.archives / name
            if path.exists():
                yield _Image(tile, name, lambda _, path=path: partial(_read_here, path))
            elif stamp and name in there:
                uri = product.container or stamp[0].source
                containers[uri] = containers.get(uri) or open_container(uri, settings)
                yield _Image(tile, name, partial(_there, containers[uri], name))


def _exposures(image: _Image, settings: Settings) -> set[str] | str:
    """Read the exposures that the header of a file names; or the problem that it has."""

    def exposures(attempt: int) -> set[str]:
        header = read_header(image.reader(attempt), 0)
        cards = (header[place : place + _CARD] for place in range(0, len(header), _CARD))
        return {match[1].decode() for card in cards if (match := _EXPOSURE.match(card))}

    try:
        return patiently(exposures, settings.retries, lambda seconds, _: sleep(seconds))
    except Closed:
        raise
    except (SourceError, ValueError) as error:
        return str(error)
    except OSError as error:
        return remedy(error)


def _read_here(path: Path, start: int, length: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read(length)


def _there(container: Container, name: str, attempt: int) -> Read:
    """Give a reader of a file at the source, which is asked for a piece at a time."""
    came = bytearray()

    def read(start: int, length: int) -> bytes:
        while len(came) < start + length:
            before = len(came)
            with container.read(name, before, attempt, _PIECE) as body:
                # Whoever serves no ranges begins anew.
                del came[body.start :]
                for chunk in body.chunks:
                    came.extend(chunk)
                    if len(came) >= before + _PIECE:
                        break
            if len(came) <= before:
                break
        return bytes(came[start : start + length])

    return read


def _tell(found: _Found, heading: str, settings: Settings) -> int:
    exposures, tiles = found.all(), sum(map(bool, found.exposures.values()))
    nameless = [tile for tile, names in found.exposures.items() if not names and tile not in found.unseen]
    show(
        settings,
        [f"{heading}: {some(len(exposures), 'exposure')} of {some(tiles, 'tile')}"],
        {"file": str(FILE), "exposures": len(exposures), "tiles": tiles, "nameless": nameless, "unseen": found.unseen},
    )
    for tiles_without, what in (
        (nameless, "the header of its image names no exposure"),
        (found.unseen, "there is no image of it" if settings.headers else "no image of it is here; give HEADERS=yes"),
    ):
        for line in shorten(settings, [f"{tile}: {what}" for tile in tiles_without], "tile"):
            complain(line)
    return 1 if nameless or found.unseen else 0
