"""`missing`: write down which tiles are not here, and say why."""

from __future__ import annotations

from pathlib import Path

from retrieve.decisions import REASONS
from retrieve.host.disk import write_whole
from retrieve.host.messages import shorten, show
from retrieve.settings import Settings
from retrieve.stamps.runs import Recorder
from retrieve.stamps.stamps import AVAILABLE, MISSING, Stamps
from retrieve.standing.survey import Standing, survey
from retrieve.wording import table

#: The file that is written: tile numbers, a list that TILES takes.
FILE = Path("missing.txt")


def main(settings: Settings) -> int:
    """Compare the stamps with the archives; exit status 0 even if something is missing. No network is needed."""
    stamps = Stamps(settings.stamps, settings.product_set().model)
    stamps.check_listed()
    with stamps.lock(), Recorder("missing", settings, stamps) as run:
        missing = _find(settings, stamps)
        _stamp(missing, stamps)
        write_whole(FILE, "".join(f"{one.tile}\n" for one in missing))
        run.result = {"tiles": len(missing), "counts": _counts(missing)}
    return _tell(missing, str(FILE), settings)


def foretell(settings: Settings) -> int:
    """Say what is missing without writing it down."""
    stamps = Stamps(settings.stamps, settings.product_set().model)
    stamps.check_listed()
    return _tell(_find(settings, stamps), f"{FILE}, to be written", settings)


def _find(settings: Settings, stamps: Stamps) -> list[Standing]:
    return [one for one in survey(settings, stamps).tiles if one.lacks]


def _counts(missing: list[Standing]) -> dict[str, int]:
    return {reason: sum(one.lacks[0].reason == reason for one in missing) for reason in REASONS}


def _tell(missing: list[Standing], heading: str, settings: Settings) -> int:
    counts = _counts(missing)
    text = [f"{heading}: {settings.counted(len(missing))} missing"]
    text += table((reason, str(count)) for reason, count in counts.items() if count)
    text += shorten(settings, [f"{one.tile}: {'; '.join(map(str, one.lacks))}" for one in missing], settings.unit.name)
    tiles = {one.tile: {lack.reason: lack.names for lack in one.lacks} for one in missing}
    show(settings, text, {"file": str(FILE), "counts": counts, "tiles": tiles})
    return 0


def _stamp(missing: list[Standing], stamps: Stamps) -> None:
    """Write the stamps of missing tiles where they changed; remove those of tiles that are here."""
    for tile in stamps.tiles(MISSING).keys() - {one.tile for one in missing}:
        stamps.remove(MISSING, tile)
    for one in missing:
        text = "".join(f"{name}\t{lack.reason}\n" for lack in one.lacks for name in lack.names)
        found = stamps.read(MISSING, one.tile)
        if found is None or found[0] != text:
            stamps.write(MISSING, one.tile, text, stamps.mtime_ns(AVAILABLE, one.tile) or 0)
