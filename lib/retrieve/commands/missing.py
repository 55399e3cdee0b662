"""`missing`: write down which tiles are not here, and say why."""

from __future__ import annotations

from pathlib import Path

from retrieve.decisions import NOT_LISTED, REASONS, WITHOUT_FILE, Lack
from retrieve.delivery.plan import lacks, plan_tile, settled
from retrieve.errors import RetrieveError
from retrieve.host.disk import write_whole
from retrieve.host.messages import show
from retrieve.settings import Settings
from retrieve.stamps.inventory import held_archives, held_or_freed, listed_tiles
from retrieve.stamps.runs import Recorder, read_runs
from retrieve.stamps.stamps import AVAILABLE, MISSING, Stamps
from retrieve.standing.survey import last_failures, stand
from retrieve.wording import some, table

#: The file that is written: tile numbers, a list that TILES takes.
FILE = Path("missing.txt")
#: Tiles that are named on stdout without V=1.
SHOWN = 20


def main(settings: Settings) -> int:
    """Compare the stamps with the archives; exit status 0 whatever is missing. No network is needed."""
    stamps = _stamps(settings)
    with stamps.lock(), Recorder("missing", settings, stamps) as run:
        missing = _find(settings, stamps)
        _stamp(missing, stamps)
        write_whole(FILE, "".join(f"{tile}\n" for tile in missing))
        run.result = {"tiles": len(missing), "counts": _counts(missing)}
    return _tell(missing, f"{FILE}", settings)


def foretell(settings: Settings) -> int:
    """Say what is missing without writing it down."""
    return _tell(_find(settings, _stamps(settings)), f"{FILE}, to be written", settings)


def _stamps(settings: Settings) -> Stamps:
    stamps = Stamps(settings.stamps, settings.product_set().model)
    if not stamps.listing.exists():
        raise RetrieveError("nothing was listed yet; run 'make avail'")
    return stamps


def _counts(missing: dict[str, list[Lack]]) -> dict[str, int]:
    return {reason: sum(lacks[0].reason == reason for lacks in missing.values()) for reason in REASONS}


def _tell(missing: dict[str, list[Lack]], heading: str, settings: Settings) -> int:
    counts = _counts(missing)
    shown = list(missing) if settings.v else list(missing)[:SHOWN]
    text = [f"{heading}: {some(len(missing), 'tile')} missing"]
    text += table((reason, str(count)) for reason, count in counts.items() if count)
    text += [f"{tile}: {'; '.join(map(str, missing[tile]))}" for tile in shown]
    if len(shown) < len(missing):
        text.append(f"… and {some(len(missing) - len(shown), 'more tile')}; V=1 shows all")
    show(
        settings,
        text=text,
        data={
            "file": str(FILE),
            "counts": counts,
            "tiles": {tile: {one.reason: one.names for one in lacks} for tile, lacks in missing.items()},
        },
    )
    return 0


def _find(settings: Settings, stamps: Stamps) -> dict[str, list[Lack]]:
    held = held_archives(settings)
    here = set(settled(stamps, held))
    found = {}
    tiles = listed_tiles(settings, stamps)
    for tile in tiles:
        if tile in here:
            continue
        source = stamps.source(tile)
        record, now = held_or_freed(stamps, tile, held)
        found[tile] = lacks(plan_tile(tile, *source, record, now), now) if source else [Lack(NOT_LISTED, ())]
    runs = read_runs(stamps)
    for tile in last_failures(runs).keys() & set(tiles):
        names = tuple(one.name for one in stand(tile, settings, stamps, runs)[1] if one.lack == WITHOUT_FILE)
        if names:
            found.setdefault(tile, []).append(Lack(WITHOUT_FILE, names))
    return {tile: lacking for tile, lacking in sorted(found.items()) if lacking}


def _stamp(missing: dict[str, list[Lack]], stamps: Stamps) -> None:
    """Write the stamps of what is missing where they are not so already; remove those of what is here."""
    for tile in stamps.tiles(MISSING).keys() - missing.keys():
        stamps.remove(MISSING, tile)
    for tile, lacking in missing.items():
        text = "".join(f"{name}\t{one.reason}\n" for one in lacking for name in one.names)
        found = stamps.read(MISSING, tile)
        if found is None or found[0] != text:
            stamps.write(MISSING, tile, text, stamps.mtime_ns(AVAILABLE, tile) or 0)
