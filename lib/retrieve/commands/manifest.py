"""`manifest`: write down what is here, from where and of when."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from retrieve.errors import RetrieveError
from retrieve.host.disk import write_whole
from retrieve.host.messages import complain, show
from retrieve.settings import Settings
from retrieve.stamps.stamps import DOWNLOADED, EXTRACTED, Stamps
from retrieve.standing.manifest import Manifest, ecsv, list_held, table_of
from retrieve.wording import size, some

if TYPE_CHECKING:
    from astropy.table import Table

#: The file that is written.
FILE = Path("manifest.ecsv")


def main(settings: Settings) -> int:
    """Write the table; exit status 0 whatever is here. No network is needed."""
    found, table = _look(settings)
    write_whole(FILE, ecsv(table))
    return _tell(found, table.meta, f"{FILE}", settings)


def foretell(settings: Settings) -> int:
    """Say what the table would hold."""
    found, table = _look(settings)
    return _tell(found, table.meta, f"{FILE}, to be written", settings)


def _look(settings: Settings) -> tuple[Manifest, Table]:
    stamps = Stamps(settings.stamps, settings.product_set().model)
    if not (stamps.count(DOWNLOADED) or stamps.count(EXTRACTED)):
        raise RetrieveError("nothing was downloaded yet; run 'make download'")
    found = list_held(settings, stamps)
    return found, table_of(found, settings)


def _tell(found: Manifest, meta: dict[str, Any], heading: str, settings: Settings) -> int:
    counts = {name: meta[name] for name in ("tiles", "archives", "bytes")}
    held = f"{some(counts['archives'], 'archive')} of {settings.counted(counts['tiles'])}, {size(counts['bytes'])}"
    show(settings, [f"{heading}: {held}"], {"file": str(FILE), **counts, "left out": found.left_out})
    if found.left_out:
        what = "is not as it was" if len(found.left_out) == 1 else "are not as they were"
        complain(f"{some(len(found.left_out), 'archive')} left out that {what} verified; run 'make download'")
    return 0
