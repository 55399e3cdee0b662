"""`selftest`: try with a few requests what a service does; the report holds no secrets."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace

from retrieve.availability.asking import ask_for
from retrieve.availability.record import ListingRecord
from retrieve.campaign.checkup import tell
from retrieve.campaign.selftest import examine_services, hasty
from retrieve.errors import SettingError
from retrieve.settings import Settings
from retrieve.source.container import Wanted
from retrieve.source.opening import open_container
from retrieve.source.vospace import VOSpace
from retrieve.stamps.stamps import Stamps
from retrieve.tiles import related, union


def main(settings: Settings) -> int:
    """Print a line per question; exit status 1 if a promise could not be kept there."""
    products = settings.product_set()
    stamps = Stamps(settings.stamps, products.model)
    record = ListingRecord(stamps.listing, products)
    tiles: tuple[str, ...] | None = None
    with suppress(SettingError):  # a service can be tested without a list
        if (lists := settings.lists()) is not None:
            tiles = related(union(lists), stamps.jobs())
    tests: list[tuple[VOSpace, Wanted]] = []
    for uri, own in settings.sources().items():
        container = open_container(uri, hasty(settings))
        if not isinstance(container, VOSpace):
            raise SettingError(f"'{uri}' is a directory here; give INPUT_PATH a container of a service: vos:… or arc:…")
        tests.append((container, ask_for(tiles, container, own, record.known(uri), replace(settings, v=None))))
    return tell(examine_services(tests, settings), settings)


def foretell(settings: Settings) -> int:
    """Do the same without reading a file, and say how many bytes would be read."""
    return main(settings)
