"""`manifest`: write down what is here, from where and of when."""

from __future__ import annotations

from pathlib import Path

from retrieve.errors import RetrieveError
from retrieve.host.disk import write_whole
from retrieve.host.messages import complain, show
from retrieve.settings import Settings
from retrieve.stamps.stamps import DOWNLOADED, EXTRACTED, Stamps
from retrieve.standing.manifest import ecsv, list_held, table_of
from retrieve.wording import size, some

#: The file that is written.
FILE = Path("manifest.ecsv")


def main(settings: Settings) -> int:
    """Write the table; exit status 0 whatever is here. No network is needed."""
    stamps = Stamps(settings.stamps, settings.product_set().model)
    if not (stamps.count(DOWNLOADED) or stamps.count(EXTRACTED)):
        raise RetrieveError("nothing was downloaded yet; run 'make download'")
    found = list_held(settings, stamps)
    table = table_of(found, settings)
    if not settings.dryrun:
        write_whole(FILE, ecsv(table))
    counts = {name: table.meta[name] for name in ("tiles", "archives", "bytes")}
    text = f"{FILE}: {some(counts['archives'], 'archive')} of {some(counts['tiles'], 'tile')}, {size(counts['bytes'])}"
    show(settings, [text], {"file": str(FILE), **counts, "left out": found.left_out})
    if found.left_out:
        what = "is not as it was" if len(found.left_out) == 1 else "are not as they were"
        complain(f"{some(len(found.left_out), 'archive')} left out that {what} verified; run 'make download'")
    return 0
